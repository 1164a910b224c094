"""What scripts ask a tensor about itself, and tensors of the same kind with other elements."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ckptload import dtypes
from ckptload.errors import ArgumentTypeError
from ckptload.tensors import arithmetic
from ckptload.tensors.construction import as_dtype, from_python
from ckptload.tensors.operators import Held, Result
from ckptload.tensors.spelling import integers

if TYPE_CHECKING:
    from ckptload.dtypes import DType


class Properties(Held[Result]):
    """Answers that do not need the elements; conversions to integers; new tensors of the same dtype."""

    @property
    def device(self) -> str:
        """Where the elements are: ``"CPU"``."""
        return "CPU"

    def is_contiguous(self) -> bool:
        """Return whether the elements are in C order in memory, which is always so."""
        return bool(self._array.flags.c_contiguous)

    def contiguous(self) -> Any:
        """Return the tensor itself, whose elements are in C order."""
        return self

    def nelement(self) -> int:
        """Return the number of elements."""
        return self._array.size

    def ndimension(self) -> int:
        """Return the number of dimensions."""
        return self._array.ndim

    def stride(self, dim: int | None = None) -> Any:
        """Return the elements from one to the next of each dimension, or of one."""
        steps = [step // self._dtype.itemsize for step in self._array.strides]
        with arithmetic.translated("stride"):
            return steps if dim is None else steps[dim]

    def storage_offset(self) -> int:
        """Return the elements before the first one in memory: 0."""
        return 0

    def is_floating_point(self) -> bool:
        """Return whether the elements are floats."""
        return self._dtype.numpy.kind in "fV" or self._dtype is dtypes.hifloat8

    def is_complex(self) -> bool:
        """Return whether the elements are complex numbers."""
        return self._dtype.numpy.kind == "c"

    def is_signed(self) -> bool:
        """Return whether the elements can be negative."""
        return self._dtype.numpy.kind not in "bu" or self._dtype is dtypes.hifloat8

    # -- conversions ------------------------------------------------------------------------------

    def type(self, dtype: DType | None = None) -> Any:
        """Return the name of the dtype; or convert the elements, if a dtype is given."""
        return str(self._dtype) if dtype is None else self.astype(dtype)

    def type_as(self, other: Held[Any]) -> Result:
        """Convert the elements to the dtype of another tensor."""
        if not isinstance(other, Held):
            raise ArgumentTypeError(f"type_as takes a Tensor, not {type(other).__name__}")
        return self.astype(other.dtype)

    def int(self) -> Result:
        """Convert to Int32."""
        return self.astype(dtypes.int32)

    def long(self) -> Result:
        """Convert to Int64."""
        return self.astype(dtypes.int64)

    def short(self) -> Result:
        """Convert to Int16."""
        return self.astype(dtypes.int16)

    def byte(self) -> Result:
        """Convert to UInt8."""
        return self.astype(dtypes.uint8)

    def bool(self) -> Result:
        """Convert to Bool."""
        return self.astype(dtypes.bool_)

    # -- new tensors ------------------------------------------------------------------------------

    def new_full(self, size: Any, fill_value: Any, *, dtype: DType | None = None) -> Result:
        """Return a tensor of one number, with this dtype unless another is given."""
        wanted = self._dtype if dtype is None else as_dtype(dtype)
        with arithmetic.translated("new_full"):
            element, _ = from_python(fill_value, wanted)
            return self._plain(np.full(integers("new_full", (size,)), element, wanted.numpy), wanted)

    def new_zeros(self, size: Any, dtype: DType | None = None) -> Result:
        """Return a tensor of zeros, with this dtype unless another is given."""
        return self.new_full(size, 0, dtype=dtype)

    def new_ones(self, size: Any, dtype: DType | None = None) -> Result:
        """Return a tensor of ones, with this dtype unless another is given."""
        return self.new_full(size, 1, dtype=dtype)

    def new_empty(self, size: Any, *, dtype: DType | None = None) -> Result:
        """Return a tensor whose elements do not matter: zeros."""
        return self.new_full(size, 0, dtype=dtype)
