"""`transform_checkpoints` and `transform_checkpoint_by_rank`: MindSpore's arguments and file names."""

from __future__ import annotations

import inspect
import json
from typing import TYPE_CHECKING, Any

import pytest

import ckptload
from ckptload import rank_list_for_transform, transform_checkpoint_by_rank, transform_checkpoints
from ckptload.errors import ArgumentError, ArgumentTypeError, CheckpointError
from rank_sets import is_slice, is_whole, ranks, same, slice_of, source, strategy, values

if TYPE_CHECKING:
    from pathlib import Path

#: MindSpore 2.10.0, parallel/checkpoint_transform.py and parallel/transform_safetensors.py.
SIGNATURES = {
    "transform_checkpoints": (
        "src_checkpoints_dir, dst_checkpoints_dir, ckpt_prefix, src_strategy_file=None, dst_strategy_file=None, "
        "process_num=1, output_format='ckpt'"
    ),
    "transform_checkpoint_by_rank": (
        "rank_id, checkpoint_files_map, save_checkpoint_file_name, src_strategy_file=None, dst_strategy_file=None"
    ),
    "rank_list_for_transform": "rank_id, src_strategy_file=None, dst_strategy_file=None",
    "unified_safetensors": (
        "src_dir, src_strategy_file, dst_dir, merge_with_redundancy=True, file_suffix=None, max_process_num=64, "
        "choice_func=None, split_dst_file=()"
    ),
    "load_distributed_checkpoint": (
        "network, checkpoint_filenames=None, predict_strategy=None, train_strategy_filename=None, strict_load=False, "
        "dec_key=None, dec_mode='AES-GCM', format='ckpt', unified_safetensors_dir=None, dst_safetensors_dir=None, "
        "rank_id=None, output_format='safetensors', name_map=None, max_process_num=64, return_param_dict=False"
    ),
    "load_segmented_checkpoints": (
        "ckpt_file_dir, net=None, strict_load=False, filter_prefix=None, dec_key=None, dec_mode='AES-GCM', "
        "specify_prefix=None, choice_func=None"
    ),
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures_are_mindspores(name: str) -> None:
    parameters = inspect.signature(getattr(ckptload, name)).parameters.values()
    given = [
        one.name if one.default is one.empty else f"{one.name}={one.default!r}"
        for one in parameters
        if one.kind is one.POSITIONAL_OR_KEYWORD
    ]
    assert ", ".join(given) == SIGNATURES[name]


@pytest.mark.parametrize("new", ["ckpt", "safetensors"])
@pytest.mark.parametrize("process_num", [1, 3])
def test_files_are_called_as_mindspore_calls_them(tmp_path: Path, new: str, process_num: int) -> None:
    old, to = strategy(tmp_path / "old.json", "dp2tp2"), strategy(tmp_path / "new.json", "tp4")
    transform_checkpoints(str(source(tmp_path / "run")), tmp_path / "out", "net_", old, to, process_num, new)
    for rank in ranks("tp4"):
        assert is_slice(tmp_path / f"out/rank_{rank}/net_{rank}.{new}", "tp4", rank)
    assert len([path for path in (tmp_path / "out").rglob("*") if path.is_file()]) == 4


def test_without_a_target_strategy_rank_0_gets_whole_tensors(tmp_path: Path) -> None:
    transform_checkpoints(source(tmp_path / "run"), tmp_path / "out", "x", strategy(tmp_path / "s.json", "dp2tp2"))
    assert is_whole(tmp_path / "out/rank_0/x0.ckpt")


def test_a_whole_file_is_cut(tmp_path: Path) -> None:
    ckptload.save_checkpoint(values(), tmp_path / "whole.ckpt")
    transform_checkpoints(tmp_path / "whole.ckpt", tmp_path / "out", "", None, strategy(tmp_path / "s.json", "tp4"))
    assert all(is_slice(tmp_path / f"out/rank_{rank}/{rank}.ckpt", "tp4", rank) for rank in ranks("tp4"))


@pytest.mark.parametrize(("kind", "name"), [("ckpt", "x0_part{}.ckpt"), ("safetensors", "x0.ckpt")])
@pytest.mark.parametrize("stage", [0, 1])
def test_the_files_of_a_part_of_a_net_say_so(tmp_path: Path, kind: str, name: str, stage: int) -> None:
    """MindSpore does this for .ckpt files alone, and calls the part by the stage that its strategy is of."""
    old, to = strategy(tmp_path / "old.json", "dp2tp2"), strategy(tmp_path / "new.json", "more")
    told = json.loads(old.read_text())
    told["parallel_strategy_item"]["MatMul"]["stage"] = stage if kind == "ckpt" else 0
    old.write_text(json.dumps(told))
    folder = source(tmp_path / "run", kind=kind)
    if stage and kind == "ckpt":
        # Its ranks follow those of the stage before it, which are another part.
        for rank in reversed(range(4)):
            (folder / f"rank_{rank}").rename(folder / f"rank_{rank + 4}")
            source(tmp_path / "other", number=2)
            (tmp_path / "other" / f"rank_{rank}").rename(folder / f"rank_{rank}")
    transform_checkpoints(folder, tmp_path / "out", "x", old, to)
    found = ckptload.load_checkpoint(tmp_path / "out/rank_0" / name.format(stage), parameters="numpy")
    wanted = {n: v if isinstance(v, str) else slice_of("more", n, v, 0) for n, v in values().items()}
    if kind == "safetensors":
        del wanted["note"]
    assert same(found, wanted)


@pytest.mark.parametrize("kind", ["ckpt", "safetensors"])
def test_one_rank_by_itself(tmp_path: Path, kind: str) -> None:
    old, to = strategy(tmp_path / "old.json", "dp2tp2"), strategy(tmp_path / "new.json", "tp4")
    folder = source(tmp_path / "run")
    files = {each: folder / f"rank_{each}/net-1_1.ckpt" for each in rank_list_for_transform(3, old, to)}
    path = tmp_path / "made" / f"three.{kind}"
    transform_checkpoint_by_rank(3, files, path, old, to)
    assert is_slice(path, "tp4", 3)


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"output_format": "npz"}, ArgumentError, "output_format"),
        ({"process_num": 0}, ArgumentError, "process_num must be 1 or more"),
        ({"process_num": "2"}, ArgumentTypeError, "process_num must be an int"),
        ({"ckpt_prefix": None}, ArgumentTypeError, "the prefix must be a str"),
        ({"src_checkpoints_dir": "nowhere"}, CheckpointError, "nowhere"),
        ({"dst_strategy_file": "nowhere"}, CheckpointError, "nowhere"),
        ({"ranks": [9]}, ArgumentError, "no rank 9"),
    ],
)
def test_wrong_arguments(tmp_path: Path, change: dict[str, Any], error: type[Exception], said: str) -> None:
    arguments: dict[str, Any] = {
        "src_checkpoints_dir": source(tmp_path / "run"),
        "dst_checkpoints_dir": tmp_path / "out",
        "ckpt_prefix": "x",
        "src_strategy_file": strategy(tmp_path / "old.json", "dp2tp2"),
        "dst_strategy_file": strategy(tmp_path / "new.json", "tp4"),
    }
    with pytest.raises(error, match=said):
        transform_checkpoints(**(arguments | change))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        (("0", {0: "a.ckpt"}, "b.ckpt"), ArgumentTypeError, "rank_id must be an int"),
        ((0, ["a.ckpt"], "b.ckpt"), ArgumentTypeError, "checkpoint_files_map must be a dict"),
        ((0, {0: "a.ckpt"}, "b.npz"), ArgumentError, "does not say which format"),
        ((1, {0: "a.ckpt"}, "b.ckpt"), ArgumentError, "no rank 1"),
        ((0, {0: "nowhere.ckpt"}, "b.ckpt"), CheckpointError, "nowhere"),
    ],
)
def test_wrong_arguments_of_one_rank(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: Any, error: type[Exception], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=said):
        transform_checkpoint_by_rank(*arguments)
