"""Asynchronous saves: one at a time, in the order of the calls, in a thread or a forked process.

A failure is logged when it happens, because nobody may be waiting for the save, and the next asynchronous
save raises it (docs/saving.md, "Saving in the background").
"""

from __future__ import annotations

import atexit
import logging
import os
import signal
import threading
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NoReturn, Protocol

from ckptload import shown
from ckptload.errors import BackgroundSaveError, CheckpointError

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger("ckptload")

#: MindSpore's name for these threads; scripts look for it to find out whether a save is still running
#: (MindSpore 2.10.0, train/serialization.py:834, 2590).
THREAD_NAME: Final = "asyn_save_ckpt"

_SAVED: Final = b"saved"
#: A write of up to this many bytes to a pipe is atomic on every system (POSIX: PIPE_BUF is at least 512).
_LONGEST_REPORT: Final = 512


class _Running(Protocol):
    """A save that has been started; `path` is its target."""

    path: str

    def wait(self) -> str | None:
        """Wait until it ends; return the problem in words, or None."""


class Saves:
    """The asynchronous saves of this process."""

    def __init__(self) -> None:
        self._forget()
        atexit.register(self.wait)
        if hasattr(os, "register_at_fork"):
            # A forked child does not have its parent's threads, and must not read the reports of its parent's saves.
            os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._running: _Running | None = None
        self._failure: BackgroundSaveError | None = None

    def wait(self) -> None:
        """Wait until every save that was started has ended, successfully or not."""
        with self._lock:
            self._wait()

    def _wait(self) -> None:
        running, self._running = self._running, None
        if running is None:
            return
        problem = running.wait()
        if problem is not None:
            self._failure = BackgroundSaveError(
                f"an earlier asynchronous save failed: {problem}",
                path=running.path,
                hint="nothing was saved by this call; repeat it once the cause is fixed",
            )

    def start(self, path: str, prepare: Callable[[], Callable[[], None]], *, process: bool) -> None:
        """Start a save as soon as the previous one has ended.

        Args:
            path: its target, for messages.
            prepare: called before this returns; takes what it needs from the caller's data and returns
                the function that saves.
            process: whether to save in a forked process; a thread is used if the system cannot fork.

        Raises:
            BackgroundSaveError: the previous save failed; this one is not started.
        """
        with self._lock:
            self._wait()
            failure, self._failure = self._failure, None
            if failure is not None:
                raise failure
            work = prepare()
            try:
                self._running = (_Process if process and hasattr(os, "fork") else _Thread)(path, work)
            except (RuntimeError, OSError) as error:
                # No more threads or processes can be started, for example while the interpreter exits.
                _log.warning(
                    "%s is saved synchronously: no asynchronous save can be started (%s)", shown.label(path), error
                )
                work()


class _Thread:
    """A save in a thread; the interpreter waits for it when it exits."""

    def __init__(self, path: str, work: Callable[[], None]) -> None:
        self.path = path
        self._work = work
        self._problem: str | None = None
        self._thread = threading.Thread(target=self._run, name=THREAD_NAME, daemon=False)
        self._thread.start()

    def _run(self) -> None:
        self._problem = _attempt(self._work, self.path)

    def wait(self) -> str | None:
        self._thread.join()
        return self._problem


class _Process:
    """A save in a forked process, which keeps the memory as it was at the fork and reports through a pipe."""

    def __init__(self, path: str, work: Callable[[], None]) -> None:
        self.path = path
        self._report, report = os.pipe()
        try:
            with warnings.catch_warnings():
                # Python warns of forks in a process with threads. The child takes no lock that a thread could
                # hold: it encodes, writes and exits.
                warnings.simplefilter("ignore", DeprecationWarning)
                self._child = os.fork()
        except OSError:
            os.close(self._report)
            os.close(report)
            raise
        if not self._child:
            _in_child(work, path, report)
        os.close(report)

    def wait(self) -> str | None:
        # The report is written in one piece, so one read gets all of it. Do not wait for the end of the pipe:
        # another process that the caller forked meanwhile may keep it open.
        report = os.read(self._report, _LONGEST_REPORT)
        os.close(self._report)
        status = None
        with suppress(ChildProcessError):
            # The caller may have waited for all its children.
            status = os.waitpid(self._child, 0)[1]
        if report == _SAVED:
            return None
        if report:
            return report.decode(errors="replace")
        end = "" if status is None else f", status {os.waitstatus_to_exitcode(status)}"
        problem = f"the process that saved it ended early{end}"
        _log.error("%s was not saved: %s", shown.label(self.path), problem)
        return problem


def _in_child(work: Callable[[], None], path: str, report: int) -> NoReturn:
    """Save, report and exit, whatever happens: the child must never continue the parent's program."""
    status = 1
    try:
        # Ctrl-C goes to the whole process group; the parent decides what to do.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        problem = _attempt(work, path)
        os.write(report, _SAVED if problem is None else problem.encode(errors="replace")[:_LONGEST_REPORT])
        status = 0
    finally:
        os._exit(status)


def _attempt(work: Callable[[], None], path: str) -> str | None:
    """Do the work; log a failure and return it in words, or return None."""
    try:
        work()
    except CheckpointError as error:
        problem = error.problem
        _log.exception("%s was not saved", shown.label(path))
    except Exception as error:  # noqa: BLE001 -- nothing above could catch it, and a failed save must be reported
        problem = f"{type(error).__name__}: {shown.foreign(error)}"
        _log.exception("%s was not saved", shown.label(path))
    else:
        return None
    return problem
