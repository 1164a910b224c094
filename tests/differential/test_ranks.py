"""MindSpore and ckptload cut the same set alike, and MindSpore reads what ckptload writes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import ckptload
from layouts import cut, protobuf

if TYPE_CHECKING:
    from pathlib import Path

    from layouts import Told

pytestmark = [
    pytest.mark.mindspore,
    # MindSpore looks for its own threads by a deprecated method, and forks beside them.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

SOURCE: dict[str, Told] = {"w": ([2, 2], [0, -1], 0), "v": ([2, 2], [1, -1], -1)}
TARGET: dict[str, Told] = {"w": ([4], [0, -1], 0), "v": ([4], [-1, 0], 0)}
WHOLE = {"w": np.arange(96, dtype=np.float32).reshape(8, 12), "v": np.arange(64, dtype=np.float32).reshape(8, 8)}


def test_a_set_is_cut_alike(tmp_path: Path) -> None:
    ms: Any = pytest.importorskip("mindspore")
    for name, told in (("source", SOURCE), ("target", TARGET)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.ckpt").write_bytes(protobuf(told))
        ckptload.merge_pipeline_strategys(str(tmp_path / name), str(tmp_path / f"{name}.ckpt"))
    for rank in range(4):
        place = tmp_path / f"set/rank_{rank}"
        place.mkdir(parents=True)
        held = {name: np.ascontiguousarray(cut(*SOURCE[name], value)[rank]) for name, value in WHOLE.items()}
        ckptload.save_checkpoint(held, place / "n-1_1.ckpt")
    sides: Any = (str(tmp_path / "source.ckpt"), str(tmp_path / "target.ckpt"))
    ms.transform_checkpoints(str(tmp_path / "set"), str(tmp_path / "theirs"), "p", *sides)
    ckptload.transform_checkpoints(str(tmp_path / "set"), str(tmp_path / "ours"), "p", *sides)
    for rank in range(4):
        needed = sorted(ms.rank_list_for_transform(rank, *sides))
        assert set(ckptload.rank_list_for_transform(rank, *sides)) <= set(needed)
        for folder in ("theirs", "ours"):
            found = ms.load_checkpoint(str(tmp_path / folder / f"rank_{rank}/p{rank}.ckpt"))
            assert set(found) == set(WHOLE)
            for name, value in WHOLE.items():
                assert np.array_equal(found[name].asnumpy(), cut(*TARGET[name], value)[rank]), (folder, rank, name)
