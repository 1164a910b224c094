"""Walk over the records of a .ckpt and note where everything is, without reading any tensor data.

The walk follows protobuf's rules (docs/format.md, "Wire rules") and keeps only what is needed to find the
data again. Damage inside a record does not stop it: the damage is noted in the record and raised if the
record is used, so it does not matter to a caller who leaves that record out.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from ckptload.errors import CorruptCheckpointError, LimitError
from ckptload.formats.ckpt import schema, wire
from ckptload.formats.ckpt.window import Window
from ckptload.formats.limits import MAX_RECORDS, beyond

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ckptload.sources.base import Source

#: Bytes of a header read at once. Ordinary headers are shorter; longer ones are read in several steps.
_HEADER: Final = 512

#: protobuf allows 100 levels of messages and groups; the innermost message leaves this many for groups.
MAX_DEPTH: Final = 97
#: Longer names stop the walk. MindSpore loads names of up to 1024 characters; those in between can be filtered out.
MAX_NAME_BYTES: Final = 64 << 10
#: Longer types are cut off. The longest valid one is Float8E4M3FN.
MAX_TYPE_BYTES: Final = 256
#: numpy arrays have at most 64 dimensions; a tensor with more than this is not read to its end.
MAX_DIMS: Final = 1024
#: A valid map has three tensors (keys, values and status); a map with more than this is not read to its end.
MAX_MAP_TENSORS: Final = 16


class Piece(NamedTuple):
    """One TensorProto, not yet checked; `start` and `stop` are those of its data, or -1 if it has none."""

    dims: tuple[int, ...]
    type: str | None
    start: int
    stop: int

    @property
    def has_content(self) -> bool:
        """Return whether there is a tensor_content field, even if it is empty."""
        return self.start >= 0


class Damage(NamedTuple):
    """A problem inside a record, raised as an error if the record is used."""

    problem: str
    offset: int | None

    def error(self) -> CorruptCheckpointError:
        """Return a new error with this problem."""
        return CorruptCheckpointError(self.problem, offset=self.offset, hint=wire.CUT_HINT)


class Record(NamedTuple):
    """One Checkpoint.Value: a tensor, a string, a map, or a slice of one."""

    name: str
    offset: int
    stop: int
    pieces: tuple[Piece, ...]
    is_map: bool
    damage: Damage | None


@dataclass
class Layout:
    """The result of a walk. Positions are in bytes from the start of the source.

    Attributes:
        records: all records, in file order.
        trailer: position of the CRC trailer, or None.
        first_foreign: position of the first bytes that are neither a record nor the trailer, such as an unknown
            field, or None.
        damage: the error that ended the walk, or None; `records` are those before it.
    """

    records: list[Record] = field(default_factory=list)
    trailer: int | None = None
    first_foreign: int | None = None
    damage: CorruptCheckpointError | None = None


def walk(source: Source, max_records: int = MAX_RECORDS) -> Layout:
    """Find every record of a plain or decrypted checkpoint.

    Time is linear in the number of records and fields; only the index is kept in memory.

    Returns:
        The layout. It has `damage` if the file ends inside a record, or if bytes between records are not a
        protobuf field. Damage inside a record is noted in that record.

    Raises:
        LimitError: there are more than `max_records` records, or too many fields in proportion to it.
        ReadError: the source cannot be read.
    """
    layout = Layout()
    try:
        _scan(source, layout, max_records)
    except CorruptCheckpointError as error:
        layout.damage = error
        if layout.first_foreign is None:
            layout.first_foreign = layout.records[-1].stop if layout.records else 0
    return layout


def first(source: Source) -> Record | None:
    """Return the first record, or None if none can be read."""
    layout = Layout()
    with suppress(CorruptCheckpointError, LimitError):
        _scan(source, layout, 1)
    return layout.records[0] if layout.records else None


def _scan(source: Source, layout: Layout, max_records: int) -> None:
    """Note in `layout` the records, the trailer, and the position of the first bytes that are neither.

    A file of many small tensors spends its time in the inner loop, so that loop makes as few calls as possible.
    """
    window = Window(source, max_records)
    found, bodies = layout.records, _Bodies()
    pos, size = 0, source.size
    while pos < size:
        buffer, index = window.at(pos, _HEADER)
        shift, last = pos - index, len(buffer) - _HEADER
        record = _ordinary(buffer, index, pos, size, bodies)
        while record is not None:
            found.append(record)
            if len(found) > max_records:
                raise beyond(f"{max_records} records", max_records, source.label, pos)
            window.last, pos = pos, record[2]
            index = pos - shift
            if index > last:
                break
            record = _ordinary(buffer, index, pos, size, bodies)
        else:
            if size - pos == schema.CRC_TRAILER_SIZE and window.bytes(pos, size).startswith(schema.CRC_MARKER):
                layout.trailer = pos
                return
            number, kind, start, stop = _field(window, pos, size)
            if number != schema.CHECKPOINT_VALUE or kind != wire.LEN:
                layout.first_foreign = pos if layout.first_foreign is None else layout.first_foreign
                pos = stop
                continue
            found.append(_record(window, pos, start, stop))
            if len(found) > max_records:
                raise beyond(f"{max_records} records", max_records, source.label, pos)
            pos = stop


# A record as MindSpore writes it: tag, tensor, dims one by one, type and content, in this order and nothing else.
# A length has up to five bytes. A dim of up to nine bytes is not negative. All repetition is bounded, so bytes that
# look like a long header take no longer to match than a short one.
_LENGTH: Final = rb"([\x80-\xff]{0,4}[\x00-\x7f])"
_DIMS: Final = rb"((?:\x08[\x80-\xff]{0,8}[\x00-\x7f]){0,32})"
_HEAD: Final = re.compile(rb"\x0a" + _LENGTH + rb"\x0a([\x00-\x7f])")
_BODY: Final = re.compile(rb"\x12" + _LENGTH + _DIMS + rb"\x12([\x00-\x7f])([A-Za-z0-9_]{1,127})\x1a" + _LENGTH)


#: NamedTuple's own constructor is a Python function, which takes longer than everything else here.
_made: Final = tuple.__new__


class _Body(NamedTuple):
    """The part of an ordinary record after its name; `header` is its size without the data, `total` with it."""

    dims: tuple[int, ...]
    type: str
    header: int
    total: int


class _Bodies:
    """A cache of bodies: most records of a file have one of a few, byte for byte.

    Attributes:
        size: header size of the last body, which is probably that of the next one.
    """

    _MOST: Final = 1024

    def __init__(self) -> None:
        self.size = 0
        self._known: dict[bytes, _Body] = {}

    def at(self, buffer: bytes | memoryview, index: int) -> _Body | None:
        """Return the body at an index of a buffer, or None if it is not as MindSpore writes it."""
        known = self._known.get(bytes(buffer[index : index + self.size]))
        if known is not None:
            return known
        found = _BODY.match(buffer, index)
        if found is None:
            return None
        tensor_length, packed, kind_size, kind, content_length = found.groups()
        header = found.end() - index
        total = header + _number(content_length)
        if total != found.end(1) - index + _number(tensor_length) or len(kind) != kind_size[0]:
            return None
        body = _Body(_dims(packed), str(kind, "ascii"), header, total)
        if len(self._known) >= self._MOST:
            self._known.clear()
        self._known[bytes(buffer[index : index + header])] = body
        self.size = header
        return body


def _ordinary(buffer: bytes | memoryview, index: int, pos: int, size: int, bodies: _Bodies) -> Record | None:
    """Read a record that is as MindSpore writes it, or return None: the fast version of `_record`.

    tests/formats/ckpt/test_walk.py compares the two.
    """
    head = _HEAD.match(buffer, index)
    if head is None:
        return None
    length, name_size = head.groups()
    name_start = head.end()
    name_stop = name_start + name_size[0]
    body = bodies.at(buffer, name_stop)
    if body is None:
        return None
    dims, kind, header, total = body
    shift = pos - index
    stop = shift + name_stop + total
    if stop != shift + head.end(1) + _number(length) or stop > size:
        return None
    try:
        name = str(buffer[name_start:name_stop], "utf-8")
    except UnicodeDecodeError:
        return None
    piece = _made(Piece, (dims, kind, shift + name_stop + header, stop))
    return _made(Record, (name, pos, stop, (piece,), False, None))


# Cached: most records of a file have one of a few lengths.


@lru_cache(maxsize=1024)
def _number(data: bytes) -> int:
    """Decode a varint that is known to be complete."""
    return wire.varint(data, 0, len(data))[0]


def _dims(data: bytes) -> tuple[int, ...]:
    """Decode dims that are not packed: each has a tag byte."""
    dims = []
    pos = 0
    while pos < len(data):
        value, pos = wire.varint(data, pos + 1, len(data))
        dims.append(value)
    return tuple(dims)


Field = tuple[int, int, int, int]


def _fields(window: Window, start: int, stop: int) -> Iterator[Field]:
    """Yield every field of the message from `start` to `stop`, as `_field` returns it."""
    while start < stop:
        found = _field(window, start, stop)
        yield found
        start = found[3]


def _field(window: Window, pos: int, stop: int) -> Field:
    """Return ``(number, wire type, a, b)`` for the field at `pos`; a group is one field.

    `a` is the value of a varint, or the start of any other payload. `b` is the position after the field.
    """
    number, kind, a, b = _single(window, pos, stop)
    if kind == wire.START_GROUP:
        b = _skip_group(window, b, stop, number)
    elif kind == wire.END_GROUP:
        raise CorruptCheckpointError(f"group {number} ends but never began", offset=pos, hint=wire.CUT_HINT)
    return number, kind, a, b


def _single(window: Window, pos: int, stop: int) -> Field:
    """Read one field like `_field`, but treat the start and the end of a group as fields without payload."""
    window.count(pos)
    buffer, index = window.at(pos, 2 * wire.MAX_VARINT_BYTES)
    base = pos - index
    limit = min(len(buffer), stop - base)
    number, kind, after = wire.tag(buffer, index, limit, base)
    if kind == wire.VARINT:
        value, after = wire.varint(buffer, after, limit, base)
        return number, kind, value, base + after
    size = wire.FIXED_SIZES.get(kind, 0)
    if kind == wire.LEN:
        size, after = wire.length(buffer, after, limit, base)
    return number, kind, base + after, wire.take(base + after, size, stop, f"field {number}")


def _skip_group(window: Window, pos: int, stop: int, number: int) -> int:
    """Return the position after a group, including nested groups."""
    begun = [number]
    while begun:
        if pos >= stop:
            raise CorruptCheckpointError(f"group {begun[-1]} does not end", offset=pos, hint=wire.CUT_HINT)
        inner, kind, _, after = _single(window, pos, stop)
        if kind == wire.START_GROUP:
            begun.append(inner)
            if len(begun) > MAX_DEPTH:
                raise CorruptCheckpointError(
                    f"groups are nested more than {MAX_DEPTH} deep", offset=pos, hint=wire.CUT_HINT
                )
        elif kind == wire.END_GROUP and inner != begun.pop():
            raise CorruptCheckpointError(f"group {inner} ends inside another", offset=pos, hint=wire.CUT_HINT)
        pos = after
    return pos


@dataclass
class _Tensor:
    """A TensorProto whose fields are being read."""

    dims: list[int] = field(default_factory=list)
    type: str | None = None
    start: int = -1
    stop: int = -1

    def merge(self, window: Window, start: int, stop: int) -> None:
        """Merge one occurrence of the message: dims are concatenated, and the last of any other field counts."""
        for number, kind, a, b in _fields(window, start, stop):
            if number == schema.TENSOR_DIMS and kind == wire.VARINT:
                self._add(wire.signed(a))
            elif number == schema.TENSOR_DIMS and kind == wire.LEN:
                self._add_packed(window, a, b)
            elif number == schema.TENSOR_TYPE and kind == wire.LEN:
                self.type = _type(window, a, b)
            elif number == schema.TENSOR_CONTENT and kind == wire.LEN:
                self.start, self.stop = a, b

    def _add(self, dim: int) -> None:
        if len(self.dims) >= MAX_DIMS:
            raise CorruptCheckpointError(f"a tensor has more than {MAX_DIMS} dimensions", hint=wire.CUT_HINT)
        self.dims.append(dim)

    def _add_packed(self, window: Window, start: int, stop: int) -> None:
        while start < stop:
            buffer, index = window.at(start, wire.MAX_VARINT_BYTES)
            base = start - index
            value, after = wire.varint(buffer, index, min(len(buffer), stop - base), base)
            self._add(wire.signed(value))
            start = base + after

    def piece(self) -> Piece:
        return Piece(tuple(self.dims), self.type, self.start, self.stop)


class _Value:
    """A Checkpoint.Value whose fields are being read."""

    def __init__(self) -> None:
        self.name_at: tuple[int, int] | None = None
        self.is_map = False
        self.tensors: list[_Tensor] = []
        self.damage: Damage | None = None

    def take(self, window: Window, number: int, start: int, stop: int) -> None:
        """Merge one field; tensor and maptensor are a oneof, so each of them drops the other."""
        if number == schema.VALUE_TAG:
            self.name_at = (start, stop)
        elif number in (schema.VALUE_TENSOR, schema.VALUE_MAPTENSOR):
            is_map = number == schema.VALUE_MAPTENSOR
            if is_map != self.is_map:
                self.tensors.clear()
            self.is_map = is_map
            try:
                self._take_tensors(window, start, stop)
            except CorruptCheckpointError as error:
                self.damage = Damage(error.problem, error.offset)

    def _take_tensors(self, window: Window, start: int, stop: int) -> None:
        if not self.is_map:
            if not self.tensors:
                self.tensors.append(_Tensor())
            self.tensors[0].merge(window, start, stop)
            return
        for number, kind, a, b in _fields(window, start, stop):
            if number == schema.MAP_TENSOR and kind == wire.LEN:
                if len(self.tensors) >= MAX_MAP_TENSORS:
                    raise CorruptCheckpointError(
                        f"a map has more than {MAX_MAP_TENSORS} tensors", offset=a, hint=wire.CUT_HINT
                    )
                tensor = _Tensor()
                tensor.merge(window, a, b)
                self.tensors.append(tensor)


def _record(window: Window, pos: int, start: int, stop: int) -> Record:
    """Read a record field by field by all rules of protobuf: the general version of `_ordinary`.

    Raises:
        CorruptCheckpointError: the name cannot be read, so filters cannot be applied to the record.
    """
    value = _Value()
    try:
        for number, kind, a, b in _fields(window, start, stop):
            if kind == wire.LEN:
                value.take(window, number, a, b)
    except CorruptCheckpointError as error:
        if value.name_at is None:
            raise
        value.damage = Damage(error.problem, error.offset)
    name = "" if value.name_at is None else _name(window, *value.name_at)
    if value.damage is None and value.name_at is None:
        value.damage = Damage("the record has no name", pos)
    if value.damage is None and not value.tensors:
        value.damage = Damage("the record has no tensor and no map", pos)
    pieces = tuple(tensor.piece() for tensor in value.tensors)
    return Record(name, pos, stop, pieces, value.is_map, value.damage)


def _name(window: Window, start: int, stop: int) -> str:
    """Read a record's name. An error in it stops the walk, because filters need the name."""
    if stop - start > MAX_NAME_BYTES:
        raise CorruptCheckpointError(
            f"a name has {stop - start} bytes, more than {MAX_NAME_BYTES}", offset=start, hint=wire.CUT_HINT
        )
    return _text(window, start, stop, "the name")


def _type(window: Window, start: int, stop: int) -> str:
    """Read a tensor's type; one that is too long is cut off, which is enough for an error."""
    if stop - start <= MAX_TYPE_BYTES:
        return _text(window, start, stop, "the tensor type")
    return str(window.bytes(start, start + MAX_TYPE_BYTES), "utf-8", "replace")


def _text(window: Window, start: int, stop: int, what: str) -> str:
    """Read a short string; the caller has checked its length."""
    try:
        return str(window.bytes(start, stop), "utf-8")
    except UnicodeDecodeError as error:
        raise CorruptCheckpointError(f"{what} is not UTF-8", offset=start, hint=wire.CUT_HINT) from error
