"""Write a complete file, plain or encrypted, and check what can be encrypted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ckptload.encryption.ciphers import AES_GCM, check_key
from ckptload.encryption.encrypting import EncryptingWriter, prepare
from ckptload.errors import ArgumentError, Hint
from ckptload.formats.entry import MAP
from ckptload.writing.atomic import Replacement

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from ckptload.encryption.keys import Key
    from ckptload.formats.item import Item


def write_file(
    path: str,
    buffers: Iterable[bytes | memoryview],
    *,
    key: Key | bytes | None = None,
    mode: str = AES_GCM,
    synced: bool = True,
    permissions: int | None = None,
    reveals: Sequence[os.stat_result] = (),
    staged: Path | None = None,
    advance: Callable[[int], object] | None = None,
    finish: Callable[[], object] | None = None,
) -> None:
    """Write buffers to a new file, which then replaces the file at a path.

    Args:
        path: an absolute path.
        buffers: the bytes of the file; each buffer is written before the next one is requested.
        key: key to encrypt with, hidden or not; None for a plain file.
        mode: cipher of an encrypted file.
        synced: see `Replacement`.
        permissions: see `Replacement`.
        reveals: see `Replacement`.
        staged: see `Replacement`.
        advance: called with the size of each buffer, in bytes, after it is written.
        finish: called after everything is written and before the file is replaced.

    Raises:
        WriteError: the system could not write.
    """
    if key is not None:
        prepare(key, mode)
    with Replacement(path, synced=synced, permissions=permissions, reveals=reveals, staged=staged) as file:
        encrypting = None if key is None else EncryptingWriter(file, key, mode)
        write = file.write if encrypting is None else encrypting.write
        for buffer in buffers:
            write(buffer)
            if advance is not None:
                advance(len(buffer))
        if encrypting is not None:
            encrypting.finish()
        if finish is not None:
            finish()


def check_encryption(key: Key | bytes, mode: str, *, crc_check: bool) -> None:
    """Raise ArgumentError unless a .ckpt can be encrypted with these arguments.

    With `crc_check`, MindSpore adds an unencrypted trailer (docs/format.md, "Faults of MindSpore's writer").
    """
    check_key(key, mode, argument="enc_key")
    if crc_check:
        raise ArgumentError(
            "an encrypted file cannot carry a CRC-32: no version of MindSpore would load it",
            hint=Hint("leave {crc} out; AES-GCM detects every change by itself"),
        )


def check_encryptable(items: Iterable[Item]) -> None:
    """Raise ArgumentError for an item that an encrypted file cannot hold.

    MindSpore writes maps unencrypted, before the first block (docs/format.md, "Faults of MindSpore's writer").
    """
    for item in items:
        if item.kind == MAP:
            raise ArgumentError(
                "a map cannot be saved encrypted: MindSpore writes maps unencrypted, and cannot load encrypted ones",
                name=item.name,
                hint=Hint("leave the entry out with {exclude}, and save it in a file of its own"),
            )
