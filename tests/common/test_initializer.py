"""Initializers: constants are exact, random numbers have the distribution."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import ckptload
from ckptload import Parameter, Tensor, errors
from ckptload.common import initializer as module
from ckptload.common.initializer import initializer


@pytest.fixture(autouse=True)
def _seeded() -> None:
    np.random.seed(0)  # noqa: NPY002 -- the generator of the initializers


@pytest.mark.parametrize(
    ("init", "deviation", "limit"),
    [
        ("normal", 0.01, math.inf),
        (module.Normal(0.5, 0), 0.5, math.inf),
        ("uniform", 0.07 / math.sqrt(3), 0.07),
        (module.Uniform(0.2), 0.2 / math.sqrt(3), 0.2),
        ("truncatednormal", 0.01 * 0.8796, 0.02),
        ("xavier_uniform", math.sqrt(2 / 500), math.sqrt(6 / 500)),
        (module.XavierNormal(2), 2 * math.sqrt(2 / 500), math.inf),
        ("he_uniform", math.sqrt(2 / 300), math.sqrt(6 / 300)),
        (module.HeNormal(mode="fan_out", nonlinearity="relu"), math.sqrt(2 / 200), math.inf),
        (module.HeNormal(negative_slope=1), math.sqrt(1 / 300), math.inf),
        ("variancescaling", math.sqrt(1 / 300), math.inf),
        (module.VarianceScaling(2, "fan_avg", "uniform"), math.sqrt(2 / 250), math.inf),
        (module.VarianceScaling(2, "fan_out", "untruncated_normal"), math.sqrt(2 / 200), math.inf),
        (module.Sparse(0.5, 0.1), 0.1 * math.sqrt(0.5), math.inf),
    ],
)
def test_random_values_have_their_deviation(init: Any, deviation: float, limit: float) -> None:
    values = initializer(init, (200, 300)).asnumpy()
    assert values.std() == pytest.approx(deviation, rel=0.03)
    assert abs(values.mean()) < deviation / 20
    assert abs(values).max() <= np.float32(limit) * 1.000001


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (4, 2, 2)])
def test_orthogonal_rows_or_columns_are(shape: tuple[int, ...]) -> None:
    matrix = initializer(module.Orthogonal(2.0), shape).asnumpy().reshape(shape[0], -1)
    product = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    assert np.allclose(product, 4 * np.eye(len(product)), atol=1e-5)


def test_a_convolution_of_dirac_returns_its_input() -> None:
    assert initializer("dirac", (2, 2, 3)).tolist() == [[[0, 1, 0], [0, 0, 0]], [[0, 0, 0], [0, 1, 0]]]


def test_an_initializer_of_your_own_fills_the_array() -> None:
    class Ramp(module.Initializer):
        def _initialize(self, arr: Any) -> None:
            arr[...] = np.arange(arr.size).reshape(arr.shape)

    assert initializer(Ramp(), (2, 2)).tolist() == [[0, 1], [2, 3]]
    assert Tensor(shape=(2,), dtype=ckptload.int32, init=Ramp()).tolist() == [0, 1]
    with pytest.raises(errors.ArgumentTypeError, match="_initialize"):
        initializer(module.Initializer(), (2,))


@pytest.mark.parametrize(
    "dtype", [ckptload.float16, ckptload.bfloat16, ckptload.int8, ckptload.bool_, ckptload.float32]
)
def test_values_have_the_dtype_and_exist_at_once(dtype: Any) -> None:
    ones = initializer("ones", [2, 2], dtype)
    assert (ones.dtype, ones.has_init, ones.init_data() is ones) == (dtype, False, True)
    assert ones.astype(ckptload.float32).tolist() == [[1, 1], [1, 1]]
    parameter = Parameter(ones, name="w")
    assert parameter.init_data() is parameter
    assert not np.shares_memory(parameter.asnumpy(), ones.asnumpy())


@pytest.mark.parametrize(
    ("init", "says"),
    [
        (module.HeNormal(mode="fan"), "fan_out"),
        (module.HeNormal(nonlinearity="gelu"), "tanh"),
        (module.VarianceScaling(mode="fan"), "fan_avg"),
        (module.VarianceScaling(distribution="flat"), "uniform"),
        (module.TruncatedNormal(a=1, b=1), "smaller"),
        (module.Dirac(3), "groups"),
        ("norml", "did you mean 'normal'"),
    ],
)
def test_an_error_names_what_is_possible(init: Any, says: str) -> None:
    with pytest.raises(errors.ArgumentError, match=says):
        initializer(init, (2, 2, 2) if isinstance(init, module.Dirac) else (2, 2))


def test_limits_that_leave_out_nearly_everything_are_kept() -> None:
    values = initializer(module.TruncatedNormal(1, 0, 8, 9), (100,)).asnumpy()
    assert values.min() >= 8
    assert values.max() <= 9
