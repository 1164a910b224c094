"""From arrays to the values of a checkpoint: Parameters, strings, lists of arrays and bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ckptload.errors import CorruptCheckpointError, Hint, enough_memory
from ckptload.foreign import giving
from ckptload.formats.ckpt import wire
from ckptload.formats.entry import MAP, STRING
from ckptload.tensors.parameter import Parameter
from ckptload.tensors.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ckptload.dtypes import Array
    from ckptload.formats.entry import Entry

    Value = Parameter | list[Array] | str | bytes


def to_read(entries: list[Entry]) -> list[Entry]:
    """Return the entries to read, with each map replaced by its parts."""
    if any(entry.parts for entry in entries):
        return [part for entry in entries for part in (entry.parts if entry.kind == MAP else (entry,))]
    return entries


def values(entries: list[Entry], found: list[Array]) -> dict[str, Value]:
    """Make values from arrays; with a fast path if all are tensors, which is nearly always so."""
    pairs = zip(entries, found, strict=False)
    tensors: dict[str, Value] = {
        entry.name: Parameter.adopt(array, entry.dtype, entry.name) for entry, array in pairs if entry.dtype is not None
    }
    if len(tensors) == len(entries):
        return tensors
    content = iter(found)
    return {entry.name: _value(entry, content) for entry in entries}


def check_kind(entries: Iterable[Entry], kind: str) -> None:
    """Raise UnsupportedTypeError for the first tensor that a kind of Parameters cannot hold (`giving.KINDS`)."""
    if kind not in (giving.OURS, giving.NUMPY):
        giving.check(kind, ((entry.name, entry.dtype) for entry in entries if entry.dtype is not None))


def given(values: dict[str, Any], kind: str, *, mapped: bool = False) -> dict[str, Any]:
    """Return values with their Parameters in another kind, which takes over their memory; others are unchanged.

    The dictionary itself is changed, one value after the other, so that what a kind copies is never held twice. Views
    of a mapped file are copied unless the kind is numpy's: a net must not change with a file.

    Raises:
        UnsupportedTypeError: the kind cannot hold a dtype.
    """
    if kind == giving.OURS:
        return values
    with enough_memory(f"to make Parameters of {kind} of all entries", hint=Hint("{fewer}")):
        for name, value in values.items():
            if isinstance(value, Tensor):
                requires_grad = not isinstance(value, Parameter) or value.requires_grad
                array = value.asnumpy().copy() if mapped and kind != giving.NUMPY else value.asnumpy()
                values[name] = giving.parameter(kind, array, value.dtype, name, requires_grad=requires_grad)
    return values


def _value(entry: Entry, content: Iterator[Array]) -> Value:
    """Make a value from its arrays, the next ones in `content`."""
    if entry.kind == MAP:
        parts = [next(content) for _ in entry.parts]
        for part in parts:
            part.flags.writeable = False
        return parts
    array = next(content)
    if entry.dtype is not None:
        return Parameter.adopt(array, entry.dtype, entry.name)
    data = array.tobytes()
    return _text(data, entry) if entry.kind == STRING else data


def _text(data: bytes, entry: Entry) -> str:
    """Decode a string entry (docs/format.md, "Strings").

    The encoding is UTF-32, little-endian. Trailing NULs are dropped, and lone surrogates are kept.

    Raises:
        CorruptCheckpointError: it has a code point above U+10FFFF.
    """
    try:
        return data.decode("utf-32-le", "surrogatepass").rstrip("\0")
    except UnicodeDecodeError as error:
        place = entry.spans[0][0] + error.start if len(entry.spans) == 1 else entry.offset
        raise CorruptCheckpointError(
            "the string has a code point above U+10FFFF", name=entry.name, offset=place, hint=wire.CUT_HINT
        ) from error
