"""The error for a name that a module of ckptload does not have, although MindSpore's module of that name may."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

from ckptload.errors import MissingAttributeError
from ckptload.messages import closest

if TYPE_CHECKING:
    from collections.abc import Callable

#: What parallel training has and a checkpoint has not.
_OF_GRAPHS: Final = frozenset(
    {"Layout", "parameter_broadcast", "set_op_strategy_config", "shard", "sync_pipeline_shared_parameters"}
)
#: From this similarity on, the nearest name is probably the one that was meant.
_ALIKE: Final = 0.8


def absent(module: str, name: str, instead: str | None = None) -> MissingAttributeError:
    """Return the error for a missing name, with the nearest name of the module and where MindSpore has its own.

    Args:
        module: full name of the module, such as ``ckptload.nn``.
        name: the name that was asked for.
        instead: what to do without MindSpore, if there is something.
    """
    problem = f"module {module!r} has no attribute {name!r}"
    if name.startswith("_"):
        return MissingAttributeError(problem)
    import difflib  # noqa: PLC0415 -- needed only for errors

    theirs = "mindspore" + module.removeprefix("ckptload")
    near = closest(name, getattr(sys.modules[module], "__all__", ()), 1)
    meant = (
        f"did you mean {near[0]!r}? " if near and difflib.SequenceMatcher(None, name, near[0]).ratio() >= _ALIKE else ""
    )
    if name in _OF_GRAPHS:
        hint = f"it belongs to a running graph; take it from MindSpore: from {theirs} import {name}"
        return MissingAttributeError(problem, hint=hint + (f"; or {instead}" if instead else ""))
    hint = f"ckptload loads, converts and saves; take anything else from MindSpore: from {theirs} import {name}"
    return MissingAttributeError(problem, hint=f"{meant}{hint}" + (f"; or {instead}" if instead else ""))


def absent_from(module: str, instead: str | None = None) -> Callable[[str], Any]:
    """Return a ``__getattr__`` for a module, which raises `absent` for every name."""

    def attribute(name: str) -> Any:
        raise absent(module, name, instead)

    return attribute
