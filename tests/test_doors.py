"""What every function that takes a checkpoint has in common: paths and readers, missing files, filters."""

from __future__ import annotations

import gc
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import ckptload
from ckptload import (
    ArgumentTypeError,
    Cell,
    CheckpointError,
    EncryptedCheckpointError,
    Parameter,
    Tensor,
    WrongFormatError,
    open_checkpoint,
    sample,
)
from places import FIXTURES

if TYPE_CHECKING:
    from collections.abc import Callable

    Door = Callable[[Any, Path], Any]

HAS_TORCH = importlib.util.find_spec("torch") is not None


class Net(Cell):
    def __init__(self) -> None:
        super().__init__()
        self.weight = Parameter(Tensor(np.zeros((10, 84), np.float32)), name="fc3.weight")


def _loaded(source: Any, _: Path) -> object:
    net = Net()
    return ckptload.load_param_into_net(net, source), net.weight.asnumpy().tolist()


def _planned(source: Any, _: Path) -> object:
    net = Net()
    plan = ckptload.plan_binding(net, source)
    plan.apply()
    return [load.name for load in plan.loads], net.weight.asnumpy().tolist()


def _converted(source: Any, folder: Path) -> object:
    moves = ckptload.convert_checkpoint(source, folder / "out.safetensors", crc_check=True)
    return [move.item.name for move in moves], (folder / "out.safetensors").read_bytes()


def _proposed(source: Any, _: Path) -> object:
    return ckptload.propose_name_map({"fc.weight": (10, 84)}, source).missing


def _proposed_for(source: Any, _: Path) -> object:
    return ckptload.propose_name_map(source, {"fc.weight": (10, 84)}).missing


def _torch(source: Any, _: Path) -> object:
    return {name: value.tolist() for name, value in ckptload.to_torch_state_dict(source).items()}


#: Functions of ours that take an open checkpoint.
TAKING = [
    *(_loaded, _planned, _converted, _proposed, _proposed_for),
    pytest.param(_torch, marks=pytest.mark.skipif(not HAS_TORCH, reason="torch is not installed")),
]


@pytest.mark.parametrize("door", TAKING)
@pytest.mark.filterwarnings("ignore:.*ambiguous")
def test_a_path_does_what_an_open_checkpoint_does(door: Door, tmp_path: Path) -> None:
    with open_checkpoint(sample()) as reader:
        expected = door(reader, tmp_path)
        assert not reader.closed
    assert door(sample(), tmp_path) == expected
    assert door(Path(sample()), tmp_path) == expected


@pytest.mark.parametrize("door", TAKING)
@pytest.mark.filterwarnings("ignore:.*ambiguous")
def test_a_file_given_by_its_path_is_closed(door: Door, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan reads later, so that its file is open until the plan is gone."""
    opened = []
    real = open_checkpoint

    def noted(*arguments: Any, **how: Any) -> Any:
        opened.append(real(*arguments, **how))
        return opened[-1]

    monkeypatch.setattr("ckptload.reading.given.open_checkpoint", noted)
    door(sample(), tmp_path)
    gc.collect()
    assert [reader.closed for reader in opened] == [door is not _planned]


@pytest.mark.parametrize("door", TAKING)
def test_a_path_of_an_encrypted_or_another_file_says_what_to_do(door: Door, tmp_path: Path) -> None:
    with pytest.raises(EncryptedCheckpointError, match="open_checkpoint\\(path, dec_key=key\\), and pass the reader"):
        door(FIXTURES / "enc_gcm.ckpt", tmp_path)
    with pytest.raises(WrongFormatError):
        door(FIXTURES / "README.md", tmp_path)


# -- missing files ------------------------------------------------------------------------------------------


def _strategy(path: Any, folder: Path) -> object:
    return ckptload.open_distributed({0: str(folder / "none.ckpt")}, path)


MISSING: dict[str, Door] = {
    "load_checkpoint": lambda path, _: ckptload.load_checkpoint(path),
    "load_checkpoint_async": lambda path, _: ckptload.load_checkpoint_async(path).result(),
    "open_checkpoint": lambda path, _: ckptload.open_checkpoint(path),
    "open_torch_file": lambda path, _: ckptload.open_torch_file(path),
    "open_distributed, a rank": lambda path, _: ckptload.open_distributed({0: path}),
    "open_distributed, a folder": lambda path, _: ckptload.open_distributed(path),
    "open_distributed, its strategy": _strategy,
    "merge_checkpoints": lambda path, folder: ckptload.merge_checkpoints(path, folder / "x.safetensors"),
    "ckpt_to_safetensors": ckptload.ckpt_to_safetensors,
    "safetensors_to_ckpt": lambda path, folder: ckptload.safetensors_to_ckpt(
        str(path).replace(".ckpt", ".safetensors"), folder
    ),
    "to_npz": lambda path, folder: ckptload.to_npz(path, folder / "x.npz"),
    "read_strategy": lambda path, _: ckptload.read_strategy(path),
    "NameMap.read": lambda path, _: ckptload.NameMap.read(path),
    "load_distributed_checkpoint": lambda path, _: ckptload.load_distributed_checkpoint(Net(), [path]),
    **{door.__name__: door for door in (_loaded, _planned, _converted, _proposed, _proposed_for)},
}


@pytest.mark.parametrize("door", MISSING.values(), ids=MISSING)
def test_a_missing_file_is_a_filenotfounderror_too(door: Door, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        door(str(tmp_path / "missing.ckpt"), tmp_path)
    assert isinstance(caught.value, FileNotFoundError)
    assert isinstance(caught.value, ValueError)


# -- filters --------------------------------------------------------------------------------------------------

FILTERS: dict[str, Door] = {
    "load_checkpoint": lambda wrong, folder: ckptload.load_checkpoint(str(folder / "no.ckpt"), choice_func=wrong),
    "load_checkpoint_async": lambda wrong, folder: ckptload.load_checkpoint_async(
        str(folder / "no.ckpt"), choice_func=wrong
    ),
    "convert_checkpoint": lambda wrong, folder: ckptload.convert_checkpoint(
        folder / "no.ckpt", folder / "x.ckpt", choice_func=wrong
    ),
    "ckpt_to_safetensors": lambda wrong, folder: ckptload.ckpt_to_safetensors(sample(), folder, choice_func=wrong),
    "save_checkpoint": lambda wrong, folder: ckptload.save_checkpoint({}, str(folder / "x.ckpt"), choice_func=wrong),
    "select": lambda wrong, _: ckptload.open_checkpoint(sample()).select(choice_func=wrong),
}


@pytest.mark.parametrize("wrong", ["conv", ["conv"], 1])
@pytest.mark.parametrize("door", FILTERS.values(), ids=FILTERS)
def test_a_filter_that_is_not_a_function_is_refused_before_a_file_is_opened(
    door: Door, wrong: object, tmp_path: Path
) -> None:
    with pytest.raises(
        ArgumentTypeError, match=r"choice_func must be a function of a name, not \w+\n(?s:.*)specify_prefix"
    ):
        door(wrong, tmp_path)
