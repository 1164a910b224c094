"""New values for a parameter: ``assign`` and its relatives."""

from __future__ import annotations

from typing import Any

from ckptload.errors import ArgumentError, ArgumentTypeError
from ckptload.ops.operands import tensor_of
from ckptload.tensors.tensor import Tensor

__all__ = ["assign", "assign_add", "assign_sub"]


def assign(variable: Any, value: Any) -> Tensor:
    """Set the elements of a parameter to those of a tensor of the same shape, converted to its dtype.

    Returns:
        A Tensor that shares the parameter's memory.

    Raises:
        ArgumentTypeError: ``variable`` is not a Tensor.
        ArgumentError: the shapes differ.
    """
    if not isinstance(variable, Tensor):
        raise ArgumentTypeError(f"assign takes a Parameter, not {type(variable).__name__}")
    found = tensor_of("assign", value)
    if found.shape != variable.shape:
        raise ArgumentError(f"values of shape {found.shape} cannot be assigned to shape {variable.shape}")
    variable.copy_(found)
    return variable.data


def assign_add(variable: Any, value: Any) -> Tensor:
    """Add a tensor or a number to a parameter, in place."""
    tensor_of("assign_add", variable).add_(value)
    return tensor_of("assign_add", variable).data


def assign_sub(variable: Any, value: Any) -> Tensor:
    """Subtract a tensor or a number from a parameter, in place."""
    tensor_of("assign_sub", variable).sub_(value)
    return tensor_of("assign_sub", variable).data
