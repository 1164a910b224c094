"""The checkpoint that comes with the package."""

from __future__ import annotations

from pathlib import Path

from ckptload import load_checkpoint, sample
from places import FIXTURES


def test_the_sample_is_the_fixture_that_mindspore_wrote() -> None:
    assert Path(sample()).read_bytes() == (FIXTURES / "lenet5.ckpt").read_bytes()
    assert load_checkpoint(sample())["fc3.weight"].shape == (10, 84)
