"""What is known of one name of a checkpoint without reading its data, whatever the format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ckptload.dtypes import DType


TENSOR: Final = "tensor"


STRING: Final = "string"


MAP: Final = "map"


BYTES: Final = "bytes"


Span = tuple[int, int]


class Entry(NamedTuple):
    """What is known of one name without reading its content.

    Attributes:
        name: the name, as it stands in the file.
        kind: ``tensor``, ``string``, ``map`` (a list of arrays) or ``bytes`` (a random state).
        dtype: type of the values; None for what is no tensor.
        shape: dimensions; ``()`` for what is no tensor.
        nbytes: size in memory once loaded, in bytes.
        spans: where the content stands, as ``(start, stop)`` in bytes from the start of the file.
        offset: where the first record of this name stands.
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
        """Return in how many records the content stands."""
        return len(self.spans) if self.kind != MAP else max((len(part.spans) for part in self.parts), default=1)

    @property
    def stored(self) -> int:
        """Return the size of the content in the file, in bytes."""
        return stored_size(self.spans)


def stored_size(spans: Iterable[Span]) -> int:
    """Return how many bytes some spans have together."""
    return sum(stop - start for start, stop in spans)


CKPT: Final = "ckpt"


SAFETENSORS: Final = "safetensors"
