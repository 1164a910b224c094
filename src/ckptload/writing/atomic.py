"""Replace a file atomically: a reader finds the complete old file or the complete new one, never a part.

The new file is written under a temporary name in the same folder, synced to the disk and renamed. A process
that is killed leaves its temporary file behind, and the next save to the same target removes it. A running
save holds a lock on its temporary file, so that others do not remove it; the lock ends with the process.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ckptload import shown
from ckptload.errors import CheckpointError, WriteError
from ckptload.writing import temporary_files
from ckptload.writing.targets import check_place, failure

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

#: All permission bits.
_ALL: Final = 0o777
#: Size of the write buffer, in bytes; larger writes go to the system directly, without a copy.
_BUFFER: Final = 1 << 18
#: Errors of file systems that cannot sync a file or a folder.
_CANNOT_SYNC: Final = frozenset({errno.EINVAL, errno.ENOTSUP, errno.ENOSYS})


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
        check_place(str(self.path))
        try:
            permissions = _permissions_of(self.path) if self._permissions is None else self._permissions
            if self._staged is None:
                folder, prefix = self.path.parent, temporary_files.prefix_of(self.path)
                temporary_files.remove_leftovers(folder, prefix)
                self._temporary, number = temporary_files.create(folder, prefix, permissions, self._reveals)
            else:
                self._temporary = self._staged
                number = temporary_files.create_at(self._staged, permissions, self._reveals)
        except OSError as error:
            raise failure(error, str(self.path)) from shown.cause(error)
        try:
            self._file = io.BufferedWriter(io.FileIO(number, "wb"), _BUFFER)
        finally:
            # Ctrl-C may come at any moment.
            if self._file is None:
                temporary_files.discard(number, self._temporary)
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
        if not temporary_files.has_locks():
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
                temporary_files.unlink(self._temporary)
        return problem


def move(path: Path, target: Path) -> None:
    """Give a file the place of another; on Windows also that of a write-protected one."""
    if not temporary_files.has_locks():
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


def _permissions_of(path: Path) -> int | None:
    """Return the permission bits of the file at a path, or of the one that it links to; None if there is no file."""
    with suppress(OSError):
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            return mode & _ALL
    return None


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
