"""Conversions between dtypes with MindSpore's rounding, bit for bit.

The rules were found by running MindSpore 2.10.0 on every 16-bit pattern and millions of other values
(docs/binding.md, "Conversions"):

* a float is rounded to a narrower float to nearest, ties to even; a value that is too large becomes infinite;
* conversions between Float64 and a 16-bit float, and between the two 16-bit floats, go through Float32,
  so a value may be rounded twice;
* a NaN becomes 0x7FC0 in BFloat16 and 0x7E00 with its sign in Float16; in other types it keeps its sign
  and as much of the payload as fits, and becomes quiet, except from a 16-bit float to Float32;
* integers wrap around; Int4 is stored as Int8 and is not limited to four bits.

numpy does the arithmetic. Its NaNs depend on the version and the machine, so they are set here as integers. Its
conversion to Float16 is twenty times slower for numbers outside the normal range of Float16, so arrays with many
of them are rounded here as well.

Conversions run in two threads (`supplies`), and numpy releases the GIL only while it computes: a few long steps
are faster than many short ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from ckptload import dtypes
from ckptload.errors import ArgumentError, ArgumentTypeError

if TYPE_CHECKING:
    from ckptload.dtypes import Array, DType


_FLOATS: Final = frozenset(dtypes.FLOATS)
_INTEGERS: Final = frozenset({*dtypes.INTEGERS, dtypes.qint4x2})

#: Elements converted at a time: the result of one step is still in the cache for the next step.
_CHUNK: Final = 1 << 18
#: The same for `_round_to_half`, which has many steps.
_SHORT_CHUNK: Final = 1 << 16
#: Sample one element in `_SAMPLED`; if more than one sample in `_MANY` is slow in numpy, round here.
_SAMPLED: Final = 251
_MANY: Final = 32
#: With fewer elements than this, numpy converts faster than sampling takes.
_WORTH_SAMPLING: Final = 1 << 12


class _Layout(NamedTuple):
    """The layout of a float type: an unsigned integer type of the same size, and the bits of the mantissa."""

    bits: np.dtype[Any]
    mantissa: int

    @property
    def sign(self) -> int:
        return 1 << (8 * self.bits.itemsize - 1)

    @property
    def infinity(self) -> int:
        return self.sign - (1 << self.mantissa)


_LAYOUTS: Final = {
    dtypes.float16: _Layout(np.dtype("<u2"), 10),
    dtypes.bfloat16: _Layout(np.dtype("<u2"), 7),
    dtypes.float32: _Layout(np.dtype("<u4"), 23),
    dtypes.float64: _Layout(np.dtype("<u8"), 52),
}
_MAGNITUDE: Final = np.uint32(0x7FFFFFFF)
_INFINITY: Final = np.uint32(_LAYOUTS[dtypes.float32].infinity)
#: Bits of two Float32 values: the smallest that is normal in Float16 (2**-14), and the smallest infinite one (65520).
_SMALLEST_NORMAL: Final = np.uint32(0x38800000)
_TOO_LARGE: Final = np.uint32(0x477FF000)
_HALF_BITS: Final = 16
_HALF_NAN: Final = 0x7E00
_BRAIN_NAN: Final = 0x7FC0


def can_cast(source: DType, target: DType) -> bool:
    """Tell whether loading converts between two dtypes: equal ones, two floats, or two signed integers.

    Bool, unsigned integers, complex numbers and 8-bit floats are never converted (docs/binding.md, "Conversions").
    """
    return source is target or {source, target} <= _FLOATS or {source, target} <= _INTEGERS


def cast(array: Array, source: DType, target: DType) -> Array:
    """Convert an array.

    Args:
        array: of any shape, of type ``source.numpy``.
        source: dtype of its elements.
        target: dtype of the result.

    Returns:
        A new C-contiguous array of the same shape and type ``target.numpy``.

    Raises:
        ArgumentTypeError: the conversion is not supported.
    """
    out = np.empty(array.shape, target.numpy)
    cast_into(array, source, target, out)
    return out


def cast_into(array: Array, source: DType, target: DType, out: Array) -> bool:
    """Convert into an array of the caller; the two arrays must not overlap.

    Args:
        array: of type ``source.numpy``.
        source: dtype of its elements.
        target: dtype of the result.
        out: of type ``target.numpy``, with the same number of elements, C-contiguous and writable, of any shape.

    Returns:
        Whether `target` cannot hold a value: a finite one became infinite, or an integer wrapped around.

    Raises:
        ArgumentTypeError: the conversion is not supported.
        ArgumentError: `out` does not fit.
    """
    if not can_cast(source, target):
        raise ArgumentTypeError(
            f"{source} cannot be converted to {target}",
            hint="floats convert to floats and signed integers to signed integers; use astype for anything else",
        )
    if out.size != array.size or out.dtype != target.numpy or not out.flags.c_contiguous:
        raise ArgumentError(
            f"{array.size} elements of {target} need a C-contiguous array of that size and type, "
            f"not one of {out.size} elements of {out.dtype}"
        )
    flat, room = array.reshape(-1), out.reshape(-1)
    if source.numpy == target.numpy or source in _INTEGERS:
        np.copyto(room, flat, casting="unsafe")
        return target.itemsize < source.itemsize and not np.array_equal(room, flat)
    beyond = False
    # Overflow to infinity is intended, and NaNs are set below.
    with np.errstate(all="ignore"):
        for start in range(0, flat.size, _CHUNK):
            beyond |= _cast_floats(flat[start : start + _CHUNK], source, target, room[start : start + _CHUNK])
    return beyond


def _cast_floats(array: Array, source: DType, target: DType, out: Array) -> bool:
    """Convert a chunk, and return whether a finite value became infinite."""
    single = array if dtypes.float32 in {source, target} else array.astype(np.float32)
    # A NaN is a NaN on both sides; search the one with fewer bytes.
    telling, kind = (array, source) if source.itemsize < target.itemsize else (out, target)
    too_large = _LAYOUTS[kind].infinity
    if target is dtypes.float16 and _is_unusual(single.view("<u4")):
        _round_to_half(single.view("<u4"), out.view("<u2"))
        telling, kind, too_large = single, dtypes.float32, int(_TOO_LARGE)
    else:
        np.copyto(out, single, casting="unsafe")
    largest = _largest(telling, _LAYOUTS[kind])
    if largest < too_large:
        return False
    layout, goal = _LAYOUTS[source], _LAYOUTS[target]
    bits = array.view(layout.bits)
    size = bits & (layout.sign - 1)
    if largest > _LAYOUTS[kind].infinity:
        nans = size > layout.infinity
        _set_nans(bits[nans], layout, target, out, nans)
    infinite = (out.view(goal.bits) & (goal.sign - 1)) == goal.infinity
    return bool((infinite & (size < layout.infinity)).any())


def _largest(array: Array, layout: _Layout) -> int:
    """Return the largest magnitude as an integer; that of a NaN is larger than that of infinity."""
    signed = array.view(layout.bits.str.replace("u", "i"))
    return max(int(signed.max()), int(array.view(layout.bits).max()) & (layout.sign - 1))


def _is_unusual(bits: Array) -> bool:
    """Tell whether many Float32 values, given as bits, are outside the normal range of Float16."""
    if bits.size < _WORTH_SAMPLING:
        return False
    size = bits[::_SAMPLED] & _MAGNITUDE
    small = (size < _SMALLEST_NORMAL) & (size > 0)
    large = (size >= _TOO_LARGE) & (size < _INFINITY)
    return bool(np.count_nonzero(small | large) * _MANY > size.size)


def _round_to_half(bits: Array, out: Array) -> None:
    """Round Float32 to Float16, both given as bits; NaNs become infinite.

    Add a power of two whose last bit has the value of the result's last bit: the processor then rounds at that
    bit, to nearest, ties to even. The power is 2**13 times the number's own power of two. Numbers below 2**-14
    have the same spacing as those just above, so for them it is 2**13 times 2**-14. The sum minus the power counts
    steps of that spacing; 1024 steps raise Float16's exponent by one. Only the low 16 bits are kept, so the
    difference of the exponents, 126, can be corrected modulo 64.
    """
    # Allocating memory for each step would take as long as the step.
    scratch = np.empty((3, min(bits.size, _SHORT_CHUNK)), "<u4")
    for start in range(0, bits.size, _SHORT_CHUNK):
        chunk = bits[start : start + _SHORT_CHUNK]
        size, power, sign = scratch[:, : chunk.size]
        np.bitwise_and(chunk, _MAGNITUDE, out=size)
        np.bitwise_xor(chunk, size, out=sign)
        # From 65520 on the result is infinite; limiting to 65536 gives the same.
        np.minimum(size, np.uint32(0x47800000), out=size)
        np.bitwise_and(size, _INFINITY, out=power)
        np.maximum(power, _SMALLEST_NORMAL, out=power)
        power += np.uint32((13 << 23) + (-126 % 64 << 10))
        total = size.view("<f4")
        total += power.view("<f4")
        power >>= np.uint32(13)
        size += power
        sign >>= np.uint32(16)
        size += sign
        np.copyto(out[start : start + _SHORT_CHUNK], size, casting="unsafe")


def _set_nans(bits: Array, layout: _Layout, target: DType, out: Array, where: Array) -> None:
    """Write NaNs, given as bits of the source type, into the converted elements."""
    goal = _LAYOUTS[target]
    room = out.view(goal.bits)
    if target is dtypes.bfloat16:
        room[where] = _BRAIN_NAN
        return
    old, new = 8 * layout.bits.itemsize, 8 * goal.bits.itemsize
    wide = bits.astype(goal.bits if new > old else layout.bits)
    sign, payload = wide & layout.sign, wide & ((1 << layout.mantissa) - 1)
    sign = sign << (new - old) if new > old else sign >> (old - new)
    if target is dtypes.float16:
        room[where] = sign | _HALF_NAN
        return
    finer = goal.mantissa - layout.mantissa
    payload = payload << finer if finer >= 0 else payload >> -finer
    keeps = old == _HALF_BITS and target is dtypes.float32
    quiet = 0 if keeps else 1 << (goal.mantissa - 1)
    room[where] = sign | goal.infinity | payload | quiet
