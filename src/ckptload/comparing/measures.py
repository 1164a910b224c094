"""How far two arrays differ, as a share of how far the values of one of them spread."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from ckptload import dtypes
from ckptload.tensors import casting

if TYPE_CHECKING:
    from ckptload.dtypes import Array
    from ckptload.foreign.taken import Taken

#: Types whose values numpy cannot compute with.
_NARROW: Final = (dtypes.bfloat16, dtypes.float8_e4m3fn, dtypes.float8_e5m2)


class ArrayDifference(NamedTuple):
    """One array of a module, compared with the one that was recorded.

    Attributes:
        path: the path of the layer in the module; the key of an output.
        key: its key in what was recorded.
        kind: the layer's class; empty for an output.
        difference: the largest absolute difference; infinite if the arrays cannot be compared.
        relative: the same as a share of how far the recorded values spread, the largest less the smallest.
        equal: whether `relative` is within the limit.
        problem: why the arrays cannot be compared, in words; empty if they can.
        advice: what is known of such layers: how they may differ from MindSpore's, and the edit.
    """

    path: str
    key: str
    kind: str
    difference: float
    relative: float
    equal: bool
    problem: str = ""
    advice: str = ""

    def __str__(self) -> str:
        name = f"{self.path!r} ({self.kind})" if self.kind else self.path
        if self.problem:
            return f"{name}: {self.problem}"
        return f"{name}: at most {self.difference:.3g}, which is {self.relative:.2g} of the spread"


def measure(ours: Taken, theirs: Taken) -> tuple[float, float, str]:
    """Return the largest difference, the same relative to the spread of `theirs`, and why there is none.

    Values that are not finite must be the same in both, at the same places. If all values are equal, their magnitude
    takes the place of the spread, or 1 if they are zero.
    """
    if ours.array.shape != theirs.array.shape:
        return math.inf, math.inf, f"the shape is {ours.array.shape} here, and {theirs.array.shape} was recorded"
    one, other = _numbers(ours), _numbers(theirs)
    finite = np.isfinite(other)
    unlike = int(np.count_nonzero(~_same(one, other) & ~(finite & np.isfinite(one))))
    if unlike:
        return math.inf, math.inf, f"{unlike} of {other.size} values are infinite or NaN in one of the two alone"
    if not finite.any():
        return 0.0, 0.0, ""
    one, other = one[finite], other[finite]
    largest = float(np.abs(one - other).max())
    spread = float(other.max() - other.min()) or float(np.abs(other).max()) or 1.0
    return largest, largest / spread, ""


def _same(one: Array, other: Array) -> Any:
    return (one == other) | (np.isnan(one) & np.isnan(other))


def _numbers(values: Taken) -> Array:
    """Return values as Float64; a complex number is two of them."""
    array, dtype = values.array, values.dtype
    if dtype in _NARROW:
        array = casting.cast(array, dtype, dtypes.float32)
    if array.dtype.kind == "c":
        flat = np.ascontiguousarray(array).reshape(-1)
        array = flat.view(flat.real.dtype)
    found: Array = array.astype(np.float64)
    return found
