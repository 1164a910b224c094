"""A checkpoint in several safetensors files, as Hugging Face lays them out: shards, and an index in JSON.

The index says in which file each tensor stands. It comes from outside, so that no entry may lead out of its
folder. A shard is opened when something in it is asked for; what it lacks or how it is damaged concerns
nobody else.
"""

from __future__ import annotations

import json
import os
import threading
from bisect import bisect_right
from contextlib import suppress
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from ckptload.errors import (
    ArgumentError,
    ChangedFileError,
    CheckpointError,
    ClosedReaderError,
    CorruptCheckpointError,
    Hint,
    LimitError,
    ReadError,
)
from ckptload.formats.entry import SAFETENSORS
from ckptload.formats.index import Facts
from ckptload.formats.limits import MAX_RECORDS, beyond
from ckptload.formats.safetensors import checksum
from ckptload.formats.safetensors.index import SafetensorsIndex, open_safetensors
from ckptload.sources.base import Source
from ckptload.sources.files import FileSource, MappedSource

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ckptload.formats.entry import Entry
    from ckptload.sources.base import Request

#: How the name of an index ends.
ENDING: Final = ".safetensors.index.json"
#: The index of a model of a million tensors is shorter.
MAX_INDEX: Final = 100_000_000
#: The largest models known have some hundred. Each costs a few questions to the file system before anything is read.
MAX_SHARDS: Final = 10_000

_AGAIN: Final = "fetch the whole folder again; an index names files beside it and nothing else"


def is_index(source: object) -> bool:
    """Tell whether what a caller passed is the path of an index of shards.

    Raises:
        ArgumentError: it is one, behind a URL.
    """
    if not isinstance(source, (str, os.PathLike)):
        return False
    path = os.fspath(source)
    if not isinstance(path, str) or not path.endswith(ENDING):
        return False
    if "://" in path:
        raise ArgumentError(
            "the index of a sharded checkpoint cannot be opened from a URL",
            path=path,
            hint="download the index and the shards, or open a single shard",
        )
    return True


class ShardedSource(Source):
    """The shards of an index, end to end, as one source; each file is opened when it is first read from."""

    def __init__(self, path: str, *, mapped: bool = False, max_records: int = MAX_RECORDS) -> None:
        # Not the real path: the files lie beside the name under which the index was given.
        self.label = self.path = os.path.abspath(path)  # noqa: PTH100 -- links must not be followed
        self.views = mapped
        self.max_records = max_records
        self.weight_map, self.metadata = _read_index(self.path, max_records)
        files = dict.fromkeys(self.weight_map.values())
        if len(files) > MAX_SHARDS:
            raise LimitError(f"the index names more than {MAX_SHARDS} files", path=self.path, hint=_AGAIN)
        self.places = {name: _inside(self.path, name) for name in files}
        self._numbers = {name: number for number, name in enumerate(files)}
        self._paths = list(self.places.values())
        # A missing file is an error for whoever wants something from it.
        sizes = [os.path.getsize(place) if os.path.isfile(place) else 0 for place in self._paths]  # noqa: PTH113, PTH202
        self.starts = [0, *accumulate(sizes)]
        self.size = self.starts[-1]
        self._opened: list[FileSource | None] = [None] * len(files)
        self._lock = threading.Lock()
        self._touched = _Touched()
        self._closed = False

    def start(self, file: str) -> int:
        """Return where a shard begins in this source."""
        return self.starts[self._numbers[file]]

    def shard(self, file: str) -> FileSource:
        """Open a shard, once.

        Raises:
            ReadError: it is missing or cannot be read.
            ChangedFileError: its size is another than when the index was opened.
        """
        return self._shard(self._numbers[file])

    def _shard(self, number: int) -> FileSource:
        with self._lock:
            if self._closed:
                raise ClosedReaderError("the checkpoint was closed", path=self.label)
            opened = self._opened[number]
            if opened is None:
                opened = self._open(number)
                self._opened[number] = opened
            return opened

    def _open(self, number: int) -> FileSource:
        path = self._paths[number]
        if not os.path.lexists(path):
            missing = [place for place in self._paths if not os.path.lexists(place)]
            raise ReadError(
                f"{len(missing)} of the {len(self._paths)} files of the index are missing: "
                + ", ".join(os.path.basename(place) for place in missing[:3])  # noqa: PTH119
                + (", ..." if missing[3:] else ""),
                path=self.label,
                hint=Hint("fetch the missing files, or leave their tensors out with {exclude}"),
            )
        opened = (MappedSource if self.views else FileSource)(path)
        if opened.size != self.starts[number + 1] - self.starts[number]:
            opened.close()
            raise ChangedFileError("the file was changed after its index was opened", path=path, hint="open it again")
        return opened

    def _number(self, at: int) -> int:
        return min(bisect_right(self.starts, at), len(self._paths)) - 1

    def read_many(self, requests: Sequence[Request]) -> None:
        """Fill every ``(start, out)``, as any source does."""
        # Threads may do the reading; it is this one that will ask whether something changed.
        for start, out in requests:
            self._touched.numbers.update(range(self._number(start), self._number(start + len(out) - 1) + 1))
        super().read_many(requests)

    def read(self, start: int, stop: int) -> bytes | memoryview:
        """Return bytes: a view of a mapped shard, else a copy."""
        self.bounded(start, stop)
        number = self._number(start)
        self._touched.numbers.add(number)
        base, end = self.starts[number : number + 2]
        if stop <= end:
            return self._shard(number).read(start - base, stop - base)
        return super().read(start, stop)

    def read_into(self, start: int, out: memoryview) -> None:
        """Fill `out` from one shard, or from neighbouring ones."""
        self.bounded(start, start + len(out))
        while len(out):
            number = self._number(start)
            self._touched.numbers.add(number)
            base, end = self.starts[number : number + 2]
            part = out[: end - start]
            self._shard(number).read_into(start - base, part)
            start, out = start + len(part), out[len(part) :]

    def check_unchanged(self) -> None:
        """Check every shard that this thread has read from since it last asked; there may be very many."""
        numbers = self._touched.numbers
        while numbers:
            opened = self._opened[numbers.pop()]
            if opened is not None:
                opened.check_unchanged()

    def close(self) -> None:
        """Close every shard that was opened."""
        with self._lock:
            self._closed = True
            for opened in self._opened:
                if opened is not None:
                    opened.close()


class _Touched(threading.local):
    """The numbers of shards that a thread has read from."""

    def __init__(self) -> None:
        self.numbers: set[int] = set()


class ShardedIndex:
    """The tensors of all shards, sorted by name; those of a shard are looked up when one is asked for."""

    def __init__(self, source: ShardedSource) -> None:
        self.format = SAFETENSORS
        self.source: Source = source
        self.metadata = source.metadata
        self.cipher: str | None = None
        self._shards = source
        self._indexes: dict[str, SafetensorsIndex] = {}

    def names(self) -> Sequence[str]:
        """Return the names that the index lists, in order of code points."""
        return sorted(self._shards.weight_map)

    def public_names(self, chosen: Iterable[str]) -> dict[str, str]:
        """Return the names as they are."""
        return {name: name for name in chosen}

    def entry(self, name: str) -> Entry:
        """Look a tensor up in its shard.

        Raises:
            ReadError: the shard is missing.
            CorruptCheckpointError: the shard is damaged, or does not hold the tensor.
        """
        file = self._shards.weight_map[name]
        index = self._index(file)
        if name not in index:
            raise CorruptCheckpointError(
                f"the index {os.path.basename(self._shards.label)} says that this file holds the tensor, "  # noqa: PTH119
                "but it does not",
                name=name,
                path=index.source.label,
                hint=_AGAIN,
            )
        try:
            entry = index.entry(name)
        except CheckpointError as error:
            error.path = index.source.label
            raise
        start = self._shards.start(file)
        return entry._replace(spans=tuple((start + a, start + b) for a, b in entry.spans))

    def facts(self) -> Facts:
        """Tell the size of all shards, and whether the index carries a sum."""
        return Facts(self.source.size, checksum.KEY in self.metadata)

    def verify_crc(self) -> bool:
        """Check every shard that carries a sum; return whether all of them do."""
        found = [self._index(file).verify_crc() for file in self._shards.places]
        return all(found)

    def _index(self, file: str) -> SafetensorsIndex:
        found = self._indexes.get(file)
        if found is None:
            # Two threads may do this at once; both find the same.
            found = self._indexes[file] = open_safetensors(self._shards.shard(file), self._shards.max_records)
        return found


def _read_index(path: str, max_records: int) -> tuple[dict[str, str], dict[str, str]]:
    """Return which file each name stands in, and what else the index says, as text."""
    source = FileSource(path)
    try:
        if source.size > MAX_INDEX:
            raise _no_index(path, f"{source.size} bytes are too many")
        text = bytes(source.read(0, source.size))
    finally:
        source.close()
    try:
        index = json.loads(text.decode())
        metadata = index.get("metadata") if isinstance(index, dict) else None
        found = metadata.items() if isinstance(metadata, dict) else ()
        words = {key: value if isinstance(value, str) else json.dumps(value) for key, value in found}
    except (ValueError, RecursionError) as error:
        raise _no_index(path, str(error)) from error
    weight_map = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(weight_map, dict) or not all(isinstance(file, str) for file in weight_map.values()):
        raise _no_index(path, "it has no weight_map from names to files")
    if len(weight_map) > max_records:
        raise beyond(f"{max_records} tensors", max_records, path)
    return weight_map, words


def _no_index(path: str, reason: str) -> CorruptCheckpointError:
    return CorruptCheckpointError(f"this is not an index of shards: {reason}", path=path, hint=_AGAIN)


def _inside(index: str, file: str) -> str:
    """Return the real path of a file of an index.

    It must lie in the folder of the index. Where the index is a link, as in Hugging Face's cache, the
    folder that the link leads to is as good.

    Raises:
        CorruptCheckpointError: it lies elsewhere.
    """
    from pathlib import Path  # noqa: PLC0415 -- slow to import, and wanted for shards alone

    path = Path(index)
    if _is_plain(file):
        # A loop of links leads nowhere, and so out of the folder.
        with suppress(OSError, RuntimeError, ValueError):
            real = path.parent.joinpath(file).resolve()
            if any(real.is_relative_to(folder) for folder in (path.parent.resolve(), path.resolve().parent)):
                return str(real)
    raise CorruptCheckpointError(f"the index names a file outside its folder: {file[:200]!r}", path=index, hint=_AGAIN)


def _is_plain(file: str) -> bool:
    """Tell whether a relative path stays below where it starts, on any system and as far as its text says."""
    from pathlib import PurePosixPath, PureWindowsPath  # noqa: PLC0415 -- as above

    here, windows = PurePosixPath(file), PureWindowsPath(file)
    if "\0" in file or here.is_absolute() or windows.drive or windows.root:
        return False
    return bool(here.parts) and ".." not in {*here.parts, *windows.parts}
