"""The SHA-256 in the name of a file."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from ckptload import open_checkpoint, save_checkpoint
from ckptload.errors import ChecksumError, ReadError
from ckptload.reading.digests import verify_name
from strategies import floats

CONTENT = floats("w", 1.0, 2.0)
DIGEST = hashlib.sha256(CONTENT).hexdigest()


def at(path: Path, content: bytes = CONTENT) -> str:
    path.write_bytes(content)
    return str(path)


@pytest.mark.parametrize("digits", [8, 10, 64])
@pytest.mark.parametrize("name", ["resnet18-{}.ckpt", "a-b-{}", "-{}.safetensors", "x-00000000-{}.ckpt"])
def test_the_first_digits_are_compared(tmp_path: Path, name: str, digits: int) -> None:
    path = tmp_path / name.format(DIGEST[:digits])
    assert verify_name(at(path))
    with pytest.raises(ChecksumError, match=f"begins with {DIGEST[:digits]}, it begins with ") as caught:
        verify_name(at(path, CONTENT[:-1]))
    assert caught.value.path == str(path)


@pytest.mark.parametrize(
    "name",
    [
        "model.ckpt",
        "epoch-20240101.ckpt",
        "net-12345678.ckpt",
        "net-1234567890123.ckpt",
        "net-1a2b3c4.ckpt",
        "net-1A2B3C4D.ckpt",
        "net_1a2b3c4d.ckpt",
        "net-1a2b3c4d-1.ckpt",
        "net-1a2b3c4dg.ckpt",
        "net-1a2b3c4d.best.ckpt",
        "net-" + "a" * 65 + ".ckpt",
        "0c8b7a52-1f0e-4a6b-9d3c-1a2b3c4d5e6f.ckpt",
    ],
)
def test_other_names_say_nothing(tmp_path: Path, name: str) -> None:
    assert not verify_name(at(tmp_path / name))


def test_digits_without_a_letter_count_if_they_match(tmp_path: Path) -> None:
    number = next(n for n in range(10**5) if hashlib.sha256(b"%d" % n).hexdigest()[:8].isdecimal())
    content = b"%d" % number
    path = tmp_path / f"net-{hashlib.sha256(content).hexdigest()[:8]}.ckpt"
    assert verify_name(at(path, content))
    assert not verify_name(at(path, content + b"0"))


def test_a_file_that_is_missing_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(ReadError):
        verify_name(str(tmp_path / "net-1a2b3c4d.ckpt"))


def test_a_reader_compares_the_bytes_of_the_file_not_of_what_is_decrypted(tmp_path: Path) -> None:
    key = b"0123456789abcdef"
    save_checkpoint({"w": np.zeros(2, np.float32)}, tmp_path / "x.ckpt", enc_key=key)
    path = tmp_path / f"net-{hashlib.sha256((tmp_path / 'x.ckpt').read_bytes()).hexdigest()[:8]}.ckpt"
    (tmp_path / "x.ckpt").rename(path)
    with open_checkpoint(path, dec_key=key) as reader:
        assert reader.files == [str(path)]
        assert reader.verify_name()


def test_bytes_and_file_objects_have_no_name(tmp_path: Path) -> None:
    path = at(tmp_path / "net-1a2b3c4d.ckpt")
    with open_checkpoint(CONTENT) as reader:
        assert reader.files == []
        assert not reader.verify_name()
    with Path(path).open("rb") as file, open_checkpoint(file) as reader:
        assert not reader.verify_name()
    with open_checkpoint(path) as reader, pytest.raises(ChecksumError):
        reader.verify_name()
