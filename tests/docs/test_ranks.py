"""The examples of docs/ranks.md run as they stand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pytest

from ckptload import save_checkpoint
from layouts import cut, protobuf
from pages import run_page
from places import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from layouts import Told

PAGE: Final = ROOT / "docs" / "ranks.md"

#: The set that the page describes.
LAYOUTS: Final[dict[str, Told]] = {
    "fc1.weight": ([2, 2], [1, -1], 0),
    "fc2.weight": ([2, 2], [-1, 1], -1),
    "moments.fc1.weight": ([2, 2], [1, -1], 0),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the folder that the examples are run in."""
    whole = {
        "fc1.weight": np.arange(48, dtype=np.float32).reshape(8, 6),
        "fc2.weight": np.arange(32, dtype=np.float32).reshape(4, 8),
        "moments.fc1.weight": np.zeros((8, 6), np.float32),
    }
    for rank in range(4):
        held = {name: cut(*LAYOUTS[name], value)[rank] for name, value in whole.items()}
        place = tmp_path / "checkpoints" / f"rank_{rank}"
        place.mkdir(parents=True)
        save_checkpoint(held | {"global_step": np.array([10], np.int32)}, place / "net-1_10.ckpt")
    (tmp_path / "strategy.ckpt").write_bytes(protobuf(LAYOUTS))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_page_shows_what_happens(folder: Path) -> None:
    assert run_page(PAGE) > 20
    assert (folder / "whole.ckpt").is_file()
