"""The bytes of a .ckpt: protobuf's own, content handed on from where it lies, slices where MindSpore cuts."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptload import dtypes
from ckptload.formats import entry
from ckptload.formats.ckpt import schema
from ckptload.formats.ckpt.encoding import SLICE_SIZE, ckpt
from ckptload.formats.item import Item
from ckptload.reading.opening import open_checkpoint
from ckptload.writing.gathering import gather
from places import FIXTURES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
shapes = st.lists(st.integers(0, 1 << 62), max_size=6).map(tuple)


def joined(items: Iterable[Item], **how: Any) -> bytes:
    return b"".join(bytes(buffer) for buffer in ckpt(items, **how))


def tensor(name: str, content: bytes, shape: tuple[int, ...] | None = None, dtype: dtypes.DType = dtypes.int8) -> Item:
    return Item(name, entry.TENSOR, dtype, (len(content),) if shape is None else shape, len(content), content)


def parsed(data: bytes) -> list[Any]:
    """Return the values that protobuf's own parser finds."""
    message = cast("Any", schema.message_class("Checkpoint")).FromString(data)
    return list(message.value)


def by_protobuf(*values: tuple[str, tuple[int, ...], str, bytes]) -> bytes:
    """Encode records as MindSpore does: one message each, joined."""
    out = b""
    for name, shape, kind, content in values:
        message: Any = schema.message_class("Checkpoint")()
        value = message.value.add()
        value.tag = name
        value.tensor.dims.extend(shape)
        value.tensor.tensor_type = kind
        value.tensor.tensor_content = content
        out += message.SerializeToString()
    return out


@given(names, shapes, st.sampled_from(dtypes.ALL), st.binary(max_size=300))
def test_a_record_is_what_protobuf_encodes(
    name: str, shape: tuple[int, ...], dtype: dtypes.DType, content: bytes
) -> None:
    item = tensor(name, content, shape, dtype)
    assert joined([item]) == by_protobuf((name, shape, dtype.name, content))


@settings(max_examples=20)
@given(st.integers(1, 1 << 33))
def test_a_record_of_any_size_begins_as_protobuf_would_encode_it(size: int) -> None:
    """The lengths in front of content too large to make here are checked against each other."""
    item = Item("w", entry.TENSOR, dtypes.int8, (size,), size, lambda: iter(()))
    head = bytes(next(ckpt([item], slice_size=1 << 40)))
    reads = cast("Any", pytest.importorskip("google.protobuf.internal.decoder"))._DecodeVarint
    whole, at = reads(head, 1)
    assert whole == len(head) - at + size
    inner, inner_at = reads(head, at + 4)
    assert inner == len(head) - inner_at + size
    assert head.endswith(b"\x12\x04Int8\x1a" + _varint(size))


def _varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value % 128 + 128])
        value //= 128
    return out + bytes([value])


@given(st.text(max_size=40))
def test_a_string_is_stored_as_numpy_stores_it(text: str) -> None:
    (item,) = gather({"note": text}, None, None)
    assert joined([item]) == by_protobuf(("note", (0,), "str", np.array(text).tobytes()))


def test_a_random_state_is_stored_as_mindspore_2_0_did() -> None:
    assert joined(gather({"state": b"\1\2\3"}, None, None)) == by_protobuf(("state", (), "random_op", b"\1\2\3"))


def test_a_map_is_one_record_of_three_tensors_with_numpys_type_names() -> None:
    arrays: list[np.ndarray[Any, Any]] = [
        np.arange(3, dtype=np.int32),
        np.ones((3, 2), np.float16),
        np.zeros(3, np.bool_),
    ]
    message: Any = schema.message_class("Checkpoint")()
    value = message.value.add()
    value.tag = "table"
    for array in arrays:
        part = value.maptensor.tensor.add()
        part.dims.extend(array.shape)
        part.tensor_type = str(array.dtype)
        part.tensor_content = array.tobytes()
    assert joined(gather({"table": arrays}, None, None)) == message.SerializeToString()


def test_content_is_handed_on_from_where_it_lies() -> None:
    array = np.arange(1000, dtype=np.float32)
    buffers = list(ckpt(gather({"w": array}, None, None)))
    content = np.frombuffer(max(buffers, key=len), np.uint8)
    assert content.nbytes == array.nbytes
    assert np.shares_memory(content, array)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=">i4").reshape(2, 3),
        np.arange(12, dtype=np.int32).reshape(4, 3)[::2],
        np.asfortranarray(np.arange(6, dtype=np.int32).reshape(2, 3)),
        np.array(7, ">u2"),
    ],
    ids=["big-endian", "strided", "Fortran order", "big-endian scalar"],
)
def test_content_is_in_c_order_and_little_endian(array: np.ndarray[Any, Any]) -> None:
    (value,) = parsed(joined(gather({"w": array}, None, None)))
    stored = np.frombuffer(value.tensor.tensor_content, array.dtype.newbyteorder("<")).reshape(array.shape)
    assert stored.tolist() == array.tolist()


# -- slices -------------------------------------------------------------------------------------------------


def test_a_slice_has_512_mib_as_in_mindspore() -> None:
    assert SLICE_SIZE == 512 * 1024 * 1024


@pytest.mark.parametrize(
    ("size", "slices"), [(0, [0]), (1, [1]), (9, [9]), (10, [10]), (11, [10, 1]), (20, [10, 10]), (25, [10, 10, 5])]
)
def test_content_is_cut_every_so_many_bytes(size: int, slices: list[int]) -> None:
    """Each record carries the dims of the whole; a tensor without elements has one record, or it would be lost."""
    content = bytes(range(size))
    values = parsed(joined([tensor("w", content)], slice_size=10))
    assert [len(value.tensor.tensor_content) for value in values] == slices
    assert b"".join(value.tensor.tensor_content for value in values) == content
    assert all(value.tag == "w" and list(value.tensor.dims) == [size] for value in values)


@given(st.lists(st.integers(1, 7), min_size=1, max_size=3), st.integers(1, 64))
def test_cutting_by_rows_is_numpys_array_split(shape: list[int], limit: int) -> None:
    """What MindSpore's asynchronous saves do."""
    array = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    values = parsed(joined(gather({"w": array}, None, None), slice_size=limit, by_rows=True))
    parts = np.array_split(array, -(-array.nbytes // limit)) if array.nbytes > limit else [array]
    assert [value.tensor.tensor_content for value in values] == [part.tobytes() for part in parts]


@given(st.lists(st.binary(max_size=9), max_size=9), st.integers(1, 12))
def test_slices_do_not_depend_on_the_pieces_that_content_comes_in(parts: list[bytes], limit: int) -> None:
    content = b"".join(parts)

    def pieces() -> Iterator[memoryview]:
        return iter([memoryview(part) for part in parts])

    streamed = tensor("w", content)._replace(content=pieces)
    assert joined([streamed], slice_size=limit) == joined([tensor("w", content)], slice_size=limit)


def test_strings_are_never_cut() -> None:
    """MindSpore would return the first part of one."""
    (value,) = parsed(joined(gather({"note": "a" * 100}, None, None), slice_size=10))
    assert len(value.tensor.tensor_content) == 400


# -- the sum ------------------------------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=40), max_size=5))
def test_the_trailer_carries_the_crc_of_all_that_stands_before_it(contents: list[bytes]) -> None:
    items = [tensor(f"w{number}", content) for number, content in enumerate(contents)]
    data = joined(items, crc_check=True)
    body, trailer = data[:-17], data[-17:]
    assert body == joined(items)
    assert trailer == b"crc_num" + zlib.crc32(body).to_bytes(10, "big")


def test_the_sum_of_large_content_is_that_of_its_pieces() -> None:
    data = joined(gather({"w": np.arange(600_000)}, None, None), crc_check=True)
    assert int.from_bytes(data[-10:], "big") == zlib.crc32(data[:-17])


def test_maps_are_part_of_the_sum() -> None:
    """MindSpore leaves them out, and then refuses its own file."""
    data = joined(gather({"m": [np.arange(3)] * 3}, None, None), crc_check=True)
    assert int.from_bytes(data[-10:], "big") == zlib.crc32(data[:-17])


# -- MindSpore's own files ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("adam.ckpt", {}),
        ("append.ckpt", {}),
        ("cell.ckpt", {}),
        ("crc.ckpt", {"crc_check": True}),
        ("dtypes.ckpt", {}),
        ("empty.ckpt", {}),
        ("lenet5.ckpt", {}),
        ("plain_1.10.0_othertypes.ckpt", {}),
        ("plain_2.0.0_random_op.ckpt", {}),
        ("plain_2.10.0_append.ckpt", {}),
        ("plain_2.10.0_bf16_int4.ckpt", {}),
        ("plain_2.10.0_crc.ckpt", {"crc_check": True}),
        ("plain_2.10.0_crc_sliced_async.ckpt", {"crc_check": True, "by_rows": True, "slice_size": 1024}),
        ("plain_2.10.0_dtypes.ckpt", {}),
        ("plain_2.10.0_othertypes.ckpt", {}),
        ("sliced.ckpt", {"slice_size": 1024}),
    ],
)
def test_what_mindspore_wrote_comes_back_byte_by_byte(name: str, how: dict[str, Any]) -> None:
    """Read with ckptload and written again, with the limit of slices that the file was made with."""
    with open_checkpoint(str(FIXTURES / name)) as reader:
        assert joined(gather(reader, None, None), **how) == (FIXTURES / name).read_bytes()
