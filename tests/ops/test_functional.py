"""What MindSpore has no kernel for on the CPU, and what only ckptload decides.

The rest is in differential/test_functions.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ckptload.numpy as mnp
from ckptload import Parameter, Tensor, errors, float16, float32, int64, mint, ops

X = Tensor([[1.0, 2.0, 0.0], [3.0, 4.0, 1.0]])


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (lambda: ops.roll(X, 1, 1), [[0, 1, 2], [1, 3, 4]]),
        (lambda: ops.roll(X, 1), [[1, 1, 2], [0, 3, 4]]),
        (lambda: ops.roll(X, (1, 1), (0, 1)), [[1, 3, 4], [0, 1, 2]]),
        (lambda: ops.dstack((X, X))[0], [[1, 1], [2, 2], [0, 0]]),
        (lambda: ops.vstack(inputs=(X[0], X[1])), X.tolist()),
        (lambda: ops.addn([X]), X.tolist()),
        (lambda: ops.pad(X, (1, 0), "reflect"), [[2, 1, 2, 0], [4, 3, 4, 1]]),
        (lambda: ops.pad(X, Tensor([0, 1]), mode="replicate"), [[1, 2, 0, 0], [3, 4, 1, 1]]),
        (lambda: ops.full((2,), 2.5), [2.5, 2.5]),
        (lambda: ops.full(Tensor([2]), Tensor(3)), [3, 3]),
        (lambda: ops.arange(Tensor(2)), [0, 1]),
        (lambda: ops.slice(X, (0, 1), (-1, 1)), [[2], [4]]),
        (lambda: X.repeat_interleave(Tensor([1, 2]), 0), [[1, 2, 0], [3, 4, 1], [3, 4, 1]]),
        (lambda: X.masked_fill(Tensor([True, False, True]), 9), [[9, 2, 9], [9, 4, 9]]),
        (lambda: X.nonzero(as_tuple=True)[0], [0, 0, 1, 1, 1]),
        (X.round, X.tolist()),
        (lambda: Tensor([1.25, -1.35]).round(decimals=1), [pytest.approx(1.2), pytest.approx(-1.4)]),
        (lambda: mint.std(X, 1), [1, pytest.approx(1.527525)]),
        (lambda: mint.var(X, correction=0), pytest.approx(1.805556)),
        (lambda: mnp.concatenate((X, X[0]), axis=None), [1, 2, 0, 3, 4, 1, 1, 2, 0]),
        (lambda: mnp.arange(3, dtype=float16), [0, 1, 2]),
        (lambda: mnp.repeat(X[0], 2), [1, 1, 2, 2, 0, 0]),
    ],
)
def test_a_function_gives(made: Any, expected: Any) -> None:
    assert made().tolist() == expected


def test_equal_of_mint_is_one_answer() -> None:
    assert mint.equal(X, X) is True
    assert mint.equal(X, X + 1) is False
    assert mint.equal(X, X[0]) is False


def test_a_number_alone_keeps_its_kind() -> None:
    assert (ops.full((1,), 1).dtype, ops.full((1,), 1.0).dtype) == (int64, float32)
    assert (ops.mul(2, Tensor([1], float16)).dtype, ops.add(1, 2).dtype) == (float16, int64)


def test_random_numbers_have_the_shape_and_the_dtype() -> None:
    np.random.seed(0)  # noqa: NPY002 -- the generator of these functions
    for tensor in (ops.rand(1000), ops.rand_like(ops.zeros((1000,)))):
        assert 0 <= tensor.asnumpy().min() < 0.01
        assert 0.99 < tensor.asnumpy().max() < 1
    for tensor in (ops.randn(50, 20), ops.randn_like(ops.zeros((50, 20))), ops.standard_normal((50, 20))):
        assert (tensor.shape, tensor.dtype) == ((50, 20), float32)
        assert tensor.asnumpy().std() == pytest.approx(1, abs=0.1)
    assert ops.normal((1000,), Tensor(5.0), 0.1).asnumpy().mean() == pytest.approx(5, abs=0.05)
    assert ops.rand(2, 2, dtype=float16).dtype is float16


def test_a_result_shares_no_memory_unless_it_is_the_operand() -> None:
    made = (
        ops.reshape(X, (3, 2)),
        ops.split(X, 1)[0],
        ops.concat([X]),
        ops.broadcast_to(X, (1, 2, 3)),
        ops.deepcopy(X),
    )
    for result in made:
        assert not np.shares_memory(result.asnumpy(), X.asnumpy())
        assert result.asnumpy().flags.writeable
        assert result.asnumpy().flags.c_contiguous


def test_assigning_returns_the_memory_of_the_parameter() -> None:
    parameter = Parameter(X, name="p")
    assert np.shares_memory(ops.assign(parameter, X * 2).asnumpy(), parameter.asnumpy())
    assert parameter.tolist() == (X * 2).tolist()
    with pytest.raises(errors.ArgumentTypeError, match="list"):
        ops.assign([1.0], X)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda: ops.concat((X, X.astype(float16))), "Float32 and Float16"),
        (lambda: ops.concat((X, "text")), "make one first"),
        (lambda: ops.concat((X, X[0])), "concat"),
        (lambda: X.split([1, 1], 1), r"\[1, 1\] do not add up to 3"),
        (lambda: X.split(0), "positive"),
        (lambda: X.chunk(0), "positive"),
        (lambda: X.narrow(1, 2, 2), "length is 3"),
        (lambda: X.repeat(2), "repeat_interleave"),
        (lambda: X.reshape(1, 2, 3).t(), "two dimensions"),
        (lambda: X.split(1, dim=0, axis=0), "axis or dim"),
        (lambda: X.masked_fill(X, 1), "!= 0"),
        (lambda: X.index_select(0, Tensor([0.5])), "integers"),
        (lambda: X.gather(Tensor([0]), 1, 1), "batch_dims"),
        (lambda: X.gather_elements(1, Tensor([0])), r"\(1,\)"),
        (lambda: Tensor([True]).std(), "Bool"),
        (lambda: Tensor([1j]).argmax(), "ordered"),
        (lambda: Tensor([1j]).maximum(1), "ordered"),
        (lambda: Tensor([1j]).floor(), "ordered"),
        (lambda: ops.pad(X, (1,)), "pair"),
        (lambda: ops.pad(X, (1, 1), "circular"), "replicate"),
        (lambda: ops.flatten(X, start_dim=2), "dimensions"),
    ],
)
def test_an_error_says_what_is_wrong(wrong: Any, says: str) -> None:
    with pytest.raises(errors.CheckpointError, match=says):
        wrong()
