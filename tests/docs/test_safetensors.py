"""The examples of docs/safetensors.md run as they stand."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import ckptload
from pages import run_page
from places import DOCS
from strategies import floats, mapping, tensor

PAGE = DOCS / "safetensors.md"


@pytest.fixture
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the folder that the examples are run in."""
    monkeypatch.chdir(tmp_path)
    tensors = {
        "conv.weight": np.arange(12, dtype=np.float32).reshape(4, 3),
        "conv.bias": np.zeros(4, ml_dtypes.bfloat16),
        "fc.weight": np.ones((2, 4), np.float16),
        "step": np.array(7),
    }
    ckptload.save_checkpoint({**tensors, "note": "trained by hand"}, "net.ckpt")
    ckptload.save_checkpoint(tensors, "net.safetensors", format="safetensors")
    Path("map.ckpt").write_bytes(floats("w", 1) + mapping("table", *[tensor((1,), "int32", bytes(4))] * 3))


@pytest.mark.usefixtures("_folder")
def test_the_page_shows_what_happens() -> None:
    assert run_page(PAGE) > 20
