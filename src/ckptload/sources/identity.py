"""How a source tells that it still has the bytes that its index was made from.

Where the system or a server vouches for a file, its stamp is compared. Where nobody does, what was read while the
file was opened is read again and compared by its digests: the headers, and a little of the data around them.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from typing import TYPE_CHECKING, Final

from ckptload.errors import ChangedFileError
from ckptload.sources.base import Source
from ckptload.sources.spans import batches

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence

    Span = tuple[int, int]

#: Bytes that have a digest together: what is read again to check one entry.
CHUNK: Final = 4 << 10
#: Bytes that are read again at a time.
_BATCH: Final = 4 << 20


def stamp(status: os.stat_result) -> tuple[int, int, int, int]:
    """Return what tells a file of the system from another one, and from itself after a change."""
    return (status.st_size, status.st_mtime_ns, status.st_ino, status.st_dev)


def changed(label: str, offset: int | None = None) -> ChangedFileError:
    """Return the error for a source that no longer has the bytes that it was opened with."""
    return ChangedFileError(
        "the file was changed or replaced after it was opened", path=label, offset=offset, hint="open it again"
    )


class Witness:
    """Digests of what is read until `seal` is called. Safe to use from several threads."""

    def __init__(self) -> None:
        self._digests: dict[Span, bytes] = {}
        self._order: list[Span] = []
        self._sealed = False

    def note(self, start: int, data: memoryview | bytes) -> None:
        """Remember what was read at `start`. Of two reads of the same bytes, the first counts."""
        if self._sealed:
            return
        view = memoryview(data)
        for at in range(0, len(view), CHUNK):
            part = view[at : at + CHUNK]
            self._digests.setdefault((start + at, start + at + len(part)), _digest(part))

    def seal(self) -> None:
        """Remember nothing more: the index is made."""
        if not self._sealed:
            # In this order: another thread that finds it sealed needs all of it.
            self._order = sorted(self._digests)
            self._sealed = True

    def noted(self) -> Sequence[Span]:
        """Return all spans that were noted, in ascending order."""
        self.seal()
        return self._order

    def overlapping(self, spans: Iterable[Span]) -> Sequence[Span]:
        """Return the noted spans that share a byte with one of some spans, in ascending order."""
        order, found = self.noted(), set()
        for start, stop in spans:
            # None is longer than a chunk.
            for at in range(bisect_left(order, (start - CHUNK, 0)), bisect_left(order, (stop, 0))):
                if order[at][1] > start:
                    found.add(order[at])
        return sorted(found)

    def agrees(self, span: Span, data: memoryview) -> bool:
        """Return whether a noted span has the bytes that it had."""
        return self._digests[span] == _digest(data)


def _digest(data: memoryview) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


class WitnessedSource(Source):
    """A source whose bytes may change without anybody telling.

    Its methods of reading call ``self._note``. It is opened until `seal` is called, or its first check.
    """

    _witness: Witness | None

    def _note(self, start: int, data: memoryview | bytes) -> None:
        if self._witness is not None:
            self._witness.note(start, data)

    @property
    def witnessed(self) -> bool:
        """Return whether what was read while the file was opened is read again to check it."""
        return self._witness is not None

    def seal(self) -> None:
        """End the opening of the file."""
        if self._witness is not None:
            self._witness.seal()

    def check_unchanged(self) -> None:
        """Raise ChangedFileError if anything differs that was read while the file was opened."""
        self._compare_stamp(whole=True)
        if self._witness is not None:
            self._compare(self._witness, self._witness.noted())

    def check_near(self, spans: Iterable[Span]) -> None:
        """Raise ChangedFileError if what was read of some spans while the file was opened differs now."""
        self._compare_stamp(whole=False)
        if self._witness is not None:
            self._compare(self._witness, self._witness.overlapping(spans))

    def _compare_stamp(self, *, whole: bool) -> None:
        """Raise ChangedFileError if the stamp of the file, if it has one, is another than at opening.

        Args:
            whole: whether this may take time in proportion to the file.
        """

    def _compare(self, witness: Witness, spans: Sequence[Span]) -> None:
        for some in batches(spans, _length, _BATCH):
            parts = [(span, memoryview(bytearray(_length(span)))) for span in some]
            for request in _apart([(span[0], part) for span, part in parts]):
                self.read_many(request)
            for span, part in parts:
                if not witness.agrees(span, part):
                    raise changed(self.label, span[0])


def _length(span: Span) -> int:
    return span[1] - span[0]


def _apart(requests: Sequence[tuple[int, memoryview]]) -> list[list[tuple[int, memoryview]]]:
    """Distribute requests in ascending order over lists in which none overlap; nearly always there is one."""
    lists: list[list[tuple[int, memoryview]]] = []
    for request in requests:
        for one in lists:
            start, out = one[-1]
            if start + len(out) <= request[0]:
                one.append(request)
                break
        else:
            lists.append([request])
    return lists
