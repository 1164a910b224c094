"""The examples of docs/safetensors.md run as they stand."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import ckptload
from strategies import floats, mapping, tensor

PAGE = Path(__file__).parents[1] / "docs" / "safetensors.md"


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
    blocks = re.findall(r"^```pycon\n(.*?)^```$", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    report: list[str] = []
    # Each block ends in a blank line, which ends the output that is expected.
    test = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, PAGE.name, PAGE.name, 0)
    results = runner.run(test, out=report.append)
    assert not results.failed, "".join(report)
    assert results.attempted > 20
