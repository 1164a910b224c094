"""Write numpy's .npz, entry by entry, in constant memory."""

from __future__ import annotations

import zipfile
from typing import IO, TYPE_CHECKING, Any, Final

import numpy as np
from numpy.lib import format as npy

from ckptload import dtypes
from ckptload.errors import ArgumentError, Hint
from ckptload.formats.entry import MAP, STRING
from ckptload.writing.atomic import Replacement

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from ckptload.converting.jobs import Meter
    from ckptload.formats.item import Item

#: Types that numpy itself does not have; float32 can represent all their values.
_WIDENED: Final = (dtypes.bfloat16, dtypes.float8_e4m3fn, dtypes.float8_e5m2)
#: What numpy adds to the name of an array for its file in the archive.
_ENDING: Final = ".npy"
#: Names of the arrays of a map (docs/format.md, "Map tensors").
_PARTS: Final = ("keys", "values", "status")


def write(
    target: Path,
    arrays: dict[str, Item],
    meter: Meter,
    finish: Callable[[], object],
    *,
    synced: bool,
    reveals: Sequence[os.stat_result],
) -> None:
    """Write arrays by name; `finish` is called after everything is written and before the file is replaced."""
    with Replacement(str(target), synced=synced, reveals=reveals) as file:
        with zipfile.ZipFile(file, "w", allowZip64=True) as archive:
            for name, item in arrays.items():
                # ZipInfo has a fixed date, so equal entries give equal files.
                with archive.open(zipfile.ZipInfo(f"{name}{_ENDING}"), "w", force_zip64=True) as member:
                    _write(item, member, meter)
        finish()


def named(entries: Iterable[Item]) -> dict[str, Item]:
    """Return the items to write by their names in the archive; a map becomes several.

    Raises:
        ArgumentError: two arrays would have the same name, numpy would take one for the other, or a name cannot be
            stored in an archive.
    """
    found: dict[str, Item] = {}
    for entry in entries:
        named = [(entry.name, entry)]
        if entry.kind == MAP:
            named = [(f"{entry.name}.{part}", item) for part, item in zip(_PARTS, entry.parts, strict=False)]
        for name, item in named:
            if name in found or "\0" in name:
                reason = "a name in an archive ends at a NUL" if "\0" in name else "two arrays would have this name"
                raise ArgumentError(reason, name=name, hint=Hint("leave the entry out with {exclude}"))
            found[name] = item
    for name in found:
        # numpy looks for a file of the name that it is asked for before it adds the ending.
        if f"{name}{_ENDING}" in found:
            raise ArgumentError(
                f"numpy would read the array {name!r} for this one, which is that name with {_ENDING!r}",
                name=f"{name}{_ENDING}",
                hint=Hint("leave the entry out with {exclude}"),
            )
    return found


def _write(item: Item, file: IO[bytes], meter: Meter) -> None:
    """Write one array in numpy's format."""
    dtype, shape = _as_numpy(item)
    npy.write_array_header_1_0(file, {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape})
    if item.dtype not in _WIDENED:
        meter.copy(item.pieces(), file)
        return
    for piece in whole(item.pieces(), item.dtype.itemsize):
        file.write(np.frombuffer(piece, item.dtype.numpy).astype(dtype).data)
        meter.advance(len(piece))


def _as_numpy(item: Item) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """Return the dtype and shape of the array that is written for an item."""
    if item.kind == STRING:
        return np.dtype(f"<U{item.nbytes // 4}"), ()
    if item.dtype is None:
        return np.dtype(np.uint8), (item.nbytes,)
    return np.dtype("<f4") if item.dtype in _WIDENED else item.dtype.numpy, item.shape


def whole(pieces: Iterable[memoryview], itemsize: int) -> Iterator[memoryview | bytes]:
    """Cut pieces again at element boundaries, because slices may end inside an element (docs/format.md, "Slices")."""
    rest = b""
    for piece in pieces:
        if rest or len(piece) % itemsize:
            joined = rest + piece
            stop = len(joined) - len(joined) % itemsize
            rest = joined[stop:]
            yield joined[:stop]
        else:
            yield piece
