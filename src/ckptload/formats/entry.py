"""One entry of an index, the same for every format: what is known of a name before its data is read."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING, Final, NamedTuple

from ckptload.errors import ArgumentError, Hint, UnsupportedTypeError
from ckptload.messages import counted, listed, shown_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ckptload.dtypes import DType

# Python imports the codec of strings when it is first looked up; later, too many files may be open for that.
codecs.lookup("utf-32-le")

#: The formats.
CKPT: Final = "ckpt"
SAFETENSORS: Final = "safetensors"
#: Of files of PyTorch, which torch reads and writes; nothing here knows their bytes.
TORCH: Final = "torch"

#: The kinds of entries.
TENSOR: Final = "tensor"
STRING: Final = "string"
MAP: Final = "map"
BYTES: Final = "bytes"
#: A tensor of a type that is not supported here, or a map that has one.
UNSUPPORTED: Final = "unsupported"

Span = tuple[int, int]


class Entry(NamedTuple):
    """One name of a checkpoint, described without reading its data.

    Positions are in bytes from the start of the source.

    Attributes:
        name: the name, as written in the file.
        kind: ``tensor``, ``string``, ``map`` (a list of arrays), ``bytes`` (a random state), or ``unsupported``: a
            tensor of a type that is not supported, whose bytes can be read and whose values cannot.
        dtype: type of the elements; None if the entry is not a tensor or its type is not supported.
        shape: dimensions; ``()`` if the entry is not a tensor.
        nbytes: size in memory once loaded, in bytes; in the file, if the type is not supported.
        spans: the ``(start, stop)`` of each slice of the data, in order.
        offset: start of the record; with several, of the first. In a safetensors file, start of the data.
        parts: the tensors of a map.
        type_name: name in the file of a type that is not supported; for other entries empty.
        described: where the file describes it, if that is not around its data and the source wants to know.
    """

    name: str
    kind: str
    dtype: DType | None
    shape: tuple[int, ...]
    nbytes: int
    spans: tuple[Span, ...]
    offset: int
    parts: tuple[Entry, ...] = ()
    type_name: str = ""
    described: tuple[Span, ...] = ()

    @property
    def slices(self) -> int:
        """Return the number of records that hold the data."""
        return len(self.spans) if self.kind != MAP else max((len(part.spans) for part in self.parts), default=1)

    @property
    def stored(self) -> int:
        """Return the size of the data in the file, in bytes."""
        return stored_size(self.spans)


#: Headers of slices are read again from here before the data on. Those of names that can be loaded are shorter.
_HEADER: Final = 8 << 10


def descriptions(entries: Iterable[Entry]) -> Iterator[Span]:
    """Yield where a file describes some entries: if these bytes are the same, the entries are where they were."""
    for entry in entries:
        yield from entry.described
        if not entry.described:
            yield (entry.offset, entry.offset + 1)
            begin: int | None = entry.offset
            for start, stop in entry.spans:
                # MindSpore writes the header before the data; others may write a part of it after.
                yield (max(start - _HEADER, 0) if begin is None else min(begin, start), start)
                yield (stop, stop + 1)
                begin = None  # Records of other names may be between slices.


def stored_size(spans: Iterable[Span]) -> int:
    """Return the total length of spans, in bytes."""
    return sum(stop - start for start, stop in spans)


def unsupported(entries: Sequence[Entry], known: Iterable[str]) -> UnsupportedTypeError:
    """Return one error for all entries of types that are not supported.

    Args:
        entries: the entries, at least one; the error names the first, and some of the others.
        known: names of the supported types in this format.
    """
    first, *others = entries
    more = f"; nor are the types of {counted(len(others), 'other entry', 'other entries')}: " if others else ""
    return UnsupportedTypeError(
        f"the type {first.type_name!r} is not supported" + more + listed([entry.name for entry in others]),
        name=first.name,
        offset=first.offset,
        hint=Hint(
            "leave these entries out" if others else "leave the entry out",
            " with {exclude}; known types: {types}",
            types=", ".join(sorted(known)),
        ),
    )


def check_format(given: object) -> None:
    """Raise ArgumentError unless it is the name of a format."""
    if given not in (CKPT, SAFETENSORS):
        raise ArgumentError(f"format must be {CKPT!r} or {SAFETENSORS!r}, not {shown_value(given)}")
