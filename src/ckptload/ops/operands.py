"""What functions are given: tensors, and values that become tensors."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from ckptload.errors import ArgumentTypeError
from ckptload.messages import type_name
from ckptload.tensors import arithmetic
from ckptload.tensors.parameter import as_ours
from ckptload.tensors.spelling import spelled
from ckptload.tensors.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable


def tensor_of(name: str, value: Any, beside: Any = None) -> Tensor:
    """Return a tensor as it is, and make one of a number or a list.

    Args:
        name: the function that was called.
        value: the tensor, which may be MindSpore's, torch's or numpy's, a number or a list.
        beside: another operand; beside a tensor, a number has the dtype that it has in an operation.

    Raises:
        ArgumentTypeError: no tensor can be made of it.
    """
    value = as_ours(value)
    if isinstance(value, Tensor):
        return value
    beside = as_ours(beside)
    if isinstance(beside, Tensor) and isinstance(value, (bool, int, float)):
        return Tensor.adopt(*arithmetic.number(value, beside.dtype))
    if isinstance(value, (bool, int, float, complex, list, tuple)):
        return Tensor(value)
    raise ArgumentTypeError(f"{name} takes a Tensor, not {type_name(value)}", hint="make one first: Tensor(value)")


def method(name: str, *, called: str | None = None) -> Callable[..., Any]:
    """Return the function that calls a method of its first argument.

    Args:
        name: the method of `Tensor`.
        called: name of the function, if it is another one.
    """
    own = getattr(Tensor, name)

    @spelled(x="input", input_x="input", tensor="input", A="input", input_params="input")
    def function(input: Any, *given: Any, **named: Any) -> Any:
        other = given[0] if given else next(iter(named.values()), None)
        return own(tensor_of(called or name, input, other), *given, **named)

    function.__name__ = function.__qualname__ = called or name
    function.__doc__ = own.__doc__
    first, *others = inspect.signature(own).parameters.values()
    vars(function)["__signature__"] = inspect.Signature([first.replace(name="input"), *others])
    return function


def kept(called: str, name: str) -> Callable[..., Any]:
    """Return the function that calls a method of its first argument, and keeps that argument's dtype."""
    compute = method(name, called=called)

    @spelled(x="input")
    def function(input: Any, *given: Any, **named: Any) -> Any:
        tensor = tensor_of(called, input)
        found = compute(tensor, *given, **named)
        return found if named.get("dtype") is not None else found.astype(tensor.dtype, copy=False)

    function.__name__ = function.__qualname__ = called
    function.__doc__ = f"{compute.__doc__}\n\nThe dtype is kept unless one is given."
    vars(function)["__signature__"] = inspect.signature(compute)
    return function


def several(name: str, tensors: Any) -> list[Tensor]:
    """Return tensors that are given in a list or a tuple.

    Raises:
        ArgumentTypeError: it is not a list or a tuple of tensors, it is empty, or their dtypes differ.
    """
    if not isinstance(tensors, (list, tuple)) or not tensors:
        raise ArgumentTypeError(f"{name} takes a list or a tuple of tensors, not {type_name(tensors)}")
    found = [tensor_of(name, one) for one in tensors]
    kinds = {one.dtype: None for one in found}
    if len(kinds) > 1:
        raise ArgumentTypeError(
            f"{name} takes tensors of one dtype, not of {' and '.join(map(str, kinds))}",
            hint="convert them with astype first",
        )
    return found
