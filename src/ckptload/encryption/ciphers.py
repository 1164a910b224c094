"""The ciphers of encrypted checkpoints, done by the ``cryptography`` package.

A key goes in once and does not come out: `KeyedCipher` shows none, and no error here holds one.
``cryptography`` is imported when a cipher is first needed.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol

from ckptload.errors import (
    ArgumentError,
    ArgumentTypeError,
    CheckpointError,
    CipherUnavailableError,
    DecryptionError,
    Hint,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    Buffer = bytes | bytearray | memoryview

AES_GCM: Final = "AES-GCM"
AES_CBC: Final = "AES-CBC"
SM4_CBC: Final = "SM4-CBC"
MODES: Final = (AES_GCM, AES_CBC, SM4_CBC)

#: Allowed key lengths in bytes.
KEY_SIZES: Final = {AES_GCM: (16, 24, 32), AES_CBC: (16, 24, 32), SM4_CBC: (16,)}

#: Of the 16 stored IV bytes, AES-GCM of every MindSpore uses the first 12 as its nonce (docs/format.md).
GCM_NONCE_SIZE: Final = 12
#: GCM encrypts content from this counter on; 1 belongs to the tag (NIST SP 800-38D, 7.1).
_GCM_FIRST_COUNTER: Final = 2
#: AES and SM4 both work on 16 bytes at a time.
CIPHER_BLOCK: Final = 16
#: `update_into` wants this much room beyond its input, whether it uses it or not.
SPARE: Final = CIPHER_BLOCK - 1


class Stream(Protocol):
    """A cipher at work."""

    def update_into(self, data: Buffer, buf: Buffer, /) -> int:
        """Process `data` into `buf`, which has `SPARE` bytes more; return the number of bytes written."""

    def finalize(self) -> bytes:
        """Return what is left."""


class TaggedStream(Stream, Protocol):
    """AES-GCM at work, encrypting."""

    def authenticate_additional_data(self, data: Buffer, /) -> None:
        """Let the tag vouch for something that is not encrypted."""

    @property
    def tag(self) -> bytes:
        """Return the 16-byte tag once finalized."""


def check_key(key: object, mode: object, *, argument: str = "dec_key") -> None:
    """Check type and length of a key and the name of a mode, before any file is touched.

    Args:
        key: what the caller gave.
        mode: what the caller gave as the mode that belongs to it.
        argument: ``dec_key`` or ``enc_key``, for the message.

    Raises:
        ArgumentTypeError: `key` is not bytes, or `mode` is not a string.
        DecryptionError: a reader was given an unknown mode, or a key of a length it cannot have.
        ArgumentError: the same for a writer.
    """
    refused: type[CheckpointError] = DecryptionError if argument == "dec_key" else ArgumentError
    mode_argument = argument.replace("key", "mode")
    if not isinstance(key, bytes):
        raise ArgumentTypeError(
            f"{argument} must be bytes, not {type(key).__name__}", hint="pass the key itself as bytes"
        )
    if not isinstance(mode, str):
        raise ArgumentTypeError(f"{mode_argument} must be a string, not {type(mode).__name__}", hint=_one_of(MODES))
    if mode not in MODES:
        raise refused(f"{mode_argument} {mode!r} is unknown", hint=_one_of(MODES))
    if len(key) not in KEY_SIZES[mode]:
        what = "the key" if argument == "dec_key" else "the key to encrypt with"
        sizes = " or ".join(", ".join(map(str, KEY_SIZES[mode])).rsplit(", ", 1))
        raise refused(
            f"{what} has {len(key)} bytes, {mode} needs {sizes}",
            hint=Hint("{raw_key}"),
        )


def _one_of(modes: tuple[str, ...]) -> str:
    return "it is one of " + ", ".join(repr(mode) for mode in modes)


class KeyedCipher:
    """A mode with its key, from which streams are made.

    Args:
        key: 16, 24 or 32 bytes, checked by `check_key`.
        mode: one of `MODES`.

    Raises:
        CipherUnavailableError: the installed ``cryptography`` has no such cipher.
    """

    __slots__ = ("_start", "mode")

    def __init__(self, key: bytes, mode: str) -> None:
        self.mode = mode
        # A closure, so that no attribute holds the key.
        self._start = _starter(key, mode)
        # Whether a build of OpenSSL has a cipher shows only when one is set up.
        self._start("decryptor", "CTR" if mode == AES_GCM else "CBC", bytes(CIPHER_BLOCK))

    def __repr__(self) -> str:
        return f"<{self.mode} with a key>"

    def __reduce__(self) -> NoReturn:
        raise CheckpointError("a cipher with its key cannot be pickled", hint="open the file in the other process")

    def cbc_decryptor(self, iv: Buffer) -> Stream:
        """Return a decryptor that takes whole 16-byte blocks and leaves the padding on.

        Args:
            iv: the stored one, or the 16 bytes of ciphertext before the place to begin at.
        """
        stream: Stream = self._start("decryptor", "CBC", bytes(iv))
        return stream

    def cbc_encryptor(self, iv: Buffer) -> Stream:
        """Return an encryptor that adds no padding."""
        stream: Stream = self._start("encryptor", "CBC", bytes(iv))
        return stream

    def gcm_decryptor(self, iv: Buffer, tag: Buffer) -> Stream:
        """Return a decryptor whose ``finalize`` raises `tag_error` unless the tag is right."""
        stream: Stream = self._start("decryptor", "GCM", bytes(iv[:GCM_NONCE_SIZE]), bytes(tag))
        return stream

    def gcm_encryptor(self, iv: Buffer) -> TaggedStream:
        """Return an encryptor whose ``tag`` is there after ``finalize``."""
        stream: TaggedStream = self._start("encryptor", "GCM", bytes(iv[:GCM_NONCE_SIZE]))
        return stream

    def gcm_keystream(self, iv: Buffer, cipher_block: int) -> Stream:
        """Return a decryptor for AES-GCM from any place on; it checks no tag.

        Args:
            iv: the stored 16 bytes.
            cipher_block: how many 16-byte blocks of the ciphertext come before.
        """
        counter = (_GCM_FIRST_COUNTER + cipher_block).to_bytes(CIPHER_BLOCK - GCM_NONCE_SIZE, "big")
        stream: Stream = self._start("decryptor", "CTR", bytes(iv[:GCM_NONCE_SIZE]) + counter)
        return stream


class Marker:
    """Marks bytes (GMAC), to tell later whether they are still the same.

    The key is made here and neither it nor a mark leaves the process, so that nobody outside can make other
    bytes with the same mark.
    """

    __slots__ = ("_cipher",)

    def __init__(self) -> None:
        self._cipher = KeyedCipher(os.urandom(32), AES_GCM)

    def mark(self, data: Buffer) -> bytes:
        """Return the 16-byte mark of `data`."""
        stream = self._cipher.gcm_encryptor(bytes(GCM_NONCE_SIZE))
        stream.authenticate_additional_data(data)
        stream.finalize()
        return stream.tag


def tag_error() -> type[Exception]:
    """Return the class that ``finalize`` raises for a wrong tag."""
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415

    return InvalidTag


def _starter(key: bytes, mode: str) -> Callable[..., Any]:
    """Return a function ``(direction, mode of operation, its arguments) -> stream`` that knows the key."""
    try:
        from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes  # noqa: PLC0415

        algorithm = (algorithms.SM4 if mode == SM4_CBC else algorithms.AES)(key)
    except (ImportError, AttributeError) as error:
        raise _unavailable(mode) from error

    def start(direction: str, operation: str, *arguments: bytes) -> Any:
        try:
            return getattr(Cipher(algorithm, getattr(modes, operation)(*arguments)), direction)()
        except UnsupportedAlgorithm as error:
            raise _unavailable(mode) from error

    return start


def _unavailable(mode: str) -> CipherUnavailableError:
    return CipherUnavailableError(
        f"the installed cryptography package does not support {mode}",
        hint="reinstall it from PyPI with pip: the builds of some systems lack ciphers, especially SM4",
    )
