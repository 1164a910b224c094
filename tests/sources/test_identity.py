"""File objects and buffers that change while a checkpoint is open in them."""

from __future__ import annotations

import gzip
import io
import json
import mmap
import os
import tarfile
import tempfile
import zipfile
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pytest
from safetensors.numpy import save

from ckptload import load_checkpoint, open_checkpoint, save_checkpoint
from ckptload.errors import ChangedFileError, CheckpointError, ReadError
from ckptload.formats.safetensors.places import places
from ckptload.sources.inputs import open_source
from sources.web import written

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

#: The other file has other places for the same names, and is as long.
BEFORE: Final = {"pad": np.zeros(2000, np.float32), "w": np.ones(3000, np.float32), "u": np.ones(3000, np.float32)}
MOVED: Final = {
    "ckpt": written({name: np.full(len(BEFORE[name]), 5, np.float32) for name in ("w", "pad", "u")}),
    "safetensors": save(BEFORE | {"pad": BEFORE["w"], "w": BEFORE["pad"]}),
}
CONTENT: Final = {"ckpt": written(BEFORE), "safetensors": save(BEFORE)}
KEY: Final = bytes(range(32))

formats = pytest.mark.parametrize("kind", ["ckpt", "safetensors"])
reads = pytest.mark.parametrize(
    "read",
    [
        lambda reader: reader["w"],
        lambda reader: reader.load(),
        lambda reader: reader.get_slice("w")[1900:1950],
        lambda reader: reader.fill([("w", np.empty(3000, np.float32))]),
        lambda reader: list(reader.pieces(reader.info("w"))),
        lambda reader: reader.giving("numpy").load(["w"]),
    ],
    ids=["one", "all", "rows", "fill", "pieces", "some"],
)


class Counting(io.BytesIO):
    """Counts the bytes that are read."""

    total = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.total += len(data)
        return data


def rewrite(file: Any, content: bytes) -> None:
    file.seek(0)
    file.write(content)


# -- without a descriptor ----------------------------------------------------------------------------------


@formats
@reads
def test_a_file_object_that_is_rewritten_is_told(kind: str, read: Callable[[Any], Any]) -> None:
    file = io.BytesIO(CONTENT[kind])
    with open_checkpoint(file) as reader:
        assert np.array_equal(reader["w"].asnumpy(), BEFORE["w"])
        read(reader)
        assert len(MOVED[kind]) == len(CONTENT[kind])
        rewrite(file, MOVED[kind])
        with pytest.raises(ChangedFileError, match="open it again"):
            read(reader)


@formats
@reads
@pytest.mark.parametrize(
    "view",
    [bytearray, pytest.param(lambda data: memoryview(data).toreadonly(), marks=pytest.mark.slow)],
    ids=["bytearray", "readonly"],
)
def test_a_buffer_that_is_rewritten_is_told(kind: str, read: Callable[[Any], Any], view: Callable[[Any], Any]) -> None:
    data = bytearray(CONTENT[kind])
    with open_checkpoint(data if view is bytearray else view(data)) as reader:
        read(reader)
        data[:] = MOVED[kind]
        with pytest.raises(ChangedFileError, match="open it again"):
            read(reader)


def test_a_mapping_that_is_rewritten_is_told() -> None:
    with mmap.mmap(-1, len(CONTENT["ckpt"])) as file:
        rewrite(file, CONTENT["ckpt"])
        with open_checkpoint(file) as reader:
            assert np.array_equal(reader["w"].asnumpy(), BEFORE["w"])
            rewrite(file, MOVED["ckpt"])
            with pytest.raises(ChangedFileError):
                reader["w"]


def test_an_end_that_is_gone_or_new_is_told_by_a_load() -> None:
    for size in (-4, 4):
        file = io.BytesIO(CONTENT["ckpt"])
        with open_checkpoint(file) as reader:
            file.truncate(len(CONTENT["ckpt"]) + min(size, 0))
            file.seek(0, os.SEEK_END)
            file.write(bytes(max(size, 0)))
            with pytest.raises(ChangedFileError):
                reader.load()


@pytest.mark.parametrize("at", range(1, 7))
def test_a_load_of_a_file_object_is_of_one_content_or_of_none(at: int) -> None:
    """Whatever read it is rewritten before."""

    class Changing(io.BytesIO):
        reads = 0

        def read(self, size: int | None = -1) -> bytes:
            if size:
                self.reads += 1
                if self.reads == at:
                    position = self.tell()
                    rewrite(self, MOVED["ckpt"])
                    self.seek(position)
            return super().read(size)

    try:
        loaded = load_checkpoint(Changing(CONTENT["ckpt"]))
    except CheckpointError:
        return
    assert {name: value.asnumpy()[0] for name, value in loaded.items()} in (
        {"pad": 0, "w": 1, "u": 1},
        {"pad": 5, "w": 5, "u": 5},
    )


def test_members_of_archives_are_read_as_files() -> None:
    """They have no descriptor, and reading back takes them to their start again."""
    tar, packed = io.BytesIO(), io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        member = tarfile.TarInfo("x.ckpt")
        member.size = len(CONTENT["ckpt"])
        archive.addfile(member, io.BytesIO(CONTENT["ckpt"]))
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("x.ckpt", CONTENT["ckpt"])
    with (
        gzip.open(io.BytesIO(gzip.compress(CONTENT["ckpt"]))) as unzipped,
        tarfile.open(fileobj=io.BytesIO(tar.getvalue())) as opened_tar,
        zipfile.ZipFile(packed) as opened_zip,
        opened_zip.open("x.ckpt") as from_zip,
    ):
        for file in (unzipped, opened_tar.extractfile("x.ckpt"), from_zip):
            with open_checkpoint(file) as reader:
                assert np.array_equal(reader.load()["w"].asnumpy(), BEFORE["w"])
                assert np.array_equal(reader["u"].asnumpy(), BEFORE["u"])


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["AES-GCM", "AES-CBC"])
@reads
def test_an_encrypted_file_object_that_is_rewritten_is_told(
    tmp_path: Path, mode: str, read: Callable[[Any], Any]
) -> None:
    contents = []
    for content in (CONTENT["ckpt"], MOVED["ckpt"]):
        with open_checkpoint(content) as reader:
            save_checkpoint(reader, str(tmp_path / "x.ckpt"), enc_key=KEY, enc_mode=mode)
        contents.append((tmp_path / "x.ckpt").read_bytes())
    file = io.BytesIO(contents[0])
    with open_checkpoint(file, dec_key=KEY, dec_mode=mode) as reader:
        read(reader)
        rewrite(file, contents[1])
        try:
            found = read(reader)
        except ChangedFileError:
            return
    # Plaintext that was authenticated and kept is that of the file that was opened.
    assert mode == "AES-GCM"
    if isinstance(found, dict):
        assert np.asarray(found["w"])[0] == 1


# -- with a descriptor -------------------------------------------------------------------------------------


@pytest.mark.parametrize("opener", [lambda path: path.open("rb"), lambda path: path.open("rb", buffering=0)])
def test_an_open_file_that_is_overwritten_is_told(tmp_path: Path, opener: Callable[[Any], Any]) -> None:
    """Also within the resolution of the clock, where the time is put back."""
    path = tmp_path / "x.ckpt"
    for keeps_time in (False, True):
        path.write_bytes(CONTENT["ckpt"])
        status = path.stat()
        with opener(path) as file, open_checkpoint(file) as reader:
            assert np.array_equal(reader["w"].asnumpy(), BEFORE["w"])
            with path.open("r+b") as other:
                other.write(MOVED["ckpt"])
            if keeps_time:
                os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
            with pytest.raises(ChangedFileError):
                reader.get_slice("w")[2000:]


def test_an_open_file_with_new_values_in_the_same_places_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    path.write_bytes(CONTENT["ckpt"])
    os.utime(path, (1, 1))
    with path.open("rb") as file, open_checkpoint(file) as reader:
        path.write_bytes(written({name: array + 1 for name, array in BEFORE.items()}))
        with pytest.raises(ChangedFileError):
            reader["w"]


def test_what_its_owner_has_written_and_not_flushed_is_no_change(tmp_path: Path) -> None:
    with (tmp_path / "x.ckpt").open("w+b") as file:
        file.write(CONTENT["ckpt"])
        assert np.array_equal(load_checkpoint(file)["w"].asnumpy(), BEFORE["w"])


def test_a_spooled_file_stays_in_memory() -> None:
    with tempfile.SpooledTemporaryFile(1 << 20) as file:
        file.write(CONTENT["ckpt"])
        with open_checkpoint(file) as reader:
            reader.load()
        assert not vars(file)["_rolled"]


def test_a_file_object_that_its_owner_closed_is_a_read_error(tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    path.write_bytes(CONTENT["ckpt"])
    with path.open("rb") as file:
        source = open_source(file)
    with pytest.raises(ReadError):
        source.check_unchanged()


# -- cost --------------------------------------------------------------------------------------------------


@formats
def test_reading_all_entries_one_by_one_takes_bytes_in_proportion(kind: str) -> None:
    """Each is compared by where it is described, not by all that was read when the file was opened."""
    totals = []
    for count in (150, 300):
        arrays = {f"layer{number:04}.weight": np.full(10, number, np.float32) for number in range(count)}
        file = Counting(written(arrays) if kind == "ckpt" else save(arrays))
        with open_checkpoint(file) as reader:
            for name in reader:
                reader[name]
        totals.append(file.total)
    assert totals[1] < 2.2 * totals[0]
    assert totals[1] < 300 * (16 << 10)


def test_a_load_reads_the_headers_twice_and_the_data_once() -> None:
    arrays = {f"layer{number}": np.full(100_000, number, np.float32) for number in range(10)}
    file = Counting(written(arrays))
    load_checkpoint(file)
    assert file.total < 10 * 400_000 + 10 * 5 * (4 << 10)


def test_bytes_are_not_read_again() -> None:
    source = open_source(CONTENT["ckpt"])
    assert not source.witnessed


@pytest.mark.parametrize(
    "header",
    [
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        (
            b' {\n "dtype" : {"shape":[1], "data_offsets":[0,4],\t"dtype":"F32" } , "\\u00e9" : {"dtype":"F32",'
            b'"shape":[1],"data_offsets":[4,8]}, "\xc3\xa9x":{"dtype":"F32","shape":[0],"data_offsets":[8,8]}}  '
        ),
        b'{"__metadata__":{"a":"}\\"a\\":{"},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        b"{}",
    ],
)
def test_descriptions_are_found_in_any_header(header: bytes) -> None:
    found = places(b"12345678" + header, 8)
    whole = json.loads(header)
    assert set(found) <= set(whole)
    # A name written with an escape may have no simple place; the whole header stands for it.
    assert {name for name in whole if name != "\xe9"} <= set(found)
    for name, (start, stop) in found.items():
        assert json.loads(b"{" + header[start - 8 : stop - 8] + b"}") == {name: whole[name]}
