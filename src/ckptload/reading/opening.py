"""`open_checkpoint`: from a path, bytes or a file object to a reader."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ckptload.encryption.ciphers import AES_GCM
from ckptload.errors import enough_memory
from ckptload.foreign.giving import AUTO, chosen
from ckptload.formats.entry import CKPT
from ckptload.formats.limits import MAX_RECORDS
from ckptload.formats.safetensors.shards import ShardedSource, is_index
from ckptload.reading.access import Access
from ckptload.reading.indexing import guess_format, open_index
from ckptload.reading.reader import Reader
from ckptload.sources.files import FileSource
from ckptload.sources.inputs import open_source

if TYPE_CHECKING:
    from ckptload.sources.base import Source


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
            object and closes it. The path may be that of an index of shards,
            ``model.safetensors.index.json``.
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
        ReadError: the file is missing or cannot be read. This and all below are CheckpointErrors.
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
    """
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
    with (
        enough_memory("to open the checkpoint", path=source if isinstance(source, str) else None),
        ExitStack() as stack,
    ):
        in_shards = access.format != CKPT and is_index(source)
        opened: Source = (
            ShardedSource(
                source, mapped=access.mapped, max_records=access.max_records, watches_names=access.watches_name
            )
            if in_shards
            else open_source(source, mapped=access.mapped)
        )
        stack.callback(opened.close)
        if isinstance(opened, FileSource):
            opened.watches_name = access.watches_name
        if access.format is None:
            # Without a key, the mode does not matter.
            mode = access.mode if access.key is not None else AES_GCM
            access = replace(access, format=guess_format(opened), mode=mode)
        index = open_index(opened, access)
        again = opened.path is not None and access.key is None
        reader = Reader(index, gives=access.gives, reopen=(open_with, (opened.path, access)) if again else None)
        if access.authenticates or index.cipher is None:
            reader.warn_of_foreign_fields()
        stack.pop_all()
    return reader
