"""Tasks done by an executor of the caller, or by threads of this process.

An executor is anything with ``submit(function, *arguments)`` that returns a future with ``result()``: those of
`concurrent.futures`, ``mpi4py.futures.MPIPoolExecutor``, what dask's ``client.get_executor()`` returns. A function and
a task must be picklable, and a task may be done twice: it names what it reads and what it writes, and its result is
small.
"""

from __future__ import annotations

from concurrent.futures import Future, as_completed
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from ckptload import shown, threads
from ckptload.errors import ArgumentTypeError, CheckpointError
from ckptload.messages import type_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

Task = TypeVar("Task")
Result = TypeVar("Result")


def check_executor(executor: object) -> None:
    """Raise ArgumentTypeError unless `executor` is None or has a function ``submit``."""
    if executor is not None and not callable(getattr(executor, "submit", None)):
        raise ArgumentTypeError(
            f"executor must have a method submit(function, *arguments), and {type_name(executor)} has none",
            hint="pass an executor such as concurrent.futures.ProcessPoolExecutor(), or leave it out",
        )


def run(
    work: Callable[[Task], Result],
    tasks: Sequence[Task],
    executor: Any = None,
    *,
    done: Callable[[Result], object] | None = None,
    workers: int = threads.THREADS,
) -> list[Result]:
    """Do every task, and return the results in the order of the tasks.

    After the first failure no task is begun; those that were begun are waited for, and the failure is raised.

    Args:
        work: called with each task; with an executor, a function at the top of a module.
        tasks: what to do.
        executor: where it is done; None for threads of this process.
        done: called in this process with each result, as soon as it is known; one call at a time if there is an
            executor.
        workers: number of threads if there is no executor.

    Raises:
        CheckpointError: a task failed; or the executor did, which is then the cause.
    """
    if executor is None:

        def one(task: Task) -> Result:
            result = work(task)
            if done is not None:
                done(result)
            return result

        return threads.share(one, tasks, threads=workers)
    futures: list[Any] = []
    try:
        futures.extend(executor.submit(work, task) for task in tasks)
        for future in _ended(futures):
            result = future.result()
            if done is not None:
                done(result)
        return [future.result() for future in futures]
    except CheckpointError:
        _stop(futures)
        raise
    except Exception as error:
        _stop(futures)
        raise CheckpointError(
            f"the executor could not do a task: {type(error).__name__}: {shown.foreign(error)}",
            hint="files that are complete stay; try it again, or without an executor",
        ) from error
    except BaseException:
        _cancel(futures)
        raise


def _ended(futures: Sequence[Any]) -> Iterator[Any]:
    """Yield futures as they end; those of another kind in their order."""
    return as_completed(futures) if all(isinstance(one, Future) for one in futures) else iter(futures)


def _cancel(futures: Sequence[Any]) -> list[Any]:
    """Cancel what has not begun, and return the futures of the rest."""
    begun = []
    for future in futures:
        cancel = getattr(future, "cancel", None)
        if cancel is None or not cancel():
            begun.append(future)
    return begun


def _stop(futures: Sequence[Any]) -> None:
    """Cancel what has not begun, and wait for the rest: it may be writing."""
    for future in _cancel(futures):
        with suppress(Exception):
            future.result()
