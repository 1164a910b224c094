"""New values for a parameter: ``assign`` and its relatives."""

from __future__ import annotations

from typing import Any

from ckptload.errors import ArgumentError, ArgumentTypeError
from ckptload.messages import type_name
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
    tensor, found = _variable("assign", variable), tensor_of("assign", value)
    if found.shape != tensor.shape:
        raise ArgumentError(f"values of shape {found.shape} cannot be assigned to shape {tensor.shape}")
    tensor.copy_(found)
    return tensor.data


def assign_add(variable: Any, value: Any) -> Tensor:
    """Add a tensor or a number to a parameter, in place.

    Raises:
        ArgumentTypeError: ``variable`` is not a Tensor.
    """
    tensor = _variable("assign_add", variable)
    tensor.add_(value)
    return tensor.data


def assign_sub(variable: Any, value: Any) -> Tensor:
    """Subtract a tensor or a number from a parameter, in place.

    Raises:
        ArgumentTypeError: ``variable`` is not a Tensor.
    """
    tensor = _variable("assign_sub", variable)
    tensor.sub_(value)
    return tensor.data


def _variable(name: str, variable: Any) -> Tensor:
    """Return what a function changes; a copy of another framework's tensor would be changed in vain."""
    if not isinstance(variable, Tensor):
        raise ArgumentTypeError(f"{name} takes a Parameter, not {type_name(variable)}")
    return variable
