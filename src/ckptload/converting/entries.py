"""Some entries of a checkpoint in one safetensors file, as a task: a shard, or a part of a unified folder."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ckptload import dtypes
from ckptload.converting import npz
from ckptload.converting.executors import run
from ckptload.converting.jobs import Meter
from ckptload.converting.making import made
from ckptload.converting.moves import Move
from ckptload.converting.shards import Shard
from ckptload.errors import ChangedFileError, CheckpointError, enough_memory
from ckptload.tensors import casting
from ckptload.writing.gathering import gather
from ckptload.writing.temporary_files import unlink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from ckptload.binding.maps.recipes import Recipe
    from ckptload.converting.jobs import Total
    from ckptload.dtypes import DType
    from ckptload.formats.item import Item
    from ckptload.reading.reader import Reader


class Opens(Protocol):
    """A checkpoint that can be opened, also in another process."""

    def open(self) -> AbstractContextManager[Callable[[int], Reader]]:
        """Open it, and give a function that returns a reader; its argument is not used."""


@dataclass(frozen=True)
class Again:
    """An open reader, which pickle opens again in another process.

    Attributes:
        reader: it, of a whole, unencrypted file that was opened by its path.
    """

    reader: Reader

    def open(self) -> AbstractContextManager[Callable[[int], Reader]]:
        """Give the reader; nobody closes it here but who opened it."""
        return nullcontext(lambda _: self.reader)


@dataclass(frozen=True)
class EntriesTask:
    """Write entries of a checkpoint to a file that the caller has staged. Doing it twice gives the same file.

    Attributes:
        source: what is read.
        recipes: how each entry of the file is made of those of the source.
        dtype: what floating-point tensors are converted to, or None.
        nbytes: size of the data, in bytes, when the job was planned.
        path: where the file shall be.
        staged: temporary path to write it to.
        metadata: keys and texts of its metadata.
        synced: see `Replacement`.
    """

    source: Opens
    recipes: tuple[Recipe, ...]
    dtype: DType | None
    nbytes: int
    path: str
    staged: str
    metadata: tuple[tuple[str, str], ...]
    synced: bool = True


@dataclass(frozen=True)
class Written:
    """What a task has written.

    Attributes:
        nbytes: size of the data, in bytes.
        beyond: names of entries with values that are too large for the dtype.
    """

    nbytes: int
    beyond: tuple[str, ...]


def write_entries(task: EntriesTask) -> Written:
    """Do a task: open the source, and write the file under its temporary path.

    Raises:
        ChangedFileError: the entries are not those that were planned.
        CheckpointError: the source cannot be read, or the file cannot be written.
    """
    with task.source.open() as reader_of:
        return write_from(reader_of(0), task)


def write_from(reader: Reader, task: EntriesTask, total: Total | None = None) -> Written:
    """Do a task from an open source."""
    beyond: dict[str, None] = {}
    try:
        with enough_memory("to write the entries", path=task.path):
            items = _items(reader, task, beyond)
            shard = Shard(Path(task.path), Path(task.staged), items, dict(task.metadata))
            meter = Meter(task.nbytes, total=total)
            # A task that is done again replaces what its first try has left.
            with suppress(OSError):
                unlink(Path(task.staged))
            shard.write(meter, synced=task.synced, reveals=reader.statuses())
            reader.authenticate()
            meter.finish()
    except CheckpointError as error:
        if error.path is None:
            error.path = task.path
        raise
    return Written(task.nbytes, tuple(beyond))


def _items(reader: Reader, task: EntriesTask, beyond: dict[str, None]) -> list[Item]:
    wanted = {name for recipe in task.recipes for name in recipe.sources}
    found = {item.name: item for item in gather(reader.select(choice_func=wanted.__contains__), None, None)}
    possible = [recipe for recipe in task.recipes if found.keys() >= {*recipe.sources}]
    moves = [moved(recipe, found, reader, task.dtype, beyond) for recipe in possible]
    if len(moves) != len(task.recipes) or sum(move.item.nbytes for move in moves) != task.nbytes:
        raise ChangedFileError(
            "the source does not have the entries that it had when the job was planned", hint="begin the job again"
        )
    return [move.item for move in moves]


def moved(
    recipe: Recipe, found: Mapping[str, Item], reader: Reader, dtype: DType | None, beyond: dict[str, None]
) -> Move:
    """Return the move of one entry, whose data is converted to `dtype` if it can be.

    Args:
        recipe: how it is made.
        found: the entries of the source.
        reader: the source.
        dtype: what floating-point tensors are converted to, or None.
        beyond: the name is added to this when the data has values that are too large for it.

    Raises:
        BindingError: the rule of the recipe does not fit the entries.
    """
    item = made(recipe, found, reader)
    old = " + ".join(recipe.sources)
    if dtype is not None and item.dtype in dtypes.FLOATS and item.dtype is not dtype:
        return Move(old, item.dtype, _cast(item, item.dtype, dtype, beyond))
    return Move(old, item.dtype, item)


def _cast(item: Item, source: DType, target: DType, beyond: dict[str, None]) -> Item:
    """Return an item whose tensor data is converted piece by piece while it is written."""

    def pieces() -> Iterator[memoryview]:
        for piece in npz.whole(item.pieces(), source.itemsize):
            array = np.frombuffer(piece, source.numpy)
            out = np.empty(array.shape, target.numpy)
            if casting.cast_into(array, source, target, out):
                beyond[item.name] = None
            yield out.view(np.uint8).data

    size = item.nbytes // source.itemsize * target.itemsize
    return item._replace(dtype=target, nbytes=size, content=pieces)


class ShardWriter:
    """Writes shards by an executor, a task for each.

    Args:
        source: what is read.
        recipes: how each entry is made.
        dtype: what floating-point tensors are converted to, or None.
        beyond: names of entries with values that are too large for it are added to this.
        meter: is told of the bytes.
        executor: does the tasks.
    """

    def __init__(
        self,
        source: Opens,
        recipes: Iterable[Recipe],
        dtype: DType | None,
        beyond: dict[str, None],
        meter: Meter,
        executor: Any,
    ) -> None:
        self._source = source
        self._recipes = {recipe.name: recipe for recipe in recipes}
        self._dtype = dtype
        self._beyond = beyond
        self._meter = meter
        self._executor = executor

    def __call__(self, shards: Sequence[Shard]) -> None:
        """Write the shards under their temporary paths."""
        tasks = [
            EntriesTask(
                self._source,
                tuple(self._recipes[item.name] for item in shard.items),
                self._dtype,
                sum(item.nbytes for item in shard.items),
                str(shard.target),
                str(shard.staged),
                tuple(shard.metadata.items()),
            )
            for shard in shards
        ]
        run(write_entries, tasks, self._executor, done=self._done)

    def _done(self, written: Written) -> None:
        self._meter.advance(written.nbytes)
        self._beyond.update(dict.fromkeys(written.beyond))
