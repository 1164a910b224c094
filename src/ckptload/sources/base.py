"""Where bytes come from.

A source has a `size` and answers for any range inside it. A file, a buffer, a
file object and an encrypted chain are all sources, so that everything above
them is the same code. Ranges are in bytes from the start of the source.

A source is safe to read from several threads at once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import groupby
from typing import TYPE_CHECKING, Final, NamedTuple

from ckptload import parallel
from ckptload.errors import (
    CorruptCheckpointError,
)
from ckptload.sources.spans import neighbours

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Request = tuple[int, memoryview]
    Job = tuple[int, list[Request]]

#: Below this much content a second thread costs more than it saves.
_PARALLEL_FROM: Final = 4 << 20
#: Where spans are smaller on average, Python's own work is what takes time, and threads wait for each other.
_WORTH_SHARING: Final = 4096
#: A piece that one thread reads at a time, so that one large tensor is shared by both.
PIECE: Final = 32 << 20
#: Wanted spans with no more than this between them are read by one call, gap and all.
GAP_LIMIT: Final = 4096
#: Linux takes 1024 buffers a call, and there may be one for each gap, too.
_NEIGHBOURS: Final = 500


class Profile(NamedTuple):
    """How a source is best read. Sizes are in bytes.

    Attributes:
        local: whether a read costs little beside its bytes, so that many may be made one after the other.
        small: up to which size spans are worth reading by one call with their neighbours.
        group: how much such a call reads.
        near: how much is worth reading at a time where headers follow each other closely.
        far: the same where they lie far apart.
    """

    local: bool = False
    small: int = 64 << 10
    group: int = 1 << 20
    near: int = 64 << 10
    far: int = 4 << 10


class Source(ABC):
    """Bytes that can be read from any place.

    Attributes:
        size: how many bytes there are.
        label: what to call the source in a message: a path or a description.
        path: the file's path where it was opened by path, else None.
        views: whether what `read` returns may be kept as an array's memory.
        authenticated: whether tags vouch for every byte.
        profile: how it is best read.
    """

    size: int
    label: str
    path: str | None = None
    views: bool = False
    authenticated: bool = False
    profile: Profile = Profile()

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
        jobs = _jobs(requests, self.profile.small, self.profile.group)
        pays = total >= _PARALLEL_FROM and len(jobs) > 1 and total >= _WORTH_SHARING * len(requests)
        if pays:
            # Page faults on fresh memory, not copying, are the cost of a load.
            parallel.share(self._scatter, jobs, "read")
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
                f"bytes {start} to {stop} were requested, but the file has only {self.size}",
                path=self.label,
                offset=start,
                hint="the file was cut off; fetch it again",
            )
        return stop - start

    def check_unchanged(self) -> None:  # noqa: B027 -- most sources cannot change
        """Raise ChangedFileError if the bytes are not those that were opened any more."""

    def authenticate(self) -> None:  # noqa: B027 -- most sources have no tags
        """Raise DecryptionError unless every block that was or will be read is what its tag vouches for."""

    @abstractmethod
    def close(self) -> None:
        """Give back what the source holds; reading afterwards raises ClosedReaderError."""


def _jobs(requests: Iterable[Request], small: int, most: int) -> list[Job]:
    """Cut large requests and group small neighbours, so that each job is one read of a sensible size.

    Args:
        requests: what is wanted, in ascending order.
        small: up to which size spans are grouped.
        most: how many bytes a group has at most.
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
    """Return where the bytes of a request start and stop."""
    start, out = request
    return start, start + len(out)


def _size(request: Request) -> int:
    return len(request[1])
