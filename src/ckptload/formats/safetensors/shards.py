"""A checkpoint in several safetensors files, as Hugging Face and MindSpore lay them out: shards, and an index in JSON.

The index names the file of each tensor. It is not trusted, so no entry may lead out of its folder. A shard is
opened when a tensor in it is requested; a missing or damaged shard does not affect the tensors of the others.

A conversion may replace the whole set meanwhile (writing/shard_set.py). An index by ckptload has an ID, and so have its
shards: one of another set is refused. If there is none, the index must still be the same file after a shard is opened:
a shard is only replaced after the index.
"""

from __future__ import annotations

import os
import stat
import threading
from bisect import bisect_right
from contextlib import suppress
from copy import copy
from itertools import accumulate
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Final

from ckptload.errors import (
    ChangedFileError,
    CheckpointError,
    ClosedReaderError,
    CorruptCheckpointError,
    Hint,
    LimitError,
    MissingFileError,
    MissingShardError,
    WrongFormatError,
)
from ckptload.formats.coverage import Coverage, by_all
from ckptload.formats.entry import SAFETENSORS
from ckptload.formats.index import Facts, Foreign
from ckptload.formats.safetensors import checksum, order, strings
from ckptload.formats.safetensors.fitting import misfits
from ckptload.formats.safetensors.weight_map import AGAIN, SET
from ckptload.messages import counted, listed
from ckptload.sources.base import Source
from ckptload.sources.files import FileSource, MappedSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ckptload.errors import UnsupportedTypeError
    from ckptload.formats.entry import Entry
    from ckptload.formats.safetensors.index import SafetensorsIndex
    from ckptload.formats.safetensors.weight_map import WeightMap
    from ckptload.sources.base import Request

#: The largest known models have a few hundred. Each needs a few calls to the file system before anything is read.
MAX_SHARDS: Final = 10_000
#: Letters of a file's name in an index, and folders in it: each is looked up when the index is opened.
_LONGEST: Final = 1024
_DEEPEST: Final = 16
#: Missing files that an error lists; all of any real checkpoint.
_LISTED: Final = 1000


class ReplacedIndexError(ChangedFileError):
    """The index was replaced after it was opened, and a shard that was not open yet may be of another set."""


def stamp(path: str) -> tuple[int, ...] | None:
    """Return what tells the file at a path from others there; None if there is none or it cannot be told."""
    try:
        found = os.stat(path)  # noqa: PTH116
    except (OSError, ValueError):
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


class ShardedSource(Source):
    """The shards of an index, joined end to end as one source; each file is opened by its first read.

    Args:
        path: the path of the index.
        index: what it says.
        mapped: map the shards.
        watches_names: see `FileSource`.
        seen: the `stamp` of the index, from before it was read; None if the index cannot be replaced.
    """

    def __init__(
        self,
        path: str,
        index: WeightMap,
        *,
        mapped: bool = False,
        watches_names: bool = True,
        seen: tuple[int, ...] | None = None,
    ) -> None:
        # Not the real path: if the index is a link, its shards are next to the link.
        self.label = self.path = os.path.abspath(path)  # noqa: PTH100 -- links must not be followed
        self.views = mapped
        self._watches_names = watches_names
        self._seen = seen
        self.index = index
        files = dict.fromkeys(index.files.values())
        if len(files) > MAX_SHARDS:
            raise LimitError(f"the index names more than {MAX_SHARDS} files", path=self.path, hint=AGAIN)
        self.places = {name: _inside(self.path, name) for name in files}
        self._numbers = {name: number for number, name in enumerate(files)}
        self._paths = list(self.places.values())
        self._said: str | None = None
        # A missing file is an error only when a tensor in it is requested.
        self._there = [os.path.exists(place) for place in self._paths]  # noqa: PTH110
        self.files = [place for place, there in zip(self._paths, self._there, strict=True) if there]
        self.starts = [0, *accumulate(map(_size, self._paths))]
        self.size = self.starts[-1]
        self._opened: dict[int, FileSource] = {}
        self._touched = _Touched()
        self._closed = False

    def has(self, file: str) -> bool:
        """Return whether there is a file of a name, relative to the index."""
        return os.path.isfile(os.path.join(os.path.dirname(self.label), file))  # noqa: PTH113, PTH118, PTH120

    def start(self, file: str) -> int:
        """Return the position of a shard in this source, in bytes."""
        return self.starts[self._numbers[file]]

    def shard(self, file: str) -> FileSource:
        """Return a shard, opened by the first call; this source closes it.

        Raises:
            MissingShardError: the shard does not exist.
            ReadError: it cannot be read.
            ChangedFileError: its size has changed since the index was opened.
            ClosedReaderError: this source was closed.
        """
        return self._shard(self._numbers[file])

    def _shard(self, number: int) -> FileSource:
        """Return a shard; without a lock, which a signal handler could meet."""
        found = self._opened.get(number)
        if found is None and not self._closed:
            opened = self._open(number)
            found = self._opened.setdefault(number, opened)
            if found is not opened:
                # Another thread, or a handler, was faster.
                opened.close()
        if self._closed or found is None:
            if found is not None:
                found.close()
            raise ClosedReaderError("the checkpoint was closed", path=self.label)
        return found

    def _open(self, number: int) -> FileSource:
        path = self._paths[number]
        try:
            opened = (MappedSource if self.views else FileSource)(path)
        except MissingFileError as error:
            raise self._missing(error) from error
        opened.watches_name = self._watches_names
        if opened.size != self.starts[number + 1] - self.starts[number]:
            opened.close()
            raise ChangedFileError("the file was changed after its index was opened", path=path, hint="open it again")
        if SET not in self.index.metadata and self.is_replaced():
            opened.close()
            raise self.replaced()
        return opened

    def is_replaced(self) -> bool:
        """Tell whether there is another index now than the one that was opened, or none."""
        return self._seen is not None and stamp(self.label) != self._seen

    def replaced(self) -> ReplacedIndexError:
        """Return the error for an index that was replaced."""
        return ReplacedIndexError(
            "the index was replaced after it was opened, and its files with it", path=self.label, hint="open it again"
        )

    def _missing(self, error: MissingFileError) -> MissingShardError:
        """Return the error that lists every file of the index that is missing, for each of them the same."""
        # Those that were there at opening are looked for by opening them.
        found = MissingShardError(
            self._absent() or self._are_missing([os.path.basename(error.path or "")]),  # noqa: PTH119 -- just removed
            path=self.label,
            hint=Hint("fetch the missing files, or leave their tensors out with {exclude}"),
        )
        found.errno = error.errno
        return found

    def _absent(self) -> str:
        """Say, once for a million tensors, which files were missing at opening; empty if none was."""
        if self._said is None:
            names = [name for name, there in zip(self.places, self._there, strict=True) if not there]
            self._said = self._are_missing(names) if names else ""
        return self._said

    def _are_missing(self, names: list[str]) -> str:
        return (
            f"{len(names)} of the {counted(len(self._paths), 'file')} of the index "
            f"{'is' if len(names) == 1 else 'are'} missing: {listed(names, _LISTED)}"
        )

    def _number(self, at: int) -> int:
        return min(bisect_right(self.starts, at), len(self._paths)) - 1

    def read_many(self, requests: Sequence[Request]) -> None:
        """Fill every ``(start, out)``; see `Source.read_many`."""
        # Other threads may do the reading, but this one will call `check_unchanged`.
        for start, out in requests:
            self._touched.numbers.update(range(self._number(start), self._number(start + len(out) - 1) + 1))
        super().read_many(requests)

    def read(self, start: int, stop: int) -> bytes | memoryview:
        """Return a range: a view of a mapped shard, or else a copy."""
        self.bounded(start, stop)
        number = self._number(start)
        self._touched.numbers.add(number)
        base, end = self.starts[number : number + 2]
        if stop <= end:
            return self._shard(number).read(start - base, stop - base)
        return super().read(start, stop)

    def read_into(self, start: int, out: memoryview) -> None:
        """Fill `out` from one or several adjacent shards."""
        self.bounded(start, start + len(out))
        while len(out):
            number = self._number(start)
            self._touched.numbers.add(number)
            base, end = self.starts[number : number + 2]
            part = out[: end - start]
            self._shard(number).read_into(start - base, part)
            start, out = start + len(part), out[len(part) :]

    def check_unchanged(self) -> None:
        """Check the shards that this thread has read from since its last call; there may be too many to check all."""
        touched = self._touched.numbers
        for number in touched.copy():
            opened = self._opened.get(number)
            if opened is not None:
                opened.check_unchanged()
            touched.discard(number)

    def statuses(self) -> list[os.stat_result]:
        """Return those of the index and of every shard that is there, opened or not."""
        found = []
        for path in (self.label, *self.files):
            with suppress(OSError):
                found.append(os.stat(path))  # noqa: PTH116 -- paths are strings here
        return found

    def close(self) -> None:
        """Close every shard that was opened."""
        self._closed = True
        for opened in list(self._opened.values()):
            opened.close()


class _Touched(threading.local):
    """The numbers of shards that a thread has read from."""

    def __init__(self) -> None:
        self.numbers: set[int] = set()


class ShardedIndex:
    """The tensors of all shards, by name; a shard's own index is read when one of its tensors is requested.

    Args:
        source: the shards.
        opens: opens a shard, or raises an error that names its kind.
    """

    def __init__(self, source: ShardedSource, opens: Callable[[Source], SafetensorsIndex]) -> None:
        self.format = SAFETENSORS
        self.source: Source = source
        self.metadata = source.index.metadata
        self.cipher: str | None = None
        self.foreign = Foreign()
        self._shards = source
        self._opens = opens
        self._indexes: dict[str, SafetensorsIndex] = {}
        self._refused: dict[str, CheckpointError] = {}

    def names(self) -> Sequence[str]:
        """Return the names in the index, in the same order as those of a single file."""
        return order.restored(self._shards.index.files, self.metadata)

    def public_names(self, chosen: Iterable[str]) -> dict[str, str]:
        """Return a dictionary from each name to itself."""
        return {name: name for name in chosen}

    def entry(self, name: str) -> Entry:
        """Return the entry of a tensor from the header of its shard.

        Raises:
            MissingShardError: the shard does not exist.
            ReadError: it cannot be read.
            CorruptCheckpointError: the shard is damaged, or the tensor is not in it.
        """
        file = self._shards.index.files[name]
        index = self._index(file)
        if name not in index:
            raise CorruptCheckpointError(
                f"the index {os.path.basename(self._shards.label)} says that this file holds the tensor, "  # noqa: PTH119
                "but it does not",
                name=name,
                path=index.source.label,
                hint=AGAIN,
            )
        try:
            entry = index.entry(name)
        except CheckpointError as error:
            error.path = index.source.label
            raise
        start = self._shards.start(file)
        return entry._replace(spans=tuple((start + a, start + b) for a, b in entry.spans))

    def unsupported(self, entries: Sequence[Entry]) -> UnsupportedTypeError:
        """Return the error for entries of types that are not supported; it names the shard of the first."""
        index = self._index(self._shards.index.files[entries[0].name])
        error = index.unsupported(entries)
        error.path = index.source.label
        return error

    def facts(self) -> Facts:
        """Return the total size of the shards, and whether the index has a checksum."""
        return Facts(self.source.size, checksum.KEY in self.metadata)

    def verify_crc(self) -> Coverage | None:
        """Check every shard that has a checksum.

        Returns:
            What the sums of all shards cover; None if there are no shards, or one of them has no sum.

        Raises:
            MissingShardError: files are missing; the others have been checked.
        """
        found, missing = [], None
        for file in self._shards.places:
            try:
                found.append(self._index(file).verify_crc())
            except MissingShardError as error:  # noqa: PERF203 -- the other shards are still checked
                missing = error
        if missing is not None:
            raise missing
        sums = [one for one in found if one is not None]
        return by_all(sums) if found and len(sums) == len(found) else None

    def reach(self) -> Coverage:
        """Return what checks of the shards, and comparing the index with them, can cover: the index has no sum."""
        has_order, has_texts, has_size = order.KEY in self.metadata, strings.KEY in self.metadata, self._has_size
        gaps = {
            "nothing covers the order of the entries, which is in the index": has_order,
            "nothing covers the strings, which are in the index": has_texts,
            "the index does not say how many bytes its tensors have (total_size), so that a file may be missing "
            "with its tensors": not has_size,
        }
        return Coverage(
            bytes=not has_texts,
            entries=not has_texts,
            order=not has_order,
            completeness=has_size,
            gaps=tuple(text for text, there in gaps.items() if there),
        )

    @property
    def _has_size(self) -> bool:
        return self._shards.index.total_size is not None

    def check_index(self) -> list[CheckpointError]:
        """Compare the index with the headers of all its files."""
        held = {file: self._sizes(file) for file in self._shards.places}
        return [
            CorruptCheckpointError(text, path=self._shards.label, hint=AGAIN)
            for text in misfits(self._shards.index, held, self._shards.has)
        ]

    def _sizes(self, file: str) -> dict[str, int] | None:
        """Return the sizes of the tensors in a shard; None if it cannot be read, which `entry` tells."""
        try:
            index = self._index(file)
            return {name: index.entry(name).nbytes for name in index.names()}
        except CheckpointError:
            return None

    def _index(self, file: str) -> SafetensorsIndex:
        found = self._indexes.get(file)
        if found is None:
            if file in self._refused:
                raise copy(self._refused[file])
            try:
                found = self._opens(self._shards.shard(file))
                self._check_set(found)
            except ClosedReaderError:
                raise
            except CheckpointError as error:
                # Whatever is wrong with the file, it may be of another set.
                if self._shards.is_replaced():
                    raise self._shards.replaced() from error
                if isinstance(error, (CorruptCheckpointError, LimitError, WrongFormatError)):
                    # The index may name a million tensors in a damaged file, whose header is then not read for each.
                    self._refused[file] = copy(error)
                raise
            # Two threads may do this at the same time, with the same result.
            self._indexes[file] = found
        return found

    def _check_set(self, shard: SafetensorsIndex) -> None:
        """Raise CorruptCheckpointError if a shard is of another set than the index, as far as the index says it."""
        want, have = self.metadata.get(SET), shard.metadata.get(SET)
        if want is not None and have != want:
            found = "the file of none" if have is None else f"the file of {have[:20]!r}"
            raise CorruptCheckpointError(
                f"the file is of another set than its index: the index is of {want[:20]!r} ({SET} in the metadata), "
                f"{found}",
                path=shard.source.label,
                hint="convert it again, or fetch the whole folder again: the index and its shards were written apart",
            )


def _size(path: str) -> int:
    """Return the size of a file; 0 if there is none, which opening it tells."""
    try:
        found = os.stat(path)  # noqa: PTH116
    except (OSError, ValueError):
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0


def _inside(index: str, file: str) -> str:
    """Return the real path of a file that an index names.

    It must be in the folder of the index or, if the index is a link, as in Hugging Face's cache, in the folder of
    the link's target.

    Raises:
        CorruptCheckpointError: the file is elsewhere.
    """
    path = Path(index)
    if _is_plain(file):
        # A loop of links cannot be resolved, so it counts as outside the folder.
        with suppress(OSError, RuntimeError, ValueError):
            real = path.parent.joinpath(file).resolve()
            if any(real.is_relative_to(folder) for folder in (path.parent.resolve(), path.resolve().parent)):
                return str(real)
    raise CorruptCheckpointError(f"the index names a file outside its folder: {file[:200]!r}", path=index, hint=AGAIN)


def _is_plain(file: str) -> bool:
    """Return whether a path is relative and, by its text alone, stays below its start on every system."""
    if len(file) > _LONGEST or file.count("/") > _DEEPEST:
        return False
    here, windows = PurePosixPath(file), PureWindowsPath(file)
    if "\0" in file or here.is_absolute() or windows.drive or windows.root:
        return False
    return bool(here.parts) and ".." not in {*here.parts, *windows.parts}
