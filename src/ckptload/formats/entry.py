"""One entry of an index, the same for every format: what is known of a name before its data is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from ckptload.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ckptload.dtypes import DType

#: The formats.
CKPT: Final = "ckpt"
SAFETENSORS: Final = "safetensors"

#: The kinds of entries.
TENSOR: Final = "tensor"
STRING: Final = "string"
MAP: Final = "map"
BYTES: Final = "bytes"

Span = tuple[int, int]


class Entry(NamedTuple):
    """One name of a checkpoint, described without reading its data.

    Positions are in bytes from the start of the source.

    Attributes:
        name: the name, as written in the file.
        kind: ``tensor``, ``string``, ``map`` (a list of arrays) or ``bytes`` (a random state).
        dtype: type of the elements; None if the entry is not a tensor.
        shape: dimensions; ``()`` if the entry is not a tensor.
        nbytes: size in memory once loaded, in bytes.
        spans: the ``(start, stop)`` of each slice of the data, in order.
        offset: start of the record; with several, of the first. In a safetensors file, start of the data.
        parts: the tensors of a map.
    """

    name: str
    kind: str
    dtype: DType | None
    shape: tuple[int, ...]
    nbytes: int
    spans: tuple[Span, ...]
    offset: int
    parts: tuple[Entry, ...] = ()

    @property
    def slices(self) -> int:
        """Return the number of records that hold the data."""
        return len(self.spans) if self.kind != MAP else max((len(part.spans) for part in self.parts), default=1)

    @property
    def stored(self) -> int:
        """Return the size of the data in the file, in bytes."""
        return stored_size(self.spans)


def stored_size(spans: Iterable[Span]) -> int:
    """Return the total length of spans, in bytes."""
    return sum(stop - start for start, stop in spans)


def check_format(given: object) -> None:
    """Raise ArgumentError unless it is the name of a format."""
    if given not in (CKPT, SAFETENSORS):
        raise ArgumentError(f"format must be {CKPT!r} or {SAFETENSORS!r}, not {given!r}")
