"""The index of a safetensors file: the safetensors library judges the header, content is read by our sources.

What a valid layout is, the library decides and nobody else, so that a file opens here exactly if it opens
there. It opens paths only and reads one tensor at a time into memory of its own choice; so once it has
accepted a file, the header is read again here, for where each tensor stands, and everything above (filters,
slices, two reading threads, reading into a net) is what .ckpt files have, too.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Final

from ckptload import dtypes
from ckptload.errors import (
    ChangedFileError,
    ChecksumError,
    CorruptCheckpointError,
    Hint,
    OutOfMemoryError,
    ReadError,
    UnsupportedTypeError,
)
from ckptload.formats.entry import SAFETENSORS, TENSOR, Entry
from ckptload.formats.index import Facts
from ckptload.formats.limits import MAX_RECORDS, beyond
from ckptload.formats.safetensors import checksum
from ckptload.sources.files import FileSource, stand_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ckptload.sources.base import Source

#: The key of the header under which it carries text and no tensor.
METADATA: Final = "__metadata__"
#: The little-endian length of the header stands in front of it.
LENGTH_SIZE: Final = 8
#: The library refuses a longer header (MAX_HEADER_SIZE).
MAX_HEADER: Final = 100_000_000
#: Read at a time for the checksum: it stays in the processor's cache between the copy and the sum.
_PIECE: Final = 1 << 20

_DAMAGED: Final = "the file was damaged, cut off, or written by a faulty tool; fetch or save it again"
_UPDATE: Final = "a newer safetensors may know it (pip install -U safetensors); otherwise the file is damaged"


class SafetensorsIndex:
    """What a safetensors file holds, sorted by name as MindSpore returns it."""

    def __init__(self, source: Source, header: dict[str, Any], metadata: dict[str, str], start: int) -> None:
        self.format = SAFETENSORS
        self.source = source
        self.metadata = metadata
        self.cipher: str | None = None
        self._header = header
        # Where content begins: offsets in the header count from there.
        self._start = start

    def names(self) -> Sequence[str]:
        """Return the names in order of code points, which is MindSpore's."""
        return sorted(self._header)

    def __contains__(self, name: str) -> bool:
        return name in self._header

    def public_names(self, chosen: Iterable[str]) -> dict[str, str]:
        """Return the names as they are."""
        return {name: name for name in chosen}

    def entry(self, name: str) -> Entry:
        """Return what the header says of a name.

        Raises:
            UnsupportedTypeError: MindSpore has no such type.
        """
        spelling, shape, start, stop = self._described(name)
        dtype = dtypes.BY_SAFETENSORS.get(spelling)
        if dtype is dtypes.int8 and self.metadata.get(name) == dtypes.qint4x2.name:
            dtype = dtypes.qint4x2
        if dtype is None:
            raise UnsupportedTypeError(
                f"MindSpore has no type for {spelling} of safetensors",
                name=name,
                offset=start,
                hint=Hint(
                    "leave the entry out with {exclude}; known types: {types}",
                    types=", ".join(sorted(dtypes.BY_SAFETENSORS)),
                ),
            )
        if stop - start != math.prod(shape) * dtype.itemsize:
            raise self._changed(name)
        return Entry(name, TENSOR, dtype, shape, stop - start, ((start, stop),), start)

    def facts(self) -> Facts:
        """Tell its size and whether it carries a sum; nothing else is known of it."""
        return Facts(self.source.size, checksum.KEY in self.metadata)

    def verify_crc(self) -> bool:
        """Compare ``crc_num`` in the metadata with the sum of all tensors, where there is one."""
        want = self.metadata.get(checksum.KEY)
        if want is None:
            return False
        have = 0
        scratch = memoryview(bytearray(_PIECE))
        for name in self.names():
            spelling, shape, start, stop = self._described(name)
            # Which type it is matters for single numbers alone, and MindSpore writes none but those it has.
            dtype = dtypes.BY_SAFETENSORS.get(spelling, dtypes.bool_)
            have = checksum.add(have, name, dtype, shape, self._pieces(start, stop, scratch))
        if want != str(have):
            raise ChecksumError(
                f"{checksum.KEY} in the metadata is {want[:20]!r}, the CRC-32 of the tensors is {have}",
                path=self.source.label,
                hint=Hint("the file was changed after it was saved; fetch it again", ", or {skip_crc}"),
            )
        return True

    def _described(self, name: str) -> tuple[str, tuple[int, ...], int, int]:
        """Return dtype, shape, start and stop as the header has them."""
        try:
            described = self._header[name]
            spelling, shape = described["dtype"], tuple(described["shape"])
            start, stop = described["data_offsets"]
            numbers = (*shape, start, stop)
            sound = isinstance(spelling, str) and all(type(number) is int for number in numbers) and min(numbers) >= 0
        except (KeyError, TypeError, ValueError):
            sound = False
        if not sound:
            raise self._changed(name)
        return spelling, shape, self._start + start, self._start + stop

    def _changed(self, name: str) -> ChangedFileError:
        """Say that what the library accepted is not what stands in the file."""
        return ChangedFileError(
            "the header has changed since the safetensors library read it",
            name=name,
            hint="another program is writing the file; open it when it is complete",
        )

    def _pieces(self, start: int, stop: int, scratch: memoryview) -> Iterator[memoryview]:
        for at in range(start, stop, _PIECE):
            piece = scratch[: min(_PIECE, stop - at)]
            self.source.read_into(at, piece)
            yield piece


def open_safetensors(source: Source, max_records: int = MAX_RECORDS) -> SafetensorsIndex:
    """Find the index of a safetensors file.

    Raises:
        LimitError: it has more than `max_records` tensors.
        CorruptCheckpointError: the safetensors library refuses it.
    """
    length = int.from_bytes(source.read(0, min(LENGTH_SIZE, source.size)), "little")
    if length > min(MAX_HEADER, source.size - LENGTH_SIZE):
        # There is no such header to read; the library has words for that.
        length = 0
    head = bytes(source.read(0, min(LENGTH_SIZE + length, source.size)))
    # Each tensor is an object; so are the header itself and the metadata. Whoever parses it takes much memory.
    if head.count(b"{", LENGTH_SIZE) > max_records + 2:
        raise beyond(f"{max_records} tensors", max_records, source.label)
    _judge(source, head)
    try:
        header = json.loads(head[LENGTH_SIZE:].decode())
        metadata = header.pop(METADATA, None) or {}
        sound = all(isinstance(text, str) for text in metadata.values())
    except (ValueError, TypeError, AttributeError, RecursionError):
        sound = False
    if not sound:
        # The library has accepted the header, so that this is not the one that it saw.
        raise ChangedFileError("the header changed while it was read", path=source.label, hint="open the file again")
    return SafetensorsIndex(source, header, metadata, len(head))


# -- the library's verdict ----------------------------------------------------------------------------------


def _judge(source: Source, head: bytes) -> None:
    """Let the safetensors library look at the header, which ends `head`, and at the length.

    Raises:
        CorruptCheckpointError: the library refuses it.
    """
    from safetensors import SafetensorError  # noqa: PLC0415 -- imported only when it is needed

    try:
        if isinstance(source, FileSource):
            _show(source.label)
        else:
            _show_stand_in(source, head)
    except SafetensorError as error:
        raise _refused(source, f"the safetensors library refuses it: {error}") from error


def _show(path: str) -> None:
    """Let the library open a path, which checks everything that it ever checks."""
    from safetensors import safe_open  # noqa: PLC0415 -- imported only when it is needed

    try:
        with safe_open(path, framework="numpy"):
            pass
    except OSError as error:
        raise ReadError(f"the safetensors library cannot open the file: {error}", path=path) from error


def _show_stand_in(source: Source, head: bytes) -> None:
    """Show the library a temporary file with the same header and length, but without tensor data.

    The library cannot be given a file object, and bytes, which it can be given, it copies. Where no such file
    can be made, the library copies.
    """
    with stand_in(head, source.size, ".safetensors") as path:
        if path is not None:
            _show(path)
            return
    _show_content(source)


def _show_content(source: Source) -> None:
    """Let the library look at a copy of everything."""
    import safetensors  # noqa: PLC0415 -- imported only when it is needed

    deserialize: Callable[[bytes], object] = safetensors.deserialize
    try:
        deserialize(bytes(source.read(0, source.size)))
    except MemoryError as error:
        raise OutOfMemoryError(
            f"not enough memory for two copies of {source.size} bytes, which are needed where no temporary file "
            "can be made",
            path=source.label,
            hint="set TMPDIR to a folder that can be written to, or open the checkpoint by its path",
        ) from error


def _refused(source: Source, reason: str) -> CorruptCheckpointError:
    return CorruptCheckpointError(
        f"not a valid safetensors file; {reason}",
        path=source.label,
        hint=_UPDATE if "unknown variant" in reason else _DAMAGED,
    )
