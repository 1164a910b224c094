"""Merging and re-sharding are killed at any moment: what is there is of one run or of the other, and whole."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import ckptload
from ckptload.writing.journal import recover
from rank_sets import is_slice, is_whole, ranks, source, strategy

if TYPE_CHECKING:
    from collections.abc import Iterator

KILLS = int(os.environ.get("CKPTLOAD_KILLS", "20"))

#: For each line of its input a process is forked, which writes into one place, each time another run, until it is
#: killed. Once it has begun it prints its number; when it has ended, "ended" is printed.
WRITER = """
import os, sys, warnings
from pathlib import Path
import ckptload
folder, kind = Path(sys.argv[1]), sys.argv[2]
out = folder / "out"

def write(turn):
    run, old, new = folder / f"run{1 + turn % 2}", folder / "old.json", folder / "new.json"
    if kind == "file":
        ckptload.merge_checkpoints(run, out / "whole.ckpt", old)
    elif kind == "shards":
        ckptload.merge_checkpoints(run, out / "model.safetensors.index.json", old, max_shard_size=300)
    elif kind == "unified":
        ckptload.unified_safetensors(run, old, out)
    elif kind == "together":
        ckptload.reshard_checkpoints(run, out, new, old, existing="replace")
    else:
        for rank in range(4):
            (out / f"rank_{rank}" / f"{rank}.ckpt").unlink(missing_ok=True)
        ckptload.reshard_checkpoints(folder / "run1", out, new, old, existing="skip")

# What is imported on the way is imported once.
write(0)
for _ in sys.stdin:
    with warnings.catch_warnings():
        # Python 3.12 and later warn of forking beside threads: numpy's have nothing to do.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        for turn in range(100_000):
            write(turn)
            if not turn:
                print(os.getpid(), flush=True)
        sys.exit()
    os.waitpid(child, 0)
    print("ended", flush=True)
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.once,
    pytest.mark.skipif(os.name != "posix", reason="needs a POSIX system"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in (1, 2):
        source(tmp_path / f"run{number}", number=number)
    strategy(tmp_path / "old.json", "dp2tp2")
    strategy(tmp_path / "new.json", "tp4")
    return tmp_path


def killed(folder: Path, kind: str, chance: random.Random) -> Iterator[None]:
    """Let a writer begin, and kill it at some moment, again and again."""
    place = str(Path(ckptload.__file__).parent.parent)
    command = [sys.executable, "-W", "error", "-c", WRITER, str(folder), kind]
    pipe, environment = subprocess.PIPE, {**os.environ, "PYTHONPATH": place}
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        for _ in range(KILLS):
            process.stdin.write("\n")
            process.stdin.flush()
            said = process.stdout.readline().strip()
            if not said.isdecimal():
                process.stdin.close()
                pytest.fail(process.stderr.read())
            time.sleep(chance.uniform(0, 0.08))
            os.kill(int(said), signal.SIGKILL)
            assert process.stdout.readline() == "ended\n"
            yield


@pytest.mark.parametrize("kind", ["file", "shards"])
def test_a_merge_that_is_killed_leaves_one_run(folder: Path, kind: str) -> None:
    chance = random.Random(kind)
    path = folder / "out" / ("whole.ckpt" if kind == "file" else "model.safetensors.index.json")
    for _ in killed(folder, kind, chance):
        assert is_whole(path, 1) or is_whole(path, 2)


def test_parts_that_are_killed_are_of_one_run(folder: Path) -> None:
    chance = random.Random(3)
    for _ in killed(folder, "unified", chance):
        # The next that writes there finishes what a killed process began.
        recover([folder / "out"])
        found = ckptload.open_distributed(folder / "out", parameters="numpy").load()
        assert found["global_step"] in (1, 2)
        whole = ckptload.open_distributed(folder / f"run{found['global_step'][0]}", folder / "old.json")
        assert all((found[name] == whole[name].asnumpy()).all() for name in ("a.weight", "b.weight", "b.bias"))


def test_ranks_that_are_killed_are_of_one_run(folder: Path) -> None:
    chance = random.Random(4)
    paths = {rank: folder / "out" / f"rank_{rank}" / f"{rank}.ckpt" for rank in ranks("tp4")}
    for _ in killed(folder, "together", chance):
        # Between two renames there are microseconds; the journal finishes what was killed in them.
        assert all(is_slice(path, "tp4", rank, 1) or is_slice(path, "tp4", rank, 2) for rank, path in paths.items())
    ckptload.reshard_checkpoints(folder / "run1", folder / "out", folder / "new.json", folder / "old.json",
                                 existing="replace")  # fmt: skip
    assert all(is_slice(path, "tp4", rank) for rank, path in paths.items())
    assert len([path for path in (folder / "out").rglob("*") if path.is_file()]) == 4


def test_a_killed_job_is_continued(folder: Path) -> None:
    chance = random.Random(5)
    paths = {rank: folder / "out" / f"rank_{rank}" / f"{rank}.ckpt" for rank in ranks("tp4")}
    for _ in killed(folder, "one by one", chance):
        there = {rank for rank, path in paths.items() if path.exists()}
        assert all(is_slice(paths[rank], "tp4", rank) for rank in there)
        done = ckptload.reshard_checkpoints(
            folder / "run1", folder / "out", folder / "new.json", folder / "old.json", existing="skip"
        )
        assert {file.rank for file in done if not file.written} == there
        assert all(is_slice(path, "tp4", rank) for rank, path in paths.items())
    assert len([path for path in (folder / "out").rglob("*") if path.is_file()]) == 4
