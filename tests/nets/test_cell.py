"""Cell: what MindSpore cannot witness. Its own behaviour is in differential/test_parameter_api.py."""

from __future__ import annotations

import copy
import importlib
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import ckptload
from ckptload import errors
from ckptload.nets.cell import Cell
from ckptload.nets.containers import CellList, SequentialCell
from ckptload.tensors.parameter import Parameter, ParameterTuple
from ckptload.tensors.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable


class Dense(Cell):
    """A layer as a user writes one."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = Parameter(np.ones((outputs, inputs), np.float32))
        self.bias = Parameter(np.zeros(outputs, np.float32))


class Net(Cell):
    """Two layers in a row, one in a list, and parameters in a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.body = SequentialCell(Dense(2, 3), Dense(3, 1))
        self.heads = CellList([Dense(1, 1)])
        self.extra = ParameterTuple([Parameter([1.0], name="extra.a"), Parameter([2.0])])


NAMES = [
    "extra.a",
    "Parameter$1",
    "body.0.weight",
    "body.0.bias",
    "body.1.weight",
    "body.1.bias",
    "heads.0.weight",
    "heads.0.bias",
]


def names(cell: Cell) -> list[str]:
    return [parameter.name for parameter in cell.get_parameters()]


def test_a_net_names_its_parameters_by_their_paths() -> None:
    assert names(Net()) == NAMES
    assert list(Net().parameters_dict()) == NAMES


@pytest.mark.parametrize("twin", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_a_net_copies_and_pickles_with_memory_of_its_own(twin: Any) -> None:
    net = Net()
    other = twin(net)
    assert names(other) == NAMES
    assert repr(other) == repr(net)
    for mine, others in zip(net.get_parameters(), other.get_parameters(), strict=True):
        assert mine.get_bytes() == others.get_bytes()
        assert not np.shares_memory(mine.asnumpy(), others.asnumpy())


def test_a_parameter_that_is_shared_stays_shared_in_a_copy() -> None:
    net = Cell()
    net.a, net.b = Dense(1, 1), Dense(1, 1)
    net.b.weight = net.a.weight
    other = copy.deepcopy(net)
    assert other.a.weight is other.b.weight
    assert names(other) == ["a.weight", "a.bias", "b.bias"]


def test_what_was_assigned_is_what_comes_back() -> None:
    net, parameter, cell = Cell(), Parameter([1.0]), Dense(1, 1)
    net.p, net.c = parameter, cell
    assert net.p is parameter
    assert net.c is cell
    assert {"p", "c"}.isdisjoint(net.__dict__)


def test_new_values_assigned_to_a_parameter_are_copied_and_converted() -> None:
    net, values = Dense(2, 1), Tensor(np.ones((1, 2)))
    net.weight = values  # type: ignore[assignment]
    assert str(net.weight.dtype) == "Float32"
    assert not np.shares_memory(net.weight.asnumpy(), values.asnumpy())


@pytest.mark.parametrize("wrong", [5, "x", [1.0], np.ones(2)])
def test_a_refused_assignment_changes_nothing(wrong: object) -> None:
    net = Net()
    with pytest.raises(errors.ArgumentTypeError, match="weight"):
        net.body[0].weight = wrong
    with pytest.raises(errors.ArgumentTypeError, match="body"):
        net.body = wrong  # type: ignore[assignment]
    assert names(net) == NAMES


def test_forgetting_to_initialise_says_what_to_call() -> None:
    class Forgetful(Cell):
        def __init__(self) -> None:
            self.weight = Parameter([1.0])

    with pytest.raises(AttributeError, match=r"super\(\)\.__init__\(\)"):
        Forgetful()


def test_check_names_says_where_the_second_one_is() -> None:
    net = Cell(auto_prefix=False)
    net.a, net.b = Dense(1, 1), Dense(1, 1)
    with pytest.raises(errors.ArgumentError, match=r"b\.weight") as caught:
        net.check_names()
    assert caught.value.name == "weight"


@pytest.mark.parametrize("kind", [CellList, lambda cells: SequentialCell(*cells)])
def test_a_list_refuses_what_is_no_cell_and_stays_as_it_is(kind: Any) -> None:
    cells = kind([Dense(1, 1), Dense(1, 1)])
    before = names(cells)
    attempts: list[Callable[[], object]] = [
        lambda: cells.append(5),
        lambda: cells["x"],
        lambda: cells[9],
    ]
    for attempt in attempts:
        with pytest.raises(errors.CheckpointError):
            attempt()
    assert names(cells) == before


def test_a_cell_computes_nothing() -> None:
    net = Net()
    with pytest.raises(TypeError, match="not callable"):
        net(Tensor([1.0]))  # type: ignore[operator]
    with pytest.raises(errors.MissingAttributeError, match="construct"):
        net.construct(Tensor([1.0]))


def test_there_are_no_layers() -> None:
    with pytest.raises(AttributeError, match="Conv2d"):
        getattr(ckptload.nn, "Conv2d")  # noqa: B009 -- a type checker knows that it is missing
    assert not hasattr(ckptload.nn, "Dense")


@pytest.mark.parametrize(
    ("module", "attributes"),
    [
        ("nn", ["Cell", "CellList", "SequentialCell"]),
        ("dtype", [dtype.attribute for dtype in ckptload.dtypes.ALL]),
        ("common", ["Parameter", "ParameterTuple", "Tensor", "dtype"]),
        ("common.dtype", [dtype.attribute for dtype in ckptload.dtypes.ALL]),
        ("common.parameter", ["Parameter", "ParameterTuple"]),
        ("common.tensor", ["Tensor"]),
        ("train", ["load_checkpoint"]),
        ("train.serialization", ["load_checkpoint"]),
    ],
)
def test_deeper_import_places_hold_the_same_objects(module: str, attributes: list[str]) -> None:
    place = importlib.import_module(f"ckptload.{module}")
    for attribute in attributes:
        here = getattr(place, attribute)
        assert attribute in place.__all__
        if attribute != "dtype":
            assert here is getattr(ckptload, attribute)
    for name in place.__all__:
        assert hasattr(place, name)


def test_places_are_reached_as_attributes_too() -> None:
    assert ckptload.dtype.float32 is ckptload.float32
    assert ckptload.train.serialization.load_checkpoint is ckptload.load_checkpoint
    assert ckptload.common.dtype.bfloat16 is ckptload.bfloat16
