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
import sys
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, NoReturn

from ckptload import shown
from ckptload.errors import BackgroundSaveError
from ckptload.writing.background_save import ProcessSave, ThreadSave

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ckptload.writing.background_save import Save, Work

_log = logging.getLogger("ckptload")

#: The exit status of a process that an interrupt has ended, as shells report it.
_INTERRUPTED: Final = 130
#: Seconds between two looks at another call.
_PAUSE: Final = 0.001


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
        self.save: Save | None = None
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
            time.sleep(_PAUSE)


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
            call.save = (ProcessSave if process and hasattr(os, "fork") else ThreadSave)(path)
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


def _give_up(saves: list[Save]) -> NoReturn:
    """Log which files are not saved, and end the process with the status of one that was interrupted."""
    for save in saves:
        _log.error("%s was not saved: %s", shown.label(save.path), save.leave())
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):
            stream.flush()
    # After an exception here, the status would be 0.
    os._exit(_INTERRUPTED)
