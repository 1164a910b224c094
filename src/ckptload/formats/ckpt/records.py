"""Turn records into entries: join the slices of a name, check shapes and sizes, tell strings and maps apart.

The index is enough for this; no tensor data is read. An entry is checked when it is requested, so damage in
an entry that is left out is not an error.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from ckptload import dtypes
from ckptload.errors import CheckpointError, CorruptCheckpointError, Hint
from ckptload.filters import MAX_NAME
from ckptload.formats.ckpt import schema
from ckptload.formats.ckpt.fields import Record
from ckptload.formats.entry import BYTES, MAP, STRING, TENSOR, UNSUPPORTED, Entry, Span, stored_size

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ckptload.dtypes import DType
    from ckptload.formats.ckpt.fields import Piece

#: Tensors of a map: keys, values and status (docs/format.md, "Map tensors").
MAP_PARTS: Final = 3
#: numpy's limit on dimensions. Before numpy 2 it is 32, which is checked when the array is made.
MAX_RANK: Final = 64
_MAX_BYTES: Final = (1 << 63) - 1
#: Bytes per element in files that hold bfloat16 as float32; the upper halves are the values (docs/format.md,
#: "Tensor types").
WIDE_BFLOAT16: Final = 4


_SAVE_AGAIN: Final = "the file was damaged, or written by a faulty tool; fetch or save it again"


#: The records of one name: the only one, or runs of records.
Found = Record | list[list[Record]]

_made: Final = tuple.__new__


def grouped(records: Iterable[Record]) -> dict[str, Found]:
    """Group records by name, in file order.

    Returns:
        For each name its only record, as nearly every name has just one; otherwise its runs, each a list of
        consecutive records of one kind. A run is one value in slices. If a name has several runs, the last one
        is its value (docs/format.md, "Records" and "Slices").
    """
    found: dict[str, Found] = {}
    before: Record | None = None
    for record in records:
        name = record[0]
        first = found.setdefault(name, record)
        if first is not record:
            if isinstance(first, Record):
                found[name] = first = [[first]]
            if before is not None and before.name == name and _continues(before, record):
                first[-1].append(record)
            else:
                first.append([record])
        before = record
    return found


def odd(found: Iterable[Found]) -> Iterator[tuple[Record, Record, str]]:
    """Yield the first and the last record of what no version of MindSpore writes, and what is odd about them.

    A name is written once, and all slices of a tensor have its type.
    """
    for of_name in found:
        if not isinstance(of_name, Record):
            for run in of_name[1:]:
                yield run[0], run[-1], "another value of a name"
            for run in of_name:
                types = {piece.type for record in run for piece in record.pieces[:1]}
                if len(types) > 1 and not run[0].is_map:
                    yield run[0], run[-1], "slices of several types"


def runs(found: Found) -> Sequence[Sequence[Record]]:
    """Return the runs of a name; an only record is a run of one."""
    return [[found]] if isinstance(found, Record) else found


def _continues(before: Record, record: Record) -> bool:
    """Return whether two adjacent records of one name are slices of one value."""
    return before.is_map == record.is_map and _kind(before) == _kind(record)


def _kind(record: Record) -> str:
    if record.is_map:
        return MAP
    kind = record.pieces[0].type if record.pieces else None
    return {schema.STRING_TYPE: STRING, schema.RANDOM_OP_TYPE: BYTES}.get(kind or "", TENSOR)


def judge(name: str, found: Found) -> Entry:
    """Check the records of one name and return their entry.

    Every run is checked, even if a later one replaces it.

    Args:
        name: the name, as written in the file.
        found: its records, as `grouped` returns them.

    Raises:
        CheckpointError: the name is longer than MindSpore allows.
        CorruptCheckpointError: a record is damaged or incomplete, or its size does not match its shape.
    """
    if isinstance(found, Record):
        entry = _ordinary(name, found)
        if entry is not None:
            return entry
    first, *_ = of_name = runs(found)
    if len(name) > MAX_NAME:
        raise CheckpointError(
            f"the name has {len(name)} characters; MindSpore allows {MAX_NAME}",
            name=f"{name[:60]}...",
            offset=first[0].offset,
            hint=Hint("leave the entry out with {exclude}"),
        )
    try:
        entries = [_entry(name, run) for run in of_name]
    except CheckpointError as error:
        # Errors from the walk and from the tensors of a map do not have the name yet.
        error.name = name
        if error.offset is None:
            error.offset = first[0].offset
        raise
    return entries[-1]


def _ordinary(name: str, record: Record) -> Entry | None:
    """Return the entry of a valid tensor in one record, or None: the fast version of `_entry`."""
    _, offset, _, pieces, is_map, damage = record
    if damage is not None or is_map or not pieces or len(name) > MAX_NAME:
        return None
    dims, kind, start, stop = pieces[0]
    dtype, size = _expected(kind, dims)
    # All dims are positive, so if the size matches, the array can be made.
    if dtype is None or start < 0 or stop - start != size:
        return None
    # NamedTuple's own constructor is a Python function, which takes longer than everything else here.
    return _made(Entry, (name, TENSOR, dtype, dims, size, ((start, stop),), offset, (), "", ()))


@lru_cache(maxsize=1024)
def _expected(kind: str | None, dims: tuple[int, ...]) -> tuple[DType | None, int]:
    """Return the dtype and the size in bytes of a tensor, or ``(None, 0)`` if `_entry` has to check it.

    It is cached because most tensors of a file have the same few types and shapes.
    """
    dtype = dtypes.in_file(kind)
    if dtype is None or (dims and (min(dims) <= 0 or len(dims) > MAX_RANK)):
        return None, 0
    return dtype, math.prod(dims) * dtype.itemsize


def _entry(name: str, run: Sequence[Record]) -> Entry:
    for record in run:
        if record.damage is not None:
            raise record.damage.error()
        for piece in record.pieces:
            if piece.type is None or not piece.has_content:
                missing = "type" if piece.type is None else "content"
                raise CorruptCheckpointError(f"the record has no {missing}", offset=record.offset, hint=_SAVE_AGAIN)
    kind = _kind(run[0])
    if kind == MAP:
        return _map(name, run)
    pieces = [record.pieces[0] for record in run]
    if kind == TENSOR:
        return _tensor(name, pieces, run[0].offset)
    spans = _spans(pieces)
    size = stored_size(spans)
    if kind == STRING and size % 4:
        raise CorruptCheckpointError(
            f"a string has 4 bytes per character, but {size} bytes are present", offset=spans[0][0], hint=_SAVE_AGAIN
        )
    return Entry(name, kind, None, (), size, spans, run[0].offset)


def _spans(pieces: Iterable[Piece]) -> tuple[Span, ...]:
    return tuple((piece.start, piece.stop) for piece in pieces)


def _tensor(name: str, pieces: Sequence[Piece], offset: int) -> Entry:
    """Return the entry of a tensor.

    Its dims and type are those of the last slice (MindSpore 2.10.0, train/serialization.py:1244).
    """
    last = pieces[-1]
    spans = _spans(pieces)
    _check_dims(pieces, offset)
    dtype = dtypes.in_file(last.type)
    if dtype is None:
        return _unsupported(name, _type_name(last, offset), last.dims, spans, offset)
    return _sized(name, dtype, last.dims, spans, offset)


def _unsupported(name: str, kind: str, dims: tuple[int, ...], spans: tuple[Span, ...], offset: int) -> Entry:
    """Return the entry of a type that is not supported; only what does not depend on the type is checked."""
    size = stored_size(spans)
    _check_rank(dims, offset)
    return Entry(name, UNSUPPORTED, None, () if dims == (0,) and size else dims, size, spans, offset, type_name=kind)


def _type_name(piece: Piece, offset: int) -> str:
    """Return a type that is not supported, or refuse what cannot be the name of one."""
    kind = piece.type or ""
    if not kind.strip() or not kind.isprintable():
        raise CorruptCheckpointError(f"{kind!r} is not the name of a type", offset=offset, hint=_SAVE_AGAIN)
    return kind


def _check_rank(dims: tuple[int, ...], offset: int) -> None:
    if len(dims) > MAX_RANK:
        raise CorruptCheckpointError(f"not a valid shape: {_short(dims)}", offset=offset, hint=_SAVE_AGAIN)


def _check_dims(pieces: Iterable[Piece], offset: int) -> None:
    """Refuse negative dims, even in slices whose dims are not used."""
    for piece in pieces:
        if min(piece.dims, default=0) < 0:
            raise CorruptCheckpointError(f"not a valid shape: {_short(piece.dims)}", offset=offset, hint=_SAVE_AGAIN)


def _sized(name: str, dtype: DType, dims: tuple[int, ...], spans: tuple[Span, ...], offset: int) -> Entry:
    """Return the entry of a tensor after checking its size against dims and type.

    Python's integers cannot overflow, so any dims can be multiplied.
    """
    shape = dims
    size = stored_size(spans)
    _check_rank(dims, offset)
    if dims == (0,) and size:
        # Up to 2.0.0, MindSpore wrote scalars with dims [0] (docs/format.md, "Shapes and scalars").
        shape = ()
    need = math.prod(shape) * dtype.itemsize
    # Two records of the whole size are two values, not slices of a wide one.
    is_two = [stop - start for start, stop in spans] == [need, need]
    is_wide = dtype is dtypes.bfloat16 and size == WIDE_BFLOAT16 * math.prod(shape) and not is_two
    fits = size == need or is_wide
    if not fits:
        raise CorruptCheckpointError(
            f"{dtype} of shape {_short(dims)} needs {need if need <= _MAX_BYTES else 'over 2**63'} bytes, "
            f"{size} are present",
            offset=spans[0][0] if spans else offset,
            hint=_SAVE_AGAIN,
        )
    if not need and math.prod(dim for dim in shape if dim) * dtype.itemsize > _MAX_BYTES:
        raise CorruptCheckpointError(f"not a valid shape: {_short(dims)}", offset=offset, hint=_SAVE_AGAIN)
    return Entry(name, TENSOR, dtype, shape, need, spans, offset)


def _short(dims: tuple[int, ...]) -> str:
    """Return dims as text; of many, only the first."""
    limit = 8
    return str(dims) if len(dims) <= limit else f"{str(dims[:limit])[:-1]}, ... ({len(dims)} dims)"


def _map(name: str, run: Sequence[Record]) -> Entry:
    """Return the entry of a map.

    Its records are slices (MindSpore 2.10.0, train/serialization.py:1545) or, in files of 2.0.0, each repeats
    the one before and adds a tensor; docs/format.md, "Map tensors", says how to tell the two layouts apart.
    """
    counts = [len(record.pieces) for record in run]
    if max(counts) > MAP_PARTS:
        raise CorruptCheckpointError(
            f"a map has at most {MAP_PARTS} tensors, the record has {max(counts)}",
            offset=run[0].offset,
            hint=_SAVE_AGAIN,
        )
    if len(run) > 1 and counts == list(range(1, len(run) + 1)):
        run, counts = run[-1:], counts[-1:]
    if min(counts) != max(counts):
        raise CorruptCheckpointError(
            f"the slices of a map have {min(counts)} to {max(counts)} tensors each",
            offset=run[0].offset,
            hint=_SAVE_AGAIN,
        )
    columns = zip(*(record.pieces for record in run), strict=True)
    parts = tuple(_map_part(name, column, run[0].offset) for column in columns)
    spans = tuple(span for part in parts for span in part.spans)
    lacking = next((part.type_name for part in parts if part.kind == UNSUPPORTED), None)
    if lacking is not None:
        return _unsupported(name, f"map of {lacking}", (), spans, run[0].offset)
    return Entry(name, MAP, None, (), sum(part.nbytes for part in parts), spans, run[0].offset, parts)


def _map_part(name: str, pieces: Sequence[Piece], offset: int) -> Entry:
    last = pieces[-1]
    dtype = dtypes.in_file(last.type)
    if any(dtypes.in_file(piece.type) is not dtype for piece in pieces):
        raise CorruptCheckpointError(
            f"the type of a tensor of a map is {last.type!r}, but differs between slices",
            offset=offset,
            hint=_SAVE_AGAIN,
        )
    _check_dims(pieces, offset)
    if not all(piece.dims for piece in pieces):
        raise CorruptCheckpointError("a tensor of a map has no dims", offset=offset, hint=_SAVE_AGAIN)
    rows = sum(piece.dims[0] for piece in pieces)
    spans = _spans(pieces)
    if dtype is None:
        return _unsupported(name, _type_name(last, offset), (rows, *last.dims[1:]), spans, offset)
    if not rows and stored_size(spans):
        raise CorruptCheckpointError(
            f"a map without rows has {stored_size(spans)} bytes", offset=spans[0][0], hint=_SAVE_AGAIN
        )
    return _sized(name, dtype, (rows, *last.dims[1:]), spans, offset)
