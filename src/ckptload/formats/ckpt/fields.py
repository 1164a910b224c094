"""Read a record field by field by all rules of protobuf, and note the fields that MindSpore's writers never make.

protobuf skips what it does not know and joins what comes twice (docs/format.md, "Wire rules"). So a single changed bit
can make a parameter, a dimension or a part of a name disappear without an error; what is noted here tells it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from ckptload.errors import CorruptCheckpointError
from ckptload.formats.ckpt import schema, wire
from ckptload.formats.index import Foreign, ForeignField

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ckptload.formats.ckpt.window import Window

#: protobuf allows 100 levels of messages and groups; the innermost message leaves this many for groups.
MAX_DEPTH: Final = 97
#: Longer names stop the walk. MindSpore loads names of up to 1024 characters; those in between can be filtered out.
MAX_NAME_BYTES: Final = 64 << 10
#: Longer types are cut off. The longest valid one is Float8E4M3FN.
MAX_TYPE_BYTES: Final = 256
#: numpy arrays have at most 64 dimensions; a tensor with more than this is not read to its end.
MAX_DIMS: Final = 128
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


#: Fields that no MindSpore writes and whose places are kept; the others are only counted.
_KEPT: Final = 8


@dataclass
class Strangers:
    """Fields that no MindSpore writes: how many there are, their bytes together, and the first of them."""

    _number: int = 0
    _nbytes: int = 0
    _first: list[ForeignField] = field(default_factory=list)

    def add(self, start: int, stop: int, what: str, record: str | None = None) -> None:
        """Note the field from `start` to `stop`; `what` says what is odd about it."""
        self._number += 1
        self._nbytes += stop - start
        if len(self._first) < _KEPT:
            self._first.append(ForeignField(start, stop - start, what, record))

    def add_unknown(self, start: int, stop: int, number: int, kind: int) -> None:
        """Note a field that the schema does not have, or not with this wire type."""
        self.add(start, stop, f"field {number} of wire type {kind}")

    def absorb(self, others: Strangers, name: str) -> None:
        """Take over the fields inside a record."""
        self._number += others._number
        self._nbytes += others._nbytes
        room = _KEPT - len(self._first)
        self._first += [one._replace(record=name) for one in others._first[:room]]

    def found(self) -> Foreign:
        """Return what was noted."""
        return Foreign(self._number, self._nbytes, tuple(self._first))


Field = tuple[int, int, int, int]
#: The fields of a message: their numbers, each with the wire types that it may have.
Known = frozenset[tuple[int, int]]

_OF_VALUE: Final[Known] = frozenset(
    (number, wire.LEN) for number in (schema.VALUE_TAG, schema.VALUE_TENSOR, schema.VALUE_MAPTENSOR)
)
_OF_TENSOR: Final[Known] = frozenset(
    {
        (schema.TENSOR_DIMS, wire.VARINT),
        (schema.TENSOR_DIMS, wire.LEN),
        (schema.TENSOR_TYPE, wire.LEN),
        (schema.TENSOR_CONTENT, wire.LEN),
    }
)
_OF_MAP: Final[Known] = frozenset({(schema.MAP_TENSOR, wire.LEN)})
#: The fields of the file itself.
OF_FILE: Final[Known] = frozenset({(schema.CHECKPOINT_VALUE, wire.LEN)})
_UNKNOWN: Final[Known] = frozenset()


def _fields(window: Window, start: int, stop: int, known: Known) -> Iterator[tuple[int, int, int, int, int]]:
    """Yield every field of the message from `start` to `stop`: its position, and what `next_field` returns."""
    while start < stop:
        found = next_field(window, start, stop, known)
        yield (start, *found)
        start = found[3]


def next_field(window: Window, pos: int, stop: int, known: Known) -> Field:
    """Return ``(number, wire type, a, b)`` for the field at `pos`; a group is one field.

    `a` is the value of a varint, or the start of any other payload. `b` is the position after the field.

    Raises:
        CorruptCheckpointError: the field is damaged, or is one of the `known` with a tag in more bytes than it needs.
            protobuf's parser in C takes such a tag; the one in Python, which MindSpore uses, skips the field.
        LimitError: there were too many fields.
    """
    number, kind, a, b = _single(window, pos, stop, known)
    if kind == wire.START_GROUP:
        b = _skip_group(window, b, stop, number)
    elif kind == wire.END_GROUP:
        raise CorruptCheckpointError(f"group {number} ends but never began", offset=pos, hint=wire.CUT_HINT)
    return number, kind, a, b


def _single(window: Window, pos: int, stop: int, known: Known) -> Field:
    """Read one field like `next_field`, but treat the start and the end of a group as fields without payload."""
    window.count(pos)
    buffer, index = window.at(pos, 2 * wire.MAX_VARINT_BYTES)
    base = pos - index
    limit = min(len(buffer), stop - base)
    number, kind, after = wire.tag(buffer, index, limit, base)
    if wire.is_padded(buffer, index, after) and (number, kind) in known:
        raise CorruptCheckpointError(
            f"the tag of field {number} is padded to {after - index} bytes, so that MindSpore does not know it",
            offset=pos,
            hint=wire.CUT_HINT,
        )
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
        inner, kind, _, after = _single(window, pos, stop, _UNKNOWN)
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
    packed: bool = False

    def merge(self, window: Window, start: int, stop: int, strangers: Strangers) -> None:
        """Merge one occurrence of the message: dims are concatenated, and the last of any other field counts."""
        for pos, number, kind, a, b in _fields(window, start, stop, _OF_TENSOR):
            if number == schema.TENSOR_DIMS and kind == wire.VARINT:
                if self.packed:
                    strangers.add(pos, b, "a single dim beside packed ones")
                self._add(wire.signed(a))
            elif number == schema.TENSOR_DIMS and kind == wire.LEN:
                if self.dims or a == b:
                    strangers.add(pos, b, "packed dims beside others" if self.dims else "packed dims without a number")
                self.packed = True
                self._add_packed(window, a, b)
            elif number == schema.TENSOR_TYPE and kind == wire.LEN:
                if self.type is not None:
                    strangers.add(pos, b, "a second type")
                self.type = _type(window, a, b)
            elif number == schema.TENSOR_CONTENT and kind == wire.LEN:
                if self.start >= 0:
                    strangers.add(pos, b, "a second content")
                self.start, self.stop = a, b
            else:
                strangers.add_unknown(pos, b, number, kind)

    def _add(self, dim: int) -> None:
        if len(self.dims) >= MAX_DIMS:
            self.dims.clear()
            raise CorruptCheckpointError(f"a tensor has more than {MAX_DIMS} dimensions", hint=wire.CUT_HINT)
        self.dims.append(dim)

    def _add_packed(self, window: Window, start: int, stop: int) -> None:
        # No more is read, nor made into numbers, than is kept.
        room = MAX_DIMS - len(self.dims) + 1
        data = window.bytes(start, min(stop, start + room * wire.MAX_VARINT_BYTES))
        at = 0
        while at < len(data):
            value, after = wire.varint(data, at, len(data), start)
            window.count(start + at)
            self._add(wire.signed(value))
            at = after

    def piece(self) -> Piece:
        return Piece(tuple(self.dims), self.type, self.start, self.stop)


class _Value:
    """A Checkpoint.Value whose fields are being read."""

    def __init__(self) -> None:
        self.name_at: tuple[int, int] | None = None
        self.is_map = False
        self.tensors: list[_Tensor] = []
        self.damage: Damage | None = None
        self.strangers = Strangers()
        self._has_tensors = False

    def take(self, window: Window, pos: int, number: int, start: int, stop: int) -> None:
        """Merge one field; tensor and maptensor are a oneof, so each of them drops the other."""
        if number == schema.VALUE_TAG:
            if self.name_at is not None:
                self.strangers.add(pos, stop, "a second name")
            self.name_at = (start, stop)
        elif number in (schema.VALUE_TENSOR, schema.VALUE_MAPTENSOR):
            if self._has_tensors:
                self.strangers.add(pos, stop, "a second tensor or map")
            self._has_tensors = True
            is_map = number == schema.VALUE_MAPTENSOR
            if is_map != self.is_map:
                self.tensors.clear()
            self.is_map = is_map
            try:
                self._take_tensors(window, start, stop)
            except CorruptCheckpointError as error:
                self.damage = Damage(error.problem, error.offset)
        else:
            self.strangers.add_unknown(pos, stop, number, wire.LEN)

    def _take_tensors(self, window: Window, start: int, stop: int) -> None:
        if not self.is_map:
            if not self.tensors:
                self.tensors.append(_Tensor())
            self.tensors[0].merge(window, start, stop, self.strangers)
            return
        for pos, number, kind, a, b in _fields(window, start, stop, _OF_MAP):
            if number != schema.MAP_TENSOR or kind != wire.LEN:
                self.strangers.add_unknown(pos, b, number, kind)
            else:
                if len(self.tensors) >= MAX_MAP_TENSORS:
                    raise CorruptCheckpointError(
                        f"a map has more than {MAX_MAP_TENSORS} tensors", offset=a, hint=wire.CUT_HINT
                    )
                tensor = _Tensor()
                tensor.merge(window, a, b, self.strangers)
                self.tensors.append(tensor)


def read_record(window: Window, pos: int, start: int, stop: int, strangers: Strangers) -> Record:
    """Read a record field by field by all rules of protobuf: the slow version of `walk._ordinary`.

    Args:
        window: the source.
        pos: position of the record.
        start: start of its message.
        stop: end of its message.
        strangers: takes the fields inside the record that no MindSpore writes.

    Raises:
        CorruptCheckpointError: the name cannot be read, so filters cannot be applied to the record.
    """
    value = _Value()
    try:
        for at, number, kind, a, b in _fields(window, start, stop, _OF_VALUE):
            if kind == wire.LEN:
                value.take(window, at, number, a, b)
            else:
                value.strangers.add_unknown(at, b, number, kind)
    except CorruptCheckpointError as error:
        if value.name_at is None:
            raise
        value.damage = Damage(error.problem, error.offset)
    name = "" if value.name_at is None else _name(window, *value.name_at)
    strangers.absorb(value.strangers, name)
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
