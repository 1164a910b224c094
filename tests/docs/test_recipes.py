"""Pages whose examples begin in an empty folder: every block is run, in its order."""

from __future__ import annotations

import importlib.util
import os
from typing import TYPE_CHECKING

import pytest

from pages import run_recipes
from places import DOCS

if TYPE_CHECKING:
    from pathlib import Path

#: Each page, with the number of blocks that need nothing but the package and the extra cli.
PAGES = {"get-started": 5, "cookbook": 14}

pytestmark = [
    pytest.mark.skipif(not DOCS.exists(), reason="the documentation is not here"),
    pytest.mark.skipif(os.name == "nt", reason="the commands are for a POSIX shell"),
]


@pytest.mark.torch
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
    assert (importlib.util.find_spec("torch") is not None) == (count > PAGES[name])
