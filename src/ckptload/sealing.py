"""Encrypt a stream as MindSpore 2.10 does: a chain of blocks, each under an IV of its own.

`docs/format.md`, "Encryption", has the layout; `chain` reads it back.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final, Protocol, cast

import numpy as np

from ckptload import chain
from ckptload.chain import BLOCK_OVERHEAD, HEADER, IV_SIZE
from ckptload.ciphers import AES_CBC, AES_GCM, CIPHER_BLOCK, SM4_CBC, SPARE, KeyedCipher, check_key
from ckptload.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ckptload.ciphers import Buffer, Stream, TaggedStream

#: MindSpore's own limit of plaintext in a block, which its reader does not exceed (2.10.0).
BLOCK_SIZE: Final = 64 << 20
#: How a block begins under each mode.
_VARIANTS: Final = {AES_GCM: chain.TAGGED_GCM, AES_CBC: chain.CBC, SM4_CBC: chain.SM4}


class _Writable(Protocol):
    def write(self, data: memoryview, /) -> object:
        """Take all of `data`."""


class SealingWriter:
    """A file-like object that encrypts what is written to it.

    A block's tag stands before its ciphertext, so the ciphertext of one block is held until it is
    complete. Plaintext is not held.

    Args:
        file: where the chain goes; closing it is the caller's business.
        key: 16, 24 or 32 bytes for AES, 16 for SM4.
        mode: ``AES-GCM``, ``AES-CBC`` or ``SM4-CBC``.
        block_size: plaintext in a block, in bytes.
        nonce: returns 16 bytes for each block. Only a test with known answers may pass its own: a
            value that comes twice under one key gives the content away.

    Raises:
        ArgumentError: the mode is unknown, or the key has a length that it cannot have.
        CipherUnavailableError: the installed ``cryptography`` lacks the cipher.
    """

    def __init__(
        self,
        file: _Writable,
        key: bytes,
        mode: str,
        *,
        block_size: int = BLOCK_SIZE,
        nonce: Callable[[], bytes] | None = None,
    ) -> None:
        check_key(key, mode, argument="enc_key")
        self._file = file
        self._cipher = KeyedCipher(key, mode)
        self._block_size = block_size
        self._nonce = nonce or (lambda: secrets.token_bytes(IV_SIZE))
        self._sealed = np.empty(block_size + CIPHER_BLOCK + SPARE, np.uint8).data
        self._stream: Stream | None = None
        self._iv = b""
        self._plain_size = 0
        self._sealed_size = 0
        self._finished = False

    def write(self, data: Buffer) -> int:
        """Encrypt bytes of any number; returns how many were taken, which is all of them."""
        if self._finished:
            raise CheckpointError("the encrypted file is complete; nothing can be written to it any more")
        left = memoryview(data).cast("B")
        while len(left):
            part = left[: self._block_size - self._plain_size]
            self._encrypt(part)
            left = left[len(part) :]
            if self._plain_size == self._block_size:
                self._finish_block()
        return memoryview(data).nbytes

    def finish(self) -> None:
        """Write the last block. Without it the file is cut off; without any content no block is written."""
        if self._plain_size:
            self._finish_block()
        self._finished = True
        self._sealed = memoryview(b"")

    def _encrypt(self, data: Buffer) -> None:
        if self._stream is None:
            self._iv = self._nonce()
            gcm = self._cipher.mode == AES_GCM
            self._stream = self._cipher.gcm_encryptor(self._iv) if gcm else self._cipher.cbc_encryptor(self._iv)
        self._plain_size += len(data)
        self._sealed_size += self._stream.update_into(data, self._sealed[self._sealed_size :])

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
        header = HEADER.pack(self._sealed_size + BLOCK_OVERHEAD, IV_SIZE, self._iv, self._sealed_size)
        self._file.write(memoryview(variant.magic + tag + header))
        self._file.write(self._sealed[: self._sealed_size])
        self._stream, self._plain_size, self._sealed_size = None, 0, 0
