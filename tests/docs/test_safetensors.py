"""The examples of docs/safetensors.md run as they stand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pages import run_page
from places import DOCS

if TYPE_CHECKING:
    from pathlib import Path

PAGE = DOCS / "safetensors.md"


@pytest.fixture
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the folder that the examples are run in."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_folder")
def test_the_page_shows_what_happens() -> None:
    assert run_page(PAGE) > 20
