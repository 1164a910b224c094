"""Time save_checkpoint against MindSpore's, in one run and in fresh processes.

Run it where MindSpore 2.10.0 is installed, with ckptload on the path::

    PYTHONPATH=src python tests/benchmarks/bench_save.py [--mib 1024] [--runs 5] [--only RE] [--folder .]

Each measurement is one process, which imports its library and makes its parameters before the clock
starts. ckptload syncs its file to the disk and MindSpore does not, so the disk is synced before each
process: neither pays for the other. Printed are medians, their ratio, and the highest peak of memory of a
whole process beyond the content that was saved.
"""

from __future__ import annotations

import argparse
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

LIBRARIES = ("mindspore", "ckptload")
MIB = 1 << 20
ONE_BY_ONE = 256
MANY = 20_000

#: Name of a measurement, number of tensors, arguments of save_checkpoint.
CASES: dict[str, tuple[int, dict[str, Any]]] = {
    "plain": (ONE_BY_ONE, {}),
    "crc_check": (ONE_BY_ONE, {"crc_check": True}),
    "safetensors": (ONE_BY_ONE, {"format": "safetensors"}),
    "AES-GCM": (ONE_BY_ONE, {"enc_key": bytes(range(16))}),
    "small tensors": (MANY, {}),
    "reader": (ONE_BY_ONE, {}),
}


def task(library: str, what: str, folder: str, mib: int) -> tuple[Callable[[], None], int]:
    """Return what to time, and how many bytes of content the process holds for it."""
    count, arguments = CASES[what]
    module: Any = __import__(library)
    path = f"{folder}/{library}.{arguments.get('format', 'ckpt')}"
    if what == "reader":
        source = module.load_checkpoint if library == "mindspore" else module.open_checkpoint
        return lambda: module.save_checkpoint(source(f"{folder}/source.ckpt"), path), 0
    size = 64 if count == MANY else mib * MIB // 4 // count
    generator = np.random.default_rng(0)
    parameters = {}
    for number in range(count):
        name = f"layer{number}.weight"
        # One at a time: a peak before the clock starts would hide the one that is looked for.
        parameters[name] = module.Parameter(module.Tensor(generator.random(size, np.float32)), name=name)
    return lambda: module.save_checkpoint(parameters, path, **arguments), 4 * size * count


def measure(library: str, what: str, folder: str, mib: int) -> None:
    """Run one task in this process, and print seconds and megabytes as JSON."""
    run, content = task(library, what, folder, mib)
    os.sync()
    begin = time.perf_counter()
    run()
    seconds = time.perf_counter() - begin
    # Linux gives kibibytes.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    sys.stdout.write(json.dumps({"seconds": seconds, "beyond": (peak - content) / 1e6}))


def in_a_process(library: str, what: str, folder: str, mib: int) -> dict[str, float]:
    environment = {**os.environ, "GLOG_v": "3"}
    command = [sys.executable, __file__, "--measure", library, what, folder, str(mib)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(run.stdout.splitlines()[-1])
    return found


def compare(what: str, runs: int, folder: str, mib: int) -> str:
    """Let both libraries take turns, and return a line of the table."""
    results: dict[str, list[dict[str, float]]] = {library: [] for library in LIBRARIES}
    for _ in range(runs):
        for library in LIBRARIES:
            results[library].append(in_a_process(library, what, folder, mib))
    theirs, ours = (statistics.median(r["seconds"] for r in results[library]) for library in LIBRARIES)
    peaks = [max(r["beyond"] for r in results[library]) for library in LIBRARIES]
    return (
        f"{what:14} mindspore {theirs:6.2f} s, ckptload {ours:6.2f} s: {theirs / ours:5.1f} times; "
        f"memory beyond content {peaks[0]:6.0f} / {peaks[1]:4.0f} MB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", default=".", metavar="RE")
    parser.add_argument("--folder", help="where to write; the disk under it is part of what is measured")
    parser.add_argument("--measure", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        library, what, folder, mib = options.measure
        measure(library, what, folder, int(mib))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        in_a_process("ckptload", "plain", folder, options.mib)
        (Path(folder) / "ckptload.ckpt").rename(Path(folder) / "source.ckpt")
        for what in CASES:
            if re.search(options.only, what):
                sys.stdout.write(compare(what, options.runs, folder, options.mib) + "\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
