"""The output of `ckptload inspect` for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from ckptload.cli import listing, sets, text, tree
from ckptload.cli.standard import place
from ckptload.cli.table import ASKED, ORNAMENT, Column, render
from ckptload.shown import human_bytes, human_count

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ckptload.cli.listing import Listing, Row
    from ckptload.cli.sets import Ranks
    from ckptload.cli.stats import Number, Stats
    from ckptload.cli.terminal import Terminal

_BAR: Final = 10
_LONGEST_VALUE: Final = 24
#: Only types that are not supported have longer names.
_LONGEST_TYPE: Final = 32


class Tree(NamedTuple):
    """How a tree is shown.

    Attributes:
        sort: the keys that order each level.
        depth: levels to show, or None for all.
        limit: lines to show, or None for all.
    """

    sort: Sequence[str]
    depth: int | None
    limit: int | None


def lines(one: Listing, terminal: Terminal, shape: Tree | None, strategy: str | None) -> Iterator[str]:
    """Yield the lines about a file.

    Args:
        one: what is in it.
        terminal: where they are shown.
        shape: of the tree; None for a list.
        strategy: the strategy that was given, for a folder with the files of many ranks.
    """
    yield terminal.style(terminal.show(one.path), bold=True)
    described = () if one.described is None else one.described.lines(strategy)
    for line in (one.about(), *described):
        yield from _wrapped(line, terminal)
    if one.foreign:
        yield from _wrapped(one.foreign, terminal, fg="yellow")
    for key, value in one.metadata.items():
        yield from _wrapped(_cut(f"{key}: {value}", 200), terminal)
    if not one.rows:
        return
    yield ""
    if shape is not None:
        columns, marked, more = _tree_columns(one, terminal, shape)
        left_out = text.counted(more, "more line", "more lines")
    else:
        columns, marked = _columns(one.shown, one.nbytes, terminal)
        more = len(one.rows) - len(one.shown)
        left_out = text.counted(more, "more entry", "more entries")
    yield from render(columns, terminal, marked=marked)
    if more:
        yield terminal.style(f"... {left_out}", dim=True)
    yield ""
    yield from _total(one, terminal)


def folder(path: str, ranks: Ranks, terminal: Terminal) -> Iterator[str]:
    """Yield what a folder is whose files do not open as one checkpoint."""
    yield terminal.style(terminal.show(place(path)), bold=True)
    try:
        found = sets.describe(path, None, ranks.strategy)
    except OSError:
        return
    for line in found.lines(ranks.strategy):
        yield from _wrapped(line, terminal)


def _wrapped(line: str, terminal: Terminal, fg: str | None = None) -> Iterator[str]:
    """Yield a line about a file, below its name."""
    for part in terminal.wrap(f"  {terminal.show(line)}", "    "):
        yield terminal.style(part, fg=fg, dim=fg is None)


def _total(one: Listing, terminal: Terminal) -> Iterator[str]:
    count = text.counted(len(one.rows), "entry", "entries")
    if len(one.rows) != one.names:
        count = f"{text.grouped(len(one.rows))} of {text.counted(one.names, 'entry', 'entries')}"
    parameters = one.elements - one.state
    numbers = [count]
    if parameters or not one.state:
        numbers.append(text.counted_in_units(parameters, "parameter", "parameters"))
    if one.state:
        numbers.append(text.counted_in_units(one.state, "element", "elements") + " of optimizer state")
    for line in terminal.wrap(f"{', '.join(numbers)}, {text.bytes_in_units(one.nbytes)}"):
        yield terminal.style(line, bold=True)
    by_type = one.by_type()
    if len(by_type) > 1:
        yield from render(_type_columns(by_type, terminal), terminal)
    if one.unsupported:
        for line in terminal.wrap(terminal.show(one.unsupported)):
            yield terminal.style(line, fg="yellow")


def _type_columns(by_type: dict[str, listing.Sum], terminal: Terminal) -> list[Column]:
    """Return the columns of the sums by dtype."""
    kinds = [terminal.show(_cut(kind, _LONGEST_TYPE)) for kind in by_type]
    sums = by_type.values()
    return [
        Column("DTYPE", cells=kinds, dim=True),
        Column("ENTRIES", right=True, dim=True, cells=[text.grouped(one.entries) for one in sums]),
        Column("ELEMENTS", right=True, dim=True, cells=[human_count(one.elements) for one in sums]),
        Column("SIZE", right=True, dim=True, cells=[human_bytes(one.nbytes) for one in sums]),
    ]


def _columns(rows: Sequence[Row], total: int, terminal: Terminal) -> tuple[list[Column], dict[int, str]]:
    name = Column("NAME", fg="cyan")
    dtype, shape = Column("DTYPE", keep=7), Column("SHAPE", keep=6)
    size, share = Column("BYTES", right=True, keep=8), Column("SHARE", right=True, keep=3, dim=True)
    bar, value = Column("", keep=2, fg="blue"), Column("VALUE", keep=5, fg="magenta")
    for row in rows:
        name.cells.append(terminal.show(row.name))
        dtype.cells.append(terminal.show(_cut(row.type, _LONGEST_TYPE)))
        shape.cells.append(row.shape)
        size.cells.append("" if row.entry is None else text.grouped(row.nbytes))
        share.cells.append(_share(row.nbytes, total))
        bar.cells.append(_bar(row.nbytes, total) if terminal.width and terminal.fancy else "")
        value.cells.append("" if row.value is None else terminal.show(_cut(_value(row.value), _LONGEST_VALUE)))
    columns = [name, dtype, shape, size, share, bar, value]
    if any(row.stats is not None for row in rows):
        columns = [name, dtype, shape, size, *_stats_columns([row.stats for row in rows])]
        dtype.keep, shape.keep, size.keep = ORNAMENT, ORNAMENT - 1, ORNAMENT - 2
    return columns, {at: color for at, row in enumerate(rows) if (color := _color(row)) is not None}


def _color(row: Row) -> str | None:
    if row.damage is not None or (row.stats is not None and (row.stats.nan or row.stats.inf)):
        return "red"
    return "yellow" if row.stats is not None and row.stats.dead else None


def _stats_columns(every: Sequence[Stats | None]) -> list[Column]:
    def column(title: str, keep: int, cell: Callable[[Stats], str]) -> Column:
        cells = ["" if one is None else cell(one) for one in every]
        return Column(title, right=True, keep=keep, cells=cells)

    return [
        column("MIN", ASKED + 3, lambda one: _short(one.min)),
        column("MAX", ASKED + 3, lambda one: _short(one.max)),
        column("MEAN", ASKED + 1, lambda one: _short(one.mean)),
        column("STD", ASKED + 1, lambda one: _short(one.std)),
        column("NAN", ASKED + 2, lambda one: text.grouped(one.nan)),
        column("INF", ASKED + 2, lambda one: text.grouped(one.inf)),
        column("ZEROS", ASKED, lambda one: text.grouped(one.zeros)),
    ]


def _short(number: Number | None) -> str:
    return "" if number is None else str(number) if isinstance(number, int) else f"{number:.4g}"


def _tree_columns(one: Listing, terminal: Terminal, shape: Tree) -> tuple[list[Column], dict[int, str], int]:
    """Return the columns, the colours of rows, and how many lines are left out."""
    root = tree.grow(one.rows)
    tree.order(root, shape.sort)
    every = list(tree.lines(root, shape.depth, fancy=terminal.fancy))
    nodes = every[: shape.limit]
    leaves = [node.row or listing.Row(node.label) for _, node in nodes]
    total = one.nbytes
    columns, _ = _columns(leaves, total, terminal)
    entries = Column("ENTRIES", right=True, keep=4)
    for at, (lead, node) in enumerate(nodes):
        by_title = {column.title: column.cells for column in columns}
        columns[0].leads.append(lead)
        by_title["NAME"][at] = terminal.show(node.label)
        by_title["BYTES"][at] = text.grouped(node.nbytes)
        if "SHARE" in by_title:
            by_title["SHARE"][at] = _share(node.nbytes, total)
            by_title[""][at] = _bar(node.nbytes, total) if by_title[""][at] or terminal.width else ""
        if node.row is None:
            by_title["DTYPE"][at] = ""
        entries.cells.append(text.grouped(node.entries) if node.children else "")
    columns.insert(1, entries)
    colors = {at: _color(row) for at, row in enumerate(leaves)}
    marked = {at: color for at, color in colors.items() if color is not None}
    return columns, marked, len(every) - len(nodes)


def _share(part: int, whole: int) -> str:
    if not whole or not part:
        return "0%" if whole else ""
    share = 100 * part / whole
    return f"{share:.1f}%" if share >= 0.05 else "<0.1%"  # noqa: PLR2004 -- where rounding gives 0.1


def _bar(part: int, whole: int) -> str:
    """Draw a share in eighths of a column."""
    eighths = round(8 * _BAR * part / whole) if whole else 0
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


def _value(value: str | float) -> str:
    return repr(value) if isinstance(value, str) else f"{value:.6g}" if isinstance(value, float) else str(value)


def _cut(line: str, most: int) -> str:
    return line if len(line) <= most else line[: most - 3] + "..."
