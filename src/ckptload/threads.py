"""Threads for work that releases Python's GIL: reading, checksums and conversions.

Two threads halve the time; more did not help on the machines measured (docs/architecture.md).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Job = TypeVar("Job")
    Result = TypeVar("Result")

THREADS: Final = 2


def share(work: Callable[[Job], Result], jobs: Sequence[Job], name: str) -> list[Result]:
    """Do every job, in threads if possible, and return the results in order.

    The first failure cancels the rest. A job may be done twice: if not all threads can be started, every job
    is done again without them.

    Args:
        work: called with each job.
        jobs: the jobs; the largest should not be the last.
        name: part of the threads' names.
    """
    with ThreadPoolExecutor(THREADS, thread_name_prefix=f"ckptload-{name}") as pool:
        try:
            try:
                started = [pool.submit(work, job) for job in jobs]
            except RuntimeError:
                started = None
            if started is not None:
                return [done.result() for done in started]
        finally:
            # After a failure or an interrupt the remaining jobs are not needed.
            pool.shutdown(cancel_futures=True)
    return [work(job) for job in jobs]
