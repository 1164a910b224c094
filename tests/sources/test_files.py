"""Files opened by path: read by calls or mapped, and a clear error for every path that cannot be read."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import warnings
from typing import TYPE_CHECKING, Any

import pytest

from ckptload.errors import ChangedFileError, ClosedReaderError, ReadError
from ckptload.sources.files import FileSource, MappedSource
from ckptload.sources.inputs import open_source
from descriptors import open_files
from sources.content import CONTENT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="counts descriptors in /proc")
posix_only = pytest.mark.skipif(os.name != "posix", reason="needs a POSIX system")


# -- paths ---------------------------------------------------------------------------------------------


def test_a_file_is_known_by_its_path(path: Path) -> None:
    source = open_source(path)
    assert (source.path, source.label) == (str(path.resolve()),) * 2
    source.close()


def _missing(folder: Path) -> str:
    return str(folder / "missing.ckpt")


def _below_a_file(folder: Path) -> str:
    (folder / "file").write_bytes(b"")
    return str(folder / "file" / "x.ckpt")


def _loop(folder: Path) -> str:
    (folder / "loop").symlink_to(folder / "loop")
    return str(folder / "loop")


BAD_PATHS: dict[str, tuple[Callable[[Path], str], str]] = {
    "missing": (_missing, "check the path"),
    "directory": (str, "name a file in that folder"),
    "below a file": (_below_a_file, "Not a directory"),
    "link to itself": (_loop, "symbolic link"),
    "too long": (lambda folder: str(folder / ("x" * 300)), "too long"),
    "far too long": (lambda folder: str(folder) + "/x" * 5000, "too long"),
    "with NUL": (lambda folder: str(folder / "a\0b"), "NUL character"),
    "that cannot be encoded": (lambda folder: str(folder / "\ud800"), "surrogates"),
    "empty": (lambda _: "", "directory"),
    "a device": (lambda _: "/dev/zero", "pipe or a device"),
}


@linux_only
@pytest.mark.parametrize("kind", BAD_PATHS)
@pytest.mark.parametrize("mapped", [False, True])
def test_a_path_that_cannot_be_read_is_a_read_error_with_the_reason(tmp_path: Path, kind: str, mapped: bool) -> None:
    make, words = BAD_PATHS[kind]
    name = make(tmp_path)
    before = open_files()
    with pytest.raises(ReadError, match=words) as caught:
        open_source(name, mapped=mapped)
    assert isinstance(caught.value, OSError)
    assert caught.value.path
    assert open_files() == before


@posix_only
def test_a_named_pipe_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.ckpt")
    with pytest.raises(ReadError, match="pipe or a device"):
        open_source(tmp_path / "pipe.ckpt")


@posix_only
def test_a_socket_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # The path of a socket is short on some systems.
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket.ckpt")
        with pytest.raises(ReadError):
            open_source("socket.ckpt")


@posix_only
def test_a_file_without_permission_says_who_may_change_that(path: Path) -> None:
    """As another user where the tests run as root, for whom nothing is forbidden."""
    path.chmod(0)
    root = os.geteuid() == 0
    if root:
        for folder in list(path.parents)[:3]:
            folder.chmod(0o755)
        os.seteuid(65534)
    try:
        with pytest.raises(ReadError, match="may not read it"):
            open_source(path)
    finally:
        if root:
            os.seteuid(0)


def test_an_empty_file_is_a_source_of_no_bytes(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    for mapped in (False, True):
        source = open_source(tmp_path / "empty", mapped=mapped)
        assert source.size == 0
        assert bytes(source.read(0, 0)) == b""
        source.close()


# -- reading -------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "preadv"), reason="the system has no preadv")
def test_one_call_fills_as_many_buffers_as_the_system_takes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With more than 1024 it would do nothing."""
    calls: list[int] = []
    preadv = os.preadv

    def counting(fd: int, outs: list[memoryview], at: int) -> int:
        calls.append(len(outs))
        return preadv(fd, outs, at)

    monkeypatch.setattr(os, "preadv", counting)
    spans = [(at, at + 1) for at in range(0, len(CONTENT), 3)]
    outs = [bytearray(1) for _ in spans]
    source = FileSource(str(path))
    source.read_many([(start, memoryview(out)) for (start, _), out in zip(spans, outs, strict=True)])
    source.close()
    assert b"".join(outs) == CONTENT[::3]
    assert len(calls) == 1 + len(spans) // 500


@posix_only
def test_a_forked_process_and_its_parent_do_not_move_each_other(path: Path) -> None:
    source = open_source(path)
    context = multiprocessing.get_context("fork")
    child = context.Process(target=source.read, args=(500, 600))
    with warnings.catch_warnings():
        # Python 3.12 and later warn of forking beside threads that other tests left to the system.
        warnings.simplefilter("ignore", DeprecationWarning)
        child.start()
    assert bytes(source.read(10, 20)) == CONTENT[10:20]
    child.join()
    assert child.exitcode == 0
    assert bytes(source.read(20, 30)) == CONTENT[20:30]
    source.close()


def test_a_mapped_file_gives_writable_views_that_outlive_it_and_change_nothing(path: Path) -> None:
    source = MappedSource(str(path))
    view = source.read(0, 4)
    assert source.views
    source.close()
    view[0] = 77
    assert bytes(view) == b"\x4d\x01\x02\x03"
    assert path.read_bytes() == CONTENT


# -- files that change or are closed -------------------------------------------------------------------


def test_a_file_that_shrinks_is_changed_and_not_filled_with_anything(path: Path) -> None:
    source = open_source(path)
    os.truncate(path, 100)
    with pytest.raises(ChangedFileError, match="ends at byte 100") as caught:
        source.read(50, 200)
    assert caught.value.offset == 100
    source.close()


def _grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"x")


def _replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    status = path.stat()
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(path)


def _rewrite(path: Path) -> None:
    path.write_bytes(bytes(len(CONTENT)))
    os.utime(path, ns=(0, 0))


@pytest.mark.parametrize("change", [_grow, _replace, _rewrite])
def test_a_changed_or_replaced_file_is_noticed(path: Path, change: Callable[[Path], None]) -> None:
    source = open_source(path)
    source.check_unchanged()
    change(path)
    with pytest.raises(ChangedFileError, match="changed or replaced"):
        source.check_unchanged()
    source.close()


@posix_only
def test_a_deleted_file_can_be_read_on(path: Path) -> None:
    source = open_source(path)
    path.unlink()
    source.check_unchanged()
    assert bytes(source.read(1, 4)) == CONTENT[1:4]
    source.close()


def _closed(source: FileSource, number: int) -> int:
    """Close a source between two steps of what it does, as another thread may."""
    source.close()
    return number


def _reused(path: Path) -> Callable[[FileSource, int], int]:
    """The same, and another file is opened meanwhile, which the system gives the number that became free."""

    def close(source: FileSource, number: int) -> int:
        source.close()
        other = os.open(path, os.O_RDONLY)
        assert other == number
        return number

    return close


@posix_only
@pytest.mark.parametrize("reused", [False, True])
@pytest.mark.parametrize("step", ["fstat", "pread", "preadv"])
def test_a_file_that_another_thread_closes_in_the_middle_of_a_step_is_closed(
    step: str, reused: bool, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not changed and not unreadable, whatever stands behind its number by then; and no byte of another file."""
    if not hasattr(os, step):
        pytest.skip(f"the system has no {step}")
    (tmp_path / "other").write_bytes(b"")
    meanwhile = _reused(tmp_path / "other") if reused else _closed
    source = FileSource(str(path))
    number = source._open_file().fileno()
    call: Callable[..., Any] = getattr(os, step)
    monkeypatch.setattr(os, step, lambda fd, *more: call(meanwhile(source, fd), *more))
    steps: dict[str, Callable[[], object]] = {
        "fstat": source.check_unchanged,
        "pread": lambda: source.read(0, 10),
        "preadv": lambda: source.read_into(0, memoryview(bytearray(10))),
    }
    try:
        with pytest.raises(ClosedReaderError):
            steps[step]()
    finally:
        monkeypatch.undo()
        if reused:
            os.close(number)


def test_a_file_that_another_thread_closes_before_its_number_is_asked_for_is_closed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = FileSource(str(path))
    open_file = source._open_file

    def closing() -> Any:
        file = open_file()
        source.close()
        return file

    monkeypatch.setattr(source, "_open_file", closing)
    with pytest.raises(ClosedReaderError):
        source.check_unchanged()


@linux_only
def test_no_descriptor_is_leaked(path: Path) -> None:
    before = open_files()
    for mapped in (False, True):
        for _ in range(20):
            source = open_source(path, mapped=mapped)
            source.read(0, 10)
            source.close()
    assert open_files() == before


# -- what cannot be helped --------------------------------------------------------------------------------


PROGRAM = """
import os, sys
import numpy as np
from ckptload import open_checkpoint, save_checkpoint
path = sys.argv[1]
save_checkpoint({"w": np.ones(4 << 20, np.uint8)}, path, mode=0o600)
reader = open_checkpoint(path, mmap=sys.argv[2] == "mapped")
values = reader["w"].asnumpy()
if sys.argv[3] == "cut":
    os.truncate(path, 100)
else:
    save_checkpoint({"w": np.zeros(10, np.uint8)}, path)
print(values.sum())
"""


@posix_only
@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "change", "code"),
    [
        ("mapped", "cut", -signal.SIGBUS if hasattr(signal, "SIGBUS") else 0),
        ("mapped", "replaced", 0),
        ("read", "cut", 0),
    ],
)
def test_only_a_mapped_file_that_is_cut_short_ends_the_process(
    how: str, change: str, code: int, tmp_path: Path
) -> None:
    """A page that is gone is a signal of the system, which no Python can make an exception of."""
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "x.ckpt"), how, change]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert done.stdout == ("" if code else f"{4 << 20}\n")
