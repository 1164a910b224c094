"""A file for the tests of sources."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sources.content import CONTENT

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "content.ckpt"
    made.write_bytes(CONTENT)
    return made
