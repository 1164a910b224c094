"""Values of numpy that are taken, and those that are not."""

from __future__ import annotations

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
    ],
    ids=["save", "Tensor", "from_numpy", "operator", "bind", "ops"],
)
def test_a_masked_array_is_refused_at_every_door(door: Callable[[Path], object], tmp_path: Path) -> None:
    """Its hidden elements would become weights."""
    with pytest.raises(ArgumentTypeError, match="masked"):
        door(tmp_path)


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
