"""The wire format: numbers, tags, lengths, and the guard for what is too short."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptload.errors import CorruptCheckpointError
from ckptload.formats.ckpt import wire
from strategies import number

uint64s = st.integers(0, (1 << 64) - 1)


@given(uint64s, st.integers(0, 10), st.binary(max_size=3), st.binary(max_size=3))
def test_a_number_comes_back_from_any_place(value: int, size: int, before: bytes, after: bytes) -> None:
    data = before + number(value, size) + after
    assert wire.varint(data, len(before), len(data)) == (value, len(data) - len(after))


@given(uint64s.map(number), st.data())
def test_a_cut_number_is_refused_at_the_byte_that_is_missing(data: bytes, draw: st.DataObject) -> None:
    cut = draw.draw(st.integers(0, len(data) - 1))
    with pytest.raises(CorruptCheckpointError, match="a number needs 1 bytes, 0 are left") as caught:
        wire.varint(data, 0, cut, base=100)
    assert caught.value.offset == 100 + cut


@pytest.mark.parametrize("data", [b"\xff" * 9 + b"\x02", b"\x80" * 10 + b"\x00", b"\xff" * 11])
def test_a_number_of_more_than_64_bits_or_10_bytes_is_refused(data: bytes) -> None:
    with pytest.raises(CorruptCheckpointError, match="more than 64 bits") as caught:
        wire.varint(b"\x00" + data, 1, 1 + len(data), base=7)
    assert caught.value.offset == 8


def test_the_largest_number_is_64_ones() -> None:
    assert wire.varint(b"\xff" * 9 + b"\x01", 0, 10) == ((1 << 64) - 1, 10)


@given(st.integers(1, (1 << 29) - 1), st.integers(0, 5))
def test_a_tag_is_a_field_number_and_a_wire_type(field: int, kind: int) -> None:
    data = number(field << 3 | kind)
    assert wire.tag(data, 0, len(data)) == (field, kind, len(data))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(number(0 << 3 | 2), id="field number 0"),
        pytest.param(number(1 << 3 | 6), id="wire type 6"),
        pytest.param(number(1 << 3 | 7), id="wire type 7"),
        pytest.param(number(1 << 29 << 3), id="field number of 30 bits"),
        pytest.param(number(1 << 3, 6), id="six bytes"),
    ],
)
def test_a_tag_that_cannot_be_is_refused(data: bytes) -> None:
    with pytest.raises(CorruptCheckpointError, match="not a protobuf field") as caught:
        wire.tag(b"\x00\x00" + data, 2, 2 + len(data), base=10)
    assert caught.value.offset == 12


@given(uint64s)
def test_a_length_may_be_of_any_size(value: int) -> None:
    """What fits is for `take` to say: a record may have more than the 2 GiB that protobuf takes."""
    data = number(value)
    assert wire.length(data, 0, len(data)) == (value, len(data))


@given(st.integers(0, (1 << 35) - 1), st.integers(6, 10))
def test_a_length_is_padded_to_five_bytes_at_most(value: int, size: int) -> None:
    """As protobuf has it."""
    data = number(value, size)
    with pytest.raises(CorruptCheckpointError, match=f"a length of {value} is encoded in {size} bytes"):
        wire.length(data, 0, len(data))
    assert wire.length(number(value, 5), 0, 5) == (value, 5)


@given(st.integers(0, 1 << 70), st.integers(0, 1 << 70), st.integers(0, 1 << 70))
def test_take_guards_whatever_length_a_file_claims(pos: int, size: int, left: int) -> None:
    if size <= left:
        assert wire.take(pos, size, pos + left, "it") == pos + size
    else:
        with pytest.raises(CorruptCheckpointError, match=f"it needs {size} bytes, {left} are left") as caught:
            wire.take(pos, size, pos + left, "it")
        assert caught.value.offset == pos
        assert caught.value.hint == wire.CUT_HINT


@given(st.integers(-(1 << 63), (1 << 63) - 1))
def test_signed_reads_twos_complement(value: int) -> None:
    assert wire.signed(value & (1 << 64) - 1) == value
