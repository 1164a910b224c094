"""Converting files, one after the other or several at the same time, and telling how far it is."""

from __future__ import annotations

import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import IO, TYPE_CHECKING, Any

from ckptload.converting.jobs import check_targets
from ckptload.errors import ArgumentError, ArgumentTypeError, CheckpointError, OutOfMemoryError, ReadError
from ckptload.writing.atomic import failure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from ckptload.converting.jobs import Job

    Progress = Callable[[int, int], Any]


class _Total:
    """What several threads have done, told to the caller by one at a time."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._total = total
        self._done = 0
        self._progress = progress
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        if self._progress is not None:
            with self._lock:
                self._done += count
                self._progress(self._done, self._total)


class Meter:
    """Copies content and reports it, as parts of a size known before.

    A result is a little longer or shorter than its source, so that what is missing at the end is reported then.
    """

    def __init__(self, size: int, progress: Progress | None = None, *, total: _Total | None = None) -> None:
        self._left = size
        self._total = total or _Total(size, progress)

    def copy(self, buffers: Iterable[bytes | memoryview], file: IO[bytes]) -> None:
        """Write buffers to a file, each before the next one is asked for."""
        for buffer in buffers:
            file.write(buffer)
            self.advance(len(buffer))

    def advance(self, count: int) -> None:
        """Report some bytes more, if there are still so many."""
        count = min(count, self._left)
        self._left -= count
        if count:
            self._total.add(count)

    def finish(self) -> None:
        """Report the rest."""
        self.advance(self._left)


def run(found: list[Job], convert: Callable[[Job, Meter], None], processes_num: int, progress: Progress | None) -> None:
    """Convert files, several at the same time if that is wanted.

    The first failure ends it: what is under way is finished, what was not begun is not.

    Raises:
        ArgumentTypeError: `processes_num` is no int, or `progress` cannot be called.
        ArgumentError: `processes_num` is below 1, or two files have one target.
        CheckpointError: what `convert` raises, with the path of the file concerned.
    """
    _check(processes_num, progress)
    check_targets(found)
    if not found:
        warnings.warn("file_name_regex matches no file; nothing was converted", stacklevel=3)
        return
    sizes = [0] * len(found) if progress is None else [_size(job) for job in found]
    total = _Total(sum(sizes), progress)

    def one(job: Job, size: int) -> None:
        meter = Meter(size, total=total)
        try:
            convert(job, meter)
        except CheckpointError as error:
            if error.path is None:
                error.path = str(job.source)
            raise
        except MemoryError as error:
            raise OutOfMemoryError("not enough memory to convert the file", path=str(job.source)) from error
        meter.finish()

    if processes_num == 1 or len(found) == 1:
        for job, size in zip(found, sizes, strict=True):
            one(job, size)
        return
    with ThreadPoolExecutor(min(processes_num, len(found)), thread_name_prefix="ckptload-convert") as pool:
        begun = [pool.submit(one, job, size) for job, size in zip(found, sizes, strict=True)]
        try:
            for each in begun:
                each.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _check(processes_num: object, progress: object) -> None:
    if not isinstance(processes_num, int):
        raise ArgumentTypeError(f"processes_num must be an int, not {type(processes_num).__name__}")
    if processes_num < 1:
        raise ArgumentError(f"processes_num must be 1 or more, not {processes_num}")
    check_progress(progress)


def check_progress(progress: object) -> None:
    """Raise ArgumentTypeError unless `progress` is None or can be called."""
    if progress is not None and not callable(progress):
        raise ArgumentTypeError(f"progress must be callable or None, not {type(progress).__name__}")


def _size(job: Job) -> int:
    try:
        return job.size
    except OSError as error:
        if isinstance(error, CheckpointError):
            raise
        raise ReadError(f"the file cannot be examined: {error.strerror}", path=str(job.source)) from error


def make_folder(target: Path) -> None:
    """Make the folder of a file, and those above it, where there is none.

    Raises:
        WriteError: the system does not let us.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise failure(error, str(target)) from error
