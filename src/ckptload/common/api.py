"""Compilation, which ckptload does not have: decorated functions run as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from ckptload.absent import absent_from

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["jit"]

Function = TypeVar("Function", bound="Callable[..., Any]")


def jit(function: Function | None = None, **options: Any) -> Any:
    """Return a function unchanged, or a decorator that does; MindSpore would compile it.

    Args:
        function: the function, unless this is called as ``@jit(...)``.
        options: accepted, without effect.
    """
    del options
    return (lambda one: one) if function is None else function


if not TYPE_CHECKING:  # otherwise a type checker would accept any name
    __getattr__ = absent_from(__name__)
