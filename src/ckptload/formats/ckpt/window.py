"""A part of a source in memory, which moves along with the walk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ckptload.formats.limits import MAX_RECORDS, beyond

if TYPE_CHECKING:
    from ckptload.sources.base import Source


#: Fields that may be read one by one and dims that may be kept, together, per allowed record; writers other than
#: MindSpore need about ten.
FIELDS: Final = 16
#: As many may be read anyway, so that a caller who allows one record can have any record.
_LEAST: Final = 1024


class Window:
    """A part of a source that is held in memory and moves along with the walk.

    Attributes:
        size: size of the source, in bytes.
        last: the position that was read last. A caller that reads on in a buffer from `at` has to update it.
    """

    def __init__(self, source: Source, max_records: int = MAX_RECORDS) -> None:
        self._source = source
        self._max_records = max_records
        self._most = self._left = max(FIELDS * max_records, _LEAST)
        self.size = source.size
        self._buffer: bytes | memoryview = b""
        self._base = 0
        self.last = 0

    def at(self, pos: int, need: int) -> tuple[bytes | memoryview, int]:
        """Return a buffer and the index of `pos` in it.

        From there the buffer holds at least `need` bytes, or all up to the end of the source. It stays valid, but the
        window may move to another buffer with the next call.

        Raises:
            ReadError: the source cannot be read.
        """
        index = pos - self._base
        if index < 0 or (index + need > len(self._buffer) and self._base + len(self._buffer) < self.size):
            self._move(pos, need)
            index = 0
        self.last = pos
        return self._buffer, index

    def bytes(self, start: int, stop: int) -> bytes:
        """Return a copy of a range; the caller has checked its length."""
        buffer, index = self.at(start, stop - start)
        return bytes(buffer[index : index + stop - start])

    def count(self, pos: int, number: int = 1) -> None:
        """Count fields that are read one by one, or dims that are kept; `pos` is their position, for the error.

        Raises:
            LimitError: there were too many of them.
        """
        self._left -= number
        if self._left < 0:
            raise beyond(f"{self._most} fields and dimensions", self._max_records, self._source.label, pos)

    def _move(self, pos: int, need: int) -> None:
        near, far = self._source.profile.near, self._source.profile.far
        # Large reads are for short steps only: after a long step, most of the bytes read would be tensor data.
        reach = near if self._buffer and 0 <= pos - self.last <= 2 * far else far
        self._buffer = self._source.read(pos, min(self.size, pos + max(need, reach)))
        self._base = pos
