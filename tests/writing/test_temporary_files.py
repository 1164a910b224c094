"""What becomes of temporary files: those that a living process writes, and those that a killed one left behind."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ckptload.writing import temporary_files
from ckptload.writing.atomic import Replacement
from modes import umask

if TYPE_CHECKING:
    from collections.abc import Callable

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX locks and modes")

#: Begins a replacement and stays in it until it is killed.
HOLDER = """
import sys, time
from ckptload.writing.atomic import Replacement
with Replacement(sys.argv[1]) as file:
    file.write(b"half")
    file.flush()
    print("begun", flush=True)
    time.sleep(600)
"""


def begin(path: Path) -> subprocess.Popen[str]:
    """Start a process that is in the middle of replacing `path`."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    return process


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def content(path: Path) -> dict[str, bytes]:
    return {entry.name: entry.read_bytes() for entry in path.iterdir()}


def replace(path: Path, data: bytes) -> None:
    with Replacement(str(path)) as file:
        file.write(data)


@posix
def test_what_a_killed_saver_left_is_removed_by_the_next(tmp_path: Path) -> None:
    target = tmp_path / "x.ckpt"
    replace(target, b"old")
    end(begin(target))
    assert len(content(tmp_path)) == 2
    replace(target, b"new")
    assert content(tmp_path) == {"x.ckpt": b"new"}


@posix
def test_what_a_living_saver_writes_is_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "x.ckpt"
    other = begin(target)
    try:
        replace(target, b"new")
        names = set(content(tmp_path)) - {"x.ckpt"}
        assert len(names) == 1
        assert f"-{other.pid}-" in names.pop()
    finally:
        end(other)


@posix
def test_leftovers_of_another_target_are_left_alone(tmp_path: Path) -> None:
    end(begin(tmp_path / "other.ckpt"))
    replace(tmp_path / "x.ckpt", b"new")
    assert len(content(tmp_path)) == 2


@posix
def test_a_failed_save_removes_leftovers_too(tmp_path: Path) -> None:
    target = tmp_path / "x.ckpt"
    end(begin(target))
    with pytest.raises(ValueError, match="stop"), Replacement(str(target)):
        raise ValueError("stop")
    assert content(tmp_path) == {}


def test_other_temporary_files_are_left_alone(tmp_path: Path) -> None:
    """A MindSpore that runs at the same time writes x.tmp."""
    (tmp_path / "x.tmp").write_bytes(b"not ours")
    (tmp_path / ".ckptload-0123456789abcdef-1-2.tmp").write_bytes(b"of another target")
    replace(tmp_path / "x.ckpt", b"new")
    assert len(content(tmp_path)) == 3


@posix
def test_a_link_with_the_name_of_a_leftover_is_not_followed(tmp_path: Path) -> None:
    target, victim = tmp_path / "x.ckpt", tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / (temporary_files.prefix_of(target) + "1-2.tmp")).symlink_to(victim)
    replace(target, b"new")
    assert victim.read_bytes() == b"precious"


@posix
@pytest.mark.parametrize(
    "make",
    [
        lambda path: os.mkfifo(path),  # noqa: PLW0108 -- Windows has no mkfifo
        Path.mkdir,
        lambda path: path.symlink_to("/no/such"),
        lambda path: path.symlink_to("."),
    ],
)
def test_what_is_no_file_under_the_name_of_a_leftover_is_not_even_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], None]
) -> None:
    """Opening a pipe would wait for its writer, and some devices act when they are opened."""
    target = tmp_path / "x.ckpt"
    other = tmp_path / (temporary_files.prefix_of(target) + "1-2.tmp")
    make(other)
    opened, system = [], os.open

    def watched(path: Any, flags: int, *mode: int) -> int:
        opened.append(str(path))
        return system(path, flags | os.O_NONBLOCK, *mode)

    monkeypatch.setattr(os, "open", watched)
    replace(target, b"new")
    assert str(other) not in opened
    assert other in tmp_path.iterdir()
    assert target.read_bytes() == b"new"


@posix
def test_a_pipe_in_place_of_a_leftover_that_was_looked_at_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "x.ckpt"
    other = tmp_path / (temporary_files.prefix_of(target) + "1-2.tmp")
    other.write_bytes(b"half")
    system = os.open

    def exchanging(path: Any, flags: int, *mode: int) -> int:
        if str(path) == str(other):
            other.unlink()
            os.mkfifo(other)
            assert flags & os.O_NONBLOCK
        return system(path, flags, *mode)

    monkeypatch.setattr(os, "open", exchanging)
    replace(target, b"new")
    assert stat.S_ISFIFO(other.stat().st_mode)


@posix
def test_a_new_file_that_somebody_else_locks_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who can read it can lock it; waiting for him could take for ever."""
    import fcntl

    system, operations = fcntl.flock, []

    def locked(number: int, operation: int) -> None:
        operations.append(operation)
        if len(operations) == 1:
            raise BlockingIOError(errno.EWOULDBLOCK, "locked")
        system(number, operation)

    monkeypatch.setattr(fcntl, "flock", locked)
    replace(tmp_path / "x.ckpt", b"new")
    assert operations == [fcntl.LOCK_EX | fcntl.LOCK_NB] * 2
    assert content(tmp_path) == {"x.ckpt": b"new"}


@posix
@pytest.mark.parametrize("call", ["open", "fstat", "fchmod"])
def test_an_interrupt_while_the_file_is_made_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    system = getattr(os, call)

    def interrupted(*arguments: Any) -> None:
        system(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, call, interrupted)
    with umask(0o777), pytest.raises(KeyboardInterrupt):
        Replacement(str(tmp_path / "x.ckpt"), permissions=0o600).__enter__()
    monkeypatch.undo()
    assert content(tmp_path) == {}


@posix
def test_a_saver_whose_file_was_taken_for_a_leftover_begins_again(tmp_path: Path) -> None:
    """Between a file's creation and its lock, another saver may find and remove it."""
    path = tmp_path / "temporary"
    number = os.open(path, temporary_files._CREATE, 0o400)
    try:
        path.unlink()
        assert not temporary_files._lock(number, path)
        path.write_bytes(b"another file of that name")
        assert not temporary_files._lock(number, path)
    finally:
        os.close(number)


# -- systems and file systems without locks ---------------------------------------------------------------------


def test_without_locks_leftovers_are_removed_once_they_are_a_day_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(temporary_files, "fcntl", None)
    target = tmp_path / "x.ckpt"
    names = [tmp_path / (temporary_files.prefix_of(target) + f"{number}-2.tmp") for number in range(2)]
    for path in names:
        path.write_bytes(b"half")
        path.chmod(0o400)
    yesterday = time.time() - 25 * 3600
    os.utime(names[0], (yesterday, yesterday))
    replace(target, b"new")
    assert set(content(tmp_path)) == {"x.ckpt", names[1].name}


@posix
def test_where_files_cannot_be_locked_leftovers_are_known_by_their_age(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on some network file systems."""

    def refuse(number: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, f"No locks available: {number}, {operation}")

    monkeypatch.setattr("fcntl.flock", refuse)
    target = tmp_path / "x.ckpt"
    names = [tmp_path / (temporary_files.prefix_of(target) + f"{number}-2.tmp") for number in range(2)]
    for path in names:
        path.write_bytes(b"half")
    yesterday = time.time() - 25 * 3600
    os.utime(names[0], (yesterday, yesterday))
    replace(target, b"new")
    assert set(content(tmp_path)) == {"x.ckpt", names[1].name}
