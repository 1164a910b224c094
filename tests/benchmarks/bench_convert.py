"""Time the converters and safetensors reading against MindSpore and the safetensors library, in one run.

Run it where MindSpore 2.10.0 is installed, with ckptload on the path::

    PYTHONPATH=src python tests/benchmarks/bench_convert.py [--mib 1024] [--large 4096] [--runs 5] [--folder .]

Each measurement is one process, which imports its library before the clock starts; contenders take turns,
and the disk is synced before each, so that none pays for what another left to be written. Printed are
medians with the fastest and the slowest run, seconds of processor time, and the highest peak of memory of a
whole process. `--large` is a size for ckptload alone, whose memory must not grow with it; 0 leaves it out.
"""

from __future__ import annotations

import argparse
import json
import os
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

TENSORS = 256
CHOSEN = "layer100.weight"
#: Questions, and their contenders: ckptload comes first.
CASES: dict[str, tuple[str, ...]] = {
    "ckpt to safetensors": ("ckpt_to_safetensors:ckptload", "ckpt_to_safetensors:mindspore"),
    "safetensors to ckpt": ("safetensors_to_ckpt:ckptload", "safetensors_to_ckpt:mindspore"),
    "all tensors in memory of their own": ("load:ckptload", "load:safetensors", "load:mindspore"),
    "open, and one tensor in memory of its own": ("one:ckptload", "one:safetensors"),
    "open, and a view of one tensor": ("view:ckptload", "view:safetensors"),
    "to npz": ("npz:ckptload",),
}


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def make(path: Path, mib: int) -> None:
    """Write a checkpoint of equal tensors without holding it."""
    import ckptload

    generator = np.random.default_rng(0)
    tensor = generator.random((mib << 18) // TENSORS, np.float32)
    ckptload.save_checkpoint({f"layer{number}.weight": tensor for number in range(TENSORS)}, path)


def task(what: str, library: str, source: Path, folder: Path) -> Callable[[], Any]:
    """Return what to time."""
    in_safetensors = source.with_suffix(".safetensors")
    if library == "safetensors":
        from safetensors import safe_open
        from safetensors.numpy import load_file

        def first() -> Any:
            with safe_open(in_safetensors, framework="numpy") as file:
                tensor = file.get_tensor(CHOSEN)
                return tensor if what == "view" else tensor.copy()

        return first if what in ("one", "view") else lambda: touched(load_file(in_safetensors))
    module: Any = __import__(library)
    if what in ("one", "view"):

        def one() -> Any:
            with module.open_checkpoint(in_safetensors, mmap=what == "view") as reader:
                return reader[CHOSEN]

        # What a process needs once is not what is asked about: the library has been imported above, too.
        one()
        return one
    if what == "load":
        return lambda: touched(
            {
                name: value.asnumpy()
                for name, value in module.load_checkpoint(str(in_safetensors), format="safetensors").items()
            }
        )
    if what == "npz":
        return lambda: module.to_npz(source, folder / "x.npz")
    given = source if what == "ckpt_to_safetensors" else in_safetensors
    return lambda: getattr(module, what)(str(given), str(folder))


def touched(arrays: dict[str, Any]) -> dict[str, Any]:
    """Write one element of every page, so that what a library left to later is counted."""
    for array in arrays.values():
        flat = array if array.flags.writeable else array.copy()
        flat.reshape(-1).view(np.uint8)[:: 4 << 10] = 1
    return arrays


def measure(case: str, source: str, folder: str) -> None:
    """Run one task in this process, and print what it took as JSON."""
    what, library = case.split(":")
    run = task(what, library, Path(source), Path(folder))
    os.sync()
    begin, begin_cpu = time.perf_counter(), time.process_time()
    run()
    seconds, cpu = time.perf_counter() - begin, time.process_time() - begin_cpu
    # Linux gives kibibytes.
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10) / 1e6
    say(json.dumps({"seconds": seconds, "cpu": cpu, "peak": peak}))


def in_a_process(case: str, source: Path) -> dict[str, float]:
    """Measure in a fresh process, whose results are thrown away."""
    with tempfile.TemporaryDirectory(dir=source.parent) as folder:
        command = [sys.executable, __file__, "--measure", case, str(source), folder]
        environment = {**os.environ, "GLOG_v": "3"}
        run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(run.stdout.splitlines()[-1])
    return found


def line(case: str, results: list[dict[str, float]]) -> str:
    """Return a line of the table."""
    seconds = sorted(result["seconds"] for result in results)
    cpu = statistics.median(result["cpu"] for result in results)
    peak = max(result["peak"] for result in results)
    return (
        f"  {case:32} {statistics.median(seconds) * 1e3:9.1f} ms ({seconds[0] * 1e3:.1f} to {seconds[-1] * 1e3:.1f}), "
        f"processor {cpu * 1e3:7.1f} ms, peak {peak:6.0f} MB"
    )


def compare(title: str, source: Path, runs: int) -> None:
    """Let contenders take turns, and print a line for each."""
    results: dict[str, list[dict[str, float]]] = {case: [] for case in CASES[title]}
    for _ in range(runs):
        for case, found in results.items():
            found.append(in_a_process(case, source))
    say(title)
    first = CASES[title][0]
    for case, found in results.items():
        ratio = ""
        if case != first:
            other, ours = (statistics.median(one["seconds"] for one in results[name]) for name in (case, first))
            ratio = f": {other / ours:.1f} times ckptload's"
        say(line(case, found) + ratio)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--large", type=int, default=4096)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--folder", help="where to write; the disk under it is part of what is measured")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(*options.measure)
        return
    import ckptload

    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        source = Path(folder) / "x.ckpt"
        make(source, options.mib)
        ckptload.ckpt_to_safetensors(source)
        for title in CASES:
            compare(title, source, options.runs)
        if options.large:
            make(source, options.large)
            say(f"{options.large} MiB")
            say(line("ckpt_to_safetensors:ckptload", [in_a_process("ckpt_to_safetensors:ckptload", source)]))


if __name__ == "__main__":
    main()
