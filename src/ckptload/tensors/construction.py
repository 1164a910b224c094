"""Build arrays from Python values, and convert element types, by MindSpore's rules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ckptload import dtypes, shown
from ckptload.errors import ArgumentOverflowError, ArgumentTypeError
from ckptload.foreign.taking import check_elements, taken
from ckptload.messages import shown_value, type_name
from ckptload.tensors import casting

if TYPE_CHECKING:
    from ckptload.dtypes import Array, DType


# Dtypes of lists and plain numbers, as in MindSpore (mindspore/common/tensor.py, _set_default_dtype).
_DEFAULTS: Final = {
    np.dtype(np.float64): dtypes.float32,
    np.dtype(np.int32): dtypes.int64,
    np.dtype(np.int64): dtypes.int64,
}

_NAMED: Final[dict[Any, DType]] = {
    **{dtype.attribute: dtype for dtype in dtypes.ALL},
    **{dtype.spelling: dtype for dtype in dtypes.ALL},
    **dict.fromkeys(("float", "double", float), dtypes.float64),
    **dict.fromkeys(("int", "long", int), dtypes.int64),
    "half": dtypes.float16,
    "single": dtypes.float32,
    "short": dtypes.int16,
    "byte": dtypes.int8,
    "ubyte": dtypes.uint8,
    bool: dtypes.bool_,
    complex: dtypes.complex128,
}


def as_dtype(value: object) -> DType:
    """Return the dtype for one of ours, of MindSpore, torch or numpy, for a name or for a Python type.

    Raises:
        ArgumentTypeError: it is not a dtype.
    """
    if isinstance(value, (str, type)) and value in _NAMED:
        return _NAMED[value]
    found = dtypes.like(value)
    if found is not None:
        return found
    raise ArgumentTypeError(
        f"{shown_value(value)} is not a dtype", hint="use one of: " + ", ".join(dtype.attribute for dtype in dtypes.ALL)
    )


def from_python(data: object, dtype: DType | None) -> tuple[Array, DType]:
    """Make a new array from a number, a nested list or tuple, a numpy scalar, or a tensor of numpy, MindSpore or torch.

    Without ``dtype``, a tensor or numpy scalar keeps its type; integers become Int64 and floats Float32.
    Big-endian arrays are converted to little-endian.

    Returns:
        A new C-contiguous array in little-endian order, and its dtype.

    Raises:
        ArgumentTypeError: MindSpore cannot make a tensor of the value.
    """
    found = taken(data)
    if found is not None:
        array, source = found.array, found.dtype
        return (np.array(array, order="C"), source) if dtype is None else (convert(array, source, dtype), dtype)
    if not isinstance(data, (np.generic, list, tuple, int, float, complex)):
        raise ArgumentTypeError(
            f"a tensor cannot be made from {type_name(data)}",
            hint="give a number, a list, a tuple, a numpy.ndarray or a Tensor",
        )
    check_elements(data)
    try:
        array = np.asarray(data)
    except (ValueError, TypeError) as error:
        raise ArgumentTypeError(f"the elements do not form a tensor: {shown.foreign(error)}") from shown.cause(error)
    if array.dtype == object:
        raise ArgumentTypeError(
            "the elements do not form a tensor of numbers",
            hint="all rows need the same length, and integers must fit Int64 or UInt64",
        )
    source = dtypes.from_numpy(array.dtype)
    if dtype is None:
        dtype = source if isinstance(data, np.generic) else _DEFAULTS.get(source.numpy, source)
    array = np.array(array, source.numpy, order="C")
    return (array, dtype) if dtype is source else (convert(array, source, dtype), dtype)


def convert(array: Array, source: DType, target: DType) -> Array:
    """Convert elements as MindSpore's ``astype`` does; floats and signed integers follow `casting`.

    A float that becomes an integer loses its fraction, and a complex number that becomes real its imaginary part.
    An integer that does not fit wraps around.

    Returns:
        A new C-contiguous array of type ``target.numpy``.

    Raises:
        ArgumentTypeError: one of the types is HiFloat8, which numpy cannot convert.
    """
    if source is target:
        return array.copy()
    if dtypes.hifloat8 in {source, target}:
        raise ArgumentTypeError(
            f"{source} cannot be converted to {target}", hint="get_bytes() gives the elements' bytes"
        )
    if casting.can_cast(source, target):
        return casting.cast(array, source, target)
    with np.errstate(all="ignore"):
        if source.numpy.kind == "c" and target.numpy.kind != "c" and target is not dtypes.bool_:
            array = array.real
        if _is_small_float(source) or _is_small_float(target):
            # numpy cannot convert ml_dtypes' types to all of its own; Float32 holds every small float exactly.
            array = array.astype(np.float32)
        return np.asarray(array.astype(target.numpy), order="C")


def _is_small_float(dtype: DType) -> bool:
    return dtype.numpy.kind in "Vf" and dtype.itemsize < np.dtype(np.float32).itemsize


def integer(value: int, dtype: DType) -> Array:
    """Store a Python integer in an array of shape ``()``.

    Raises:
        ArgumentOverflowError: it does not fit.
    """
    limits = np.iinfo(dtype.numpy)
    if not limits.min <= value <= limits.max:
        raise ArgumentOverflowError(
            f"{shown_value(value)} does not fit {dtype}, which holds {limits.min} to {limits.max}",
            hint="make a Tensor of a wider dtype first, such as Tensor(value, int64)",
        )
    return np.array(value, dtype.numpy)
