"""Examples of the documentation, which tests run as they stand."""

from __future__ import annotations

import doctest
import re
import sys
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


def _show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    """Print a warning where the page shows it, without the place, which a reader's script has elsewhere."""
    sys.stdout.write(f"{category.__name__}: {message}\n")


def run(text: str, name: str, *, shown: type[Warning] | None = None, flags: int = 0) -> int:
    """Run examples one after the other in one namespace, fail where one does not show what it says, and count them.

    Args:
        text: what holds the examples.
        name: what to call it in a report.
        shown: warnings that the examples show; others, and all without it, are what they are in other tests.
        flags: of doctest.
    """
    runner = doctest.DocTestRunner(optionflags=flags)
    report: list[str] = []
    test = doctest.DocTestParser().get_doctest(text, {}, name, name, 0)
    with warnings.catch_warnings():
        if shown is not None:
            warnings.simplefilter("always", shown)
            warnings.showwarning = _show
        results = runner.run(test, out=report.append)
    assert not results.failed, "".join(report)
    return results.attempted


def run_page(page: Path, *, shown: type[Warning] | None = None, flags: int = doctest.ELLIPSIS) -> int:
    """Run the ``pycon`` blocks of a page; each ends in a blank line, which ends the output that is expected."""
    blocks = re.findall(r"^```pycon\n(.*?)^```$", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    return run("\n".join(blocks), page.name, shown=shown, flags=flags)
