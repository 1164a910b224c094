"""Temporary files that a running save has locked, and those that killed processes left behind.

A running save holds a lock on its temporary file, so that others do not remove it; the lock ends with the process.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import stat
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from ckptload.writing.permissions import narrowed

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

#: Permission bits of a new file if nothing else is said; the system takes those of the umask away.
_ORDINARY: Final = 0o666
#: Without file locks, a temporary file counts as left behind this many seconds after the last write.
_ABANDONED_AFTER: Final = 24 * 3600
_NO_LINKS: Final = getattr(os, "O_NOFOLLOW", 0)
#: A pipe may take a file's place between two looks at it; opening it does not wait then.
_NO_WAITING: Final = getattr(os, "O_NONBLOCK", 0)
_CREATE: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | _NO_LINKS | getattr(os, "O_BINARY", 0)

_SUFFIX: Final = ".tmp"


def prefix_of(path: Path) -> str:
    """Return the prefix of a target's temporary files; a hash keeps it short if the target's name is long."""
    digest = hashlib.blake2s(os.fsencode(path.name), digest_size=8).hexdigest()
    return f".ckptload-{digest}-"


def create(folder: Path, prefix: str, permissions: int | None, reveals: Sequence[os.stat_result]) -> tuple[Path, int]:
    """Create and lock a temporary file under a new name; return its path and descriptor."""
    while True:
        path = folder / f"{prefix}{os.getpid()}-{secrets.token_hex(8)}{_SUFFIX}"
        number = create_at(path, permissions, reveals)
        done = False
        try:
            done = _lock(number, path)
            if done:
                return path, number
        finally:
            # Whatever ends this, Ctrl-C included.
            if not done:
                discard(number, path)


def create_at(path: Path, permissions: int | None, reveals: Sequence[os.stat_result] = ()) -> int:
    """Create a file with permission bits; return its descriptor.

    Only the system applies the umask: a program can read it only by changing it for all threads.
    """
    wanted = _ORDINARY if permissions is None else permissions
    group: int | None = None
    while True:
        bits = narrowed(wanted, reveals, group)
        number: int | None = None
        there, done = True, False
        try:
            try:
                number = os.open(path, _CREATE, bits)
            except OSError:
                there = False
                raise
            # The folder decides about the group. If it is not that of the files that are revealed, the file is made
            # again, because somebody may have opened it already.
            group = os.fstat(number).st_gid
            if narrowed(wanted, reveals, group) == bits:
                if permissions is not None:
                    _permit(number, bits)
                done = True
                return number
        finally:
            # Whatever ends this, Ctrl-C included.
            if not done:
                discard(number, path if there else None)


def discard(number: int | None, path: Path | None) -> None:
    """Close and remove a temporary file, as far as there is one."""
    if number is not None:
        os.close(number)
    if path is not None:
        with suppress(FileNotFoundError):
            unlink(path)


def has_locks() -> bool:
    """Tell whether this system has locks on files."""
    return fcntl is not None


def try_lock(number: int) -> bool | None:
    """Lock a file or a folder; return False if another process or thread holds it, and None if that cannot be done."""
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def unlock(number: int) -> None:
    """Give a lock back, also for processes that were forked meanwhile."""
    with suppress(OSError):
        fcntl.flock(number, fcntl.LOCK_UN)


def create_locked(path: Path) -> int:
    """Create a file that `abandoned` tells from a leftover until it is closed; return its descriptor."""
    while True:
        number = create_at(path, None)
        if _lock(number, path):
            return number
        discard(number, path)


def _permit(number: int, permissions: int) -> None:
    """Give a new file its permission bits, because the umask may have removed some, even the owner's."""
    if stat.S_IMODE(os.fstat(number).st_mode) != permissions and hasattr(os, "fchmod"):
        # Some file systems have no modes.
        with suppress(PermissionError):
            os.fchmod(number, permissions)


def _lock(number: int, path: Path) -> bool:
    """Lock a new file; return False if another process has found it before it was locked, and may remove it."""
    if fcntl is None:
        return True
    # Without waiting: who may read the file can lock it, for ever if he likes.
    taken = try_lock(number)
    if not taken:
        # Where a file system has no locks, leftovers are recognized by their age instead.
        return taken is None
    try:
        return os.path.samestat(os.fstat(number), path.lstat())
    except FileNotFoundError:
        return False


def remove_leftovers(folder: Path, prefix: str) -> None:
    """Remove temporary files that killed processes left behind, as far as they can be listed and removed."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(prefix) and entry.name.endswith(_SUFFIX):
                with suppress(OSError):
                    _remove_if_abandoned(folder / entry.name)


def _remove_if_abandoned(path: Path) -> None:
    with abandoned(path) as is_left:
        if is_left:
            # The lock is held until the name is gone. A process that has just created the file and not locked
            # it yet then finds the name gone and creates another.
            unlink(path)


@contextmanager
def abandoned(path: Path) -> Iterator[bool]:
    """Tell whether no running process holds the lock on a temporary file; nobody else gets it in the block.

    Anything but a file is not ours, and is not opened.
    """
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        yield False
        return
    if fcntl is None:
        yield _is_old(status)
        return
    number = _open(path)
    try:
        opened = os.fstat(number)
        # What takes the place of a file may also get its number.
        yield stat.S_ISREG(opened.st_mode) and os.path.samestat(status, opened) and _is_free(number)
    finally:
        os.close(number)


def read_left(path: Path, most: int) -> bytes:
    """Return the first bytes of a file that was left behind.

    Args:
        path: its path; what is there may be exchanged meanwhile.
        most: the number of bytes to read, if there are as many.

    Raises:
        OSError: it cannot be read.
    """
    number = _open(path)
    try:
        if not stat.S_ISREG(os.fstat(number).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        with open(number, "rb", closefd=False) as file:
            return file.read(most)
    finally:
        os.close(number)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDONLY | _NO_LINKS | _NO_WAITING | getattr(os, "O_BINARY", 0))


def _is_free(number: int) -> bool:
    """Lock a file; return False if a running save holds the lock."""
    taken = try_lock(number)
    return _is_old(os.fstat(number)) if taken is None else taken


def _is_old(status: os.stat_result) -> bool:
    return time.time() - status.st_mtime > _ABANDONED_AFTER


def unlink(path: Path) -> None:
    """Remove a file; on Windows also one that is write-protected."""
    if fcntl is None:
        path.chmod(stat.S_IRUSR | stat.S_IWUSR)
    path.unlink()


def remove_file(path: Path) -> None:
    """Remove a file or a link; anything else, such as a device, is left alone."""
    mode = path.lstat().st_mode
    if stat.S_ISREG(mode) or stat.S_ISLNK(mode):
        unlink(path)


def is_own(path: Path) -> bool:
    """Tell whether a file was made by the user who runs this; on Windows nobody can tell."""
    return not hasattr(os, "geteuid") or path.lstat().st_uid == os.geteuid()


def create_empty(path: Path) -> None:
    """Create an empty file; a link that is there is not followed."""
    os.close(create_at(path, None))
