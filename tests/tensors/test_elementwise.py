"""Functions in place, and what MindSpore cannot witness; its own results are in differential/test_functions.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ckptload import Parameter, Tensor, bfloat16, bool_, errors, float16, float32, int32

if TYPE_CHECKING:
    from collections.abc import Callable


def test_a_method_in_place_changes_the_tensor_and_returns_it() -> None:
    parameter = Parameter(Tensor([1.0, 4.0]), name="p")
    memory = parameter.asnumpy()
    changes: tuple[tuple[Callable[[], Any], list[float]], ...] = (
        (lambda: parameter.add_(1), [2, 5]),
        (lambda: parameter.sub_(Tensor([1.0, 1.0])), [1, 4]),
        (lambda: parameter.mul_(2), [2, 8]),
        (lambda: parameter.div_(2), [1, 4]),
        (lambda: parameter.clamp_(max=3), [1, 3]),
        (lambda: parameter.fill_(-2), [-2, -2]),
        (lambda: parameter.masked_fill_(Tensor([True, False]), 7), [7, -2]),
        (lambda: parameter.copy_(Tensor([5], int32)), [5, 5]),
        (parameter.zero_, [0, 0]),
        (parameter.exp_, [1, 1]),
    )
    for change, expected in changes:
        assert change() is parameter
        assert parameter.tolist() == expected
    assert parameter.asnumpy() is memory
    assert (parameter.name, parameter.dtype) == ("p", float32)


def test_a_part_that_is_changed_in_place_changes_the_whole() -> None:
    whole = Tensor([[1.0, 2.0], [3.0, 4.0]])
    whole[0].fill_(9)
    assert whole.tolist() == [[9, 9], [3, 4]]


def test_a_result_with_a_fraction_does_not_go_into_integers() -> None:
    tensor = Tensor([1, 2])
    with pytest.raises(errors.ComputationError, match="Float32"):
        tensor.div_(2)
    assert tensor.tolist() == [1, 2]
    assert tensor.mul_(2).tolist() == [2, 4]


def test_elements_of_another_shape_are_refused() -> None:
    with pytest.raises(RuntimeError, match=r"\(3,\)"):
        Tensor([1.0, 2.0]).copy_(Tensor([1.0, 2.0, 3.0]))
    with pytest.raises(errors.ArgumentError, match="not to 2"):
        Tensor([1.0, 2.0]).fill_(Tensor([1.0, 2.0]))


def test_sixteen_bits_are_computed_in_float32_and_rounded_once() -> None:
    values = np.array([1.5, 2.7, 100.0], np.float32)
    for dtype in (float16, bfloat16):
        tensor = Tensor(values).astype(dtype)
        wide = tensor.astype(float32)
        for name in ("sqrt", "exp", "log", "tanh", "sigmoid", "reciprocal"):
            expected = getattr(wide, name)().astype(dtype)
            got = getattr(tensor, name)()
            assert got.dtype is dtype
            assert np.allclose(got.astype(float32).asnumpy(), expected.astype(float32).asnumpy(), rtol=2e-3)


def test_integers_to_a_negative_power_are_rounded_toward_zero() -> None:
    assert (Tensor([1, 2, -1]) ** -1).tolist() == [1, 0, -1]
    assert (2 ** Tensor([3, 0])).tolist() == [8, 1]
    assert (Tensor([2]) ** 0.5).dtype is float32


def test_an_exponent_too_large_is_infinite_without_a_warning() -> None:
    assert Tensor([1000.0]).exp().tolist() == [float("inf")]
    assert Tensor([-1000.0, 1000.0]).sigmoid().tolist() == [0, 1]
    assert (Tensor([1.0]) // 0).tolist() == [float("inf")]


def test_bits_are_those_of_integers_and_bool() -> None:
    assert (Tensor([6]) & Tensor([3])).tolist() == [2]
    assert (Tensor([True]) ^ Tensor([True])).dtype is bool_
    with pytest.raises(errors.ArgumentTypeError, match="Float32"):
        Tensor([1.0]) | Tensor([2.0])
    with pytest.raises(TypeError):
        Tensor([1.0]).astype(bfloat16) & Tensor([1])
