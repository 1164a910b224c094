"""`merge_checkpoints`: whole tensors in every format, in shards, in a process or several."""

from __future__ import annotations

import shutil
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import ckptload
from ckptload import merge_checkpoints
from ckptload.binding.maps.recipes import Recipe
from ckptload.converting.entries import EntriesTask, write_entries
from ckptload.errors import ArgumentError, ArgumentTypeError, ChangedFileError, CheckpointError
from ckptload.resharding.rank_sets import RankSet
from rank_sets import arrays, is_whole, source, strategy, values

if TYPE_CHECKING:
    from pathlib import Path

KEY = b"0123456789abcdef"
INDEX = "model.safetensors.index.json"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    source(tmp_path / "run")
    return strategy(tmp_path / "old.json", "dp2tp2")


@pytest.mark.parametrize("name", ["out.ckpt", "out.safetensors"])
@pytest.mark.parametrize("kind", ["ckpt", "safetensors"])
def test_a_file_holds_the_whole_tensors(tmp_path: Path, kind: str, name: str) -> None:
    source(tmp_path / "run", kind=kind)
    moves = merge_checkpoints(tmp_path / "run", tmp_path / name, strategy(tmp_path / "s.json", "dp2tp2"))
    assert moves.written == [str(tmp_path / name)]
    wanted = values()
    if kind == "safetensors":
        del wanted["note"]
    found = arrays(tmp_path / name)
    assert found.keys() == wanted.keys()
    assert all(np.array_equal(found[key], value) for key, value in wanted.items())


def test_entries_are_chosen_renamed_and_converted(tmp_path: Path, old: Path) -> None:
    moves = merge_checkpoints(
        tmp_path / "run",
        tmp_path / "out.npz",
        old,
        choice_func=lambda name: name.endswith("weight"),
        name_map={"a": "first"},
        dtype=ckptload.float16,
    )
    assert [move.old for move in moves] == ["a.weight", "b.weight"]
    with np.load(tmp_path / "out.npz") as found:
        assert np.array_equal(found["first.weight"], values()["a.weight"].astype(np.float16))


def test_an_encrypted_set_becomes_one_encrypted_file(tmp_path: Path, old: Path) -> None:
    source(tmp_path / "secret", enc_key=KEY)
    merge_checkpoints(tmp_path / "secret", tmp_path / "out.ckpt", old, dec_key=KEY, enc_key=KEY[::-1])
    found = ckptload.load_checkpoint(tmp_path / "out.ckpt", dec_key=KEY[::-1], parameters="numpy")
    assert np.array_equal(found["a.weight"], values()["a.weight"])


def test_a_dry_run_writes_nothing_and_what_is_there_may_be_spared(tmp_path: Path, old: Path) -> None:
    merge_checkpoints(tmp_path / "run", tmp_path / "out.ckpt", old, dry_run=True)
    assert not (tmp_path / "out.ckpt").exists()
    merge_checkpoints(tmp_path / "run", tmp_path / "out.ckpt", old)
    with pytest.raises(ArgumentError, match="already exists"):
        merge_checkpoints(tmp_path / "run", tmp_path / "out.ckpt", old, replace=False)


def test_a_set_without_all_its_slices_is_refused_and_the_old_file_stays(tmp_path: Path, old: Path) -> None:
    merge_checkpoints(tmp_path / "run", tmp_path / "out.ckpt", old)
    for rank in (1, 3):
        (tmp_path / "run" / f"rank_{rank}" / "net-1_1.ckpt").unlink()
    with pytest.raises(CheckpointError, match="no file that is here"):
        merge_checkpoints(tmp_path / "run", tmp_path / "out.ckpt", old)
    assert is_whole(tmp_path / "out.ckpt")


# -- shards ---------------------------------------------------------------------------------------------------


def merged(tmp_path: Path, old: Path, **options: Any) -> Any:
    return merge_checkpoints(tmp_path / "run", tmp_path / "out", old, max_shard_size=300, **options)


def test_shards_are_the_same_with_an_executor(tmp_path: Path, old: Path) -> None:
    first = merged(tmp_path, old)
    contents = {path.name: arrays(path) for path in (tmp_path / "out").glob("*.safetensors")}
    with ThreadPoolExecutor(2) as executor:
        seen: list[tuple[int, int]] = []
        second = merged(tmp_path, old, executor=executor, progress=lambda *at: seen.append(at))
    assert first.written == second.written
    assert len(contents) == 2
    for name, content in contents.items():
        found = arrays(tmp_path / "out" / name)
        assert all(np.array_equal(found[key], value) for key, value in content.items())
    assert is_whole(tmp_path / "out" / INDEX)
    assert seen[-1] == (sum(move.item.nbytes for move in second),) * 2
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", INDEX)
    ]


def test_an_executor_converts_and_warns_as_a_process_does(tmp_path: Path, old: Path) -> None:
    run = {"a.weight": np.full((4, 12), 1e30, np.float32)}
    for rank in range(4):
        ckptload.save_checkpoint(run, tmp_path / "run" / f"rank_{rank}" / "net-1_1.ckpt", mode=0o644)
    with ThreadPoolExecutor(2) as executor, pytest.warns(UserWarning, match="1 entry has values that are too large"):
        merged(tmp_path, old, executor=executor, dtype=ckptload.float16)
    assert np.isinf(arrays(tmp_path / "out" / "model.safetensors")["a.weight"]).all()


@pytest.mark.slow
def test_processes_write_shards(tmp_path: Path, old: Path) -> None:
    source(tmp_path / "run", enc_key=KEY)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        merged(tmp_path, old, executor=executor, dec_key=KEY, choice_func=lambda name: name != "note")
    found = arrays(tmp_path / "out" / INDEX)
    assert np.array_equal(found["a.weight"], values()["a.weight"])


def test_a_failure_of_one_shard_leaves_the_old_set(tmp_path: Path, old: Path) -> None:
    merged(tmp_path, old)
    before = sorted(path.name for path in (tmp_path / "out").iterdir())
    shutil.rmtree(tmp_path / "run")
    source(tmp_path / "run", number=2)

    class Failing(ThreadPoolExecutor):
        def submit(self, *arguments: Any, **_: Any) -> Any:
            task = arguments[1]
            work: Any = write_entries
            return super().submit(work, task if "a.weight" not in dict(task.names) else None)

    with Failing(2) as executor, pytest.raises(CheckpointError, match="the executor could not do a task"):
        merged(tmp_path, old, executor=executor)
    assert is_whole(tmp_path / "out" / INDEX, 1)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == before


def test_a_task_notices_that_the_set_is_another_by_now(tmp_path: Path, old: Path) -> None:
    set_ = RankSet.of(tmp_path / "run", old)
    recipes = (Recipe("b.bias", ("b.bias",)), Recipe("gone", ("gone",)))
    place = str(tmp_path / "x.safetensors")
    for task in (
        EntriesTask(set_, recipes, None, 16, place, place + ".tmp", ()),
        EntriesTask(set_, recipes[:1], None, 20, place, place + ".tmp", ()),
    ):
        with pytest.raises(ChangedFileError, match="when the job was planned"):
            write_entries(task)
    again = EntriesTask(set_, recipes[:1], None, 16, place, place + ".tmp", (("format", "pt"),))
    for _ in range(2):
        assert write_entries(again).nbytes == 16


def test_an_executor_has_submit(tmp_path: Path, old: Path) -> None:
    with pytest.raises(ArgumentTypeError, match="submit"):
        merged(tmp_path, old, executor=object())
