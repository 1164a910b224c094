"""The examples of docs/lazy.md run as they stand."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest

from ckptload import open_checkpoint
from pages import run_page
from places import ROOT
from strategies import CountingSource, sparse

if TYPE_CHECKING:
    from pathlib import Path

PAGE = ROOT / "docs" / "lazy.md"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the folder that the examples are run in."""
    sparse(tmp_path / "embedding.ckpt", [("embedding_table", (1_000_000, 16))])
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.skipif(os.name != "posix", reason="needs sparse files")
def test_the_page_shows_what_happens(folder: Path) -> None:
    assert run_page(PAGE) > 15
    assert sorted(path.name for path in folder.iterdir()) == ["convolutions.ckpt", "embedding.ckpt", "lenet5.ckpt"]


@pytest.mark.skipif(os.name != "posix", reason="needs sparse files")
def test_the_table_has_the_size_that_the_page_says_and_costs_what_it_says(folder: Path) -> None:
    page = PAGE.read_text("utf-8")
    size, rows = re.findall(r"in a file of\n?(\d+) MB, and (\d+) bytes are read", page)[0]
    source = CountingSource(folder / "embedding.ckpt")
    assert source.size // 10**6 == int(size)
    with open_checkpoint(source) as reader:
        table = reader.get_slice("embedding_table")
        before = source.total
        assert table[10:20].shape == (10, 16)
        assert source.total - before == int(rows)
