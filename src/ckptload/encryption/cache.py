"""Memory of encrypted blocks: cached plaintext, and bytes that were read before a tag was checked."""

from __future__ import annotations

from collections import OrderedDict, deque
from contextlib import suppress
from typing import TYPE_CHECKING

from ckptload.errors import ClosedReaderError

if TYPE_CHECKING:
    from collections.abc import Iterable

    #: A block's number, and the number of a piece in it.
    Piece = tuple[int, int]


class Kept:
    """A cache of authenticated plaintext, with the least recently used piece dropped first. Thread-safe.

    There is no lock that a signal handler could meet: each step is one call of a dictionary, and other threads, or a
    handler, may change it between two steps.

    Args:
        most: the largest number of pieces.
        label: what to call the source in a message.
    """

    def __init__(self, most: int, label: str) -> None:
        self.most = most
        self._label = label
        self._pieces: OrderedDict[Piece, memoryview] | None = OrderedDict()

    def get(self, piece: Piece) -> memoryview | None:
        """Return a piece, or None if it is not in the cache.

        Raises:
            ClosedReaderError: the source was closed.
        """
        pieces = self._open()
        found = pieces.get(piece)
        if found is not None:
            with suppress(KeyError):
                pieces.move_to_end(piece)
        return found

    def put(self, pieces: Iterable[tuple[Piece, memoryview]]) -> None:
        """Add pieces, and drop the least recently used ones beyond the limit.

        Raises:
            ClosedReaderError: the source was closed.
        """
        kept = self._open()
        for piece, plain in pieces:
            kept[piece] = plain
        with suppress(KeyError):
            while len(kept) > self.most:
                kept.popitem(last=False)

    def close(self) -> None:
        """Drop all pieces."""
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
