"""Loading into a net: from a dictionary and from an open file alike, all of it or nothing."""

from __future__ import annotations

import tracemalloc
import warnings
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptload import dtypes
from ckptload.binding import copies, loading, matching, supplies
from ckptload.binding.loading import load_param_into_net, plan_binding
from ckptload.errors import (
    ArgumentError,
    ArgumentTypeError,
    BindingError,
    ChangedFileError,
    ClosedReaderError,
    CorruptCheckpointError,
    DecryptionError,
    UnsupportedTypeError,
)
from ckptload.loading import load_checkpoint, load_checkpoint_async
from ckptload.nets.cell import Cell
from ckptload.nets.slots import CellSlot
from ckptload.reading.opening import open_checkpoint
from ckptload.tensors import casting
from ckptload.tensors.parameter import Parameter
from ckptload.tensors.tensor import Tensor
from places import FIXTURES
from strategies import floats, mapping, record, tensor, text

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from pathlib import Path

    from ckptload import LayerDifference
    from ckptload.dtypes import DType
    from ckptload.nets.slots import Slot

    Supplied = Callable[[dict[str, Any]], Any]

KEY = b"0123456789abcdef"
F16, F32, F64, BF16 = dtypes.float16, dtypes.float32, dtypes.float64, dtypes.bfloat16

# Most tests load part of a net on purpose; what is warned of has tests of its own.
quiet = pytest.mark.filterwarnings("ignore::UserWarning")
pytestmark = quiet


def param(values: Any, dtype: DType = F32, name: str | None = None) -> Parameter:
    return Parameter(Tensor(np.array(values), dtype), name=name)


def net(spec: dict[str, Any]) -> Cell:
    """Make a net from name to shape, or to shape and dtype; all values are -1."""
    cell = Cell()
    for number, (name, kind) in enumerate(spec.items()):
        shape, dtype = kind if len(kind) == 2 and isinstance(kind[0], tuple) else (kind, F32)
        cell.insert_param_to_cell(f"p{number}", param(np.full(shape, -1, np.int8), dtype, name))
    return cell


def state(cell: Cell) -> list[tuple[str, str, tuple[int, ...], bytes]]:
    """Return all that loading could change."""
    return [(p.name, str(p.dtype), p.shape, p.get_bytes()) for p in cell.get_parameters()]


def values(cell: Cell) -> dict[str, Any]:
    return {p.name: p.asnumpy().tolist() for p in cell.get_parameters()}


def encoded(parameters: dict[str, Any]) -> bytes:
    """Write a dictionary as a checkpoint."""
    records = []
    for name, value in parameters.items():
        if isinstance(value, str):
            records.append(text(name, value))
        elif isinstance(value, bytes):
            records.append(record(name, (len(value),), "random_op", value))
        elif isinstance(value, list):
            records.append(mapping(name, *(tensor(a.shape, str(a.dtype), a.tobytes()) for a in value)))
        else:
            records.append(record(name, value.shape, str(value.dtype), value.get_bytes()))
    return b"".join(records)


@pytest.fixture(params=["dictionary", "reader"])
def supplied(request: pytest.FixtureRequest) -> Supplied:
    """Hand over a dictionary as it is, or as an open checkpoint with the same content."""
    if request.param == "dictionary":
        return lambda parameters: parameters
    return lambda parameters: open_checkpoint(encoded(parameters))


# -- what is loaded -------------------------------------------------------------------------------


def test_values_come_by_exact_name_and_the_rest_is_told(supplied: Supplied) -> None:
    cell = net({"b": (2,), "a": (1,), "c": ()})
    given_ = supplied({"x": param([7.0]), "a": param([1.0]), "b": param([2.0, 3.0])})
    assert load_param_into_net(cell, given_) == (["c"], ["x"])
    assert values(cell) == {"b": [2, 3], "a": [1], "c": -1}


def test_the_end_of_a_name_will_do_unless_loading_is_strict(supplied: Supplied) -> None:
    checkpoint = {"moments.w": param([9.0]), "net.w": param([1.0]), "net.b": param([2.0]), "b": param([3.0])}
    cell = net({"w": (1,), "b": (1,)})
    assert load_param_into_net(cell, supplied(checkpoint)) == ([], ["moments.w", "net.b"])
    assert values(cell) == {"w": [1], "b": [3]}
    cell = net({"w": (1,), "b": (1,)})
    assert load_param_into_net(cell, supplied(checkpoint), strict_load=True) == (["w"], ["moments.w", "net.w", "net.b"])
    assert values(cell) == {"w": [-1], "b": [3]}


def test_one_entry_may_fill_two_parameters_that_then_share_nothing(supplied: Supplied) -> None:
    cell = net({"a": (2,), "x.a": (2,), "b.a": ((2,), F16)})
    assert load_param_into_net(cell, supplied({"x.a": param([1.0, 2.0]), "y.b.a": param([3.0, 4.0])})) == ([], [])
    assert values(cell) == {"a": [1, 2], "x.a": [1, 2], "b.a": [3, 4]}
    first, second, _ = cell.get_parameters()
    assert not np.shares_memory(first.asnumpy(), second.asnumpy())


def test_one_entry_may_be_converted_twice(supplied: Supplied) -> None:
    cell = net({"a": ((2,), F16), "x.a": ((2,), BF16), "y.x.a": ((2,), F16)})
    load_param_into_net(cell, supplied({"y.x.a": param([1.0, 2.0])}))
    assert values(cell) == {"a": [1, 2], "x.a": [1, 2], "y.x.a": [1, 2]}


def test_the_net_keeps_its_parameters_its_memory_and_its_flags(supplied: Supplied) -> None:
    cell = net({"a": (3,), "b": ((3,), F16)})
    before = list(cell.get_parameters())
    memory = [p.asnumpy() for p in before]
    before[0].requires_grad = False
    source = {name: param([1.0, 2.0, 3.0], name="other") for name in "ab"}
    load_param_into_net(cell, supplied(source))
    after = list(cell.get_parameters())
    assert all(one is other for one, other in zip(before, after, strict=True))
    assert [(p.name, p.requires_grad) for p in after] == [("a", False), ("b", True)]
    assert [array.tolist() for array in memory] == [[1, 2, 3], [1, 2, 3]]


def test_net_and_dictionary_share_no_memory() -> None:
    source = {"a": param([1.0, 2.0])}
    first, second = net({"a": (2,)}), net({"a": (2,)})
    load_param_into_net(first, source)
    load_param_into_net(second, source)
    next(first.get_parameters()).asnumpy()[0] = 42
    assert (values(second), source["a"].asnumpy().tolist()) == ({"a": [1, 2]}, [1, 2])


@pytest.mark.parametrize("dtype", dtypes.ALL, ids=str)
def test_every_dtype_loads_into_its_own(dtype: DType, supplied: Supplied) -> None:
    data = bytes([0, 1] * (3 * dtype.itemsize))
    array = np.frombuffer(data, dtype.numpy).copy()
    cell = Cell()
    cell.insert_param_to_cell("a", Parameter.adopt(np.zeros_like(array), dtype, "a"))
    load_param_into_net(cell, supplied({"a": Parameter.adopt(array, dtype, "a")}), strict_load=True)
    assert cell.a.get_bytes() == data


@pytest.mark.parametrize(
    ("source", "target"),
    [(F32, F16), (F64, F16), (BF16, F32), (F16, BF16), (dtypes.int64, dtypes.int8), (dtypes.int16, dtypes.qint4x2)],
    ids=str,
)
def test_dtypes_are_converted_as_casting_does(source: DType, target: DType, supplied: Supplied) -> None:
    array = np.frombuffer(np.random.default_rng(5).bytes(4000 * source.itemsize), source.numpy).reshape(40, 100)
    cell = net({"a": ((40, 100), target), "b": ((3,), target)})
    checkpoint = {"a": Parameter.adopt(array, source, "a"), "b": param([1, 2, 3], source)}
    load_param_into_net(cell, supplied(checkpoint))
    assert cell.p0.get_bytes() == casting.cast(array, source, target).tobytes()
    assert cell.p1.asnumpy().tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("shape", "stored"),
    [((2, 3), (2, 3, 1)), ((2, 3), (2, 3, 1, 1)), ((), (1,)), ((), (1, 1)), ((0,), (0, 1)), ((1,), (1, 1))],
)
@pytest.mark.parametrize("dtype", [F32, F16], ids=str)
def test_ones_at_the_end_of_a_shape_are_dropped(
    shape: tuple[int, ...], stored: tuple[int, ...], dtype: DType, supplied: Supplied
) -> None:
    cell = net({"a": (shape, dtype)})
    array = np.arange(np.prod(stored, dtype=int)).reshape(stored)
    assert load_param_into_net(cell, supplied({"a": param(array)})) == ([], [])
    assert (cell.p0.shape, cell.p0.asnumpy().tolist()) == (shape, array.reshape(shape).tolist())


def test_a_selection_of_a_file_is_all_there_is() -> None:
    cell = net({"a": (1,), "b": (1,)})
    with open_checkpoint(floats("a", 1) + floats("b", 2) + floats("x.b", 3)) as reader:
        chosen = reader.select(choice_func=lambda name: name != "b")
        assert load_param_into_net(cell, chosen) == ([], [])
    assert values(cell) == {"a": [1], "b": [3]}


def test_what_is_no_tensor_stays_out_and_is_told_on_both_sides(supplied: Supplied) -> None:
    checkpoint = {"s": "text", "m": [np.zeros(2, np.float32)], "r": b"123", "x.b": "text", "y.b": param([5.0])}
    cell = net({"s": (1,), "m": (1,), "r": (1,), "b": (1,)})
    assert load_param_into_net(cell, supplied(checkpoint)) == (["s", "m", "r"], ["s", "m", "r", "x.b"])
    assert values(cell) == {"s": [-1], "m": [-1], "r": [-1], "b": [5]}


def test_gradient_sums_that_the_checkpoint_lacks_are_not_missed(supplied: Supplied) -> None:
    cell = net({"accu_grads.a": (1,), "accu_grads.b": (1,), "a": (1,)})
    checkpoint = {"accu_grads.b": param([2.0]), "a": param([1.0])}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_param_into_net(cell, supplied(checkpoint)) == ([], [])
    assert values(cell) == {"accu_grads.a": [-1], "accu_grads.b": [2], "a": [1]}


# -- nothing matches --------------------------------------------------------------------------------


def test_a_load_in_which_nothing_matches_names_both_sides(supplied: Supplied) -> None:
    cell = net({"conv.weight": (1,), "conv.bias": (1,)})
    before = state(cell)
    with pytest.raises(RuntimeError) as caught:
        plan_binding(cell, supplied({"conv.wieght": param([1.0]), "epoch": "three"})).apply()
    assert isinstance(caught.value, BindingError)
    lines = [line.strip() for line in str(caught.value).splitlines() if "in file" not in line]
    assert lines == [
        "no entry of the checkpoint matches a parameter of the net, and nothing was written:",
        "the net has 2 parameters: 'conv.weight', 'conv.bias'",
        "the checkpoint has 2 entries: 'conv.wieght', 'epoch'",
        "nearest to 'conv.weight': 'conv.wieght'",
        "nearest to 'conv.bias': 'conv.wieght'",
        "hint: check that this is the checkpoint of this net; if it is, rename its entries with name_map",
    ]
    assert state(cell) == before


def test_a_call_that_mindspore_has_warns_and_returns_the_lists(tmp_path: Path) -> None:
    """As recorded of MindSpore 2.10.0."""
    path, cell = tmp_path / "x.ckpt", net({"a": (1,)})
    path.write_bytes(encoded({"b": param([1.0])}))
    doors: list[Callable[[], object]] = [
        lambda: load_checkpoint(path, cell),
        lambda: load_checkpoint_async(path, cell).result(),
        lambda: load_param_into_net(cell, {"b": param([1.0])}),
    ]
    for door in doors:
        with pytest.warns(UserWarning, match=r"(?s)matches a parameter of the net.*'b'.*hint: check that"):
            found = door()
    assert found == (["a"], ["b"])
    assert values(cell) == {"a": [-1]}


def test_every_door_of_ours_refuses_a_load_in_which_nothing_matches(tmp_path: Path) -> None:
    path, cell = tmp_path / "x.ckpt", net({"a": (1,)})
    path.write_bytes(encoded({"b": param([1.0])}))
    plan = plan_binding(cell, {"b": param([1.0])})
    reader = open_checkpoint(path)
    doors: list[Callable[[], object]] = [
        plan.check,
        plan.apply,
        lambda: load_param_into_net(cell, reader),
        lambda: load_param_into_net(cell, {"b": param([1.0])}, skip_misfits=True),
        lambda: load_param_into_net(cell, {"a": param([1.0])}, name_map={"a": "b"}),
    ]
    for door in doors:
        with pytest.raises(BindingError, match="matches a parameter of the net"):
            door()
    assert values(cell) == {"a": [-1]}


def test_a_prefix_that_only_the_net_has_is_told_with_what_adds_it() -> None:
    cell, checkpoint = net({"net.a": (1,), "net.b": (1,)}), {"a": param([1.0]), "b": param([2.0])}
    with pytest.raises(BindingError) as caught:
        plan_binding(cell, checkpoint).check()
    assert caught.value.hint == "add 'net.' to the names with name_map: lambda name: 'net.' + name"
    assert load_param_into_net(cell, checkpoint, name_map=lambda name: "net." + name) == ([], [])


def test_a_string_of_a_parameters_name_is_no_match(supplied: Supplied) -> None:
    with pytest.raises(BindingError, match="'a' is not a tensor in the checkpoint"):
        plan_binding(net({"a": (1,)}), supplied({"a": "text"})).check()


def test_strict_loading_lists_what_does_not_match(supplied: Supplied) -> None:
    assert load_param_into_net(net({"a": (1,)}), supplied({"x.a": param([1.0])}), strict_load=True) == (["a"], ["x.a"])


def test_nothing_to_load_and_nothing_to_fill() -> None:
    assert load_param_into_net(net({"a": (1,)}), {}) == (["a"], [])
    assert load_param_into_net(Cell(), {}) == ([], [])
    assert load_param_into_net(net({"accu_grads.a": (1,)}), {"b": param([1.0])}) == ([], ["b"])
    with pytest.warns(UserWarning, match="the net has no parameters; 1 entry of the checkpoint not loaded"):
        assert load_param_into_net(Cell(), {"a": param([1.0])}) == ([], ["a"])


# -- misfits are skipped ----------------------------------------------------------------------------


def test_what_fits_is_loaded_and_the_rest_is_listed(supplied: Supplied) -> None:
    checkpoint = {"a": param([1.0]), "b": param([1.0, 2.0]), "c": param([3], dtypes.int32), "d": param([4.0])}
    cell = net({"b": (1,), "a": (1,), "c": (1,), "e": (1,)})
    before = state(cell)
    with pytest.raises(BindingError, match="pass skip_misfits=True to load the rest"):
        load_param_into_net(cell, supplied(checkpoint))
    assert state(cell) == before
    with pytest.warns(UserWarning, match="keep their values") as caught:
        lists = load_param_into_net(cell, supplied(checkpoint), skip_misfits=True)
    assert lists == (["b", "c", "e"], ["b", "c", "d"])
    assert values(cell) == {"b": [-1], "a": [1], "c": [-1], "e": [-1]}
    (warning,) = caught
    assert str(warning.message).splitlines() == [
        (
            "3 of 4 parameters keep their values: 1 because the checkpoint has no tensor of that name: 'e'; "
            "2 because their entries do not fit:"
        ),
        "    'b': the net has Float32 (1,), the checkpoint Float32 (2,); the shapes differ",
        "    'c': the net has Float32 (1,), the checkpoint Int32 (1,); there is no conversion between these dtypes",
    ]


def test_a_plan_shows_what_it_skips() -> None:
    plan = plan_binding(net({"a": (1,), "b": (1,)}), {"a": param([1.0]), "b": param([1.0, 2.0])}, skip_misfits=True)
    assert [load.name for load in plan.loads] == ["a"]
    assert [misfit.name for misfit in plan.misfits] == plan.param_not_load == plan.ckpt_not_load == ["b"]
    assert str(plan).splitlines() == [
        "1 of 2 parameters can be loaded from 2 entries",
        "  1 matched by name: 'a'",
        "  1 misfit; skipped:",
        "    'b': the net has Float32 (1,), the checkpoint Float32 (2,); the shapes differ",
        "  1 entry of the checkpoint not used: 'b'",
    ]
    plan.check()


@pytest.mark.parametrize("other", ["moment1.w", "ema.w", "net.w"])
def test_another_entry_never_takes_the_place_of_a_misfit(other: str, supplied: Supplied) -> None:
    """The other one would fit."""
    checkpoint = {other: param([5.0]), "w": param([1.0, 2.0]), "a": param([1.0])}
    cell = net({"w": (1,), "a": (1,)})
    assert load_param_into_net(cell, supplied(checkpoint), skip_misfits=True) == (["w"], [other, "w"])
    assert values(cell) == {"w": [-1], "a": [1]}


def test_a_misfit_behind_a_prefix_is_not_replaced_by_optimizer_state(supplied: Supplied) -> None:
    checkpoint = {"net.w": param([1.0, 2.0]), "net.a": param([1.0]), "moment1.w": param([5.0])}
    cell = net({"w": (1,), "a": (1,)})
    assert load_param_into_net(cell, supplied(checkpoint), skip_misfits=True) == (["w"], ["net.w", "moment1.w"])


def test_an_entry_that_also_fits_another_parameter_is_used(supplied: Supplied) -> None:
    cell = net({"x.a": (2,), "a": (1,)})
    assert load_param_into_net(cell, supplied({"x.a": param([1.0])}), skip_misfits=True) == (["x.a"], [])


def test_memory_that_cannot_be_written_is_skipped_too() -> None:
    cell = net({"a": (1,), "b": (1,)})
    cell.p0.asnumpy().flags.writeable = False
    checkpoint = {"a": param([1.0]), "b": param([2.0])}
    assert load_param_into_net(cell, checkpoint, skip_misfits=True) == (["a"], ["a"])
    assert values(cell) == {"a": [-1], "b": [2]}


@pytest.mark.parametrize("strict", [False, True])
def test_if_nothing_at_all_fits_skipping_refuses(strict: bool, supplied: Supplied) -> None:
    cell = net({"a": (1,), "b": (1,)})
    with pytest.raises(BindingError, match="1 of 2 parameters cannot be loaded, and nothing was written") as caught:
        load_param_into_net(cell, supplied({"a": param([1.0, 2.0])}), strict, skip_misfits=True)
    assert "skip_misfits" not in str(caught.value)


def test_strict_loading_skips_what_it_would_have_to_convert() -> None:
    checkpoint = {"a": param([1.0], F16), "b": param([2.0])}
    cell = net({"a": (1,), "b": (1,)})
    assert load_param_into_net(cell, checkpoint, strict_load=True, skip_misfits=True) == (["a"], ["a"])


def test_a_checkpoint_is_loaded_with_its_misfits_skipped(tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    path.write_bytes(encoded({"a": param([1.0]), "b": param([1.0, 2.0])}))
    first, second = net({"a": (1,), "b": (1,)}), net({"a": (1,), "b": (1,)})
    assert list(load_checkpoint(path, first, skip_misfits=True)) == ["a", "b"]
    load_checkpoint_async(path, second, skip_misfits=True).result()
    assert values(first) == values(second) == {"a": [1], "b": [-1]}


def test_a_warning_lists_a_few_misfits_and_counts_the_rest() -> None:
    spec: dict[str, Any] = {f"w{number}": (1,) for number in range(30)}
    cell = net({"a": (1,), **spec})
    (message,) = warned(cell, {"a": param([1.0]), **{name: param([1.0, 2.0]) for name in spec}}, skip_misfits=True)
    first, *lines = message.splitlines()
    assert first == "30 of 31 parameters keep their values, because their entries do not fit:"
    assert len(lines) == 11
    assert lines[-1] == "    and 20 more"


# -- names ------------------------------------------------------------------------------------------


def test_names_count_and_not_attributes_nor_an_entrys_own_name() -> None:
    cell = net({"a": (1,)})
    load_param_into_net(cell, {"p0": param([1.0], name="a"), "a": param([2.0], name="p0")})
    assert values(cell) == {"a": [2]}


def test_an_ordered_dict_is_a_dict() -> None:
    assert load_param_into_net(net({"a": (1,)}), OrderedDict(a=param([1.0]))) == ([], [])


# -- memory that both sides have ------------------------------------------------------------------


def test_a_net_may_be_loaded_with_its_own_parameters() -> None:
    cell = net({"a": (3,), "b": (3,)})
    cell.p0.asnumpy()[:] = [1, 2, 3]
    assert load_param_into_net(cell, {p.name: p for p in cell.get_parameters()}) == ([], [])
    assert values(cell) == {"a": [1, 2, 3], "b": [-1, -1, -1]}


def test_two_parameters_of_a_net_can_be_exchanged() -> None:
    cell = net({"a": (3,), "b": (3,), "c": (3,)})
    for number, parameter in enumerate(cell.get_parameters()):
        parameter.asnumpy()[:] = number
    load_param_into_net(cell, {"a": cell.p1, "b": cell.p2, "c": cell.p0})
    assert values(cell) == {"a": [1] * 3, "b": [2] * 3, "c": [0] * 3}


def test_parts_of_one_array_are_read_before_they_are_written() -> None:
    whole = np.arange(8, dtype=np.float32)
    cell = Cell()
    cell.a = Parameter.adopt(whole[0:4], F32, "a")
    cell.b = Parameter.adopt(whole[4:8], F32, "b")
    load_param_into_net(cell, {"a": Parameter.adopt(whole[2:6], F32), "b": Parameter.adopt(whole[1:5], F32)})
    assert whole.tolist() == [2, 3, 4, 5, 1, 2, 3, 4]


def test_memory_shared_between_dtypes_is_read_before_it_is_written() -> None:
    array = np.array([1, -1, 2, -2], np.int16)
    cell = Cell()
    cell.a = Parameter.adopt(array, dtypes.int16, "a")
    as_floats = Parameter.adopt(np.array([0.5, 1.5], np.float32), F32)
    load_param_into_net(cell, {"a": Parameter.adopt(array[::-1].copy(), dtypes.int16)})
    assert array.tolist() == [-2, 2, -1, 1]
    cell.b = Parameter.adopt(array.view(np.int8)[:4], dtypes.int8, "b")
    with pytest.raises(BindingError):
        load_param_into_net(cell, {"a": as_floats})
    load_param_into_net(cell, {"b": Parameter.adopt(array, dtypes.int16)})
    assert array.view(np.int8)[:4].tolist() == [-2, 2, -1, 1]


def test_parameters_that_overlap_each_other_are_refused() -> None:
    """One would overwrite the other, and which one depends on threads. One of them alone is loaded."""
    whole = np.arange(6, dtype=np.float32)
    cell = Cell()
    cell.a = Parameter.adopt(whole[0:4], F32, "a")
    cell.b = Parameter.adopt(whole[2:6], F32, "b")
    cell.c = Parameter.adopt(np.zeros(2, np.float32), F32, "c")
    values = {name: param(np.ones(size, np.float32)) for name, size in (("a", 4), ("b", 4), ("c", 2))}
    plan = plan_binding(cell, values)
    assert [load.name for load in plan.loads] == ["c"]
    assert [misfit.name for misfit in plan.misfits] == ["a", "b"]
    with pytest.raises(BindingError, match=r"'a': .*it shares memory with 'b'"):
        load_param_into_net(cell, values)
    assert whole.tolist() == [0, 1, 2, 3, 4, 5]
    assert cell.c.asnumpy().tolist() == [0, 0]
    del values["b"]
    with pytest.warns(UserWarning, match="'b'"):
        load_param_into_net(cell, values)
    assert whole.tolist() == [1, 1, 1, 1, 4, 5]


def test_parameters_that_are_made_to_overlap_after_planning_are_not_written() -> None:
    cell = Cell()
    cell.a, cell.b = param(np.zeros(2, np.float32)), param(np.zeros(2, np.float32))
    values = {name: param(np.ones(2, np.float32)) for name in "ab"}
    plan = plan_binding(cell, values)
    cell.b._array = cell.a.asnumpy()
    with pytest.raises(BindingError, match="was changed after the plan was made"):
        plan.apply()
    assert cell.a.asnumpy().tolist() == [0, 0]


@pytest.mark.parametrize("shape", [(4,), (2, 2)])
def test_a_parameter_whose_elements_share_memory_is_refused(shape: tuple[int, ...]) -> None:
    strides = (0,) if len(shape) == 1 else (4, 4)
    array = np.lib.stride_tricks.as_strided(np.zeros(3, np.float32), shape, strides)
    cell = Cell()
    cell.a = Parameter.adopt(array, F32, "a")
    with pytest.raises(BindingError, match="several of its elements share memory"):
        load_param_into_net(cell, {"a": param(np.ones(shape, np.float32))})
    assert not array.any()


# -- all or nothing -------------------------------------------------------------------------------

MISFITS = {
    "fewer elements": ({"z": (3,)}, {"z": param([1.0, 2.0])}, "z"),
    "other order of the same elements": ({"z": (3, 2)}, {"z": param(np.ones((2, 3)))}, "z"),
    "ones that the net has": ({"z": (2, 1)}, {"z": param([1.0, 2.0])}, "z"),
    "a one in front": ({"z": (2, 3)}, {"z": param(np.ones((1, 2, 3)))}, "z"),
    "a one in the middle": ({"z": (2, 3)}, {"z": param(np.ones((2, 1, 3)))}, "z"),
    "as many elements, flat": ({"z": (6,)}, {"z": param(np.ones((2, 3, 1)))}, "z"),
    "not empty": ({"z": (0,)}, {"z": param([1.0])}, "z"),
    "float into integer": ({"z": ((2,), dtypes.int32)}, {"z": param([1.0, 2.0])}, "z"),
    "integer into float": ({"z": (2,)}, {"z": param([1, 2], dtypes.int32)}, "z"),
    "unsigned into unsigned": ({"z": ((2,), dtypes.uint16)}, {"z": param([1, 2], dtypes.uint8)}, "z"),
    "bool into integer": ({"z": ((2,), dtypes.int8)}, {"z": param([1, 0], dtypes.bool_)}, "z"),
    "complex into float": ({"z": (2,)}, {"z": param([1, 2], dtypes.complex64)}, "z"),
    "by the end of a name": ({"z": (3,)}, {"x.z": param([1.0, 2.0])}, "x.z"),
}


@pytest.mark.parametrize(("spec", "more", "key"), MISFITS.values(), ids=MISFITS)
def test_a_misfit_leaves_the_whole_net_as_it_was(
    spec: dict[str, Any], more: dict[str, Any], key: str, supplied: Supplied
) -> None:
    """The misfit comes last, behind parameters that fit; the error is the RuntimeError that MindSpore raises."""
    cell = net({"a": (2,), "b": ((2,), F16), **spec})
    before = state(cell)
    checkpoint = {"a": param([1.0, 2.0]), "b": param([3.0, 4.0]), **more}
    with pytest.raises(RuntimeError, match="'z'") as caught:
        load_param_into_net(cell, supplied(checkpoint))
    assert state(cell) == before
    message = str(caught.value)
    assert f"{cell.p2.dtype} {cell.p2.shape}" in message
    assert f"{more[key].dtype} {more[key].shape}" in message
    assert isinstance(caught.value, BindingError)


def test_every_misfit_is_listed(supplied: Supplied) -> None:
    sizes = {f"layer{number}.weight": (number + 1,) for number in range(60)}
    cell = net({"fits": (2,), **sizes, "kind": ((1,), dtypes.int8)})
    before = state(cell)
    checkpoint = {"fits": param([1.0, 2.0]), **{name: param(np.ones(99)) for name in sizes}, "kind": param(np.ones(2))}
    with pytest.raises(BindingError, match="61 of 62 parameters cannot be loaded") as caught:
        load_param_into_net(cell, supplied(checkpoint))
    message = str(caught.value)
    assert all(repr(name) in message for name in [*sizes, "kind"])
    assert "the shapes differ; there is no conversion between these dtypes" in message
    assert "'fits'" not in message
    assert state(cell) == before


def test_strict_loading_converts_nothing(supplied: Supplied) -> None:
    cell = net({"a": (1,), "b": ((1,), F16)})
    before = state(cell)
    with pytest.raises(BindingError, match="strict_load=False") as caught:
        load_param_into_net(cell, supplied({"a": param([1.0]), "b": param([1.0])}), strict_load=True)
    assert "'b': the net has Float16 (1,), the checkpoint Float32 (1,)" in str(caught.value)
    assert state(cell) == before


def test_memory_that_cannot_be_written_is_a_misfit(supplied: Supplied) -> None:
    cell = net({"a": (1,), "b": (1,)})
    cell.p1.asnumpy().flags.writeable = False
    with pytest.raises(BindingError, match="read-only"):
        load_param_into_net(cell, supplied({"a": param([1.0]), "b": param([1.0])}))
    assert values(cell) == {"a": [-1], "b": [-1]}


def test_a_misfit_names_the_entries_whose_names_come_close(supplied: Supplied) -> None:
    cell = net({"head.fc1.weight": (3,)})
    checkpoint = {"head.fc1.weight": param([1.0]), "head.fc2.weight": param(np.ones(3)), "global_step": param([1.0])}
    with pytest.raises(BindingError, match=r"nearest other names are 'head.fc2.weight'"):
        load_param_into_net(cell, supplied(checkpoint))


@pytest.mark.parametrize("strict", [False, True])
def test_two_parameters_of_one_name_are_refused(supplied: Supplied, strict: bool) -> None:
    cell = net({"b": (1,), "x": (1,), "y": (1,)})
    cell.p1.name = cell.p2.name = "a"
    with pytest.raises(ArgumentError, match="same name: 'a'"):
        load_param_into_net(cell, supplied({"b": param([1.0]), "a": param([1.0])}), strict_load=strict)
    assert [p.asnumpy().tolist() for p in cell.get_parameters()] == [[-1]] * 3


def test_removing_redundancy_is_refused_before_anything_is_written(supplied: Supplied) -> None:
    cell = net({"a": (1,)})
    with pytest.raises(ArgumentTypeError, match="parallel"):
        load_param_into_net(cell, supplied({"a": param([1.0])}), remove_redundancy=True)
    assert values(cell) == {"a": [-1]}


def test_a_warning_that_is_made_an_error_leaves_the_net_as_it_was(supplied: Supplied) -> None:
    cell = net({"a": (1,), "b": (1,)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="'b'"):
            load_param_into_net(cell, supplied({"a": param([1.0])}))
    assert values(cell) == {"a": [-1], "b": [-1]}


def test_a_damaged_entry_that_is_wanted_leaves_the_net_as_it_was() -> None:
    cell = net({"a": (1,), "b": (2,)})
    short = record("b", (2,), "Float32", b"1234")
    with pytest.raises(CorruptCheckpointError, match="'b'"):
        load_param_into_net(cell, open_checkpoint(floats("a", 1) + short))
    with pytest.raises(CorruptCheckpointError, match=r"x\.b"):
        load_param_into_net(cell, open_checkpoint(floats("a", 1) + record("x.b", (2,), "Float32", b"1234")))
    with pytest.raises(UnsupportedTypeError, match="'b'"):
        load_param_into_net(cell, open_checkpoint(floats("a", 1) + record("b", (2,), "Foo", b"1234")))
    assert values(cell) == {"a": [-1], "b": [-1, -1]}


def test_a_damaged_entry_that_no_parameter_takes_stops_nobody() -> None:
    cell = net({"a": (1,)})
    data = record("b", (2,), "Float32", b"1234") + floats("a", 1) + record("c.d", (2,), "Foo", b"1234")
    assert load_param_into_net(cell, open_checkpoint(data)) == ([], ["b", "c.d"])
    assert values(cell) == {"a": [1]}


def test_an_encrypted_file_is_authentic_before_the_net_is_written() -> None:
    path = str(FIXTURES / "enc_gcm.ckpt")
    with open_checkpoint(path, dec_key=KEY) as reader:
        wanted = reader.load([name for name in reader if reader.info(name).kind == "tensor"])
        cell = net({name: (value.shape, value.dtype) for name, value in wanted.items()})
        load_param_into_net(cell, reader)
        assert [p.get_bytes() for p in cell.get_parameters()] == [v.get_bytes() for v in wanted.values()]


def test_a_block_that_is_not_authentic_leaves_the_net_as_it_was(tmp_path: Path) -> None:
    """The second block of two is damaged, and only a parameter of the first is wanted."""
    data = bytearray((FIXTURES / "enc_gcm256_blocks.ckpt").read_bytes())
    data[-1] ^= 1
    path = tmp_path / "damaged.ckpt"
    path.write_bytes(data)
    with open_checkpoint(str(FIXTURES / "enc_gcm256_blocks.ckpt"), dec_key=KEY + KEY.upper()) as reader:
        name = next(iter(reader))
        info = reader.info(name)
    cell = net({name: (info.shape, info.dtype)})
    before = state(cell)
    with pytest.raises(DecryptionError), open_checkpoint(str(path), dec_key=KEY + KEY.upper()) as reader:
        load_param_into_net(cell, reader)
    assert state(cell) == before


def test_a_closed_reader_and_a_changed_file_leave_the_net_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    path.write_bytes(floats("a", 1, 2, 3))
    cell = net({"a": (3,)})
    with open_checkpoint(str(path)) as reader:
        plan = plan_binding(cell, reader)
    with pytest.raises(ClosedReaderError):
        plan.apply()
    with open_checkpoint(str(path)) as reader:
        plan = plan_binding(cell, reader)
        path.write_bytes(floats("a", 4, 5, 6) * 2)
        with pytest.raises(ChangedFileError):
            plan.apply()
    assert values(cell) == {"a": [-1, -1, -1]}


# -- arguments ------------------------------------------------------------------------------------


@pytest.mark.parametrize("other", [1, None, "net", {}, Parameter(1.0)], ids=lambda other: type(other).__name__)
def test_what_is_no_net_is_refused(other: Any) -> None:
    for call in (load_param_into_net, plan_binding):
        with pytest.raises(ArgumentTypeError, match="must be a Cell"):
            call(other, {})


@pytest.mark.parametrize("other", [1, None, [], b""], ids=lambda other: type(other).__name__)
def test_what_is_neither_a_dictionary_nor_a_reader_is_refused(other: Any) -> None:
    with pytest.raises(ArgumentTypeError, match="parameter_dict must be a dict, an open checkpoint or a path"):
        load_param_into_net(net({"a": (1,)}), other)
    with pytest.raises(ArgumentTypeError, match="parameters must be a dict"):
        plan_binding(net({"a": (1,)}), other)


@pytest.mark.parametrize("value", [None, 1.0, np.ones(1), Tensor([1.0]), (1,)], ids=lambda value: type(value).__name__)
def test_values_of_other_types_are_refused(value: Any) -> None:
    cell = net({"a": (1,)})
    with pytest.raises(ArgumentTypeError, match=r"'b': the value must be a Parameter.*not \S*" + type(value).__name__):
        load_param_into_net(cell, {"a": param([1.0]), "b": value})
    assert values(cell) == {"a": [-1]}


def test_keys_of_other_types_are_refused() -> None:
    with pytest.raises(ArgumentTypeError, match="must be a str, not int: 1"):
        load_param_into_net(net({"a": (1,)}), {1: param([1.0])})  # type: ignore[dict-item]


@pytest.mark.parametrize("flag", ["strict_load", "remove_redundancy", "skip_misfits"])
@pytest.mark.parametrize("value", [0, 1, None, "x", np.bool_(False)], ids=repr)
def test_flags_are_bools(flag: str, value: Any) -> None:
    with pytest.raises(ArgumentTypeError, match=f"{flag} must be True or False"):
        load_param_into_net(net({"a": (1,)}), {}, **{flag: value})


# -- warnings and logs ----------------------------------------------------------------------------


def warned(cell: Cell, parameters: Any, **how: Any) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load_param_into_net(cell, parameters, **how)
    assert {(each.category, each.filename) for each in caught} <= {(UserWarning, __file__)}
    return [str(each.message) for each in caught]


def test_a_net_that_is_loaded_whole_from_its_own_names_warns_of_nothing(supplied: Supplied) -> None:
    assert warned(net({"a": (1,)}), supplied({"a": param([1.0]), "unused": param([1.0])})) == []


def test_what_keeps_its_values_is_counted_and_named(supplied: Supplied) -> None:
    spec: dict[str, Any] = {f"w{number}": (1,) for number in range(30)}
    (message,) = warned(net({"a": (1,), **spec}), supplied({"a": param([1.0])}))
    assert message.startswith("30 of 31 parameters keep their values")
    assert message.endswith("'w0', 'w1', 'w2', 'w3', 'w4', 'w5', 'w6', 'w7' and 22 more")
    (message,) = warned(net({"a": (1,), "c": (1,)}), supplied({"a": param([1.0]), "b": param([1.0])}))
    assert message.startswith("1 of 2 parameters keeps its values")


def test_prefixes_are_counted_and_named(supplied: Supplied) -> None:
    checkpoint = {key: param([1.0]) for key in ("x.a", "x.b", "y.c", "d")}
    (message,) = warned(net(dict.fromkeys("abcd", (1,))), supplied(checkpoint))
    assert message == (
        "3 of 4 parameters are matched by the end of the name, after the prefixes "
        "'x.' (2 parameters), 'y.' (1 parameter)"
    )


def test_optimizer_state_in_place_of_weights_is_named(supplied: Supplied) -> None:
    (message,) = warned(net({"w": (1,)}), supplied({"moment1.w": param([1.0])}))
    assert message == (
        "1 parameter is filled from optimizer state or copies, because no other entry matches: 'w' from 'moment1.w'"
    )


def test_conversions_are_counted_in_one_warning(supplied: Supplied) -> None:
    spec = {"a": ((1,), F16), "b": ((1,), F16), "c": ((1,), BF16), "d": (1,)}
    (message,) = warned(net(spec), supplied({name: param([1.0]) for name in spec}))
    assert message == ("3 parameters are converted to the net's dtype: Float32 to Float16 (2), Float32 to BFloat16 (1)")


@pytest.mark.parametrize("size", [2, 600_000], ids=["whole", "in pieces"])
def test_values_that_the_net_cannot_hold_are_told(size: int, supplied: Supplied) -> None:
    """They are infinite in the net, and so is all that it computes."""
    spec = dict.fromkeys("abc", ((size,), F16))
    values = np.full(size, 1e6, np.float32)
    checkpoint = {"a": Parameter(np.ones(size, np.float32)), "n.b": Parameter(values), "c": Parameter(values * np.inf)}
    cell = net(spec)
    message = warned(cell, supplied(checkpoint))[-1]
    assert message == (
        "1 parameter has a dtype that cannot hold all values: floats became infinite, integers wrapped around: "
        "'b' (Float32 to Float16)"
    )
    assert np.isinf(next(each for each in cell.get_parameters() if each.name == "b").asnumpy()).all()


def test_prefixes_that_would_do_as_well_are_named(supplied: Supplied) -> None:
    """Of two nets in a file one is taken, whichever is first; only the user knows whether it is the right one."""
    checkpoint = {key: param([1.0]) for key in ("x.a", "y.a", "x.b", "y.b", "moment1.x.a", "ema.y.b")}
    checkpoint["z.a"] = param([1.0, 1.0])
    cell, given = net(dict.fromkeys("ab", (1,))), supplied(checkpoint)
    (message,) = warned(cell, given)
    assert message == (
        "2 of 2 parameters are matched by the end of the name, after the prefix 'x.' "
        "(2 parameters; 'y.' matches as well)"
    )
    plan = plan_binding(cell, given)
    assert plan.rivals == {"x.": ["y."]}
    assert str(plan).splitlines()[1] == "  2 matched after the prefix 'x.' ('y.' matches as well): 'a', 'b'"


def test_an_entry_that_fills_several_parameters_is_named(supplied: Supplied) -> None:
    """As in MindSpore, what fills one parameter by its name may fill another by the end of its name."""
    cell, given = net({"w": (1,), "enc.w": (1,)}), supplied({"enc.w": param([1.0])})
    _, message = warned(cell, given)
    assert message == "1 entry fills several parameters: 'enc.w' fills 'w', 'enc.w'"
    plan = plan_binding(cell, given)
    assert plan.shared == {"enc.w": ["w", "enc.w"]}
    assert "  1 entry fills several parameters: 'enc.w'" in str(plan).splitlines()


# -- several entries match ------------------------------------------------------------------------


def two_nets() -> dict[str, Parameter]:
    return {key: param([value]) for value, key in enumerate(("b.w", "b.v", "a.w", "a.v", "a.u"))}


@pytest.mark.parametrize("skip_misfits", [False, True])
def test_entries_that_nothing_tells_apart_are_all_named(skip_misfits: bool, supplied: Supplied) -> None:
    cell = net(dict.fromkeys("wuv", (1,)))
    with pytest.raises(BindingError) as caught:
        load_param_into_net(cell, supplied(two_nets()), skip_misfits=skip_misfits)
    assert caught.value.problem == (
        "2 of 3 parameters match several entries that nothing tells apart, and nothing was written:\n"
        "    'w': 'b.w', 'a.w'\n"
        "    'v': 'b.v', 'a.v'"
    )
    assert caught.value.hint == "leave all but one out with choice_func, or rename entries with name_map"
    assert values(cell) == {"w": [-1], "u": [-1], "v": [-1]}


def test_misfits_are_reported_beside_what_nothing_tells_apart(supplied: Supplied) -> None:
    checkpoint = two_nets() | {"x": param([1.0, 2.0])}
    with pytest.raises(
        BindingError, match=r"(?s)2 of 4 .* several entries .*\n  1 of 4 .* cannot be loaded.*'x': the net"
    ):
        load_param_into_net(net(dict.fromkeys("wuvx", (1,))), supplied(checkpoint))


def test_a_plan_shows_entries_that_nothing_tells_apart(supplied: Supplied) -> None:
    plan = plan_binding(net(dict.fromkeys("wuv", (1,))), supplied(two_nets()))
    assert [tuple(tie) for tie in plan.ties] == [("w", ("b.w", "a.w")), ("v", ("b.v", "a.v"))]
    assert (plan.unmatched, plan.param_not_load, [load.name for load in plan.loads]) == (False, [], ["u"])
    assert str(plan).splitlines()[2:5] == [
        "  2 parameters with several entries that nothing tells apart; nothing will be written:",
        "    'w': 'b.w', 'a.w'",
        "    'v': 'b.v', 'a.v'",
    ]


def test_a_name_map_or_a_filter_decides(supplied: Supplied) -> None:
    cell = net(dict.fromkeys("wuv", (1,)))
    load_param_into_net(cell, supplied(two_nets()), name_map={"a": ""})
    assert values(cell) == {"w": [2], "u": [4], "v": [3]}
    load_param_into_net(cell, supplied({key: value for key, value in two_nets().items() if key[0] != "a"}))
    assert values(cell) == {"w": [0], "u": [4], "v": [1]}


def test_of_many_parameters_that_several_entries_match_some_are_listed(supplied: Supplied) -> None:
    names = [f"p{at}" for at in range(12)]
    checkpoint = {f"{prefix}.{name}": param([1.0]) for prefix in "ba" for name in names}
    checkpoint["a.q"] = param([1.0])
    with pytest.raises(BindingError, match=r"'p9': 'b.p9', 'a.p9'\n    and 2 more\n"):
        load_param_into_net(net(dict.fromkeys([*names, "q"], (1,))), supplied(checkpoint))


def test_tensors_that_are_not_wanted_need_not_be_readable() -> None:
    """A copy may be on a device that cannot be read; its shape is enough."""

    class Elsewhere(Parameter):
        def asnumpy(self) -> Any:
            raise AssertionError

    copy = Elsewhere(np.zeros(1, np.float32), name="ema.net.w")
    cell = net({"w": (1,)})
    load_param_into_net(cell, {"ema.net.w": copy, "net.w": param([3.0])})
    assert values(cell) == {"w": [3]}


def test_a_copy_of_a_type_that_is_not_supported_is_in_nobodys_way() -> None:
    copy, weights = record("ema.net.w", (1,), "Float3", b"x"), record("net.w", (1,), "Float32", bytes(4))
    cell = net({"w": (1,)})
    with open_checkpoint(copy + weights) as reader:
        load_param_into_net(cell, reader)
    assert values(cell) == {"w": [0]}
    with open_checkpoint(copy) as reader, pytest.raises(UnsupportedTypeError, match=r"'ema\.net\.w'.*'Float3' is not"):
        load_param_into_net(cell, reader)


# -- the plan -------------------------------------------------------------------------------------


def test_a_plan_writes_nothing_until_it_is_applied(supplied: Supplied) -> None:
    cell = net({"a": (1,), "b": ((1,), F16), "c": (1,)})
    before = state(cell)
    plan = plan_binding(cell, supplied({"a": param([1.0]), "x.b": param([2.0]), "d": "text"}))
    assert state(cell) == before
    assert plan.exact == ["a"]
    assert plan.prefixes == {"x.": ["b"]}
    assert plan.conversions == {(F32, F16): ["b"]}
    assert (plan.param_not_load, plan.ckpt_not_load) == (["c"], ["d"])
    assert [(load.name, load.key) for load in plan.loads] == [("a", "a"), ("b", "x.b")]
    assert plan.misfits == []
    plan.apply()
    assert values(cell) == {"a": [1], "b": [2], "c": [-1]}


def test_a_plan_can_be_applied_again(supplied: Supplied) -> None:
    cell = net({"a": (2,)})
    plan = plan_binding(cell, supplied({"a": param([1.0, 2.0])}))
    plan.apply()
    cell.p0.asnumpy()[:] = 0
    plan.apply()
    assert values(cell) == {"a": [1, 2]}


def test_a_plan_with_misfits_says_so_and_cannot_be_applied(supplied: Supplied) -> None:
    cell = net({"a": (1,), "b": (2,)})
    plan = plan_binding(cell, supplied({"a": param([1.0]), "b": param([1], dtypes.int8)}))
    (misfit,) = plan.misfits
    assert (misfit.name, misfit.shape, misfit.dtype, misfit.key_shape, misfit.key_dtype) == (
        "b", (2,), F32, (1,), dtypes.int8,
    )  # fmt: skip
    with pytest.raises(BindingError):
        plan.apply()
    assert values(cell) == {"a": [-1], "b": [-1, -1]}
    assert "1 misfit; nothing will be written" in str(plan)


def test_a_net_that_changed_since_it_was_planned_is_left_alone(supplied: Supplied) -> None:
    cell = net({"a": (1,), "b": (2,)})
    plan = plan_binding(cell, supplied({"a": param([1.0]), "b": param([1.0, 2.0])}))
    cell.p1.set_data(Tensor([[0.5]]))
    with pytest.raises(BindingError, match="changed after the plan"):
        plan.apply()
    assert values(cell) == {"a": [-1], "b": [[0.5]]}


def test_a_plan_reads_as_a_report() -> None:
    cell = net(
        {
            "conv.weight": (2,),
            "fc.weight": ((2,), F16),
            "head.weight": (1,),
            "w": (1,),
            "old.bias": (3,),
            "accu_grads.x": (1,),
        }
    )
    parameters = {
        "conv.weight": param([1.0, 2.0]),
        "net.fc.weight": param([1.0, 2.0]),
        "moments.w": param([1.0]),
        "old.bias": param([1.0]),
        "heads.weight": param([1.0]),
        "epoch": "3",
    }
    assert str(plan_binding(cell, parameters)) == (
        "3 of 6 parameters can be loaded from 6 entries\n"
        "  1 matched by name: 'conv.weight'\n"
        "  1 matched after the prefix 'net.': 'fc.weight'\n"
        "  1 matched after the prefix 'moments.': 'w'\n"
        "  1 of these from optimizer state or copies, because nothing else matches: 'moments.w'\n"
        "  1 converted from Float32 to Float16: 'fc.weight'\n"
        "  1 misfit; nothing will be written:\n"
        "    'old.bias': the net has Float32 (3,), the checkpoint Float32 (1,); the shapes differ\n"
        "  1 parameter of the net not in the checkpoint:\n"
        "    'head.weight'; the nearest names are 'heads.weight', 'net.fc.weight', 'conv.weight'\n"
        "  1 ignored, because gradient sums need no values: 'accu_grads.x'\n"
        "  2 entries of the checkpoint not used: 'heads.weight', 'epoch'"
    )


def test_a_report_stays_short_for_a_large_net() -> None:
    spec: dict[str, Any] = {f"layer{number}.weight": (1,) for number in range(2000)}
    loaded = {name: param([1.0]) for name in list(spec)[:1000]}
    shown = str(plan_binding(net(spec), {**loaded, **{f"other{number}": "text" for number in range(1000)}}))
    assert len(shown.splitlines()) < 20
    assert "and 990 more" in shown


def test_a_plan_from_a_file_names_the_file() -> None:
    path = str(FIXTURES / "lenet5.ckpt")
    with open_checkpoint(path) as reader:
        plan = plan_binding(net({"conv1.weight": (6, 1, 5, 5)}), reader)
        assert str(plan).startswith(f"1 of 1 parameters can be loaded from {len(reader)} entries of {path}\n")
        assert repr(plan) == "<BindingPlan: 1 of 1 parameters (150 elements, 600 B) from 8 entries, 0 misfits>"
        with pytest.raises(BindingError, match=r"in file .*lenet5"):
            plan_binding(net({"conv1.weight": (1,)}), reader).apply()


# -- large tensors, many tensors ------------------------------------------------------------------


@pytest.mark.parametrize("target", [F32, F16, BF16, F64], ids=str)
@pytest.mark.parametrize("shape", [(3, 700_001), (1, 2_000_003)])
def test_large_tensors_go_in_pieces(shape: tuple[int, ...], target: DType, supplied: Supplied) -> None:
    array = np.random.default_rng(0).standard_normal(shape, np.float32)
    cell = net({"a": (shape, target), "b": ((5,), target)})
    small = np.arange(5, dtype=np.float32)
    load_param_into_net(cell, supplied({"b": param(small), "a": param(array)}))
    assert cell.p0.get_bytes() == casting.cast(array, F32, target).tobytes()
    assert cell.p1.asnumpy().tolist() == small.tolist()


@pytest.mark.slow
@pytest.mark.parametrize("target", [F32, F16], ids=str)
def test_many_small_tensors_go_together(target: DType, supplied: Supplied) -> None:
    spec = {f"w{number}": ((number % 7 * 100,), target) for number in range(3000)}
    arrays = {name: np.full(shape, number, np.float32) for number, (name, (shape, _)) in enumerate(spec.items())}
    cell = net(spec)
    load_param_into_net(cell, supplied({name: param(array) for name, array in reversed(arrays.items())}))
    for parameter, array in zip(cell.get_parameters(), arrays.values(), strict=True):
        assert parameter.asnumpy().tolist() == array.astype(target.numpy).tolist()


@pytest.mark.parametrize("target", [F32, *(pytest.param(one, marks=pytest.mark.slow) for one in (F16, F64))], ids=str)
def test_a_net_is_filled_from_a_file_without_the_file_in_memory(target: DType, tmp_path: Path) -> None:
    """Beside the net there are small pieces only, never a whole tensor."""
    size = 8 << 20
    path = tmp_path / "large.ckpt"
    path.write_bytes(record("a", (size,), "Float32", np.ones(size, np.float32).tobytes()) + floats("b", 1))
    cell = net({"a": ((size,), target), "b": ((1,), target)})
    with open_checkpoint(str(path)) as reader:
        tracemalloc.start()
        try:
            load_param_into_net(cell, reader)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 4 * size * 3 // 4
    assert bool((cell.p0.asnumpy() == 1).all())


def test_bfloat16_that_a_file_holds_as_float32() -> None:
    with open_checkpoint(str(FIXTURES / "rc_bf16_as_fp32.ckpt")) as reader:
        name = next(name for name in reader if reader.info(name).dtype is BF16)
        expected = reader.get_tensor(name)
        for target in (BF16, F32, F16):
            cell = net({name: (expected.shape, target)})
            load_param_into_net(cell, reader)
            assert cell.p0.get_bytes() == casting.cast(expected.asnumpy(), BF16, target).tobytes()


def test_slices_of_a_tensor_are_joined_in_the_net() -> None:
    with open_checkpoint(str(FIXTURES / "sliced.ckpt")) as reader:
        expected = reader.load()
        for target in (F32, F16):
            wanted = {name: value for name, value in expected.items() if isinstance(value, Parameter)}
            cell = net(
                {name: (value.shape, target if value.dtype is F32 else value.dtype) for name, value in wanted.items()}
            )
            load_param_into_net(cell, reader)
            for parameter, value in zip(cell.get_parameters(), wanted.values(), strict=True):
                assert parameter.get_bytes() == casting.cast(value.asnumpy(), value.dtype, parameter.dtype).tobytes()


# -- other nets, other failures -------------------------------------------------------------------


class Remote(CellSlot):
    """A parameter whose memory numpy cannot see."""

    def memory(self) -> None:  # type: ignore[override]
        return None


class Strided(CellSlot):
    """A parameter whose elements do not lie one after the other."""

    def __init__(self, parameter: Parameter) -> None:
        super().__init__(parameter)
        self.array = np.asfortranarray(parameter.asnumpy())

    def memory(self) -> Any:
        return self.array

    def write(self, array: Any) -> None:
        self.array[...] = array


class Mixed:
    """A net of several kinds of slots."""

    net = None

    def __init__(self, slots: list[Slot]) -> None:
        self._slots = slots

    def slots(self, keys: Collection[str]) -> list[Slot]:
        assert list(keys) == ["a", "b", "c"]
        return self._slots

    def differences(self, sources: Mapping[str, Sequence[str]], *, is_ckpt: bool) -> list[LayerDifference]:  # noqa: ARG002
        """Return nothing: it has no layers."""
        return []


@pytest.mark.parametrize("dtype", [F32, F16], ids=str)
def test_memory_that_numpy_cannot_fill_is_written_by_the_net(dtype: DType, supplied: Supplied) -> None:
    array = np.arange(6).reshape(2, 3)
    cell = net(dict.fromkeys("abc", ((2, 3), dtype)))
    strided = Strided(cell.p1)
    target = Mixed([Remote(cell.p0), strided, CellSlot(cell.p2)])
    supply = supplies.supply_of(supplied({name: param(array.reshape(2, 3, 1)) for name in "abc"}), "parameters")
    loading.plan_target(target, supply, strict=False).apply()
    assert cell.p0.asnumpy().tolist() == strided.array.tolist() == cell.p2.asnumpy().tolist() == array.tolist()


# -- all of it at random --------------------------------------------------------------------------

shapes = st.sampled_from([(), (1,), (2,), (2, 1), (1, 2), (0,)])
kinds = st.sampled_from([F32, F16, BF16, F64, dtypes.int8, dtypes.int32, dtypes.qint4x2, dtypes.bool_, dtypes.uint8])
names = st.lists(st.sampled_from(["a", "b", "x", "moments", "accu_grads"]), min_size=1, max_size=3).map(".".join)
specs = st.dictionaries(names, st.tuples(shapes, kinds), max_size=6)


@given(specs, specs, st.booleans(), st.booleans(), st.integers(0, 9))
def test_a_net_holds_afterwards_what_the_rules_say(
    ours: dict[str, Any], theirs: dict[str, Any], strict: bool, from_file: bool, seed: int
) -> None:
    """A small model of the rules decides; the net is either as it says or, for a misfit, as it was."""
    chosen = np.random.default_rng(seed)
    checkpoint = {
        key: Parameter.adopt(chosen.integers(0, 2, shape).astype(dtype.numpy), dtype, key)
        for key, (shape, dtype) in theirs.items()
    }
    cell = net(ours)
    look = copies.Look(
        lambda _: True,
        lambda key: theirs[key][0],
        lambda name, key: theirs[key][0] in {ours[name][0], (*ours[name][0], 1), (*ours[name][0], 1, 1)},
    )
    found = matching.match(list(ours), checkpoint, look, exact=strict)
    expected = {p.name: p.asnumpy().copy() for p in cell.get_parameters()}
    fits = not found.ties
    for name, key, *_ in found.matches:
        (shape, dtype), value = ours[name], checkpoint[key]
        same = value.shape in {shape, (*shape, 1), (*shape, 1, 1)}
        fits &= same and (dtype is value.dtype or (casting.can_cast(value.dtype, dtype) and not strict))
        expected[name] = value.asnumpy().reshape(shape).astype(dtype.numpy) if fits else expected[name]
    before = state(cell)
    supply = open_checkpoint(encoded(checkpoint)) if from_file and checkpoint else checkpoint
    fits &= bool(found.matches or not found.missing or strict or isinstance(supply, dict))
    if fits:
        assert load_param_into_net(cell, supply, strict) == (found.missing, found.unused)
        assert {p.name: p.get_bytes() for p in cell.get_parameters()} == {n: a.tobytes() for n, a in expected.items()}
    else:
        with pytest.raises(BindingError):
            load_param_into_net(cell, supply, strict)
        assert state(cell) == before
