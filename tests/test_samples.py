"""The files that come with the package."""

from __future__ import annotations

from pathlib import Path

import pytest

from ckptload import ArgumentError, load_checkpoint, sample
from places import FIXTURES

FOLDER = Path(sample()).parent


@pytest.mark.parametrize("name", sorted(path.name for path in FOLDER.iterdir() if path.suffix in {".ckpt", ".npz"}))
def test_a_sample_is_a_fixture_that_mindspore_wrote(name: str) -> None:
    (fixture,) = FIXTURES.rglob(name)
    assert Path(sample(name)).read_bytes() == fixture.read_bytes()


def test_what_the_reference_says_of_them() -> None:
    assert len(load_checkpoint(sample())) == 8
    assert len(load_checkpoint(sample("adam.ckpt"))) == 29
    assert sample() == sample("lenet5.ckpt")
    for wrong in ("vgg", "../errors.py", ""):
        with pytest.raises(ArgumentError, match=r"the samples are adam\.ckpt, lenet5\.ckpt"):
            sample(wrong)
