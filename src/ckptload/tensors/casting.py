"""Conversions between dtypes with MindSpore's rounding, bit for bit.

The rules, found by running MindSpore 2.10.0 over every 16-bit pattern and millions of others
(docs/binding.md, "Conversions"):

* a float becomes a narrower one by rounding to the nearest, ties to even; what is too large becomes infinite;
* everything between Float64 and a 16-bit float, and between the two 16-bit floats, goes through Float32,
  so that it may be rounded twice;
* a NaN becomes 0x7FC0 in BFloat16 and 0x7E00 with its sign in Float16; elsewhere it keeps its sign and the
  payload that fits, and is made quiet unless it comes from a 16-bit float and goes to Float32;
* integers wrap around; Int4 is stored as Int8, and nothing clamps it to four bits.

numpy does the arithmetic. It treats NaNs differently from one version and machine to the next, so they
are set here, in integers. Its way to Float16 takes twenty times as long for numbers outside the usual range
of Float16 as for others, so that where there are many of them, the rounding is done here as well.

Conversions run in two threads side by side (`supplies`), and numpy lets the other thread run only while it
computes: a few long steps are quicker than many short ones.
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

#: Elements converted at a time: what one step leaves is still in the cache for the next.
_CHUNK: Final = 1 << 18
#: The same for the many steps of `_round_to_half`.
_SHORT_CHUNK: Final = 1 << 16
#: To see how numpy would fare, one element of so many is looked at, and more than one in so many of these is many.
_SAMPLED: Final = 251
_MANY: Final = 32
#: Fewer elements than this are converted by numpy sooner than they are looked at.
_WORTH_SAMPLING: Final = 1 << 12


class _Layout(NamedTuple):
    """How a float is laid out: an unsigned integer of its size, and the number of bits of its mantissa."""

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
#: Bits of the smallest Float32 that is normal in Float16, 2**-14, and of the smallest that is infinite there, 65520.
_SMALLEST_NORMAL: Final = np.uint32(0x38800000)
_TOO_LARGE: Final = np.uint32(0x477FF000)
_HALF_BITS: Final = 16
_HALF_NAN: Final = 0x7E00
_BRAIN_NAN: Final = 0x7FC0


def can_cast(source: DType, target: DType) -> bool:
    """Tell whether loading converts between two dtypes: equal ones, two floats, or two signed integers.

    Bool, unsigned integers, complex numbers and 8-bit floats are never converted.
    """
    return source is target or {source, target} <= _FLOATS or {source, target} <= _INTEGERS


def cast(array: Array, source: DType, target: DType) -> Array:
    """Convert an array.

    Args:
        array: of any shape, of type ``source.numpy``.
        source: dtype of its elements.
        target: dtype that is wanted.

    Returns:
        A new C-contiguous array of the same shape and type ``target.numpy``.

    Raises:
        ArgumentTypeError: there is no such conversion.
    """
    out = np.empty(array.shape, target.numpy)
    cast_into(array, source, target, out)
    return out


def cast_into(array: Array, source: DType, target: DType, out: Array) -> None:
    """Convert into an array that the caller has; the two may not overlap.

    Args:
        array: of type ``source.numpy``.
        source: dtype of its elements.
        target: dtype that is wanted.
        out: of type ``target.numpy`` and as many elements, C-contiguous and writable; its shape does not matter.

    Raises:
        ArgumentTypeError: there is no such conversion.
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
        return
    # Overflow to infinity is the rule, and what becomes of a NaN does not depend on numpy.
    with np.errstate(all="ignore"):
        for start in range(0, flat.size, _CHUNK):
            _cast_floats(flat[start : start + _CHUNK], source, target, room[start : start + _CHUNK])


def _cast_floats(array: Array, source: DType, target: DType, out: Array) -> None:
    single = array if dtypes.float32 in {source, target} else array.astype(np.float32)
    # A NaN is one before and after, so that the side with fewer bytes tells.
    telling, kind = (array, source) if source.itemsize < target.itemsize else (out, target)
    if target is dtypes.float16 and _is_unusual(single.view("<u4")):
        _round_to_half(single.view("<u4"), out.view("<u2"))
        telling, kind = single, dtypes.float32
    else:
        np.copyto(out, single, casting="unsafe")
    if _has_nans(telling, _LAYOUTS[kind]):
        layout = _LAYOUTS[source]
        bits = array.view(layout.bits)
        nans = (bits & (layout.sign - 1)) > layout.infinity
        _set_nans(bits[nans], layout, target, out, nans)


def _has_nans(array: Array, layout: _Layout) -> bool:
    """Tell whether there are NaNs: as integers they are beyond infinity, on either side of zero."""
    signed = array.view(layout.bits.str.replace("u", "i"))
    return bool(signed.max() > layout.infinity or array.view(layout.bits).max() > (layout.sign | layout.infinity))


def _is_unusual(bits: Array) -> bool:
    """Tell whether many numbers, given by their bits, are too small or too large to be normal in Float16."""
    if bits.size < _WORTH_SAMPLING:
        return False
    size = bits[::_SAMPLED] & _MAGNITUDE
    small = (size < _SMALLEST_NORMAL) & (size > 0)
    large = (size >= _TOO_LARGE) & (size < _INFINITY)
    return bool(np.count_nonzero(small | large) * _MANY > size.size)


def _round_to_half(bits: Array, out: Array) -> None:
    """Round Float32 to Float16, both given by their bits; NaNs become infinite.

    Adding a power of two whose last bit counts as much as the last bit of the result makes the processor
    round there, to the nearest and ties to even. That power is 2**13 times the number's own, or, for
    numbers below 2**-14, which have the spacing of those above it, 2**13 times 2**-14. What the sum is
    above the power of two counts the steps of that spacing, of which 1024 raise Float16's exponent by one.
    Only the low 16 bits are kept, so that the exponents' difference, 126, may be made up for modulo 64.
    """
    # Fresh memory for each step would cost as much as the step.
    scratch = np.empty((3, min(bits.size, _SHORT_CHUNK)), "<u4")
    for start in range(0, bits.size, _SHORT_CHUNK):
        chunk = bits[start : start + _SHORT_CHUNK]
        size, power, sign = scratch[:, : chunk.size]
        np.bitwise_and(chunk, _MAGNITUDE, out=size)
        np.bitwise_xor(chunk, size, out=sign)
        # From 65520 on the result is infinite, as it is for 65536.
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
    """Put NaNs, given by their bits, where they belong among converted elements."""
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
