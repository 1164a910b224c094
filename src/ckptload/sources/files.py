"""Files opened by path: the one source that asks the system itself, and its mapped kind."""

from __future__ import annotations

import errno
import mmap
import os
import stat
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

from ckptload.errors import ChangedFileError, CheckpointError, ClosedReaderError, Hint, ReadError
from ckptload.sources.base import GAP_LIMIT, Profile, Source

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ckptload.sources.base import Job

#: Linux returns at most 2 147 479 552 bytes a call; every call here stays well below that.
_CALL_LIMIT: Final = 1 << 30


class FileSource(Source):
    """A file opened by path, read by ``pread`` so that threads and forked processes do not disturb each other.

    Where there is no ``pread`` (Windows), a lock makes seek and read one step.

    Attributes:
        watches_name: whether `check_unchanged` also asks if the path still names this file. A load that
            takes everything at once does not: the file that it opened is whole, also after another one
            was put in its place.
    """

    watches_name = True
    # One call fills many buffers, where there is such a call: nothing is copied twice then.
    profile = Profile(local=True, small=1 << 20, group=8 << 20) if hasattr(os, "preadv") else Profile(local=True)

    def __init__(self, path: str) -> None:
        self.path = self.label = path
        try:
            file = cast("BinaryIO", open(path, "rb", buffering=0, opener=_open_at_once))  # noqa: SIM115
        except (OSError, ValueError) as error:
            raise unreadable(path, error) from error
        self._file: BinaryIO | None = file
        self._lock = threading.Lock()
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
        self._stamp = _stamp(status)

    def read(self, start: int, stop: int) -> bytes | memoryview:
        """Return a copy of a range, by one call where the system gives it at once."""
        size = self.bounded(start, stop)
        if hasattr(os, "pread") and size <= _CALL_LIMIT:
            # Memory that need not be zeroed first. What this call cannot do is done, or fails, below.
            with suppress(OSError, ValueError):
                data = os.pread(self._open_file().fileno(), size, start)
                # Closed meanwhile, its number may be that of another file by now.
                if len(data) == size and self._file is not None:
                    return data
        return super().read(start, stop)

    def read_into(self, start: int, out: memoryview) -> None:
        """Fill `out` from the file, in as many calls as the system wants."""
        self.bounded(start, start + len(out))
        try:
            done = 0
            while done < len(out):
                count = self._read_some(start + done, out[done : done + _CALL_LIMIT])
                if count == 0:
                    self._open_file()  # Closed meanwhile, its number may be that of another file by now.
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
            self._open_file()  # Another thread may have closed it in the middle of a call.
            raise unreadable(self.label, error, start) from error

    def _scatter(self, job: Job) -> None:
        """Fill neighbouring buffers by one call; what stands between them goes into one that nobody reads."""
        start, outs = job
        if len(outs) == 1 or not hasattr(os, "preadv"):
            super()._scatter(job)
            return
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
        # What the call did not do is done span by span, or fails where it fails.
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
        with self._lock:
            file.seek(start)
            return cast("Any", file).readinto(out) or 0

    def _open_file(self) -> BinaryIO:
        if self._file is None:
            raise ClosedReaderError("the checkpoint was closed", path=self.label)
        return self._file

    def check_unchanged(self) -> None:
        """Compare size, time of change and identity with those at opening."""
        try:
            stamps = {_stamp(os.fstat(self._open_file().fileno()))}
            # The open file cannot be another one, but its name can; a name that is gone tells nothing.
            if self.watches_name:
                with suppress(FileNotFoundError):
                    stamps.add(_stamp(os.stat(self.label)))  # noqa: PTH116
        except (OSError, ValueError) as error:
            if isinstance(error, CheckpointError):
                raise
            self._open_file()  # As above.
            raise unreadable(self.label, error) from error
        if stamps != {self._stamp}:
            self._open_file()
            raise ChangedFileError(
                "the file was changed or replaced after it was opened",
                path=self.label,
                hint="open it again",
            )

    def close(self) -> None:
        """Close the file."""
        file, self._file = self._file, None
        if file is not None:
            file.close()


def _open_at_once(path: str, flags: int) -> int:
    """Open without waiting for somebody to write into a pipe of that name."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _stamp(status: os.stat_result) -> tuple[int, int, int, int]:
    return (status.st_size, status.st_mtime_ns, status.st_ino, status.st_dev)


_NO_FILE: Final = "check the path; it is taken relative to the working directory, without ~"
_DENIED: Final = "the current user may not read it; ask its owner or change its mode"
_FAILING: Final = "the disk, or the network behind it, failed; try again, or load a copy of the file"
_TOO_MANY: Final = "close other files, or raise the limit on them (ulimit -n)"
_HINTS: Final = {
    errno.ENOENT: _NO_FILE,
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.EISDIR: "name a file in that folder",
    errno.EIO: _FAILING,
    errno.ESTALE: _FAILING,
    errno.ETIMEDOUT: _FAILING,
    errno.EMFILE: _TOO_MANY,
    errno.ENFILE: _TOO_MANY,
}


def unreadable(path: str, error: Exception, offset: int | None = None) -> CheckpointError:
    """Say what the system said, and what to do about it."""
    hint = _HINTS.get((error.errno if isinstance(error, OSError) else None) or 0, "check the path")
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    if isinstance(error, ValueError) and "\0" in path:
        reason = "the path has a NUL character"  # Python's own words change with its version.
    return ReadError(f"cannot read the file: {reason}", path=path, offset=offset, hint=hint)


class MappedSource(FileSource):
    """A file that is mapped into memory, so that its bytes are viewed and not copied.

    The mapping is private: writing to a view changes neither the file nor another mapping of it. A file
    that another program cuts short ends the process when a lost page is touched, which is why this is
    an option only.
    """

    views = True

    def __init__(self, path: str) -> None:
        super().__init__(path)
        try:
            # An empty file cannot be mapped.
            self._map = mmap.mmap(self._open_file().fileno(), 0, access=mmap.ACCESS_COPY) if self.size else b""
        except (OSError, ValueError) as error:
            self.close()
            raise unreadable(path, error) from error

    def read(self, start: int, stop: int) -> memoryview:
        """Return a writable view, which keeps the mapping alive."""
        self.bounded(start, stop)
        # In this order: another thread that closes it lets go of the file first.
        mapped = self._map
        self._open_file()
        return memoryview(mapped)[start:stop]

    def close(self) -> None:
        """Close the file, and let go of the mapping, which lives as long as views of it."""
        super().close()
        self._map = b""


@contextmanager
def stand_in(head: bytes, size: int, suffix: str) -> Iterator[str | None]:
    """Make a temporary file that begins with `head`, is `size` bytes long and holds nothing else.

    A file that ends in a hole takes next to no room on the disk.

    Yields:
        Its path, or None where no such file can be made.
    """
    import tempfile  # noqa: PLC0415 -- slow to import, and rarely wanted

    try:
        number, path = tempfile.mkstemp(prefix="ckptload-", suffix=suffix)
    except OSError:
        yield None
        return
    try:
        yield path if _filled(number, head, size) else None
    finally:
        with suppress(OSError):
            os.unlink(path)  # noqa: PTH108 -- paths are strings here


def _filled(number: int, head: bytes, size: int) -> bool:
    """Write a file that is open under this number, and close it: Windows does not open a file twice."""
    try:
        with open(number, "wb") as file:
            file.write(head)
            file.truncate(size)
    except OSError:
        return False
    return True
