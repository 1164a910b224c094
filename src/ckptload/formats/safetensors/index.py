"""The index of a safetensors file: the safetensors library validates the header, our sources read the tensor data.

Only the library decides what a valid layout is, so a file can be opened here exactly if the library can open it.
But the library opens only paths, and reads one tensor at a time into memory that it allocates. So after it has
accepted a file, the header is parsed again here for the positions of the tensors, and everything else (filters,
slices, parallel reads, loading into a net) is the same as for .ckpt files.
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
from ckptload.formats.entry import SAFETENSORS, TENSOR, UNSUPPORTED, Entry, unsupported
from ckptload.formats.index import Facts
from ckptload.formats.limits import MAX_RECORDS, beyond
from ckptload.formats.safetensors import checksum
from ckptload.sources.files import FileSource, stand_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ckptload.sources.base import Source

#: The key in the header that holds texts, not a tensor.
METADATA: Final = "__metadata__"
#: Size of the little-endian number before the header, its length.
LENGTH_SIZE: Final = 8
#: The library refuses a longer header (safetensors/src/tensor.rs, MAX_HEADER_SIZE).
MAX_HEADER: Final = 100_000_000
#: Bytes read at a time for the checksum: few enough to stay in the processor's cache between copy and sum.
_PIECE: Final = 1 << 20

_DAMAGED: Final = "the file was damaged, cut off, or written by a faulty tool; fetch or save it again"
_UPDATE: Final = "a newer safetensors may know it (pip install -U safetensors); otherwise the file is damaged"


class SafetensorsIndex:
    """The tensors of a safetensors file, sorted by name as MindSpore returns them."""

    def __init__(self, source: Source, header: dict[str, Any], metadata: dict[str, str], start: int) -> None:
        self.format = SAFETENSORS
        self.source = source
        self.metadata = metadata
        self.cipher: str | None = None
        self._header = header
        # Offsets in the header count from here, the start of the tensor data.
        self._start = start

    def names(self) -> Sequence[str]:
        """Return the names in order of code points (MindSpore 2.10.0, train/serialization.py:1203)."""
        return sorted(self._header)

    def __contains__(self, name: str) -> bool:
        return name in self._header

    def public_names(self, chosen: Iterable[str]) -> dict[str, str]:
        """Return a dictionary from each name to itself."""
        return {name: name for name in chosen}

    def entry(self, name: str) -> Entry:
        """Return the entry of a tensor from the header.

        Raises:
            ChangedFileError: the header is not the one that the library accepted.
        """
        spelling, shape, start, stop = self._described(name)
        dtype = dtypes.BY_SAFETENSORS.get(spelling)
        if dtype is dtypes.int8 and self.metadata.get(name) == dtypes.qint4x2.name:
            dtype = dtypes.qint4x2
        if dtype is None:
            size = stop - start
            return Entry(name, UNSUPPORTED, None, shape, size, ((start, stop),), start, type_name=spelling)
        if stop - start != math.prod(shape) * dtype.itemsize:
            raise self._changed(name)
        return Entry(name, TENSOR, dtype, shape, stop - start, ((start, stop),), start)

    def unsupported(self, entries: Sequence[Entry]) -> UnsupportedTypeError:
        """Return the error for entries of types that are not supported."""
        return unsupported(entries, dtypes.BY_SAFETENSORS)

    def facts(self) -> Facts:
        """Return the size of the file and whether it has a checksum; the rest is unknown."""
        return Facts(self.source.size, checksum.KEY in self.metadata)

    def verify_crc(self) -> bool:
        """Compare ``crc_num`` in the metadata with the sum of all tensors.

        Returns:
            Whether there is a ``crc_num``.

        Raises:
            ChecksumError: it is not the sum.
        """
        want = self.metadata.get(checksum.KEY)
        if want is None:
            return False
        have = 0
        scratch = memoryview(bytearray(_PIECE))
        for name in self.names():
            spelling, shape, start, stop = self._described(name)
            # Only the sum of a scalar depends on the type, and MindSpore writes only types that it has.
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
        """Return dtype and shape from the header, and start and stop in bytes from the start of the file."""
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
        """Return the error for a header that is not the one that the library accepted."""
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
    """Read the index of a safetensors file.

    Raises:
        LimitError: the file has more than `max_records` tensors.
        CorruptCheckpointError: the safetensors library refuses the file.
        ChangedFileError: the header changed while it was read.
        ReadError: the file cannot be read.
    """
    length = int.from_bytes(source.read(0, min(LENGTH_SIZE, source.size)), "little")
    if length > min(MAX_HEADER, source.size - LENGTH_SIZE):
        # The header does not fit the file or the limit; the library reports that.
        length = 0
    head = bytes(source.read(0, min(LENGTH_SIZE + length, source.size)))
    # Each tensor is a JSON object, and so are the header itself and the metadata. Count them before parsing, which
    # takes much memory.
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
        # The library accepted a header, so this is not the one that it read.
        raise ChangedFileError("the header changed while it was read", path=source.label, hint="open the file again")
    return SafetensorsIndex(source, header, metadata, len(head))


# -- validation by the library ------------------------------------------------------------------------------


def _judge(source: Source, head: bytes) -> None:
    """Let the safetensors library validate `head`, which ends with the header, and the size of the file.

    Raises:
        CorruptCheckpointError: the library refuses them.
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
    """Let the library open a path; opening does all of its checks."""
    from safetensors import safe_open  # noqa: PLC0415 -- imported only when it is needed

    try:
        with safe_open(path, framework="numpy"):
            pass
    except OSError as error:
        raise ReadError(f"the safetensors library cannot open the file: {error}", path=path) from error


def _show_stand_in(source: Source, head: bytes) -> None:
    """Let the library open a temporary file with the same header and size, but without tensor data.

    The library does not accept file objects, and it copies bytes. If no temporary file can be made, it is given
    bytes nevertheless.
    """
    with stand_in(head, source.size, ".safetensors") as path:
        if path is not None:
            _show(path)
            return
    _show_content(source)


def _show_content(source: Source) -> None:
    """Let the library validate a copy of the whole file."""
    import safetensors  # noqa: PLC0415 -- imported only when it is needed

    deserialize: Callable[[bytes], object] = safetensors.deserialize
    try:
        deserialize(bytes(source.read(0, source.size)))
    except MemoryError as error:
        raise OutOfMemoryError(
            f"not enough memory for two copies of {source.size} bytes, which are needed because no temporary file "
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
