"""Turn what a caller passes (a path, URL, bytes or file object) into a source."""

from __future__ import annotations

import io
import os
from typing import BinaryIO, cast

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


def _real(path: str) -> str:
    """Follow symbolic links, so that messages and checks refer to the file itself."""
    try:
        return os.path.realpath(path)
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
