"""The kinds of Parameters that a load can return, and how one is made from an array."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ckptload import extras
from ckptload.errors import ArgumentError, ArgumentTypeError, Hint, MissingPackageError, importable
from ckptload.foreign.classes import MINDSPORE, TORCH, imported_mindspore
from ckptload.messages import shown_value, type_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ckptload.dtypes import Array, DType

#: Values of ``parameters=``. AUTO stands for MindSpore's if this process has imported MindSpore, else for ours.
AUTO: Final = "auto"
OURS: Final = "ckptload"
NUMPY: Final = "numpy"
KINDS: Final = (AUTO, MINDSPORE, OURS, NUMPY, TORCH)


def chosen(parameters: object) -> str:
    """Return the kind that an argument ``parameters`` stands for; never AUTO.

    Raises:
        ArgumentTypeError: it is not a str.
        ArgumentError: there is no such kind.
        MissingPackageError: the framework is not installed.
    """
    if not isinstance(parameters, str):
        raise ArgumentTypeError(f"parameters must be a str, not {type_name(parameters)}")
    if parameters not in KINDS:
        raise ArgumentError(f"parameters must be one of {', '.join(map(repr, KINDS))}, not {shown_value(parameters)}")
    if parameters == AUTO:
        return OURS if imported_mindspore() is None else MINDSPORE
    if parameters in (MINDSPORE, TORCH):
        hint = Hint("{install}", ", or {own_parameters}", install=step(parameters))
        need(parameters, f"parameters={parameters!r}", hint=hint)
    return parameters


def need(framework: str, what: str, *, path: str | None = None, hint: Hint | None = None) -> None:
    """Import a framework that a call cannot do without.

    Args:
        framework: `TORCH` or `MINDSPORE`.
        what: what needs it, for the message.
        path: the file that the call is about.
        hint: what to do; by default to install it.

    Raises:
        MissingPackageError: it is not installed, or cannot be imported.
    """
    cause: ImportError | None = None
    try:
        with importable(framework):
            import_module(framework)
    except ImportError as error:
        cause = error
    if cause is not None or (framework == MINDSPORE and imported_mindspore() is None):
        raise MissingPackageError(
            f"{what} needs {framework}, which is not installed here, or broken",
            path=path,
            hint=hint or Hint("{install}", install=step(framework)),
        ) from cause


def step(framework: str) -> str:
    """Return how to install a framework."""
    return extras.install(extras.TORCH) if framework == TORCH else f"pip install {framework}"


def check(kind: str, tensors: Iterable[tuple[str, DType]]) -> None:
    """Raise UnsupportedTypeError for the first tensor, given by name and dtype, that a kind cannot hold."""
    if kind == MINDSPORE:
        from ckptload.foreign import mindspore_tensors  # noqa: PLC0415 -- imports MindSpore

        for name, dtype in tensors:
            mindspore_tensors.check(dtype, name)
    elif kind == TORCH:
        from ckptload.foreign import torch_tensors  # noqa: PLC0415 -- imports torch

        for name, dtype in tensors:
            torch_tensors.check(dtype, name)


def parameter(kind: str, array: Array, dtype: DType, name: str, *, requires_grad: bool = True) -> Any:
    """Make what a kind holds a named tensor in, from an array whose memory it takes over.

    An array that is read-only or unaligned is copied, unless the kind is numpy's.

    Raises:
        UnsupportedTypeError: the kind cannot hold the dtype.
    """
    if kind == NUMPY:
        return array
    array = _writable(array)
    if kind == TORCH:
        from ckptload.foreign import torch_tensors  # noqa: PLC0415 -- imports torch

        return torch_tensors.as_tensor(array, dtype, name)
    from ckptload.foreign import mindspore_tensors  # noqa: PLC0415 -- imports MindSpore

    mindspore_tensors.check(dtype, name)
    return mindspore_tensors.as_parameter(array, dtype, name, requires_grad=requires_grad)


def tensor(kind: str, array: Array, dtype: DType, name: str) -> Any:
    """Make a tensor without a name, such as a part of one; see `parameter`. `name` is for errors."""
    if kind != MINDSPORE:
        return parameter(kind, array, dtype, name)
    from ckptload.foreign import mindspore_tensors  # noqa: PLC0415 -- imports MindSpore

    mindspore_tensors.check(dtype, name)
    return mindspore_tensors.as_tensor(_writable(array), dtype)


def _writable(array: Array) -> Array:
    flags = array.flags
    if flags.c_contiguous and flags.aligned and flags.writeable:
        return array
    return np.require(array, requirements=("C", "A", "W"))
