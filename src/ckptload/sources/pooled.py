"""Many files of which only some are open at a time: the files of a thousand ranks exceed the limit on descriptors."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from ckptload.errors import ClosedReaderError
from ckptload.sources.base import Source
from ckptload.sources.files import FileSource
from ckptload.sources.identity import changed
from ckptload.threads import HELD

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ckptload.sources.base import Request

#: Files that are open at a time. Usual limits of a process are 256 and 1024.
MOST_OPEN: Final = 64


class Pool:
    """Opens files when they are read, and closes those that have not been read for longest."""

    def __init__(self, most: int = MOST_OPEN) -> None:
        self._most = most
        # In the order of their last use; with how many are reading each.
        self._open: dict[PooledFile, tuple[FileSource, int]] = {}
        # Reentrant: a signal handler in the thread that holds it may read, too.
        self._lock = threading.RLock()

    @contextmanager
    def lent(self, file: PooledFile) -> Iterator[FileSource]:
        """Give an open file; it stays open until the context ends."""
        with HELD, self._lock:
            found, users = self._open.pop(file, (None, 0))
            opened = file.opened() if found is None else found
            self._open[file] = (opened, users + 1)
            self._trim()
        try:
            yield opened
        finally:
            with HELD, self._lock:
                known = self._open.get(file)
                if known is not None and known[0] is opened:
                    self._open[file] = (opened, known[1] - 1)
                self._trim()

    def _trim(self) -> None:
        """Close files that nobody reads, as long as too many are open."""
        if len(self._open) <= self._most:
            return
        for file in [file for file, (_, users) in self._open.items() if not users][: len(self._open) - self._most]:
            self._open.pop(file)[0].close()

    def forget(self, file: PooledFile) -> None:
        """Close a file if it is open."""
        with HELD, self._lock:
            found, _ = self._open.pop(file, (None, 0))
        if found is not None:
            found.close()


class PooledFile(Source):
    """A file of a pool, opened by its first read, and again after it had to make room for others.

    Raises:
        ReadError: it cannot be opened; this is seen at once.
    """

    profile = FileSource.profile

    def __init__(self, path: str, pool: Pool) -> None:
        self.path = self.label = os.path.realpath(path)
        self.files = (self.label,)
        self._pool = pool
        self._closed = False
        self._stamp: tuple[int, int, int, int] | None = None
        with pool.lent(self) as file:
            self.size = file.size

    def opened(self) -> FileSource:
        """Open the file, which must be the same as the first time.

        Raises:
            ClosedReaderError: the source was closed.
            ChangedFileError: another file is in its place.
        """
        if self._closed:
            raise ClosedReaderError("the checkpoint was closed", path=self.label)
        file = FileSource(self.label)
        if self._stamp is None:
            self._stamp = file.stamp
        elif file.stamp != self._stamp:
            file.close()
            raise changed(self.label)
        return file

    def read(self, start: int, stop: int) -> bytes | memoryview:
        """Return a copy of a range."""
        with self._pool.lent(self) as file:
            return file.read(start, stop)

    def read_into(self, start: int, out: memoryview) -> None:
        """Fill `out` from the file."""
        with self._pool.lent(self) as file:
            file.read_into(start, out)

    def read_many(self, requests: Sequence[Request]) -> None:
        """Fill every ``(start, out)``; see `Source.read_many`."""
        with self._pool.lent(self) as file:
            file.read_many(requests)

    def check_unchanged(self) -> None:
        """Raise ChangedFileError unless the path still names the same file, unchanged."""
        with self._pool.lent(self) as file:
            file.check_unchanged()

    def statuses(self) -> list[os.stat_result]:
        """Return the status of the file."""
        with self._pool.lent(self) as file:
            return file.statuses()

    def close(self) -> None:
        """Close the file; reading raises ClosedReaderError."""
        self._closed = True
        self._pool.forget(self)
