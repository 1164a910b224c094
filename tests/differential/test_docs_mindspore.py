"""The examples of docs/mindspore.md run as they stand."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from pages import run_page
from places import ROOT

if TYPE_CHECKING:
    from pathlib import Path

PAGE = ROOT / "docs" / "mindspore.md"

pytestmark = pytest.mark.mindspore


@pytest.mark.skipif(not PAGE.exists(), reason="the documentation is not here")
def test_the_page_shows_what_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mindspore")
    shutil.copy(ROOT / "tests" / "fixtures" / "lenet5.ckpt", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert run_page(PAGE, shown=UserWarning) > 12
