"""Look into, read from and convert a checkpoint larger than memory, and print what that took.

    python tests/benchmarks/bench_large.py [--gib 40] [--folder /where/there/is/room]

makes a sparse file, whose content is zeros that take no room on the disk, and asks about it in fresh processes.
The one that is written by the conversion takes all its room; --no-convert leaves it out. Peak memory is the
process' highest resident set beyond what it had after its imports.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.run import memory_now
from strategies import sparse

if TYPE_CHECKING:
    from collections.abc import Callable

#: Shapes of the tensors, 256 MiB each, four of them in a GiB.
SHAPE: Final = (1 << 13, 1 << 13)
CHOSEN: Final = "layer3.weight"


def list_it(path: Path) -> str:
    """List every entry."""
    from ckptload import open_checkpoint

    with open_checkpoint(path) as reader:
        return f"{len([reader.info(name) for name in reader])} entries"


def rows_of_it(path: Path) -> str:
    """Read a thousand rows of one tensor."""
    from ckptload import open_checkpoint

    with open_checkpoint(path) as reader:
        return f"{reader.get_slice(CHOSEN)[1000:2000].nbytes >> 20} MiB"


def one_of_it(path: Path) -> str:
    """Load one tensor by a filter."""
    from ckptload import load_checkpoint

    return f"{load_checkpoint(path, choice_func=lambda name: name == CHOSEN)[CHOSEN].nbytes >> 20} MiB"


def convert_it(path: Path) -> str:
    """Write all of it as safetensors."""
    from ckptload import ckpt_to_safetensors

    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        ckpt_to_safetensors(path, folder)
        return f"{sum(file.stat().st_size for file in Path(folder).iterdir()) >> 20} MiB written"


CASES: Final[dict[str, Callable[[Path], str]]] = {
    "list": list_it,
    "rows": rows_of_it,
    "one": one_of_it,
    "convert": convert_it,
}


def one(case: str, path: Path) -> None:
    """Be the process that is measured."""
    import ckptload

    # What is imported when it is first needed is not what is asked about.
    ckptload.save_checkpoint({"x": ckptload.Tensor(1.0)}, path.parent / "tiny.ckpt")
    CASES["convert"](path.parent / "tiny.ckpt")
    before = memory_now()
    begin = time.perf_counter()
    said = CASES[case](path)
    seconds = time.perf_counter() - begin
    found = {"case": case, "seconds": seconds, "memory": memory_now("VmHWM") - before, "said": said}
    sys.stdout.write(json.dumps(found) + "\n")


def in_a_process(case: str, path: Path) -> dict[str, object]:
    """Measure in a fresh process."""
    command = [sys.executable, __file__, "--one", case, str(path)]
    sources = str(Path(__file__).parents[2] / "src")
    run = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": sources}, stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, object] = json.loads(run.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Make the file, ask, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gib", type=int, nargs="+", default=[40])
    parser.add_argument("--folder", type=Path, help="where to write; a temporary folder by default")
    parser.add_argument("--no-convert", action="store_true")
    parser.add_argument("--one", nargs=2, metavar=("CASE", "FILE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        one(options.one[0], Path(options.one[1]))
        return
    lines = ["| GiB | case | seconds | peak memory MB | |", "|---|---|---|---|---|"]
    for gib in options.gib:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            path = sparse(Path(folder) / "x.ckpt", [(f"layer{number}.weight", SHAPE) for number in range(4 * gib)])
            for case in CASES:
                if case != "convert" or not options.no_convert:
                    found = in_a_process(case, path)
                    memory = int(str(found["memory"])) / 1e6
                    lines.append(f"| {gib} | {case} | {found['seconds']:.3f} | {memory:.0f} | {found['said']} |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
