"""Files larger than the memory that a process may have: what is wanted is read, and the rest is an error of ours."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from strategies import sparse

#: Names and shapes of Float32 tensors: a small one, and 4 GiB.
ENTRIES = {"small": (2,), "large": (1 << 30,)}
STATM = Path("/proc/self/statm")
pytestmark = pytest.mark.skipif(not STATM.exists(), reason="needs Linux's limit on address space")

#: Opens `sys.argv[1]` at every door, after limiting the process to 1 GiB more than it has. What is imported or
#: cached is done with the small entry before.
PROGRAM = """
import io, json, os, resource, sys
import numpy as np
import ckptload as ck
from ckptload.__main__ import main

path, folder = sys.argv[1:]
form = path.rpartition(".")[2]
convert = ck.ckpt_to_safetensors if form == "ckpt" else ck.safetensors_to_ckpt


def small(name):
    return name == "small"


def opened(act, **how):
    with ck.open_checkpoint(path, **how) as reader:
        return act(reader)


def of_an_object():
    with open(path, "rb") as file, ck.open_checkpoint(file) as reader:
        return list(reader)


def net(name):
    cell = ck.nn.Cell()
    cell.insert_param_to_cell(name, ck.Parameter(np.zeros(2, np.float32), name=name))
    return cell


DOORS = {
    "list": lambda: opened(list),
    "info": lambda: opened(lambda reader: reader.info("large").nbytes),
    "one": lambda: opened(lambda reader: reader["small"].shape),
    "slice": lambda: opened(lambda reader: reader.get_slice("large")[-3:].shape),
    "object": of_an_object,
    "load": lambda: list(ck.load_checkpoint(path, choice_func=small, format=form)),
    "async": lambda: list(ck.load_checkpoint_async(path, choice_func=small).result()),
    "convert": lambda: convert(path, folder, choice_func=small),
    "to_npz": lambda: ck.to_npz(path, folder + "/x", choice_func=small),
    "inspect": lambda: main(["inspect", "--quiet", path]),
    "all": lambda: ck.load_checkpoint(path, format=form),
    "all in the background": lambda: ck.load_checkpoint_async(path).result(),
    "large": lambda: opened(lambda reader: reader["large"]),
    "large slice": lambda: opened(lambda reader: reader.get_slice("large")[:]),
    "net": lambda: ck.load_checkpoint(path, net("large"), format=form),
    "mmap": lambda: opened(lambda reader: reader["small"], mmap=True),
}
for door in ("list", "load", "async", "convert", "to_npz", "inspect"):
    DOORS[door]()
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + (1 << 30), size + (1 << 30)))
found = {}
for door, act in DOORS.items():
    try:
        found[door] = act()
    except BaseException as error:
        found[door] = [type(error).__name__, getattr(error, "path", None), getattr(error, "hint", None)]
print(json.dumps(found))
"""


def safetensors(path: Path) -> Path:
    header, at = {}, 0
    for name, shape in ENTRIES.items():
        stop = at + 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [at, stop]}
        at = stop
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(file.tell() + at)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("form", ["ckpt", "safetensors"])
def test_under_a_limit_what_is_wanted_is_read_and_the_rest_is_an_error_of_ours(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"large.{form}"
    path = sparse(path, ENTRIES.items()) if form == "ckpt" else safetensors(path)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path), str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
        # Each thread of OpenBLAS takes address space, and there is one for each processor.
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    names = list(ENTRIES) if form == "ckpt" else sorted(ENTRIES)
    assert found.pop("list") == found.pop("object") == names
    assert found.pop("info") == 4 << 30
    assert found.pop("one") == [2]
    assert found.pop("slice") == [3]
    assert found.pop("load") == found.pop("async") == ["small"]
    assert found.pop("convert") is found.pop("to_npz") is None
    assert found.pop("inspect") == 0
    hints = {door: hint for door, (kind, at, hint) in found.items() if (kind, at) == ("OutOfMemoryError", str(path))}
    assert set(hints) == {"all", "all in the background", "large", "large slice", "net", "mmap"}
    assert "mmap=True" in hints.pop("mmap")
    assert all("choice_func" in hint for hint in hints.values())
