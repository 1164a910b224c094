"""The index of a safetensors file: the safetensors library validates the header, our sources read the tensor data.

Only the library decides what a valid layout is, so a file can be opened here exactly if the library can open it.
But the library maps the whole file, or wants all of its bytes, and reads one tensor at a time into memory that it
allocates. So it is shown the header alone, of which it checks everything but the size of the file. Then the header is
parsed again here for the positions of the tensors, and everything else (filters, slices, parallel reads, loading into
a net) is the same as for .ckpt files.
"""

from __future__ import annotations

import math
import re
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from ckptload import dtypes, shown
from ckptload.errors import (
    CheckpointError,
    ChecksumError,
    CorruptCheckpointError,
    Hint,
    UnsupportedTypeError,
    importable,
)
from ckptload.formats.coverage import WHOLE, Coverage
from ckptload.formats.entry import SAFETENSORS, TENSOR, UNSUPPORTED, Entry, unsupported
from ckptload.formats.index import Facts, Foreign
from ckptload.formats.limits import MAX_RECORDS, beyond
from ckptload.formats.safetensors import checksum, order, parts, strings
from ckptload.formats.safetensors.header import NOT_UNDERSTOOD, shared, with_known_types
from ckptload.formats.safetensors.places import places

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ckptload.errors import LimitError
    from ckptload.formats.entry import Span
    from ckptload.formats.index import Note
    from ckptload.formats.safetensors.header import Header
    from ckptload.sources.base import Source

#: Size of the little-endian number before the header, its length.
LENGTH_SIZE: Final = 8
#: The library refuses a longer header (safetensors/src/tensor.rs, MAX_HEADER_SIZE).
MAX_HEADER: Final = 100_000_000
#: JSON values that a header may have for each tensor that is allowed; a tensor of five dimensions has about twelve.
VALUES: Final = 16
#: As many are allowed anyway: texts in the metadata do not count as tensors.
_LEAST: Final = 100_000
#: Bytes read at a time for the checksum: few enough to stay in the processor's cache between copy and sum.
_PIECE: Final = 1 << 20

_DAMAGED: Final = "the file was damaged, cut off, or written by a faulty tool; fetch or save it again"
#: What the library says about a type that it does not know.
_UNKNOWN_TYPE: Final = "unknown variant"
_UPDATE: Final = "a newer safetensors may know it (pip install -U safetensors); otherwise the file is damaged"


class SafetensorsIndex:
    """The tensors of a safetensors file, by name.

    Args:
        source: the file.
        header: the header.
        start: where the tensor data begins.
        places: where in the header tensors are described, if the source wants to know.
    """

    def __init__(self, source: Source, header: Header, start: int, places: dict[str, Span] | None = None) -> None:
        self.format = SAFETENSORS
        self.source = source
        self.metadata = header.metadata
        self.cipher: str | None = None
        self.foreign = Foreign()
        self.notes: Sequence[Note] = ()
        self.header = header
        self._tensors = header.tensors
        # Offsets in the header count from here, the start of the tensor data.
        self._start = start
        self._places = places

    def names(self) -> Sequence[str]:
        """Return the names in the order of code points (MindSpore 2.10.0, train/serialization.py:1203).

        If a conversion kept the order of a .ckpt, they are in that order.
        """
        return order.restored(self._tensors, self.metadata)

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def public_names(self, chosen: Iterable[str]) -> dict[str, str]:
        """Return a dictionary from each name to itself."""
        return {name: name for name in chosen}

    def entry(self, name: str) -> Entry:
        """Return the entry of a tensor from the header.

        Raises:
            CorruptCheckpointError: the header does not describe it, although the library has accepted the header.
        """
        spelling, shape, start, stop = self._described(name)
        dtype = dtypes.BY_SAFETENSORS.get(spelling)
        if dtype is dtypes.int8 and self.metadata.get(name) == dtypes.qint4x2.name:
            dtype = dtypes.qint4x2
        described = self._described_at(name)
        if dtype is None:
            size, spans = stop - start, ((start, stop),)
            return Entry(name, UNSUPPORTED, None, shape, size, spans, start, (), spelling, described)
        if stop - start != math.prod(shape) * dtype.itemsize:
            raise self._unclear(name)
        return Entry(name, TENSOR, dtype, shape, stop - start, ((start, stop),), start, described=described)

    def _described_at(self, name: str) -> tuple[Span, ...]:
        """Return where the length of the header and a tensor are, or the whole header if that is not known."""
        if self._places is None:
            return ()
        place = self._places.get(name)
        return ((0, self._start),) if place is None else ((0, LENGTH_SIZE), place)

    def unsupported(self, entries: Sequence[Entry]) -> UnsupportedTypeError:
        """Return the error for entries of types that are not supported."""
        return unsupported(entries, dtypes.BY_SAFETENSORS)

    def facts(self) -> Facts:
        """Return the size of the file and whether it has a checksum; the rest is unknown."""
        return Facts(self.source.size, checksum.KEY in self.metadata)

    def check_index(self) -> list[CheckpointError]:
        """Return nothing: this is a single file."""
        return []

    def verify_crc(self) -> Coverage | None:
        """Compare ``crc_num`` in the metadata with the sum of all tensors, and our own sum, if it is there, as well.

        Returns:
            What they cover; None without a ``crc_num``.

        Raises:
            ChecksumError: one of them is not the sum.
        """
        want = self.metadata.get(checksum.KEY)
        if want is None:
            return None
        have = self._sum()
        if want != str(have):
            raise self._mismatch(
                f"{checksum.KEY} in the metadata is {want[:20]!r}, the CRC-32 of the tensors is {have}"
            )
        found = self.metadata.get(checksum.ENTRIES)
        if found is None:
            return self._without_entries()
        listed = checksum.of_entries(map(self._line, self.names()), self.metadata.get(strings.KEY, ""))
        if found != listed:
            raise self._mismatch(
                f"{checksum.ENTRIES} in the metadata is {found[:20]!r}, "
                f"the CRC-32 of names, dtypes and shapes is {listed!r}"
            )
        return WHOLE

    def reach(self) -> Coverage:
        """Return the whole: what there is of the file is in the file itself."""
        return WHOLE

    def _without_entries(self) -> Coverage:
        """Return what ``crc_num`` covers alone: it has the names and the bytes."""
        gaps = ["the CRC-32 leaves out dtypes and shapes, as MindSpore writes it"]
        if strings.KEY in self.metadata:
            gaps.append(f"the CRC-32 leaves out the strings in the metadata ({strings.KEY})")
        if order.KEY in self.metadata:
            gaps.append(f"the CRC-32 leaves out the order of the entries in the metadata ({order.KEY})")
        return Coverage(bytes=True, order=order.KEY not in self.metadata, completeness=True, gaps=tuple(gaps))

    def _line(self, name: str) -> tuple[str, str, tuple[int, ...]]:
        entry = self.entry(name)
        return name, entry.type_name if entry.dtype is None else entry.dtype.name, entry.shape

    def _sum(self) -> int:
        have = 0
        scratch = memoryview(bytearray(_PIECE))
        for name in sorted(self._tensors):
            spelling, shape, start, stop = self._described(name)
            # Only the sum of a scalar depends on the type, and MindSpore writes only types that it has.
            dtype = dtypes.BY_SAFETENSORS.get(spelling, dtypes.bool_)
            have = checksum.add(have, name, dtype, shape, self._pieces(start, stop, scratch))
        return have

    def _mismatch(self, problem: str) -> ChecksumError:
        hint = Hint("the file was changed after it was saved; fetch it again", ", or {skip_crc}")
        return ChecksumError(problem, path=self.source.label, hint=hint)

    def _described(self, name: str) -> tuple[str, tuple[int, ...], int, int]:
        """Return dtype and shape from the header, and start and stop in bytes from the start of the file."""
        found = self._tensors[name]
        if found is None:
            raise self._unclear(name)
        return found.spelling, found.shape, self._start + found.start, self._start + found.stop

    def _unclear(self, name: str) -> CorruptCheckpointError:
        """Return the error for a tensor that two parsers of the header understand differently."""
        return CorruptCheckpointError(
            "the header describes the tensor in a way that only the safetensors library accepts",
            name=name,
            hint=_DAMAGED,
        )

    def _pieces(self, start: int, stop: int, scratch: memoryview) -> Iterator[memoryview]:
        for at in range(start, stop, _PIECE):
            piece = scratch[: min(_PIECE, stop - at)]
            self.source.read_into(at, piece)
            yield piece


def open_safetensors(source: Source, max_records: int = MAX_RECORDS) -> SafetensorsIndex:
    """Read the index of a safetensors file.

    Raises:
        LimitError: the file has more than `max_records` tensors.
        CorruptCheckpointError: the safetensors library refuses the file.
        ReadError: the file cannot be read.
    """
    length = int.from_bytes(source.read(0, min(LENGTH_SIZE, source.size)), "little")
    if length > min(MAX_HEADER, source.size - LENGTH_SIZE):
        # The header does not fit the file or the limit; the library reports that.
        length = 0
    head = bytes(source.read(0, min(LENGTH_SIZE + length, source.size)))
    _check_limits(source, head[LENGTH_SIZE:], max_records)
    try:
        header = shared(head[LENGTH_SIZE:], partial(_judge, source, head))
    except CheckpointError:  # Which is a ValueError, as what parsing raises.
        raise
    except NOT_UNDERSTOOD:
        raise _refused(source, "only the safetensors library can read its header") from None
    if len(header.tensors) > max_records:
        raise _beyond(source, max_records)
    stop = len(head) + header.size
    if stop != source.size:
        sizes = f"the header describes a file of {stop} bytes, this one has {source.size}"
        raise _refused_by(source, _refusal(_CUT), f" ({sizes})")
    found = places(head, LENGTH_SIZE) if source.witnessed else None
    return SafetensorsIndex(source, header, len(head), found)


def _check_limits(source: Source, text: bytes, max_records: int) -> None:
    """Raise LimitError for a header that would take too much memory once parsed, before it is."""
    # Each tensor is a JSON object, and so are the header itself and the metadata.
    if parts.more_than(max_records + 2, text, parts.OBJECTS):
        raise _beyond(source, max_records)
    most = max(VALUES * max_records, _LEAST)
    if parts.more_than(most, text):
        raise beyond(f"{most} values in its header", max_records, source.label)


def _beyond(source: Source, max_records: int) -> LimitError:
    return beyond(f"{max_records} tensors", max_records, source.label)


# -- validation by the library ------------------------------------------------------------------------------

#: The header of a file, here without the one byte that it describes: the file is cut off, and has no other fault.
_OF_ONE_BYTE: Final = b'{"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'
_CUT: Final = len(_OF_ONE_BYTE).to_bytes(LENGTH_SIZE, "little") + _OF_ONE_BYTE


def _judge(source: Source, head: bytes) -> None:
    """Let the safetensors library validate the header, with which `head` ends.

    The library checks last whether the file ends where the last tensor does. So it accepts a header if it says of
    the header alone what it says of a file that lacks nothing but tensor data.

    Raises:
        CorruptCheckpointError: the library refuses the header.
    """
    refusal = _refusal(head)
    if refusal is not None and _UNKNOWN_TYPE in str(refusal):
        # Types that the library does not know do not make a file invalid; it decides about everything else.
        text = with_known_types(head[LENGTH_SIZE:])
        refusal = _refusal(len(text).to_bytes(LENGTH_SIZE, "little") + text)
    if refusal is not None and _words(refusal) != _words(_refusal(_CUT)):
        raise _refused_by(source, refusal)


def library() -> Any:
    """Return the safetensors library, imported only when it is needed; `opening.open_with` does it first."""
    with importable("safetensors"):
        import safetensors  # noqa: PLC0415

    return safetensors


def _refusal(content: bytes) -> Exception | None:
    """Return the error with which the safetensors library refuses a file, or None."""
    safetensors = library()
    deserialize: Callable[[bytes], object] = safetensors.deserialize
    try:
        deserialize(content)
    except safetensors.SafetensorError as error:
        # A traceback would keep the frames of all callers alive, and what they hold open.
        refusal: Exception = error
        refusal.__traceback__ = None
        return refusal
    return None


def _words(refusal: Exception | None) -> str:
    """Return the text of an error without numbers, which may say how many bytes there are."""
    return re.sub(r"\d+", "", str(refusal))


def _refused_by(source: Source, refusal: Exception | None, more: str = "") -> CorruptCheckpointError:
    error = _refused(source, f"the safetensors library refuses it: {shown.foreign(refusal)}{more}")
    error.__cause__ = None if refusal is None else shown.cause(refusal)
    return error


def _refused(source: Source, reason: str) -> CorruptCheckpointError:
    return CorruptCheckpointError(
        f"not a valid safetensors file; {reason}",
        path=source.label,
        hint=_UPDATE if _UNKNOWN_TYPE in reason else _DAMAGED,
    )
