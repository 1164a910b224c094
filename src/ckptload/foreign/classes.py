"""Recognise objects of other frameworks by the names of their classes, without importing a framework."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from types import ModuleType

MINDSPORE: Final = "mindspore"
TORCH: Final = "torch"


def is_a(value: object, framework: str, name: str) -> bool:
    """Tell whether one of the classes of a value has this name and comes from this framework."""
    return any(cls.__name__ == name and cls.__module__.partition(".")[0] == framework for cls in type(value).__mro__)


def imported_mindspore() -> ModuleType | None:
    """Return MindSpore if this process has imported it, and None otherwise; it is never imported here.

    A module that is still being imported, and another one under MindSpore's name, such as this package, do not count.
    """
    module = sys.modules.get(MINDSPORE)
    parameter = getattr(module, "__dict__", {}).get("Parameter")
    found = isinstance(parameter, type) and parameter.__module__.partition(".")[0] == MINDSPORE
    begun = getattr(getattr(module, "__spec__", None), "_initializing", False)
    return module if found and not begun else None
