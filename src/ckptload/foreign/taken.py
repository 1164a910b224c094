"""What is taken from a tensor of another framework."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ckptload.dtypes import Array, DType


class Taken(NamedTuple):
    """The values of a tensor of another framework.

    Attributes:
        array: its elements, C-contiguous, of type ``dtype.numpy``; they share its memory if that is possible.
        dtype: MindSpore's dtype for them.
        name: its name; empty if it has none.
        requires_grad: whether training changes it; True if it does not say.
    """

    array: Array
    dtype: DType
    name: str = ""
    requires_grad: bool = True
