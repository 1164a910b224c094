"""The ciphers of encrypted checkpoints, computed by the ``cryptography`` package.

A key is never shown: it is in a `Key`, whose bytes are handed to ``cryptography`` when a stream is made, and no error
message contains it. ``cryptography`` is imported when a cipher is first needed.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn, Protocol

from ckptload.encryption.keys import Key, hidden
from ckptload.errors import (
    ArgumentError,
    ArgumentTypeError,
    CheckpointError,
    CipherUnavailableError,
    DecryptionError,
    Hint,
    importable,
)
from ckptload.messages import shown_value, type_name

if TYPE_CHECKING:
    from collections.abc import Callable

    Buffer = bytes | bytearray | memoryview

AES_GCM: Final = "AES-GCM"
AES_CBC: Final = "AES-CBC"
SM4_CBC: Final = "SM4-CBC"
MODES: Final = (AES_GCM, AES_CBC, SM4_CBC)

#: Allowed key lengths in bytes (docs/format.md, "Blocks").
KEY_SIZES: Final = {AES_GCM: (16, 24, 32), AES_CBC: (16, 24, 32), SM4_CBC: (16,)}

#: In every MindSpore, the AES-GCM nonce is the first 12 of the 16 stored IV bytes (docs/format.md, "Blocks").
GCM_NONCE_SIZE: Final = 12
#: GCM encrypts the plaintext from this counter on; counter 1 is for the tag (NIST SP 800-38D, 7.1).
_GCM_FIRST_COUNTER: Final = 2
#: The block size of AES and of SM4, in bytes.
CIPHER_BLOCK: Final = 16
#: `update_into` needs an output buffer this many bytes longer than its input, even if it does not use them.
SPARE: Final = CIPHER_BLOCK - 1


class Stream(Protocol):
    """One encryption or decryption in progress."""

    def update_into(self, data: Buffer, buf: Buffer, /) -> int:
        """Process `data` into `buf`, which is `SPARE` bytes longer; return the number of bytes written."""

    def finalize(self) -> bytes:
        """End the operation and return the remaining output."""


class TaggedStream(Stream, Protocol):
    """An AES-GCM encryption in progress."""

    def authenticate_additional_data(self, data: Buffer, /) -> None:
        """Include `data` in the tag without encrypting it."""

    @property
    def tag(self) -> bytes:
        """Return the 16-byte tag; it exists only after `finalize`."""


def check_types(key: object, mode: object, *, argument: str = "dec_key") -> None:
    """Check the types of a key and a mode, before any file is opened. Messages do not show the key.

    Args:
        key: the key that the caller gave, hidden or not, or None.
        mode: the mode that the caller gave.
        argument: ``dec_key`` or ``enc_key``, for the message.

    Raises:
        ArgumentTypeError: `key` is not bytes or None, or `mode` is not a string.
    """
    key = hidden(key)
    if isinstance(key, Key) and not key.is_bytes:
        raise ArgumentTypeError(
            f"{argument} must be bytes or None, not {key.type_name}", hint="for example bytes.fromhex('...')"
        )
    if not isinstance(mode, str):
        raise ArgumentTypeError(
            f"{argument.replace('key', 'mode')} must be a string, not {type_name(mode)}", hint=_one_of(MODES)
        )


def check_key(key: Key | bytes, mode: str, *, argument: str = "dec_key") -> None:
    """Check the type and length of a key, and the name of a mode.

    Args:
        key: the key that the caller gave, hidden or not.
        mode: the mode that the caller gave.
        argument: ``dec_key`` or ``enc_key``, for the message.

    Raises:
        ArgumentTypeError: `key` is not bytes, or `mode` is not a string.
        DecryptionError: for ``dec_key``: the mode is unknown, or the key's length does not fit it.
        ArgumentError: the same for ``enc_key``.
    """
    key = hidden(key)
    refused: type[CheckpointError] = DecryptionError if argument == "dec_key" else ArgumentError
    check_types(key, mode, argument=argument)
    if mode not in MODES:
        raise refused(f"{argument.replace('key', 'mode')} {shown_value(mode)} is unknown", hint=_one_of(MODES))
    if len(key) not in KEY_SIZES[mode]:
        what = "the key" if argument == "dec_key" else "the key to encrypt with"
        sizes = " or ".join(", ".join(map(str, KEY_SIZES[mode])).rsplit(", ", 1))
        raise refused(
            f"{what} has {len(key)} bytes, {mode} needs {sizes}",
            hint=Hint("{raw_key}"),
        )


def _one_of(modes: tuple[str, ...]) -> str:
    return "use one of " + ", ".join(repr(mode) for mode in modes)


class KeyedCipher:
    """A mode with its key; makes streams.

    Args:
        key: 16, 24 or 32 bytes, hidden or not, checked by `check_key`.
        mode: one of `MODES`.

    Raises:
        CipherUnavailableError: the installed ``cryptography`` does not support the mode.
    """

    __slots__ = ("_start", "mode")

    def __init__(self, key: Key | bytes, mode: str) -> None:
        key = hidden(key)
        self.mode = mode
        self._start = _starter(key, mode)
        # A build of OpenSSL may lack a cipher, which shows only when the cipher is set up.
        self._start("decryptor", "CTR" if mode == AES_GCM else "CBC", bytes(CIPHER_BLOCK))

    def __repr__(self) -> str:
        return f"<{self.mode} with a key>"

    def __reduce__(self) -> NoReturn:
        raise CheckpointError("a cipher with its key cannot be pickled", hint="open the file in the other process")

    def cbc_decryptor(self, iv: Buffer) -> Stream:
        """Return a decryptor that takes whole 16-byte blocks and does not remove the padding.

        Args:
            iv: the stored IV, or the 16 bytes of ciphertext before the position to begin at.
        """
        stream: Stream = self._start("decryptor", "CBC", bytes(iv))
        return stream

    def cbc_encryptor(self, iv: Buffer) -> Stream:
        """Return an encryptor that adds no padding."""
        stream: Stream = self._start("encryptor", "CBC", bytes(iv))
        return stream

    def gcm_decryptor(self, iv: Buffer, tag: Buffer) -> Stream:
        """Return a decryptor whose ``finalize`` raises `tag_error` if the tag does not match."""
        stream: Stream = self._start("decryptor", "GCM", bytes(iv[:GCM_NONCE_SIZE]), bytes(tag))
        return stream

    def gcm_encryptor(self, iv: Buffer) -> TaggedStream:
        """Return an encryptor that has its ``tag`` after ``finalize``."""
        stream: TaggedStream = self._start("encryptor", "GCM", bytes(iv[:GCM_NONCE_SIZE]))
        return stream

    def gcm_keystream(self, iv: Buffer, cipher_block: int) -> Stream:
        """Return an AES-GCM decryptor that begins at any 16-byte block and does not check the tag.

        Args:
            iv: the stored 16 bytes.
            cipher_block: index of the first 16-byte block to decrypt.
        """
        counter = (_GCM_FIRST_COUNTER + cipher_block).to_bytes(CIPHER_BLOCK - GCM_NONCE_SIZE, "big")
        stream: Stream = self._start("decryptor", "CTR", bytes(iv[:GCM_NONCE_SIZE]) + counter)
        return stream


class Marker:
    """Computes marks (GMAC) of bytes, to check later that they have not changed.

    The key is random. Neither the key nor a mark leaves the process, so nobody outside can find other bytes with
    the same mark.
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
    found: type[Exception] = _library().errors.InvalidTag
    return found


class _Library(NamedTuple):
    errors: Any
    cipher: Any
    algorithms: Any
    modes: Any


def load_library() -> None:
    """Import ``cryptography`` if it is installed, before anything is opened; who needs it tells that it is not."""
    with suppress(ImportError, AttributeError):
        _library()


def _library() -> _Library:
    """Return what is used of ``cryptography``, imported only when it is needed: errors, ciphers and modes."""
    with importable("cryptography"):
        from cryptography import exceptions  # noqa: PLC0415
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes  # noqa: PLC0415

        with suppress(exceptions.UnsupportedAlgorithm):
            # Older versions import what they compute with when the first cipher is made.
            Cipher(algorithms.AES(bytes(CIPHER_BLOCK)), modes.CBC(bytes(CIPHER_BLOCK))).decryptor()

    return _Library(exceptions, Cipher, algorithms, modes)


def _starter(key: Key | bytes, mode: str) -> Callable[..., Any]:
    """Return a function ``(direction, mode of operation, its arguments) -> stream``.

    Objects of ``cryptography`` show the key as an attribute, so that none is kept but the streams, which do not.
    """
    try:
        library = _library()
        algorithm = library.algorithms.SM4 if mode == SM4_CBC else library.algorithms.AES
    except (ImportError, AttributeError) as error:
        raise _unavailable(mode) from error

    def start(direction: str, operation: str, *arguments: bytes) -> Any:
        with suppress(library.errors.UnsupportedAlgorithm):
            how = getattr(library.modes, operation)(*arguments)
            # No variable holds what holds the key.
            return getattr(library.cipher(algorithm(hidden(key).reveal()), how), direction)()
        # Not chained: the frames of the original exception hold the key.
        raise _unavailable(mode)

    return start


def _unavailable(mode: str) -> CipherUnavailableError:
    return CipherUnavailableError(
        f"the installed cryptography package does not support {mode}",
        hint="reinstall it from PyPI with pip: the builds of some systems lack ciphers, especially SM4",
    )
