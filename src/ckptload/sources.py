"""Where bytes come from: the only module of the reading path that does I/O.

A source has a `size` and answers for any range inside it. A file, a buffer, a
file object and an encrypted chain are all sources, so that everything above
them is the same code. Ranges are in bytes from the start of the source.

A source is safe to read from several threads at once.
"""

from __future__ import annotations

import errno
import mmap
import os
import stat
import threading
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

from ckptload import threads
from ckptload.errors import (
    ArgumentError,
    ArgumentTypeError,
    ChangedFileError,
    CheckpointError,
    ClosedReaderError,
    CorruptCheckpointError,
    ReadError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Request = tuple[int, memoryview]
    Job = tuple[int, list[Request]]

#: Below this much content a second thread costs more than it saves.
_PARALLEL_FROM: Final = 4 << 20
#: Where spans are smaller on average, Python's own work is what takes time, and threads wait for each other.
_WORTH_SHARING: Final = 4096
#: A piece that one thread reads at a time, so that one large tensor is shared by both.
_PIECE: Final = 32 << 20
#: Linux returns at most 2 147 479 552 bytes a call; every call here stays well below that.
_CALL_LIMIT: Final = 1 << 30
#: Wanted spans with no more than this between them are read by one call, gap and all.
_GAP_LIMIT: Final = 4096
#: Linux takes 1024 buffers a call, and there may be one for each gap, too.
_NEIGHBOURS: Final = 500


class Source(ABC):
    """Bytes that can be read from any place.

    Attributes:
        size: how many bytes there are.
        label: what to call the source in a message: a path or a description.
        path: the file's path where it was opened by path, else None.
        views: whether what `read` returns may be kept as an array's memory.
        local: whether a read costs little beside its bytes, so that many may be made one after the other.
        sharing: up to which size spans are worth reading by one call with their neighbours, and how much such
            a call reads, in bytes.
        windows: how much is worth reading at a time, in bytes, where headers follow each other closely
            and where they lie far apart.
    """

    size: int
    label: str
    path: str | None = None
    views: bool = False
    local: bool = False
    sharing: tuple[int, int] = (64 << 10, 1 << 20)
    windows: tuple[int, int] = (64 << 10, 4 << 10)

    @abstractmethod
    def read_into(self, start: int, out: memoryview) -> None:
        """Fill `out` (flat, writable, of bytes) with what stands at `start`.

        Raises:
            ReadError: the system could not read.
            CorruptCheckpointError: the source ends before `out` is full.
        """

    def read(self, start: int, stop: int) -> bytes | memoryview:
        """Return the bytes from `start` to `stop` (owned by the caller, or immutable)."""
        out = bytearray(self.bounded(start, stop))
        self.read_into(start, memoryview(out))
        return memoryview(out)

    def read_many(self, requests: Sequence[Request]) -> None:
        """Fill every ``(start, out)``; requests are in ascending order and do not overlap.

        Content is read once, by two threads where that pays; if this raises, what the
        buffers hold is undefined and must not be handed on.
        """
        total = sum(len(out) for _, out in requests)
        jobs = _pieces(requests, *self.sharing)
        pays = total >= _PARALLEL_FROM and len(jobs) > 1 and total >= _WORTH_SHARING * len(requests)
        if pays:
            # Page faults on fresh memory, not copying, are the cost of a load.
            threads.share(self._scatter, jobs, "read")
            return
        for job in jobs:
            self._scatter(job)

    def _scatter(self, job: Job) -> None:
        """Fill neighbouring buffers by one read where there are several."""
        start, outs = job
        if len(outs) == 1:
            self.read_into(start, outs[0][1])
            return
        last_start, last_out = outs[-1]
        block = memoryview(self.read(start, last_start + len(last_out)))
        for at, out in outs:
            out[:] = block[at - start : at - start + len(out)]

    def bounded(self, start: int, stop: int) -> int:
        """Return the length of a range after checking that it lies inside the source."""
        if not 0 <= start <= stop <= self.size:
            raise CorruptCheckpointError(
                f"bytes {start} to {stop} were asked for, but there are only {self.size}",
                path=self.label,
                offset=start,
                hint="the file was cut off; fetch it again",
            )
        return stop - start

    def check_unchanged(self) -> None:  # noqa: B027 -- most sources cannot change
        """Raise ChangedFileError if the bytes are not those that were opened any more."""

    @abstractmethod
    def close(self) -> None:
        """Give back what the source holds; reading afterwards raises ClosedReaderError."""


def _pieces(requests: Iterable[Request], small: int, most: int) -> list[Job]:
    """Cut large requests and group small neighbours, so that each job is one read of a sensible size.

    Args:
        requests: what is wanted, in ascending order.
        small: up to which size spans are grouped.
        most: how many bytes a group has at most.
    """
    jobs: list[Job] = []
    group_start = group_stop = -1
    for request in requests:
        start, out = request
        size = len(out)
        if size > small:
            group_stop = -1
            jobs.extend((start + at, [(start + at, out[at : at + _PIECE])]) for at in range(0, size, _PIECE))
        elif (
            0 <= group_stop <= start <= group_stop + _GAP_LIMIT
            and start + size - group_start <= most
            and len(jobs[-1][1]) < _NEIGHBOURS
        ):
            jobs[-1][1].append(request)
            group_stop = start + size
        elif size:
            jobs.append((start, [request]))
            group_start, group_stop = start, start + size
    return jobs


class BufferSource(Source):
    """Bytes that are in memory already; they are not copied until something is read into an array."""

    local = True

    def __init__(self, data: bytes | bytearray | memoryview, *, label: str = "<bytes>") -> None:
        self.label = label
        try:
            view = memoryview(data)
        except ValueError as error:
            raise ArgumentError(f"the buffer cannot be read: {error}", path=label, hint="pass its content") from error
        # A view with gaps, or of no bytes, cannot be seen as flat bytes; the first is copied once.
        flat = view.cast("B") if view.c_contiguous and view.nbytes else memoryview(view.tobytes())
        self._view: memoryview | None = flat
        self.size = flat.nbytes

    def read(self, start: int, stop: int) -> memoryview:
        """Return a view: the caller's bytes, not a copy."""
        self.bounded(start, stop)
        return self._open_view()[start:stop]

    def read_into(self, start: int, out: memoryview) -> None:
        """Copy a range into `out`."""
        out[:] = self.read(start, start + len(out))

    def _open_view(self) -> memoryview:
        if self._view is None:
            raise ClosedReaderError("the checkpoint was closed", path=self.label)
        return self._view

    def close(self) -> None:
        """Let go of the buffer, so that its owner may resize or free it."""
        self._view = None


class FileSource(Source):
    """A file opened by path, read by ``pread`` so that threads and forked processes do not disturb each other.

    Where there is no ``pread`` (Windows), a lock makes seek and read one step.

    Attributes:
        watches_name: whether `check_unchanged` also asks if the path still names this file. A load that
            takes everything at once does not: the file that it opened is whole, also after another one
            was put in its place.
    """

    watches_name = True
    local = True
    # One call fills many buffers, where there is such a call: nothing is copied twice then.
    sharing = (1 << 20, 8 << 20) if hasattr(os, "preadv") else Source.sharing

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
                "this is a pipe or a device, no file that can be read from any place",
                path=path,
                hint="read it to its end and pass the bytes in io.BytesIO",
            )
        self.size = status.st_size
        self._stamp = _stamp(status)

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
        gap = memoryview(bytearray(_GAP_LIMIT))
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


class FileObjectSource(Source):
    """A seekable binary file object that the caller opened and will close.

    It is read from its start, whatever its position; the position afterwards is where it was.
    """

    def __init__(self, file: BinaryIO) -> None:
        name = getattr(file, "name", None)
        self.label = name if isinstance(name, str) and name else f"<{type(file).__name__}>"
        self._lock = threading.Lock()
        self._file: BinaryIO | None = file
        try:
            position = file.tell()
            file.seek(0, os.SEEK_END)
            self.size = file.tell()
            file.seek(0)
            probe = file.read(0)
            file.seek(position)
        except Exception as error:
            raise ReadError(
                f"the file object cannot be read from any place: {error}",
                path=self.label,
                hint="pass an open, seekable binary file, or io.BytesIO(file.read())",
            ) from error
        if not isinstance(probe, bytes):
            raise ArgumentTypeError(
                "the file object gives text, not bytes", path=self.label, hint="open it with mode 'rb'"
            )

    def read_into(self, start: int, out: memoryview) -> None:
        """Fill `out`, one reader at a time: a file object has a single position."""
        self.bounded(start, start + len(out))
        with self._lock:
            file = self._file
            if file is None:
                raise ClosedReaderError("the checkpoint was closed", path=self.label)
            try:
                position = file.tell()
                try:
                    file.seek(start)
                    self._fill(file, start, out)
                finally:
                    file.seek(position)
            except CheckpointError:
                raise
            except Exception as error:
                raise ReadError(
                    f"the file object failed: {type(error).__name__}: {error}",
                    path=self.label,
                    offset=start,
                    hint="keep it open and unchanged while the checkpoint is read",
                ) from error

    def _fill(self, file: BinaryIO, start: int, out: memoryview) -> None:
        done = 0
        while done < len(out):
            data = file.read(min(len(out) - done, _PIECE))
            if not data:
                raise ChangedFileError(
                    f"the file object ends at byte {start + done}; it had {self.size} bytes when it was opened",
                    path=self.label,
                    offset=start + done,
                    hint="another program is writing this file; load it when it is complete",
                )
            out[done : done + len(data)] = data
            done += len(data)

    def close(self) -> None:
        """Let go of the file object; closing it is its owner's business."""
        self._file = None
