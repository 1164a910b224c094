"""Functions of MindSpore that load several files into a net, or slices of a unified folder into files."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import ckptload
from ckptload import (
    Parameter,
    SliceLayout,
    load_distributed_checkpoint,
    load_segmented_checkpoints,
    nn,
    read_strategy,
    save_checkpoint,
    unified_safetensors,
)
from ckptload.errors import (
    ArgumentError,
    ArgumentTypeError,
    CheckpointError,
    MissingFileError,
    NothingSelectedError,
)
from ckptload.ranks import communicators
from rank_sets import arrays, ranks, slice_of, source, strategy, values

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("a.weight", "b.weight", "b.bias")


class Part(nn.Cell):
    def __init__(self, run: dict[str, Any], prefix: str) -> None:
        super().__init__()
        for name, value in run.items():
            first, _, last = name.partition(".")
            if first == prefix:
                setattr(self, last, Parameter(np.zeros_like(value), name=last))


class Net(nn.Cell):
    """Holds the tensors of a run, or a rank's slices of them, all zero."""

    def __init__(self, layout: str = "", rank: int = 0) -> None:
        super().__init__()
        run = {name: values()[name] for name in NAMES}
        if layout:
            run = {name: slice_of(layout, name, value, rank) for name, value in run.items()}
        self.a, self.b = Part(run, "a"), Part(run, "b")

    def holds(self, layout: str = "", rank: int = 0) -> bool:
        found = {one.name: one.asnumpy() for one in self.get_parameters()}
        run = {name: values()[name] for name in NAMES}
        if layout:
            run = {name: slice_of(layout, name, value, rank) for name, value in run.items()}
        return all(np.array_equal(found[name], run[name]) for name in NAMES)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    source(tmp_path / "run")
    return strategy(tmp_path / "old.json", "dp2tp2")


@pytest.fixture
def new(tmp_path: Path) -> Path:
    return strategy(tmp_path / "new.json", "tp4")


@pytest.fixture
def folder(tmp_path: Path, old: Path) -> Path:
    unified_safetensors(tmp_path / "run", old, tmp_path / "unified")
    return tmp_path / "unified"


def paths(tmp_path: Path) -> list[str]:
    return [str(tmp_path / "run" / f"rank_{rank}" / "net-1_1.ckpt") for rank in range(4)]


# -- rank files into a net --------------------------------------------------------------------------------------


def test_rank_files_are_merged_into_a_net(tmp_path: Path, old: Path) -> None:
    net = Net()
    assert load_distributed_checkpoint(net, paths(tmp_path), train_strategy_filename=old) is True
    assert net.holds()


@pytest.mark.parametrize("how", ["path", "strategy", "dictionary", "layouts"])
def test_slices_are_loaded_into_the_net_of_a_rank(tmp_path: Path, old: Path, new: Path, how: str) -> None:
    target: Any = {
        "path": new,
        "strategy": read_strategy(new),
        "dictionary": {"a.weight": [[4], [-1, 0], [8, 3], 0, True, ""], "b.weight": [[4], [0, -1], [1, 8], 0],
                       "b.bias": [[4], [0], [], 0]},
        "layouts": {name: SliceLayout([4], axes) for name, axes in
                    {"a.weight": [-1, 0], "b.weight": [0, -1], "b.bias": [0]}.items()},
    }[how]  # fmt: skip
    for rank in ranks("tp4"):
        net = Net("tp4", rank)
        assert load_distributed_checkpoint(net, paths(tmp_path), target, old, rank_id=rank) is True
        assert net.holds("tp4", rank)


def test_the_rank_of_this_process_is_looked_for(
    tmp_path: Path, old: Path, new: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK_ID", "2")
    net = Net("tp4", 2)
    load_distributed_checkpoint(net, paths(tmp_path), new, old)
    assert net.holds("tp4", 2)
    monkeypatch.setattr(communicators, "found", lambda: SimpleNamespace(rank=1))
    load_distributed_checkpoint(net := Net("tp4", 1), paths(tmp_path), new, old)
    assert net.holds("tp4", 1)
    monkeypatch.setattr(communicators, "found", lambda: None)
    monkeypatch.delenv("RANK_ID")
    with pytest.warns(UserWarning, match="the slices of rank 0 are loaded"):
        load_distributed_checkpoint(net := Net("tp4"), paths(tmp_path), new, old)
    assert net.holds("tp4", 0)


# -- unified folders --------------------------------------------------------------------------------------------


def test_a_unified_folder_is_cut_into_a_net(folder: Path, new: Path) -> None:
    net = Net("tp4", 3)
    left = load_distributed_checkpoint(
        net, predict_strategy=new, format="safetensors", unified_safetensors_dir=folder, rank_id=3
    )
    assert left == ([], ["global_step"])
    assert net.holds("tp4", 3)


def test_slices_are_returned(folder: Path) -> None:
    net = Net("tp4", 3)
    found = load_distributed_checkpoint(
        net,
        predict_strategy={"x.weight": [[4], [-1, 0], [], 0], "b.weight": [[4], [0, -1], [], 0]},
        format="safetensors",
        unified_safetensors_dir=folder,
        rank_id=3,
        return_param_dict=True,
        name_map={"x.weight": "a.weight"},
    )
    # The target has no layout for the bias.
    assert found.keys() == {"x.weight", "b.weight", "global_step"}
    for name, theirs in (("x.weight", "a.weight"), ("b.weight", "b.weight")):
        assert np.array_equal(found[name].asnumpy(), slice_of("tp4", theirs, values()[theirs], 3))
    assert not net.holds("tp4", 3)


@pytest.mark.parametrize("kind", ["safetensors", "ckpt"])
def test_without_a_net_files_are_written(tmp_path: Path, folder: Path, new: Path, kind: str) -> None:
    out = tmp_path / "out"
    common: dict[str, Any] = {"format": "safetensors", "unified_safetensors_dir": folder, "dst_safetensors_dir": out}
    assert load_distributed_checkpoint(None, predict_strategy=new, output_format=kind, **common) is True
    for rank in ranks("tp4"):
        found = arrays(out / f"rank_{rank}" / f"net.{kind}")
        for name in NAMES:
            assert np.array_equal(found[name], slice_of("tp4", name, values()[name], rank))


def test_one_rank_is_written_with_the_names_of_the_net(tmp_path: Path, folder: Path) -> None:
    target = {"first.weight": [[2], [0, -1], [], 0]}
    load_distributed_checkpoint(
        None,
        predict_strategy=target,
        format="safetensors",
        unified_safetensors_dir=folder,
        dst_safetensors_dir=tmp_path / "out",
        rank_id=1,
        name_map={"first.weight": "a.weight"},
    )
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["rank_1"]
    found = arrays(tmp_path / "out" / "rank_1" / "net.safetensors")
    assert np.array_equal(found["first.weight"], values()["a.weight"][4:])


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"format": "npz"}, ArgumentError, "format and output_format must be"),
        ({"output_format": "npz"}, ArgumentError, "format and output_format must be"),
        ({}, ArgumentTypeError, "checkpoint_filenames must be a list"),
        ({"checkpoint_filenames": "x.ckpt"}, ArgumentTypeError, "checkpoint_filenames must be a list"),
        ({"format": "safetensors"}, ArgumentError, "needs unified_safetensors_dir"),
        ({"format": "safetensors", "unified_safetensors_dir": "x", "dec_key": b"0" * 16}, ArgumentError, "dec_key"),
        ({"format": "safetensors", "unified_safetensors_dir": "x", "strict_load": True}, ArgumentError, "strict_load"),
        ({"format": "safetensors", "unified_safetensors_dir": "x", "network": None}, ArgumentError, "dst_safetensors"),
        ({"predict_strategy": {"w": 3}}, ArgumentError, "must map names to lists"),
        ({"predict_strategy": {"w": [[2], [0], [], 0, True, "group"]}}, ArgumentError, "only a running graph knows"),
        (
            {"format": "safetensors", "unified_safetensors_dir": "x", "name_map": {"a": "c", "b": "c"}},
            ArgumentError, "gives it to 'a' and to 'b'",
        ),
        (
            {"format": "safetensors", "unified_safetensors_dir": "x", "name_map": {"a": 3}},
            ArgumentTypeError, "name_map must map names to names",
        ),
        (
            {"format": "safetensors", "unified_safetensors_dir": "x", "name_map": ["a"]},
            ArgumentTypeError, "name_map must be a dict",
        ),
    ],
)  # fmt: skip
def test_wrong_arguments(options: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        load_distributed_checkpoint(**({"network": Net()} | options))


def test_there_is_a_file_for_each_rank_of_the_strategy(tmp_path: Path, old: Path) -> None:
    with pytest.raises(ArgumentError, match="there are 3 files, and the strategy is one of 4 ranks"):
        load_distributed_checkpoint(Net(), paths(tmp_path)[:3], None, old)


# -- files of one folder ------------------------------------------------------------------------------------------


def parts(tmp_path: Path, **files: Any) -> Path:
    for name, value in files.items():
        save_checkpoint(value, tmp_path / f"{name}.ckpt")
    return tmp_path


def test_all_files_of_a_folder_are_one_dictionary(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"no")
    folder = parts(tmp_path, x0_part0={"a.weight": np.ones(2)}, x0_part1={"b.bias": np.zeros(2)})
    found = load_segmented_checkpoints(str(folder))
    assert {name: value.asnumpy().tolist() for name, value in found.items()} == {"a.weight": [1, 1], "b.bias": [0, 0]}
    assert load_segmented_checkpoints(folder, filter_prefix="a").keys() == {"b.bias"}
    with pytest.raises(NothingSelectedError):
        load_segmented_checkpoints(folder, specify_prefix="c")


def test_the_last_in_natural_order_counts(tmp_path: Path) -> None:
    folder = parts(tmp_path, part10={"w": np.full(1, 10)}, part9={"w": np.full(1, 9)})
    with pytest.warns(UserWarning, match="1 name is in several files, the last of which counts: 'w'"):
        assert load_segmented_checkpoints(folder)["w"].asnumpy().tolist() == [10]


def test_they_are_loaded_into_a_net(tmp_path: Path) -> None:
    run = {name: values()[name] for name in NAMES}
    folder = parts(tmp_path, one={"a.weight": run.pop("a.weight")}, two=run)
    net = Net()
    load_segmented_checkpoints(folder, net)
    assert net.holds()


def test_a_folder_that_is_not_there_or_is_empty(tmp_path: Path) -> None:
    assert load_segmented_checkpoints(tmp_path) == {}
    with pytest.raises(MissingFileError, match="no such folder"):
        load_segmented_checkpoints(tmp_path / "no")
    with pytest.raises(ArgumentTypeError, match="ckpt_file_dir"):
        load_segmented_checkpoints(3)  # type: ignore[arg-type]
    (tmp_path / "bad.ckpt").write_bytes(b"bad")
    with pytest.raises(CheckpointError, match="bad"):
        ckptload.load_segmented_checkpoints(tmp_path)
