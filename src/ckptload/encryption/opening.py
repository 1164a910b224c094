"""Open an encrypted checkpoint as a source of its plaintext: checks, refusals and warnings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ckptload.encryption.authenticated import TaggedSource
from ckptload.encryption.ciphers import AES_GCM, KeyedCipher, check_key
from ckptload.encryption.decrypting import DecryptingSource, UntaggedSource
from ckptload.errors import DecryptionError, Hint
from ckptload.messages import warn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ckptload.encryption.chain import Chain
    from ckptload.encryption.keys import Key
    from ckptload.sources.base import Source


def open_encrypted(
    source: Source, chain: Chain, key: Key | bytes, mode: str, *, allow_unauthenticated: bool
) -> DecryptingSource:
    """Return the decrypted stream of an encrypted checkpoint as a source.

    Args:
        source: the file; closing the result closes it.
        chain: its blocks, from `chain.find_chain` or `chain.chain_at`.
        key: 16, 24 or 32 bytes for AES, 16 for SM4; hidden or not.
        mode: ``AES-GCM``, ``AES-CBC`` or ``SM4-CBC``.
        allow_unauthenticated: open AES-GCM files with data that no tag covers, with a warning.

    Raises:
        ArgumentTypeError: `key` is not bytes, or `mode` is not a string.
        DecryptionError: the key or mode does not fit the file, a block's padding is wrong, or the file needs
            `allow_unauthenticated`.
        CipherUnavailableError: the installed ``cryptography`` does not support the mode.
    """
    check_key(key, mode)
    if mode not in chain.modes:
        raise DecryptionError(
            f"the file is encrypted with {chain.describe()}, not with {mode}",
            path=source.label,
            hint=Hint("pass {mode}{modes}", modes=" or ".join(repr(name) for name in chain.modes)),
        )
    reason = _unauthenticated(chain, mode)
    if reason is not None and not allow_unauthenticated:
        raise DecryptionError(
            f"{reason}; changes to it would go unnoticed",
            path=source.label,
            hint=Hint("if you trust where the file comes from, {allow_unauthenticated}"),
        )
    cipher = KeyedCipher(key, mode)
    kind = TaggedSource if chain.variant.tagged else UntaggedSource
    decrypting = kind(source, chain, cipher)
    for notice in _notices(chain, reason):
        warn(f"{source.label}: {notice}")
    return decrypting


def _unauthenticated(chain: Chain, mode: str) -> str | None:
    """Return why an AES-GCM file is less protected than its mode promises, or None."""
    if mode != AES_GCM:
        return None
    if not chain.variant.tagged:
        return "this AES-GCM file has no authentication tags, as MindSpore 1.3 to 1.6 wrote them"
    if chain.start:
        return f"its first {chain.start} bytes are unencrypted records, which no tag covers"
    return None


def _notices(chain: Chain, reason: str | None) -> Iterator[str]:
    if reason is not None:
        yield f"{reason}; it is read because unauthenticated data was allowed"
    elif chain.start:
        yield f"its first {chain.start} bytes are records that its writer did not encrypt; they are read as they are"
    if chain.trailer:
        yield "the CRC trailer after its encrypted blocks has no checksum and is skipped"
