"""Replacing a file as a whole: whoever opens it finds the old content or the new one, never a part.

The new content goes to a temporary file in the same folder, is synced to the disk and renamed. A saver
that dies leaves its temporary file behind; the next one for the same target removes it. So that it does
not remove a living saver's, each saver holds a lock on its own file, which ends with the process.
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

from ckptload.errors import (
    CheckpointError,
    MissingFolderError,
    ParentIsFileError,
    TargetIsFolderError,
    WriteError,
    WritePermissionError,
)

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

#: Readable by the owner, by nobody else, and writable by nobody: as MindSpore leaves its files.
MODE: Final = stat.S_IRUSR
#: Small writes are gathered up to this; larger ones go to the system from where they lie.
_BUFFER: Final = 1 << 18
#: Where files cannot be locked, one that was last written so many seconds ago counts as left behind.
_ABANDONED_AFTER: Final = 24 * 3600
#: What file systems answer that cannot sync a file or a folder.
_CANNOT_SYNC: Final = frozenset({errno.EINVAL, errno.ENOTSUP, errno.ENOSYS})

_NO_LINKS: Final = getattr(os, "O_NOFOLLOW", 0)
_CREATE: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | _NO_LINKS | getattr(os, "O_BINARY", 0)

_SUFFIX: Final = ".tmp"

_KINDS: Final = {
    FileNotFoundError: (MissingFolderError, "make the folder first"),
    PermissionError: (WritePermissionError, "the current user needs write permission for the folder"),
    IsADirectoryError: (TargetIsFolderError, "give the name of a file"),
    NotADirectoryError: (ParentIsFileError, "give a path whose folder exists"),
}
_HINTS: Final = {
    errno.ENOSPC: "free some space on the disk; the file at the path is unchanged",
    errno.EDQUOT: "the user's quota is used up; the file at the path is unchanged",
    errno.EFBIG: "the system limits the size of files (ulimit -f), or the file system does",
}


class Replacement:
    """A file under construction that takes a path's place when the block ends without an exception.

    ::

        with Replacement(path) as file:
            file.write(content)

    If the block or the change of place fails, or the process is stopped at any moment, what stood at
    the path stays as it was.

    Args:
        path: an absolute path; what stands there may be write-protected.
        synced: whether the content is on the disk before it takes the place. Without that, what is lost
            when the machine itself stops is the system's choice, old content included.
        mode: permissions of the new file. Other ones than `MODE` are reduced by the umask, as usual.

    Raises:
        WriteError: the system could not write, with its reason as `errno` and `__cause__`. Other
            exceptions of the block pass through.
    """

    def __init__(self, path: str, *, synced: bool = True, mode: int = MODE) -> None:
        self.path = Path(path)
        self._synced = synced
        self._mode = mode
        self._temporary = self.path
        self._file: io.BufferedWriter | None = None

    def __enter__(self) -> io.BufferedWriter:
        folder, prefix = self.path.parent, _prefix(self.path)
        try:
            _remove_leftovers(folder, prefix)
            self._temporary, number = _create(folder, prefix, self._mode)
        except OSError as error:
            raise failure(error, str(self.path)) from error
        self._file = io.BufferedWriter(io.FileIO(number, "wb"), _BUFFER)
        return self._file

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        done = False
        try:
            if kind is None and self._file is not None:
                self._commit(self._file)
                done = True
        except OSError as reason:
            raise failure(reason, str(self.path)) from reason
        finally:
            self._close(remove=not done)
        if isinstance(error, OSError) and not isinstance(error, CheckpointError):
            raise failure(error, str(self.path)) from error

    def _commit(self, file: io.BufferedWriter) -> None:
        file.flush()
        if self._synced:
            _sync(file.fileno())
        if fcntl is None:
            # Windows renames no open file, and replaces no write-protected one.
            file.close()
            with _writable(self.path):
                self._temporary.replace(self.path)
        else:
            self._temporary.replace(self.path)
        if self._synced:
            _sync_folder(self.path.parent)

    def _close(self, *, remove: bool) -> None:
        file, self._file = self._file, None
        if file is None:
            return
        # The raw file alone: after a failure, what is still in the buffer is not wanted.
        file.raw.close()
        if remove:
            with suppress(OSError):
                _remove(self._temporary)


def failure(error: OSError, path: str) -> WriteError:
    """Return the error that says why the system did not write to `path`; its class is one of the reason's own."""
    found: tuple[type[WriteError], str | None] = (WriteError, None)
    for reason, known in _KINDS.items():
        if isinstance(error, reason):
            found = known
    cls, hint = found
    result = cls(
        f"the file could not be saved: {error.strerror or error}",
        path=path,
        hint=_HINTS.get(error.errno or 0, hint),
    )
    result.errno = error.errno
    return result


# -- the temporary file -------------------------------------------------------------------------------------


def _prefix(path: Path) -> str:
    """Return how the temporary files for a target begin: of one length, however long the target's name."""
    digest = hashlib.blake2s(os.fsencode(path.name), digest_size=8).hexdigest()
    return f".ckptload-{digest}-"


def _create(folder: Path, prefix: str, mode: int) -> tuple[Path, int]:
    """Create and lock a file of a new name; return its path and descriptor."""
    while True:
        path = folder / f"{prefix}{os.getpid()}-{secrets.token_hex(8)}{_SUFFIX}"
        number = os.open(path, _CREATE, mode)
        try:
            if mode == MODE:
                _protect(number)
            if _lock(number, path):
                return path, number
        except OSError:
            os.close(number)
            _remove(path)
            raise
        os.close(number)


def _protect(number: int) -> None:
    """Give a new file the mode `MODE`, whatever the umask is. Some file systems do not have modes."""
    if stat.S_IMODE(os.fstat(number).st_mode) != MODE and hasattr(os, "fchmod"):
        with suppress(PermissionError):
            os.fchmod(number, MODE)


def _lock(number: int, path: Path) -> bool:
    """Lock a file that was just made; return False if another saver took it for left behind in between."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(number, fcntl.LOCK_EX)
    except OSError:
        # This file system has no locks, so that leftovers are known by their age there.
        return True
    try:
        return os.path.samestat(os.fstat(number), path.stat())
    except FileNotFoundError:
        return False


def _remove_leftovers(folder: Path, prefix: str) -> None:
    """Remove the temporary files of savers that died. What cannot be listed or removed stays."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(prefix) and entry.name.endswith(_SUFFIX):
                with suppress(OSError):
                    _remove_if_abandoned(folder / entry.name)


def _remove_if_abandoned(path: Path) -> None:
    if fcntl is None:
        if _is_old(path):
            _remove(path)
        return
    number = os.open(path, os.O_RDONLY | _NO_LINKS)
    try:
        if _is_free(number, path):
            # The lock is held until the name is gone, so that its maker, if it lives, makes another.
            path.unlink()
    finally:
        os.close(number)


def _is_free(number: int, path: Path) -> bool:
    """Take the lock of a file; return False if a living saver has it."""
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return _is_old(path)
    return True


def _is_old(path: Path) -> bool:
    return time.time() - path.stat().st_mtime > _ABANDONED_AFTER


def _remove(path: Path) -> None:
    if fcntl is None:
        path.chmod(MODE | stat.S_IWUSR)
    path.unlink()


# -- the disk -----------------------------------------------------------------------------------------------


def _sync(number: int) -> None:
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise


def _sync_folder(folder: Path) -> None:
    """Make the new name as lasting as the content, where folders can be opened."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    try:
        number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:
        # One may write into a folder that one may not read.
        return
    try:
        _sync(number)
    finally:
        os.close(number)


@contextmanager
def _writable(path: Path) -> Iterator[None]:
    """Take the write protection off a file that is about to be replaced; put it back if it is not."""
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
