"""Checkpoints of other ranks with the same weights."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from ckptload import (
    ArgumentError,
    ArgumentTypeError,
    CorruptCheckpointError,
    EmptyCheckpointError,
    LimitError,
    get_ckpt_path_with_strategy,
    restore_group_info_list,
)
from ckptload.ranks import replicas, schema
from layouts import protobuf

if TYPE_CHECKING:
    from pathlib import Path


def group_file(**how: Any) -> bytes:
    message = schema.message_class("ParallelGroupMap")(**how)
    message.parallel_group_item.add(group_name="4-123").parallel_group_ranks.dim.append(0)
    found: bytes = message.SerializeToString()
    return found


def test_ranks_of_a_group_file(tmp_path: Path) -> None:
    path = tmp_path / "group_info.pb"
    path.write_bytes(group_file(ckpt_restore_rank_list={"dim": [1, 3]}))
    assert restore_group_info_list(str(path)) == [1, 3]
    with pytest.raises(ArgumentTypeError):
        restore_group_info_list(path)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", EmptyCheckpointError),
        (group_file(), EmptyCheckpointError),
        (b"\x12\x7f", CorruptCheckpointError),
        (group_file(ckpt_restore_rank_list={"dim": [1 << 31]}), CorruptCheckpointError),
    ],
)
def test_group_files_that_cannot_be(tmp_path: Path, data: bytes, kind: type[Exception]) -> None:
    path = tmp_path / "group_info.pb"
    path.write_bytes(data)
    with pytest.raises(kind, match=r"group_info\.pb"):
        restore_group_info_list(str(path))


def test_a_group_file_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "group_info.pb"
    path.write_bytes(group_file())
    monkeypatch.setattr(replicas, "_MAX_GROUP_FILE", 3)
    with pytest.raises(LimitError, match="a group file at most 3"):
        restore_group_info_list(str(path))


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """Rank folders 1, 3, 6 and 7 of two stages of four ranks with a strategy of one stage."""
    told = {"w": ([2, 2], [0, -1], 0), "b": ([2, 2], [-1], 0), "accu_grads.w": ([2, 2], [0, -1], -1)}
    (tmp_path / "strategy.ckpt").write_bytes(protobuf(told, stage=1))
    (tmp_path / "merged.ckpt").write_bytes(protobuf({f"{k}-{n}": v for k in (0, 1) for n, v in told.items()}))
    for rank in (1, 3, 6, 7):
        (tmp_path / f"rank_{rank}").mkdir()
        (tmp_path / f"rank_{rank}" / "net.ckpt").write_bytes(b"")
    return tmp_path


@pytest.mark.parametrize("strategy", ["strategy.ckpt", "merged.ckpt"])
@pytest.mark.parametrize(("rank", "found"), [(1, 1), (3, 3), (4, 6), (5, 7), (0, None), (2, None)])
def test_the_first_replica_that_is_there(there: Path, strategy: str, rank: int, found: int | None) -> None:
    path = str(there / "rank_0" / "net.ckpt")
    want = None if found is None else str(there / f"rank_{found}" / "net.ckpt")
    assert get_ckpt_path_with_strategy(path, str(there / strategy), rank=rank) == want


def test_the_rank_of_a_communicator(there: Path) -> None:
    path, strategy = str(there / "rank_0" / "net.ckpt"), str(there / "strategy.ckpt")
    assert get_ckpt_path_with_strategy(path, strategy, communicator=SimpleNamespace(rank=5)) == str(
        there / "rank_7" / "net.ckpt"
    )
    with pytest.raises(ArgumentError, match="the rank is not known"):
        get_ckpt_path_with_strategy(path, strategy)
    with pytest.raises(ArgumentError, match="no rank -1"):
        get_ckpt_path_with_strategy(path, strategy, rank=-1)
    with pytest.raises(ArgumentTypeError):
        get_ckpt_path_with_strategy(path, strategy, rank="1")  # type: ignore[arg-type]
    with pytest.raises(ArgumentTypeError):
        get_ckpt_path_with_strategy(there, strategy, rank=1)  # type: ignore[arg-type]
