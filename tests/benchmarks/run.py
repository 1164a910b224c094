"""Time ckptload against what one would use instead: one command, fresh processes, medians and ratios.

    python tests/benchmarks/run.py --mindspore /path/to/python-with-mindspore

makes its files in a temporary folder, lets the contenders take turns, and prints a table, which --markdown
and --json also write to files. A contender that is not installed is left out. MindSpore is run by the
interpreter given with --mindspore; the others by the one that runs this script.

Each measurement is a process of its own: it imports its library and makes its nets, then the clock runs over
one call. Peak memory is the process' highest resident set beyond what it had before the call. Files lie in the
page cache: the one of a case is read once before every measurement. With --cold they are on the disk alone.

A virtual machine gives memory that is free back to its host, from where it comes again at a third of the speed, or
at full speed if it was in use a second ago: a matter of luck. So there are two states of memory, of which --memory
chooses one or both. "settled": a process that is to read a whole file touches three times as much memory, and gives
it back just before its clock runs. "idle": it sleeps for some seconds instead, in which the host takes memory back.

A ratio is the median of the ratios of each turn. --against names the folder src of another version of ckptload, which
takes part as the contender "before".
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from itertools import product
from operator import truediv
from pathlib import Path
from typing import Any, Final

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks import contenders

MIB: Final = 1 << 20
SOURCES: Final = Path(__file__).parents[2] / "src"
#: The case whose file has many small tensors instead of few large ones.
SMALL_COUNT, SMALL_SIZE = 20_000, 64


@dataclass
class Result:
    """What one contender needed for one case: seconds and bytes."""

    mebibytes: int
    tensors: int
    state: str
    case: str
    contender: str
    seconds: float
    lowest: float
    highest: float
    memory: int
    ratio: float | None


def records(count: int, elements: int) -> Any:
    """Yield the records of a checkpoint, as MindSpore writes them."""
    from ckptload.formats.ckpt import schema

    rng = np.random.default_rng(0)
    rows = int(elements**0.5)
    columns = elements // rows
    for number in range(count):
        message: Any = schema.message_class("Checkpoint")()
        value = message.value.add()
        value.tag = f"layer{number}.weight"
        value.tensor.dims.extend((rows, columns))
        value.tensor.tensor_type = "Float32"
        value.tensor.tensor_content = rng.random(rows * columns, np.float32).tobytes()
        yield message.SerializeToString()


def make_files(folder: Path, mebibytes: int, tensors: int, wanted: set[str]) -> None:
    """Write the files that the wanted cases need."""
    from ckptload.encryption.encrypting import EncryptingWriter
    from ckptload.formats.ckpt.trailer import trailer
    from ckptload.formats.crc32 import crc32

    elements = mebibytes * MIB // 4 // tensors
    value = 0
    with (folder / "plain.ckpt").open("wb") as plain:
        for record in records(tensors, elements):
            plain.write(record)
            value = crc32(record, value)
    if "crc" in wanted:
        (folder / "crc.ckpt").write_bytes((folder / "plain.ckpt").read_bytes() + trailer(value))
    if {"small", "small_list", "parameters_small"} & wanted:
        (folder / "small.ckpt").write_bytes(b"".join(records(SMALL_COUNT, SMALL_SIZE)))
    for short, mode in contenders.MODES.items():
        if any(case.startswith(short) for case in wanted):
            with (folder / f"{short}.ckpt").open("wb") as file:
                writer = EncryptingWriter(file, contenders.KEY, mode)
                with (folder / "plain.ckpt").open("rb") as plain:
                    while piece := plain.read(16 * MIB):
                        writer.write(piece)
                writer.finish()
    if {"load_and_touch", "torch_module"} & wanted:
        _other_formats(folder)


def _other_formats(folder: Path) -> None:
    """Write the same tensors in the formats of the contenders that are installed."""
    import ckptload

    arrays = {name: value.asnumpy() for name, value in ckptload.load_checkpoint(folder / "plain.ckpt").items()}
    from safetensors.numpy import save_file

    save_file(arrays, folder / "plain.safetensors")
    if _installed("torch"):
        import torch

        torch.save({name: torch.from_numpy(array) for name, array in arrays.items()}, folder / "plain.pt")


def _installed(module: str) -> bool:
    return subprocess.run([sys.executable, "-c", f"import {module}"], capture_output=True, check=False).returncode == 0


def warm(files: list[Path]) -> None:
    """Read files once, so that all contenders find them in the page cache."""
    for path in files:
        with path.open("rb", buffering=0) as file:
            while file.read(16 * MIB):
                pass


def cool(files: list[Path]) -> None:
    """Let the system forget the content of files, so that all contenders find it on the disk alone."""
    for path in files:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure(
    python: str, case: str, contender: str, folder: Path, sources: Path, idle: float | None
) -> dict[str, float] | None:
    """Run one measurement in a process of its own; None if its library is not there."""
    command = [python, __file__, "--one", case, contender, str(folder)]
    if idle is not None:
        command += ["--memory", "idle", "--idle", str(idle)]
    environment = {**os.environ, "PYTHONPATH": str(sources), "GLOG_v": "4"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        if "ModuleNotFoundError" in done.stderr:
            return None
        sys.stderr.write(f"{case} by {contender} failed:\n{done.stderr[-800:]}\n")
        return None
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def memory_now(field: str = "VmRSS") -> int:
    """Return this process' resident memory in bytes, or its peak (VmHWM) since the last call for VmRSS."""
    # getrusage would count what the parent had when it forked.
    if field == "VmRSS":
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return int(re.search(rf"{field}:\s+(\d+) kB", status)[1]) * 1024  # type: ignore[index]


def settle(folder: Path, case: str) -> None:
    """Have this machine's memory at hand for what follows."""
    # MindSpore needs a little more than twice the file, and the files written by some go to the page cache.
    size = (folder / f"{contenders.file_of(case)}ckpt").stat().st_size
    # What is not free holds the file in the page cache.
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    np.empty(min(3 * size, free // 10 * 9), np.uint8)[:: 4 << 10] = 1


def one(case: str, contender: str, folder: Path, idle: float | None) -> None:
    """Be the process that is measured."""
    work = contenders.CASES[case][contender](folder)
    if idle is not None:
        time.sleep(idle)
    elif contender == "mindspore" or case not in contenders.PARTIAL:
        settle(folder, case)
    before = memory_now()
    begin = time.perf_counter()
    kept = work()
    seconds = time.perf_counter() - begin
    memory = memory_now("VmHWM") - before
    del kept
    sys.stdout.write(json.dumps({"seconds": seconds, "memory": memory}) + "\n")


def compare(case: str, folder: Path, mebibytes: int, tensors: int, options: argparse.Namespace) -> list[Result]:
    """Let the contenders of a case take turns, in each state of memory."""
    runs: dict[str, dict[str, list[dict[str, float]]]] = {state: {} for state in options.memory}
    # What was made or written just now is not to be written out to the disk while others are timed.
    os.sync()
    files = [path for path in folder.glob("*.*") if path.name.startswith(contenders.file_of(case))]
    names = [name for name in contenders.CASES[case] if re.search(options.contenders, name)]
    if options.against and "ckptload" in names:
        names.insert(1, "before")
    for state in options.memory:
        for _ in range(options.runs):
            for name in names:
                with_mindspore = name == "mindspore" or case in contenders.WITH_MINDSPORE
                python = options.mindspore if with_mindspore else sys.executable
                if python is not None:
                    # The system may have dropped pages that nobody asked for lately.
                    (cool if options.cold else warm)(files)
                    sources, contender = (options.against, "ckptload") if name == "before" else (SOURCES, name)
                    idle = options.idle if state == "idle" else None
                    result = measure(python, case, contender, folder, sources, idle)
                    if result is not None:
                        runs[state].setdefault(name, []).append(result)
    return [
        _result(mebibytes, tensors, state, case, name, found)
        for state, found in runs.items()
        for name in names
        if name in found
    ]


def _result(
    mebibytes: int, tensors: int, state: str, case: str, name: str, found: dict[str, list[dict[str, float]]]
) -> Result:
    seconds = [run["seconds"] for run in found[name]]
    memory = int(statistics.median(run["memory"] for run in found[name]))
    ours = [run["seconds"] for run in found.get("ckptload", [])]
    # What disturbs a turn disturbs all of its contenders.
    ratio = statistics.median(map(truediv, seconds, ours)) if ours else None
    middle = statistics.median(seconds)
    return Result(mebibytes, tensors, state, case, name, middle, min(seconds), max(seconds), memory, ratio)


def table(results: list[Result]) -> str:
    """Return the results as a Markdown table; a ratio says how many times longer than ckptload it took."""
    lines = [
        "| MiB | tensors | memory | case | contender | median s | lowest - highest s | times ckptload | peak MB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        ratio = "" if result.ratio is None else f"{result.ratio:.2f}"
        lines.append(
            f"| {result.mebibytes} | {result.tensors} | {result.state} | {result.case} | {result.contender} "
            f"| {result.seconds:.4f} "
            f"| {result.lowest:.4f} - {result.highest:.4f} | {ratio} | {result.memory / 1e6:.0f} |"
        )
    return "\n".join(lines)


def summary(results: list[Result]) -> str:
    """Return one line for each case; ``x`` says how many times as long as ckptload another took."""
    lines = ["| MiB | tensors | memory | case | ckptload | the others | peak MB |", "|---|---|---|---|---|---|---|"]
    for of in dict.fromkeys(map(_measured_of, results)):
        mine = [result for result in results if _measured_of(result) == of]
        times = [
            f"{result.contender} {_short(result.seconds)}" + (f" ({result.ratio:.3g} x)" if result.ratio else "")
            for result in mine
            if result.contender != "ckptload"
        ]
        ours = [
            f"{_short(r.seconds)} ({_short(r.lowest)} - {_short(r.highest)})" for r in mine if r.contender == "ckptload"
        ]
        memory = [f"{result.contender} {result.memory / 1e6:.0f}" for result in mine]
        lines.append(f"| {' | '.join(of)} | {' '.join(ours)} | {', '.join(times)} | {', '.join(memory)} |")
    return "\n".join(lines)


def _measured_of(result: Result) -> tuple[str, str, str, str]:
    return str(result.mebibytes), str(result.tensors), result.state, result.case


def _short(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def about(options: argparse.Namespace) -> dict[str, Any]:
    """Say what was measured, on what."""

    def version(package: str) -> str | None:
        try:
            return importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            return None

    packages = ("ckptload", "numpy", "protobuf", "cryptography", "safetensors", "torch", "zlib-ng")
    return {
        "date": datetime.now(timezone.utc).date().isoformat(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "versions": {package: version(package) for package in packages},
        "command": " ".join(["python", *sys.argv]),
        "mebibytes": options.mib,
        "tensors": options.tensors,
        "cache": "cold" if options.cold else "warm",
        "memory": options.memory,
        "idle seconds": options.idle,
        "runs": options.runs,
    }


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mindspore", help="a Python that has MindSpore 2.10.0")
    parser.add_argument("--mib", type=int, nargs="+", default=[1024], help="content of the large files, in MiB")
    parser.add_argument("--tensors", type=int, nargs="+", default=[256], help="number of tensors in the large files")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--cold", action="store_true", help="read from the disk, not from the page cache")
    parser.add_argument("--memory", nargs="+", choices=("settled", "idle"), default=["settled"])
    parser.add_argument("--idle", type=float, default=8, help="seconds of sleep before the clock runs, where idle")
    parser.add_argument("--only", default="", help="cases that match this expression")
    parser.add_argument("--contenders", default="", help="contenders that match this expression")
    parser.add_argument("--against", type=Path, help="the folder src of another version of ckptload")
    parser.add_argument("--folder", type=Path, help="where to make the files; a temporary folder by default")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--one", nargs=3, metavar=("CASE", "CONTENDER", "FOLDER"), help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Make the files, run the cases, print the table."""
    options = parse()
    if options.one:
        case, contender, folder = options.one
        one(case, contender, Path(folder), options.idle if "idle" in options.memory else None)
        return
    cases = [case for case in contenders.CASES if re.search(options.only, case)]
    results: list[Result] = []
    for mebibytes, tensors in product(options.mib, options.tensors):
        with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
            folder = Path(temporary)
            make_files(folder, mebibytes, tensors, set(cases))
            for case in cases:
                found = compare(case, folder, mebibytes, tensors, options)
                results.extend(found)
                sys.stdout.write("\n".join(table(found).split("\n")[2:]) + "\n")
                sys.stdout.flush()
    facts = about(options)
    text = f"```json\n{json.dumps(facts, indent=1)}\n```\n\n{summary(results)}\n\n{table(results)}\n"
    sys.stdout.write("\n" + text)
    if options.markdown:
        options.markdown.write_text(text)
    if options.json:
        options.json.write_text(
            json.dumps({**facts, "results": [asdict(result) for result in results]}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
