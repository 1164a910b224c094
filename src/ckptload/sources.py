"""Where bytes come from.

A source has a `size` and answers for any range inside it. A file, a buffer, a
file object and an encrypted chain are all sources, so that everything above
them is the same code. Ranges are in bytes from the start of the source.

A source is safe to read from several threads at once.
"""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, BinaryIO, Final

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
#: Wanted spans with no more than this between them are read by one call, gap and all.
GAP_LIMIT: Final = 4096
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
            0 <= group_stop <= start <= group_stop + GAP_LIMIT
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
