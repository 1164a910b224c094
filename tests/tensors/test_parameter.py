"""Parameter and ParameterTuple: what MindSpore cannot witness. The rest is in differential/test_parameter_api.py."""

from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING

import numpy as np
import pytest

from ckptload import dtypes, errors
from ckptload.tensors.parameter import Parameter, ParameterTuple
from ckptload.tensors.tensor import Tensor

if TYPE_CHECKING:
    from ckptload.dtypes import DType

every_dtype = pytest.mark.parametrize("dtype", dtypes.ALL, ids=str)


def sample(dtype: DType) -> Parameter:
    return Parameter.adopt(np.arange(6).astype(dtype.numpy).reshape(2, 3), dtype, "net.weight")


def twins(parameter: Parameter) -> list[Parameter]:
    pickled = pickle.loads(pickle.dumps(parameter))
    return [parameter.clone(), parameter.copy(), copy.copy(parameter), copy.deepcopy(parameter), pickled]


@every_dtype
def test_it_prints_as_mindspores_does(dtype: DType) -> None:
    expected = f"Parameter (name=net.weight, shape=(2, 3), dtype={dtype}, requires_grad=True)"
    assert repr(sample(dtype)) == str(sample(dtype)) == f"{sample(dtype)}" == expected


@every_dtype
def test_copies_and_pickles_keep_all_and_share_nothing(dtype: DType) -> None:
    parameter = sample(dtype)
    parameter.requires_grad = False
    parameter.layerwise_parallel = True
    parameter.comm_fusion = 3
    for twin in twins(parameter):
        assert type(twin) is Parameter
        assert str(twin) == str(parameter)
        assert twin.dtype is dtype
        assert twin.get_bytes() == parameter.get_bytes()
        assert (twin.layerwise_parallel, twin.comm_fusion) == (True, 3)
        assert not np.shares_memory(twin.asnumpy(), parameter.asnumpy())


def test_who_owns_the_memory() -> None:
    """The constructor, ``value`` and ``set_data`` copy; ``asnumpy`` and ``data`` share."""
    array = np.zeros(3, np.float32)
    tensor = Tensor.from_numpy(array)
    parameter = Parameter(tensor)
    assert not np.shares_memory(parameter.asnumpy(), array)
    assert not np.shares_memory(parameter.value().asnumpy(), parameter.asnumpy())
    assert np.shares_memory(parameter.data.asnumpy(), parameter.asnumpy())
    parameter.set_data(tensor)
    assert not np.shares_memory(parameter.asnumpy(), array)
    parameter.data = tensor
    assert np.shares_memory(parameter.asnumpy(), array)


def test_data_takes_tensors_only() -> None:
    """MindSpore crashes when anything else is assigned."""
    parameter = Parameter([1.0], name="p")
    for wrong in (1, None, [1.0], "x"):
        with pytest.raises(errors.ArgumentTypeError):
            parameter.data = wrong
    assert parameter.tolist() == [1.0]


@pytest.mark.parametrize(
    ("number", "said"),
    # An int with as many bits as a key is not shown.
    [(2**31, str(2**31)), (-(2**31) - 1, str(-(2**31) - 1)), (2**40, str(2**40)), (2**100, "an int of 101 bits")],
)
def test_an_int_that_does_not_fit_int32_is_refused(number: int, said: str) -> None:
    with pytest.raises(OverflowError, match=said) as caught:
        Parameter(number)
    assert isinstance(caught.value, errors.CheckpointError)
    assert caught.value.hint is not None


@pytest.mark.parametrize("number", [2**31 - 1, -(2**31)])
def test_an_int_that_fits_int32_is_kept(number: int) -> None:
    assert Parameter(number).item() == number


@pytest.mark.parametrize("dtype", [dtypes.int8, dtypes.uint8, dtypes.int64, dtypes.qint4x2], ids=str)
def test_set_data_refuses_an_int_that_does_not_fit(dtype: DType) -> None:
    parameter = sample(dtype)
    with pytest.raises(errors.ArgumentOverflowError):
        parameter.set_data(2**63)
    assert parameter.shape == (2, 3)


def test_a_name_that_is_adopted_stays_as_it_is() -> None:
    """A file's names are taken as they stand; only an empty one becomes an automatic one."""
    array = np.zeros(1, np.float32)
    assert Parameter.adopt(array, dtypes.float32, " a ").name == " a "
    assert Parameter.adopt(array, dtypes.float32, "").name.startswith("Parameter#")


def test_automatic_names_differ() -> None:
    assert len({Parameter([1.0]).name for _ in range(100)}) == 100


def test_a_refused_setting_changes_nothing() -> None:
    parameter = Parameter([1, 2], name="p")
    for setting in ("name", "requires_grad", "layerwise_parallel", "comm_fusion", "cache_enable", "key"):
        before = getattr(parameter, setting)
        with pytest.raises(errors.CheckpointError):
            setattr(parameter, setting, 1.5)
        assert getattr(parameter, setting) == before
    for wrong in (1.5, "a", None, [1]):
        with pytest.raises(errors.ArgumentTypeError):
            parameter.set_data(wrong)
    assert parameter.tolist() == [1, 2]


def test_attributes_of_one_parameter_are_not_those_of_another() -> None:
    one, other = Parameter([1.0]), Parameter([1.0])
    one.requires_grad = False
    one.is_init = True
    assert (other.requires_grad, other.is_init) == (True, False)


def test_results_of_computing_are_tensors() -> None:
    parameter = Parameter([1.0, 2.0], name="p")
    for result in (parameter + 1, -parameter, parameter[0], parameter.T, parameter.half(), parameter.mean()):
        assert type(result) is Tensor


@pytest.mark.parametrize("init", ["nope", None, (1,), Tensor([1.0])])
def test_clone_refuses_initializers_that_it_has_not(init: object) -> None:
    with pytest.raises(errors.ArgumentError, match="'p'"):
        Parameter([1.0, 2.0], name="p").clone(init)


def test_a_tuple_names_the_parameter_that_is_there_twice() -> None:
    with pytest.raises(errors.ArgumentError, match="'a'") as caught:
        ParameterTuple([Parameter([1.0], name="a"), Parameter([1.0], name="a")])
    assert caught.value.name == "a"


def test_a_tuple_pickles_and_copies() -> None:
    parameters = ParameterTuple([Parameter([1.0], name="a"), Parameter([2.0], name="b")])
    for twin in (pickle.loads(pickle.dumps(parameters)), copy.deepcopy(parameters)):
        assert type(twin) is ParameterTuple
        assert str(twin) == str(parameters)
