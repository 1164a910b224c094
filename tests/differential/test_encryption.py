"""Encryption against MindSpore itself: it opens what we write, we open what it writes, and the bytes agree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ckptload.encryption.chain import TAGGED_GCM, find_chain
from ckptload.encryption.ciphers import MODES
from ckptload.encryption.encrypting import EncryptingWriter
from ckptload.encryption.opening import open_encrypted
from ckptload.errors import DecryptionError
from ckptload.sources.memory import BufferSource

if TYPE_CHECKING:
    from pathlib import Path

mindspore = pytest.importorskip("mindspore")
serialization = pytest.importorskip("mindspore.train.serialization")

pytestmark = pytest.mark.mindspore

KEYS = [(mode, bytes(range(1, size + 1))) for mode in MODES for size in ((16,) if mode == "SM4-CBC" else (16, 24, 32))]
every_key = pytest.mark.parametrize(("mode", "key"), KEYS)
#: Of small blocks, in bytes: a size that cuts records anywhere, one that leaves whole cipher blocks, and one that
#: takes all.
block_sizes = pytest.mark.parametrize("block_size", [100, 1024, 1 << 20])

#: MindSpore's reader refuses larger blocks than its own writer makes.
LARGEST = 64 << 20


def parameters(rows: int = 300) -> list[dict[str, Any]]:
    chosen = np.random.default_rng(rows)
    return [
        {"name": "weight", "data": mindspore.Tensor(chosen.standard_normal((rows, 7)).astype(np.float32))},
        {"name": "bias", "data": mindspore.Tensor(chosen.integers(0, 99, rows).astype(np.int64))},
    ]


def saved(path: Path, rows: int = 300, **how: Any) -> bytes:
    mindspore.save_checkpoint(parameters(rows), str(path), append_dict={"epoch": 3, "note": "text"}, **how)
    return path.read_bytes()


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Compare what two calls of MindSpore's own load_checkpoint returned."""
    return list(one) == list(other) and all(
        one[name] == other[name]
        if isinstance(one[name], str)
        else one[name].asnumpy().tobytes() == other[name].asnumpy().tobytes()
        for name in one
    )


def seal(path: Path, plain: bytes, key: bytes, mode: str, **how: Any) -> None:
    with path.open("wb") as file:
        writer = EncryptingWriter(file, key, mode, **how)
        # In uneven parts, as a writer of records gives them.
        for start in range(0, len(plain), 777_777):
            writer.write(plain[start : start + 777_777])
        writer.finish()


def unseal(data: bytes, key: bytes, mode: str) -> bytes:
    source = BufferSource(data)
    chain = find_chain(source)
    assert chain is not None
    sealed = open_encrypted(source, chain, key, mode, allow_unauthenticated=False)
    sealed.authenticate()
    return bytes(sealed.read(0, sealed.size))


@every_key
@block_sizes
def test_mindspore_opens_what_we_encrypt(mode: str, key: bytes, block_size: int, tmp_path: Path) -> None:
    plain = saved(tmp_path / "plain.ckpt")
    sealed = tmp_path / "sealed.ckpt"
    seal(sealed, plain, key, mode, block_size=block_size)
    got = mindspore.load_checkpoint(str(sealed), dec_key=key, dec_mode=mode)
    assert same(got, mindspore.load_checkpoint(str(tmp_path / "plain.ckpt")))


@pytest.mark.parametrize(("mode", "key"), [("AES-GCM", bytes(32)), ("AES-CBC", bytes(16))])
def test_mindspore_opens_our_largest_blocks(mode: str, key: bytes, tmp_path: Path) -> None:
    plain = saved(tmp_path / "plain.ckpt", rows=2_000_000)
    assert len(plain) > LARGEST
    seal(tmp_path / "sealed.ckpt", plain, key, mode)
    got = mindspore.load_checkpoint(str(tmp_path / "sealed.ckpt"), dec_key=key, dec_mode=mode)
    assert same(got, mindspore.load_checkpoint(str(tmp_path / "plain.ckpt")))
    assert unseal((tmp_path / "sealed.ckpt").read_bytes(), key, mode) == plain


@every_key
@pytest.mark.parametrize("kibibytes", [1, 3, 64 * 1024])
def test_we_open_what_mindspore_encrypts(
    mode: str, key: bytes, kibibytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = saved(tmp_path / "plain.ckpt")
    monkeypatch.setattr(serialization, "ENCRYPT_BLOCK_SIZE", kibibytes)
    data = saved(tmp_path / "sealed.ckpt", enc_key=key, enc_mode=mode)
    chain = find_chain(BufferSource(data))
    assert chain is not None
    assert len(chain) == -(-len(plain) // (kibibytes * 1024))
    assert unseal(data, key, mode) == plain


@every_key
def test_with_mindspore_s_ivs_we_write_mindspore_s_bytes(
    mode: str, key: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = saved(tmp_path / "plain.ckpt")
    monkeypatch.setattr(serialization, "ENCRYPT_BLOCK_SIZE", 1)
    data = saved(tmp_path / "theirs.ckpt", enc_key=key, enc_mode=mode)
    chain = find_chain(BufferSource(data))
    assert chain is not None
    ivs = (block.iv for block in chain)
    seal(tmp_path / "ours.ckpt", plain, key, mode, block_size=1024, nonce=lambda: next(ivs))
    assert (tmp_path / "ours.ckpt").read_bytes() == data


@every_key
def test_both_refuse_the_same_keys_and_modes(mode: str, key: bytes, tmp_path: Path) -> None:
    path = tmp_path / "sealed.ckpt"
    data = saved(path, enc_key=key, enc_mode=mode)
    attempts = [(key[:-1], mode), (key + b"1", mode), (b"", mode), (key, "nothing"), (key, mode.lower())]
    attempts += [(key, other) for other in MODES if other != mode]
    if mode == "AES-GCM":
        attempts.append((key[::-1], mode))
    for wrong_key, wrong_mode in attempts:
        with pytest.raises(ValueError, match="Failed to read the checkpoint file"):
            mindspore.load_checkpoint(str(path), dec_key=wrong_key, dec_mode=wrong_mode)
        with pytest.raises(DecryptionError):
            unseal(data, wrong_key, wrong_mode)


def test_both_ignore_the_last_four_bytes_of_a_gcm_iv(tmp_path: Path) -> None:
    key = bytes(range(16))
    data = bytearray(saved(tmp_path / "sealed.ckpt", enc_key=key, enc_mode="AES-GCM"))
    last = TAGGED_GCM.header_size - 5
    data[last] ^= 0xFF
    (tmp_path / "changed.ckpt").write_bytes(data)
    got = mindspore.load_checkpoint(str(tmp_path / "changed.ckpt"), dec_key=key)
    assert same(got, mindspore.load_checkpoint(str(tmp_path / "sealed.ckpt"), dec_key=key))
    assert unseal(bytes(data), key, "AES-GCM") == saved(tmp_path / "plain.ckpt")
