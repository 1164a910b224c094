"""Turn what a caller passes (a path, URL, bytes or file object) into a source."""

from __future__ import annotations

import io
import os
from contextlib import suppress
from typing import BinaryIO, cast

from ckptload import shown
from ckptload.errors import ArgumentTypeError
from ckptload.messages import type_name
from ckptload.sources.base import Source
from ckptload.sources.files import FileSource, MappedSource, unreadable
from ckptload.sources.memory import BufferSource, FileObjectSource


def open_source(source: object, *, mapped: bool = False) -> Source:
    """Open what a caller passed: a path or URL, a buffer of bytes, or a seekable binary file object.

    Raises:
        ArgumentTypeError: the argument is none of these.
        ReadError: the argument cannot be read.
    """
    if isinstance(source, Source):
        return source
    if isinstance(source, (str, os.PathLike)):
        path = os.fspath(source)
        if isinstance(path, str) and "://" in path:
            from ckptload.sources.remote import RemoteSource  # noqa: PLC0415 -- fsspec is optional, and slow to import

            return RemoteSource(path)
        if isinstance(path, str):
            return (MappedSource if mapped else FileSource)(_real(path))
    if isinstance(source, (bytes, bytearray, memoryview)):
        return BufferSource(source)
    if isinstance(source, io.TextIOBase) or not hasattr(source, "read") or not hasattr(source, "seek"):
        raise ArgumentTypeError(
            f"a checkpoint is opened from a path, bytes or a binary file object, not from {type_name(source)}",
            hint="open text files again with mode 'rb'",
        )
    return FileObjectSource(cast("BinaryIO", source))


def place_of(source: object) -> str | None:
    """Return the absolute path of a path, or of a file object that was opened by one; None if there is no such path.

    Links are not followed: the place is that of the link.
    """
    if isinstance(source, Source):
        return source.path
    if isinstance(source, (str, os.PathLike)):
        path = os.fspath(source)
        return os.path.abspath(path) if isinstance(path, str) else None  # noqa: PTH100 -- links must not be followed
    name = getattr(source, "name", None)
    if isinstance(name, str):
        # The name may be any text, or that of another file by now.
        with suppress(Exception):
            if os.path.samestat(os.stat(name), os.fstat(cast("BinaryIO", source).fileno())):  # noqa: PTH116
                return os.path.abspath(name)  # noqa: PTH100 -- as above
    return None


def _real(path: str) -> str:
    """Follow symbolic links, so that messages and checks refer to the file itself."""
    try:
        return os.path.realpath(path)
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from shown.cause(error)
