"""The walk against protobuf's own parser: on any bytes they find the same, or both refuse.

Where the walk is stricter on purpose, `STRICTER` names it; nowhere is it laxer.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from google import protobuf
from google.protobuf.internal import api_implementation
from google.protobuf.message import DecodeError
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ckptload import load_checkpoint
from ckptload.errors import CorruptCheckpointError
from ckptload.formats.ckpt import fields, schema
from ckptload.formats.ckpt.walk import walk
from ckptload.sources.memory import BufferSource
from places import FIXTURES
from strategies import (
    FIXED32,
    LEN,
    VARINT,
    block,
    changes,
    files,
    floats,
    group,
    integer,
    mapping,
    mutated,
    number,
    record,
    tag,
    tensor,
    value,
    with_crc,
)

if TYPE_CHECKING:
    from pathlib import Path

    from ckptload.formats.ckpt.fields import Piece, Record

#: The first version whose parser survives a map in place of a tensor (4.21 to 4.24 do not).
FIRST = 5
#: Files of a few records, whose every byte is worth damaging.
SMALL = sorted(path for path in FIXTURES.glob("*.ckpt") if path.stat().st_size < 4000 and path.name[:4] != "enc_")

MISSING = r"the record has no (name|tensor and no map)$"
#: What protobuf accepts and the walk does not, each with its reason.
STRICTER = {
    MISSING: "protobuf's Python parser does not enforce `required`; a record without these cannot be used",
    r"(the name|the tensor type) is not UTF-8": "proto2 gives such strings as bytes; MindSpore fails on them",
    r"a name has \d+ bytes, more than": "a name is held in memory before a filter can decide",
    r"a tensor has more than \d+ dimensions": "no array has so many, and they are held in memory",
    r"a map has more than \d+ tensors": "a map has three, and each is held in memory",
    r"groups are nested more than \d+ deep": "protobuf counts the messages around a group, too",
    r"an integer has more than 64 bits": "protobuf drops the bits that do not fit",
    r"(a length of \d+ is encoded|this is not a protobuf field: number \d+, wire type \d,) in (6|7|8|9|10) bytes": (
        "protobuf does, from 7 on"
    ),
    r"the tag of field \d is padded to [2-5] bytes": "the parser in Python, which MindSpore uses, skips such a field",
    r"this is not a protobuf field: number 0,": "protobuf does not look at field numbers inside groups that it skips",
}

if api_implementation.Type() != "upb" or int(protobuf.__version__.split(".")[0]) < FIRST:
    pytest.skip("the rules are those of protobuf's C parser, in a version that does not crash", allow_module_level=True)


class Found(NamedTuple):
    """A record as protobuf gives it; a missing field is None."""

    name: str | bytes | None
    is_map: bool
    tensors: list[tuple[tuple[int, ...], str | bytes | None, bytes | None]]


def protobuf_finds(data: bytes) -> list[Found] | None:
    """Parse with protobuf; None if it refuses."""
    message: Any = schema.message_class("Checkpoint")()
    try:
        message.ParseFromString(data)
    except DecodeError:
        return None
    return [_found(value) for value in message.value]


def _found(message: Any) -> Found:
    payload = message.WhichOneof("value")
    tensors = {"tensor": [message.tensor], "maptensor": message.maptensor.tensor, None: []}[payload]
    name = message.tag if message.HasField("tag") else None
    return Found(name, payload == "maptensor", [_tensor(each) for each in tensors])


def _tensor(message: Any) -> tuple[tuple[int, ...], str | bytes | None, bytes | None]:
    kind = message.tensor_type if message.HasField("tensor_type") else None
    content = message.tensor_content if message.HasField("tensor_content") else None
    return tuple(message.dims), kind if kind is None else shortened(kind), content


def shortened(kind: str | bytes) -> str | bytes:
    """A type that is too long for any is held in part; it stays unknown."""
    data = kind.encode() if isinstance(kind, str) else kind
    return kind if len(data) <= fields.MAX_TYPE_BYTES else data[: fields.MAX_TYPE_BYTES].decode(errors="replace")


def compare(data: bytes) -> None:
    """Hold the walk against protobuf."""
    layout = walk(BufferSource(data))
    # A trailer is no protobuf field; the walk takes it for one only where records end.
    expected = protobuf_finds(data if layout.trailer is None else data[: layout.trailer])
    damages = [one.damage.problem for one in layout.records if one.damage is not None]
    if layout.damage is not None:
        damages.append(layout.damage.problem)
    if expected is None:
        assert [problem for problem in damages if not re.match(MISSING, problem)], "protobuf refuses this"
        return
    for problem in damages:
        assert any(re.match(reason, problem) for reason in STRICTER), problem
    assert len(layout.records) == len(expected) or layout.damage is not None
    for ours, theirs in zip(layout.records, expected, strict=False):
        if ours.damage is None or re.match(MISSING, ours.damage.problem):
            assert as_found(ours, data) == theirs._replace(name=theirs.name or "")


def as_found(record: Record, data: bytes) -> Found:
    return Found(record.name, record.is_map, [as_tensor(piece, data) for piece in record.pieces])


def as_tensor(piece: Piece, data: bytes) -> tuple[tuple[int, ...], str | None, bytes | None]:
    return piece.dims, piece.type, data[piece.start : piece.stop] if piece.has_content else None


def header_places(data: bytes) -> list[int]:
    """Every position that is no content, and the end."""
    inside: set[int] = set()
    for one in walk(BufferSource(data)).records:
        for piece in one.pieces:
            inside.update(range(piece.start, piece.stop))
    return [at for at in range(len(data) + 1) if at not in inside]


@pytest.mark.slow
@settings(max_examples=400)
@given(files)
def test_sound_messages_are_read_as_protobuf_reads_them(data: bytes) -> None:
    """Fields reordered, repeated, merged, packed, unknown, of the wrong type, in groups; with a trailer."""
    compare(data)


@pytest.mark.slow
@settings(max_examples=600)
@given(files, changes)
def test_damaged_messages_are_read_alike_or_refused_by_both(data: bytes, damage: list[tuple[str, float, int]]) -> None:
    compare(mutated(data, damage))


@pytest.mark.slow
@settings(max_examples=400)
@given(st.sampled_from(SMALL), changes)
def test_damaged_files_of_mindspore_are_read_alike_or_refused_by_both(
    path: Path, damage: list[tuple[str, float, int]]
) -> None:
    data = path.read_bytes()
    compare(mutated(data, damage, header_places(data)))


@settings(max_examples=200)
@given(st.binary(max_size=64))
@example(b"\x0a")
@example(b"crc_num0123456789")
def test_bytes_of_no_meaning_are_read_alike_or_refused_by_both(data: bytes) -> None:
    compare(data)


@pytest.mark.parametrize("path", SMALL, ids=lambda path: path.name)
def test_files_of_mindspore_are_read_as_protobuf_reads_them(path: Path) -> None:
    compare(path.read_bytes())


def padded(data: bytes, claim: int, size: int) -> bytes:
    """A record whose length takes `size` bytes."""
    return tag(1, LEN) + number(claim, size) + data


INNER = block(1, b"a") + block(2, tensor((1,), "Int8", b"x"))


@pytest.mark.parametrize("size", range(1, 12))
def test_padded_lengths_are_taken_up_to_five_bytes(size: int) -> None:
    data = padded(INNER, len(INNER), size)
    compare(data)
    assert (walk(BufferSource(data)).damage is None) == (size <= 5)


@pytest.mark.parametrize("size", range(1, 12))
def test_padded_tags_of_unknown_fields_are_taken_up_to_five_bytes(size: int) -> None:
    """MindSpore skips such a field, too."""
    data = value("a", block(2, tensor((1,), "Int8", b"x"))) + number(9 << 3 | LEN, size) + number(3) + b"abc"
    compare(data)
    assert (walk(BufferSource(data)).damage is None) == (size <= 5)


def with_padded_tag(which: str, size: int) -> bytes:
    """Make a file of a tensor, or of a map, in which one tag is padded."""

    def tagged(name: str, field: int, data: bytes, kind: int = LEN) -> bytes:
        return number(field << 3 | kind, size if name == which else 0) + data

    def delimited(name: str, field: int, data: bytes) -> bytes:
        return tagged(name, field, number(len(data)) + data)

    dims = delimited(which, 1, b"\x01") if which == "packed dims" else tagged("dim", 1, b"\x01", VARINT)
    inner = dims + delimited("type", 2, b"Int8") + delimited("content", 3, b"x")
    is_map = which.startswith("map")
    body = delimited("map", 3, delimited("map tensor", 1, inner)) if is_map else delimited("tensor", 2, inner)
    return delimited("record", 1, delimited("name", 1, b"a") + body)


@pytest.mark.parametrize("size", range(2, 11))
@pytest.mark.parametrize(
    "which", ["record", "name", "tensor", "map", "map tensor", "dim", "packed dims", "type", "content"]
)
def test_a_padded_tag_of_a_field_that_is_known_is_damage(which: str, size: int) -> None:
    """MindSpore drops the field: it loads a scalar for a vector, zeros for values, or no entry, without an error."""
    data = with_padded_tag(which, size)
    compare(data)
    layout = walk(BufferSource(data))
    (found,) = [layout.damage] if layout.damage else [one.damage for one in layout.records]
    assert found is not None
    expected = "the tag of field . is padded to . bytes" if size <= 5 else "this is not a protobuf field"
    assert re.match(expected, found.problem)
    with pytest.raises(CorruptCheckpointError, match=expected):
        load_checkpoint(io.BytesIO(data))
    with pytest.raises(CorruptCheckpointError, match=expected):
        load_checkpoint(io.BytesIO(floats("b", 1.0) + data))
    if which not in {"record", "name"}:
        # What is wrong inside a record concerns whoever wants it.
        assert list(load_checkpoint(io.BytesIO(floats("b", 1.0) + data), specify_prefix="b")) == ["b"]


@pytest.mark.parametrize("which", ["", "map"])
def test_the_same_file_without_a_padded_tag_is_sound(which: str) -> None:
    assert load_checkpoint(io.BytesIO(with_padded_tag(which, 0))).keys() == {"a"}


@pytest.mark.parametrize("field", [0, 1 << 29, 1 << 33])
@pytest.mark.parametrize("kind", [VARINT, LEN])
def test_a_number_that_no_field_has_is_damage(field: int, kind: int) -> None:
    data = floats("b", 1.0) + number(field << 3 | kind) + b"\0"
    compare(data)
    assert walk(BufferSource(data)).damage is not None


@pytest.mark.parametrize("size", range(1, 12))
@pytest.mark.parametrize("field", [1, 9])
def test_padded_numbers_are_taken_up_to_ten_bytes(size: int, field: int) -> None:
    data = value("a", block(2, tag(field, VARINT) + number(1, size) + block(2, b"Int8") + block(3, b"x")))
    compare(data)
    (found,) = walk(BufferSource(data)).records
    assert (found.damage is None) == (size <= 10)


@pytest.mark.parametrize("last", [1, 2, 0x7F])
def test_a_number_of_more_than_64_bits_is_refused(last: int) -> None:
    """Protobuf drops the bits above; a writer that means them is broken."""
    data = value("a", block(2, tag(1, VARINT) + b"\xff" * 9 + bytes([last]) + block(2, b"Int8") + block(3, b"")))
    compare(data)
    (found,) = walk(BufferSource(data)).records
    assert (found.damage is None) == (last == 1)


@pytest.mark.parametrize("depth", [1, 96, 97, 98, 99, 100, 101, 200])
@pytest.mark.parametrize("level", ["file", "record", "tensor", "map"])
def test_groups_are_skipped_to_a_depth_that_protobuf_takes_everywhere(depth: int, level: str) -> None:
    nested = b""
    for _ in range(depth):
        nested = group(9, nested)
    data = {
        "file": nested + value("a", block(2, tensor((), "Int8", b"x"))),
        "record": value("a", nested, block(2, tensor((), "Int8", b"x"))),
        "tensor": value("a", block(2, nested + tensor((), "Int8", b"x"))),
        "map": mapping("a", nested + tensor((1,), "int8", b"x")),
    }[level]
    compare(data)
    layout = walk(BufferSource(data))
    refused = layout.damage is not None or layout.records[0].damage is not None
    assert refused == (depth > fields.MAX_DEPTH)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(block(2, b"") + integer(1, 5) + tag(1, FIXED32) + b"1234" + floats("a", 1.0), id="strangers"),
        pytest.param(group(1, block(1, b"x")) + floats("a", 1.0), id="the record's number as a group"),
        pytest.param(value("a", group(1), group(2, integer(1, 1)), block(2, tensor())), id="known numbers as groups"),
        pytest.param(value("a", block(2, tensor((2,))), block(2, tensor((3,), None, None))), id="merged tensors"),
        pytest.param(value("a", block(2, tensor((2,))), block(3, b"")), id="a map for a tensor"),
        pytest.param(value("a", block(3, block(1, tensor()) * 2), block(2, tensor((1,)))), id="a tensor for a map"),
        pytest.param(value("a", block(3, block(1, tensor())), block(3, block(1, tensor()))), id="maps add up"),
        pytest.param(value("a", block(2, tensor())) + value("b", block(1, b"c"), block(2, b"")), id="last name"),
        pytest.param(value(None, block(2, tensor())), id="no name"),
        pytest.param(value("a"), id="no payload"),
        pytest.param(mapping("a"), id="an empty map"),
        pytest.param(mapping("a", *[tensor((1,), "int8", b"x")] * 16), id="a map of many tensors"),
        pytest.param(mapping("a", *[tensor((1,), "int8", b"x")] * 17), id="a map of too many tensors"),
        pytest.param(record(b"\xff"), id="name not UTF-8"),
        pytest.param(record("a", (), b"\xff"), id="type not UTF-8"),
        pytest.param(record("a", (), "x" * 300), id="a long type"),
        pytest.param(record("a", (), "x" * 255 + "é"), id="a long type, cut inside a character"),
        pytest.param(record("a", (), "é" * 128 + "\x00"), id="a long type, cut after a character"),
        pytest.param(record("n" * 65536), id="a long name"),
        pytest.param(record("n" * 65537), id="a name that is too long"),
        pytest.param(record("a", [1] * 1024), id="many dims"),
        pytest.param(record("a", [1] * 1025), id="too many dims"),
        pytest.param(value("a", block(2, tensor([1] * 1025, packed=True))), id="too many packed dims"),
        pytest.param(value("a", group(9, number(0) + b"\x01"), block(2, tensor())), id="field 0 in a group"),
        pytest.param(with_crc(floats("a", 1.0)), id="a trailer"),
        pytest.param(with_crc(with_crc(floats("a", 1.0))), id="a trailer under a trailer"),
        pytest.param(with_crc(b""), id="a trailer alone"),
        pytest.param(record("a", (17,), "Int8", with_crc(b"")), id="content like a trailer"),
        pytest.param(tag(9, 4), id="an end without a group"),
        pytest.param(tag(9, 3) + tag(8, 4), id="the end of another group"),
        pytest.param(tag(9, 3), id="a group without end"),
        pytest.param(tag(9, 6), id="wire type 6"),
        pytest.param(tag(1 << 29, 0) + b"\x01", id="a field number of 30 bits"),
    ],
)
def test_each_rule_of_protobuf_is_kept(data: bytes) -> None:
    compare(data)
