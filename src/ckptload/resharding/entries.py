"""Some entries of a set in one safetensors file, as a task: a shard, or a part of a unified folder."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ckptload.converting.jobs import Meter
from ckptload.converting.rewriting import moved
from ckptload.converting.shards import Shard
from ckptload.errors import ChangedFileError, CheckpointError, enough_memory
from ckptload.writing.gathering import gather
from ckptload.writing.temporary_files import unlink

if TYPE_CHECKING:
    from ckptload.converting.jobs import Total
    from ckptload.dtypes import DType
    from ckptload.formats.item import Item
    from ckptload.reading.reader import Reader
    from ckptload.resharding.rank_sets import RankSet


@dataclass(frozen=True)
class EntriesTask:
    """Write entries of a set to a file that the caller has staged. Doing it twice gives the same file.

    Attributes:
        set: what is read, of which the entries `names`.
        names: the name of each entry in the set, and in the file.
        dtype: what floating-point tensors are converted to, or None.
        nbytes: size of the data, in bytes, when the job was planned.
        path: where the file shall be.
        staged: temporary path to write it to.
        metadata: keys and texts of its metadata.
        synced: see `Replacement`.
    """

    set: RankSet
    names: tuple[tuple[str, str], ...]
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
    """Do a task: open the set, and write the file under its temporary path.

    Raises:
        ChangedFileError: the entries are not those that were planned.
        CheckpointError: the set cannot be read, or the file cannot be written.
    """
    with task.set.open() as reader_of:
        return write_from(reader_of(0), task)


def write_from(reader: Reader, task: EntriesTask, total: Total | None = None) -> Written:
    """Do a task from an open set."""
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
    wanted = dict(task.names)
    found = {item.name: item for item in gather(reader.select(choice_func=wanted.__contains__), None, None)}
    moves = [moved(found[old], old, new, task.dtype, beyond) for old, new in task.names if old in found]
    if len(moves) != len(wanted) or sum(move.item.nbytes for move in moves) != task.nbytes:
        raise ChangedFileError(
            "the set does not have the entries that it had when the job was planned", hint="begin the job again"
        )
    return [move.item for move in moves]
