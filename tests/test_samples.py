"""The checkpoints that come with the package."""

from __future__ import annotations

from pathlib import Path

import pytest

from ckptload import ArgumentError, load_checkpoint, sample
from places import FIXTURES


def test_the_samples_are_fixtures_that_mindspore_wrote() -> None:
    assert Path(sample()).read_bytes() == (FIXTURES / "lenet5.ckpt").read_bytes()
    assert Path(sample("adam")).read_bytes() == (FIXTURES / "adam.ckpt").read_bytes()
    assert load_checkpoint(sample())["fc3.weight"].shape == (10, 84)


def test_what_the_reference_says_of_them() -> None:
    assert len(load_checkpoint(sample())) == 8
    assert len(load_checkpoint(sample("adam"))) == 29
    with pytest.raises(ArgumentError, match="the samples are lenet5, adam"):
        sample("vgg")
