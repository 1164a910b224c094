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
from ckptload.formats.ckpt import fields, schema, wire
from ckptload.formats.ckpt.fields import Piece, Record
from ckptload.formats.ckpt.window import Window
from ckptload.formats.limits import MAX_RECORDS, beyond

if TYPE_CHECKING:
    from ckptload.sources.base import Source

#: Bytes of a header read at once. Ordinary headers are shorter; longer ones are read in several steps.
_HEADER: Final = 512


@dataclass
class Layout:
    """The result of a walk. Positions are in bytes from the start of the source.

    Attributes:
        records: all records, in file order.
        trailer: position of the CRC trailer, or None.
        first_foreign: position of the first bytes that are neither a record nor the trailer, such as an unknown
            field, or None.
        strangers: the fields that no MindSpore writes, between records and inside them.
        damage: the error that ended the walk, or None; `records` are those before it.
    """

    records: list[Record] = field(default_factory=list)
    trailer: int | None = None
    first_foreign: int | None = None
    strangers: fields.Strangers = field(default_factory=fields.Strangers)
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
    found, bodies = layout.records, _Bodies(window)
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
            number, kind, start, stop = fields.next_field(window, pos, size, fields.OF_FILE)
            if number != schema.CHECKPOINT_VALUE or kind != wire.LEN:
                layout.first_foreign = pos if layout.first_foreign is None else layout.first_foreign
                if kind != wire.LEN or not _is_model_type(window, start, stop):
                    layout.strangers.add_unknown(pos, stop, number, kind)
                pos = stop
                continue
            found.append(fields.read_record(window, pos, start, stop, layout.strangers))
            if len(found) > max_records:
                raise beyond(f"{max_records} records", max_records, source.label, pos)
            pos = stop


def _is_model_type(window: Window, start: int, stop: int) -> bool:
    """Return whether a field between records is one that versions before 1.0 wrote."""
    return stop - start <= schema.LONGEST_MODEL_TYPE and window.bytes(start, stop) in schema.MODEL_TYPES


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

    def __init__(self, window: Window) -> None:
        self.size = 0
        self._window = window
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
        # Each dim is an object that is held. Those of a known body are held only once.
        self._window.count(self._window.last, len(body.dims))
        if len(self._known) >= self._MOST:
            self._known.clear()
        self._known[bytes(buffer[index : index + header])] = body
        self.size = header
        return body


def _ordinary(buffer: bytes | memoryview, index: int, pos: int, size: int, bodies: _Bodies) -> Record | None:
    """Read a record that is as MindSpore writes it, or return None: the fast version of `fields.read_record`.

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
