"""Files opened by path, read by system calls or mapped into memory."""

from __future__ import annotations

import errno
import mmap
import os
import stat
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

from ckptload import paging, shown
from ckptload.errors import (
    TOO_MANY_FILES,
    ChangedFileError,
    CheckpointError,
    ClosedReaderError,
    Hint,
    MissingFileError,
    OutOfMemoryError,
    ReadError,
)
from ckptload.sources.base import GAP_LIMIT, Profile, Source
from ckptload.sources.identity import changed, stamp
from ckptload.threads import HELD

if TYPE_CHECKING:
    from ckptload.sources.base import Job

#: Linux returns at most 2 147 479 552 bytes per call (read(2)); every call here asks for less.
_CALL_LIMIT: Final = 1 << 30


class FileSource(Source):
    """A file opened by path, read by ``pread`` so that threads and forked processes do not share a position.

    Without ``pread`` (on Windows), a lock makes seek and read one step.

    Attributes:
        watches_name: whether `check_unchanged` also checks that the path still names this file. A load that
            reads everything at once does not: the file that it opened stays complete, even if another
            one has replaced it.
        stamp: what tells the file, as it was opened, from others (`identity.stamp`).
    """

    watches_name = True
    # preadv fills many buffers by one call, so that nothing is copied twice.
    profile = Profile(local=True, small=1 << 20, group=8 << 20) if hasattr(os, "preadv") else Profile(local=True)

    def __init__(self, path: str) -> None:
        self.path = self.label = path
        self.files = (path,)
        try:
            file = cast("BinaryIO", open(path, "rb", buffering=0, opener=_open_at_once))  # noqa: SIM115
        except (OSError, ValueError) as error:
            raise unreadable(path, error) from shown.cause(error)
        self._file: BinaryIO | None = file
        self._lock = threading.RLock()
        try:
            status = os.fstat(file.fileno())
        except OSError as error:
            file.close()
            raise unreadable(path, error) from error
        if not stat.S_ISREG(status.st_mode):
            file.close()
            raise ReadError(
                "this is a pipe or a device; a checkpoint must be a regular file, because it is not read in order",
                path=path,
                hint=Hint("{pipe}"),
            )
        self.size = status.st_size
        self.stamp = stamp(status)

    def read(self, start: int, stop: int) -> bytes | memoryview:
        """Return a copy of a range, by one call if the system returns all of it."""
        size = self.bounded(start, stop)
        if hasattr(os, "pread") and size <= _CALL_LIMIT:
            # This memory need not be zeroed first. A short read is completed, or fails, below.
            with suppress(OSError, ValueError):
                data = os.pread(self._open_file().fileno(), size, start)
                # If the file was closed meanwhile, its descriptor may belong to another file.
                if len(data) == size and self._file is not None:
                    return data
        return super().read(start, stop)

    def read_into(self, start: int, out: memoryview) -> None:
        """Fill `out` from the file, in as many calls as the system needs."""
        self.bounded(start, start + len(out))
        try:
            done = 0
            while done < len(out):
                count = self._read_some(start + done, out[done : done + _CALL_LIMIT])
                if count == 0:
                    self._open_file()  # If it was closed meanwhile, its descriptor may belong to another file.
                    raise ChangedFileError(
                        f"the file ends at byte {start + done}; it had {self.size} bytes when it was opened",
                        path=self.label,
                        offset=start + done,
                        hint="another program is writing this file; load it when it is complete",
                    )
                done += count
        except (OSError, ValueError) as error:
            if isinstance(error, CheckpointError):
                raise
            self._open_file()  # Another thread may have closed it during the call.
            raise unreadable(self.label, error, start) from shown.cause(error)

    def _scatter(self, job: Job, supply: paging.Supply | None = None) -> None:
        """Fill neighbouring buffers by one call; the bytes between them go into a buffer that is discarded."""
        start, outs = job
        if len(outs) == 1 or not hasattr(os, "preadv"):
            super()._scatter(job, supply)
            return
        if supply is not None:
            paging.ready([out for _, out in outs])
        gap = memoryview(bytearray(GAP_LIMIT))
        buffers, stop = [], start
        for at, out in outs:
            if at > stop:
                buffers.append(gap[: at - stop])
            buffers.append(out)
            stop = at + len(out)
        self.bounded(start, stop)
        try:
            end = start + os.preadv(self._open_file().fileno(), buffers, start)
        except (OSError, ValueError):
            end = start
        # The rest is read span by span, so that an error names the right position.
        for at, out in outs:
            done = min(max(end - at, 0), len(out))
            if done < len(out):
                self.read_into(at + done, out[done:])

    def _read_some(self, start: int, out: memoryview) -> int:
        file = self._open_file()
        if hasattr(os, "preadv"):
            return os.preadv(file.fileno(), [out], start)
        if hasattr(os, "pread"):
            data = os.pread(file.fileno(), len(out), start)
            out[: len(data)] = data
            return len(data)
        with HELD, self._lock:
            position = file.tell()
            file.seek(start)
            count = cast("Any", file).readinto(out) or 0
            # A signal handler in this thread may read the file between any two of these steps.
            file.seek(position)
            return count

    def _open_file(self) -> BinaryIO:
        file = self._file  # Once: another thread may close it at any moment.
        if file is None:
            raise ClosedReaderError("the checkpoint was closed", path=self.label)
        return file

    def check_unchanged(self) -> None:
        """Raise ChangedFileError unless size, modification time and identity are those at opening."""
        try:
            stamps = {stamp(os.fstat(self._open_file().fileno()))}
            # The path may name another file by now. A path that no longer exists proves nothing.
            if self.watches_name:
                with suppress(FileNotFoundError):
                    stamps.add(stamp(os.stat(self.label)))  # noqa: PTH116
        except (OSError, ValueError) as error:
            if isinstance(error, CheckpointError):
                raise
            self._open_file()  # As above.
            raise unreadable(self.label, error) from shown.cause(error)
        if stamps != {self.stamp}:
            self._open_file()
            raise changed(self.label)

    def statuses(self) -> list[os.stat_result]:
        """Return the status of the open file, whatever its path names by now."""
        return [os.fstat(self._open_file().fileno())]

    def close(self) -> None:
        """Close the file."""
        file, self._file = self._file, None
        if file is not None:
            file.close()


def _open_at_once(path: str, flags: int) -> int:
    """Open without blocking, even if the path is a pipe that has no writer."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


_NO_FILE: Final = "check the path; it is taken relative to the working directory, without ~"
_DENIED: Final = "the current user may not read it; ask its owner or change its mode"
_FAILING: Final = "the disk, or the network behind it, failed; try again, or load a copy of the file"
_HINTS: Final = {
    errno.ENOENT: _NO_FILE,
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.EISDIR: "name a file in that folder",
    errno.EIO: _FAILING,
    errno.ESTALE: _FAILING,
    errno.ETIMEDOUT: _FAILING,
    errno.EMFILE: TOO_MANY_FILES,
    errno.ENFILE: TOO_MANY_FILES,
}


def unreadable(path: str, error: Exception, offset: int | None = None) -> ReadError:
    """Return an error with the system's reason and a hint for it."""
    hint = _HINTS.get((error.errno if isinstance(error, OSError) else None) or 0, "check the path")
    reason = error.strerror if isinstance(error, OSError) and error.strerror else shown.foreign(error)
    if isinstance(error, ValueError) and "\0" in path:
        reason = "the path has a NUL character"  # Python's own wording changes with its version.
    cls = MissingFileError if isinstance(error, FileNotFoundError) else ReadError
    result = cls(f"cannot read the file: {reason}", path=path, offset=offset, hint=hint)
    result.errno = error.errno if isinstance(error, OSError) else None
    return result


class MappedSource(FileSource):
    """A file that is mapped into memory, so that its bytes are viewed, not copied.

    The mapping is private: writing to a view changes neither the file nor another mapping of it. If
    another program truncates the file, reading a lost page ends the process (SIGBUS), so mapping is
    only an option.
    """

    views = True

    def __init__(self, path: str) -> None:
        super().__init__(path)
        try:
            # An empty file cannot be mapped.
            self._map = mmap.mmap(self._open_file().fileno(), 0, access=mmap.ACCESS_COPY) if self.size else b""
        except (OSError, ValueError, MemoryError) as error:
            self.close()
            if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
                raise OutOfMemoryError(
                    f"not enough memory to map {self.size} bytes: a mapping takes address space for the whole file",
                    path=path,
                    hint=Hint("{unmapped}"),
                ) from error
            raise unreadable(path, error) from error

    def read(self, start: int, stop: int) -> memoryview:
        """Return a writable view; it keeps the mapping alive."""
        self.bounded(start, stop)
        # In this order: `close` in another thread releases the file before the mapping.
        mapped = self._map
        self._open_file()
        return memoryview(mapped)[start:stop]

    def close(self) -> None:
        """Close the file and release the mapping, which lives as long as its views."""
        super().close()
        self._map = b""
