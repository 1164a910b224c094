"""Asynchronous saves: one at a time, in the order of the calls, by a thread or a forked process.

A failure is logged as soon as it happens, since nobody waits for it, and raised by the next
asynchronous save.
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

from ckptload.errors import BackgroundSaveError, CheckpointError

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger("ckptload")

#: Scripts look for MindSpore's threads by this name to learn whether a save is still running.
THREAD_NAME: Final = "asyn_save_ckpt"

_SAVED: Final = b"saved"
#: A pipe takes this much in one piece everywhere (POSIX: at least 512 bytes).
_LONGEST_REPORT: Final = 512


class _Running(Protocol):
    """A save that was started; `path` is its target."""

    path: str

    def wait(self) -> str | None:
        """Wait for its end; return what went wrong, or None."""


class Saves:
    """The asynchronous saves of this process."""

    def __init__(self) -> None:
        self._forget()
        atexit.register(self.wait)
        if hasattr(os, "register_at_fork"):
            # A forked child has none of its parent's threads, and must not take its children's reports.
            os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._running: _Running | None = None
        self._failure: BackgroundSaveError | None = None

    def wait(self) -> None:
        """Return when every save that was started has ended, well or badly."""
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
        """Start a save when the one before has ended.

        Args:
            path: its target, for messages.
            prepare: called before this returns; takes what it needs of the caller's data and returns
                the function that saves.
            process: whether a forked process does it, where the system can fork; a thread otherwise.

        Raises:
            BackgroundSaveError: the save before failed; this one is not started then.
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
                # No more threads or processes can be started, as at the interpreter's end.
                _log.warning("%s is saved at once: no asynchronous save can be started (%s)", path, error)
                work()


class _Thread:
    """A save in a thread, for whose end the interpreter waits."""

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
    """A save in a forked process, which has the memory as it was at the fork and reports through a pipe."""

    def __init__(self, path: str, work: Callable[[], None]) -> None:
        self.path = path
        self._report, report = os.pipe()
        try:
            with warnings.catch_warnings():
                # Python warns of forks beside threads. The child takes no lock that they could hold: it
                # encodes, writes and ends.
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
        # One report, written in one piece. Its end is not waited for: a process that the caller forked at
        # the wrong moment may keep the pipe open.
        report = os.read(self._report, _LONGEST_REPORT)
        os.close(self._report)
        status = None
        with suppress(ChildProcessError):
            # The caller may collect all children itself.
            status = os.waitpid(self._child, 0)[1]
        if report == _SAVED:
            return None
        if report:
            return report.decode(errors="replace")
        end = "" if status is None else f", status {os.waitstatus_to_exitcode(status)}"
        problem = f"the process that saved it ended early{end}"
        _log.error("%s was not saved: %s", self.path, problem)
        return problem


def _in_child(work: Callable[[], None], path: str, report: int) -> NoReturn:
    """Save, report and end, whatever happens: the child must never go on as its parent."""
    status = 1
    try:
        # An interrupt from the terminal goes to the whole group; the parent decides what it means.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        problem = _attempt(work, path)
        os.write(report, _SAVED if problem is None else problem.encode(errors="replace")[:_LONGEST_REPORT])
        status = 0
    finally:
        os._exit(status)


def _attempt(work: Callable[[], None], path: str) -> str | None:
    """Do the work; return None, or what went wrong after logging it."""
    try:
        work()
    except CheckpointError as error:
        problem = error.problem
        _log.exception("%s was not saved", path)
    except Exception as error:  # noqa: BLE001 -- nobody above could catch it, and a lost save must be told
        problem = f"{type(error).__name__}: {error}"
        _log.exception("%s was not saved", path)
    else:
        return None
    return problem
