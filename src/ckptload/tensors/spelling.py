"""Arguments as scripts give them: under several names, and integers one by one or in a tuple."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ckptload.errors import ArgumentTypeError
from ckptload.messages import type_name

if TYPE_CHECKING:
    from collections.abc import Callable

#: The result of a function; a type checker does not know the other names, and lets every argument pass.
Found = TypeVar("Found")


def spelled(**names: str) -> Callable[[Callable[..., Found]], Callable[..., Found]]:
    """Let a function take arguments under other names as well, which MindSpore's packages have for them.

    Args:
        names: the other name, and the function's own: ``spelled(dim="axis")``.
    """

    def decorate(function: Callable[..., Found]) -> Callable[..., Found]:
        @wraps(function)
        def call(*given: Any, **named: Any) -> Found:
            for other in names.keys() & named.keys():
                own = names[other]
                if own in named:
                    raise ArgumentTypeError(f"{function.__name__} takes {own} or {other}, not both")
                named[own] = named.pop(other)
            return function(*given, **named)

        return call

    return decorate


def integer_of(name: str, value: Any) -> int:
    """Return an integer that is one of Python or numpy.

    Raises:
        ArgumentTypeError: it is something else; `name` is what it is for.
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise ArgumentTypeError(f"{name} takes integers, not {type_name(value)}")
    return int(value)


def dimensions(name: str, axis: Any) -> int | tuple[int, ...] | None:
    """Return the dimensions that a reduction is given: one, several in a tuple or a list, or None or () for all.

    Raises:
        ArgumentTypeError: it is something else; `name` is the reduction.
    """
    if axis is None:
        return None
    if isinstance(axis, (tuple, list)):
        return tuple(integer_of(name, one) for one in axis) or None
    return integer_of(name, axis)


def integers(name: str, given: tuple[Any, ...]) -> tuple[int, ...]:
    """Return integers that are given one by one, or in one tuple or list.

    Raises:
        ArgumentTypeError: there is none, or something is not an integer; `name` is what they are for.
    """
    if len(given) == 1 and isinstance(given[0], (tuple, list)):
        given = tuple(given[0])
    elif not given:
        raise ArgumentTypeError(f"{name} needs a shape")
    return tuple(integer_of(name, value) for value in given)
