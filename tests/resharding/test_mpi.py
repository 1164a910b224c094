"""The same job under `mpiexec`: an executor of mpi4py, whose workers are the other processes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import ckptload
from rank_sets import is_slice, is_whole, ranks, source, strategy

BESIDE = Path(sys.executable).with_name("mpiexec")
MPIEXEC = str(BESIDE) if BESIDE.exists() else shutil.which("mpiexec")

JOB = """
import sys
import ckptload
from mpi4py.futures import MPIPoolExecutor

if __name__ == "__main__":
    with MPIPoolExecutor() as executor:
        ckptload.reshard_checkpoints("run", "out", "new.json", "old.json", executor=executor)
        ckptload.merge_checkpoints("run", "shards", "old.json", max_shard_size=300, executor=executor)
"""


@pytest.mark.slow
@pytest.mark.skipif(MPIEXEC is None, reason="there is no mpiexec")
def test_processes_of_mpi_do_the_tasks(tmp_path: Path) -> None:
    pytest.importorskip("mpi4py")
    source(tmp_path / "run")
    strategy(tmp_path / "old.json", "dp2tp2")
    strategy(tmp_path / "new.json", "tp4")
    (tmp_path / "job.py").write_text(JOB)
    place = str(Path(ckptload.__file__).parent.parent)
    done = subprocess.run(
        [str(MPIEXEC), "-n", "3", sys.executable, "-m", "mpi4py.futures", "job.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": place},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert all(is_slice(tmp_path / f"out/rank_{rank}/{rank}.ckpt", "tp4", rank) for rank in ranks("tp4"))
    assert is_whole(tmp_path / "shards" / "model.safetensors.index.json")
