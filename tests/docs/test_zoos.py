"""The examples of docs/zoos.md run as they stand, with files that have the zoos' names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ckptload import LayerDifferenceWarning
from networks.libraries import library
from pages import run_page
from places import ROOT

if TYPE_CHECKING:
    from pathlib import Path

PAGE = ROOT / "docs" / "zoos.md"

pytestmark = [
    pytest.mark.torch,
    pytest.mark.slow,
    pytest.mark.skipif(not PAGE.exists(), reason="the documentation is not here"),
    # Other libraries warn of what they like.
    pytest.mark.filterwarnings("default"),
]


def test_the_page_shows_what_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    library("timm"), library("transformers")
    monkeypatch.chdir(tmp_path)
    assert run_page(PAGE, shown=LayerDifferenceWarning) > 15
