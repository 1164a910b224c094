"""What the writer encrypts: MindSpore's layout byte for byte, and readable again."""

from __future__ import annotations

import io
import itertools
import struct
import tracemalloc
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

import ckptload
from ckptload.encryption import encrypting
from ckptload.encryption.chain import BLOCK_SIZE, find_chain
from ckptload.encryption.ciphers import MODES, KeyedCipher
from ckptload.encryption.encrypting import EncryptingWriter
from ckptload.encryption.opening import open_encrypted
from ckptload.errors import ArgumentError, ArgumentTypeError, CheckpointError
from ckptload.sources.memory import BufferSource
from places import FIXTURES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

KEYS = [(mode, bytes(range(size))) for mode in MODES for size in ((16,) if mode == "SM4-CBC" else (16, 24, 32))]
every_key = pytest.mark.parametrize(("mode", "key"), KEYS)
MAGIC = {"AES-GCM": "d85e3a7f", "AES-CBC": "d95e3a7f", "SM4-CBC": "da5e3a7f"}


def counting() -> Callable[[], bytes]:
    """Return a source of IVs that are known beforehand."""
    numbers = itertools.count()
    return lambda: bytes([next(numbers)]) * 16


def seal(parts: Iterable[Any], key: bytes, mode: str, **how: Any) -> bytes:
    out = io.BytesIO()
    writer = EncryptingWriter(out, key, mode, **how)
    for part in parts:
        assert writer.write(part) == memoryview(part).nbytes
    writer.finish()
    return out.getvalue()


def unseal(data: bytes, key: bytes, mode: str) -> bytes:
    source = BufferSource(data)
    chain = find_chain(source)
    assert chain is not None
    sealed = open_encrypted(source, chain, key, mode, allow_unauthenticated=False)
    sealed.authenticate()
    return bytes(sealed.read(0, sealed.size))


def by_hand(plain: bytes, key: bytes, mode: str, block: int) -> bytes:
    """Encrypt with the one-shot interfaces of ``cryptography``, as docs/format.md says."""
    out = b""
    for number, at in enumerate(range(0, len(plain), block)):
        part, iv, tag = plain[at : at + block], bytes([number]) * 16, b""
        if mode == "AES-GCM":
            sealed = AESGCM(key).encrypt(iv[:12], part, None)
            sealed, tag = sealed[:-16], sealed[-16:]
        else:
            algorithm = algorithms.SM4(key) if mode == "SM4-CBC" else algorithms.AES(key)
            padder = padding.PKCS7(128).padder()
            encryptor = Cipher(algorithm, modes.CBC(iv)).encryptor()
            sealed = encryptor.update(padder.update(part) + padder.finalize()) + encryptor.finalize()
        header = struct.pack("<II16sI", len(sealed) + 24, 16, iv, len(sealed))
        out += bytes.fromhex(MAGIC[mode]) + tag + header + sealed
    return out


@every_key
@settings(max_examples=40)
@given(parts=st.lists(st.binary(max_size=120), max_size=6), block=st.integers(1, 150))
def test_the_bytes_are_those_of_the_format_however_they_are_written(
    mode: str, key: bytes, parts: list[bytes], block: int
) -> None:
    got = seal(parts, key, mode, block_size=block, nonce=counting())
    assert got == by_hand(b"".join(parts), key, mode, block)


@every_key
@pytest.mark.parametrize("size", [1, 15, 16, 17, 1000, 1024])
def test_what_is_sealed_opens_again(mode: str, key: bytes, size: int) -> None:
    plain = np.random.default_rng(size).bytes(size)
    assert unseal(seal([plain], key, mode, block_size=256), key, mode) == plain


@pytest.mark.slow
def test_blocks_are_mindspore_s_64_mib() -> None:
    plain = memoryview(bytearray(BLOCK_SIZE + 5))
    plain[-5:] = b"hello"
    key = bytes(16)
    source = BufferSource(seal([plain[:100], plain[100:]], key, "AES-GCM"))
    chain = find_chain(source)
    assert chain is not None
    assert [block.stop - block.start for block in chain] == [64 << 20, 5]
    sealed = open_encrypted(source, chain, key, "AES-GCM", allow_unauthenticated=False)
    assert bytes(sealed.read(sealed.size - 7, sealed.size)) == b"\0\0hello"


def test_every_block_has_an_iv_of_its_own_and_every_file_others() -> None:
    ivs: list[bytes] = []
    for _ in range(2):
        chain = find_chain(BufferSource(seal([bytes(100)], bytes(16), "AES-GCM", block_size=10)))
        assert chain is not None
        ivs += [block.iv for block in chain]
    assert len(set(ivs)) == 20


@every_key
def test_arrays_are_taken_as_their_bytes(mode: str, key: bytes) -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert unseal(seal([array, array.T.copy()], key, mode), key, mode) == array.tobytes() + array.T.tobytes()


@every_key
def test_nothing_written_makes_no_block(mode: str, key: bytes) -> None:
    """As MindSpore: the file is then empty."""
    assert seal([], key, mode) == b""
    assert seal([b"", b""], key, mode) == b""


def test_a_finished_file_takes_no_more() -> None:
    out = io.BytesIO()
    writer = EncryptingWriter(out, bytes(16), "AES-GCM")
    writer.write(b"a")
    writer.finish()
    written = out.getvalue()
    writer.finish()
    assert out.getvalue() == written
    with pytest.raises(CheckpointError, match="complete"):
        writer.write(b"b")


@pytest.mark.parametrize("by", ["saving", "rewriting"])
def test_the_cipher_is_loaded_before_there_is_a_file(by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal in the middle of that can end the process, with nobody left to remove what was begun."""
    found: list[list[Path]] = []

    def looking(key: bytes, mode: str) -> KeyedCipher:
        found.append(list(tmp_path.iterdir()))
        return KeyedCipher(key, mode)

    monkeypatch.setattr(encrypting, "KeyedCipher", looking)
    values = {"w": np.arange(3)}
    if by == "saving":
        ckptload.save_checkpoint(values, tmp_path / "x.ckpt", enc_key=bytes(16))
    else:
        with ckptload.open_checkpoint(FIXTURES / "lenet5.ckpt") as reader:
            ckptload.convert_checkpoint(reader, tmp_path / "x.ckpt", enc_key=bytes(16))
    assert found[0] == []
    assert ckptload.load_checkpoint(tmp_path / "x.ckpt", dec_key=bytes(16))


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_encrypting_takes_less_than_a_mebibyte(mode: str, tmp_path: Path) -> None:
    values = {"w": np.ones(8 << 20, np.uint8)}
    ckptload.save_checkpoint(values, tmp_path / "x.ckpt", enc_key=bytes(16), enc_mode=mode)
    tracemalloc.start()
    try:
        ckptload.save_checkpoint(values, tmp_path / "x.ckpt", enc_key=bytes(16), enc_mode=mode)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_key_and_mode_are_checked_before_anything_is_written() -> None:
    out = io.BytesIO()
    with pytest.raises(ArgumentError, match="the key to encrypt with has 5 bytes"):
        EncryptingWriter(out, b"short", "AES-GCM")
    with pytest.raises(ArgumentError, match="the key to encrypt with has 24 bytes, SM4-CBC needs 16"):
        EncryptingWriter(out, bytes(24), "SM4-CBC")
    with pytest.raises(ArgumentError, match="enc_mode 'AES' is unknown"):
        EncryptingWriter(out, bytes(16), "AES")
    with pytest.raises(ArgumentTypeError, match="enc_key must be bytes"):
        EncryptingWriter(out, "0123456789abcdef", "AES-GCM")  # type: ignore[arg-type]
    assert out.getvalue() == b""
