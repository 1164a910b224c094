"""MindSpore's tensors and Parameters as numpy arrays that share memory, and back."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Final

import mindspore
import numpy as np

from ckptload import dtypes, shown
from ckptload.errors import Hint, UnsupportedTypeError
from ckptload.filters import MAX_NAME
from ckptload.foreign.taken import Taken

if TYPE_CHECKING:
    from ckptload.dtypes import Array, DType


def as_tensor(array: Array, dtype: DType) -> Any:
    """Return a ``mindspore.Tensor`` that shares an array's memory; Int4 is copied.

    The array must be C-contiguous and writable: MindSpore does not respect read-only memory.
    """
    return _copied(array, dtype) if dtype is dtypes.qint4x2 else mindspore.Tensor.from_numpy(array)


#: Up to this many bytes a Parameter is made by MindSpore's constructor, which copies: that takes no longer than
#: sharing, and MindSpore prints tensors in its own memory in its own way.
_COPIED: Final = 64 << 10


def as_parameter(array: Array, dtype: DType, name: str, *, requires_grad: bool = True) -> Any:
    """Return a ``mindspore.Parameter`` of an array, whose memory it shares unless it is small; see `as_tensor`.

    MindSpore's constructor copies its argument, so a small Parameter is made first and then takes the array.
    """
    if len(name) > MAX_NAME:
        name = ""  # MindSpore refuses it, and its own loads give an automatic name, too
    if array.nbytes <= _COPIED and gives_arrays(dtype):
        # A plain array is taken as it is, which saves making one more tensor.
        data = array if array.dtype.isbuiltin == 1 and dtype is not dtypes.qint4x2 else _copied(array, dtype)
        return mindspore.Parameter(data, name=name or None, requires_grad=requires_grad)
    first = dtype if gives_arrays(dtype) else dtypes.float32
    parameter = mindspore.Parameter(_smallest(first), name=name or None, requires_grad=requires_grad)
    if first is not dtype:
        parameter.set_dtype(_smallest(dtype).dtype)
    # Without slice_shape, another shape than that of the small one would be refused.
    parameter.set_data(as_tensor(array, dtype), slice_shape=True)
    parameter.sliced = False
    return parameter


def _copied(array: Array, dtype: DType) -> Any:
    return mindspore.Tensor(array, mindspore.qint4x2) if dtype is dtypes.qint4x2 else mindspore.Tensor(array)


@cache
def _smallest(dtype: DType) -> Any:
    return as_tensor(np.zeros((), dtype.numpy), dtype)


@cache
def gives_arrays(dtype: DType) -> bool:
    """Tell whether ``asnumpy`` works; under numpy 2, MindSpore 2.10 takes arrays of bfloat16 but gives none."""
    try:
        return bool(_smallest(dtype).asnumpy().size)
    except (TypeError, ValueError, RuntimeError):
        return False


@cache
def can_hold(dtype: DType) -> bool:
    """Tell whether this version of MindSpore, with this version of numpy, makes tensors of a dtype from arrays."""
    try:
        return str(_smallest(dtype).dtype) == dtype.name
    except (TypeError, ValueError, RuntimeError):
        return False


def check(dtype: DType, name: str) -> None:
    """Raise UnsupportedTypeError unless MindSpore can hold a dtype."""
    if not can_hold(dtype):
        raise UnsupportedTypeError(
            f"MindSpore {mindspore.__version__} with numpy {np.__version__} cannot make a tensor of {dtype}",
            name=name,
            hint=Hint("leave the entry out with {exclude}", ", or {own_parameters}"),
        )


def refusal(tensor: Any) -> str | None:
    """Return why the values of a tensor cannot be read or written, or None."""
    if type(tensor).__name__ == "MapParameter":
        return "it is a map, which MindSpore fills by itself"
    return None if str(tensor.dtype) in dtypes.BY_NAME else f"the dtype {tensor.dtype} is not known"


def taken(tensor: Any) -> Taken:
    """Return a ``mindspore.Tensor`` or ``mindspore.Parameter`` as an array, which may share its memory.

    Raises:
        UnsupportedTypeError: its values cannot be read.
    """
    name = getattr(tensor, "name", None) or ""
    reason = refusal(tensor)
    if reason is not None:
        raise UnsupportedTypeError(reason, name=name or None)
    dtype = dtypes.BY_NAME[str(tensor.dtype)]
    try:
        if tensor.has_init:
            tensor.init_data()
        if gives_arrays(dtype):
            # Not ascontiguousarray, which changes shape () to (1,).
            array = np.asarray(tensor.asnumpy(), order="C").view(dtype.numpy)
        else:
            array = np.frombuffer(bytearray(tensor.get_bytes()), dtype.numpy).reshape(tensor.shape)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UnsupportedTypeError(
            f"MindSpore cannot give its values: {shown.foreign(error)}", name=name or None
        ) from error
    return Taken(array, dtype, name, requires_grad=bool(getattr(tensor, "requires_grad", True)))
