"""`reshard_checkpoints`: the slices for other devices, a file for each rank."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ckptload import threads
from ckptload.converting.executors import check_executor, run
from ckptload.converting.jobs import Total, check_progress, path_of
from ckptload.encryption.ciphers import AES_GCM
from ckptload.encryption.keys import hidden
from ckptload.errors import ArgumentError, ArgumentTypeError
from ckptload.formats.entry import check_format
from ckptload.formats.limits import MAX_RECORDS
from ckptload.messages import shown_text, type_name
from ckptload.ranks.strategy_files import read_strategy
from ckptload.resharding.rank_files import (
    ERROR,
    SKIP,
    RankFile,
    RankTask,
    check_existing,
    chosen_ranks,
    refuse_existing,
    write_from,
    write_rank,
)
from ckptload.resharding.rank_sets import RankSet
from ckptload.writing.targets import check_local, check_place
from ckptload.writing.together import Together

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ckptload.converting.jobs import Progress
    from ckptload.reading.reader import Reader


class RankFiles(list[RankFile]):
    """The files of a job, in the order of their ranks.

    Attributes:
        notes: what was decided about the entries, each once: names left out, copies compared, layouts that were taken
            from a weight.
    """

    def __init__(self, files: Iterable[RankFile]) -> None:
        super().__init__(sorted(files))
        self.notes = list(dict.fromkeys(note for file in self for note in file.notes))


def reshard_checkpoints(
    source: Any,
    target: str | os.PathLike[str],
    to: Any,
    strategy: Any = None,
    *,
    prefix: str = "",
    format: str | None = None,
    ranks: Iterable[int] | None = None,
    executor: Any = None,
    existing: str = ERROR,
    file_suffix: str | None = None,
    copies: str | None = None,
    dec_key: bytes | None = None,
    dec_mode: str = AES_GCM,
    allow_unauthenticated: bool = False,
    max_records: int = MAX_RECORDS,
    progress: Progress | None = None,
    dry_run: bool = False,
) -> RankFiles:
    """Cut a set of rank files for other devices, in little memory whatever its size.

    Writes ``<target>/rank_<r>/<prefix><r>.ckpt`` (or ``.safetensors``) for each rank of the target. No file is ever
    half: it appears under its name when it is complete and synced to the disk. Without an executor, all files of the
    call get their names together, so that a job that is killed has changed all of them or none. With an executor,
    and with ``existing="skip"``, each appears as soon as it is complete, and a job that was interrupted is continued
    by ``existing="skip"``.

    Args:
        source: whatever `open_distributed` accepts.
        target: folder for the rank folders; it is made if it is not there.
        to: the strategy of the target: a path, or a `Strategy`.
        strategy: the strategy of the source; None if nothing is cut, or if the folder says it.
        prefix: beginning of the files' names.
        format: ``"ckpt"`` or ``"safetensors"``; None for that of the source.
        ranks: the ranks to write, such as ``range(8)``; None for all. So several machines can share a job.
        executor: does a task for each file: anything with ``submit(function, *arguments)``, such as
            ``concurrent.futures.ProcessPoolExecutor`` or ``mpi4py.futures.MPIPoolExecutor``. It sends `dec_key` with
            each task. None for two threads.
        existing: what happens to files that are there: ``"error"`` refuses before anything is written; ``"skip"``
            keeps them, if they have the names, dtypes and shapes of their rank; ``"replace"`` replaces them.
        file_suffix: which of several files in a rank folder, by the end of its name.
        copies: what happens to copies that differ; see `open_distributed`.
        dec_key: key of encrypted files; results are not encrypted.
        dec_mode: ``"AES-GCM"``, ``"AES-CBC"`` or ``"SM4-CBC"``.
        allow_unauthenticated: open AES-GCM files with data that no tag covers (docs/security.md).
        max_records: most records of a file (docs/security.md).
        progress: called with the bytes done and the total; an exception from it ends the job.
        dry_run: check everything, but do not write.

    Returns:
        A list of one `RankFile` for each rank; its attribute ``notes`` says what was decided.

    Raises:
        ArgumentTypeError: an argument is of the wrong type (also a TypeError).
        ArgumentError: an argument has an invalid value, or a file exists.
        CheckpointError: the source cannot be read, does not fit its strategy or has parts that no file holds; or a
            file cannot be written.
    """
    dec_key = hidden(dec_key)
    set_ = RankSet.of(
        source,
        strategy,
        to,
        file_suffix=file_suffix,
        copies=copies,
        dec_key=dec_key,
        dec_mode=dec_mode,
        allow_unauthenticated=allow_unauthenticated,
        max_records=max_records,
    )
    check_existing(existing)
    check_executor(executor)
    check_progress(progress)
    if to is None:
        raise ArgumentTypeError(
            "to must be a strategy or the path of one", hint="merge_checkpoints writes whole tensors to one file"
        )
    wanted = chosen_ranks(ranks, read_strategy(to).ranks)
    with set_.open() as reader_of:
        job = Job(set_, reader_of, target, format, wanted, stems(prefix), skips=existing == SKIP)
        if existing == ERROR:
            refuse_existing(job.tasks)
        return job.run(executor, progress, dry=dry_run, alone=existing == SKIP)


class Job:
    """The files of some ranks.

    Args:
        set_: what is read.
        reader_of: the set, open: returns a reader for a rank.
        target: folder for the rank folders.
        format: ``ckpt``, ``safetensors``, or None for that of the source.
        ranks: which ranks.
        stem: the name of a rank's file without the format.
        skips: whether files that are there stay.
        synced: see `Replacement`.
        names: new names of entries.

    Attributes:
        tasks: one for each rank.
    """

    def __init__(
        self,
        set_: RankSet,
        reader_of: Callable[[int], Reader],
        target: str | os.PathLike[str],
        format: str | None,
        ranks: Sequence[int],
        stem: Callable[[int], str],
        *,
        skips: bool = False,
        synced: bool = True,
        names: Mapping[str, str] | None = None,
    ) -> None:
        check_local(given := path_of("target", target))
        if format is not None:
            check_format(format)
        folder = Path(given).absolute()
        if folder.exists() and not folder.is_dir():
            raise ArgumentError("the target must be a folder, and this is a file", path=given)
        self._reader_of = reader_of
        kind = format or reader_of(ranks[0]).format
        self.tasks = [
            RankTask(
                set_,
                rank,
                str(folder / f"rank_{rank}" / f"{stem(rank)}.{kind}"),
                kind,
                skips=skips,
                synced=synced,
                names=tuple((names or {}).items()),
            )
            for rank in ranks
        ]
        for task in self.tasks:
            check_place(task.path)

    def run(
        self,
        executor: Any = None,
        progress: Progress | None = None,
        *,
        dry: bool = False,
        alone: bool = False,
        workers: int = threads.THREADS,
    ) -> RankFiles:
        """Do the tasks.

        Args:
            executor: see `reshard_checkpoints`.
            progress: see `reshard_checkpoints`.
            dry: write nothing.
            alone: whether each file appears as soon as it is complete.
            workers: number of threads if there is no executor.
        """
        if dry:
            return RankFiles(run(partial(self._one, dry=True), self.tasks, workers=workers))
        total = None
        if progress is not None:
            planned = run(partial(self._one, dry=True), self.tasks, workers=workers)
            total = Total(sum(file.nbytes for file in planned), progress)
        if executor is not None:
            return RankFiles(run(write_rank, self.tasks, executor, done=partial(_count, total)))
        if alone or len(self.tasks) == 1:
            return RankFiles(run(partial(self._one, total=total), self.tasks, workers=workers))
        folders = [Path(task.path).parent for task in self.tasks]
        with Together(folders, synced=self.tasks[0].synced) as together:
            return RankFiles(run(partial(self._one, total=total, together=together), self.tasks, workers=workers))

    def _one(
        self, task: RankTask, *, total: Total | None = None, together: Together | None = None, dry: bool = False
    ) -> RankFile:
        file = write_from(self._reader_of(task.rank), task, total, together, dry=dry)
        if not file.written and not dry:
            _count(total, file)
        return file


def _count(total: Total | None, file: RankFile) -> None:
    if total is not None:
        total.add(file.nbytes)


def stems(prefix: object, ending: str = "") -> Callable[[int], str]:
    """Return a function that names the file of a rank, without its format.

    Raises:
        ArgumentTypeError: the prefix is not a str.
        ArgumentError: it cannot be the beginning of a file's name.
    """
    if not isinstance(prefix, str):
        raise ArgumentTypeError(f"the prefix must be a str, not {type_name(prefix)}")
    if any(separator in prefix for separator in (os.sep, os.altsep, "\0") if separator):
        raise ArgumentError(
            f"the prefix {shown_text(prefix)} is not the beginning of a file name",
            hint="give the folder as the target, and here only what its files begin with",
        )
    return lambda rank: f"{prefix}{rank}{ending}"
