"""Strategy files written: several stages as one, and strategies made by hand."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from ckptload import (
    ArgumentError,
    ArgumentTypeError,
    CorruptCheckpointError,
    EmptyCheckpointError,
    ReadError,
    SliceLayout,
    Strategy,
    build_searched_strategy,
    merge_pipeline_strategys,
    read_strategy,
    save_strategy,
)
from ckptload.ranks import schema
from layouts import as_json, protobuf

if TYPE_CHECKING:
    from pathlib import Path

FLAT: dict[str, Any] = {"w": ([2, 2], [0, -1], -1), "x-1.b": ([4], [0], 0)}
DEEP: dict[str, Any] = {**FLAT, "t": ([2, 2], [[1, 0], [-1]], 0), "one": ([2, 2], [[0, 1]], 0)}
SHAPES = {"w": [8, 4], "x-1.b": [8]}


def stages(folder: Path, suffix: str = "ckpt") -> Path:
    folder.mkdir()
    for rank in range(8):
        told = as_json(FLAT, SHAPES, rank // 4) if suffix == "json" else protobuf(DEEP, rank // 4)
        (folder / f"strategy_rank_{rank}.{suffix}").write_bytes(told)
    return folder


@pytest.mark.parametrize("suffix", ["ckpt", "json"])
def test_a_merged_file_says_what_its_folder_says(tmp_path: Path, suffix: str) -> None:
    folder, target = stages(tmp_path / "strategy", suffix), tmp_path / "new" / f"merged.{suffix}"
    merge_pipeline_strategys(str(folder), str(target))
    assert read_strategy(target) == read_strategy(folder)
    names = list(FLAT) if suffix == "json" else list(DEEP)
    assert list(build_searched_strategy(str(target))) == [f"{stage}-{name}" for stage in (0, 1) for name in names]


def test_operators_and_all_fields_are_there_for_mindspore(tmp_path: Path) -> None:
    target = tmp_path / "merged.ckpt"
    merge_pipeline_strategys(str(stages(tmp_path / "strategy")), str(target))
    message = schema.message_class("ParallelStrategyMap").FromString(target.read_bytes())
    assert message.current_stage == 1
    assert [item.parallel_strategys.stage for item in message.parallel_strategy_item] == [0, 1]
    assert {item.node_name for item in message.parallel_strategy_item} == {"Default/MatMul-op0"}
    for item in message.parallel_layout_item:
        fields = {field.name for field, _ in item.parallel_layouts.ListFields()}
        assert fields >= {"dev_matrix", "tensor_map", "field", "opt_weight_shard_size", "opt_weight_shard_step"}


def test_merging_again_into_the_folder_changes_nothing(tmp_path: Path) -> None:
    """MindSpore reads its own result as a source: names ``0-0-...``."""
    folder = stages(tmp_path / "strategy")
    target = folder / "merged.ckpt"
    merge_pipeline_strategys(str(folder), str(target))
    once = target.read_bytes()
    for path in (target, folder / "again.ckpt"):
        merge_pipeline_strategys(str(folder), str(path))
        assert path.read_bytes() == once


def test_folders_that_cannot_be_merged(tmp_path: Path) -> None:
    folder, target = stages(tmp_path / "strategy"), str(tmp_path / "merged.ckpt")
    (folder / "s.json").write_bytes(as_json(FLAT, SHAPES))
    with pytest.raises(ArgumentError, match=r"\.ckpt files and \.json files"):
        merge_pipeline_strategys(str(folder), target)
    (folder / "s.json").unlink()
    (folder / "other.ckpt").write_bytes(protobuf(FLAT))
    with pytest.raises(CorruptCheckpointError, match="two files of stage 0"):
        merge_pipeline_strategys(str(folder), target)
    for path in folder.iterdir():
        path.unlink()
    with pytest.raises(EmptyCheckpointError, match="no strategy file of one stage"):
        merge_pipeline_strategys(str(folder), target)
    (folder / "s.ckpt").write_bytes(protobuf(FLAT, 1))
    with pytest.raises(CorruptCheckpointError, match="no strategy for stage 0"):
        merge_pipeline_strategys(str(folder), target)
    with pytest.raises(ReadError):
        merge_pipeline_strategys(str(folder / "nothing"), target)
    with pytest.raises(ArgumentTypeError):
        merge_pipeline_strategys(folder, target)  # type: ignore[arg-type]
    assert not (tmp_path / "merged.ckpt").exists()


def layouts(told: dict[str, Any]) -> dict[str, SliceLayout]:
    return {name: SliceLayout(matrix, entries, shard=shard) for name, (matrix, entries, shard) in told.items()}


@pytest.mark.parametrize(
    "strategy",
    [
        Strategy([layouts(DEEP)]),
        Strategy([layouts(DEEP), layouts(FLAT)]),
        Strategy([{"0-w": SliceLayout([2], [0])}]),
        Strategy([{"w": SliceLayout([3], [0], split=[1, 2, 4], field=2), "s": SliceLayout([3], [])}]),
    ],
)
def test_a_saved_strategy_is_read_again(tmp_path: Path, strategy: Strategy) -> None:
    save_strategy(strategy, tmp_path / "s.ckpt")
    assert read_strategy(tmp_path / "s.ckpt") == strategy


def test_a_saved_strategy_in_json(tmp_path: Path) -> None:
    for at, strategy in enumerate((Strategy([layouts(FLAT)]), Strategy([layouts(FLAT)] * 2))):
        save_strategy(strategy, tmp_path / f"{at}.json")
        assert read_strategy(tmp_path / f"{at}.json") == strategy
    told = json.loads((tmp_path / "1.json").read_text())
    assert [item["stage"] for item in told["parallel_strategy_item"].values()] == [0, 1]


def test_what_a_format_cannot_say_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="'t': several device axes"):
        save_strategy(Strategy([layouts(DEEP)]), tmp_path / "s.json")
    written_out = Strategy([{"w": SliceLayout([2, 2], [0, 1, -1], expanded=[2, 24, 16])}])
    with pytest.raises(ArgumentError, match="'w': JSON gives this tensor by more axes"):
        save_strategy(written_out, tmp_path / "s.ckpt")
    save_strategy(written_out, tmp_path / "s.json")
    assert read_strategy(tmp_path / "s.json") == written_out
    with pytest.raises(ArgumentError, match=r"ends in \.ckpt or \.json"):
        save_strategy(written_out, tmp_path / "s.bin")
    for wrong in ((1, "s.ckpt"), (written_out, 1)):
        with pytest.raises(ArgumentTypeError):
            save_strategy(*wrong)
