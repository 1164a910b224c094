"""Remote checkpoints: anything that fsspec opens, such as ``s3://``, ``https://``, ``memory://``.

Only the index and the wanted tensor data are fetched, by ranged requests; see docs/lazy.md, "Remote files".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ckptload import shown
from ckptload.errors import ArgumentError, ChangedFileError, ClosedReaderError, MissingFileError, ReadError
from ckptload.sources.base import Profile, Source, span_of
from ckptload.sources.spans import batches, neighbours

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ckptload.sources.base import Request

#: A request takes as long as a few hundred kilobytes do, so spans this close are fetched by one request.
_GAP_LIMIT: Final = 256 << 10
#: Large spans are cut into pieces that fsspec fetches at the same time.
_PIECE: Final = 8 << 20
#: At most this many bytes are held besides the arrays that they are copied into.
_BATCH: Final = 64 << 20


class RemoteSource(Source):
    """A file behind a URL, read by ranged requests.

    fsspec keeps its own connections. Fetched bytes are copied into the caller's memory once.
    """

    profile = Profile(near=1 << 20, far=16 << 10)

    def __init__(self, url: str) -> None:
        self.path = url
        # A URL may contain a password or a signature, which no message may show.
        self.label = shown.place(url)
        try:
            from fsspec.core import url_to_fs  # noqa: PLC0415 -- an optional dependency, needed for URLs only
        except ImportError as error:
            raise ArgumentError(
                "reading from a URL needs fsspec", path=self.label, hint="install it with: pip install ckptload[remote]"
            ) from error
        self._files, self._name = self._ask(lambda: url_to_fs(url))
        size = self._ask(lambda: self._files.info(self._name)).get("size")
        if not isinstance(size, int):
            raise ReadError(
                "the server does not report the size of the file", path=self.label, hint="download it and load the copy"
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
        """Fetch a range; a large one is fetched in parallel pieces."""
        self.read_many([(start, out)])

    def read_many(self, requests: Sequence[Request]) -> None:
        """Fetch ranges in few requests, several in parallel, with a bounded number of bytes at a time."""
        ranges = neighbours(_cut(requests), span_of, gap=_GAP_LIMIT, most=_PIECE)
        for several in batches(ranges, _length, _BATCH):
            self._fetch(several)

    def _fetch(self, ranges: Sequence[Sequence[Request]]) -> None:
        """Fetch ranges in parallel, and copy the parts of each into their buffers."""
        spans = [_covered(parts) for parts in ranges]
        for start, stop in spans:
            self.bounded(start, stop)
        files = self._open_files()
        starts, stops = map(list, zip(*spans, strict=True))
        found = self._ask(lambda: files.cat_ranges([self._name] * len(ranges), starts, stops, on_error="raise"))
        for (begin, end), parts, data in zip(spans, ranges, found, strict=True):
            self._check(begin, end, data)
            for start, out in parts:
                out[:] = memoryview(data)[start - begin : start - begin + len(out)]

    def _check(self, start: int, stop: int, data: bytes) -> None:
        if len(data) != stop - start:
            raise ChangedFileError(
                f"the server sent {len(data)} bytes where {stop - start} were requested",
                path=self.label,
                offset=start,
                hint="the file changed, or the server does not serve ranges; download it and load the copy",
            )

    def _ask(self, request: Any) -> Any:
        """Make one request; turn any error of fsspec's file systems into a ReadError."""
        try:
            return request()
        except Exception as error:  # noqa: BLE001 -- a file system may raise anything
            hint = "check the URL and the credentials"
            if isinstance(error, ImportError):
                hint = "install the package that fsspec names for this kind of URL"
            words = shown.without(str(error), str(self.path))
            cls = MissingFileError if isinstance(error, FileNotFoundError) else ReadError
            found = cls(f"cannot read the file: {type(error).__name__}: {words}", path=self.label, hint=hint)
            found.errno = error.errno if isinstance(error, OSError) else None
        # Not chained: the original exception, and its frames, show the whole URL.
        raise found

    def _open_files(self) -> Any:
        if self._files is None:
            raise ClosedReaderError("the checkpoint was closed", path=self.label)
        return self._files

    def close(self) -> None:
        """Release the file system; fsspec keeps its connections for the next file."""
        self._files = None


def _covered(parts: Sequence[Request]) -> tuple[int, int]:
    """Return the span that covers all neighbours."""
    return parts[0][0], span_of(parts[-1])[1]


def _length(parts: Sequence[Request]) -> int:
    start, stop = _covered(parts)
    return stop - start


def _cut(requests: Sequence[Request]) -> list[Request]:
    """Cut large requests into pieces; drop empty ones."""
    return [(start + at, out[at : at + _PIECE]) for start, out in requests for at in range(0, len(out), _PIECE)]
