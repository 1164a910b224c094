"""Encrypted files of every kind, made by another implementation, for the tests of what decrypts them."""

from __future__ import annotations

import struct
import warnings
from typing import TYPE_CHECKING

import numpy as np
import pytest
from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ckptload.encryption.chain import CBC, SM4, TAGGED_GCM, UNTAGGED, chain_at, find_chain
from ckptload.encryption.opening import open_encrypted
from ckptload.errors import DecryptionError
from ckptload.sources.base import Profile, Source
from ckptload.sources.memory import BufferSource

if TYPE_CHECKING:
    from ckptload.encryption.decrypting import DecryptingSource

#: Recognisable in any text that should not hold it.
KEY = b"do not show this"
TRAILER = b"crc_num" + bytes(10)
#: Every way in which a file can be encrypted, with the mode it is opened by.
KINDS = {
    "tagged": (TAGGED_GCM, "AES-GCM"),
    "untagged": (UNTAGGED, "AES-GCM"),
    "old-cbc": (UNTAGGED, "AES-CBC"),
    "cbc": (CBC, "AES-CBC"),
    "sm4": (SM4, "SM4-CBC"),
}
CBC_KINDS = ["old-cbc", "cbc", "sm4"]
every_kind = pytest.mark.parametrize("kind", KINDS)


def seal_block(kind: str, plain: bytes, iv: bytes, key: bytes = KEY) -> bytes:
    """Encrypt one block by the one-shot interfaces of ``cryptography``, which the package does not use."""
    variant, mode = KINDS[kind]
    tag = b""
    if mode == "AES-GCM":
        sealed = AESGCM(key).encrypt(iv[:12], plain, None)
        sealed, tag = sealed[:-16], sealed[-16:]
    else:
        algorithm = algorithms.SM4(key) if mode == "SM4-CBC" else algorithms.AES(key)
        padder = padding.PKCS7(128).padder()
        encryptor = Cipher(algorithm, modes.CBC(iv)).encryptor()
        sealed = encryptor.update(padder.update(plain) + padder.finalize()) + encryptor.finalize()
    header = struct.pack("<II16sI", len(sealed) + 24, 16, iv, len(sealed))
    return variant.magic + (tag if variant.tagged else b"") + header + sealed


def seal(kind: str, plain: bytes, sizes: list[int]) -> bytes:
    """Encrypt a stream in blocks of the sizes given, the rest in a last one."""
    out, at = b"", 0
    for number, size in enumerate([*sizes, len(plain)]):
        part = plain[at : at + size]
        if part:
            out += seal_block(kind, part, bytes([number]) * 16)
        at += size
    return out


def unseal(data: bytes | Source, kind: str, key: bytes = KEY, start: int = 0) -> DecryptingSource:
    """Open without complaint about what is not authenticated."""
    source = data if isinstance(data, Source) else Cramped(data)
    chain = chain_at(source, start) if start else find_chain(source)
    assert chain is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return open_encrypted(source, chain, key, KINDS[kind][1], allow_unauthenticated=True)


class Cramped(BufferSource):
    """A source read in pieces of 128 bytes, so that small files have many, and which counts what is read."""

    profile = Profile(near=16, far=16)
    bytes_read = 0

    def read(self, start: int, stop: int) -> memoryview:
        self.bytes_read += stop - start
        return super().read(start, stop)


def content(size: int) -> bytes:
    return np.random.default_rng(size).bytes(size)


PLAIN = content(500)


def value_of(data: bytes, kind: str, key: bytes = KEY) -> bytes | None:
    """Return what a file decrypts to, or None if it is refused by an error of ours or is no chain."""
    try:
        if find_chain(Cramped(data)) is None:
            return None
        sealed = unseal(data, kind, key)
        return bytes(sealed.read(0, sealed.size))
    except DecryptionError:
        return None


def damaged(number: int) -> bytes:
    """Return a tagged file of five blocks, one of which is damaged in its last byte."""
    blocks = [seal_block("tagged", content(1000), bytes([n]) * 16) for n in range(5)]
    blocks[number] = blocks[number][:-1] + bytes([blocks[number][-1] ^ 1])
    return b"".join(blocks)
