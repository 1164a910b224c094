"""Tensors under the module name of MindSpore's scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ckptload.absent import absent_from
from ckptload.tensors.tensor import Tensor, is_tensor

if TYPE_CHECKING:
    from ckptload.dtypes import Array, DType

__all__ = ["Tensor", "from_numpy", "is_tensor", "tensor"]


def tensor(
    input_data: Any = None,
    dtype: DType | None = None,
    shape: Any = None,
    init: Any = None,
    const_arg: bool = False,
    device: str | None = None,
) -> Tensor:
    """Return a new `Tensor`; the arguments are those of the class."""
    return Tensor(input_data, dtype, shape, init, const_arg, device)


def from_numpy(array: Array) -> Tensor:
    """Wrap an ndarray, without a copy if possible; see `Tensor.from_numpy`."""
    return Tensor.from_numpy(array)


if not TYPE_CHECKING:  # otherwise a type checker would accept any name
    __getattr__ = absent_from(__name__)
