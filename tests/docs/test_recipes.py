"""Pages whose examples begin in an empty folder: every block is run, in its order."""

from __future__ import annotations

import importlib.util
import os
import re
from typing import TYPE_CHECKING

import pytest

from pages import run_recipes
from places import DOCS

if TYPE_CHECKING:
    from pathlib import Path

#: Each page, with the number of blocks that need nothing but the package and the extra cli.
PAGES = {"index": 1, "get-started": 5, "cookbook": 14}

#: Pages whose commands another test runs, and blocks that no page has run as they are.
COMMANDS = {"cli"}
SHOWN = re.compile(r"(<!-- not run: .*? -->\n)?^```(?:python|sh)$", re.MULTILINE)

pytestmark = [
    pytest.mark.skipif(not DOCS.exists(), reason="the documentation is not here"),
    pytest.mark.skipif(os.name == "nt", reason="the commands are for a POSIX shell"),
]


@pytest.mark.torch
@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize("name", PAGES)
@pytest.mark.filterwarnings("ignore:.*(ambiguous|no tensor for)")
def test_the_examples_of_a_page_run_one_after_the_other(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With what needs PyTorch, if it is installed."""
    pytest.importorskip("click")
    monkeypatch.chdir(tmp_path)
    count = run_recipes(DOCS / f"{name}.md", tmp_path, lambda: capsys.readouterr().out)
    assert count >= PAGES[name]
    has_torch = importlib.util.find_spec("torch") is not None
    assert (has_torch and name != "index") == (count > PAGES[name])


@pytest.mark.parametrize("name", sorted(path.stem for path in DOCS.glob("*.md")))
def test_examples_that_are_not_run_say_why(name: str) -> None:
    """The ``pycon`` blocks of a page are run by the test of that page."""
    if name not in PAGES.keys() | COMMANDS:
        assert all(SHOWN.findall((DOCS / f"{name}.md").read_text("utf-8")))
