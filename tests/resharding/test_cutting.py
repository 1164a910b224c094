"""`reshard_checkpoints`: what is written where, in a process or several, at once or one by one."""

from __future__ import annotations

import os
import pickle
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

import pytest

import ckptload
from ckptload import read_strategy, reshard_checkpoints
from ckptload.encryption.keys import Carried
from ckptload.errors import ArgumentError, ArgumentTypeError, CheckpointError, DecryptionError
from ckptload.resharding.rank_files import RankTask, write_rank
from ckptload.resharding.rank_sets import RankSet
from rank_sets import is_slice, ranks, source, strategy

if TYPE_CHECKING:
    from pathlib import Path

KEY = b"0123456789abcdef"


class Set:
    """Two runs and the strategies of the source and the target."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.out = folder / "out"
        self.strategy = strategy(folder / "old.json", "dp2tp2")
        self.to = strategy(folder / "new.json", "tp4")
        self.runs = {number: source(folder / f"run{number}", number=number) for number in (1, 2)}

    def cut(self, number: int = 1, **options: Any) -> Any:
        return reshard_checkpoints(self.runs[number], self.out, self.to, self.strategy, **options)

    def path(self, rank: int, name: str = "{}.ckpt") -> Path:
        return self.out / f"rank_{rank}" / name.format(rank)

    def numbers(self) -> list[int | None]:
        """Return for each rank of which run its file is."""
        return [
            next((n for n in self.runs if self.path(rank).exists() and is_slice(self.path(rank), "tp4", rank, n)), None)
            for rank in ranks("tp4")
        ]


@pytest.fixture
def made(tmp_path: Path) -> Set:
    return Set(tmp_path)


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_each_rank_of_the_target_gets_its_file(made: Set) -> None:
    found = made.cut()
    assert [file.path for file in found] == [str(made.path(rank)) for rank in ranks("tp4")]
    assert files(made.out) == [f"rank_{rank}/{rank}.ckpt" for rank in ranks("tp4")]
    assert made.numbers() == [1] * 4
    assert {file.entries for file in found} == {5}
    assert all(file.written for file in found)


def test_the_caller_names_the_files_and_their_format(made: Set) -> None:
    made.cut(prefix="net_", format="safetensors", ranks=[2])
    assert files(made.out) == ["rank_2/net_2.safetensors"]
    assert is_slice(made.path(2, "net_{}.safetensors"), "tp4", 2)


def test_a_strategy_may_be_an_object(made: Set) -> None:
    target = read_strategy(made.to)
    reshard_checkpoints(made.runs[1], made.out, target, read_strategy(made.strategy))
    assert made.numbers() == [1] * 4


def test_a_dry_run_tells_what_would_be_written(made: Set) -> None:
    dry = made.cut(dry_run=True)
    assert not made.out.exists()
    assert made.cut() == dry


def test_progress_ends_at_the_total(made: Set) -> None:
    for executor in (None, ThreadPoolExecutor(2)):
        seen: list[tuple[int, int]] = []
        found = made.cut(progress=lambda *at: seen.append(at), existing="replace", executor=executor)  # noqa: B023
        total = sum(file.nbytes for file in found)
        assert seen[-1] == (total, total)
        assert seen == sorted(seen)


# -- files that are there -------------------------------------------------------------------------------------


def test_a_file_that_is_there_is_an_error_before_anything_is_written(made: Set) -> None:
    made.cut(2, ranks=[3])
    with pytest.raises(ArgumentError, match="1 file of 4 are there already") as caught:
        made.cut()
    assert "existing='skip'" in str(caught.value)
    assert made.numbers() == [None, None, None, 2]


def test_files_that_are_there_are_skipped_or_replaced(made: Set) -> None:
    made.cut(2, ranks=[0, 3])
    found = made.cut(existing="skip")
    assert [file.written for file in found] == [False, True, True, False]
    assert made.numbers() == [2, 1, 1, 2]
    made.cut(existing="replace")
    assert made.numbers() == [1] * 4


def test_a_file_of_another_job_is_not_skipped(made: Set) -> None:
    made.path(1).parent.mkdir(parents=True)
    ckptload.save_checkpoint({"a.weight": ckptload.Parameter([1.0], name="a.weight")}, made.path(1))
    with pytest.raises(ArgumentError, match="does not have the slices of rank 1"):
        made.cut(existing="skip", ranks=[1])


def test_a_failure_leaves_all_files_as_they_were(made: Set) -> None:
    made.cut(2)
    (made.runs[1] / "rank_1" / "net-1_1.ckpt").unlink()
    (made.runs[1] / "rank_3" / "net-1_1.ckpt").unlink()
    with pytest.raises(CheckpointError, match="no file that is here"):
        made.cut(existing="replace")
    assert made.numbers() == [2] * 4
    assert files(made.out) == [f"rank_{rank}/{rank}.ckpt" for rank in ranks("tp4")]


def test_whoever_may_not_read_the_source_may_not_read_the_result(made: Set) -> None:
    if os.name != "posix":
        pytest.skip("permission bits of POSIX")
    for path in made.runs[1].rglob("*.ckpt"):
        path.chmod(0o400)
    made.cut()
    assert {path.stat().st_mode & 0o077 for path in made.out.rglob("*.ckpt")} == {0}


# -- executors ------------------------------------------------------------------------------------------------


def test_an_executor_does_a_task_for_each_file(made: Set) -> None:
    with ThreadPoolExecutor(2) as executor:
        found = made.cut(executor=executor)
    assert [file.rank for file in found] == list(ranks("tp4"))
    assert made.numbers() == [1] * 4


@pytest.mark.slow
def test_processes_read_encrypted_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = strategy(tmp_path / "old.json", "dp2tp2"), strategy(tmp_path / "new.json", "tp4")
    source(tmp_path / "run", enc_key=KEY)
    # Paths are those of this process, wherever the others are.
    monkeypatch.chdir(tmp_path)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        reshard_checkpoints("run", "out", new.name, old.name, dec_key=KEY, executor=executor)
        assert all(is_slice(tmp_path / f"out/rank_{rank}/{rank}.ckpt", "tp4", rank) for rank in ranks("tp4"))
        with pytest.raises(DecryptionError):
            reshard_checkpoints("run", "other", new.name, old.name, dec_key=KEY[::-1], executor=executor)


def test_a_task_is_small_and_may_be_done_twice(made: Set) -> None:
    task = RankTask(RankSet.of(str(made.runs[1]), made.strategy, made.to), 2, str(made.path(2)), "ckpt")
    made.path(2).parent.mkdir(parents=True)
    sent = pickle.dumps(task)
    assert len(sent) < 1000
    assert write_rank(pickle.loads(sent)) == write_rank(task)
    assert is_slice(made.path(2), "tp4", 2)


def test_a_task_shows_no_key() -> None:
    task = RankTask(RankSet.of("x", None, dec_key=KEY), 0, "y", "ckpt")
    assert "0123" not in repr(task)
    assert "0123" not in repr(task.set.key)
    again = pickle.loads(pickle.dumps(task))
    assert again == task
    assert again.set.key == Carried(KEY)
    assert hash(again.set.key) == hash(Carried(KEY))
    assert again.set.key != Carried(KEY[::-1])


# -- arguments ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"ranks": [4]}, ArgumentError, "no rank 4: the target has 4 ranks"),
        ({"ranks": [-1]}, ArgumentError, "no rank -1"),
        ({"ranks": []}, ArgumentError, "no rank is to be written"),
        ({"ranks": "0-3"}, ArgumentTypeError, "ranks must be an iterable of ints"),
        ({"ranks": [0.5]}, ArgumentTypeError, "ranks must be ints"),
        ({"ranks": 3}, ArgumentTypeError, "ranks must be an iterable"),
        ({"existing": "keep"}, ArgumentError, "existing must be"),
        ({"executor": 3}, ArgumentTypeError, "submit"),
        ({"progress": 3}, ArgumentTypeError, "progress"),
        ({"format": "npz"}, ArgumentError, "format"),
        ({"prefix": "a/b"}, ArgumentError, "not the beginning of a file name"),
        ({"prefix": 3}, ArgumentTypeError, "the prefix must be a str"),
        ({"copies": "some"}, ArgumentError, "copies"),
    ],
)
def test_wrong_arguments_are_said_before_anything_is_written(
    made: Set, options: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        made.cut(**options)
    assert not made.out.exists()


def test_without_a_target_strategy_nothing_can_be_cut(made: Set) -> None:
    with pytest.raises(ArgumentTypeError, match="to must be a strategy"):
        reshard_checkpoints(made.runs[1], made.out, None, made.strategy)


def test_the_target_is_a_folder(made: Set) -> None:
    made.out.write_text("x")
    with pytest.raises(ArgumentError, match="must be a folder"):
        made.cut()
