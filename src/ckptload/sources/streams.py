"""A source as a file object, for libraries that take only these."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ckptload.sources.base import Source


class SourceStream(io.RawIOBase):
    """A source as a file object; closing it does not close the source.

    Args:
        source: what is read.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._at = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move, and return the new position.

        Raises:
            ValueError: it is before the file.
        """
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._source.size}[whence]
        if base + offset < 0:
            raise ValueError("a position before the file")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any, /) -> int:
        """Fill a buffer as far as the source goes, and return the number of bytes."""
        out = memoryview(buffer).cast("B")
        count = max(min(len(out), self._source.size - self._at), 0)
        if count:
            self._source.read_into(self._at, out[:count])
        self._at += count
        return count
