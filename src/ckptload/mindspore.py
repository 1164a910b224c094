"""The checkpoint functions for scripts with MindSpore: they give and take MindSpore's own objects.

    from ckptload.mindspore import load_checkpoint      # in place of: from mindspore import load_checkpoint

`install` puts them into MindSpore's place, for code that cannot be edited.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from functools import wraps
from types import ModuleType
from typing import Any, Final, TypeVar, cast

from ckptload import loading
from ckptload.binding.loading import load_param_into_net, plan_binding
from ckptload.converting.converters import ckpt_to_safetensors, safetensors_to_ckpt
from ckptload.errors import MissingPackageError
from ckptload.foreign.classes import MINDSPORE, imported_mindspore
from ckptload.frameworks import to_mindspore
from ckptload.reading import opening
from ckptload.saving import save_checkpoint

__all__ = [
    "Installation", "ckpt_to_safetensors", "install", "load_checkpoint", "load_checkpoint_async", "load_param_into_net",
    "open_checkpoint", "plan_binding", "safetensors_to_ckpt", "save_checkpoint", "to_mindspore", "uninstall",
]  # fmt: skip

Function = TypeVar("Function", bound=Callable[..., Any])


def _with_mindspore(function: Function) -> Function:
    """Return a function with ``parameters="mindspore"`` for a default."""

    @wraps(function)
    def loading_parameters(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **{"parameters": MINDSPORE, **kwargs})

    return cast("Function", loading_parameters)


load_checkpoint = _with_mindspore(loading.load_checkpoint)
load_checkpoint_async = _with_mindspore(loading.load_checkpoint_async)
open_checkpoint = _with_mindspore(opening.open_checkpoint)


def _stand_in(function: Function) -> Function:
    """Return another object that does the same, so that `uninstall` finds what `install` has put somewhere."""

    @wraps(function)
    def stand_in(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return cast("Function", stand_in)


#: What is put into the place of MindSpore's function of the same name.
_STAND_INS: Final[dict[str, Callable[..., Any]]] = {
    function.__name__: _stand_in(function)
    for function in (
        *(load_checkpoint, load_checkpoint_async, load_param_into_net),
        *(save_checkpoint, ckpt_to_safetensors, safetensors_to_ckpt),
    )
}

_NONE: Final = "there is no MindSpore to put functions into"

#: MindSpore's own functions, while ours are in their place.
_theirs: Final[dict[str, Callable[..., Any]]] = {}
_lock: Final = threading.Lock()


class Installation:
    """What `install` returns: a context manager that takes ckptload's functions out again when it ends.

    It leaves them where they are if they were installed before it.
    """

    def __init__(self, *, is_first: bool) -> None:
        self._is_first = is_first

    def __enter__(self) -> Installation:
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_first:
            uninstall()


def install() -> Installation:
    """Put ckptload's checkpoint functions into the place of MindSpore's.

    They are `load_checkpoint`, `load_checkpoint_async`, `load_param_into_net`, `save_checkpoint`,
    `ckpt_to_safetensors` and `safetensors_to_ckpt`. They are replaced in every module that holds them: those of
    MindSpore, whose callbacks save with them, and those that have imported them by name. Modules that are imported
    later get ckptload's. MindSpore is imported if it was not yet. Installing twice changes nothing more.

    Returns:
        A context manager: ``with ckptload.mindspore.install(): ...`` ends with `uninstall`.

    Raises:
        MissingPackageError: MindSpore is not installed.
    """
    try:
        import mindspore  # noqa: PLC0415 -- the caller works with it
        from mindspore.train import serialization  # noqa: PLC0415
    except ImportError as error:
        raise MissingPackageError(_NONE, hint="install mindspore") from error
    if imported_mindspore() is None:
        raise MissingPackageError(f"{_NONE}: another module has its name", hint="install mindspore, and import it")
    with _lock:
        if _theirs:
            return Installation(is_first=False)
        for name in _STAND_INS:
            theirs = getattr(serialization, name, None) or getattr(mindspore, name, None)
            if theirs is not None:  # older releases have fewer
                _theirs[name] = theirs
        _replace({id(theirs): _STAND_INS[name] for name, theirs in _theirs.items()})
        return Installation(is_first=True)


def uninstall() -> None:
    """Put MindSpore's own functions back, also in modules imported meanwhile; do nothing without `install`."""
    with _lock:
        _replace({id(_STAND_INS[name]): theirs for name, theirs in _theirs.items()})
        _theirs.clear()


def _replace(replacements: dict[int, Callable[..., Any]]) -> None:
    """Replace functions, given by their ids, in every module but this one."""
    for module in list(sys.modules.values()):
        if not isinstance(module, ModuleType) or module.__name__ == __name__:
            continue
        names = vars(module)
        for name, value in list(names.items()):
            found = replacements.get(id(value))
            if found is not None:
                names[name] = found
