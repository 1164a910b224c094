"""Time encrypted checkpoints against MindSpore, in one run and in fresh processes.

Run it where MindSpore 2.10.0 is installed, with ckptload on the path::

    PYTHONPATH=src python tests/benchmarks/bench_encryption.py [--mib 1024] [--tensors 256] [--runs 5] [--only RE]

It writes a file of Float32 tensors in every mode to a temporary folder, reads each once so that it
lies in the page cache, and then lets both libraries take turns. Each measurement is one process,
which imports its library before the clock starts. Printed are medians, their ratio, and the highest
peak of memory of a whole process beyond the content it returned.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = bytes(range(16))
MODES = ("AES-GCM", "AES-CBC", "SM4-CBC")
LIBRARIES = ("mindspore", "ckptload")
MIB = 1 << 20


def one_of_all(name: str) -> bool:
    """Choose a single tensor in the middle of the file."""
    return name == "layer100.weight"


def task(library: str, what: str, path: str, mode: str) -> tuple[Callable[[], Any], Callable[[Any], int]]:
    """Return what to time, and how many bytes of content its result holds."""
    # A process imports the library that it measures, and no other.
    module = importlib.import_module(library)
    choice = one_of_all if what == "one" else None

    def load() -> Any:
        return module.load_checkpoint(path, dec_key=KEY, dec_mode=mode, choice_func=choice)

    def listing() -> Any:
        with module.open_checkpoint(path, dec_key=KEY, dec_mode=mode) as reader:
            return {name: reader.info(name) for name in reader}

    if what == "list":
        return listing, lambda _: 0
    return load, lambda result: sum(value.nbytes for value in result.values())


def measure(library: str, what: str, path: str, mode: str) -> None:
    """Run one task in this process, and print seconds and megabytes as JSON."""
    run, content = task(library, what, path, mode)
    begin = time.perf_counter()
    result = run()
    seconds = time.perf_counter() - begin
    # Linux gives kibibytes.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    sys.stdout.write(json.dumps({"seconds": seconds, "beyond": (peak - content(result)) / 1e6}) + "\n")


def in_a_process(*arguments: str) -> dict[str, float]:
    environment = {**os.environ, "GLOG_v": "3"}
    command = [sys.executable, __file__, "--measure", *arguments]
    run = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(run.stdout.splitlines()[-1])
    return found


def write(folder: Path, mib: int, tensors: int) -> dict[str, str]:
    """Write the same content in every mode, by ckptload's own writer; MindSpore reads the files below."""
    from ckptload.encryption.encrypting import EncryptingWriter
    from ckptload.formats.ckpt.schema import message_class

    chosen = np.random.default_rng(0)
    paths = {mode: str(folder / f"{mode}.ckpt") for mode in MODES}
    files = {mode: Path(path).open("wb") for mode, path in paths.items()}  # noqa: SIM115
    writers = {mode: EncryptingWriter(files[mode], KEY, mode) for mode in MODES}
    count = mib * MIB // tensors // 4
    for number in range(tensors):
        record: Any = message_class("Checkpoint")()
        value = record.value.add()
        value.tag = f"layer{number}.weight"
        value.tensor.dims.extend([count])
        value.tensor.tensor_type = "Float32"
        value.tensor.tensor_content = chosen.random(count, np.float32).tobytes()
        data = record.SerializeToString()
        for writer in writers.values():
            writer.write(data)
    for mode in MODES:
        writers[mode].finish()
        files[mode].close()
    return paths


def compare(what: str, mode: str, path: str, runs: int) -> None:
    """Let the libraries take turns, and print a line."""
    libraries = LIBRARIES if what != "list" else ("ckptload",)
    results: dict[str, list[dict[str, float]]] = {library: [] for library in libraries}
    with Path(path).open("rb", buffering=0) as file:
        while file.read(64 * MIB):
            pass
    for _ in range(runs):
        for library in libraries:
            results[library].append(in_a_process(library, what, path, mode))
    line = f"{what:5} {mode:8}"
    seconds = {name: statistics.median(one["seconds"] for one in found) for name, found in results.items()}
    for name, found in results.items():
        beyond = max(one["beyond"] for one in found)
        line += f" | {name} {seconds[name]:8.3f} s, {beyond:6.0f} MB beyond content"
    if "mindspore" in seconds:
        line += f" | {seconds['mindspore'] / seconds['ckptload']:6.1f} times faster"
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--mib", type=int, default=1024, help="content of a file")
    parser.add_argument("--tensors", type=int, default=256)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", default="", help="tasks whose line matches, such as 'load AES'")
    parser.add_argument("--measure", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        measure(*given.measure)
        return
    with tempfile.TemporaryDirectory() as folder:
        paths = write(Path(folder), given.mib, given.tensors)
        for what in ("load", "one", "list"):
            for mode in MODES:
                if re.search(given.only, f"{what} {mode}"):
                    compare(what, mode, paths[mode], given.runs)


if __name__ == "__main__":
    main()
