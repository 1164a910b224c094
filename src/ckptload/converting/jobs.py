"""Find the files to convert and the names of their results, and convert them, several at a time if wanted."""

from __future__ import annotations

import os
import re
import threading
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from ckptload import shown, threads
from ckptload.converting import executors
from ckptload.errors import (
    ArgumentError,
    ArgumentTypeError,
    CheckpointError,
    ReadError,
    enough_memory,
)
from ckptload.formats.entry import SAFETENSORS
from ckptload.messages import shown_text, shown_value, type_name, warn
from ckptload.reading.access import Access
from ckptload.reading.advice import misnamed, missing
from ckptload.reading.opening import is_index, open_files
from ckptload.writing.targets import check_local, check_place, failure
from ckptload.writing.together import Together

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    Progress = Callable[[int, int], Any]

Task = TypeVar("Task")

_NOTHING: Final = "file_name_regex matches no file; nothing was converted"
#: Parallel training writes one folder for each device; their names begin with this
#: (MindSpore 2.10.0, train/serialization.py:2649).
_RANK: Final = "rank"


class Job(NamedTuple):
    """One file to convert, and the path of its result."""

    source: Path
    target: Path

    def size(self, max_records: int) -> int:
        """Return the size of the source, or of all its shards, in bytes."""
        access = Access(max_records=max_records)
        with (
            enough_memory("to open the file", path=str(self.source)),
            closing(open_files(self.source, access)) as opened,
        ):
            return opened.size


def jobs(file_path: Any, save_path: Any, file_name_regex: Any, *, old: str, new: str) -> list[Job]:
    """Find the files to convert (MindSpore 2.10.0, train/serialization.py:2637, 2676).

    Args:
        file_path: a file, or a folder with subfolders whose names begin with ``rank``.
        save_path: folder for the results, or None for the folders of the files.
        file_name_regex: searched for in file names (for a single file: in its path as given), or None.
        old: format of the files to convert, which is also the suffix of their names.
        new: format of the results.

    Returns:
        The jobs in the order of their paths; empty if the expression does not match any file of the folder.

    Raises:
        ArgumentTypeError: an argument is of the wrong type.
        ArgumentError: an argument has an invalid value.
        MissingFileError: there is no such file or folder; the hint says what is there instead.
        WrongFormatError: the path is the prefix of a TensorFlow checkpoint.
    """
    given = path_of("file_path", file_path)
    folder = _folder(save_path)
    fits = _matcher(file_name_regex)
    path = Path(given)
    try:
        if given and path.is_dir():
            # With an empty save_path, MindSpore writes the results of a folder to the working directory, because
            # it only tests for None there (2.10.0, train/serialization.py:2662).
            return _in_ranks(path, Path() if save_path == "" else folder, fits, old, new)
        if not given or not path.exists():
            raise missing(given, "there is no such file or folder", "check the path; ~ is not expanded")
    except (OSError, ValueError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise ReadError(f"the path cannot be examined: {shown.foreign(error)}", path=given) from shown.cause(error)
    if not (given.endswith(f".{old}") or (old == SAFETENSORS and is_index(given))):
        raise misnamed(given, old, f"the name of a file to convert must end in .{old}")
    if not fits(given):
        raise ArgumentError("file_name_regex does not match the file", path=given, hint="pass None to convert it")
    return [_job(path, folder or path.parent, old, new)]


def path_of(argument: str, value: object) -> str:
    """Return a path as text.

    Raises:
        ArgumentTypeError: it is neither a str nor a Path.
    """
    text = os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
    if not isinstance(text, str):
        raise ArgumentTypeError(f"{argument} must be a str or a Path, not {type_name(value)}")
    return text


def _folder(save_path: object) -> Path | None:
    """Return the folder for the results, which need not exist yet; None for the folders of the sources."""
    if save_path is None or save_path == "":
        return None
    given = path_of("save_path", save_path)
    check_local(given)
    folder = Path(given)
    if not folder.is_dir() and (folder.exists() or folder.suffix):
        # MindSpore refuses every name with an extension (2.10.0, train/serialization.py:2706). An existing
        # folder is accepted here.
        raise ArgumentError(
            "save_path must be a folder" + ("" if folder.exists() else ", and this looks like the name of a file"),
            path=given,
            hint="results keep the names of their sources; to use a folder of this name, make it first",
        )
    return folder


def _matcher(expression: object) -> Callable[[str], bool]:
    if expression is None:
        return lambda _: True
    if not isinstance(expression, str):
        raise ArgumentTypeError(f"file_name_regex must be a str or None, not {type_name(expression)}")
    try:
        compiled = re.compile(expression)
    except (re.error, RecursionError, OverflowError) as error:
        said = f"{shown_text(expression)} is not a regular expression: {shown.foreign(error)}"
        raise ArgumentError(f"file_name_regex {said}") from error
    return lambda name: compiled.search(name) is not None


def _in_ranks(path: Path, folder: Path | None, fits: Callable[[str], bool], old: str, new: str) -> list[Job]:
    ranks = sorted(child for child in path.iterdir() if child.name.startswith(_RANK) and child.is_dir())
    if not ranks:
        raise ArgumentError(
            f"the folder has no subfolder whose name begins with {_RANK!r}",
            path=str(path),
            hint="pass a single file, or the folder that contains the rank folders",
        )
    return [
        _job(file, folder / rank.name if folder else rank, old, new)
        for rank in ranks
        for file in sorted(rank.iterdir())
        if file.name.endswith(f".{old}") and fits(file.name) and file.is_file()
    ]


def _job(source: Path, folder: Path, old: str, new: str) -> Job:
    name = source.name
    # MindSpore replaces the ending wherever it is in the name (2.10.0, train/serialization.py:2627, 2632, 2726).
    # The name of an index loses its ``.safetensors``, too, wherever it is.
    stem = name.removesuffix(".json").removesuffix(".index")
    target = f"{''.join(stem.rsplit(f'.{old}', 1))}.{new}" if stem != name else name.replace(f".{old}", f".{new}")
    return Job(source, (folder / target).absolute())


# -- converting them ----------------------------------------------------------------------------------------


class Total:
    """The progress of several threads, reported to the caller by one at a time."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._total = total
        self._done = 0
        self._progress = progress
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        """Add `count` bytes to those that are done."""
        if self._progress is not None:
            with self._lock:
                self._done += count
                self._progress(self._done, self._total)


class Meter:
    """Copies bytes and reports the progress, as parts of a total that is known before.

    A result is slightly longer or shorter than its source; `finish` reports the difference.
    """

    def __init__(self, size: int, progress: Progress | None = None, *, total: Total | None = None) -> None:
        self._left = size
        self._total = total or Total(size, progress)

    def copy(self, buffers: Iterable[bytes | memoryview], file: IO[bytes]) -> None:
        """Write buffers to a file, each before the next one is requested."""
        for buffer in buffers:
            file.write(buffer)
            self.advance(len(buffer))

    def advance(self, count: int) -> None:
        """Report `count` more bytes, but never more than the total."""
        count = min(count, self._left)
        self._left -= count
        if count:
            self._total.add(count)

    def finish(self) -> None:
        """Report the rest."""
        self.advance(self._left)


def run(
    found: list[Job],
    convert: Callable[[Job, Meter, Together | None], None],
    processes_num: int,
    progress: Progress | None,
    access: Access,
) -> None:
    """Convert files, up to `processes_num` of them at the same time.

    The results appear together, when all are complete. After the first failure no further file is started; those in
    progress are finished, and nothing is changed.

    Args:
        found: the files.
        convert: converts one file; a single one replaces its target by itself, others with those of a `Together`.
        processes_num: number of threads.
        progress: called with the bytes done and the total.
        access: how the files are opened.

    Raises:
        ArgumentTypeError: `processes_num` is not an int, or `progress` is not callable.
        ArgumentError: `processes_num` is below 1, or two files have the same target.
        CheckpointError: an error of `convert`, with the path of the file.
    """
    _check(processes_num, progress)
    _check_targets(found)
    if not found:
        warn(_NOTHING)
        return
    sizes = [0 if progress is None else _size(job, access.max_records) for job in found]
    total = Total(sum(sizes), progress)

    def one(task: tuple[Job, int], together: Together | None = None) -> None:
        job, size = task
        meter = Meter(size, total=total)
        try:
            with enough_memory("to convert the file", path=str(job.source)):
                convert(job, meter, together)
        except CheckpointError as error:
            if error.path is None:
                error.path = str(job.source)
            raise
        meter.finish()

    tasks = list(zip(found, sizes, strict=True))
    if len(tasks) == 1:
        one(tasks[0])
        return
    with Together((job.target.parent for job in found), synced=False) as together:
        threads.share(partial(one, together=together), tasks, threads=processes_num)


def spread(
    found: list[Job],
    work: Callable[[Task], int],
    tasks: Sequence[Task],
    executor: Any,
    progress: Progress | None,
    access: Access,
) -> None:
    """Convert files by an executor; each result appears when it is complete.

    Args:
        found: the files.
        work: does a task, and returns its number.
        tasks: one for each file.
        executor: does the tasks; see `executors.run`.
        progress: called with the bytes done and the total.
        access: how the files are opened.

    Raises:
        ArgumentTypeError: `progress` is not callable.
        ArgumentError: two files have the same target.
        CheckpointError: an error of `work`, or of the executor.
    """
    check_progress(progress)
    _check_targets(found)
    if not found:
        warn(_NOTHING)
        return
    sizes = [0 if progress is None else _size(job, access.max_records) for job in found]
    total = Total(sum(sizes), progress)
    executors.run(work, tasks, executor, done=lambda number: total.add(sizes[number]))


def _check_targets(found: list[Job]) -> None:
    """Check that no job would overwrite the result of another, or what is not a file.

    Raises:
        ArgumentError: two jobs have the same target.
        WriteError: a folder, a pipe, a socket or a device is in the place of a target.
    """
    sources: dict[Path, Path] = {}
    for job in found:
        check_place(str(job.target))
        other = sources.setdefault(job.target, job.source)
        if other is not job.source:
            raise ArgumentError(
                f"{shown.printable(str(other))} and {shown.printable(str(job.source))} would both become "
                f"{shown.printable(str(job.target))}",
                hint="convert them one at a time, each into a folder of its own",
            )


def _check(processes_num: object, progress: object) -> None:
    if not isinstance(processes_num, int):
        raise ArgumentTypeError(f"processes_num must be an int, not {type_name(processes_num)}")
    if processes_num < 1:
        raise ArgumentError(f"processes_num must be 1 or more, not {shown_value(processes_num)}")
    check_progress(progress)


def check_progress(progress: object) -> None:
    """Raise ArgumentTypeError unless `progress` is None or callable."""
    if progress is not None and not callable(progress):
        raise ArgumentTypeError(f"progress must be callable or None, not {type_name(progress)}")


def _size(job: Job, max_records: int) -> int:
    try:
        return job.size(max_records)
    except OSError as error:
        if isinstance(error, CheckpointError):
            raise
        raise ReadError(f"the file cannot be examined: {error.strerror}", path=str(job.source)) from error


def make_folder(target: Path) -> None:
    """Create the folder of a file, and those above it, if they do not exist.

    Raises:
        WriteError: the system could not create it.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise failure(error, str(target)) from shown.cause(error)
