"""Asynchronous saves: one at a time, in the order of the calls, in a thread or a forked process.

A failure is logged when it happens, because nobody may be waiting for the save, and the next asynchronous
save raises it (docs/saving.md, "Saving in the background").

A signal handler may save while the thread that it interrupts is anywhere in here. So there are no locks: calls are
in one list, whose methods are single steps, and a handler does not wait for the call that it has interrupted.
"""

from __future__ import annotations

import atexit
import logging
import os
import signal
import sys
import threading
import time
import traceback
import warnings
from contextlib import contextmanager, suppress
from mmap import mmap
from typing import TYPE_CHECKING, Any, Final, NoReturn

from ckptload import shown
from ckptload.errors import BackgroundSaveError, CheckpointError
from ckptload.threads import Task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Work = Callable[[], None]

_log = logging.getLogger("ckptload")

#: MindSpore's name for these threads; scripts look for it to find out whether a save is still running
#: (MindSpore 2.10.0, train/serialization.py:834, 2590).
THREAD_NAME: Final = "asyn_save_ckpt"

#: The exit status of a process that an interrupt has ended, as shells report it.
_INTERRUPTED: Final = 130
#: Bytes of a report: its kind, and the reason of a failure in UTF-8, filled up with zeros.
_REPORT: Final = 512
_SAVED: Final = 1
_FAILED: Final = 2
#: Seconds between two looks at a process.
_SHORT: Final = 0.001
_LONG: Final = 0.05


class _Save:
    """An asynchronous save.

    Attributes:
        path: its target.
        problem: why it has failed, in words, or None.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.problem: str | None = None
        #: What saves, until it has done so or failed: it holds a copy of the values, and the key.
        self._work: list[Work] = []

    @property
    def begun(self) -> bool:
        """Tell whether it can be waited for."""
        raise NotImplementedError

    def begin(self, work: Work) -> None:
        """Start it, or raise what the system says."""
        raise NotImplementedError

    def wait(self) -> None:
        """Wait until it has ended."""
        raise NotImplementedError

    def leave(self) -> str:
        """Say what becomes of it if nobody waits any more."""
        raise NotImplementedError

    def _attempt(self) -> None:
        """Do the work; note a failure and log it."""
        try:
            self._work[0]()
        except Exception as error:  # noqa: BLE001 -- nothing above could catch it, and a failed save must be reported
            problem = (
                error.problem
                if isinstance(error, CheckpointError)
                else f"{type(error).__name__}: {shown.foreign(error)}"
            )
            # Who keeps the record of the log keeps neither the values nor the key.
            self._work.clear()
            _clear_frames(error)
            # Before it is logged: see `_Thread.wait`.
            self.problem = problem
            _log.exception("%s was not saved", shown.label(self.path))
        else:
            self._work.clear()


class _Call:
    """A call that saves or waits.

    Attributes:
        path: its target, or None if it only waits.
        thread: the thread that calls.
        save: the asynchronous save that it begins, or None.
        ended: whether it began none.
    """

    def __init__(self, path: str | None) -> None:
        self.path = path
        self.thread = threading.get_ident()
        self.save: _Save | None = None
        self.ended = False

    @property
    def begun(self) -> bool:
        """Tell whether it has begun an asynchronous save."""
        return self.save is not None and self.save.begun

    def wait(self) -> None:
        """Wait for its save, or until it is known that there is none."""
        while not self.ended:
            if self.save is not None and self.save.begun:
                self.save.wait()
                return
            # It is in another thread, where it waits for its turn or copies its values.
            time.sleep(_SHORT)


class Saves:
    """The asynchronous saves of this process."""

    def __init__(self) -> None:
        self._forget()
        #: Whether the interpreter no longer waits.
        self._over = False
        # Before the interpreter waits for threads: it forgets those for which its waiting is interrupted. This is
        # private, but a process of `multiprocessing` calls nothing else at its end.
        register = getattr(threading, "_register_atexit", atexit.register)
        with suppress(RuntimeError):
            register(self.finish)
        atexit.register(self._end)
        if hasattr(os, "register_at_fork"):
            # A forked child does not have its parent's threads, and must not wait for its parent's saves.
            os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        #: In the order in which they were made. An asynchronous save is here until it has ended.
        self._calls: list[_Call] = []
        self._failure: BackgroundSaveError | None = None

    def wait(self, path: str | None = None) -> None:
        """Wait until every save that was started has ended, successfully or not.

        Args:
            path: what is going to be saved. In a signal handler that has interrupted another call, only saves to
                this path are waited for, so that they do not come later.
        """
        with self._turn(path):
            pass

    def start(self, path: str, prepare: Callable[[], Work], *, process: bool) -> None:
        """Start a save as soon as the previous one has ended; in a signal handler, see `wait`.

        Args:
            path: its target, for messages.
            prepare: called before this returns; takes what it needs from the caller's data and returns
                the function that saves.
            process: whether to save in a forked process; a thread is used if the system cannot fork.

        Raises:
            BackgroundSaveError: the previous save failed; this one is not started.
        """
        with self._turn(path) as call:
            failure, self._failure = self._failure, None
            if failure is not None:
                raise failure
            work = prepare()
            # A handler may have started a save meanwhile.
            self._wait_before(call)
            call.save = (_Process if process and hasattr(os, "fork") else _Thread)(path)
            try:
                self._check_time()
                call.save.begin(work)
            except (RuntimeError, OSError, MemoryError) as error:
                # No more threads or processes can be started, for example while the interpreter exits.
                call.save = None
                _log.warning(
                    "%s is saved synchronously: no asynchronous save can be started (%s)", shown.label(path), error
                )
                work()

    def finish(self) -> None:
        """Wait until every save that was started has ended; the second interrupt gives them up and ends the process.

        A call of another thread that has not started its save is not waited for.
        """
        warned = False
        while True:
            try:
                for call in self._begun():
                    call.wait()
                    self._collect(call)
                if not self._begun():
                    return
            except KeyboardInterrupt:  # noqa: PERF203 -- it waits anyway
                saves = [call.save for call in self._begun() if call.save is not None]
                if warned:
                    _give_up(saves)
                for save in saves:
                    _log.warning("%s is still being saved; another interrupt gives it up", shown.label(save.path))
                warned = True

    def _end(self) -> None:
        self.finish()
        self._over = True

    def _check_time(self) -> None:
        """Raise RuntimeError, as threads do, if the interpreter has waited for all saves and will not do so again."""
        if self._over:
            raise RuntimeError("the interpreter is exiting")

    def _begun(self) -> list[_Call]:
        return [call for call in self._calls.copy() if call.begun]

    @contextmanager
    def _turn(self, path: str | None) -> Iterator[_Call]:
        """Wait for the calls before this one; the next ones wait until the block ends, and for what it has begun."""
        call = _Call(path)
        try:
            self._calls.append(call)
            self._wait_before(call)
            yield call
        finally:
            if not call.begun:
                call.ended = True
                with suppress(ValueError):
                    self._calls.remove(call)

    def _wait_before(self, call: _Call) -> None:
        while (earlier := self._earlier(call)) is not None:
            earlier.wait()
            self._collect(earlier)

    def _earlier(self, call: _Call) -> _Call | None:
        """Return a call to wait for, or None."""
        calls = self._calls.copy()
        place = calls.index(call)
        # By a signal handler, if another call of this thread is not over.
        interrupting = any(other.thread == call.thread and not other.begun for other in calls if other is not call)
        for number, other in enumerate(calls):
            if other.begun:
                if not interrupting or call.path in (None, other.path):
                    return other
            elif number < place and not interrupting:
                return other
        return None

    def _collect(self, call: _Call) -> None:
        """Forget a call that has ended, but not its failure."""
        try:
            self._calls.remove(call)
        except ValueError:
            return  # Another thread, or a signal handler, was faster.
        problem = None if call.save is None else call.save.problem
        if problem is not None:
            self._failure = BackgroundSaveError(
                f"an earlier asynchronous save failed: {problem}",
                path=call.path,
                hint="nothing was saved by this call; repeat it once the cause is fixed",
            )


def _give_up(saves: list[_Save]) -> NoReturn:
    """Log which files are not saved, and end the process with the status of one that was interrupted."""
    for save in saves:
        _log.error("%s was not saved: %s", shown.label(save.path), save.leave())
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):
            stream.flush()
    # After an exception here, the status would be 0.
    os._exit(_INTERRUPTED)


class _Thread(_Save):
    """A save in a thread."""

    _task: Task[None] | None = None

    @property
    def begun(self) -> bool:
        return self._task is not None

    def begin(self, work: Work) -> None:
        self._work.append(work)
        self._task = Task(self._attempt)
        self._task.begin(THREAD_NAME)

    def wait(self) -> None:
        while self._task is not None and not self._task.wait():
            if self.problem is not None:
                # It is only being logged. If this is a signal handler, the lock for that may be held by what it has
                # interrupted.
                return
        if self._work:
            self._work.clear()
            self.problem = "the thread that saved it ended early"
            _log.error("%s was not saved: %s", shown.label(self.path), self.problem)

    def leave(self) -> str:
        return "the process was interrupted"


class _Process(_Save):
    """A save in a forked process, which keeps the memory as it was at the fork and reports through shared memory.

    Looking at the report changes nothing, so it does not matter who looks: a signal handler may wait for the save while
    the call that it has interrupted does.
    """

    _child = 0
    _status: int | None = None

    @property
    def begun(self) -> bool:
        return self._child != 0

    def begin(self, work: Work) -> None:
        self._report = mmap(-1, _REPORT)
        # No handler runs in the child before it is ready.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            with warnings.catch_warnings():
                # Python warns of forks in a process with threads. The child takes no lock that a thread could
                # hold: it encodes, writes and exits.
                warnings.simplefilter("ignore", DeprecationWarning)
                self._child = os.fork()
            if not self._child:
                self._in_child(work, mask)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def _in_child(self, work: Work, mask: set[Any]) -> NoReturn:
        """Save, report and exit, whatever happens: the child must never continue the parent's program."""
        status = 1
        try:
            # Ctrl-C goes to the whole process group; the parent decides what to do.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            self._work.append(work)
            self._attempt()
            reason = (self.problem or "").encode(errors="replace")[: _REPORT - 1]
            self._report[1 : 1 + len(reason)] = reason
            # Last of all: when the kind is there, everything is.
            self._report[0] = _SAVED if self.problem is None else _FAILED
            status = 0
        finally:
            os._exit(status)

    def wait(self) -> None:
        pause = _SHORT
        while not self._report[0] and not self._is_over(os.WNOHANG):
            time.sleep(pause)
            pause = min(2 * pause, _LONG)
        # It ends at once after its report. The end is waited for, so that the system forgets the process.
        self._is_over(0)
        kind = self._report[0]
        if kind == _FAILED:
            self.problem = self._report[1:].rstrip(b"\0").decode(errors="replace")
        elif kind != _SAVED and self.problem is None:
            end = "" if self._status is None else f", status {os.waitstatus_to_exitcode(self._status)}"
            self.problem = f"the process that saved it ended early{end}"
            _log.error("%s was not saved: %s", shown.label(self.path), self.problem)

    def _is_over(self, options: int) -> bool:
        if self._status is not None:
            return True
        try:
            child, status = os.waitpid(self._child, options)
        except ChildProcessError:
            # The caller, who may wait for all its children, or a signal handler has collected it.
            return True
        if child:
            self._status = status
        return child != 0

    def leave(self) -> str:
        return f"the process was interrupted; its child {self._child} may still save it"


def _clear_frames(error: BaseException) -> None:
    """Clear the variables of the functions that an error and its causes have left."""
    errors: list[BaseException | None] = [error]
    seen = set()
    while errors:
        found = errors.pop()
        if found is not None and id(found) not in seen:
            seen.add(id(found))
            traceback.clear_frames(found.__traceback__)
            errors += [found.__cause__, found.__context__]
