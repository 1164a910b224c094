"""``metadata.json``: how MindFormers describes a checkpoint of many ranks (docs/format.md, "metadata.json")."""

from __future__ import annotations

import codecs
import json
import math
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ckptload import shown
from ckptload.errors import CorruptCheckpointError
from ckptload.formats.limits import beyond
from ckptload.formats.safetensors import parts
from ckptload.formats.safetensors.weight_map import MAX_INDEX
from ckptload.sources.inputs import open_source

if TYPE_CHECKING:
    from ckptload.ranks.boxes import Box

_AXES: Final = 64
_LARGEST: Final = (1 << 63) - 1
#: JSON values for each tensor that is allowed; a thousand slices of each are more than any real file has.
_VALUES: Final = 64
_LEAST: Final = 1_000_000


class Described(NamedTuple):
    """A tensor as ``metadata.json`` describes it.

    Attributes:
        shape: of the whole tensor.
        slices: each box, and the names of the files that may hold it, the likeliest first. They are not trusted.
    """

    shape: tuple[int, ...]
    slices: list[tuple[Box, list[str]]]


def read(path: str, max_records: int) -> dict[str, Described]:
    """Return all tensors that a ``metadata.json`` describes, by name.

    Raises:
        CorruptCheckpointError: it is not as MindFormers writes it.
        LimitError: it has too many values.
    """
    with closing(open_source(path)) as source:
        if source.size > MAX_INDEX:
            raise _wrong(path, f"{source.size} bytes are too many")
        text = bytes(source.read(0, source.size))
    most = max(_VALUES * max_records, _LEAST)
    if parts.more_than(most, text):
        raise beyond(f"{most} values", max_records, path)
    try:
        found = json.loads(text.removeprefix(codecs.BOM_UTF8).decode())
    except (ValueError, RecursionError) as error:
        raise _wrong(path, f"it is no JSON: {shown.foreign(error)}") from shown.cause(error)
    tensors, stored = _part(path, found, "state_dict_metadata"), _part(path, found, "storage_data")
    if len(tensors) > max_records:
        raise beyond(f"{max_records} tensors", max_records, path)
    # Keys are like "('name', (0,))". A slice must not pass for an entry that is the same in all files.
    known = set(map(repr, tensors))
    for key in stored:
        if key[1:].rpartition(", (")[0] not in known:
            raise _wrong(path, f"storage_data has {key[:80]!r}, and no tensor of state_dict_metadata is named so")
    return {name: _described(path, name, entry, stored) for name, entry in tensors.items()}


def _part(path: str, found: Any, key: str) -> dict[str, Any]:
    part = found.get(key) if isinstance(found, dict) else None
    if not isinstance(part, dict):
        raise _wrong(path, f"it has no object {key!r}")
    return part


def _described(path: str, name: str, entry: Any, stored: dict[str, Any]) -> Described:
    if not isinstance(entry, dict):
        raise _wrong(path, "the entry is no object", name)
    shape = _numbers(path, name, entry, "global_shape")
    # A tensor of one axis may have an entry more (docs/format.md, "metadata.json").
    cuts = _numbers(path, name, entry, "axis_fragmentations")[: len(shape)]
    chunks = entry.get("chunk")
    if not isinstance(chunks, list) or len(cuts) != len(shape) or any(cut < 1 for cut in cuts):
        raise _wrong(
            path, f"{list(cuts)} are not the parts of each axis of shape {list(shape)}, or it has no chunk", name
        )
    slices: list[tuple[Box, list[str]]] = []
    for chunk in chunks:
        if not isinstance(chunk, dict):
            raise _wrong(path, "a chunk is no object", name)
        size = _numbers(path, name, chunk, "local_shape")
        (number, *rest) = _numbers(path, name, chunk, "global_offset") or (0,)
        if not number < max(math.prod(cuts), 1) or len(size) != len(shape):
            raise _wrong(path, f"there is no slice {number} of shape {list(size)} among {list(cuts)} parts", name)
        # Slices of other sizes could overlap, and leave holes that no sum of sizes tells.
        if any(cut * part != length for cut, part, length in zip(cuts, size, shape, strict=True)):
            raise _wrong(
                path,
                f"slice {number} of shape {list(size)} is not one of {list(cuts)} parts of shape {list(shape)}",
                name,
            )
        slices.append((_box(number, cuts, size), _files(path, name, stored.get(str((name, (number, *rest)))))))
    return Described(shape, slices)


def _box(number: int, cuts: tuple[int, ...], size: tuple[int, ...]) -> Box:
    """Return the box of a slice; ``global_offset`` is its number in C order over the parts of all axes."""
    places: list[tuple[int, int]] = []
    for cut, length in zip(reversed(cuts), reversed(size), strict=True):
        number, at = divmod(number, cut)
        places.append((at * length, at * length + length))
    return tuple(reversed(places))


def _files(path: str, name: str, entries: Any) -> list[str]:
    if entries is None:
        return []
    files = (
        [entry.get("file_name") if isinstance(entry, dict) else None for entry in entries]
        if isinstance(entries, list)
        else [None]
    )
    found = [file for file in files if isinstance(file, str)]
    if len(found) != len(files):
        raise _wrong(path, "storage_data does not name the files of a slice", name)
    return found


def _numbers(path: str, name: str, entry: dict[str, Any], key: str) -> tuple[int, ...]:
    found = entry.get(key)
    if not isinstance(found, list) or len(found) > _AXES:
        raise _wrong(path, f"{key} is no list of up to {_AXES} numbers", name)
    for value in found:
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _LARGEST:
            raise _wrong(path, f"{key} has a value that is no size", name)
    return tuple(found)


def _wrong(path: str, reason: str, name: str | None = None) -> CorruptCheckpointError:
    return CorruptCheckpointError(
        f"this is not the metadata.json of a checkpoint: {reason}",
        path=path,
        name=name,
        hint="fetch the whole folder again; MindFormers 1.7 and newer write such files",
    )
