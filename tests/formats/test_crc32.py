"""The CRC trailer: the sum itself against an independent one, and what is compared with it."""

from __future__ import annotations

import importlib.util
import io
import random
import sys
import zlib

import crcmod.predefined
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptload import load_checkpoint, open_checkpoint, threads
from ckptload.errors import ChecksumError
from ckptload.formats import crc32
from ckptload.formats.ckpt import trailer
from ckptload.sources.memory import BufferSource
from places import FIXTURES
from strategies import CountingSource, floats, mapping, record, tensor, with_crc

#: Of another author, and slow.
independent = crcmod.predefined.mkCrcFun("crc-32")

A, B = floats("a", 1.0), floats("b", 2.0)
MAP = mapping("m", tensor((1,), "int8", b"x"))


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_the_sum_is_that_of_zlib_and_can_be_continued(first: bytes, second: bytes) -> None:
    assert crc32.crc32(second, crc32.crc32(first)) == independent(first + second) == zlib.crc32(first + second)


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_sums_of_two_stretches_make_that_of_both(first: bytes, second: bytes) -> None:
    both = crc32.combine(independent(first), independent(second), len(second))
    assert both == independent(first + second)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(16 << 20) - 1, 16 << 20, (48 << 20) + 5])
def test_a_long_stretch_is_summed_by_threads(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """And by none where the system gives none."""
    data = with_crc(record("a", (size,), "UInt8", random.Random(size).randbytes(size)))
    assert open_checkpoint(data).verify_crc()
    damaged = bytearray(data)
    damaged[size // 2] ^= 1
    with pytest.raises(ChecksumError):
        open_checkpoint(damaged).verify_crc()
    monkeypatch.setattr(threads, "start_new_thread", _no_thread)
    assert open_checkpoint(data).verify_crc()


def _no_thread(*_: object) -> None:
    message = "can't start new thread"
    raise RuntimeError(message)


def test_a_trailer_is_a_marker_and_ten_bytes_big_endian() -> None:
    """As MindSpore writes it."""
    data = (FIXTURES / "crc.ckpt").read_bytes()
    assert trailer.trailer(independent(data[:-17])) == data[-17:]
    assert trailer.trailer(0x01020304) == b"crc_num\0\0\0\0\0\0\1\2\3\4"


@pytest.mark.parametrize(
    "data",
    [with_crc(A), with_crc(A + B), with_crc(A + MAP + B), with_crc(MAP), with_crc(record("a", (0,), "Int8", b""))],
)
def test_a_right_sum_passes(data: bytes) -> None:
    assert load_checkpoint(io.BytesIO(data), crc_check=True)


@pytest.mark.filterwarnings("ignore::ckptload.errors.ForeignFieldWarning")
@pytest.mark.filterwarnings("ignore::ckptload.errors.PartialChecksumWarning")
@pytest.mark.parametrize("order", [[A, MAP, B], [MAP, A, B], [A, B, MAP], [MAP, A, MAP, B, MAP], [A, MAP, MAP, B]])
def test_a_sum_without_map_records_passes(order: list[bytes]) -> None:
    """MindSpore's writer leaves them out."""
    data = with_crc(b"".join(order), zlib.crc32(b"".join(each for each in order if each is not MAP)))
    assert load_checkpoint(io.BytesIO(data), crc_check=True)


@pytest.mark.parametrize("order", [[A], [A, MAP, B]])
def test_another_sum_is_an_error(order: list[bytes]) -> None:
    data = b"".join(order)
    wrong = zlib.crc32(data) ^ 1
    with pytest.raises(ChecksumError, match=f"the CRC-32 in the file is {wrong:#010x}") as caught:
        load_checkpoint(io.BytesIO(with_crc(data, wrong)), crc_check=True)
    assert (caught.value.path, caught.value.offset) == ("<BytesIO>", len(data))
    assert "crc_check=False" in (caught.value.hint or "")
    assert load_checkpoint(io.BytesIO(with_crc(data, wrong)))


@pytest.mark.parametrize("at", [0, 3, 8, 16])
def test_the_sum_covers_every_bit_of_its_ten_bytes(at: int) -> None:
    """Also those that are always zero, and the marker, without which it is none."""
    data = bytearray(with_crc(A + B))
    data[-17 + at] ^= 0x80
    with pytest.raises(ValueError, match="byte"):
        load_checkpoint(io.BytesIO(bytes(data)), crc_check=True)


@pytest.mark.filterwarnings("ignore::ckptload.errors.ForeignFieldWarning")
@pytest.mark.parametrize("at", range(len(A + B)))
def test_a_flip_anywhere_is_noticed(at: int) -> None:
    data = bytearray(with_crc(A + B))
    data[at] ^= 0x01
    with pytest.raises(ValueError, match="byte"):
        load_checkpoint(io.BytesIO(bytes(data)), crc_check=True)


def test_the_sum_is_read_in_pieces() -> None:
    content = bytes(range(256)) * (10 << 10)
    data = with_crc(record("a", (len(content),), "UInt8", content))
    source = CountingSource(data)
    assert open_checkpoint(source).verify_crc()
    assert max(stop - start for start, stop in source.reads) <= 1 << 20


def test_verify_crc_says_whether_there_was_a_sum() -> None:
    assert open_checkpoint(with_crc(A)).verify_crc()
    assert not open_checkpoint(A).verify_crc()


def test_a_sum_is_compared_with_what_stands_before_it() -> None:
    data = with_crc(A)
    trailer.verify_crc(BufferSource(data), len(A))
    with pytest.raises(ChecksumError):
        trailer.verify_crc(BufferSource(A[:-1] + b"\0" + data[len(A) :]), len(A))


def test_without_zlib_ng_the_standard_librarys_sum_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zlib_ng", None)
    monkeypatch.setitem(sys.modules, "zlib_ng.zlib_ng", None)
    specification = importlib.util.find_spec("ckptload.formats.crc32")
    assert specification is not None
    assert specification.loader is not None
    fresh = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(fresh)
    assert fresh.crc32 is zlib.crc32
