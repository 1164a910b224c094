"""The checkpoint functions for scripts with MindSpore: they give and take MindSpore's own objects.

    from ckptload.mindspore import load_checkpoint      # in place of: from mindspore import load_checkpoint

`install` puts them into MindSpore's place, for code that cannot be edited.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from types import ModuleType
from typing import Any, Final, TypeVar, cast

from ckptload import loading
from ckptload.binding.loading import load_param_into_net, plan_binding
from ckptload.converting.converters import ckpt_to_safetensors, safetensors_to_ckpt
from ckptload.encryption.keys import hidden_in, places_of
from ckptload.errors import MissingPackageError
from ckptload.foreign.classes import MINDSPORE, imported_mindspore
from ckptload.frameworks import to_mindspore
from ckptload.ranks import joining
from ckptload.ranks.replicas import get_ckpt_path_with_strategy, restore_group_info_list
from ckptload.ranks.strategy_files import build_searched_strategy
from ckptload.reading import opening
from ckptload.resharding import distributed
from ckptload.resharding.holders import rank_list_for_transform
from ckptload.resharding.strategies import merge_pipeline_strategys
from ckptload.resharding.transforming import transform_checkpoint_by_rank, transform_checkpoints
from ckptload.resharding.unifying import unified_safetensors
from ckptload.saving import save_checkpoint, wait_for_saves

__all__ = [
    "Installation", "build_searched_strategy", "ckpt_to_safetensors", "get_ckpt_path_with_strategy", "install",
    "load_checkpoint", "load_checkpoint_async", "load_distributed_checkpoint", "load_param_into_net",
    "load_segmented_checkpoints", "merge_pipeline_strategys", "merge_sliced_parameter", "open_checkpoint",
    "plan_binding", "rank_list_for_transform", "restore_group_info_list", "safetensors_to_ckpt", "save_checkpoint",
    "to_mindspore", "transform_checkpoint_by_rank", "transform_checkpoints", "unified_safetensors", "uninstall",
]  # fmt: skip

Function = TypeVar("Function", bound=Callable[..., Any])


def _with_mindspore(function: Function) -> Function:
    """Return a function with ``parameters="mindspore"`` for a default."""
    places = places_of(function)

    @wraps(function)
    def loading_parameters(*args: Any, **kwargs: Any) -> Any:
        args, kwargs = hidden_in(places, args, kwargs)
        return function(*args, **{"parameters": MINDSPORE, **kwargs})

    return cast("Function", loading_parameters)


load_checkpoint = _with_mindspore(loading.load_checkpoint)
load_checkpoint_async = _with_mindspore(loading.load_checkpoint_async)
open_checkpoint = _with_mindspore(opening.open_checkpoint)
load_distributed_checkpoint = _with_mindspore(distributed.load_distributed_checkpoint)
load_segmented_checkpoints = _with_mindspore(distributed.load_segmented_checkpoints)


def merge_sliced_parameter(sliced_parameters: list[Any], strategy: Any = None) -> Any:
    """Join the slices of a parameter, ours or MindSpore's, as `ckptload.merge_sliced_parameter` does.

    Returns:
        A ``mindspore.Parameter``.
    """
    merged = joining.merge_sliced_parameter(sliced_parameters, strategy)
    found = to_mindspore({merged.name: merged})[merged.name]
    found.requires_grad = merged.requires_grad
    return found


def _stand_in(function: Function) -> Function:
    """Return another object that does the same, so that `uninstall` finds what `install` has put somewhere."""
    places = places_of(function)

    @wraps(function)
    def stand_in(*args: Any, **kwargs: Any) -> Any:
        args, kwargs = hidden_in(places, args, kwargs)
        return function(*args, **kwargs)

    return cast("Function", stand_in)


def _wait_async_process_save_ckpt() -> None:
    """Wait for saves by processes, MindSpore's and ours: its callback calls this at the end of training.

    Those by threads it finds by their name.
    """
    theirs = _theirs.get("_wait_async_process_save_ckpt")
    if theirs is not None:
        theirs()
    wait_for_saves()


#: What is put into the place of MindSpore's function of the same name.
_STAND_INS: Final[dict[str, Callable[..., Any]]] = {
    function.__name__: _stand_in(function)
    for function in (
        *(load_checkpoint, load_checkpoint_async, load_param_into_net),
        *(save_checkpoint, ckpt_to_safetensors, safetensors_to_ckpt, _wait_async_process_save_ckpt),
    )
}

_NONE: Final = "there is no MindSpore to put functions into"

#: MindSpore's own functions, while ours are in their place.
_theirs: Final[dict[str, Callable[..., Any]]] = {}
#: Those that have not ended; ckptload's functions are in MindSpore's place while there is one.
_open: Final[list[Installation]] = []
#: Reentrant, for signal handlers; what it protects is done in an order that lets them.
_lock: Final = threading.RLock()


class Installation:
    """What `install` returns: a context manager. When the last one that is open ends, MindSpore's functions are back.

    One that is not used with ``with`` is open until `uninstall`.
    """

    def __enter__(self) -> Installation:
        with _lock:
            if self not in _open:
                _open.append(self)
                _put_in()
        return self

    def __exit__(self, *_: object) -> None:
        with _lock:
            if self in _open:
                _open.remove(self)
                if not _open:
                    _put_back()


def install() -> Installation:
    """Put ckptload's checkpoint functions into the place of MindSpore's.

    They are `load_checkpoint`, `load_checkpoint_async`, `load_param_into_net`, `save_checkpoint`,
    `ckpt_to_safetensors` and `safetensors_to_ckpt`. They are replaced in every module that holds them: those of
    MindSpore, whose callbacks save with them and wait for the last save, and those that have imported them by name.
    Modules that are imported later get ckptload's. MindSpore is imported if it was not yet. Installing twice changes
    nothing more.

    Returns:
        A context manager: ``with ckptload.mindspore.install(): ...`` ends with `uninstall`.

    Raises:
        MissingPackageError: MindSpore is not installed.
    """
    try:
        import_module("mindspore.train.serialization")
    except ImportError as error:
        raise MissingPackageError(_NONE, hint="pip install mindspore") from error
    if imported_mindspore() is None:
        raise MissingPackageError(f"{_NONE}: another module has its name", hint="install mindspore, and import it")
    return Installation().__enter__()


def uninstall() -> None:
    """Put MindSpore's own functions back, also in modules imported meanwhile; do nothing without `install`."""
    with _lock:
        _open.clear()
        _put_back()


def _put_in() -> None:
    modules = [sys.modules["mindspore.train.serialization"], sys.modules["mindspore"]]
    for name, ours in _STAND_INS.items():
        theirs = next((getattr(module, name) for module in modules if hasattr(module, name)), ours)
        if theirs is not ours:  # older releases have fewer
            _theirs.setdefault(name, theirs)
    _replace({id(theirs): _STAND_INS[name] for name, theirs in _theirs.items()})


def _put_back() -> None:
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
