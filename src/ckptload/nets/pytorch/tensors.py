"""Torch tensors as numpy arrays that share memory, and back, for every dtype that both have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch

from ckptload import dtypes
from ckptload.errors import UnsupportedTypeError

if TYPE_CHECKING:
    from ckptload.dtypes import Array, DType


_TORCH: Final[dict[DType, torch.dtype]] = {
    dtypes.bool_: torch.bool,
    dtypes.int8: torch.int8,
    dtypes.int16: torch.int16,
    dtypes.int32: torch.int32,
    dtypes.int64: torch.int64,
    dtypes.uint8: torch.uint8,
    dtypes.float16: torch.float16,
    dtypes.float32: torch.float32,
    dtypes.float64: torch.float64,
    dtypes.bfloat16: torch.bfloat16,
    dtypes.complex64: torch.complex64,
    dtypes.complex128: torch.complex128,
    dtypes.qint4x2: torch.int8,
    # Newer releases of torch have more dtypes; one that is missing is not supported.
    **{
        dtype: getattr(torch, name)
        for dtype, name in (
            (dtypes.uint16, "uint16"),
            (dtypes.uint32, "uint32"),
            (dtypes.uint64, "uint64"),
            (dtypes.float8_e4m3fn, "float8_e4m3fn"),
            (dtypes.float8_e5m2, "float8_e5m2"),
        )
        if hasattr(torch, name)
    },
}
_MINDSPORE: Final = {torch_dtype: dtype for dtype, torch_dtype in _TORCH.items() if dtype is not dtypes.qint4x2}

#: torch does not convert these to numpy, so numpy gets their memory as integers of the same size.
_AS_INTEGERS: Final = {1: torch.uint8, 2: torch.int16}


def dtype_of(tensor: torch.Tensor) -> DType | None:
    """Return a tensor's dtype in MindSpore, or None if MindSpore does not have it."""
    return _MINDSPORE.get(tensor.dtype)


def as_array(tensor: torch.Tensor, dtype: DType) -> Array:
    """View a contiguous CPU tensor as an array; both share memory."""
    tensor = tensor.detach()
    if dtype.numpy.kind == "V" or dtype in (dtypes.bfloat16, dtypes.float8_e4m3fn, dtypes.float8_e5m2):
        array: Array = tensor.view(_AS_INTEGERS[dtype.itemsize]).numpy()
        return array.view(dtype.numpy)
    found: Array = tensor.numpy()
    return found


def as_tensor(array: Array, dtype: DType, name: str) -> torch.Tensor:
    """View an array as a tensor; both share memory.

    Raises:
        UnsupportedTypeError: this version of torch does not have the dtype.
    """
    wanted = _TORCH.get(dtype)
    if wanted is None:
        raise UnsupportedTypeError(
            f"torch {torch.__version__} has no dtype for {dtype}", name=name, hint="leave the entry out"
        )
    if dtype in (dtypes.bfloat16, dtypes.float8_e4m3fn, dtypes.float8_e5m2):
        integers = array.view("u1" if dtype.itemsize == 1 else "<i2")
        return torch.from_numpy(integers).view(wanted)
    return torch.from_numpy(array)
