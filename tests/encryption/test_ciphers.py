"""Ciphers against published vectors, keys that do not show, and builds that lack a cipher."""

from __future__ import annotations

import pickle
import subprocess
import sys
import traceback
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import ciphers as library

from ckptload.encryption import ciphers
from ckptload.encryption.ciphers import AES_CBC, AES_GCM, MODES, SM4_CBC, KeyedCipher, check_key, check_types, tag_error
from ckptload.errors import ArgumentError, ArgumentTypeError, CheckpointError, CipherUnavailableError, DecryptionError

if TYPE_CHECKING:
    from ckptload.encryption.ciphers import Stream

#: Recognisable in any text that should not hold it.
KEY = b"do not show this"

# The GCM Specification by McGrew and Viega, test cases 3, 9 and 15 (submitted to NIST, 96-bit IV, no associated data).
GCM_PLAIN = bytes.fromhex(
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
    "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255"
)
GCM_IV = bytes.fromhex("cafebabefacedbaddecaf888")
GCM = [
    (
        "feffe9928665731c6d6a8f9467308308",
        (
            "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e"
            "21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091473f5985"
        ),
        "4d5c2af327cd64a62cf35abd2ba6fab4",
    ),
    (
        "feffe9928665731c6d6a8f9467308308feffe9928665731c",
        (
            "3980ca0b3c00e841eb06fac4872a2757859e1ceaa6efd984628593b40ca1e19c"
            "7d773d00c144c525ac619d18c84a3f4718e2448b2fe324d9ccda2710acade256"
        ),
        "9924a7c8587336bfb118024db8674a14",
    ),
    (
        "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
        (
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
            "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad"
        ),
        "b094dac5d93471bdec1a502270e3cc6c",
    ),
]

# NIST SP 800-38A, F.2.1, F.2.3 and F.2.5.
CBC_PLAIN = bytes.fromhex(
    "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
    "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
)
CBC_IV = bytes(range(16))
CBC = [
    (
        "2b7e151628aed2a6abf7158809cf4f3c",
        (
            "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2"
            "73bed6b8e3c1743b7116e69e222295163ff1caa1681fac09120eca307586e1a7"
        ),
    ),
    (
        "8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b",
        (
            "4f021db243bc633d7178183a9fa071e8b4d9ada9ad7dedf4e5e738763f69145a"
            "571b242012fb7ae07fa9baac3df102e008b0e27988598881d920a9e64f5615cd"
        ),
    ),
    (
        "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4",
        (
            "f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d"
            "39f23369a9d9bacfa530e26304231461b2eb05e2c39be9fcda6c19078c6a9d1b"
        ),
    ),
]

# draft-ribose-cfrg-sm4-10, A.2.2 (SM4-CBC, examples 1 and 2); the cipher is GB/T 32907-2016.
SM4_PLAIN = bytes.fromhex("aaaaaaaabbbbbbbbccccccccddddddddeeeeeeeeffffffffaaaaaaaabbbbbbbb")
SM4 = [
    ("0123456789abcdeffedcba9876543210", "78ebb11cc40b0a48312aaeb2040244cb4cb7016951909226979b0d15dc6a8f6d"),
    ("fedcba98765432100123456789abcdef", "0d3a6ddc2d21c698857215587b7bb59a91f2c147911a4144665e1fa1d40bae38"),
]


def run(stream: Stream, data: bytes) -> bytes:
    """Feed a stream in unequal parts, as the sources do."""
    out = bytearray()
    for begin, end in ((0, 16), (16, len(data))):
        room = bytearray(len(data) + ciphers.SPARE)
        out += room[: stream.update_into(data[begin:end], room)]
    return bytes(out) + stream.finalize()


@pytest.mark.parametrize(("key", "sealed", "tag"), GCM)
def test_aes_gcm_gives_the_published_values(key: str, sealed: str, tag: str) -> None:
    cipher = KeyedCipher(bytes.fromhex(key), AES_GCM)
    # The last four of 16 stored bytes are no part of the nonce.
    iv = GCM_IV + b"rest"
    encryptor = cipher.gcm_encryptor(iv)
    assert run(encryptor, GCM_PLAIN).hex() == sealed
    assert encryptor.tag.hex() == tag
    assert run(cipher.gcm_decryptor(iv, bytes.fromhex(tag)), bytes.fromhex(sealed)) == GCM_PLAIN


@pytest.mark.parametrize(("key", "sealed", "tag"), GCM)
def test_aes_gcm_can_begin_at_any_cipher_block_without_the_tag(key: str, sealed: str, tag: str) -> None:
    del tag
    cipher = KeyedCipher(bytes.fromhex(key), AES_GCM)
    for number in range(4):
        at = number * 16
        assert run(cipher.gcm_keystream(GCM_IV + bytes(4), number), bytes.fromhex(sealed)[at:]) == GCM_PLAIN[at:]


def test_a_wrong_tag_is_the_error_that_is_named() -> None:
    key, sealed, tag = GCM[0]
    stream = KeyedCipher(bytes.fromhex(key), AES_GCM).gcm_decryptor(GCM_IV, bytes.fromhex(tag)[::-1])
    with pytest.raises(tag_error()):
        run(stream, bytes.fromhex(sealed))


@pytest.mark.parametrize(("key", "sealed"), CBC)
def test_aes_cbc_gives_the_published_values(key: str, sealed: str) -> None:
    cipher = KeyedCipher(bytes.fromhex(key), AES_CBC)
    assert run(cipher.cbc_encryptor(CBC_IV), CBC_PLAIN).hex() == sealed
    assert run(cipher.cbc_decryptor(CBC_IV), bytes.fromhex(sealed)) == CBC_PLAIN


@pytest.mark.parametrize(("key", "sealed"), SM4)
def test_sm4_cbc_gives_the_published_values(key: str, sealed: str) -> None:
    cipher = KeyedCipher(bytes.fromhex(key), SM4_CBC)
    assert run(cipher.cbc_encryptor(CBC_IV), SM4_PLAIN).hex() == sealed
    assert run(cipher.cbc_decryptor(CBC_IV), bytes.fromhex(sealed)) == SM4_PLAIN


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", range(34))
def test_a_key_has_a_length_that_its_mode_allows(mode: str, size: int) -> None:
    key = bytes(size)
    allowed = (16,) if mode == SM4_CBC else (16, 24, 32)
    if size in allowed:
        check_key(key, mode)
        check_key(key, mode, argument="enc_key")
        return
    with pytest.raises(DecryptionError, match=f"the key has {size} bytes, {mode} needs 16"):
        check_key(key, mode)
    with pytest.raises(ArgumentError, match=f"the key to encrypt with has {size} bytes") as caught:
        check_key(key, mode, argument="enc_key")
    assert not isinstance(caught.value, DecryptionError)


@pytest.mark.parametrize("mode", ["", "aes-gcm", "AES-CTR", "GCM"])
def test_an_unknown_mode_is_refused_with_the_three_that_exist(mode: str) -> None:
    with pytest.raises(DecryptionError) as caught:
        check_key(KEY, mode)
    assert all(name in str(caught.value) for name in MODES)
    with pytest.raises(ArgumentError, match="enc_mode"):
        check_key(KEY, mode, argument="enc_key")


@pytest.mark.parametrize("key", [bytearray(KEY), memoryview(KEY), KEY.decode(), [KEY], 16, True])
def test_a_key_of_another_type_is_refused_and_not_shown(key: object) -> None:
    with pytest.raises(ArgumentTypeError, match=f"dec_key must be bytes or None, not {type(key).__name__}") as caught:
        check_types(key, AES_GCM)
    assert "do not show" not in str(caught.value)


@pytest.mark.parametrize("mode", [None, b"AES-GCM", 1])
def test_a_mode_of_another_type_is_refused(mode: object) -> None:
    with pytest.raises(ArgumentTypeError, match=f"dec_mode must be a string, not {type(mode).__name__}"):
        check_types(KEY, mode)


@pytest.mark.parametrize("mode", MODES)
def test_a_cipher_does_not_show_its_key(mode: str) -> None:
    cipher = KeyedCipher(KEY, mode)
    shown = [repr(cipher), str(cipher), *(repr(getattr(cipher, name)) for name in dir(cipher) if name != "__doc__")]
    assert not [text for text in shown if "do not" in text or KEY.hex() in text]
    with pytest.raises(CheckpointError, match="cannot be pickled"):
        pickle.dumps(cipher)


def lacking(*_: object) -> Any:
    message = "cipher SM4 in CBC mode is not supported by this backend"
    raise UnsupportedAlgorithm(message)


def test_a_build_without_sm4_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenSSL can be built without SM4; it shows when the cipher is set up. AES is not concerned."""
    monkeypatch.setattr(library.Cipher, "decryptor", lacking)
    with pytest.raises(CipherUnavailableError, match="does not support SM4-CBC") as caught:
        KeyedCipher(KEY, SM4_CBC)
    assert "do not show" not in "".join(traceback.format_exception(caught.value))
    monkeypatch.undo()
    monkeypatch.delattr(library.algorithms, "SM4")
    with pytest.raises(CipherUnavailableError, match="does not support SM4-CBC"):
        KeyedCipher(KEY, SM4_CBC)
    KeyedCipher(KEY, AES_CBC)


def test_a_missing_package_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers", None)
    with pytest.raises(CipherUnavailableError, match="does not support AES-GCM"):
        KeyedCipher(KEY, AES_GCM)


def test_cryptography_is_imported_when_a_cipher_is_needed_and_not_before() -> None:
    modules = "ckptload, ckptload.encryption.opening, ckptload.encryption.encrypting"
    code = f"import sys, {modules}; print('cryptography' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
