"""Strategy files: protobuf and JSON, merged or in a folder."""

from __future__ import annotations

import io
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ckptload
from ckptload import (
    ArgumentTypeError,
    CheckpointError,
    CorruptCheckpointError,
    EmptyCheckpointError,
    LimitError,
    MissingFileError,
    SliceLayout,
    Strategy,
    WrongFormatError,
    read_strategy,
)
from ckptload.ranks import schema, strategy_files
from layouts import as_json, protobuf

if TYPE_CHECKING:
    from pathlib import Path

TOLD: dict[str, Any] = {
    "w": ([2, 2], [0, -1], 0),
    "moments.w": ([2, 2], [0, -1], -1),
    "table": ([2, 2], [[1, 0], [-1]], 0),
    "b": ([4], [[0]], 0),
}
LAYOUTS = {name: SliceLayout(*told[:2], shard=told[2]) for name, told in TOLD.items()}
FLAT = {name: TOLD[name] for name in ("w", "moments.w")}
SHAPES = {"w": [48, 16], "moments.w": [48, 16]}


def merged(*stages: dict[str, Any]) -> bytes:
    return protobuf({f"{at}-{name}": told for at, stage in enumerate(stages) for name, told in stage.items()})


def test_protobuf() -> None:
    strategy = read_strategy(protobuf(TOLD))
    assert strategy == Strategy([LAYOUTS])
    assert strategy.names() == list(TOLD)


def test_json() -> None:
    strategy = read_strategy(as_json(FLAT, SHAPES))
    assert strategy.names() == list(FLAT)
    assert strategy.layout("w") == SliceLayout([2, 2], [0, -1], expanded=[48, 16])
    assert strategy.layout("moments.w").shard == -1


def test_paths_and_file_objects(tmp_path: Path) -> None:
    path = tmp_path / "strategy.ckpt"
    path.write_bytes(protobuf(TOLD))
    for source in (path, str(path), io.BytesIO(path.read_bytes())):
        assert read_strategy(source).layouts(0) == LAYOUTS
    assert read_strategy(path).path == str(path)
    strategy = Strategy([LAYOUTS])
    assert read_strategy(strategy) is strategy


def test_packed_numbers_and_files_without_the_last_fields() -> None:
    """Files of 1.0 lack both fields of the shard; no `param_split_shape` at all occurs, too."""
    layout = b"\x0a\x04\x0a\x02\x02\x02" + b"\x12\x0d\x0a\x0b\x00" + b"\xff" * 9 + b"\x01"
    item = b"\x0a\x01w\x12" + bytes([len(layout)]) + layout
    assert read_strategy(b"\x08\x02\x1a" + bytes([len(item)]) + item).layouts(0) == {"w": SliceLayout([2, 2], [0, -1])}


def test_a_shard_without_a_step_is_none() -> None:
    message = schema.message_class("ParallelStrategyMap").FromString(protobuf({"w": ([2], [-1], -1)}))
    message.parallel_layout_item[0].parallel_layouts.opt_weight_shard_step = 0
    assert read_strategy(message.SerializeToString()).layout("w").shard == 0


def test_a_merged_file_has_all_stages() -> None:
    strategy = read_strategy(merged(TOLD, {"w": ([8], [0, -1], 0), "x-1.w": ([8], [0], 0)}))
    assert (strategy.ranks, strategy.stages) == (12, 2)
    assert strategy.names(1) == ["w", "x-1.w"]
    assert strategy.layouts(0) == LAYOUTS


def test_a_dash_in_a_name_does_not_make_a_file_a_merged_one() -> None:
    assert read_strategy(protobuf({"0-w": TOLD["w"], "x-1.w": TOLD["w"]})).names() == ["0-w", "x-1.w"]


def test_a_folder_is_as_good_as_a_merged_file(tmp_path: Path) -> None:
    for rank in range(12):
        told = {"w": TOLD["w"], "b": TOLD["b"]} if rank % 2 else {"b": TOLD["b"], "w": TOLD["w"]}
        (tmp_path / f"ckpt_strategy_rank_{rank}.ckpt").write_bytes(protobuf(told, stage=rank // 4))
    (tmp_path / "merged.ckpt").write_bytes(merged(TOLD, TOLD, TOLD))
    (tmp_path / "notes.txt").write_text("no strategy")
    strategy = read_strategy(tmp_path)
    assert (strategy.ranks, strategy.stages) == (12, 3)
    assert strategy.names() == ["b", "w"]
    assert strategy.path == str(tmp_path)


def test_a_folder_behind_a_url() -> None:
    files = pytest.importorskip("fsspec").filesystem("memory")
    for stage in (0, 1):
        files.pipe(f"/strategies/s{stage}.ckpt", protobuf(TOLD, stage))
    files.pipe("/strategies/deeper/s.ckpt", b"")
    assert read_strategy("memory://strategies").stages == 2
    assert read_strategy("memory://strategies/s0.ckpt").layouts(0) == LAYOUTS


def test_a_folder_of_one_merged_file_alone(tmp_path: Path) -> None:
    (tmp_path / "merged.ckpt").write_bytes(merged(TOLD, TOLD))
    assert read_strategy(tmp_path).stages == 2
    (tmp_path / "another.ckpt").write_bytes(merged(TOLD))
    with pytest.raises(EmptyCheckpointError, match="2 merged strategy files"):
        read_strategy(tmp_path)


def test_files_of_a_stage_that_contradict_each_other(tmp_path: Path) -> None:
    (tmp_path / "s_9.ckpt").write_bytes(protobuf({"w": ([2, 2], [0, -1], 0)}))
    (tmp_path / "s_10.ckpt").write_bytes(protobuf({"w": ([2, 2], [1, -1], 0)}))
    with pytest.raises(CorruptCheckpointError, match=r"'w': two files of stage 0.*s_9\.ckpt and .*s_10\.ckpt"):
        read_strategy(tmp_path)


def test_a_stage_that_is_missing(tmp_path: Path) -> None:
    (tmp_path / "s.ckpt").write_bytes(protobuf(TOLD, stage=2))
    with pytest.raises(CorruptCheckpointError, match="no strategy for stage 0, 1, but for stage 2"):
        read_strategy(tmp_path)
    with pytest.raises(CorruptCheckpointError, match="no strategy for stage 0, but for stage 1"):
        read_strategy(protobuf({"1-w": TOLD["w"]}))


def test_files_of_other_kinds_are_named(tmp_path: Path) -> None:
    path = tmp_path / "weights.ckpt"
    ckptload.save_checkpoint({"w": ckptload.Tensor(np.ones(3, np.float32))}, str(path))
    with pytest.raises(WrongFormatError, match=r"not a strategy file but a MindSpore \.ckpt(?s:.*)weights\.ckpt"):
        read_strategy(path)
    with pytest.raises(WrongFormatError, match="not a strategy file but a MindSpore"):
        read_strategy(tmp_path)


@pytest.mark.parametrize(
    ("data", "kind", "says"),
    [
        (b"", EmptyCheckpointError, "the strategy file is empty"),
        (protobuf({}), EmptyCheckpointError, "no layout of a parameter"),
        (b"{}", EmptyCheckpointError, "no layout of a parameter"),
        (protobuf(TOLD)[:-3], CorruptCheckpointError, "bytes, .* are left"),
        (b'{"parallel_layout_item": {', CorruptCheckpointError, "not valid JSON"),
        (b"[" * 100_000, CheckpointError, "not a strategy file"),
        (b'{"a":' * 100_000, CorruptCheckpointError, "not valid JSON"),
        (b'{"parallel_layout_item": []}', CorruptCheckpointError, "parallel_layout_item in the file is list"),
        (b'{"parallel_layout_item": {"w": 1}}', CorruptCheckpointError, "'w': the layout is int"),
        (b'{"parallel_layout_item": {"w": {}}}', CorruptCheckpointError, "'w': device_matrix must be a sequence"),
        (b'{"parallel_layout_item": {"w": {"dev_matrix": [1e9]}}}', CorruptCheckpointError, "'w': .*not float"),
        (b'{"parallel_strategy_item": {"a": {"stage": -1}}}', CorruptCheckpointError, "the stage of the file"),
        (protobuf({"w": ([0, 2], [0], 0)}), CorruptCheckpointError, "'w': .* not 0"),
        (protobuf({"w": ([1 << 31, 1 << 31], [0], 0)}), CorruptCheckpointError, "'w': .*device_matrix.*1048576"),
        (protobuf({"w": ([2], [1], 0)}), CorruptCheckpointError, "'w': .*names device axis 1"),
        (protobuf({"w": ([2], [-1], 0), "v": ([4], [-1], 0)}), CorruptCheckpointError, "'v': stage 0 has 2 devices"),
        (protobuf({"0-w": ([2], [-1], 0), "00-w": ([2], [0], 0)}), CorruptCheckpointError, "'w': .*two layouts"),
        (protobuf({"w" * 1040: ([2], [-1], 0)}), LimitError, "1040 characters"),
        (as_json({"\ud800": ([2], [-1], 0)}, {"\ud800": [1]}), CorruptCheckpointError, "a name that is no text"),
        (b"\x1a\x05\x0a\x01\xff\x12\x00", CorruptCheckpointError, "damaged"),
        (b"\x08\x02\x18\x01", CorruptCheckpointError, "no strategy file, or damaged"),
        (b"\x08\x02\x23\x24", CorruptCheckpointError, "group of fields"),
    ],
)
def test_what_cannot_be_is_refused(data: bytes, kind: type[CheckpointError], says: str) -> None:
    with pytest.raises(kind, match=says):
        read_strategy(data)


def test_an_item_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strategy_files, "MAX_ITEM", 10)
    with pytest.raises(LimitError, match="what the file says about one name has"):
        read_strategy(protobuf(TOLD))


def test_a_file_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strategy_files, "MAX_FILE", 10)
    with pytest.raises(LimitError, match="a strategy file at most 10"):
        read_strategy(protobuf(TOLD))


def test_too_many_values_in_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strategy_files, "MAX_VALUES", 10)
    with pytest.raises(LimitError, match="more than 10 values"):
        read_strategy(as_json(FLAT, SHAPES))


def test_paths_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError):
        read_strategy(tmp_path / "nothing.ckpt")
    with pytest.raises(EmptyCheckpointError, match="no strategy file"):
        read_strategy(tmp_path)
    wrong: Any
    for wrong in (None, 1, {}):
        with pytest.raises(ArgumentTypeError):
            read_strategy(wrong)


@settings(deadline=None, max_examples=20)
@given(st.data())
def test_damaged_files_raise_our_errors_alone(data: st.DataObject) -> None:
    sound = data.draw(st.sampled_from([protobuf(TOLD), as_json(FLAT, SHAPES)]))
    at, byte = data.draw(st.integers(0, len(sound) - 1)), data.draw(st.integers(0, 255))
    damaged = sound[:at] + bytes([byte]) + sound[at + data.draw(st.integers(0, 3)) :]
    with suppress(CheckpointError):
        assert read_strategy(damaged).ranks >= 1


def test_build_searched_strategy_keeps_the_names_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "merged.ckpt"
    path.write_bytes(merged(TOLD))
    found = ckptload.build_searched_strategy(str(path))
    assert list(found) == [f"0-{name}" for name in TOLD]
    assert list(found["0-w"].tensor_map[0].dim) == [0, -1]
    with pytest.raises(ArgumentTypeError):
        ckptload.build_searched_strategy(path)  # type: ignore[arg-type]


def test_read_layout_takes_every_form() -> None:
    layout = SliceLayout([2, 2], [0, -1], shard=-1)
    message = schema.message_class("ParallelStrategyMap").FromString(protobuf({"w": ([2, 2], [0, -1], -1)}))
    item = json.loads(as_json({"w": ([2, 2], [0, -1], -1)}, {"w": [8, 8]}))["parallel_layout_item"]["w"]
    assert ckptload.read_layout(layout) is layout
    assert ckptload.read_layout(message.parallel_layout_item[0].parallel_layouts) == layout
    assert ckptload.read_layout(item) == SliceLayout([2, 2], [0, -1], shard=-1, expanded=[8, 8])
    assert ckptload.read_layout(([2, 2], [0, -1])) == layout.unsharded()
    for wrong in (None, 1, "ab", [1], object()):
        with pytest.raises(ArgumentTypeError):
            ckptload.read_layout(wrong)
