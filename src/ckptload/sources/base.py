"""The interface of every source of bytes.

A source has a `size` and can read any range inside it. A file, a buffer, a
file object and an encrypted chain are all sources, so
everything above them is the same code. Ranges are in bytes from the start of the source.

A source is safe to read from several threads at once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Final, NamedTuple

from ckptload import paging, threads
from ckptload.errors import (
    CorruptCheckpointError,
)
from ckptload.sources.spans import neighbours

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence

    Request = tuple[int, memoryview]
    Job = tuple[int, list[Request]]

#: Below this many bytes a second thread costs more than it saves.
_PARALLEL_FROM: Final = 4 << 20
#: With smaller spans on average, Python's own work takes most of the time, and threads wait for each other.
_WORTH_SHARING: Final = 4096
#: The piece that one thread reads at a time, so that two threads share one large tensor.
PIECE: Final = 32 << 20
#: Wanted spans at most this far apart are read by one call, together with the gap.
GAP_LIMIT: Final = 4096
#: Linux allows 1024 buffers per call (IOV_MAX), and each gap may need one, too.
_NEIGHBOURS: Final = 500


class Profile(NamedTuple):
    """The best way to read a source. Sizes are in bytes.

    Attributes:
        local: whether a read has little overhead, so that many reads in sequence are cheap.
        small: largest span that is worth reading by one call with its neighbours.
        group: largest size of such a call.
        near: best read size where headers are close together.
        far: best read size where headers are far apart.
    """

    local: bool = False
    small: int = 64 << 10
    group: int = 1 << 20
    near: int = 64 << 10
    far: int = 4 << 10


class Source(ABC):
    """Bytes that can be read from any position.

    Attributes:
        size: number of bytes.
        label: what to call the source in a message: a path or a description.
        path: the file's path if it was opened by path, else None.
        files: the paths of the files that hold its bytes, if there are any that this process can open.
        views: whether an array may keep the memory that `read` returns.
        authenticated: whether every byte is covered by an authentication tag.
        unsealed: what tags leave out, in words; empty if there are none, or they leave nothing out.
        profile: the best way to read it.
    """

    size: int
    label: str
    path: str | None = None
    files: Sequence[str] = ()
    views: bool = False
    authenticated: bool = False
    unsealed: tuple[str, ...] = ()
    profile: Profile = Profile()

    @abstractmethod
    def read_into(self, start: int, out: memoryview) -> None:
        """Fill `out` (flat, writable, of bytes) with the bytes at `start`.

        Raises:
            ReadError: the system could not read the bytes.
            CorruptCheckpointError: the source ends before `out` is full.
        """

    def read(self, start: int, stop: int) -> bytes | memoryview:
        """Return the bytes from `start` to `stop` (owned by the caller, or immutable)."""
        out = bytearray(self.bounded(start, stop))
        self.read_into(start, memoryview(out))
        return memoryview(out)

    def read_many(self, requests: Sequence[Request]) -> None:
        """Fill every ``(start, out)``; requests are in ascending order and do not overlap.

        Each byte is read once, by two threads if that is faster. If this raises, the contents of
        the buffers are undefined and must not be returned to the caller.
        """
        total = sum(len(out) for _, out in requests)
        jobs = _jobs(requests, self.profile.small, self.profile.group)
        pays = total >= _PARALLEL_FROM and len(jobs) > 1 and total >= _WORTH_SHARING * len(requests)
        if pays:
            # Page faults on fresh memory, not copying, are the cost of a load.
            threads.share(partial(self._scatter, supply=paging.Supply()), jobs)
            return
        for job in jobs:
            self._scatter(job)

    def _scatter(self, job: Job, supply: paging.Supply | None = None) -> None:
        """Fill one buffer, or several neighbouring ones by a single read."""
        start, outs = job
        if len(outs) == 1:
            if supply is None:
                self.read_into(start, outs[0][1])
                return
            for at, part in supply.parts(start, outs[0][1]):
                self.read_into(at, part)
            return
        last_start, last_out = outs[-1]
        block = memoryview(self.read(start, last_start + len(last_out)))
        for at, out in outs:
            out[:] = block[at - start : at - start + len(out)]

    def bounded(self, start: int, stop: int) -> int:
        """Return the length of a range after checking that it lies inside the source."""
        if not 0 <= start <= stop <= self.size:
            raise CorruptCheckpointError(
                f"bytes {start} to {stop} were requested, but the file has only {self.size}",
                path=self.label,
                offset=start,
                hint="the file was cut off; fetch it again",
            )
        return stop - start

    @property
    def witnessed(self) -> bool:
        """Return whether changes are told by reading bytes again, so that it matters where an entry is described."""
        return False

    def seal(self) -> None:  # noqa: B027 -- most sources need not know
        """End the opening of the source: its index is made, and what is read from now on is data."""

    def check_unchanged(self) -> None:  # noqa: B027 -- most sources cannot change
        """Raise ChangedFileError if the bytes have changed since the source was opened."""

    def check_near(self, spans: Iterable[tuple[int, int]]) -> None:  # noqa: ARG002 -- most sources tell for all bytes
        """Raise ChangedFileError if the bytes have changed, in time that does not grow with the index.

        Args:
            spans: where the file describes what was read.
        """
        self.check_unchanged()

    def authenticate(self) -> None:  # noqa: B027 -- most sources have no tags
        """Raise DecryptionError unless every block, read already or not, matches its authentication tag."""

    def statuses(self) -> list[os.stat_result]:
        """Return what the system says about each file that holds its bytes; nothing for bytes from elsewhere."""
        return []

    @abstractmethod
    def close(self) -> None:
        """Release the source's resources; reading afterwards raises ClosedReaderError."""


def _jobs(requests: Iterable[Request], small: int, most: int) -> list[Job]:
    """Cut large requests and group small neighbours, so that each job is one read of a sensible size.

    Args:
        requests: wanted spans, in ascending order.
        small: largest span that is grouped, in bytes.
        most: largest group, in bytes.
    """
    jobs: list[Job] = []
    for large, run in groupby(filter(_size, requests), lambda request: len(request[1]) > small):
        if large:
            pieces = ((start + at, out[at : at + PIECE]) for start, out in run for at in range(0, len(out), PIECE))
            jobs.extend((start, [(start, out)]) for start, out in pieces)
        else:
            groups = neighbours(run, span_of, gap=GAP_LIMIT, most=most, count=_NEIGHBOURS)
            jobs.extend((group[0][0], group) for group in groups)
    return jobs


def span_of(request: Request) -> tuple[int, int]:
    """Return the start and stop of a request, in bytes."""
    start, out = request
    return start, start + len(out)


def _size(request: Request) -> int:
    return len(request[1])
