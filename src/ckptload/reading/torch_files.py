"""`open_torch_file`: a file of torch.save as a reader, with weights only.

torch reads such a file, since only it knows its pickles; the tensors that it returns are laid out here one after the
other, as the bytes of a source.
"""

from __future__ import annotations

import io
import os
import zipfile
from bisect import bisect_right
from contextlib import ExitStack, closing
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

from ckptload.errors import (
    ClosedReaderError,
    CorruptCheckpointError,
    Hint,
    LimitError,
    WrongFormatError,
    enough_memory,
)
from ckptload.foreign.giving import AUTO, chosen, need
from ckptload.formats import limits
from ckptload.formats.coverage import WHOLE, Coverage
from ckptload.formats.entry import TENSOR, TORCH, UNSUPPORTED, Entry, unsupported
from ckptload.formats.index import Facts, Foreign, Note
from ckptload.formats.item import as_bytes
from ckptload.formats.kinds import kind as kinds
from ckptload.formats.limits import MAX_RECORDS
from ckptload.messages import listed
from ckptload.reading.advice import open_advised
from ckptload.reading.indexing import identified
from ckptload.reading.reader import Reader
from ckptload.sources.base import Profile, Source
from ckptload.sources.streams import SourceStream

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import torch

    from ckptload.errors import CheckpointError, UnsupportedTypeError
    from ckptload.foreign.torch_files import State

#: Bytes of the directory of the archive, and of its pickle, for each tensor that is allowed. Those of torch.save take
#: about 100 and 150 with names of usual lengths; they are held in memory as objects.
_DIRECTORY: Final = 100
_PICKLE: Final = 200
#: How many times its size the tensors of a file may take, since several names may be of one tensor: so much more
#: would be written by a conversion. And what any file may have.
_TIMES: Final = 64
_ANY: Final = 64 << 20
#: The end of the directory of an archive (APPNOTE.TXT, 4.3.16): its mark, its size, and the longest comment.
_END: Final = b"PK\x05\x06"
_END_SIZE: Final = 22
_COMMENT: Final = 0xFFFF


def is_torch_file(source: Any) -> bool:
    """Return whether a path, bytes or a file object is a file that torch.save wrote, by its first and last bytes.

    Raises:
        CheckpointError: it cannot be read.
    """
    with closing(open_advised(source)) as opened:
        return identified(opened) in kinds.OF_TORCH


def open_torch_file(source: Any, *, max_records: int = MAX_RECORDS, parameters: str = AUTO) -> Reader:
    """Open a file of PyTorch (.pt, .pth, .bin) that ``torch.save`` wrote, with weights only.

    Nothing in it is run: torch 2.6 or newer reads it with ``weights_only=True``, and what it refuses is refused here.
    The tensors are those of the dictionary in the file. If that has none, they are those of the dictionary in it, such
    as ``state_dict``; notes say so, and name the values that are left out.

    Args:
        source: path (str or os.PathLike), bytes, or a seekable binary file object. A file at a path is mapped: if
            another program truncates it meanwhile, reading it ends this process. Bytes, file objects, URLs, and files
            of PyTorch before 1.6 are read into memory.
        max_records: the largest number of tensors.
        parameters: what tensors are read as; see `open_checkpoint`.

    Returns:
        A mapping of names to values, as `open_checkpoint` returns it; its ``format`` is ``torch``. Values own their
        memory.

    Raises:
        MissingPackageError: torch is not installed, or older than 2.6. This and all below are CheckpointErrors.
        ReadError: the file cannot be read.
        WrongFormatError: it is no file of torch.save, it holds more than weights, or no tensors with names.
        CorruptCheckpointError: it is damaged.
        LimitError: it has more tensors than `max_records`, or many more bytes of tensors than of file.
        ArgumentTypeError: an argument has the wrong type.
    """
    limits.check(max_records)
    gives = chosen(parameters)
    path = os.fspath(source) if isinstance(source, (str, os.PathLike)) else None
    with enough_memory("to open the file", path=path if isinstance(path, str) else None), ExitStack() as stack:
        opened = open_advised(source)
        stack.callback(opened.close)
        _check_kind(opened)
        mapped = _check_archive(opened, max_records)
        index = TorchIndex(opened, _read(opened, mapped=mapped), max_records)
        stack.pop_all()
    return Reader(index, gives=gives)


def _check_kind(source: Source) -> None:
    kind = identified(source)
    if kind in kinds.OF_TORCH:
        return
    ours = kind in (kinds.CKPT, kinds.SAFETENSORS, kinds.INDEX)
    raise WrongFormatError(
        f"this is not a file of torch.save{'' if kind is None else f' but {kind.what}'}",
        path=source.label,
        hint=Hint("{open_ours}") if ours or kind is None else kind.hint,
    )


def _check_archive(source: Source, max_records: int) -> bool:
    """Check the archive that torch.save writes since PyTorch 1.6, and return whether it can be mapped.

    torch does not look whether tensors that it maps are compressed.
    """
    if bytes(source.read(0, min(2, source.size))) != b"PK":
        return False
    _check_directory(source, max_records)
    try:
        with zipfile.ZipFile(SourceStream(source)) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
        if isinstance(error, (CorruptCheckpointError, LimitError)):
            raise
        raise CorruptCheckpointError(
            "the archive is damaged", path=source.label, hint="the file was cut off or changed; fetch it again"
        ) from error
    for member in members:
        if member.compress_type != zipfile.ZIP_STORED or member.file_size > source.size:
            raise CorruptCheckpointError(
                "the archive is compressed, which torch.save never does",
                path=source.label,
                hint="load it with torch, and save it again",
            )
        if member.filename.endswith(".pkl") and member.file_size > _ANY + _PICKLE * max_records:
            raise limits.beyond(f"a pickle of {max_records} tensors can take", max_records, source.label)
    return source.path is not None and "://" not in source.path


def _check_directory(source: Source, max_records: int) -> None:
    """Check the size of the directory, which is read into memory."""
    tail = bytes(source.read(max(source.size - _END_SIZE - _COMMENT, 0), source.size))
    at = tail.rfind(_END)
    size = int.from_bytes(tail[at + 12 : at + 16], "little") if at >= 0 else 0
    if size == 0xFFFF_FFFF and at >= 20:  # noqa: PLR2004 -- it is in the record before (4.3.14, 4.3.15)
        begin = int.from_bytes(tail[at - 12 : at - 4], "little")
        if begin + 56 <= source.size:
            size = int.from_bytes(bytes(source.read(begin + 40, begin + 48)), "little")
    if size > _ANY + _DIRECTORY * max_records:
        raise limits.beyond(f"a directory of {max_records} tensors can take", max_records, source.label)


def _read(source: Source, *, mapped: bool) -> State:
    need(TORCH, "a file of PyTorch", path=source.label)
    from ckptload.foreign import torch_files  # noqa: PLC0415 -- torch is optional, and slow to import

    if mapped and source.path is not None:
        return torch_files.read(source.path, source.label, mapped=True)
    return torch_files.read(io.BufferedReader(SourceStream(source)), source.label, mapped=False)


class TensorsSource(Source):
    """The bytes of tensors, one after the other.

    Args:
        file: the file that they are from.
        tensors: the tensors; they may share memory.
        sizes: their sizes, in bytes.
    """

    profile = Profile(local=True)

    def __init__(self, file: Source, tensors: Sequence[torch.Tensor], sizes: Sequence[int]) -> None:
        self.label = file.label
        self.files = file.files
        self.starts = [0, *accumulate(sizes)]
        self.size = self.starts[-1]
        self._file = file
        self._tensors: Sequence[torch.Tensor] | None = tensors
        # One whose elements are not in order is put in order; its parts are read one after the other.
        self._last: tuple[int, memoryview] | None = None

    def read_into(self, start: int, out: memoryview) -> None:
        """Copy a range of the tensors."""
        self.bounded(start, start + len(out))
        at = bisect_right(self.starts, start) - 1
        done = 0
        while done < len(out):
            data = self._bytes(at)
            skipped = start + done - self.starts[at]
            part = data[skipped : skipped + len(out) - done]
            out[done : done + len(part)] = part
            done += len(part)
            at += 1

    def _bytes(self, number: int) -> memoryview:
        from ckptload.foreign import torch_tensors  # noqa: PLC0415 -- torch is there by now

        tensors, last = self._tensors, self._last
        if tensors is None:
            raise ClosedReaderError("the checkpoint was closed", path=self.label)
        if last is not None and last[0] == number:
            return last[1]
        found = as_bytes(torch_tensors.taken(tensors[number]).array)
        self._last = (number, found)
        return found

    def check_unchanged(self) -> None:
        """Raise ChangedFileError if the file has changed since it was opened."""
        self._file.check_unchanged()

    def statuses(self) -> list[os.stat_result]:
        """Return what the system says about the file."""
        return self._file.statuses()

    def close(self) -> None:
        """Release the tensors and the file."""
        self._tensors = self._last = None
        self._file.close()


class TorchIndex:
    """The tensors of a file of PyTorch.

    Args:
        file: the file.
        state: what torch read.
        most: the largest number of tensors.

    Raises:
        LimitError: there are more, or they have many more bytes than the file.
    """

    def __init__(self, file: Source, state: State, most: int) -> None:
        from ckptload.foreign import torch_tensors  # noqa: PLC0415 -- torch is there by now

        if len(state.tensors) > most:
            raise limits.beyond(f"{most} tensors", most, file.label)
        refusals = {name: torch_tensors.refusal_of(tensor) for name, tensor in state.tensors.items()}
        tensors = [tensor for name, tensor in state.tensors.items() if refusals[name] is None]
        sizes = [tensor.numel() * tensor.element_size() for tensor in tensors]
        if sum(sizes) > _TIMES * file.size + _ANY:
            raise LimitError(
                f"the file has {file.size} bytes, and its tensors would have {sum(sizes)}",
                path=file.label,
                hint="many of them share their elements; save them as one",
            )
        self.format = TORCH
        self.source: Source = TensorsSource(file, tensors, sizes)
        self.metadata: dict[str, str] = {}
        self.cipher: str | None = None
        self.foreign = Foreign()
        self.notes: Sequence[Note] = tuple(_notes(state))
        self._size = file.size
        self._entries: dict[str, Entry] = {}
        number = 0
        for name, tensor in state.tensors.items():
            dtype, refusal = torch_tensors.dtype_of(tensor), refusals[name]
            if refusal is not None or dtype is None:
                what = str(tensor.dtype) if dtype is None else f"{tensor.dtype}: {refusal}"
                self._entries[name] = Entry(name, UNSUPPORTED, None, (), 0, ((0, 0),), 0, (), what)
                continue
            start, stop = self.source.starts[number : number + 2]
            number += 1
            shape = tuple(tensor.shape)
            self._entries[name] = Entry(name, TENSOR, dtype, shape, stop - start, ((start, stop),), start)

    def names(self) -> Sequence[str]:
        """Return the names in the order of the dictionary."""
        return list(self._entries)

    def public_names(self, chosen: Iterable[str]) -> dict[str, str]:
        """Return a dictionary from each name to itself."""
        return {name: name for name in chosen}

    def entry(self, name: str) -> Entry:
        """Return the entry of a tensor."""
        return self._entries[name]

    def unsupported(self, entries: Sequence[Entry]) -> UnsupportedTypeError:
        """Return the error for tensors whose values cannot be read."""
        from ckptload.foreign import torch_tensors  # noqa: PLC0415 -- torch is there by now

        return unsupported(entries, torch_tensors.type_names())

    def facts(self) -> Facts:
        """Return the size of the file."""
        return Facts(self._size, has_checksum=False)

    def check_index(self) -> list[CheckpointError]:
        """Return nothing: this is a single file."""
        return []

    def verify_crc(self) -> Coverage | None:
        """Return None: torch compares the sums of an archive as far as it does not map it."""
        return None

    def reach(self) -> Coverage:
        """Return the whole: what there is of the file is in the file itself."""
        return WHOLE


def _notes(state: State) -> Iterable[Note]:
    if state.inside is not None:
        yield Note("torch", (state.inside,), f"the tensors are those of {state.inside!r} in the file")
    if state.left:
        yield Note("torch", state.left, f"these values of the file are left out: {listed(list(state.left))}")
