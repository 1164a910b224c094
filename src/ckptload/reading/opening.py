"""`open_checkpoint`: from a path, bytes or a file object to a reader."""

from __future__ import annotations

import os
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ckptload.encryption.ciphers import AES_GCM
from ckptload.encryption.keys import hidden
from ckptload.errors import ArgumentError, ReadError, enough_memory
from ckptload.foreign.giving import AUTO, chosen
from ckptload.formats.entry import CKPT
from ckptload.formats.limits import MAX_RECORDS
from ckptload.formats.safetensors.shards import ReplacedIndexError, ShardedSource, stamp
from ckptload.formats.safetensors.weight_map import DOWNLOAD, ENDING, find
from ckptload.reading.access import Access
from ckptload.reading.advice import open_advised
from ckptload.reading.indexing import guess_format, import_first, open_index
from ckptload.reading.reader import Reader
from ckptload.sources.files import FileSource
from ckptload.sources.inputs import open_source, place_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from ckptload.formats.index import Index
    from ckptload.sources.base import Source

    Result = TypeVar("Result")

_TO_OPEN: Final = "to open the checkpoint"
#: How often reading begins again because the index of shards was replaced meanwhile.
_TRIES: Final = 10


def open_checkpoint(
    source: Any,
    *,
    format: str | None = None,
    dec_key: bytes | None = None,
    dec_mode: str = AES_GCM,
    allow_unauthenticated: bool = False,
    mmap: bool = False,
    max_records: int = MAX_RECORDS,
    parameters: str = AUTO,
) -> Reader:
    """Open a checkpoint of any size without reading its tensor data.

    Args:
        source: path (str or os.PathLike), bytes, or a seekable binary file object. The caller owns a file
            object and closes it. The path may be that of an index of shards, such as
            ``model.safetensors.index.json``, which is known by its content.
        format: ``"ckpt"`` or ``"safetensors"``; None decides by the name or the first bytes.
        dec_key: key of an encrypted file: 16, 24 or 32 bytes for AES, 16 for SM4.
        dec_mode: ``"AES-GCM"``, ``"AES-CBC"`` or ``"SM4-CBC"``.
        allow_unauthenticated: open AES-GCM files with data that no tag covers (docs/security.md).
        mmap: map the file; arrays and ckptload's tensors are then views of it that may be unaligned. If another
            program truncates a mapped file, reading it ends this process (docs/lazy.md).
        max_records: the largest number of records, or of tensors in a safetensors file (docs/security.md).
        parameters: what tensors are read as: ``"mindspore"`` for ``mindspore.Parameter``, ``"ckptload"`` for
            `Parameter`, ``"torch"`` for ``torch.Tensor``, ``"numpy"`` for arrays. ``"auto"`` is ``"mindspore"``
            if this process has imported MindSpore, and ``"ckptload"`` otherwise.

    Returns:
        A mapping of names to values, each read on access. It keeps the file open; use it as a context
        manager. Values own their memory, unless they are views with `mmap`.

    Raises:
        MissingFileError: the file does not exist. This and all below are CheckpointErrors.
        ReadError: it cannot be read.
        EmptyCheckpointError: it has no bytes or no records.
        WrongFormatError: it is another kind of file.
        CorruptCheckpointError: it is damaged.
        LimitError: it has more records than `max_records`, or exceeds another limit (docs/security.md).
        EncryptedCheckpointError: it is encrypted, and `dec_key` was not given.
        DecryptionError: `dec_key` or `dec_mode` does not fit it, or it needs `allow_unauthenticated`.
        CipherUnavailableError: the installed ``cryptography`` does not support the mode.
        ArgumentError: the value of an argument is not allowed.
        ArgumentTypeError: an argument has the wrong type.
        MissingPackageError: `parameters` needs a package that is not installed.

    Warns:
        ForeignFieldWarning: the file has fields that no version of MindSpore writes, so parameters may be missing.
    """
    dec_key = hidden(dec_key)
    return open_with(
        source,
        Access(
            format=format,
            key=dec_key,
            mode=dec_mode,
            allow_unauthenticated=allow_unauthenticated,
            max_records=max_records,
            mapped=mmap,
            gives=chosen(parameters),
        ),
    )


def open_with(source: Any, access: Access) -> Reader:
    """Open a checkpoint with `Access`; otherwise like `open_checkpoint`.

    Without `Access.authenticates`, the caller of an encrypted file must call `Reader.warn_of_foreign_fields` once
    everything is authenticated.
    """
    with ExitStack() as stack:
        index = index_of(source, access)
        stack.callback(index.source.close)
        reopens = index.source.path is not None and access.key is None
        reader = Reader(index, gives=access.gives, reopen=(open_with, (index.source.path, access)) if reopens else None)
        if access.authenticates or index.cipher is None:
            reader.warn_of_foreign_fields()
        stack.pop_all()
    return reader


def index_of(source: Any, access: Access) -> Index:
    """Open what a caller passed and return its index, which has its source; see `open_with`."""
    with enough_memory(_TO_OPEN, path=_path_of(source)), ExitStack() as stack:
        import_first(access)
        opened = open_files(source, access)
        stack.callback(opened.close)
        if access.format is None:
            # Without a key, the mode does not matter.
            mode = access.mode if access.key is not None else AES_GCM
            access = replace(access, format=guess_format(opened), mode=mode)
        index = open_index(opened, access)
        opened.seal()
        stack.pop_all()
    return index


def open_files(source: Any, access: Access) -> Source:
    """Open what a caller passed; an index of shards, which is known by its content, as one source of its shards.

    Raises:
        ArgumentError: it is an index, and where its shards are is not known.
        ReplacedIndexError: it is an index that is replaced again and again.
        CheckpointError: it cannot be read, or is not a valid index.
    """
    return again(lambda: _open_files(source, access))


def again(read: Callable[[], Result]) -> Result:
    """Call a function, and again if the index of shards that it reads was replaced meanwhile, up to ten times."""
    for _ in range(_TRIES - 1):
        with suppress(ReplacedIndexError):
            return read()
    return read()


def _open_files(source: Any, access: Access) -> Source:
    place = None if access.format == CKPT else place_of(source)
    seen = None if place is None else stamp(place)
    _check_url(source)
    opened = open_advised(source, mapped=access.mapped)
    if isinstance(opened, FileSource):
        opened.watches_name = access.watches_name
    if access.format == CKPT or (opened.path is not None and "://" in opened.path):
        # What is not a .ckpt, or behind a URL, is looked at when opening it fails; that saves a request.
        return opened
    with ExitStack() as stack:
        stack.callback(opened.close)
        index = find(opened, access.max_records)
        if index is None:
            stack.pop_all()
            return opened
    if place is None:
        raise ArgumentError(
            "this is an index of shards, and bytes or a file object without a path do not tell where its shards are",
            path=opened.label,
            hint="pass the path of the index, which must be in one folder with its shards",
        )
    shards = ShardedSource(place, index, mapped=access.mapped, watches_names=access.watches_name, seen=seen)
    if shards.is_replaced():
        # The sizes of the shards may be those of other files.
        raise shards.replaced()
    return shards


def is_index(source: object) -> bool:
    """Return whether a path is that of an index of shards, by its name or by what is in the file.

    Raises:
        CorruptCheckpointError: it is an index that is not valid.
        WrongFormatError: it is an index of files of another kind.
    """
    path = _path_of(source)
    if path is None or path.endswith(ENDING) or "://" in path:
        return path is not None and path.endswith(ENDING)
    # If it cannot be read, opening it tells why.
    with enough_memory(_TO_OPEN, path=path), suppress(ReadError), closing(open_source(path)) as opened:
        return find(opened) is not None
    return False


def _path_of(source: object) -> str | None:
    path = os.fspath(source) if isinstance(source, (str, os.PathLike)) else None
    return path if isinstance(path, str) else None


def _check_url(source: object) -> None:
    """Raise ArgumentError for the URL of an index, before anything is fetched."""
    path = _path_of(source)
    if path is not None and "://" in path and path.endswith(ENDING):
        raise ArgumentError("the index of a sharded checkpoint cannot be opened from a URL", path=path, hint=DOWNLOAD)
