"""Dictionaries of paths and parameters; MindSpore's own behaviour is in the first test."""

from __future__ import annotations

import numpy as np
import pytest

from ckptload import Cell, CellList, Parameter, Tensor, errors, float16


class Layer(Cell):
    def __init__(self) -> None:
        super().__init__()
        self.w = Parameter(np.ones((2, 2), np.float32), name="other")
        self.b = Parameter(np.zeros(2, np.float32), name="b")


class Net(Cell):
    def __init__(self) -> None:
        super().__init__()
        self.a = Layer()
        self.c = CellList([Layer()])


PATHS = ["a.w", "a.b", "c.0.w", "c.0.b"]


def test_a_state_has_the_paths_and_the_parameters_themselves() -> None:
    net = Net()
    state = net.state_dict()
    assert list(state) == PATHS
    assert state["a.w"] is net.a.w
    assert list(net.state_dict(prefix="x.")) == [f"x.{path}" for path in PATHS]
    kept: dict[str, Parameter] = {}
    assert net.state_dict(destination=kept) is kept
    assert list(kept) == PATHS


def test_a_parameter_that_is_used_twice_has_two_paths() -> None:
    net = Net()
    net.d = net.a
    assert len(net.state_dict()) == 6


def test_a_state_is_loaded_and_converted() -> None:
    net, other = Net(), Net()
    net.a.w.set_data(Tensor(np.full((2, 2), 5, np.float32)))
    assert repr(other.load_state_dict(net.state_dict())) == "<All keys matched successfully>"
    assert other.a.w.tolist() == [[5, 5], [5, 5]]
    assert not np.shares_memory(other.a.w.asnumpy(), net.a.w.asnumpy())
    found = other.load_state_dict({"a.b": Tensor([1, 2], float16), "z": Tensor(1)}, strict=False)
    assert (other.a.b.tolist(), str(other.a.b.dtype)) == ([1, 2], "Float32")
    assert (found.missing_keys, found.unexpected_keys) == (["a.w", "c.0.w", "c.0.b"], ["z"])
    missing, unexpected = found
    assert repr(found) == f"_IncompatibleKeys(missing_keys={missing}, unexpected_keys={unexpected})"


def test_arrays_are_loaded_too() -> None:
    cell = Cell()
    cell.w = Parameter([1.0, 2.0])
    cell.load_state_dict({"w": np.array([3.0, 4.0])})
    assert cell.w.tolist() == [3.0, 4.0]
    cell.w.copy_(np.array([5, 6]))
    assert cell.w.tolist() == [5.0, 6.0]


def test_nothing_changes_if_something_does_not_fit_and_everything_is_listed() -> None:
    net = Net()
    state = {"a.w": Tensor(np.zeros((2, 2))), "a.b": Tensor([1.0]), "c.0.w": "text", "z": Tensor(1)}
    with pytest.raises(errors.BindingError) as caught:
        net.load_state_dict(state)
    for part in ("4 paths", "'a.b' has shape (2,)", "'c.0.w' must be a Tensor", "'c.0.b' is not", "'z' is not"):
        assert part in str(caught.value)
    assert net.a.w.tolist() == [[1, 1], [1, 1]]
    with pytest.raises(errors.ArgumentTypeError, match="list"):
        net.load_state_dict([1])  # type: ignore[arg-type]
