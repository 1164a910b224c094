"""What a call of save_checkpoint asks for: names, order, types, and what is refused before a file is touched."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ckptload import dtypes
from ckptload.errors import ArgumentError, ArgumentTypeError, CorruptCheckpointError, IntegerRangeError
from ckptload.formats.entry import BYTES, MAP, STRING, TENSOR
from ckptload.nets.cell import Cell
from ckptload.nets.containers import CellList
from ckptload.reading.opening import open_checkpoint
from ckptload.saving import save_checkpoint
from ckptload.tensors.parameter import Parameter
from ckptload.tensors.tensor import Tensor
from ckptload.writing.gathering import check_append_dict, detached, gather, snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ckptload.formats.item import Item


def parameter(value: float, name: str | None = None) -> Parameter:
    return Parameter(Tensor(np.full(1, value, np.float32)), name=name)


def values(entries: list[Item]) -> dict[str, list[Any]]:
    """Return the elements of tensors by name, in order."""
    return {
        item.name: np.frombuffer(b"".join(item.pieces()), item.dtype.numpy).tolist()
        for item in entries
        if item.dtype is not None
    }


# -- save_obj -----------------------------------------------------------------------------------------------


class Inner(Cell):
    def __init__(self) -> None:
        super().__init__()
        self.weight = parameter(1.0)
        self.bias = parameter(2.0)


class Net(Cell):
    def __init__(self) -> None:
        super().__init__()
        self.scale = parameter(3.0, "own_name")
        self.layers = CellList([Inner(), Inner()])


def test_a_cell_gives_its_parameters_by_their_names_in_its_order() -> None:
    assert values(gather(Net(), None, None)) == {
        "own_name": [3.0],
        "layers.0.weight": [1.0],
        "layers.0.bias": [2.0],
        "layers.1.weight": [1.0],
        "layers.1.bias": [2.0],
    }


def test_a_parameter_with_a_cache_carries_its_key() -> None:
    """The name is cut there when it is loaded; the filter sees the name without it."""
    net = Inner()
    net.weight.cache_enable = True
    net.weight.key = 7
    asked: list[str] = []

    def choose(name: str) -> bool:
        asked.append(name)
        return True

    entries = gather(net, None, choose)
    assert [item.name for item in entries] == ["weight.__param_key__7", "bias"]
    assert asked == ["weight", "bias"]


@pytest.mark.parametrize(
    "save_obj",
    [
        {"a": parameter(1.0, "other"), "b": parameter(2.0)},
        OrderedDict(a=Tensor(np.ones(1, np.float32)), b=np.full(1, 2.0)),
        MappingProxyType({"a": np.ones(1), "b": np.full(1, 2.0)}),
        [parameter(1.0, "a"), parameter(2.0, "b")],
        [{"name": "a", "data": parameter(1.0, "x")}, {"name": "b", "data": Tensor([2.0]), "more": 3}],
    ],
    ids=["dict", "OrderedDict", "any mapping", "parameters", "dictionaries"],
)
def test_names_and_order_are_those_of_the_object(save_obj: object) -> None:
    assert values(gather(save_obj, None, None)) == {"a": [1.0], "b": [2.0]}


def test_of_a_name_that_comes_twice_the_last_value_counts_at_the_first_place() -> None:
    twice = [parameter(1.0, "a"), parameter(2.0, "b"), parameter(3.0, "a")]
    with pytest.warns(UserWarning, match="1 name is given to several parameters, of which only the last is saved: 'a'"):
        found = gather(twice, None, None)
    assert list(values(found).items()) == [("a", [3.0]), ("b", [2.0])]


def test_parameters_of_a_cell_that_have_one_name_are_told() -> None:
    cell = CellList([Inner(), Inner()], auto_prefix=False)
    with pytest.warns(UserWarning, match="2 names are given to several parameters.*'weight', 'bias'"):
        assert len(gather(cell, None, None)) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(gather(cell, None, lambda name: name not in {"weight", "bias"})) == 0
        one = parameter(1.0, "a")
        assert len(gather([one, one], None, None)) == 1


@pytest.mark.parametrize("empty", [{}, [], Cell()], ids=["dict", "list", "cell"])
def test_nothing_to_save_is_no_error(empty: object) -> None:
    assert gather(empty, None, None) == []


@pytest.mark.parametrize("dtype", dtypes.ALL, ids=str)
def test_a_tensor_of_any_type_keeps_type_shape_and_bytes(dtype: dtypes.DType) -> None:
    array = np.arange(6 * dtype.itemsize, dtype=np.uint8).view(dtype.numpy).reshape(2, 3)
    (item,) = gather({"w": Tensor.adopt(array, dtype)}, None, None)
    assert (item.dtype, item.shape, b"".join(item.pieces())) == (dtype, (2, 3), array.tobytes())


@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (2, 0, 1)], ids=str)
def test_scalars_and_empty_tensors_keep_their_shape(shape: tuple[int, ...]) -> None:
    (item,) = gather({"w": np.ones(shape, np.int16)}, None, None)
    assert item.shape == shape
    assert b"".join(item.pieces()) == np.ones(shape, np.int16).tobytes()


@pytest.mark.parametrize(
    ("save_obj", "words"),
    [
        ([parameter(1.0, "a"), Tensor([1.0])], "entry 1 is ckptload.Tensor"),
        ([parameter(1.0, "a"), {"name": "b", "data": Tensor([1.0])}], "entry 1 is dict"),
        ([np.ones(1)], "entry 0 is numpy.ndarray"),
        ([{"name": "a"}], r"one has \['name'\]"),
        ([{"name": "a", "data": Tensor([1.0])}, parameter(1.0)], "one is ckptload.Parameter"),
        ([{"name": 1, "data": Tensor([1.0])}], "'name' .* not int"),
        ([{"name": "a", "data": "text"}], "'data' .* not str"),
        ([{"name": "a", "data": [1.0]}], "'data' .* not list"),
        ({1: Tensor([1.0])}, "a key .* not int"),
        ({"a": 1j}, "parameter 'a': .* not complex"),
        ({"a": None}, "parameter 'a': .* not NoneType"),
        ({"a": np.timedelta64(1, "s")}, "parameter 'a': .* no type for arrays of timedelta64"),
        ({"a": np.array(["text"])}, "parameter 'a': .* no type for arrays of <U4"),
        ({"a": np.array([None])}, "parameter 'a': .* no type for arrays of object"),
        ({"a": np.zeros(1, "M8[D]")}, "parameter 'a': .* no type for arrays of datetime64"),
        ({"a": [1, 2, 3]}, "parameter 'a': .* not int"),
        ({"a": [np.array(1)] * 3}, "parameter 'a': .* one dimension or more"),
        ({"a": []}, "parameter 'a': .* has 0"),
        ({"a": [np.ones(1)] * 4}, "parameter 'a': .* has 4"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_saved_is_refused_by_name_and_type(save_obj: object, words: str) -> None:
    with pytest.raises(ArgumentTypeError, match=words):
        gather(save_obj, None, None)


def test_a_type_that_mindspore_lacks_is_its_runtime_error() -> None:
    with pytest.raises(RuntimeError):
        gather({"a": np.zeros(1, object)}, None, None)


# -- choice_func --------------------------------------------------------------------------------------------


def test_choice_func_is_asked_once_for_each_name_and_counts_by_its_truth() -> None:
    asked: list[str] = []

    def choose(name: str) -> Any:
        asked.append(name)
        return {"a": 1, "b": None, "c": "yes"}[name]

    entries = gather({"a": Tensor([1.0]), "b": "text", "c": Tensor([3.0])}, {"b": 5}, choose)
    assert [item.name for item in entries] == ["a", "c", "b"]
    assert asked == ["a", "b", "c"]


def test_what_is_not_chosen_is_not_judged() -> None:
    assert len(gather({"a": Tensor([1.0]), "bad": object()}, None, lambda name: name == "a")) == 1


def test_what_choice_func_raises_passes_through() -> None:
    """So it does in MindSpore's save_checkpoint."""
    with pytest.raises(ZeroDivisionError):
        gather({"a": Tensor([1.0])}, None, lambda _: 1 / 0)


# -- numbers and append_dict --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    [
        (5, dtypes.int64, np.int64(5)),
        (-(2**63), dtypes.int64, np.int64(-(2**63))),
        (2**63, dtypes.uint64, np.uint64(2**63)),
        (2**64 - 1, dtypes.uint64, np.uint64(2**64 - 1)),
        (True, dtypes.bool_, np.bool_(True)),
        (1.5, dtypes.float32, np.float32(1.5)),
        (1e300, dtypes.float32, np.float32(np.inf)),
        (np.float64(0.1), dtypes.float64, np.float64(0.1)),
        (np.float16(0.5), dtypes.float16, np.float16(0.5)),
        (np.uint8(7), dtypes.uint8, np.uint8(7)),
        (np.bool_(False), dtypes.bool_, np.bool_(False)),
        (dtypes.bfloat16.numpy.type(0.5), dtypes.bfloat16, dtypes.bfloat16.numpy.type(0.5)),
    ],
    ids=str,
)
@pytest.mark.parametrize("where", ["save_obj", "append_dict"])
def test_a_number_becomes_a_scalar_of_mindspores_choice(
    where: str, value: Any, dtype: dtypes.DType, expected: np.generic
) -> None:
    """A dictionary and ``append_dict`` follow the same rule."""
    check_append_dict({"k": value})
    (item,) = gather({"k": value}, None, None) if where == "save_obj" else gather({}, {"k": value}, None)
    assert (item.dtype, item.shape, b"".join(item.pieces())) == (dtype, (), expected.tobytes())


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, 10**30], ids=str)
@pytest.mark.parametrize("where", ["save_obj", "append_dict"])
def test_an_integer_that_fits_no_type_is_refused(where: str, value: int) -> None:
    """MindSpore raises a RuntimeError."""
    with pytest.raises(IntegerRangeError, match="parameter 'k'") as caught:
        gather({"k": value}, None, None) if where == "save_obj" else gather({}, {"k": value}, None)
    assert isinstance(caught.value, RuntimeError)
    assert isinstance(caught.value, OverflowError)


def test_entries_are_appended_in_order_and_take_the_place_of_parameters_of_their_name() -> None:
    entries = gather(
        {"a": Tensor([1.0]), "b": Tensor([2.0])}, {"t": Tensor([7]), "b": 9, "p": parameter(8.0, "own")}, None
    )
    assert list(values(entries).items()) == [("a", [1.0]), ("b", [9]), ("t", [7]), ("p", [8.0])]


def test_the_mark_of_a_save_after_an_exception_is_no_entry() -> None:
    given = {"__exception_save__": True, "epoch": 1}
    assert [item.name for item in gather({}, given, None)] == ["epoch"]
    assert given == {"__exception_save__": True, "epoch": 1}


@pytest.mark.parametrize(
    "append_dict",
    [[1], 5, "text", {1: 1}, {"a": None}, {"a": [1]}, {"a": b"x"}, {"a": {}}, {"a": np.bytes_(b"x")}, {"a": 1j}],
    ids=repr,
)
def test_append_dict_takes_numbers_strings_and_tensors_only(append_dict: object) -> None:
    with pytest.raises(ArgumentTypeError):
        check_append_dict(append_dict)


# -- names --------------------------------------------------------------------------------------------------


def test_names_may_have_1024_characters() -> None:
    assert len(gather({"x" * 1024: Tensor([1.0])}, None, None)) == 1


@pytest.mark.parametrize("where", ["save_obj", "append_dict"])
def test_longer_names_are_refused_since_mindspore_would_not_load_them(where: str) -> None:
    names = {"x" * 1025: Tensor([1.0])}
    with pytest.raises(ArgumentError, match="1025 characters"):
        gather(names, None, None) if where == "save_obj" else gather({}, names, None)


def test_names_that_utf_8_cannot_hold_are_refused() -> None:
    with pytest.raises(ArgumentError, match="UTF-8"):
        gather({"a\ud800": Tensor([1.0])}, None, None)


def test_the_empty_name_and_any_other_are_stored_as_they_are() -> None:
    strange = ["", " a ", "日本", "a\0b"]
    assert [item.name for item in gather(dict.fromkeys(strange, Tensor([1.0])), None, None)] == strange


# -- an open checkpoint -------------------------------------------------------------------------------------


@pytest.fixture
def checkpoint(tmp_path: Path) -> str:
    path = str(tmp_path / "source.ckpt")
    content = {
        "w": np.arange(12, dtype=np.float32).reshape(3, 4),
        "text": "größe",
        "table": [np.arange(3, dtype=np.int32), np.ones((3, 2), np.float32), np.zeros(3, np.int32)],
        "state": b"\1\2",
        "empty": np.zeros((0, 2)),
        "step": np.array(3),
    }
    save_checkpoint(content, path)
    return path


def test_content_of_a_reader_is_read_when_it_is_written(checkpoint: str) -> None:
    with open_checkpoint(checkpoint) as reader:
        entries = gather(reader, None, None)
        assert [(item.name, item.kind, item.shape) for item in entries] == [
            ("w", TENSOR, (3, 4)),
            ("text", STRING, (0,)),
            ("table", MAP, ()),
            ("state", BYTES, ()),
            ("empty", TENSOR, (0, 2)),
            ("step", TENSOR, ()),
        ]
        assert values(entries) == {"w": list(range(12)), "empty": [], "step": [3]}
        assert [part.shape for part in entries[2].parts] == [(3,), (3, 2), (3,)]


def test_a_tensor_of_a_reader_comes_in_pieces(tmp_path: Path) -> None:
    """So that one of any size needs little memory."""
    path = str(tmp_path / "large.ckpt")
    array = np.arange(5 << 20, dtype=np.int32)
    save_checkpoint({"w": array}, path)
    with open_checkpoint(path) as reader:
        (item,) = gather(reader, None, None)
        whole = bytearray()
        for piece in item.pieces():
            assert len(piece) < array.nbytes
            whole += piece
    assert whole == array.tobytes()


def test_damage_is_found_before_anything_is_written(checkpoint: str, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.ckpt"
    with open(checkpoint, "rb") as file:  # noqa: PTH123
        # A step of 8 bytes that says it is a Bool.
        damaged.write_bytes(file.read().replace(b"\x05Int64", b"\x05Int32"))
    with open_checkpoint(str(damaged)) as reader, pytest.raises(CorruptCheckpointError, match="step"):
        gather(reader, None, None)


# -- snapshots ----------------------------------------------------------------------------------------------


def everything(entries: list[Item]) -> Iterator[bytes]:
    for item in entries:
        yield b"".join(item.pieces())
        yield from everything(list(item.parts))


def test_a_snapshot_is_not_changed_with_the_array(checkpoint: str) -> None:
    array = np.arange(6, dtype=">i2").reshape(2, 3).T
    content = {"w": array, "m": [np.ones(2)] * 3, "text": "a", "t": Tensor.adopt(np.ones(2, "<f4"), dtypes.float32)}
    with open_checkpoint(checkpoint) as reader:
        entries = [*gather(content, {"n": 1}, None), *gather(reader, None, None)]
        expected = list(everything(entries))
        taken = [snapshot(item) for item in entries]
        assert [item[:5] for item in taken] == [item[:5] for item in entries]
        array[:] = 0
    assert list(everything(taken)) == expected


def test_what_is_detached_needs_no_open_reader_and_copies_no_array(checkpoint: str) -> None:
    array = np.arange(3)
    (item,) = gather({"w": array}, None, None)
    assert detached(item).content is array
    with open_checkpoint(checkpoint) as reader:
        entries = gather(reader, None, None)
        expected = list(everything(entries))
        taken = [detached(entry) for entry in entries]
    assert list(everything(taken)) == expected
