"""The seed of random numbers."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

import numpy as np

from ckptload.absent import absent_from
from ckptload.errors import ArgumentError, ArgumentTypeError
from ckptload.messages import shown_value, type_name

__all__ = ["get_seed", "set_seed"]

_LIMIT: Final = 1 << 32
_kept: list[int] = []


def set_seed(seed: int) -> None:
    """Keep a seed, and seed numpy's global generator and Python's with it, as MindSpore does.

    Args:
        seed: an integer from 0 to 2**32 - 1.

    Raises:
        ArgumentTypeError: it is not an int.
        ArgumentError: it is too small or too large.
    """
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise ArgumentTypeError(f"seed must be an int, not {type_name(seed)}")
    if not 0 <= seed < _LIMIT:
        raise ArgumentError(f"seed must be from 0 to {_LIMIT - 1}, not {shown_value(seed)}")
    np.random.seed(seed)  # noqa: NPY002 -- the generator that scripts use
    random.seed(seed)
    _kept[:] = [seed]


def get_seed() -> int | None:
    """Return the seed that was set, or None."""
    return _kept[0] if _kept else None


if not TYPE_CHECKING:  # otherwise a type checker would accept any name
    __getattr__ = absent_from(__name__)
