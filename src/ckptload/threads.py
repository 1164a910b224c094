"""Threads for work that releases Python's GIL: reading, checksums and conversions; and work in the background.

Two threads halve the time; more did not help on the machines measured (docs/architecture.md).

A signal handler runs in the main thread, between any two steps of what it interrupts, and may call every public
function. So nothing here waits for what an interrupted call holds, and nothing waits for a thread that may never run:
a thread without memory can die before its first step, without telling anybody.
"""

from __future__ import annotations

import sys
import threading
from _thread import allocate_lock, start_new_thread
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Job = TypeVar("Job")
Result = TypeVar("Result")

THREADS: Final = 2

#: Seconds that a new thread has to begin. After that, its work is done by whoever waits for it.
PATIENCE: Final = 1.0


class _Held(threading.local):
    """How many locks this thread holds that a handler may need; held during ``with HELD, lock``."""

    count = 0

    def __enter__(self) -> None:
        self.count += 1

    def __exit__(self, *_: object) -> None:
        self.count -= 1


#: Used beside an RLock of a source: ``with HELD, self._lock``. A handler in the thread that holds the lock may take it
#: again, but threads that help the handler could not; so meanwhile `share` starts none.
HELD: Final = _Held()


def share(work: Callable[[Job], Result], jobs: Sequence[Job], *, threads: int = THREADS) -> list[Result]:
    """Do every job, in this thread and in others if they can be started, and return the results in order.

    The first failure cancels the jobs that nobody has begun; the others are waited for, and the failure is raised.

    Args:
        work: called with each job.
        jobs: the jobs; the largest should not be the last.
        threads: the number of threads, this one included.
    """
    team = _Team(work, jobs)
    try:
        if not HELD.count:
            team.call_helpers(min(threads, len(jobs)) - 1)
        team.take_part()
    finally:
        # After a failure or an interrupt the remaining jobs are not needed.
        team.wait_for_helpers()
    return team.results()


class _Team(Generic[Job, Result]):
    """Threads that take jobs from one queue."""

    def __init__(self, work: Callable[[Job], Result], jobs: Sequence[Job]) -> None:
        self._work = work
        self._jobs = jobs
        self._todo = deque(range(len(jobs)))
        self._results: dict[int, Result] = {}
        self._failures: dict[int, BaseException] = {}
        #: Locks of the helpers that have begun; each is held until its helper has ended.
        self._begun: list[Any] = []

    def call_helpers(self, count: int) -> None:
        """Start threads, as far as possible. Nobody waits for them to begin."""
        with suppress(RuntimeError, MemoryError):
            for _ in range(count):
                # Not a threading.Thread, whose start() waits for the thread, and takes a lock that a handler can meet.
                start_new_thread(self._help, (allocate_lock(), threading.gettrace(), threading.getprofile()))

    def take_part(self) -> None:
        """Do jobs until there are no more."""
        while True:
            try:
                number = self._todo.popleft()
            except IndexError:
                return
            try:
                self._results[number] = self._work(self._jobs[number])
            except Exception as error:  # noqa: BLE001 -- `results` raises it
                self._failures[number] = error
                self._todo.clear()

    def _help(self, lock: Any, trace: Any, profile: Any) -> None:
        with lock:
            # First of all: who has begun is waited for, and who has not finds no job later.
            self._begun.append(lock)
            try:
                sys.settrace(trace)
                sys.setprofile(profile)
                self.take_part()
            except BaseException as error:  # noqa: BLE001 -- `results` raises it
                self._failures[-1] = error
                self._todo.clear()

    def wait_for_helpers(self) -> None:
        """Leave no job to be begun, and wait for those that have been. A second interrupt ends the waiting."""
        self._todo.clear()
        for lock in self._begun:
            lock.acquire()
        # A thread that ends has this object for an instant longer; the caller may want to free or resize its memory.
        self._jobs = ()
        del self._work

    def results(self) -> list[Result]:
        """Return the results in the order of the jobs, or raise the failure of the first that failed."""
        if self._failures:
            try:
                raise self._failures[min(self._failures)]
            finally:
                # Or the error would hold this object, by its traceback, and this object the error.
                self._failures.clear()
        return [self._results.pop(number) for number in range(len(self._results))]


# -- in the background -----------------------------------------------------------------------------------------


class Task(Generic[Result]):
    """Work that a thread of its own does, or who waits for it if that thread does not begin.

    The interpreter waits for the thread when it exits.

    Args:
        work: called once; it is called again if an interrupt ended the call in a thread that waited.

    Attributes:
        ended: whether there is a result or an error. The work, and all that it holds, is then no longer held here.
    """

    def __init__(self, work: Callable[[], Result]) -> None:
        #: Taken by whoever does it.
        self._work = [work]
        self._result: list[Result] = []
        self._error: BaseException | None = None
        self.ended = False
        #: Held until the end. Nobody holds it afterwards for longer than an instant, and then `ended` is true. The
        #: locks inside of threading's events and conditions could be held by the call that a handler interrupts.
        self._end = allocate_lock()
        self._end.acquire()

    def begin(self, name: str) -> None:
        """Start the thread.

        Raises:
            RuntimeError: the system has no more threads, or the interpreter is exiting.
            MemoryError: there is no memory for one.
        """
        _Thread(target=self._do, args=(BaseException,), name=name, daemon=False).start()

    def _do(self, caught: type[BaseException]) -> None:
        try:
            work = self._work.pop()
        except IndexError:
            return
        try:
            self._result.append(work())
        except caught as error:
            # Without the frame of this function, which would hold this object and so the error.
            found = error.__traceback__
            self._error = error.with_traceback(None if found is None else found.tb_next)
        except BaseException:
            # The thread that waits was interrupted; the work is still to be done.
            self._work.append(work)
            raise
        del work
        self.ended = True
        self._end.release()

    def do(self) -> None:
        """Do the work in this thread, unless another has begun it."""
        self._do(Exception)

    def wait(self) -> bool:
        """Wait for a moment, do the work if no thread has begun it by then, and return whether it has ended."""
        if not self.ended:
            if self._end.acquire(timeout=PATIENCE):
                self._end.release()
            else:
                self.do()
        return self.ended

    def result(self) -> Result:
        """Wait until it has ended, and return what the work returned, or raise what it raised."""
        while not self.wait():
            pass
        try:
            if self._error is not None:
                raise self._error
            return self._result[0]
        finally:
            # Or the error would hold this object, by its traceback, and this object the error.
            del self


class _Begun(threading.Event):
    """What a new thread sets when it begins, and `threading.Thread.start` waits for; here not for ever."""

    def wait(self, timeout: float | None = None) -> bool:
        return super().wait(PATIENCE if timeout is None else timeout)


class _Thread(threading.Thread):
    """A thread whose ``start`` returns even if the thread dies before it begins."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._started = _Begun()
