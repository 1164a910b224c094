"""Checkpoints made by hand: a builder that writes any bytes, and hypothesis strategies over it.

The builder knows protobuf's wire format and nothing of ckptload, so that it can write what no honest
writer would. Sizes and counts stay small: what matters is the order and kind of fields.
"""

from __future__ import annotations

import math
import os
import zlib
from typing import TYPE_CHECKING, Final

import numpy as np
from hypothesis import strategies as st

from ckptload.sources.base import Source
from ckptload.sources.files import FileSource
from ckptload.sources.memory import BufferSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

VARINT: Final = 0
FIXED64: Final = 1
LEN: Final = 2
START_GROUP: Final = 3
END_GROUP: Final = 4
FIXED32: Final = 5

# -- the builder ----------------------------------------------------------------------------------


def number(value: int, size: int = 0) -> bytes:
    """Encode a varint; a negative one as int64; a `size` larger than needed pads it with zeros on top."""
    value &= (1 << 64) - 1
    data = bytearray()
    while value >= 0x80 or len(data) + 1 < size:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    data.append(value)
    return bytes(data)


def tag(field: int, kind: int) -> bytes:
    """Encode field number and wire type."""
    return number(field << 3 | kind)


def integer(field: int, value: int) -> bytes:
    """Encode a field of wire type VARINT."""
    return tag(field, VARINT) + number(value)


def block(field: int, data: bytes, claim: int | None = None) -> bytes:
    """Encode a field of wire type LEN, which may claim another length than it has."""
    return tag(field, LEN) + number(len(data) if claim is None else claim) + data


def group(field: int, data: bytes = b"") -> bytes:
    """Encode a group around `data`."""
    return tag(field, START_GROUP) + data + tag(field, END_GROUP)


def tensor(
    dims: Sequence[int] = (), kind: str | bytes | None = "Float32", content: bytes | None = b"", *, packed: bool = False
) -> bytes:
    """Encode a TensorProto as MindSpore does: dims, type, content. None leaves a field out."""
    parts = [block(1, b"".join(map(number, dims)))] if packed else [integer(1, dim) for dim in dims]
    if kind is not None:
        parts.append(block(2, kind.encode() if isinstance(kind, str) else kind))
    if content is not None:
        parts.append(block(3, content))
    return b"".join(parts)


def value(name: str | bytes | None, *parts: bytes) -> bytes:
    """Encode a Checkpoint.value: the name, then the fields as they are given."""
    named = b"" if name is None else block(1, name.encode() if isinstance(name, str) else name)
    return block(1, named + b"".join(parts))


def record(
    name: str | bytes | None,
    dims: Sequence[int] = (),
    kind: str | bytes | None = "Float32",
    content: bytes | None = b"",
) -> bytes:
    """Encode one record with a tensor, a slice of one, a string or a random state."""
    return value(name, block(2, tensor(dims, kind, content)))


def floats(name: str, *values: float) -> bytes:
    """Encode a record of one dimension of Float32."""
    return record(name, (len(values),), "Float32", np.array(values, "<f4").tobytes())


def text(name: str, words: str) -> bytes:
    """Encode a string as MindSpore does: UTF-32, dims [0]."""
    return record(name, (0,), "str", words.encode("utf-32-le"))


def mapping(name: str, *tensors: bytes) -> bytes:
    """Encode a map record of some TensorProtos."""
    return value(name, block(3, b"".join(block(1, each) for each in tensors)))


def with_crc(data: bytes, crc: int | None = None) -> bytes:
    """Append the CRC trailer."""
    return data + b"crc_num" + (zlib.crc32(data) if crc is None else crc).to_bytes(10, "big")


def header(name: str, shape: Sequence[int], size: int, kind: str = "Float32") -> bytes:
    """Encode what stands before `size` bytes of content."""
    fields = b"".join(integer(1, dim) for dim in shape) + block(2, kind.encode()) + tag(3, LEN) + number(size)
    inner = block(1, name.encode()) + tag(2, LEN) + number(len(fields) + size) + fields
    return tag(1, LEN) + number(len(inner) + size) + inner


def sparse(path: Path, entries: Iterable[tuple[str, tuple[int, ...]]]) -> Path:
    """Write a file of Float32 tensors with real headers, whose zeros take no room on the disk."""
    with path.open("wb") as file:
        for name, shape in entries:
            size = 4 * math.prod(shape)
            file.write(header(name, shape, size))
            file.seek(size, os.SEEK_CUR)
        file.truncate(file.tell())
    return path


# -- a source that counts -------------------------------------------------------------------------


class CountingSource(Source):
    """A source that notes what is read from it."""

    def __init__(self, inner: Source | bytes | Path) -> None:
        if isinstance(inner, bytes):
            inner = BufferSource(inner)
        self.inner = inner if isinstance(inner, Source) else FileSource(str(inner))
        self.size, self.label, self.path = self.inner.size, self.inner.label, self.inner.path
        #: Every read, as (start, stop).
        self.reads: list[tuple[int, int]] = []

    def read_into(self, start: int, out: memoryview) -> None:
        """Note the range, and pass the request on."""
        self.reads.append((start, start + len(out)))
        self.inner.read_into(start, out)

    @property
    def total(self) -> int:
        """How many bytes were read, counted as often as they were."""
        return sum(stop - start for start, stop in self.reads)

    def touched(self, start: int, stop: int) -> bool:
        """Tell whether any byte of a range was read."""
        return any(a < stop and start < b for a, b in self.reads)

    def check_unchanged(self) -> None:
        """Ask the source itself."""
        self.inner.check_unchanged()

    def close(self) -> None:
        """Close the source itself."""
        self.inner.close()


# -- generated messages ---------------------------------------------------------------------------

int64s = st.one_of(st.integers(0, 5), st.integers(-(1 << 63), (1 << 63) - 1))
names = st.one_of(st.sampled_from(["a", "b", "conv1.weight", ""]), st.text(max_size=8))
kinds = st.one_of(st.sampled_from(["Float32", "Int8", "str", "random_op", "BFloat16", "Foo"]), st.text(max_size=6))
contents = st.binary(max_size=12)


def _grouped(inner: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.builds(group, st.integers(1, 20), inner)


def unknown(*known: int) -> st.SearchStrategy[bytes]:
    """Fields that a reader must skip: unknown numbers of any wire type, known ones of a wrong type."""
    numbers = st.one_of(st.integers(4, 20), st.sampled_from([1 << 20, (1 << 29) - 1]))
    plain = st.one_of(
        st.builds(integer, numbers, int64s),
        st.builds(block, numbers, contents),
        st.builds(lambda field, data: tag(field, FIXED64) + data, numbers, st.binary(min_size=8, max_size=8)),
        st.builds(lambda field, data: tag(field, FIXED32) + data, numbers, st.binary(min_size=4, max_size=4)),
    )
    wrong = st.builds(
        lambda field, data: tag(field, FIXED32) + data, st.sampled_from(known), st.binary(min_size=4, max_size=4)
    )
    groups = st.recursive(st.builds(group, st.sampled_from(known)), lambda inner: _grouped(st.one_of(plain, inner)))
    return st.one_of(plain, wrong, groups)


def _joined(parts: st.SearchStrategy[bytes], most: int) -> st.SearchStrategy[bytes]:
    return st.lists(parts, max_size=most).map(b"".join)


_size = st.integers(0, 6)
#: A number in more bytes than it needs, which protobuf takes.
_padded = st.builds(number, int64s, _size)
_dims = st.one_of(
    st.builds(integer, st.just(1), int64s),
    _padded.map(lambda data: tag(1, VARINT) + data),
    st.lists(_padded, max_size=4).map(lambda dims: block(1, b"".join(dims))),
)
_tensor_fields = st.one_of(
    _dims,
    st.builds(lambda kind: block(2, kind.encode()), kinds),
    st.builds(block, st.just(3), contents),
    unknown(1, 2, 3),
)


@st.composite
def plain_tensors(draw: st.DrawFn) -> bytes:
    """TensorProtos in the order in which MindSpore writes them."""
    return tensor(draw(st.lists(int64s, max_size=4)), draw(kinds), draw(contents), packed=draw(st.booleans()))


#: TensorProtos of any fields in any order, repeated, missing.
tensors = st.one_of(plain_tensors(), _joined(_tensor_fields, 6))
_value_fields = st.one_of(
    st.builds(lambda name: block(1, name.encode()), names),
    st.builds(block, st.just(2), tensors),
    st.builds(block, st.just(3), _joined(st.one_of(st.builds(block, st.just(1), tensors), unknown(1)), 4)),
    unknown(1, 2, 3),
)
records = st.one_of(
    st.builds(lambda name, data: value(name, block(2, data)), names, plain_tensors()),
    st.builds(lambda parts: block(1, parts), _joined(_value_fields, 5)),
)
#: Whole files, sound as messages, with or without a trailer.
files = st.builds(
    lambda data, crc: with_crc(data) if crc else data,
    _joined(st.one_of(records, records, unknown(1)), 6),
    st.booleans(),
)


def mutated(data: bytes, changes: Iterable[tuple[str, float, int]], places: Sequence[int] | None = None) -> bytes:
    """Damage bytes.

    Args:
        data: what to damage.
        changes: what to do, where (a fraction of the places), and a byte, for each change.
        places: positions that may be changed; by default all, and the end.
    """
    damaged = bytearray(data)
    for what, where, byte in changes:
        if places is None:
            at = min(int(where * (len(damaged) + 1)), len(damaged))
        else:
            at = min(places[min(int(where * len(places)), len(places) - 1)], len(damaged))
        _CHANGES[what](damaged, at, byte)
    return bytes(damaged)


def _flip(data: bytearray, at: int, byte: int) -> None:
    if at < len(data):
        data[at] ^= byte


def _cut(data: bytearray, at: int, _: int) -> None:
    del data[at:]


def _insert(data: bytearray, at: int, byte: int) -> None:
    data.insert(at, byte)


def _delete(data: bytearray, at: int, byte: int) -> None:
    del data[at : at + 1 + byte % 4]


def _repeat(data: bytearray, at: int, byte: int) -> None:
    data[at:at] = data[at : at + byte]


_CHANGES: Final[dict[str, Callable[[bytearray, int, int], None]]] = {
    "flip": _flip, "cut": _cut, "insert": _insert, "delete": _delete, "repeat": _repeat,
}  # fmt: skip

changes = st.lists(
    st.tuples(
        st.sampled_from(sorted(_CHANGES)), st.floats(0, 1), st.one_of(st.integers(1, 255), st.sampled_from([1, 8, 128]))
    ),
    min_size=1,
    max_size=3,
)
