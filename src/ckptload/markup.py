"""HTML for notebooks: what the ``_repr_html_`` of our objects returns.

Text is escaped, because names come from files. There are no scripts, links and colours, so that it fits every notebook.
"""

from __future__ import annotations

from html import escape
from itertools import islice
from typing import TYPE_CHECKING, Final

from ckptload.shown import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: Rows of a table that are shown, and characters of a cell.
ROWS: Final = 60
_CELL: Final = 200


def table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]], count: int, foot: str = "") -> str:
    """Return a table under a title.

    Args:
        title: what it is about, in a line.
        head: titles of the columns.
        rows: cells of each row; no more than `ROWS` are taken.
        count: the number of all rows.
        foot: a line below.
    """
    lines = [f"<div><p><b>{_text(title)}</b></p>", "<table>", _row("th", head)]
    lines += [_row("td", row) for row in islice(rows, ROWS)]
    if count > ROWS:
        lines.append(f'<tr><td colspan="{len(head)}">... and {count - ROWS:,} more</td></tr>')
    lines.append("</table>")
    return "\n".join([*lines, f"<p>{_text(foot)}</p></div>" if foot else "</div>"])


def block(title: str, text: str) -> str:
    """Return a text of several lines under a title, with its line breaks."""
    lines = "\n".join(escape(printable(line)) for line in text.split("\n"))
    return f"<div><p><b>{_text(title)}</b></p>\n<pre>{lines}</pre></div>"


def _row(kind: str, cells: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<{kind}>{_text(cell)}</{kind}>' for cell in cells)}</tr>"


def _text(text: str) -> str:
    # Cut before it is escaped, so that no entity is cut in two.
    shown = printable(text)
    return escape(shown if len(shown) <= _CELL else f"{shown[: _CELL - 3]}...")
