"""The seed is kept, and seeds what scripts draw random numbers from."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import numpy as np
import pytest

import ckptload
from ckptload import errors
from ckptload.common import seed as module

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    state, other = np.random.get_state(), random.getstate()  # noqa: NPY002
    yield
    np.random.set_state(state)  # noqa: NPY002
    random.setstate(other)
    module._kept.clear()


def test_a_seed_makes_random_numbers_repeatable() -> None:
    drawn = []
    for _ in range(2):
        ckptload.set_seed(5)
        drawn.append((np.random.rand(), random.random(), ckptload.ops.randn(2, 3).tolist()))  # noqa: NPY002
    assert drawn[0] == drawn[1]
    np.random.seed(5)  # noqa: NPY002
    assert np.random.rand() == drawn[0][0]  # noqa: NPY002


def test_a_seed_is_returned() -> None:
    assert ckptload.get_seed() is None
    ckptload.set_seed(2**32 - 1)
    assert ckptload.get_seed() == 2**32 - 1
    with pytest.raises(errors.ArgumentError, match="4294967295"):
        ckptload.set_seed(2**32)
    assert ckptload.get_seed() == 2**32 - 1
