"""Memory of encrypted blocks: cached plaintext, and bytes that were read before a tag was checked."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from typing import TYPE_CHECKING

from ckptload.errors import ClosedReaderError

if TYPE_CHECKING:
    from collections.abc import Iterable

    #: A block's number, and the number of a piece in it.
    Piece = tuple[int, int]


class Kept:
    """A cache of authenticated plaintext, with the least recently used piece dropped first. Thread-safe.

    Args:
        most: the largest number of pieces.
        label: what to call the source in a message.
    """

    def __init__(self, most: int, label: str) -> None:
        self.most = most
        self._label = label
        self._lock = threading.Lock()
        self._pieces: OrderedDict[Piece, memoryview] | None = OrderedDict()

    def get(self, piece: Piece) -> memoryview | None:
        """Return a piece, or None if it is not in the cache.

        Raises:
            ClosedReaderError: the source was closed.
        """
        with self._lock:
            pieces = self._open()
            if piece in pieces:
                pieces.move_to_end(piece)
            return pieces.get(piece)

    def put(self, pieces: Iterable[tuple[Piece, memoryview]]) -> None:
        """Add pieces, and drop the least recently used ones beyond the limit.

        Raises:
            ClosedReaderError: the source was closed.
        """
        with self._lock:
            kept = self._open()
            kept.update(pieces)
            while len(kept) > self.most:
                kept.popitem(last=False)

    def close(self) -> None:
        """Drop all pieces."""
        with self._lock:
            self._pieces = None

    def _open(self) -> OrderedDict[Piece, memoryview]:
        if self._pieces is None:
            raise ClosedReaderError("the checkpoint was closed", path=self._label)
        return self._pieces


class Seen:
    """Bytes of a block that were read before its tag was checked.

    Args:
        spans: ``(offset in the block, bytes)``, in any order; they may overlap.

    Attributes:
        was_true: whether all bytes compared so far equal the block's plaintext.
    """

    def __init__(self, spans: Iterable[tuple[int, bytes]]) -> None:
        self._spans = deque(sorted(spans))
        self.was_true = True

    def compare(self, at: int, plain: memoryview) -> None:
        """Compare with the next piece of the block's plaintext, which begins at offset `at`."""
        stop, rest = at + len(plain), []
        while self._spans and self._spans[0][0] < stop:
            place, data = self._spans.popleft()
            here = data[: stop - place]
            self.was_true &= plain[place - at : place - at + len(here)] == here
            if len(here) < len(data):
                rest.append((stop, data[len(here) :]))
        self._spans.extendleft(reversed(rest))
