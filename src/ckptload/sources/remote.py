"""Remote checkpoints: anything that fsspec opens, such as ``s3://``, ``https://``, ``memory://``.

Only the index and the wanted tensor data are fetched, by ranged requests; see docs/lazy.md, "Remote files".
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from ckptload import shown
from ckptload.errors import (
    ChangedFileError,
    CheckpointError,
    ClosedReaderError,
    MissingFileError,
    ReadError,
)
from ckptload.sources import filesystems
from ckptload.sources.base import Profile, span_of
from ckptload.sources.http import DOWNLOAD, HttpFile, is_http
from ckptload.sources.identity import Witness, WitnessedSource, changed
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
#: A file is at most this large, in bytes: a petabyte. What claims to be larger is not asked for.
MAX_SIZE: Final = 1 << 50


class RemoteSource(WitnessedSource):
    """A file behind a URL, read by ranged requests.

    fsspec keeps its own connections. Fetched bytes are copied into the caller's memory once. A web server identifies
    the file in every answer; other file systems are asked about it again after it was read. If they tell nothing but
    its size, or may not tell in time, the headers of what was read are fetched again.
    """

    profile = Profile(near=1 << 20, far=16 << 10)

    def __init__(self, url: str) -> None:
        self.path = url
        # A URL may contain a password or a signature, which no message may show.
        self.label = shown.place(url)
        self._files, self._name = self._ask(lambda: filesystems.opened(url))
        info = self._ask(self._facts)
        size = info.get("size")
        if not isinstance(size, int) or size < 0:
            raise ReadError("the server does not report the size of the file", path=self.label, hint=DOWNLOAD)
        if size > MAX_SIZE:
            raise ReadError(
                f"the server reports a size of {size} bytes; no file is larger than {MAX_SIZE}",
                path=self.label,
                hint="check the URL",
            )
        self.size = size
        self._http = HttpFile(self._files, self._name, size, self.label) if is_http(self._files) else None
        self._identity = None if self._http is not None else self._identity_of(info)
        vouched = self._identity is not None and not filesystems.may_be_late(self._files)
        self._witness = None if vouched else Witness()

    def read(self, start: int, stop: int) -> bytes:
        """Fetch one range; a large one in pieces, so that memory grows with what arrives, not with what is claimed."""
        self.bounded(start, stop)
        if stop - start <= _PIECE:
            return self._pieces([(start, stop)])[0] if stop > start else b""
        data = bytearray()
        for at in range(start, stop, _PIECE):
            data += self._pieces([(at, min(at + _PIECE, stop))])[0]
        return bytes(data)

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
        for (begin, _), parts, data in zip(spans, ranges, self._pieces(spans), strict=True):
            for start, out in parts:
                out[:] = memoryview(data)[start - begin : start - begin + len(out)]

    def _pieces(self, spans: Sequence[tuple[int, int]]) -> list[bytes]:
        """Fetch spans at the same time."""
        files, http = self._open_files(), self._http
        if http is not None:
            found = self._ask(lambda: http.fetch(spans))
        elif len(spans) == 1:
            found = [self._ask(lambda: files.cat_file(self._name, *spans[0]))]
        else:
            starts, stops = map(list, zip(*spans, strict=True))
            found = self._ask(lambda: files.cat_ranges([self._name] * len(spans), starts, stops, on_error="raise"))
        for (start, stop), data in zip(spans, found, strict=True):
            if len(data) != stop - start:
                raise ChangedFileError(
                    f"the server sent {len(data)} bytes where {stop - start} were requested",
                    path=self.label,
                    offset=start,
                    hint=f"the file changed, or the server does not serve ranges; {DOWNLOAD}",
                )
            self._note(start, data)
        return list(found)

    # -- which file this is -----------------------------------------------------------------------

    def seal(self) -> None:
        """End the opening of the file."""
        if self._http is not None and self._http.identified:
            # Every answer says which file it is about.
            self._witness = None
        super().seal()

    def _compare_stamp(self, *, whole: bool) -> None:  # noqa: ARG002 -- one request, whatever was read
        self._open_files()
        if self._identity is None:
            return
        try:
            info = self._ask(self._facts)
        except MissingFileError as error:
            raise changed(self.label) from error
        if self._identity_of(info) != self._identity:
            raise changed(self.label)

    def _facts(self) -> dict[str, Any]:
        return filesystems.facts(self._open_files(), self._name)

    def _identity_of(self, known: dict[str, Any]) -> tuple[object, ...] | None:
        return filesystems.identity(self._open_files(), self._name, known)

    def _ask(self, request: Any) -> Any:
        """Make one request; turn any error of fsspec's file systems into a ReadError."""
        try:
            return request()
        except CheckpointError:
            raise
        except Exception as error:  # noqa: BLE001 -- a file system may raise anything
            hint = "check the URL and the credentials"
            if isinstance(error, TimeoutError) or "Timeout" in type(error).__name__:
                hint = f"the server is too slow; try again, or {DOWNLOAD}"
            words = shown.without(str(error), str(self.path))
            cls = MissingFileError if isinstance(error, FileNotFoundError) else ReadError
            reason = f"{type(error).__name__}: {words}".rstrip(": ")
            found = cls(f"cannot read the file: {reason}", path=self.label, hint=hint)
            found.errno = error.errno if isinstance(error, OSError) else None
        # Not chained: the original exception, and its frames, show the whole URL.
        raise found

    def _open_files(self) -> Any:
        if self._files is None:
            raise ClosedReaderError("the checkpoint was closed", path=self.label)
        return self._files

    def statuses(self) -> list[os.stat_result]:
        """Return the status of the file if the URL is that of a local one."""
        if "file" in (getattr(self._open_files(), "protocol", None) or ()):
            with suppress(OSError):
                return [os.stat(self._name)]  # noqa: PTH116 -- the path is a str throughout
        return []

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
