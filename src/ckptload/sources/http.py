"""Ranges of a file behind HTTP, each answer of which is checked to be about the same file.

fsspec's file system is asked for its session, so that everything a user has configured for it applies. The requests
are made here, because fsspec returns the bytes of an answer without its headers.
"""

from __future__ import annotations

import asyncio
import re
import sys
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from ckptload.errors import ReadError
from ckptload.sources.identity import changed

if TYPE_CHECKING:
    from collections.abc import Sequence

    Span = tuple[int, int]

#: Requests that are made at the same time; aiohttp has 100 connections by default.
_AT_ONCE: Final = 64
#: Answers that say that the file is no longer the one that was asked for.
_CHANGED: Final = frozenset({HTTPStatus.PRECONDITION_FAILED, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE})
_RANGE: Final = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)")
_SHOWN: Final = 80

DOWNLOAD: Final = "download it and load the copy"
_CREDENTIALS: Final = "check the URL and the credentials"
_LATER: Final = f"the server failed; try again, or {DOWNLOAD}"


def is_http(files: Any) -> bool:
    """Return whether a file system of fsspec is its own one for HTTP, or one that reads ranges in the same way."""
    found = getattr(sys.modules.get("fsspec.implementations.http"), "HTTPFileSystem", None)
    return found is not None and isinstance(files, found) and type(files)._cat_file is found._cat_file  # noqa: SLF001


class HttpFile:
    """A file behind a URL that a server identifies by an entity tag or by its time, and by its size.

    Args:
        files: the file system, for which `is_http` is true.
        url: the URL.
        size: size in bytes, as the server has reported it.
        label: what to call the file in a message.
    """

    def __init__(self, files: Any, url: str, size: int, label: str) -> None:
        self._files = files
        self._url = url
        self._size = size
        self._label = label
        #: The header that identifies the file and its value, as in the first answer; no header is ("", "").
        self._identity: tuple[str, str] | None = None
        #: The headers that ask the server to compare it, too.
        self._condition: dict[str, str] = {}

    @property
    def identified(self) -> bool:
        """Return whether the server has sent something that tells the file from another one of its size."""
        return self._identity is not None and self._identity[0] != ""

    def fetch(self, spans: Sequence[Span]) -> list[bytes]:
        """Return the bytes of some spans, none of them empty.

        Raises:
            ChangedFileError: the file is not the one that the first answer was about.
            ReadError: the server does not serve exactly these bytes.
            FileNotFoundError: there is no such file.
            Exception: whatever aiohttp raises.
        """
        from fsspec.asyn import sync  # noqa: PLC0415 -- an optional dependency, needed for URLs only

        found: list[bytes] = sync(self._files.loop, self._fetch_all, spans)
        return found

    async def _fetch_all(self, spans: Sequence[Span]) -> list[bytes]:
        room = asyncio.Semaphore(_AT_ONCE)

        async def fetch(start: int, stop: int) -> bytes:
            async with room:
                return await self._fetch(start, stop)

        tasks = [asyncio.ensure_future(fetch(*span)) for span in spans]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()

    async def _fetch(self, start: int, stop: int) -> bytes:
        options = dict(self._files.kwargs)
        # Bytes of a compressed file would be counted in another way than those of the file.
        own = {"Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity", **self._condition}
        headers = {**(options.pop("headers", None) or {}), **own}
        session = await self._files.set_session()
        async with session.get(self._files.encode_url(self._url), headers=headers, **options) as response:
            try:
                self._check(response, start, stop)
                return await self._body(response, start, stop)
            except BaseException:
                # Whatever else the server sends is not read.
                response.close()
                raise

    def _check(self, response: Any, start: int, stop: int) -> None:
        """Check everything but the body: the status, which file this is, and which bytes of it."""
        status, headers = response.status, response.headers
        if status == HTTPStatus.NOT_FOUND:
            raise FileNotFoundError(self._label)
        if status in _CHANGED:
            raise changed(self._label, start)
        if status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
            hint = _LATER if status >= HTTPStatus.INTERNAL_SERVER_ERROR else _CREDENTIALS
            raise self._refused(f"the server answers {_status(status)}", start, hint)
        self._identify(response, start)
        if status == HTTPStatus.OK:
            raise self._refused(
                f"the server does not serve ranges: it sends the whole file for bytes {start} to {stop}", start
            )
        encoding = headers.get("Content-Encoding", "identity")
        if encoding.strip().lower() not in ("", "identity"):
            raise self._refused(f"the server sends compressed data ({_shown(encoding)}), whose ranges differ", start)
        found = _RANGE.fullmatch(headers.get("Content-Range", "").strip())
        if found is None or (int(found[1]), int(found[2])) != (start, stop - 1):
            what = _shown(headers.get("Content-Range", "none"))
            raise self._refused(f"the server sends another range ({what}) than bytes {start} to {stop}", start)
        if found[3] != "*" and int(found[3]) != self._size:
            raise changed(self._label, start)
        length = response.content_length
        if length is not None and length != stop - start:
            raise self._refused(f"the server sends {length} bytes where {stop - start} were requested", start)

    def _identify(self, response: Any, start: int) -> None:
        """Compare the identity of the file with that in the first answer."""
        tag, time = response.headers.get("ETag", ""), response.headers.get("Last-Modified", "")
        # The same content may have several times, on several machines, but not if the tag itself is a weak one.
        weak = tag.startswith("W/")
        identity = ("ETag", f"{tag} {time}" if weak else tag) if tag else ("Last-Modified" if time else "", time)
        if self._identity is None:
            self._identity = identity
            # Where the answer came from elsewhere, the first server would compare with a tag of its own.
            if not response.history and (tag + time).isascii() and (tag + time).isprintable():
                if tag and not weak:
                    self._condition = {"If-Match": tag}
                elif time:
                    self._condition = {"If-Unmodified-Since": time}
        elif self._identity != identity:
            raise changed(self._label, start)

    async def _body(self, response: Any, start: int, stop: int) -> bytes:
        """Return the body, of which no more is read than was asked for."""
        data = bytearray()
        async for piece in response.content.iter_any():
            data += piece
            if len(data) > stop - start:
                raise self._refused(f"the server sends more than the {stop - start} bytes that were requested", start)
        if len(data) < stop - start:
            raise self._refused(f"the server sent {len(data)} bytes where {stop - start} were requested", start)
        return bytes(data)

    def _refused(self, problem: str, start: int, hint: str = DOWNLOAD) -> ReadError:
        return ReadError(problem, path=self._label, offset=start, hint=hint)


def _status(status: int) -> str:
    """Return a status with its name in the standard; the server's own words may be any."""
    try:
        return f"{status} ({HTTPStatus(status).phrase})"
    except ValueError:
        return str(status)


def _shown(text: str) -> str:
    """Return text of a server for a message."""
    return ascii(text[:_SHOWN])
