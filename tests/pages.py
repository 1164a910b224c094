"""Examples of the documentation, which tests run as they stand."""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
import warnings
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
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


#: What an example needs that may not be installed.
_NEEDED = re.compile(r"^(?:import|from) (torch|mindspore)\b", re.MULTILINE)
_EXAMPLE = re.compile(r"(<!-- not run: .*? -->\n)?^```(python|sh)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def run_recipes(page: Path, folder: Path, output: Callable[[], str]) -> int:
    """Run the ``python`` and ``sh`` blocks of a page in their order, and count them.

    What a comment at the beginning of a line says is printed is among the output. A block behind a comment that says
    ``not run`` is left out. So is one that needs a framework that is not installed, and what uses its name.

    Args:
        page: the page.
        folder: the current folder, which is empty.
        output: returns what was printed since it was last called.
    """
    commands = folder / "bin"
    commands.mkdir()
    program = commands / "ckptload"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ckptload "$@"\n')
    program.chmod(0o755)
    places = {**os.environ, "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}"}
    variables: dict[str, Any] = {}
    missing: set[str] = set()
    count = 0
    for skipped, language, code in _EXAMPLE.findall(page.read_text("utf-8")):
        missing |= {name for name in _NEEDED.findall(code) if find_spec(name) is None}
        if skipped or any(re.search(rf"\b{name}\b", code) for name in missing):
            continue
        count += 1
        if language == "sh":
            for line in code.splitlines():
                done = subprocess.run(["sh", "-c", line], env=places, capture_output=True, text=True, check=False)
                assert done.returncode == 0, (line, done.stdout, done.stderr)
            continue
        exec(compile(code, page.name, "exec"), variables)  # noqa: S102 -- the page is ours
        printed = output()
        for said in re.findall(r"^ *# (.*)$", code, re.MULTILINE):
            assert said in printed, (code, printed)
    return count
