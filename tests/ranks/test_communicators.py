"""Communicators: what is taken for one, and that those of mpi4py, torch and MindSpore do what the interface says."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import ckptload
from ckptload.errors import ArgumentError, ArgumentTypeError, MissingPackageError
from ckptload.ranks.communicators import communicator_of, found

PROGRAM = Path(__file__).with_name("talking_for_real.py")
SIZE = 3


def part(**changed: Any) -> Any:
    """Return an object with the interface, or without a part of it."""
    whole: dict[str, Any] = {"rank": 1, "size": 2, "all_gather": lambda data: [data], "broadcast": lambda *_: None}
    return SimpleNamespace(**{name: value for name, value in (whole | changed).items() if value is not None})


def test_any_object_with_the_interface_is_taken_as_it_is() -> None:
    given = part()
    assert communicator_of(given) is given
    assert communicator_of(None) is None


@pytest.mark.parametrize("lacks", ["rank", "size", "all_gather", "broadcast"])
def test_an_object_without_a_part_of_it_is_refused(lacks: str) -> None:
    with pytest.raises(ArgumentTypeError, match=f"which has no {lacks}") as caught:
        communicator_of(part(**{lacks: None}))
    assert "mpi4py.MPI.COMM_WORLD" in str(caught.value)


@pytest.mark.parametrize("given", [3, "gloo", b"x" * 32, sys, object()])
def test_other_objects_are_refused(given: object) -> None:
    with pytest.raises(ArgumentTypeError, match="communicator") as caught:
        communicator_of(given)
    assert "x" * 32 not in str(caught.value)


@pytest.mark.parametrize(("rank", "size"), [(2, 2), (-1, 2), (0, 0), (0, (1 << 20) + 1)])
def test_a_rank_that_cannot_be_is_refused(rank: int, size: int) -> None:
    with pytest.raises(ArgumentError, match=f"rank {rank} of {size}"):
        communicator_of(part(rank=rank, size=size))


@pytest.mark.parametrize("size", [2.0, "2"])
def test_a_size_that_is_no_int_is_refused(size: object) -> None:
    with pytest.raises(ArgumentTypeError, match="must be ints"):
        communicator_of(part(size=size))


def test_nothing_is_imported_to_look_for_a_communicator() -> None:
    program = "import sys; from ckptload.ranks.communicators import found; print(found(), *sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    first, *modules = done.stdout.split()
    assert first == "None"
    assert not {"mpi4py", "torch", "mindspore"} & set(modules)


def test_what_is_imported_and_not_set_up_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = ModuleType("torch.distributed")
    monkeypatch.setitem(sys.modules, "torch.distributed", torch)
    monkeypatch.setitem(sys.modules, "mpi4py.MPI", ModuleType("mpi4py.MPI"))
    assert found() is None
    torch.is_available = torch.is_initialized = lambda: False  # type: ignore[attr-defined]
    assert found() is None
    with pytest.raises(ArgumentError, match="not initialised") as caught:
        communicator_of(torch)
    assert "init_process_group" in str(caught.value)


def test_a_single_process_is_no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    mpi = SimpleNamespace(COMM_WORLD=part(size=1, rank=0), Is_initialized=lambda: True, Is_finalized=lambda: False)
    monkeypatch.setitem(sys.modules, "mpi4py.MPI", mpi)
    assert found() is None


def test_mpi_without_mpi4py_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(MissingPackageError, match="mpi4py is not installed") as caught:
        communicator_of("mpi")
    assert "mpich" in str(caught.value)


def test_mpi4py_without_a_library_of_mpi_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = tmp_path / "mpi4py"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "MPI.py").write_text("raise RuntimeError('cannot load MPI library')")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("mpi4py", "mpi4py.MPI"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(MissingPackageError, match="libmpi not found") as caught:
        communicator_of("mpi")
    assert "pip install mpich" in str(caught.value)
    monkeypatch.delitem(sys.modules, "mpi4py", raising=False)


# -- real ones, in processes of their own ---------------------------------------------------------------------------


def environment() -> dict[str, str]:
    """Return an environment in which a process finds the package that is tested."""
    return os.environ | {"PYTHONPATH": str(Path(ckptload.__file__).parents[1]), "OMP_NUM_THREADS": "1"}


def needs(package: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(importlib.util.find_spec(package) is None, reason=f"{package} is not installed")


@needs("mpi4py")
def test_mpi4py(tmp_path: Path) -> None:
    beside = Path(sys.executable).with_name("mpiexec")
    start = str(beside) if beside.exists() else shutil.which("mpiexec")
    if start is None:
        pytest.skip("no MPI is installed")
    command = [start, "-n", str(SIZE), sys.executable, "-m", "mpi4py", str(PROGRAM), "mpi", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment(), check=False)
    assert done.stdout.count("is done") == SIZE, done.stdout + done.stderr


@pytest.mark.torch
@needs("torch")
def test_torch(tmp_path: Path) -> None:
    command = [sys.executable, str(PROGRAM), "gloo", str(tmp_path)]
    every = [
        subprocess.Popen(
            [*command, str(rank)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment()
        )
        for rank in range(SIZE)
    ]
    try:
        said = [each.communicate(timeout=180)[0] for each in every]
    finally:
        for each in every:
            each.kill()
            each.communicate()
    assert ["is done" in each for each in said] == [True] * SIZE, said


@pytest.mark.slow
@pytest.mark.mindspore
@needs("mindspore")
def test_mindspore(tmp_path: Path) -> None:
    """MindSpore's own launcher starts the processes, each with a log."""
    command = [sys.executable, "-m", "mindspore.parallel.cluster.run", f"--worker_num={SIZE}"]
    command += [f"--local_worker_num={SIZE}", f"--log_dir={tmp_path}/logs", "--join=True"]
    command += [str(PROGRAM), "mindspore", str(tmp_path)]
    # It starts "python", whichever comes first.
    places = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=180, env=environment() | {"PATH": places}, check=False
    )
    logs = "".join(log.read_text("utf-8", "replace") for log in sorted((tmp_path / "logs").glob("worker_*.log")))
    assert logs.count("is done") == SIZE, done.stdout + done.stderr + logs[-4000:]
