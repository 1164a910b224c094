"""Whatever a method or a function of tensors is given, only our exceptions escape."""

from __future__ import annotations

import contextlib
import inspect
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import ckptload
from ckptload.errors import CheckpointError
from ckptload.tensors.elementwise import Elementwise
from ckptload.tensors.properties import Properties
from ckptload.tensors.reductions import Reductions
from ckptload.tensors.selecting import Selecting
from ckptload.tensors.shaping import Shaping
from ckptload.tensors.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.slow, pytest.mark.once]

MIXINS = (Elementwise, Properties, Reductions, Selecting, Shaping)
METHODS = [name for mixin in MIXINS for name, value in vars(mixin).items() if name[0] != "_" and callable(value)]

ODD: list[Any] = [
    None, "a", b"a", object(), 1.5, float("nan"), -7, 1 << 70, True, 1j, [], [[1], [2, 3]], (1, "a"), {}, {1: 2},
    np.ones(2), np.ones(3, object), np.int64(3), slice(None), Ellipsis, int, ckptload.float32, ckptload.hifloat8,
    ckptload.float_, Tensor(1), Tensor([1.5]), Tensor([True, False, True]), Tensor(np.zeros((0, 3))), Tensor([5, -9]),
]  # fmt: skip

TENSORS = [
    Tensor(np.arange(6.0).reshape(2, 3)),
    Tensor(3),
    Tensor(np.zeros((0, 2), np.int8)),
    Tensor([True]),
    Tensor([1j, 2]),
    Tensor.adopt(np.ones((2, 2), np.uint8), ckptload.hifloat8),
    Tensor.adopt(np.ones((2, 2), ckptload.bfloat16.numpy), ckptload.bfloat16),
]


def attempt(function: Callable[..., Any], *given: Any) -> None:
    """Call a function if it takes so many arguments, and accept its result or one of our exceptions."""
    try:
        inspect.signature(function).bind(*given)
    except TypeError:
        return
    try:
        function(*given)
    except CheckpointError:
        pass
    except Exception as error:
        raise AssertionError(f"{type(error).__name__} escapes from {function} with {given}: {error}") from error


@pytest.mark.parametrize("name", METHODS)
def test_only_our_exceptions_escape_from_a_method(name: str) -> None:
    for tensor in TENSORS:
        attempt(getattr(tensor.copy(), name))
        for odd in ODD:
            attempt(getattr(tensor.copy(), name), odd)
            for second in (odd, 0, 1, Tensor([0, 1])):
                attempt(getattr(tensor.copy(), name), odd, second)
                attempt(getattr(tensor.copy(), name), second, odd)


FUNCTIONS = [
    (module, name)
    for module in ("ops", "mint", "numpy")
    for name, value in vars(getattr(ckptload, module)).items()
    if name in getattr(ckptload, module).__all__ and inspect.isfunction(value)
]


@pytest.mark.parametrize(("module", "name"), FUNCTIONS)
def test_only_our_exceptions_escape_from_a_function(module: str, name: str) -> None:
    function = getattr(getattr(ckptload, module), name)
    attempt(function)
    for odd in [*ODD, TENSORS[:2], (TENSORS[0], TENSORS[0])]:
        attempt(function, odd)
        for second in (odd, 1, TENSORS[0], Tensor([0, 1])):
            attempt(function, odd, second)
            attempt(function, second, odd)
            attempt(function, TENSORS[0], odd, second)


CLASSES = list(ckptload.ops.operations.__all__)


@pytest.mark.parametrize("name", CLASSES)
def test_only_our_exceptions_escape_from_an_operation(name: str) -> None:
    kind = getattr(ckptload.ops, name)
    with pytest.raises(CheckpointError):
        kind(1, 2, 3, 4)
    for odd in ODD:
        for settings in ((), (odd,)):
            try:
                operation = kind(*settings)
            except CheckpointError:
                continue
            for operands in ((odd,), (TENSORS[0],), (TENSORS[0], odd), (TENSORS[0], odd, odd)):
                try:
                    inspect.signature(kind.function).bind(*operands, **operation.settings)
                except TypeError:
                    continue
                with contextlib.suppress(CheckpointError):
                    operation(*operands)
