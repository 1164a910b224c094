"""A walk over the records of a .ckpt: where everything stands, without reading any content.

The walk follows protobuf's rules (any field order, unknown fields and groups skipped, packed and
unpacked dims, last value of a singular field, repeated sub-messages merged), and holds only what
it needs to find content again. It judges nothing that a caller may not want: damage inside a
record is noted in it and raised when the record is used (docs/format.md, "Messages").
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

#: Headers of ordinary records are shorter; longer ones are read in more than one step.
_HEADER: Final = 512

#: protobuf takes 100 levels of messages and groups; so many are left for groups in the innermost message.
MAX_DEPTH: Final = 97
#: MindSpore refuses names of more than 1024 characters when it loads; up to here a name can be filtered out.
MAX_NAME_BYTES: Final = 64 << 10
#: The longest type name is Float8E4M3FN.
MAX_TYPE_BYTES: Final = 256
#: numpy arrays have at most 64 dimensions; more are counted but not kept.
MAX_DIMS: Final = 1024
#: A map has three tensors, keys, values and status; what is kept of more shows that there are more.
MAX_MAP_TENSORS: Final = 16


class Piece(NamedTuple):
    """One TensorProto as it was found: nothing in it is judged yet."""

    dims: tuple[int, ...]
    type: str | None
    start: int
    stop: int

    @property
    def has_content(self) -> bool:
        """Tell whether the record has a content field at all, be it empty."""
        return self.start >= 0


class Damage(NamedTuple):
    """What is wrong inside a record; an error is made of it when the record is used."""

    problem: str
    offset: int | None

    def error(self) -> CorruptCheckpointError:
        """Return a new error that says it."""
        return CorruptCheckpointError(self.problem, offset=self.offset, hint=wire.CUT_HINT)


class Record(NamedTuple):
    """One Checkpoint.Value: a tensor, a slice of one, a string, or a slice of a map."""

    name: str
    offset: int
    stop: int
    pieces: tuple[Piece, ...]
    is_map: bool
    damage: Damage | None


@dataclass
class Layout:
    """What the walk over a source found.

    Attributes:
        records: all records in file order.
        trailer: where the CRC trailer stands, if there is one.
        first_foreign: where the first thing stands that is neither, such as an unknown field.
        damage: why the walk could not go on; then `records` are those before.
    """

    records: list[Record] = field(default_factory=list)
    trailer: int | None = None
    first_foreign: int | None = None
    damage: CorruptCheckpointError | None = None


def walk(source: Source, max_records: int = MAX_RECORDS) -> Layout:
    """Find every record of a plain (or decrypted) checkpoint.

    Time is linear in the number of records and fields; what is held is the index alone.

    Returns:
        The layout. Its `damage` says if the file ends inside a record, or if what stands between
        records is no protobuf field; damage inside one record is noted in that record.

    Raises:
        LimitError: there are more than `max_records` records, or fields out of proportion to that.
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
    """Return the first record, or None where something else stands."""
    layout = Layout()
    with suppress(CorruptCheckpointError, LimitError):
        _scan(source, layout, 1)
    return layout.records[0] if layout.records else None


def _scan(source: Source, layout: Layout, max_records: int) -> None:
    """Note in `layout` the records, the trailer, and where something else is.

    Its inner loop is what takes the time of a file of many small tensors, so that it has as few calls as it can.
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


# What MindSpore itself writes: tag, tensor, dims one by one, type, content, nothing else and in this order.
# A length has up to five bytes; a dim of up to nine bytes cannot be negative. All repetition is bounded, so that
# bytes which look like a long header cost no more than the short ones.
_LENGTH: Final = rb"([\x80-\xff]{0,4}[\x00-\x7f])"
_DIMS: Final = rb"((?:\x08[\x80-\xff]{0,8}[\x00-\x7f]){0,32})"
_HEAD: Final = re.compile(rb"\x0a" + _LENGTH + rb"\x0a([\x00-\x7f])")
_BODY: Final = re.compile(rb"\x12" + _LENGTH + _DIMS + rb"\x12([\x00-\x7f])([A-Za-z0-9_]{1,127})\x1a" + _LENGTH)


#: NamedTuple's own constructor is a Python function, which costs more than all else here.
_made: Final = tuple.__new__


class _Body(NamedTuple):
    """What is between the name and the data of an ordinary record."""

    dims: tuple[int, ...]
    type: str
    header: int
    total: int


class _Bodies:
    """Bodies that were read before: most records of a file have the same few, byte for byte.

    Attributes:
        size: of the header of the last one, which is probably that of the next.
    """

    _MOST: Final = 1024

    def __init__(self) -> None:
        self.size = 0
        self._known: dict[bytes, _Body] = {}

    def at(self, buffer: bytes | memoryview, index: int) -> _Body | None:
        """Return the body at a place, or None if MindSpore does not write it so."""
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
    """Read a record that looks as MindSpore writes it, or return None: the fast twin of `_record`.

    tests/formats/ckpt/test_walk.py holds the two against each other.
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


# Most records of a file have the same few lengths.


@lru_cache(maxsize=1024)
def _number(data: bytes) -> int:
    """Decode a varint that is known to be whole."""
    return wire.varint(data, 0, len(data))[0]


def _dims(data: bytes) -> tuple[int, ...]:
    """Decode dims that stand one by one, each behind its tag byte."""
    dims = []
    pos = 0
    while pos < len(data):
        value, pos = wire.varint(data, pos + 1, len(data))
        dims.append(value)
    return tuple(dims)


Field = tuple[int, int, int, int]


def _fields(window: Window, start: int, stop: int) -> Iterator[Field]:
    """Yield every field of a message that stands from `start` to `stop`, as `_field` describes it."""
    while start < stop:
        found = _field(window, start, stop)
        yield found
        start = found[3]


def _field(window: Window, pos: int, stop: int) -> Field:
    """Return ``(number, wire type, a, b)`` for the field at `pos`; `b` is the position behind it.

    `a` is the value of a varint and the start of any other payload. A group is passed over as a whole.
    """
    number, kind, a, b = _single(window, pos, stop)
    if kind == wire.START_GROUP:
        b = _skip_group(window, b, stop, number)
    elif kind == wire.END_GROUP:
        raise CorruptCheckpointError(f"group {number} ends but never began", offset=pos, hint=wire.CUT_HINT)
    return number, kind, a, b


def _single(window: Window, pos: int, stop: int) -> Field:
    """Read one tag and find the end of what it announces; for the borders of a group, that of the tag alone."""
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
    """Return the position behind a group, whatever is nested in it."""
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
    """A TensorProto while its fields are still coming in."""

    dims: list[int] = field(default_factory=list)
    type: str | None = None
    start: int = -1
    stop: int = -1

    def merge(self, window: Window, start: int, stop: int) -> None:
        """Take in one occurrence of the message: dims add up, of the other fields the last one counts."""
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
    """A Checkpoint.Value while its fields are still coming in."""

    def __init__(self) -> None:
        self.name_at: tuple[int, int] | None = None
        self.is_map = False
        self.tensors: list[_Tensor] = []
        self.damage: Damage | None = None

    def take(self, window: Window, number: int, start: int, stop: int) -> None:
        """Take in one field; tensor and maptensor are a oneof, so that the one that comes drops the other."""
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
    """Read a record field by field, following every rule of protobuf: the general twin of `_ordinary`.

    Raises:
        CorruptCheckpointError: the record's name cannot be told, so no filter can decide about it.
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
    """Read a record's name; what is wrong with it is wrong under any filter."""
    if stop - start > MAX_NAME_BYTES:
        raise CorruptCheckpointError(
            f"a name has {stop - start} bytes, more than {MAX_NAME_BYTES}", offset=start, hint=wire.CUT_HINT
        )
    return _text(window, start, stop, "the name")


def _type(window: Window, start: int, stop: int) -> str:
    """Read a tensor's type; of one that is too long for any, only so much as to show it."""
    if stop - start <= MAX_TYPE_BYTES:
        return _text(window, start, stop, "the tensor type")
    return str(window.bytes(start, start + MAX_TYPE_BYTES), "utf-8", "replace")


def _text(window: Window, start: int, stop: int, what: str) -> str:
    """Read a short string, whose length the caller has bounded."""
    try:
        return str(window.bytes(start, stop), "utf-8")
    except UnicodeDecodeError as error:
        raise CorruptCheckpointError(f"{what} is not UTF-8", offset=start, hint=wire.CUT_HINT) from error
