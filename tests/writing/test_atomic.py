"""Replacing a file as a whole."""

from __future__ import annotations

import errno
import io
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from ckptload.errors import CheckpointError, MissingFolderError, ParentIsFileError, TargetIsFolderError, WriteError
from ckptload.writing import temporary_files
from ckptload.writing.atomic import Replacement
from modes import mode, umask

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX locks and modes")


def content(path: Path) -> dict[str, bytes]:
    return {entry.name: entry.read_bytes() for entry in path.iterdir()}


def replace(path: Path, data: bytes) -> None:
    with Replacement(str(path)) as file:
        file.write(data)


def test_a_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "x.ckpt"
    with Replacement(str(target)) as file:
        file.write(b"new")
        file.flush()
        assert not target.exists()
    assert content(tmp_path) == {"x.ckpt": b"new"}


def test_an_old_file_is_there_until_the_new_one_takes_its_place(tmp_path: Path) -> None:
    target = tmp_path / "x.ckpt"
    target.write_bytes(b"old")
    with Replacement(str(target)) as file:
        file.write(b"new")
        file.flush()
        assert target.read_bytes() == b"old"
    assert content(tmp_path) == {"x.ckpt": b"new"}


def test_an_open_reader_keeps_the_old_content(tmp_path: Path) -> None:
    target = tmp_path / "x.ckpt"
    target.write_bytes(b"old")
    with target.open("rb") as reader:
        replace(target, b"new")
        assert reader.read() == b"old"


@posix
@pytest.mark.parametrize("permissions", [0o400, 0o640, 0o644, 0o666, 0o777, 0], ids=oct)
@pytest.mark.parametrize("hidden", [0, 0o022, 0o777], ids=oct)
def test_permissions_that_are_given_do_not_depend_on_the_umask(tmp_path: Path, permissions: int, hidden: int) -> None:
    """The old file's do not matter either; and nobody may do more with the new one while it is written."""
    target = tmp_path / "x.ckpt"
    for _ in ("a new file", "in place of one"):
        with umask(hidden), Replacement(str(target), permissions=permissions):
            (temporary,) = (path for path in tmp_path.iterdir() if path != target)
            assert mode(temporary) == permissions
        assert mode(target) == permissions
        target.chmod(0o604)


@posix
@pytest.mark.parametrize("hidden", [0o022, 0o027, 0o077, 0], ids=oct)
def test_a_new_file_has_what_the_umask_leaves(tmp_path: Path, hidden: int) -> None:
    target = tmp_path / "x.ckpt"
    with umask(hidden), Replacement(str(target)):
        (temporary,) = tmp_path.iterdir()
        assert mode(temporary) == 0o666 & ~hidden
    assert mode(target) == 0o666 & ~hidden


@posix
@pytest.mark.parametrize("old", [0o600, 0o400, 0o646, 0o755, 0], ids=oct)
def test_a_file_that_is_replaced_keeps_its_mode(tmp_path: Path, old: int) -> None:
    target = tmp_path / "x.ckpt"
    target.write_bytes(b"old")
    target.chmod(old)
    with Replacement(str(target)) as file:
        file.write(b"new")
        (temporary,) = (path for path in tmp_path.iterdir() if path != target)
        assert mode(temporary) == old
    assert mode(target) == old


@posix
def test_a_link_that_is_replaced_gives_the_mode_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"old")
    (tmp_path / "secret").chmod(0o600)
    (tmp_path / "x.ckpt").symlink_to("secret")
    (tmp_path / "y.ckpt").symlink_to("nothing")
    with umask(0o022):
        replace(tmp_path / "x.ckpt", b"new")
        replace(tmp_path / "y.ckpt", b"new")
    assert mode(tmp_path / "x.ckpt") == 0o600
    assert mode(tmp_path / "y.ckpt") == 0o644
    assert (tmp_path / "secret").read_bytes() == b"old"


def test_a_write_protected_file_is_replaced(tmp_path: Path) -> None:
    replace(tmp_path / "x.ckpt", b"old")
    (tmp_path / "x.ckpt").chmod(0o400)
    replace(tmp_path / "x.ckpt", b"new")
    assert content(tmp_path) == {"x.ckpt": b"new"}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, CheckpointError])
def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "x.ckpt"
    replace(target, b"old")

    def failing() -> None:
        with Replacement(str(target)) as file:
            file.write(b"half" * 1_000_000)
            raise error("stop")

    with pytest.raises(error):
        failing()
    assert content(tmp_path) == {"x.ckpt": b"old"}


def test_large_and_small_writes_arrive_in_order(tmp_path: Path) -> None:
    parts = [bytes([number]) * size for number, size in enumerate([1, 3_000_000, 0, 7, 262_144, 262_143, 5])]
    with Replacement(str(tmp_path / "x")) as file:
        for part in parts:
            file.write(part)
    assert (tmp_path / "x").read_bytes() == b"".join(parts)


def test_a_name_may_be_as_long_as_the_system_allows(tmp_path: Path) -> None:
    replace(tmp_path / ("x" * 250 + ".ckpt"), b"new")
    assert list(content(tmp_path).values()) == [b"new"]


# -- systems without locks ----------------------------------------------------------------------------------


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the way of Windows, which has no fcntl; its file calls can be made here too."""
    monkeypatch.setattr(temporary_files, "fcntl", None)


@pytest.mark.usefixtures("no_locks")
def test_without_locks_files_are_replaced_all_the_same(tmp_path: Path) -> None:
    target = tmp_path / "x.ckpt"
    replace(target, b"old")
    target.chmod(0o400)
    replace(target, b"new")
    assert content(tmp_path) == {"x.ckpt": b"new"}
    assert mode(target) == 0o400


@pytest.mark.usefixtures("no_locks")
def test_without_locks_a_file_that_cannot_be_replaced_keeps_its_mode(tmp_path: Path) -> None:
    target = tmp_path / "x.ckpt"
    replace(target, b"old")
    target.chmod(0o400)
    with pytest.raises(MissingFolderError), Replacement(str(target)):
        # The temporary file vanishes, so that it cannot take the target's place.
        next(path for path in tmp_path.iterdir() if path != target).unlink()
    assert content(tmp_path) == {"x.ckpt": b"old"}
    assert mode(target) == 0o400


# -- after the file got its place ---------------------------------------------------------------------------


@posix
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_a_folder_that_cannot_be_synced_is_told_and_the_file_is_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    system = os.fsync

    def failing(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        system(descriptor)

    target = tmp_path / "x.ckpt"
    replace(target, b"old")
    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(WriteError, match=r"the new file is in its place, but may not survive a crash") as caught:
        replace(target, b"new")
    assert "unchanged" not in str(caught.value)
    assert caught.value.errno == number
    assert caught.value.path == str(target)
    assert caught.value.hint
    assert content(tmp_path) == {"x.ckpt": b"new"}


@posix
def test_a_folder_that_cannot_be_opened_any_more_is_told_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = os.open

    def failing(path: Any, flags: int, *mode: int) -> int:
        if flags & os.O_DIRECTORY:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return system(path, flags, *mode)

    monkeypatch.setattr(os, "open", failing)
    with pytest.raises(WriteError, match="the new file is in its place") as caught:
        replace(tmp_path / "x.ckpt", b"new")
    assert caught.value.errno == errno.EMFILE
    assert content(tmp_path) == {"x.ckpt": b"new"}


class FailsToClose(io.FileIO):
    """A file on a disk that says when it is closed that it could not write."""

    def close(self) -> None:
        closed = self.closed
        super().close()
        if not closed:
            raise OSError(errno.EIO, os.strerror(errno.EIO))


@posix
def test_a_file_that_fails_when_it_is_closed_is_in_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(io, "FileIO", FailsToClose)
    with pytest.raises(WriteError, match="the new file is in its place"):
        replace(tmp_path / "x.ckpt", b"new")
    assert content(tmp_path) == {"x.ckpt": b"new"}
    # What ended the block matters more.
    with pytest.raises(ValueError, match="stop"), Replacement(str(tmp_path / "x.ckpt")):
        raise ValueError("stop")
    assert content(tmp_path) == {"x.ckpt": b"new"}


@posix
def test_what_closing_would_say_is_known_before_the_file_gets_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is not synced may not be on the disk yet; network file systems tell when a descriptor is closed."""
    copies, copy, close = set(), os.dup, os.close

    def copying(number: int) -> int:
        copies.add(new := copy(number))
        return new

    def failing(number: int) -> None:
        close(number)
        if number in copies:
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    target = tmp_path / "x.ckpt"
    replace(target, b"old")
    monkeypatch.setattr(os, "dup", copying)
    monkeypatch.setattr(os, "close", failing)
    with pytest.raises(WriteError) as caught, Replacement(str(target), synced=False) as file:
        file.write(b"new")
    assert caught.value.errno == errno.EDQUOT
    assert content(tmp_path) == {"x.ckpt": b"old"}


# -- what the system refuses --------------------------------------------------------------------------------


def test_each_reason_has_its_class_and_a_hint(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    cases: dict[str, tuple[type[WriteError], type[OSError], int]] = {
        "missing/x.ckpt": (MissingFolderError, FileNotFoundError, errno.ENOENT),
        "file/x.ckpt": (ParentIsFileError, NotADirectoryError, errno.ENOTDIR),
        "folder": (TargetIsFolderError, IsADirectoryError, errno.EISDIR),
    }
    for name, (ours, systems, number) in cases.items():
        with pytest.raises(ours) as caught:
            replace(tmp_path / name, b"new")
        assert isinstance(caught.value, systems)
        assert caught.value.errno == number
        assert caught.value.path == str(tmp_path / name)
        assert caught.value.hint
        assert isinstance(caught.value.__cause__, systems)
    assert {path.name for path in tmp_path.rglob("*")} == {"file", "folder"}


@posix
def test_a_full_disk_keeps_its_number(tmp_path: Path) -> None:
    """/dev/full is the system's own full disk; what the block meets counts as the file's failure."""
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")

    def failing() -> None:
        with Replacement(str(tmp_path / "x.ckpt")), Path("/dev/full").open("wb") as full:
            full.write(b"new")

    with pytest.raises(WriteError) as caught:
        failing()
    assert caught.value.errno == errno.ENOSPC
    assert "free some space" in (caught.value.hint or "")
    assert content(tmp_path) == {}


# -- file systems that cannot do everything -----------------------------------------------------------------


@posix
@pytest.mark.parametrize(("number", "fails"), [(errno.EINVAL, False), (errno.ENOTSUP, False), (errno.EIO, True)])
def test_only_a_file_system_that_knows_no_syncing_is_excused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, fails: bool
) -> None:
    def refuse(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    target = tmp_path / "x.ckpt"
    if not fails:
        replace(target, b"new")
        assert content(tmp_path) == {"x.ckpt": b"new"}
        return
    with pytest.raises(WriteError, match="Input/output error"):
        replace(target, b"new")
    assert content(tmp_path) == {}


@posix
def test_a_file_that_cannot_be_looked_at_is_removed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bool:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os.path, "samestat", fail)
    with pytest.raises(WriteError, match="Input/output error"):
        replace(tmp_path / "x.ckpt", b"new")
    assert content(tmp_path) == {}
