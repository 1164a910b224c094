"""The examples of docs/pytorch.md run as they stand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pages import run_page
from places import ROOT

if TYPE_CHECKING:
    from pathlib import Path

PAGE = ROOT / "docs" / "pytorch.md"

pytestmark = pytest.mark.torch


@pytest.mark.skipif(not PAGE.exists(), reason="the documentation is not here")
def test_the_page_shows_what_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    assert run_page(PAGE) > 25
