"""The examples of docs/lazy.md run as they stand."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from pages import run_page
from places import ROOT
from strategies import sparse

if TYPE_CHECKING:
    from pathlib import Path

PAGE = ROOT / "docs" / "lazy.md"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the folder that the examples are run in."""
    shutil.copy(ROOT / "tests" / "fixtures" / "lenet5.ckpt", tmp_path)
    sparse(tmp_path / "embedding.ckpt", [("embedding_table", (1_000_000, 16))])
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.skipif(os.name != "posix", reason="needs sparse files")
def test_the_page_shows_what_happens(folder: Path) -> None:
    assert run_page(PAGE) > 15
    assert sorted(path.name for path in folder.iterdir()) == ["convolutions.ckpt", "embedding.ckpt", "lenet5.ckpt"]
