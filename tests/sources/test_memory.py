"""Buffers and open file objects, which belong to the caller and are left as they were."""

from __future__ import annotations

import gzip
import io
import os
import tempfile
from typing import TYPE_CHECKING, Any

import pytest

from ckptload.errors import ArgumentError, ChangedFileError, ReadError
from ckptload.sources.inputs import open_source
from ckptload.sources.memory import BufferSource, FileObjectSource
from ckptload.threads import HELD
from sources.content import CONTENT

if TYPE_CHECKING:
    from pathlib import Path

posix_only = pytest.mark.skipif(os.name != "posix", reason="needs a POSIX system")


# -- buffers -------------------------------------------------------------------------------------------


def test_a_buffer_is_viewed_and_not_copied() -> None:
    content = bytearray(CONTENT)
    source = BufferSource(content)
    content[0] = 200
    assert source.read(0, 1)[0] == 200


def test_a_closed_buffer_can_be_resized_by_its_owner() -> None:
    content = bytearray(CONTENT)
    source = BufferSource(content)
    with pytest.raises(BufferError):
        content.clear()
    source.close()
    content.clear()


def test_a_released_buffer_is_an_argument_error() -> None:
    view = memoryview(b"abc")
    view.release()
    with pytest.raises(ArgumentError, match="cannot be read"):
        open_source(view)


@pytest.mark.parametrize("empty", [b"", bytearray(), memoryview(b""), memoryview(b"").cast("I")])
def test_an_empty_buffer_is_a_source_of_no_bytes(empty: Any) -> None:
    assert BufferSource(empty).size == 0


# -- file objects --------------------------------------------------------------------------------------


def test_a_file_object_is_read_from_its_start_and_left_where_it_was() -> None:
    file = io.BytesIO(CONTENT)
    file.seek(123)
    source = open_source(file)
    assert bytes(source.read(0, 3)) == CONTENT[:3]
    assert file.tell() == 123
    source.close()
    assert not file.closed


def test_a_file_object_is_left_where_it_was_by_a_failed_read() -> None:
    file = io.BytesIO(CONTENT)
    source = open_source(file)
    file.truncate(50)
    file.seek(7)
    with pytest.raises(ChangedFileError, match="ends at byte 50"):
        source.read(40, 60)
    assert file.tell() == 7


def test_a_file_object_that_its_owner_closed_is_a_read_error(path: Path) -> None:
    file = path.open("rb")
    source = open_source(file)
    file.close()
    with pytest.raises(ReadError, match="closed file"):
        source.read(0, 1)


def test_a_closed_file_object_is_a_read_error() -> None:
    file = io.BytesIO(CONTENT)
    file.close()
    with pytest.raises(ReadError, match="closed file"):
        open_source(file)


@posix_only
def test_a_pipe_is_a_read_error_with_a_way_out() -> None:
    read_end, write_end = os.pipe()
    with os.fdopen(read_end, "rb") as file, pytest.raises(ReadError, match="BytesIO"):
        open_source(file)
    os.close(write_end)


def test_a_file_opened_for_writing_is_a_read_error(tmp_path: Path) -> None:
    with (tmp_path / "new").open("wb") as file, pytest.raises(ReadError):
        open_source(file)


def test_a_damaged_archive_behind_a_file_object_is_a_read_error() -> None:
    """Whatever a foreign file object raises comes as one of our errors, with the original as its cause."""
    packed = bytearray(gzip.compress(os.urandom(100_000)))
    packed[500:600] = bytes(100)
    with gzip.open(io.BytesIO(packed)) as file, pytest.raises(ReadError) as caught:
        open_source(file).read(0, 50_000)
    assert caught.value.__cause__ is not None


def test_an_archive_behind_a_file_object_is_read_like_a_file() -> None:
    with gzip.open(io.BytesIO(gzip.compress(CONTENT))) as file:
        assert bytes(open_source(file).read(300, 310)) == CONTENT[300:310]


def test_a_spooled_file_is_read_like_a_file() -> None:
    with tempfile.SpooledTemporaryFile() as file:
        file.write(CONTENT)
        assert bytes(open_source(file).read(300, 310)) == CONTENT[300:310]


@pytest.mark.parametrize("name", [None, 3, b"bytes", ""])
def test_a_file_object_without_a_path_is_called_by_its_type(name: object) -> None:
    class Named(io.BytesIO):
        pass

    file = Named(CONTENT)
    file.name = name
    assert open_source(file).label == "<Named>"


def test_a_file_object_is_held_while_its_size_is_looked_at() -> None:
    """A signal handler that reads it meanwhile must not call threads, which would wait for the lock for ever."""
    held = []

    class Watched(io.BytesIO):
        def seek(self, to: int, whence: int = os.SEEK_SET) -> int:
            held.append(HELD.count)
            return super().seek(to, whence)

    source = FileObjectSource(Watched(b"content"))
    held.clear()
    source.check_unchanged()
    assert held
    assert all(held)
