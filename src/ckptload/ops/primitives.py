"""Functions as classes, as older scripts write them: ``Concat(axis=1)((a, b))``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ckptload import shown
from ckptload.errors import ArgumentTypeError, CheckpointError
from ckptload.messages import type_name

if TYPE_CHECKING:
    from collections.abc import Callable


class Primitive:
    """Base of operations that are made with settings and then called with operands.

    Attributes:
        function: what the operation computes.
        settings: with which it was made.
    """

    function: Callable[..., Any]
    settings: dict[str, Any]
    _defaults: dict[str, Any]

    def __init__(self, *given: Any, **named: Any) -> None:
        names = list(self._defaults)
        if len(given) > len(names) or not named.keys() <= set(names[len(given) :]):
            raise ArgumentTypeError(f"{type_name(self)} takes {', '.join(names) or 'no arguments'}")
        self.settings = {**self._defaults, **dict(zip(names, given, strict=False)), **named}

    def __call__(self, *operands: Any) -> Any:
        """Compute the function of the operands."""
        try:
            return type(self).function(*operands, **self.settings)
        except CheckpointError:
            raise
        except TypeError as error:
            raise ArgumentTypeError(
                f"{type_name(self)}(...) takes its operands alone: {shown.foreign(error)}"
            ) from shown.cause(error)


def primitive(name: str, function: Callable[..., Any], **defaults: Any) -> type[Primitive]:
    """Return the class of an operation.

    Args:
        name: its name.
        function: what it computes, of the operands by position and the settings by keyword.
        defaults: the settings in their order, with their defaults.
    """
    doc = f"`{getattr(function, '__name__', name)}` as an operation."
    members = {"function": staticmethod(function), "_defaults": defaults, "__doc__": doc, "__module__": __name__}
    return type(name, (Primitive,), members)
