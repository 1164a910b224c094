"""Encrypt a stream as MindSpore 2.10 does: a chain of blocks, each with its own IV.

The layout is in docs/format.md, "Encryption"; `chain` reads it.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final, Protocol, cast

import numpy as np

from ckptload.encryption import chain
from ckptload.encryption.chain import BLOCK_OVERHEAD, BLOCK_SIZE, HEADER, IV_SIZE
from ckptload.encryption.ciphers import AES_CBC, AES_GCM, CIPHER_BLOCK, SM4_CBC, SPARE, KeyedCipher, check_key
from ckptload.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ckptload.encryption.ciphers import Buffer, Stream, TaggedStream
    from ckptload.encryption.keys import Key

#: Bytes that are encrypted and then written at a time, few enough to stay in the processor's cache.
_PIECE: Final = 1 << 18
#: The block layout of each mode.
_VARIANTS: Final = {AES_GCM: chain.TAGGED_GCM, AES_CBC: chain.CBC, SM4_CBC: chain.SM4}


class _Seekable(Protocol):
    def write(self, data: Buffer, /) -> object:
        """Write all of `data`."""

    def tell(self) -> int:
        """Return the position."""

    def seek(self, position: int, /) -> object:
        """Move the position."""


def prepare(key: Key | bytes, mode: str) -> KeyedCipher:
    """Check a key and its mode, and load the cipher.

    Call this before creating a file. If a signal arrives while ``cryptography`` is imported, some versions end
    the process, and then a partial file could not be removed.

    Raises:
        ArgumentTypeError: `key` is not bytes, or `mode` is not a string.
        ArgumentError: the mode is unknown, or the key's length does not fit it.
        CipherUnavailableError: the installed ``cryptography`` does not support the mode.
    """
    check_key(key, mode, argument="enc_key")
    return KeyedCipher(key, mode)


class EncryptingWriter:
    """A file-like object that encrypts the bytes written to it.

    A block's header holds its size and tag, which are known only after its ciphertext is written. So the
    writer seeks back to fill in the header, and does not hold a block in memory.

    Args:
        file: a seekable file to write the chain to; the caller closes it.
        key: 16, 24 or 32 bytes for AES, 16 for SM4; hidden or not.
        mode: ``AES-GCM``, ``AES-CBC`` or ``SM4-CBC``.
        block_size: plaintext in a block, in bytes.
        nonce: returns 16 bytes for each block. Pass one only in tests with known answers: with AES-GCM,
            using a nonce twice with one key reveals the plaintext.

    Raises:
        ArgumentTypeError: `key` is not bytes, or `mode` is not a string.
        ArgumentError: the mode is unknown, or the key's length does not fit it.
        CipherUnavailableError: the installed ``cryptography`` does not support the mode.
    """

    def __init__(
        self,
        file: _Seekable,
        key: Key | bytes,
        mode: str,
        *,
        block_size: int = BLOCK_SIZE,
        nonce: Callable[[], bytes] | None = None,
    ) -> None:
        self._file = file
        self._cipher = prepare(key, mode)
        self._block_size = block_size
        self._nonce = nonce or (lambda: secrets.token_bytes(IV_SIZE))
        self._ciphertext = np.empty(_PIECE + SPARE, np.uint8).data
        self._stream: Stream | None = None
        self._iv = b""
        self._start = 0
        self._plain_size = 0
        self._ciphertext_size = 0
        self._finished = False

    def write(self, data: Buffer) -> int:
        """Encrypt all of `data` and return its size in bytes.

        Raises:
            CheckpointError: `finish` was called before.
        """
        if self._finished:
            raise CheckpointError("the encrypted file is complete and cannot be written to")
        left = memoryview(data).cast("B")
        while len(left):
            part = left[: self._block_size - self._plain_size]
            self._encrypt(part)
            left = left[len(part) :]
            if self._plain_size == self._block_size:
                self._finish_block()
        return memoryview(data).nbytes

    def finish(self) -> None:
        """Write the last block. If nothing was written, the file stays empty."""
        if self._plain_size:
            self._finish_block()
        self._finished = True
        self._ciphertext = memoryview(b"")

    def _encrypt(self, data: Buffer) -> None:
        stream = self._stream or self._begin_block()
        for at in range(0, len(data), _PIECE):
            size = stream.update_into(data[at : at + _PIECE], self._ciphertext)
            self._file.write(self._ciphertext[:size])
            self._ciphertext_size += size
        self._plain_size += len(data)

    def _begin_block(self) -> Stream:
        self._iv = self._nonce()
        self._start = self._file.tell()
        # A placeholder for the header, which is not known yet.
        self._file.write(bytes(_VARIANTS[self._cipher.mode].header_size))
        gcm = self._cipher.mode == AES_GCM
        self._stream = self._cipher.gcm_encryptor(self._iv) if gcm else self._cipher.cbc_encryptor(self._iv)
        return self._stream

    def _finish_block(self) -> None:
        variant = _VARIANTS[self._cipher.mode]
        if not variant.tagged:
            padding = CIPHER_BLOCK - self._plain_size % CIPHER_BLOCK
            self._encrypt(bytes([padding]) * padding)
        stream = self._stream
        if stream is None:
            raise CheckpointError("an encrypted block cannot be empty")
        stream.finalize()
        tag = cast("TaggedStream", stream).tag if variant.tagged else b""
        header = HEADER.pack(self._ciphertext_size + BLOCK_OVERHEAD, IV_SIZE, self._iv, self._ciphertext_size)
        self._file.seek(self._start)
        self._file.write(variant.magic + tag + header)
        self._file.seek(self._start + variant.header_size + self._ciphertext_size)
        self._stream, self._plain_size, self._ciphertext_size = None, 0, 0
