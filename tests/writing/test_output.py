"""A file written as a whole, plain or encrypted: when it is told of what, and what cannot be encrypted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ckptload import dtypes
from ckptload.encryption.chain import find_chain
from ckptload.encryption.ciphers import AES_GCM, MODES
from ckptload.encryption.opening import open_encrypted
from ckptload.errors import ArgumentError, ArgumentTypeError, CheckpointError, MissingFolderError
from ckptload.formats.entry import BYTES, MAP, STRING, TENSOR
from ckptload.formats.item import Item
from ckptload.sources.memory import BufferSource
from ckptload.writing.output import check_encryptable, check_encryption, write_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY = b"do not show this"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name a file that is there already."""
    made = tmp_path / "x.ckpt"
    made.write_bytes(b"old")
    return made


def names(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.parent.iterdir())


def decrypted(path: Path, key: bytes, mode: str) -> bytes:
    source = BufferSource(path.read_bytes())
    chain = find_chain(source)
    assert chain is not None
    opened = open_encrypted(source, chain, key, mode, allow_unauthenticated=False)
    opened.authenticate()
    return bytes(opened.read(0, opened.size))


# -- writing ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("buffers", [[], [b"abc"], [b"ab", b"", memoryview(b"c")]], ids=len)
def test_a_plain_file_holds_the_buffers_and_nothing_else(path: Path, buffers: list[bytes]) -> None:
    write_file(str(path), buffers)
    assert path.read_bytes() == b"".join(buffers)
    assert names(path) == ["x.ckpt"]


@pytest.mark.parametrize("mode", MODES)
def test_an_encrypted_file_holds_the_same_after_decryption(path: Path, mode: str) -> None:
    write_file(str(path), [b"ab", memoryview(b"c")], key=KEY, mode=mode)
    assert b"abc" not in path.read_bytes()
    assert decrypted(path, KEY, mode) == b"abc"


def test_without_a_mode_a_file_is_encrypted_with_tags(path: Path) -> None:
    write_file(str(path), [b"abc"], key=KEY)
    assert decrypted(path, KEY, AES_GCM) == b"abc"


@pytest.mark.parametrize("key", [None, KEY])
def test_a_buffer_is_written_before_the_next_is_asked_for(path: Path, key: bytes | None) -> None:
    """Whoever yields them may use one piece of memory for all."""

    def buffers() -> Iterator[memoryview]:
        memory = bytearray(4)
        for number in range(5):
            memory[:] = bytes([number]) * 4
            yield memoryview(memory)

    write_file(str(path), buffers(), key=key)
    written = path.read_bytes() if key is None else decrypted(path, key, AES_GCM)
    assert written == b"".join(bytes([number]) * 4 for number in range(5))


@pytest.mark.parametrize("key", [None, KEY])
def test_progress_is_told_in_bytes_of_content_and_the_end_before_the_replacement(path: Path, key: bytes | None) -> None:
    told: list[Any] = []
    write_file(
        str(path),
        [b"ab", b"", b"cde"],
        key=key,
        advance=told.append,
        finish=lambda: told.append(path.read_bytes()),
    )
    assert told == [2, 0, 3, b"old"]
    assert path.read_bytes() != b"old"


def test_progress_is_told_after_each_buffer(path: Path) -> None:
    """What is shown has been written."""
    steps: list[str] = []

    def buffers() -> Iterator[bytes]:
        for number in range(2):
            steps.append(f"asked for {number}")
            yield b"x"

    write_file(str(path), buffers(), advance=lambda _: steps.append("told"), finish=lambda: steps.append("finished"))
    assert steps == ["asked for 0", "told", "asked for 1", "told", "finished"]


@pytest.mark.parametrize("where", ["buffers", "advance", "finish"])
@pytest.mark.parametrize("key", [None, KEY])
def test_after_an_exception_the_old_file_is_there_and_nothing_else(path: Path, where: str, key: bytes | None) -> None:
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    def buffers() -> Iterator[bytes]:
        yield b"new"
        if where == "buffers":
            fail()

    callbacks: dict[str, Any] = {} if where == "buffers" else {where: fail}
    with pytest.raises(KeyboardInterrupt):
        write_file(str(path), buffers(), key=key, **callbacks)
    assert path.read_bytes() == b"old"
    assert names(path) == ["x.ckpt"]


def test_a_folder_that_is_missing_is_named_before_anything_is_asked_for(tmp_path: Path) -> None:
    def buffers() -> Iterator[bytes]:
        pytest.fail("a buffer was asked for")
        yield b""

    with pytest.raises(MissingFolderError):
        write_file(str(tmp_path / "missing" / "x.ckpt"), buffers(), key=KEY)


# -- what cannot be encrypted -----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_a_sound_key_and_mode_are_accepted(mode: str) -> None:
    check_encryption(KEY, mode, crc_check=False)


@pytest.mark.parametrize(
    ("key", "mode", "kind", "words"),
    [
        (b"short", AES_GCM, ArgumentError, "the key to encrypt with has 5 bytes, AES-GCM needs 16, 24 or 32"),
        (bytes(24), "SM4-CBC", ArgumentError, "the key to encrypt with has 24 bytes, SM4-CBC needs 16"),
        (KEY, "DES", ArgumentError, "enc_mode 'DES' is unknown"),
        (KEY.decode(), AES_GCM, ArgumentTypeError, "enc_key must be bytes"),
        (KEY, None, ArgumentTypeError, "enc_mode must be a string"),
    ],
    ids=["short key", "key too long for SM4", "unknown mode", "key of text", "no mode"],
)
@pytest.mark.parametrize("crc_check", [False, True])
def test_a_bad_key_or_mode_is_refused_in_the_words_of_writing(
    key: Any, mode: Any, kind: type[CheckpointError], words: str, crc_check: bool
) -> None:
    """A reader's key has another name. The key does not show."""
    with pytest.raises(kind, match=words) as caught:
        check_encryption(key, mode, crc_check=crc_check)
    assert "do not show" not in str(caught.value)
    assert "dec_" not in str(caught.value)


def test_an_encrypted_file_with_a_checksum_is_refused() -> None:
    with pytest.raises(ArgumentError, match="cannot carry a CRC-32") as caught:
        check_encryption(KEY, AES_GCM, crc_check=True)
    assert caught.value.hint == "leave crc_check out; AES-GCM detects every change by itself"


def item(name: str, kind: str) -> Item:
    return Item(name, kind, dtypes.int8 if kind == TENSOR else None, (), 1, b"x")


def test_of_all_entries_only_a_map_cannot_be_encrypted() -> None:
    sound = [item(kind, kind) for kind in (TENSOR, STRING, BYTES)]
    check_encryptable(sound)
    check_encryptable([])
    with pytest.raises(ArgumentError, match="a map cannot be saved encrypted") as caught:
        check_encryptable([*sound, item("embedding", MAP)])
    assert caught.value.name == "embedding"
    assert caught.value.hint == "leave the entry out with choice_func, and save it in a file of its own"
