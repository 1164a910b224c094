"""Tensor: what MindSpore cannot witness. Its own behaviour is in differential/test_parameter_api.py."""

from __future__ import annotations

import copy
import math
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptload import dtypes, errors
from ckptload.tensors.tensor import Tensor

if TYPE_CHECKING:
    from ckptload.dtypes import DType

every_dtype = pytest.mark.parametrize("dtype", dtypes.ALL, ids=str)
NUMERIC = [dtype for dtype in dtypes.ALL if dtype not in {dtypes.qint4x2, dtypes.hifloat8}]


def sample(dtype: DType) -> Tensor:
    """Return a tensor of shape (2, 3) with the elements 0 to 5."""
    return Tensor.adopt(np.arange(6).astype(dtype.numpy).reshape(2, 3), dtype)


@every_dtype
def test_every_dtype_has_its_attributes_and_prints(dtype: DType) -> None:
    tensor = sample(dtype)
    assert (tensor.dtype, tensor.shape, tensor.size, tensor.ndim) == (dtype, (2, 3), 6, 2)
    assert (tensor.itemsize, tensor.nbytes) == (dtype.itemsize, 6 * dtype.itemsize)
    assert tensor.strides == (3 * dtype.itemsize, dtype.itemsize)
    assert tensor.get_bytes() == tensor.asnumpy().tobytes()
    assert f"shape=[2, 3], dtype={dtype}, value=" in repr(tensor)
    assert str(tensor) == str(tensor.asnumpy())


@every_dtype
def test_copies_and_pickles_keep_dtype_and_elements_and_share_nothing(dtype: DType) -> None:
    tensor = sample(dtype)
    for twin in (tensor.copy(), copy.copy(tensor), copy.deepcopy(tensor), pickle.loads(pickle.dumps(tensor))):
        assert type(twin) is Tensor
        assert twin.dtype is dtype
        assert twin.shape == tensor.shape
        assert twin.get_bytes() == tensor.get_bytes()
        assert not np.shares_memory(twin.asnumpy(), tensor.asnumpy())
        assert twin.asnumpy().flags.writeable


@every_dtype
def test_asnumpy_data_and_a_plain_numpy_array_are_views(dtype: DType) -> None:
    tensor = sample(dtype)
    for view in (tensor.asnumpy(), tensor.numpy(), tensor.data.asnumpy(), np.asarray(tensor)):
        assert np.shares_memory(view, tensor.asnumpy())


def test_numpy_decides_whether_array_copies() -> None:
    tensor = sample(dtypes.float32)
    assert tensor.__array__(copy=False) is tensor.asnumpy()
    assert not np.shares_memory(tensor.__array__(copy=True), tensor.asnumpy())
    assert tensor.__array__(np.float64).dtype == np.float64
    with pytest.raises(errors.ArgumentError, match="without a copy"):
        tensor.__array__(np.float64, copy=False)


@pytest.mark.parametrize("kind", ["i2", "i8", "u4", "f2", "f4", "f8", "c8", "c16"])
def test_arrays_in_the_other_byte_order_are_swapped(kind: str) -> None:
    swapped = np.arange(6, dtype=f">{kind}").reshape(2, 3)
    for tensor in (Tensor(swapped), Tensor.from_numpy(swapped)):
        assert tensor.tolist() == swapped.tolist()
        assert tensor.get_bytes() == swapped.astype(f"<{kind}").tobytes()
        assert tensor.asnumpy().dtype == np.dtype(f"<{kind}")


@pytest.mark.parametrize(
    "array", [np.arange(12).reshape(3, 4).T, np.arange(12)[::2], np.asfortranarray(np.ones((2, 3)))]
)
def test_elements_lie_in_c_order(array: np.ndarray[Any, Any]) -> None:
    for tensor in (Tensor(array), Tensor.from_numpy(array), Tensor(array).T, Tensor(array)[::-1]):
        assert tensor.asnumpy().flags.c_contiguous
    assert Tensor(array).tolist() == array.tolist()


def test_from_numpy_shares_what_is_laid_out_as_a_tensor_is() -> None:
    array = np.ones(3, np.float32)
    assert np.shares_memory(Tensor.from_numpy(array).asnumpy(), array)
    with pytest.raises(errors.ArgumentTypeError):
        Tensor.from_numpy([1.0])  # type: ignore[arg-type]


@pytest.mark.parametrize("source", NUMERIC, ids=str)
@pytest.mark.parametrize("target", NUMERIC, ids=str)
def test_small_whole_numbers_survive_every_conversion(source: DType, target: DType) -> None:
    converted = sample(source).astype(target)
    expected = [bool(n) for n in range(6)] if dtypes.bool_ in {source, target} else list(range(6))
    assert converted.dtype is target
    assert converted.reshape(-1).tolist() == expected


def test_hifloat8_is_handed_out_as_bytes_and_nothing_else() -> None:
    tensor = sample(dtypes.hifloat8)
    assert tensor.asnumpy().dtype == np.uint8
    for attempt in (
        lambda: tensor.astype(dtypes.float32),
        lambda: Tensor([1.0], dtypes.hifloat8),
        lambda: tensor + 1,
        tensor.tolist,
        tensor.sum,
    ):
        with pytest.raises(errors.ArgumentTypeError):
            attempt()


@pytest.mark.parametrize("dtype", [dtypes.qint4x2, dtypes.float8_e4m3fn, dtypes.float8_e5m2], ids=str)
def test_storage_types_convert_but_do_not_compute(dtype: DType) -> None:
    tensor = sample(dtype)
    with pytest.raises(errors.ArgumentTypeError, match="astype"):
        tensor * 2
    with pytest.raises(errors.ArgumentTypeError, match="astype"):
        tensor.mean()
    assert (tensor.float() * 2).tolist() == [[0, 2, 4], [6, 8, 10]]


def test_what_an_index_took_out_leads_back_only_by_setting_elements() -> None:
    """``t[0][1] = x`` reaches ``t``, as in MindSpore, though ``t[0]`` has memory of its own."""
    tensor = sample(dtypes.int64)
    row = tensor[1]
    row[0] = 10
    row[1:][0] = 20
    assert tensor.tolist() == [[0, 1, 2], [10, 20, 5]]
    copy.copy(row)[0] = 30
    row.asnumpy()[0] = 30
    assert tensor.tolist() == [[0, 1, 2], [10, 20, 5]]
    assert "_origin" not in pickle.loads(pickle.dumps(row)).__dict__


def test_a_read_only_array_refuses_to_be_set() -> None:
    array = np.zeros(3, np.float32)
    array.flags.writeable = False
    with pytest.raises(errors.ArgumentError, match="read-only"):
        Tensor.adopt(array, dtypes.float32)[0] = 1


def test_an_unknown_attribute_says_where_to_compute() -> None:
    with pytest.raises(AttributeError, match="asnumpy") as caught:
        getattr(Tensor([1.0]), "softmax")  # noqa: B009 -- a type checker knows that it is missing
    assert isinstance(caught.value, errors.CheckpointError)
    assert not hasattr(Tensor([1.0]), "__array_interface__")


@pytest.mark.parametrize("name", ["softmax", "median", "cholesky", "erf", "scatter", "top_k", "unique", "detach"])
def test_what_is_left_to_numpy_says_so(name: str) -> None:
    with pytest.raises(errors.MissingAttributeError, match=rf"{name}'\n.*asnumpy\(\)"):
        getattr(Tensor([1.0]), name)


@pytest.mark.parametrize("operator", ["<<", ">>"])
def test_operators_that_are_left_to_numpy_raise_a_type_error(operator: str) -> None:
    for sides in ("tensor", "1"), ("1", "tensor"):
        with pytest.raises(TypeError, match="Tensor"):
            eval(operator.join(sides), {"tensor": Tensor([1])})  # noqa: S307 -- the text above


@pytest.mark.parametrize("kind", [int, float, np.int64, np.uint8, np.float32, np.float64, Tensor])
def test_a_number_of_any_kind_is_found_among_the_elements(kind: Any) -> None:
    assert kind(3) in sample(dtypes.float32)
    assert kind(7) not in sample(dtypes.float32)


def test_the_largest_of_an_axis_are_values_and_of_a_dim_a_pair() -> None:
    tensor = sample(dtypes.float32)
    assert tensor.max(axis=0).tolist() == [3, 4, 5]
    assert tensor.min(axis=1, keepdims=True).tolist() == [[0], [3]]
    for reduction, places in ((tensor.max, [1, 1, 1]), (tensor.min, [0, 0, 0])):
        values, found = reduction(0)
        assert (values.dtype, found.dtype, found.tolist()) == (dtypes.float32, dtypes.int64, places)


def test_computing_warns_of_nothing() -> None:
    """Warnings are errors in these tests; MindSpore divides by zero and overflows in silence."""
    zero = Tensor([0.0, 1e38])
    assert math.isnan((zero / zero)[0].item())
    assert (zero * 1e10).tolist() == [0, math.inf]
    assert Tensor([float("nan"), 1e30]).astype(dtypes.int32).tolist() == [-(2**31)] * 2
    assert math.isnan(Tensor([]).mean().item())


@settings(max_examples=200)
@given(
    st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=4),
    st.integers(-(2**31), 2**31 - 1),
    st.sampled_from(["__add__", "__sub__", "__mul__", "__radd__", "__rsub__"]),
)
def test_integers_of_a_fixed_width_wrap_around(values: list[int], other: int, name: str) -> None:
    got = getattr(Tensor(values, dtypes.int32), name)(other)
    assert got.dtype is dtypes.int32
    assert got.tolist() == [(getattr(value, name)(other) + 2**31) % 2**32 - 2**31 for value in values]


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (lambda: Tensor(object()), "object"),
        (lambda: Tensor([[1], [2, 3]]), "elements"),
        (lambda: Tensor([2**70]), "elements"),
        (lambda: Tensor([1], "float32"), "ckptload.float32"),
        (lambda: Tensor([1], init=1), "of its own"),
        (lambda: Tensor([1, 2]).item(), "2"),
        (lambda: Tensor([1, 2]).reshape(3), "reshape"),
        (lambda: Tensor([1, 2])[7], "7"),
        (lambda: Tensor([1, 2])[np.ones(1)], "ndarray"),
        (lambda: Tensor([1, 2]) @ Tensor([1, 2, 3]), r"\(3,\)"),
        (lambda: Tensor([1, 2]).sum(axes=1), "axes"),
        (lambda: Tensor([True]).mean(), "Bool"),
        (lambda: Tensor(2**64), "elements"),
        (lambda: Tensor([1]) + 2**64, "UInt64"),
    ],
)
def test_an_error_says_what_is_wrong(made: Any, says: str) -> None:
    with pytest.raises(errors.CheckpointError, match=says):
        made()
