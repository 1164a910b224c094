"""Checkpoints that lie elsewhere: anything that fsspec opens, such as ``s3://``, ``https://``, ``memory://``.

Only the index and the wanted content are fetched, by ranged requests; see docs/lazy.md, "Remote files".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from ckptload.errors import ArgumentError, ChangedFileError, ClosedReaderError, ReadError
from ckptload.sources import Source

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ckptload.sources import Request

#: A request costs as much as a few hundred kilobytes, so that wanted spans this close are fetched by one.
_GAP_LIMIT: Final = 256 << 10
#: Large spans are cut into pieces that fsspec fetches at the same time.
_PIECE: Final = 8 << 20
#: At most so much is held beside the arrays that it is copied into.
_BATCH: Final = 64 << 20


class RemoteSource(Source):
    """A file behind a URL, read by ranged requests.

    fsspec keeps its own connections; what it fetched is copied into the caller's memory once.
    """

    windows = (1 << 20, 16 << 10)

    def __init__(self, url: str) -> None:
        self.path = url
        # A URL may carry a password, which no message shows.
        self.label = re.sub(r"//[^/@]*@", "//", url)
        try:
            from fsspec.core import url_to_fs  # noqa: PLC0415 -- an optional dependency, wanted for URLs only
        except ImportError as error:
            raise ArgumentError(
                "reading from a URL needs fsspec", path=self.label, hint="install it with: pip install ckptload[remote]"
            ) from error
        self._files, self._name = self._ask(lambda: url_to_fs(url))
        size = self._ask(lambda: self._files.info(self._name)).get("size")
        if not isinstance(size, int):
            raise ReadError(
                "the server does not say how long the file is", path=self.label, hint="download it and load the copy"
            )
        self.size = size

    def read(self, start: int, stop: int) -> bytes:
        """Fetch one range."""
        self.bounded(start, stop)
        files = self._open_files()
        data: bytes = self._ask(lambda: files.cat_file(self._name, start, stop)) if stop > start else b""
        self._check(start, stop, data)
        return data

    def read_into(self, start: int, out: memoryview) -> None:
        """Fetch a range, in parallel pieces where it is large."""
        self.read_many([(start, out)])

    def read_many(self, requests: Sequence[Request]) -> None:
        """Fetch ranges in few requests, several at a time, and a bounded amount at once."""
        batch: list[tuple[int, int]] = []
        parts: list[Request] = []
        held = 0
        for start, out in _cut(requests):
            stop = start + len(out)
            if batch and stop - batch[-1][0] <= _PIECE and 0 <= start - batch[-1][1] <= _GAP_LIMIT:
                held += stop - batch[-1][1]
                batch[-1] = (batch[-1][0], stop)
            else:
                if held > _BATCH:
                    self._fetch(batch, parts)
                    batch, parts, held = [], [], 0
                batch.append((start, stop))
                held += len(out)
            parts.append((start, out))
        self._fetch(batch, parts)

    def _fetch(self, ranges: list[tuple[int, int]], parts: list[Request]) -> None:
        """Fetch ascending ranges at the same time and copy the parts that lie in them."""
        if not ranges:
            return
        for start, stop in ranges:
            self.bounded(start, stop)
        files = self._open_files()
        starts, stops = [start for start, _ in ranges], [stop for _, stop in ranges]
        found = self._ask(lambda: files.cat_ranges([self._name] * len(ranges), starts, stops, on_error="raise"))
        at = 0
        for start, out in parts:
            while start >= stops[at]:
                at += 1
            self._check(starts[at], stops[at], found[at])
            begin = start - starts[at]
            out[:] = memoryview(found[at])[begin : begin + len(out)]

    def _check(self, start: int, stop: int, data: bytes) -> None:
        if len(data) != stop - start:
            raise ChangedFileError(
                f"the server gave {len(data)} bytes where {stop - start} were asked for",
                path=self.label,
                offset=start,
                hint="the file changed, or the server does not serve ranges; download it and load the copy",
            )

    def _ask(self, request: Any) -> Any:
        """Do one request; what any of the many file systems raises becomes a ReadError."""
        try:
            return request()
        except Exception as error:
            hint = "check the URL and the credentials"
            if isinstance(error, ImportError):
                hint = "install the package that fsspec names for this kind of URL"
            words = str(error).replace(str(self.path), self.label)
            raise ReadError(
                f"cannot read the file: {type(error).__name__}: {words}", path=self.label, hint=hint
            ) from error

    def _open_files(self) -> Any:
        if self._files is None:
            raise ClosedReaderError("the checkpoint was closed", path=self.label)
        return self._files

    def close(self) -> None:
        """Let go of the file system; fsspec keeps its connections for the next file."""
        self._files = None


def _cut(requests: Sequence[Request]) -> list[Request]:
    """Cut large requests into pieces; drop empty ones."""
    return [(start + at, out[at : at + _PIECE]) for start, out in requests for at in range(0, len(out), _PIECE)]
