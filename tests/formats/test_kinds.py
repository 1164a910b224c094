"""Files of other kinds are recognised, and checkpoints are not mistaken for them."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import tarfile
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ckptload import load_checkpoint, open_checkpoint
from ckptload.errors import EmptyCheckpointError, WrongFormatError
from ckptload.formats import kinds
from places import FIXTURES
from strategies import block, floats, integer, record

if TYPE_CHECKING:
    from pathlib import Path


def in_memory(write: Any) -> bytes:
    """What a writer writes into a file object."""
    file = io.BytesIO()
    write(file)
    return file.getvalue()


def zipped(file: io.BytesIO) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", b"...")


def tarred(file: io.BytesIO) -> None:
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("model.ckpt"))


def safetensors() -> bytes:
    head = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    return len(head).to_bytes(8, "little") + head + bytes(4)


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
#: ParallelStrategyMap: a stage, then an item with a name and a strategy.
STRATEGY = integer(1, 1) + block(2, block(1, b"conv1.weight") + block(2, integer(1, 8)))

OTHERS = {
    "Git LFS pointer": LFS,
    "zip archive": in_memory(zipped),
    "HDF5 file": b"\x89HDF\r\n\x1a\n" + bytes(100),
    "safetensors file": safetensors(),
    "TensorFlow checkpoint's index": bytes(40) + b"\x57\xfb\x80\x8b\x24\x75\x47\xdb",
    "TensorFlow checkpoint's state file": b'model_checkpoint_path: "model-1"\n',
    "MindSpore parallel-strategy file": STRATEGY,
    "HTML page": b"<!DOCTYPE html>\n<html><body>404: Not Found</body></html>",
    "gzip archive": gzip.compress(floats("a", 1.0)),
    "tar archive": in_memory(tarred),
    "Python pickle": pickle.dumps({"a": 1}, protocol=2),
    "numpy .npy file": in_memory(lambda file: np.save(file, np.zeros(3))),
    "GGUF model": b"GGUF\x03\0\0\0" + bytes(30),
    "text file": b"https://example.org/model.ckpt\n",
    "binary file that was destroyed": "\ufffd\ufffd\ufffd\ufffd\x01".encode() + bytes(20),
}


@pytest.mark.parametrize("what", OTHERS)
def test_another_kind_of_file_is_named(what: str, tmp_path: Path) -> None:
    """By `load_checkpoint` and `open_checkpoint`, with what to do about it."""
    path = tmp_path.resolve() / "model.ckpt"
    path.write_bytes(OTHERS[what])
    with pytest.raises(WrongFormatError, match=f"this is not a .ckpt but an? {what}") as caught:
        load_checkpoint(str(path))
    assert caught.value.path == str(path)
    assert caught.value.hint
    with pytest.raises(WrongFormatError, match=what):
        open_checkpoint(path)


@pytest.mark.parametrize("page", [b"<html>", b"\n\n <!doctype html>", b"<?xml version='1.0'?>", b"<head>"])
def test_a_web_page_may_begin_in_many_ways(page: bytes) -> None:
    kind = kinds.recognise(page, page[-8:], len(page))
    assert kind is not None
    assert "HTML page" in kind.what


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("*.ckpt")), ids=lambda path: path.name)
def test_no_checkpoint_is_taken_for_another_kind(path: Path) -> None:
    data = path.read_bytes()
    kind = kinds.recognise(data[: kinds.HEAD], data[-kinds.TAIL :], len(data))
    assert kind is None


@pytest.mark.parametrize("content", [*OTHERS.values(), b"PK\x03\x04" * 4], ids=[*OTHERS, "magic"])
def test_content_that_looks_like_another_kind_is_content(content: bytes) -> None:
    """Only a file that is no checkpoint is asked what else it could be."""
    data = record("w", (len(content),), "UInt8", content)
    assert load_checkpoint(io.BytesIO(data))["w"].get_bytes() == content


@pytest.mark.parametrize("data", [b"\x00" * 40, b"\xff" * 40, b"\x01"])
def test_bytes_of_no_known_kind_are_none(data: bytes) -> None:
    assert kinds.recognise(data, data[-8:], len(data)) is None


def test_an_empty_file_is_of_no_kind() -> None:
    assert kinds.recognise(b"", b"", 0) is None
    with pytest.raises(EmptyCheckpointError):
        load_checkpoint(io.BytesIO())
