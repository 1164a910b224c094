"""The file of one target rank, as a task: what it reads, and where it goes."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ckptload.converting.jobs import Meter, Total
from ckptload.converting.results import Result, Target
from ckptload.errors import ArgumentError, ArgumentTypeError, CheckpointError, Hint, enough_memory
from ckptload.formats.entry import TENSOR
from ckptload.messages import counted, listed, shown_value, type_name
from ckptload.reading.access import Access
from ckptload.reading.opening import open_with
from ckptload.writing.gathering import gather
from ckptload.writing.targets import check_place

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ckptload.formats.item import Item
    from ckptload.reading.reader import Reader
    from ckptload.resharding.rank_sets import RankSet
    from ckptload.writing.together import Together

ERROR: Final = "error"
SKIP: Final = "skip"
REPLACE: Final = "replace"
EXISTING: Final = (ERROR, SKIP, REPLACE)


class RankFile(NamedTuple):
    """A file of one rank.

    Attributes:
        rank: the rank of the target.
        path: its absolute path.
        entries: how many entries it has.
        nbytes: size of their data.
        written: whether it was written, or would be; False if it was there.
        notes: what was decided about the entries, in words; equal for many ranks.
    """

    rank: int
    path: str
    entries: int
    nbytes: int
    written: bool
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class RankTask:
    """Write the file of one rank. Doing it twice gives the same file.

    Attributes:
        set: what is read: the slices of `rank`.
        rank: the rank of the target.
        path: absolute path of the file.
        format: ``ckpt`` or ``safetensors``.
        skips: whether a file that is there stays, if it has the entries of this rank.
        synced: see `Replacement`.
        names: new names of entries, in pairs of the old one and the new one.
    """

    set: RankSet
    rank: int
    path: str
    format: str
    skips: bool = False
    synced: bool = True
    names: tuple[tuple[str, str], ...] = ()


def write_rank(task: RankTask) -> RankFile:
    """Do a task: open the set, and write the file, which appears whole.

    Raises:
        CheckpointError: the set cannot be read, or the file cannot be written.
    """
    with task.set.open() as reader_of:
        return write_from(reader_of(task.rank), task)


def write_from(
    reader: Reader, task: RankTask, total: Total | None = None, together: Together | None = None, *, dry: bool = False
) -> RankFile:
    """Do a task from the open slices of its rank.

    Args:
        reader: the slices.
        task: what to do.
        total: is told of the bytes.
        together: files that appear together; None: this one appears at once.
        dry: write nothing.
    """
    try:
        with enough_memory("to write the slices", path=task.path):
            new = dict(task.names)
            items = [item._replace(name=new.get(item.name, item.name)) for item in items_of(reader)]
            stays = task.skips and is_there(task.path)
            nbytes = sum(item.nbytes for item in items)
            if stays:
                _check_same(task, items)
            elif not dry:
                target = Target(Path(task.path), task.format, synced=task.synced)
                meter = Meter(nbytes, total=total)
                Result(reader, items, target).write(meter, together)
                meter.finish()
            else:
                check_place(task.path)
    except CheckpointError as error:
        if error.path is None:
            error.path = task.path
        raise
    notes = tuple(str(note.text) for note in getattr(reader, "notes", ()))
    return RankFile(task.rank, task.path, len(items), nbytes, not stays, notes)


def items_of(reader: Reader) -> list[Item]:
    """Return items for all entries, and for strings in the metadata; there may be none.

    Raises:
        CheckpointError: an entry is damaged, or of a type that is not supported.
    """
    reader.check_types()
    texts = reader.kept_strings()
    return gather(reader, None, None) + gather(
        {name: text for name, text in texts.items() if name not in reader}, None, None
    )


def is_there(path: str) -> bool:
    """Tell whether there is something at a path."""
    return os.path.lexists(path)


def _check_same(task: RankTask, items: Sequence[Item]) -> None:
    """Raise ArgumentError unless the file that is there has the tensors of this rank. Values are not compared."""
    wanted = {item.name: (item.dtype, item.shape) for item in items if item.kind == TENSOR}
    found: dict[str, Any] = {}
    if Path(task.path).stat().st_size:
        access = Access(format=task.format, max_records=task.set.max_records)
        with open_with(task.path, access) as there:
            entries = [there.info(name) for name in there]
            found = {entry.name: (entry.dtype, entry.shape) for entry in entries if entry.kind == TENSOR}
    if found != wanted:
        other = [name for name in {**wanted, **found} if wanted.get(name) != found.get(name)]
        raise ArgumentError(
            f"the file that is there does not have the slices of rank {task.rank}: {listed(other)} differ",
            path=task.path,
            hint="another run has written it; remove it, or write to another folder",
        )


def check_existing(existing: object) -> None:
    """Raise ArgumentError unless `existing` is ``error``, ``skip`` or ``replace``."""
    if existing not in EXISTING:
        raise ArgumentError(f"existing must be 'error', 'skip' or 'replace', not {shown_value(existing)}")


def refuse_existing(tasks: Sequence[RankTask]) -> None:
    """Raise ArgumentError if a file of a task is there."""
    taken = [task.path for task in tasks if is_there(task.path)]
    if taken:
        several = f"{counted(len(taken), 'file')} of {len(tasks)} are there already"
        raise ArgumentError(
            "the file already exists" if len(tasks) == 1 else several,
            path=taken[0],
            hint=Hint("write to another folder; or {existing}"),
        )


def chosen_ranks(ranks: object, total: int) -> list[int]:
    """Return the ranks to write, ascending.

    Args:
        ranks: ints; None for all.
        total: number of ranks of the target.

    Raises:
        ArgumentTypeError: `ranks` is not an iterable of ints.
        ArgumentError: there are none, or there is no such rank.
    """
    if ranks is None:
        return list(range(total))
    if isinstance(ranks, (str, bytes)) or not isinstance(ranks, Iterable):
        raise ArgumentTypeError(f"ranks must be an iterable of ints, such as range(8), not {type_name(ranks)}")
    found = set()
    for rank in ranks:
        if isinstance(rank, bool) or not isinstance(rank, int):
            raise ArgumentTypeError(f"ranks must be ints, and {shown_value(rank)} is not one")
        if not 0 <= rank < total:
            raise ArgumentError(f"there is no rank {rank}: the target has {counted(total, 'rank')}, from 0 on")
        found.add(rank)
    if not found:
        raise ArgumentError("no rank is to be written", hint="name some, or leave the argument out for all")
    return sorted(found)
