"""Values for programs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from ckptload.cli import text
from ckptload.cli.inspect_data import number
from ckptload.cli.show_text import check_has_no_index, written
from ckptload.errors import LimitError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ckptload import Reader
    from ckptload.cli.show_text import Index
    from ckptload.dtypes import Array

#: Elements of one entry that are printed without being asked for all.
_MOST: Final = 100_000


def entries(reader: Reader, names: Iterable[str], index: Index | None, *, full: bool) -> list[dict[str, Any]]:
    """Return entries with their values.

    Args:
        reader: the checkpoint.
        names: of the entries.
        index: the part of each tensor, or None for all of it.
        full: whether there is no limit to the number of values.

    Raises:
        LimitError: there are too many.
        CheckpointError: an entry cannot be read, or the index does not fit.
    """
    return [_entry(reader, name, index, full=full) for name in names]


def _entry(reader: Reader, name: str, index: Index | None, *, full: bool) -> dict[str, Any]:
    entry = reader.readable(name)
    data: dict[str, Any] = {
        "name": name,
        "kind": entry.kind,
        "dtype": None if entry.dtype is None else str(entry.dtype),
        "shape": list(entry.shape),
        "bytes": entry.nbytes,
    }
    if entry.dtype is None:
        check_has_no_index(entry, index)
        _check(name, max(entry.nbytes, 0), full=full)
        value = reader[name]
        if isinstance(value, str):
            return {**data, "values": value}
        return {**data, "values": value.hex() if isinstance(value, bytes) else [_values(part) for part in value]}
    if index is None:
        _check(name, math.prod(entry.shape), full=full)
        return {**data, "values": _values(reader.get_slice(name)[...].asnumpy())}
    array = reader.get_slice(name)[index].asnumpy()
    _check(name, array.size, full=full)
    return {**data, "slice": written(index), "slice_shape": list(array.shape), "values": _values(array)}


def _check(name: str, size: int, *, full: bool) -> None:
    if size > _MOST and not full:
        raise LimitError(
            f"{text.grouped(size)} values are more than {text.grouped(_MOST)}",
            name=name,
            hint="choose a part with --slice, or pass --full",
        )


def _values(array: Array) -> Any:
    """Return nested lists; complex numbers are pairs, and NaN and infinity None."""
    if array.ndim:
        return [_values(row) for row in array] if array.ndim > 1 else [_value(one) for one in array.tolist()]
    return _value(array.item())


def _value(value: Any) -> Any:
    if isinstance(value, complex):
        return [number(value.real), number(value.imag)]
    return value if isinstance(value, (bool, int)) else number(float(value))
