"""Replace a file atomically: a reader finds the complete old file or the complete new one, never a part.

The new file is written under a temporary name in the same folder, synced to the disk and renamed. A process
that is killed leaves its temporary file behind, and the next save to the same target removes it. A running
save holds a lock on its temporary file, so that others do not remove it; the lock ends with the process.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import secrets
import stat
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ckptload import shown
from ckptload.errors import CheckpointError, WriteError
from ckptload.writing.permissions import narrowed
from ckptload.writing.targets import check_place, failure

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

#: Permission bits of a new file if nothing else is said; the system takes those of the umask away.
_ORDINARY: Final = 0o666
#: All permission bits.
_ALL: Final = 0o777
#: Size of the write buffer, in bytes; larger writes go to the system directly, without a copy.
_BUFFER: Final = 1 << 18
#: Without file locks, a temporary file counts as left behind this many seconds after the last write.
_ABANDONED_AFTER: Final = 24 * 3600
#: Errors of file systems that cannot sync a file or a folder.
_CANNOT_SYNC: Final = frozenset({errno.EINVAL, errno.ENOTSUP, errno.ENOSYS})

_NO_LINKS: Final = getattr(os, "O_NOFOLLOW", 0)
#: A pipe may take a file's place between two looks at it; opening it does not wait then.
_NO_WAITING: Final = getattr(os, "O_NONBLOCK", 0)
_CREATE: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | _NO_LINKS | getattr(os, "O_BINARY", 0)

_SUFFIX: Final = ".tmp"


class Replacement:
    """A temporary file that replaces the file at a path when the block ends without an exception.

    ::

        with Replacement(path) as file:
            file.write(content)

    If the block or the renaming fails, or the process is killed at any moment, the file at the path is
    unchanged. What is at the path is looked at without opening it, and only a file is replaced, or a link to one.

    Args:
        path: an absolute path; the file there may be write-protected. A link is replaced itself (see `targets`).
        synced: whether the new file is synced to the disk before it replaces the old one. If it is not, a crash
            of the machine may lose both.
        permissions: permission bits of the new file, whatever the umask; None for those of the file at the path, or,
            if there is none, those that the umask leaves. While it is written, the file never has more.
        reveals: what the system says about the files whose content the new one shows; it never is more readable than
            they are (`narrowed`).
        staged: a free path beside `path` for the temporary file, which is complete and closed there when the block
            ends; the caller then gives it the place of the file at `path`, and has what tells a leftover. None: it
            is moved when the block ends.

    Raises:
        TargetIsFolderError: a folder is at the path.
        TargetIsNoFileError: a pipe, a socket or a device is at the path.
        WriteError: the system could not write; `errno` and `__cause__` have its reason. The file at the path is
            unchanged, unless the message says that the new one is in place. Other exceptions of the block pass
            through.
    """

    def __init__(
        self,
        path: str,
        *,
        synced: bool = True,
        permissions: int | None = None,
        reveals: Sequence[os.stat_result] = (),
        staged: Path | None = None,
    ) -> None:
        self.path = Path(path)
        self._synced = synced
        self._permissions = permissions
        self._reveals = reveals
        self._staged = staged
        self._complete = False
        self._placed = False
        self._temporary = self.path
        self._file: io.BufferedWriter | None = None

    def __enter__(self) -> io.BufferedWriter:
        folder, prefix = self.path.parent, _prefix(self.path)
        check_place(str(self.path))
        try:
            permissions = _permissions_of(self.path) if self._permissions is None else self._permissions
            if self._staged is None:
                _remove_leftovers(folder, prefix)
                self._temporary, number = _create(folder, prefix, permissions, self._reveals)
            else:
                self._temporary, number = self._staged, _create_at(self._staged, permissions, self._reveals)
        except OSError as error:
            raise failure(error, str(self.path)) from shown.cause(error)
        try:
            self._file = io.BufferedWriter(io.FileIO(number, "wb"), _BUFFER)
        finally:
            # Ctrl-C may come at any moment.
            if self._file is None:
                _discard(number, self._temporary)
        return self._file

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        file, self._file = self._file, None
        if file is None:
            return
        problem: OSError | None = None
        try:
            if kind is None:
                self._commit(file)
        except OSError as reason:
            problem = reason
        finally:
            closing = self._close(file)
        if problem is None and self._complete:
            problem = closing
        if isinstance(problem, CheckpointError):
            raise problem
        if problem is not None:
            raise (unfinished if self._placed else failure)(problem, str(self.path)) from problem
        if isinstance(error, OSError) and not isinstance(error, CheckpointError):
            raise failure(error, str(self.path)) from shown.cause(error)

    def _commit(self, file: io.BufferedWriter) -> None:
        file.flush()
        if self._synced:
            _sync(file.fileno())
        else:
            _settle(file.fileno())
        # Again, because something else may have taken the place meanwhile.
        check_place(str(self.path))
        self._complete = self._staged is not None
        if self._complete:
            return
        if fcntl is None:
            # Windows cannot rename an open file.
            file.close()
        move(self._temporary, self.path)
        self._complete = self._placed = True
        if self._synced:
            sync_folder(self.path.parent)

    def _close(self, file: io.BufferedWriter) -> OSError | None:
        """Close the file, and remove it unless it is complete; return what the system says about it."""
        problem: OSError | None = None
        try:
            # Only the raw file is closed, because after a failure the buffer must not be flushed.
            file.raw.close()
        except OSError as reason:
            problem = reason
        if not self._complete:
            with suppress(OSError):
                unlink(self._temporary)
        return problem


def move(path: Path, target: Path) -> None:
    """Give a file the place of another; on Windows also that of a write-protected one."""
    if fcntl is None:
        with _writable(target):
            path.replace(target)
    else:
        path.replace(target)


def unfinished(error: OSError, path: str, *, several: bool = False) -> WriteError:
    """Return the error for what failed after the file got its place, or several files in a folder theirs."""
    what = "the new files are in their places" if several else "the new file is in its place"
    result = WriteError(
        f"{what}, but may not survive a crash of the machine: {error.strerror or error}",
        path=path,
        hint="save it again, or check it, before you rely on it; the disk may be failing",
    )
    result.errno = error.errno
    return result


# -- the temporary file -------------------------------------------------------------------------------------


def _prefix(path: Path) -> str:
    """Return the prefix of a target's temporary files; a hash keeps it short if the target's name is long."""
    digest = hashlib.blake2s(os.fsencode(path.name), digest_size=8).hexdigest()
    return f".ckptload-{digest}-"


def _permissions_of(path: Path) -> int | None:
    """Return the permission bits of the file at a path, or of the one that it links to; None if there is no file."""
    with suppress(OSError):
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            return mode & _ALL
    return None


def _create(folder: Path, prefix: str, permissions: int | None, reveals: Sequence[os.stat_result]) -> tuple[Path, int]:
    """Create and lock a temporary file under a new name; return its path and descriptor."""
    while True:
        path = folder / f"{prefix}{os.getpid()}-{secrets.token_hex(8)}{_SUFFIX}"
        number = _create_at(path, permissions, reveals)
        done = False
        try:
            done = _lock(number, path)
            if done:
                return path, number
        finally:
            # Whatever ends this, Ctrl-C included.
            if not done:
                _discard(number, path)


def _create_at(path: Path, permissions: int | None, reveals: Sequence[os.stat_result] = ()) -> int:
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
                _discard(number, path if there else None)


def _discard(number: int | None, path: Path | None) -> None:
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
        number = _create_at(path, None)
        if _lock(number, path):
            return number
        _discard(number, path)


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


def _remove_leftovers(folder: Path, prefix: str) -> None:
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
    number = os.open(path, os.O_RDONLY | _NO_LINKS | _NO_WAITING)
    try:
        opened = os.fstat(number)
        # What takes the place of a file may also get its number.
        yield stat.S_ISREG(opened.st_mode) and os.path.samestat(status, opened) and _is_free(number)
    finally:
        os.close(number)


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
    os.close(_create_at(path, None))


# -- the disk -----------------------------------------------------------------------------------------------


def _sync(number: int) -> None:
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise


def _settle(number: int) -> None:
    """Let a file system that writes late, such as NFS, say now what it would say when the file is closed."""
    try:
        other = os.dup(number)
    except OSError:
        # There are no descriptors left; closing the file will tell.
        return
    os.close(other)


def sync_folder(folder: Path) -> None:
    """Sync the folder, so that the new name survives a crash, too; some systems cannot open folders."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    try:
        number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:
        # A folder may be writable but not readable.
        return
    try:
        _sync(number)
    finally:
        os.close(number)


@contextmanager
def _writable(path: Path) -> Iterator[None]:
    """Make a file writable while it is replaced; restore its mode if that fails."""
    if not path.exists():
        yield
        return
    mode = path.stat().st_mode
    path.chmod(mode | stat.S_IWUSR)
    try:
        yield
    except OSError:
        path.chmod(mode)
        raise
