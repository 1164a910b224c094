"""Values of numpy that are taken, and those that are not."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import ckptload
from ckptload import Cell, Parameter, Tensor, ops
from ckptload.errors import ArgumentError, ArgumentTypeError, CheckpointError, MissingPackageError
from ckptload.foreign import giving

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MASKED: Any = np.ma.masked_array([0.0, 1.0], mask=[False, True])


#: As other packages have.
Masked: Any = type("Masked", (np.ma.MaskedArray,), {})


def cell() -> Cell:
    net = Cell()
    net.a = Parameter([0.0, 0.0])
    return net


@pytest.mark.parametrize(
    "door",
    [
        lambda folder: ckptload.save_checkpoint({"a": MASKED}, folder / "x.ckpt"),
        lambda _: Tensor(MASKED),
        lambda _: Tensor.from_numpy(MASKED),
        lambda _: Tensor([1.0, 2.0]) + MASKED,
        lambda _: ckptload.plan_binding(cell(), {"a": MASKED}).apply(),
        lambda _: ops.sum(MASKED),
        lambda folder: ckptload.save_checkpoint({"a": MASKED.view(Masked)}, folder / "x.ckpt"),
        lambda folder: ckptload.save_checkpoint({"a": [MASKED] * 3}, folder / "x.ckpt"),
        lambda folder: ckptload.save_checkpoint([{"name": "a", "data": MASKED}], folder / "x.ckpt"),
        lambda folder: ckptload.save_checkpoint({}, folder / "x.ckpt", append_dict={"a": MASKED}),
        lambda folder: ckptload.save_checkpoint({"a": np.ma.masked}, folder / "x.ckpt"),
        lambda _: Parameter(MASKED),
        lambda _: Parameter([0.0, 0.0]).set_data(MASKED),
        lambda _: Tensor([1.0, np.ma.masked]),
        lambda _: Tensor([MASKED, MASKED]),
        lambda _: Tensor([[[1.0, 2.0]], (MASKED,)]),
        lambda _: Parameter([MASKED]),
    ],
    ids=[
        *("save", "Tensor", "from_numpy", "operator", "bind", "ops", "subclass", "map", "list", "append", "constant"),
        *("Parameter", "set_data", "element", "rows", "deep", "Parameter of rows"),
    ],
)
def test_a_masked_array_is_refused_at_every_door(door: Callable[[Path], object], tmp_path: Path) -> None:
    """Its hidden elements would become weights."""
    with pytest.raises(ArgumentTypeError, match="masked"):
        door(tmp_path)


@pytest.mark.parametrize("mask", [np.ma.nomask, [False, False]])
def test_a_masked_array_that_masks_nothing_is_like_any_other(mask: Any, tmp_path: Path) -> None:
    array = np.ma.masked_array(np.array([2.0, 3.0], np.float32), mask=mask)
    assert Tensor(array).tolist() == [2.0, 3.0]
    assert Tensor([array, array]).tolist() == [[2.0, 3.0]] * 2
    ckptload.save_checkpoint({"a": array, "b": array[::-1]}, tmp_path / "x.ckpt")
    loaded = ckptload.load_checkpoint(str(tmp_path / "x.ckpt"))
    assert [value.tolist() for value in loaded.values()] == [[2.0, 3.0], [3.0, 2.0]]


def test_lists_that_hold_themselves_end_in_an_error_of_ours() -> None:
    one: list[Any] = []
    one.append(one)
    deep: Any = []
    for _ in range(5000):
        deep = [deep]
    for wrong in (one, deep):
        with pytest.raises(CheckpointError):
            Tensor(wrong)


@pytest.mark.slow
def test_no_numpy_ma_is_imported_for_ordinary_arrays() -> None:
    """Numpy 1 imports it by itself."""
    code = (
        "import sys, numpy; had = 'numpy.ma' in sys.modules; import ckptload as ms;"
        "ms.Tensor(numpy.ones(3)); ms.Tensor([[1.0, 2.0]]); print(had or 'numpy.ma' not in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_an_entry_that_cannot_be_read_matters_only_if_it_is_wanted() -> None:
    unreadable = np.array([None])
    net = cell()
    ckptload.plan_binding(net, {"a": np.array([1.0, 2.0], np.float32), "other": unreadable}).apply()
    assert net.a.tolist() == [1.0, 2.0]
    with pytest.raises(CheckpointError, match="parameter 'a': MindSpore has no type"):
        ckptload.plan_binding(net, {"a": unreadable})


def test_what_is_changed_in_place_must_be_a_tensor() -> None:
    for change in (ops.assign, ops.assign_add, ops.assign_sub):
        for wrong in ([1.0, 2.0], np.zeros(2)):
            with pytest.raises(ArgumentTypeError, match="takes a Parameter"):
                change(wrong, 1.0)


def test_a_number_takes_the_dtype_of_the_tensor_beside_it_by_keyword_too() -> None:
    half = Tensor([1.0], ckptload.float16)
    assert ops.mul(0.5, other=half).dtype == ckptload.float16
    assert ops.mul(0.5, half.asnumpy()).dtype == ckptload.float16
    assert ops.where([True], 0.5, half.asnumpy()).dtype == ckptload.float16


@pytest.mark.parametrize("wrong", [(), (Tensor([1.0]), Tensor([1.0]))], ids=["none", "too many"])
def test_an_operation_called_with_wrong_operands_is_our_error(wrong: tuple[Any, ...]) -> None:
    with pytest.raises(ArgumentTypeError, match="Concat"):
        ops.Concat(1)(*wrong)


def test_a_framework_that_is_broken_is_a_missing_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise ImportError('libtorch.so is missing')")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "torch"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(MissingPackageError, match="needs torch") as caught:
        giving.chosen("torch")
    assert "libtorch" in str(caught.value.__cause__)


@pytest.mark.parametrize(("wrong", "error"), [("jax", ArgumentError), (None, ArgumentTypeError)])
def test_other_kinds_are_refused(wrong: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="parameters must be"):
        giving.chosen(wrong)


def test_values_of_a_mapped_file_stay_views_for_numpy(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    ckptload.save_checkpoint({"a": np.arange(4.0)}, path, format="safetensors")
    with ckptload.open_checkpoint(path, mmap=True, parameters="numpy") as reader:
        values = reader["a"]
    assert isinstance(values, np.ndarray)
    assert not values.flags.owndata
    assert values.tolist() == [0.0, 1.0, 2.0, 3.0]
