"""One asynchronous save: in a thread, or in a forked process.

A signal handler may wait for it while the thread that it interrupts does, so there are no locks here either
(see `background`).
"""

from __future__ import annotations

import logging
import os
import signal
import time
import traceback
import warnings
from mmap import mmap
from typing import TYPE_CHECKING, Any, Final, NoReturn

from ckptload import shown
from ckptload.errors import CheckpointError
from ckptload.threads import Task

if TYPE_CHECKING:
    from collections.abc import Callable

    Work = Callable[[], None]

_log = logging.getLogger("ckptload")

#: MindSpore's name for these threads; scripts look for it to find out whether a save is still running
#: (MindSpore 2.10.0, train/serialization.py:834, 2590).
THREAD_NAME: Final = "asyn_save_ckpt"
#: Bytes of a report: its kind, and the reason of a failure in UTF-8, filled up with zeros.
_REPORT: Final = 512
_SAVED: Final = 1
_FAILED: Final = 2
#: Seconds between two looks at a process.
_SHORT: Final = 0.001
_LONG: Final = 0.05


class Save:
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
            # Before it is logged: see `ThreadSave.wait`.
            self.problem = problem
            _log.exception("%s was not saved", shown.label(self.path))
        else:
            self._work.clear()


class ThreadSave(Save):
    """A save in a thread."""

    _task: Task[None] | None = None

    @property
    def begun(self) -> bool:
        """Tell whether the thread was made."""
        return self._task is not None

    def begin(self, work: Work) -> None:
        """Start the thread, or raise what the system says."""
        self._work.append(work)
        self._task = Task(self._attempt)
        self._task.begin(THREAD_NAME)

    def wait(self) -> None:
        """Wait until it has ended, or has failed and is logging that."""
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
        """Say that it ends with the process."""
        return "the process was interrupted"


class ProcessSave(Save):
    """A save in a forked process, which keeps the memory as it was at the fork and reports through shared memory.

    Looking at the report changes nothing, so it does not matter who looks: a signal handler may wait for the save while
    the call that it has interrupted does.
    """

    _child = 0
    _status: int | None = None

    @property
    def begun(self) -> bool:
        """Tell whether the process was forked."""
        return self._child != 0

    def begin(self, work: Work) -> None:
        """Fork the process, or raise what the system says."""
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
        """Wait for the report and the end of the process."""
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
        """Say that it may go on."""
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
