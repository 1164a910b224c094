"""What is remembered of encrypted blocks: plaintext to use again, and what was seen before a tag was compared."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from typing import TYPE_CHECKING

from ckptload.errors import ClosedReaderError

if TYPE_CHECKING:
    from collections.abc import Iterable

    #: A block's number, and that of a piece of it.
    Piece = tuple[int, int]


class Kept:
    """Authentic plaintext of the pieces that were used last.

    Args:
        most: how many pieces are kept.
        label: what to call the source in a message.
    """

    def __init__(self, most: int, label: str) -> None:
        self.most = most
        self._label = label
        self._lock = threading.Lock()
        self._pieces: OrderedDict[Piece, memoryview] | None = OrderedDict()

    def get(self, piece: Piece) -> memoryview | None:
        """Return a piece if it is kept.

        Raises:
            ClosedReaderError: the source was closed.
        """
        with self._lock:
            pieces = self._open()
            if piece in pieces:
                pieces.move_to_end(piece)
            return pieces.get(piece)

    def put(self, pieces: Iterable[tuple[Piece, memoryview]]) -> None:
        """Keep pieces in place of those that nobody asked for lately."""
        with self._lock:
            kept = self._open()
            kept.update(pieces)
            while len(kept) > self.most:
                kept.popitem(last=False)

    def close(self) -> None:
        """Let go of them all."""
        with self._lock:
            self._pieces = None

    def _open(self) -> OrderedDict[Piece, memoryview]:
        if self._pieces is None:
            raise ClosedReaderError("the checkpoint was closed", path=self._label)
        return self._pieces


class Seen:
    """What was seen of a block before its tag was compared.

    Args:
        spans: ``(place in the block, bytes)``, in any order; they may overlap.

    Attributes:
        was_true: whether all of it was as the plaintext that it was compared with.
    """

    def __init__(self, spans: Iterable[tuple[int, bytes]]) -> None:
        self._spans = deque(sorted(spans))
        self.was_true = True

    def compare(self, at: int, plain: memoryview) -> None:
        """Hold it against the next piece of the block's plaintext, which begins at `at`."""
        stop, rest = at + len(plain), []
        while self._spans and self._spans[0][0] < stop:
            place, data = self._spans.popleft()
            here = data[: stop - place]
            self.was_true &= plain[place - at : place - at + len(here)] == here
            if len(here) < len(data):
                rest.append((stop, data[len(here) :]))
        self._spans.extendleft(reversed(rest))
