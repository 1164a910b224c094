"""Too few files, too little memory: a result or an error of ours, whatever is imported or opened at the time."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("resource", reason="limits of POSIX")

if TYPE_CHECKING:
    from pathlib import Path

#: Every call is made in a process of its own, under each limit, from none left to enough. Nothing was imported before
#: but the package, so that libraries and modules are imported under the limit. It prints what came of it.
PROGRAM = """
import os, resource, signal, sys, traceback, warnings
import numpy as np, ckptload
warnings.simplefilter("ignore")
os.chdir(sys.argv[1])
kind, limits = sys.argv[2], list(map(int, sys.argv[3].split(",")))
warm = len(sys.argv) > 4
KEY = bytes(16)
VALUES = {f"p{i}": np.full(1000, i, np.float32) for i in range(8)}

def converted(target, **settings):
    with ckptload.open_checkpoint("x.ckpt") as reader:
        ckptload.convert_checkpoint(reader, f"{os.getpid()}{target}", **settings)

def prepared():
    ckptload.save_checkpoint(VALUES, "x.ckpt", crc_check=True)
    ckptload.save_checkpoint(VALUES, "gcm.ckpt", enc_key=KEY)
    ckptload.save_checkpoint(VALUES, "x.safetensors", format="safetensors")
    with ckptload.open_checkpoint("x.ckpt") as reader:
        ckptload.convert_checkpoint(reader, "shards", max_shard_size=8000)

def lazily():
    with ckptload.open_checkpoint("x.ckpt") as reader:
        reader["p3"], reader.get_slice("p1")[2:5]

def saved(name, how=False, **settings):
    ckptload.save_checkpoint(VALUES, f"{os.getpid()}{name}", async_save=how, **settings)
    ckptload.mindspore.save_checkpoint({}, f"{os.getpid()}y.ckpt")

CALLS = {
    "load": lambda: ckptload.load_checkpoint("x.ckpt", crc_check=True),
    "decrypt": lambda: ckptload.load_checkpoint("gcm.ckpt", dec_key=KEY),
    "safetensors": lambda: ckptload.load_checkpoint("x.safetensors", format="safetensors"),
    "choose": lambda: ckptload.load_checkpoint("x.safetensors", format="safetensors", choice_func=lambda n: n == "p0"),
    "shards": lambda: ckptload.load_checkpoint("shards/model.safetensors.index.json", format="safetensors"),
    "lazily": lazily,
    "a wrong name": lambda: ckptload.open_checkpoint("x.ckpt")["p9"],
    "a folder": lambda: ckptload.open_checkpoint("."),
    "later": lambda: ckptload.load_checkpoint_async("gcm.ckpt", dec_key=KEY).result(),
    "save": lambda: saved("x.ckpt"),
    "encrypt": lambda: saved("x.ckpt", enc_key=KEY),
    "save safetensors": lambda: saved("x.safetensors", format="safetensors"),
    "save in a thread": lambda: saved("x.ckpt", "thread"),
    "save in a process": lambda: saved("x.ckpt", "process"),
    "convert": lambda: converted("x.safetensors"),
    "to npz": lambda: converted("x.npz"),
    "to shards": lambda: converted("x", max_shard_size=8000),
}

def child(work):
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    status = 2
    try:
        work()
        status = 0
    except ckptload.CheckpointError:
        status = 1
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)

def limited(limit, call):
    signal.alarm(30)
    if kind == "memory":
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (limit << 10), used + (limit << 10)))
    else:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    call()

assert child(prepared) == 0
if warm:
    for call in CALLS.values():
        try:
            call()
        except ckptload.CheckpointError:
            pass
for name, call in CALLS.items():
    print(name, *[child(lambda: limited(limit, call)) for limit in limits], sep=":")
"""


def outcomes(folder: Path, *arguments: str) -> dict[str, list[int]]:
    """Return for each call what came of it under each limit: 0 for a result, 1 for an error of ours."""
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder), *arguments], capture_output=True, text=True, check=False
    )
    lines = [line.split(":") for line in found.stdout.splitlines()]
    assert len(lines) > 10, found.stderr
    return {name: [int(one) for one in several] for name, *several in lines}


@pytest.mark.slow
@pytest.mark.once
def test_with_few_files_there_is_a_result_or_an_error_of_ours(tmp_path: Path) -> None:
    for name, found in outcomes(tmp_path, "files", "3,4,5,6,8,40").items():
        assert set(found) <= {0, 1}, name
        # With none left nothing works; a wrong name and a folder are errors anyway.
        assert found[0] == 1, name
        assert found[-1] == (name in {"a wrong name", "a folder"}), name


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
def test_with_little_memory_there_is_a_result_or_an_error_of_ours(tmp_path: Path) -> None:
    """Libraries have been imported: ``cryptography`` itself ends a process that has no memory to import it."""
    for name, found in outcomes(tmp_path, "memory", ",".join(map(str, range(0, 20000, 1300))), "warm").items():
        assert set(found) <= {0, 1}, name
