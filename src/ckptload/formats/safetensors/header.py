"""What the header of a safetensors file says, understood as the safetensors library understands it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from weakref import WeakValueDictionary

from ckptload import dtypes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: The key in the header that holds texts, not a tensor.
METADATA: Final = "__metadata__"
#: What the library reads of a tensor; it passes over other fields. They may also be a list, in this order.
_FIELDS: Final = ("dtype", "shape", "data_offsets")
#: What parsing raises for a text that is not as expected.
NOT_UNDERSTOOD: Final = (ValueError, TypeError, AttributeError, LookupError, RecursionError)


class Described(NamedTuple):
    """A tensor as the header describes it; start and stop count from the start of the tensor data."""

    spelling: str
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True, eq=False)
class Header:
    """A header that was parsed. Nothing changes it, since files with the same header share it.

    Attributes:
        tensors: by name; None for one that is described in a way that is not known here.
        metadata: the texts.
        size: bytes of all tensor data.
    """

    tensors: dict[str, Described | None]
    metadata: dict[str, str]
    size: int


#: Headers in use, by their digest: a thousand ranks of one training have the same few.
_IN_USE: Final[WeakValueDictionary[bytes, Header]] = WeakValueDictionary()


def shared(text: bytes, judge: Callable[[], object]) -> Header:
    """Return the header that another open file has, if its text is the same; else parse it.

    Args:
        text: of the header.
        judge: called before it is parsed; raises if the header is not valid, which nothing but its text decides.

    Raises:
        NOT_UNDERSTOOD: see `parsed`.
    """
    digest = hashlib.sha256(text).digest()
    found = _IN_USE.get(digest)
    if found is None:
        judge()
        found = _IN_USE[digest] = parsed(text)
    return found


def parsed(text: bytes) -> Header:
    """Parse the text of a header. Only what is needed is kept, and values that nobody needs are dropped at once.

    Raises:
        NOT_UNDERSTOOD: it is not a header, or does not say where a tensor ends.
    """
    header: dict[str, Any] = json.loads(text.decode())
    metadata = header.pop(METADATA, None) or {}
    if not all(isinstance(value, str) for value in metadata.values()):
        raise TypeError(METADATA)
    size = 0
    for name, value in header.items():
        fields = _fields(value)
        size = max(size, fields[2][1])
        header[name] = _described(*fields)
    return Header(header, metadata, size)


def _fields(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else [value[field] for field in _FIELDS]


def _described(spelling: Any, shape: Any, offsets: Any) -> Described | None:
    try:
        if isinstance(spelling, dict):
            # A type without content may also be a key without a value.
            ((spelling, nothing),) = spelling.items()
            if nothing is not None:
                return None
        start, stop = offsets
        numbers = (*shape, start, stop)
    except (TypeError, ValueError):
        return None
    sound = isinstance(spelling, str) and all(type(number) is int for number in numbers) and min(numbers) >= 0
    return Described(spelling, tuple(shape), start, stop) if sound else None


def with_known_types(text: bytes) -> bytes:
    """Return a header in which tensors of types that are not supported are bytes in the same places.

    Their sizes cannot be checked. What is not described as a tensor stays as it is, for the library to refuse. So does
    a header that says something twice of a tensor, or has a negative zero: the library refuses both, and a header
    that is written again would not show them.
    """
    try:
        header = json.loads(text.decode(), object_pairs_hook=_once, parse_int=_whole)
        for name, described in header.items():
            spelling = described.get("dtype") if name != METADATA and isinstance(described, dict) else None
            if isinstance(spelling, str) and spelling not in dtypes.BY_SAFETENSORS:
                start, stop = described["data_offsets"]
                if all(type(number) is int and number >= 0 for number in (*described["shape"], start, stop)):
                    described.update(dtype=dtypes.uint8.safetensors, shape=[max(0, stop - start)])
        return json.dumps(header).encode()
    except NOT_UNDERSTOOD:
        return text


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs) and isinstance(found.get("dtype"), str):
        names = [name for name, _ in pairs if name in _FIELDS]
        if len(set(names)) < len(names):
            raise ValueError("a field comes twice")
    return found


def _whole(digits: str) -> int | float:
    return int(digits) if digits != "-0" else -0.0
