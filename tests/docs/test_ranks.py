"""The examples of docs/ranks.md run as they stand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from pages import run_page
from places import ROOT

if TYPE_CHECKING:
    from pathlib import Path

PAGE: Final = ROOT / "docs" / "ranks.md"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the folder that the examples are run in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_page_shows_what_happens(folder: Path) -> None:
    assert run_page(PAGE) > 20
    assert (folder / "whole.ckpt").is_file()
