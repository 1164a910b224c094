"""Statistics of tensors: in float64, in pieces, in one pass."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from ckptload import dtypes

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

    from ckptload import DType
    from ckptload.dtypes import Array

#: Elements processed at a time: as float64 they fit into the fastest caches.
_CHUNK: Final = 32768

#: Number of ranges of a histogram.
BINS: Final = 48

#: Types whose arrays hold raw bytes and not numbers.
OPAQUE: Final = frozenset({dtypes.hifloat8})

Number = int | float


@dataclass
class Stats:
    """Statistics of a tensor; minimum, maximum, mean and deviation are those of its finite elements.

    For complex numbers they are those of the absolute values.
    """

    count: int = 0
    nan: int = 0
    inf: int = 0
    zeros: int = 0
    min: Number | None = None
    max: Number | None = None
    _mean: float = 0.0
    _squares: float = 0.0

    @property
    def finite(self) -> int:
        """Return the number of finite elements."""
        return self.count - self.nan - self.inf

    @property
    def mean(self) -> float | None:
        """Return the mean."""
        return self._mean if self.finite else None

    @property
    def std(self) -> float | None:
        """Return the standard deviation of the elements (not of a sample of them)."""
        return math.sqrt(self._squares / self.finite) if self.finite else None

    @property
    def dead(self) -> bool:
        """Tell whether there are several elements, and all are zero."""
        return self.count > 1 and self.zeros == self.count

    @property
    def constant(self) -> bool:
        """Tell whether there are several elements, and all are equal."""
        return self.count > 1 and self.finite == self.count and self.min == self.max

    def add(self, array: Array) -> None:
        """Take in a flat array."""
        with np.errstate(all="ignore"):
            for start in range(0, array.size, _CHUNK):
                self._add(array[start : start + _CHUNK])

    def _add(self, chunk: Array) -> None:
        exact = chunk.dtype.kind in "iub"
        values = _as_floats(chunk)
        self.count += values.size
        self.zeros += values.size - int(np.count_nonzero(values))
        total = float(values.sum())
        if not math.isfinite(total):
            # There is a NaN or infinity, or only the sum is too large.
            finite = np.isfinite(values)
            self.nan += int(np.isnan(values).sum())
            self.inf += int(np.isinf(values).sum())
            values = values[finite]
            if not values.size:
                return
            total = float(values.sum())
        low, high = (int(chunk.min()), int(chunk.max())) if exact else (float(values.min()), float(values.max()))
        self.min = low if self.min is None else min(self.min, low)
        self.max = high if self.max is None else max(self.max, high)
        self._merge(values, total)

    def _merge(self, values: npt.NDArray[np.float64], total: float) -> None:
        """Merge mean and sum of squared deviations (Chan, Golub and LeVeque 1979)."""
        before = self.finite - values.size
        mean = total / values.size
        values -= mean
        # Not np.dot: BLAS starts threads, which take longer than they save with so few elements.
        np.multiply(values, values, out=values)
        squares = float(values.sum())
        delta = mean - self._mean
        self._mean += delta * values.size / self.finite
        self._squares += squares + delta * delta * before * values.size / self.finite


class Histogram:
    """How many of a tensor's finite elements fall into each of `BINS` ranges of equal width.

    Args:
        low: lower end of the first range.
        high: upper end of the last one, which includes it.
    """

    def __init__(self, low: Number, high: Number) -> None:
        self.low, self.high = float(low), float(high)
        # Halved if the range is too wide for a float64.
        self._shrink = 1.0 if math.isfinite(self.high - self.low) else 0.5
        self._span = self.high * self._shrink - self.low * self._shrink
        self.counts = np.zeros(BINS, np.int64)

    def add(self, array: Array) -> None:
        """Take in a flat array."""
        with np.errstate(all="ignore"):
            for start in range(0, array.size, _CHUNK):
                self._add(array[start : start + _CHUNK])

    def _add(self, chunk: Array) -> None:
        values = _as_floats(chunk)
        values = values[np.isfinite(values)]
        if not self._span:
            # All elements of a constant tensor are in the middle.
            self.counts[BINS // 2] += values.size
            return
        values *= self._shrink
        values -= self.low * self._shrink
        # Not a precomputed factor: for the smallest spans it would be infinite.
        values /= self._span
        values *= BINS
        places = np.clip(values, 0, BINS - 1).astype(np.intp)
        self.counts += np.bincount(places, minlength=BINS)


def _as_floats(chunk: Array) -> npt.NDArray[np.float64]:
    """Return a new float64 array; of complex numbers it has the absolute values."""
    if chunk.dtype.kind == "c":
        return np.abs(chunk.astype(np.complex128))
    return chunk.astype(np.float64)


def of(dtype: DType | None, arrays: Iterable[Array]) -> Stats | None:
    """Return the statistics of a tensor from its data, or None if its elements are not numbers."""
    if dtype is None or dtype in OPAQUE:
        return None
    stats = Stats()
    for array in arrays:
        stats.add(array)
    return stats
