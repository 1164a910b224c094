"""Work that several threads share: reading, summing and converting, which let go of Python's lock.

Two threads halve it, more gain nothing on the machines measured (docs/architecture.md).
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
    """Do every job, in threads if the system gives any, and return the results in order.

    The first failure ends it. A job may be done twice: what was begun is, where threads are missing.

    Args:
        work: what to do with each job.
        jobs: the jobs; the largest should not be the last.
        name: what the threads are called.
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
            # After a failure, or an interrupt, the rest need not be done.
            pool.shutdown(cancel_futures=True)
    return [work(job) for job in jobs]
