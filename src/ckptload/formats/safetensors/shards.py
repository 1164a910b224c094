"""A checkpoint in several safetensors files, as Hugging Face and MindSpore lay them out: shards, and an index in JSON.

The index names the file of each tensor. A shard is opened when a tensor in it is requested; a missing or damaged shard
does not affect the tensors of the others.

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
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from ckptload.errors import (
    ChangedFileError,
    ClosedReaderError,
    Hint,
    LimitError,
    MissingFileError,
    MissingShardError,
)
from ckptload.formats.safetensors.shard_paths import path_inside
from ckptload.formats.safetensors.weight_map import AGAIN, SET
from ckptload.messages import counted, listed
from ckptload.sources import identity
from ckptload.sources.base import Source
from ckptload.sources.files import FileSource, MappedSource

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ckptload.formats.safetensors.weight_map import WeightMap
    from ckptload.sources.base import Request

#: The largest known models have a few hundred. Each needs a few calls to the file system before anything is read.
MAX_SHARDS: Final = 10_000
#: Missing files that an error lists; all of any real checkpoint.
_LISTED: Final = 1000


class ReplacedIndexError(ChangedFileError):
    """The index was replaced after it was opened, and a shard that was not open yet may be of another set."""


def stamp(path: str) -> tuple[int, ...] | None:
    """Return what tells the file at a path from others there; None if there is none or it cannot be told."""
    try:
        return identity.stamp(os.stat(path))  # noqa: PTH116
    except (OSError, ValueError):
        return None


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
        self.places = {name: path_inside(self.path, name) for name in files}
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


def _size(path: str) -> int:
    """Return the size of a file; 0 if there is none, which opening it tells."""
    try:
        found = os.stat(path)  # noqa: PTH116
    except (OSError, ValueError):
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0
