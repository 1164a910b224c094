"""A progress bar, only on a terminal and only for work that takes longer than a second."""

from __future__ import annotations

import sys
import time
from threading import Lock, Timer
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from types import TracebackType

    from ckptload.cli.terminal import Terminal

_PATIENCE: Final = 1.0


class Progress:
    """A count of bytes, shown as a bar on stderr after a second and removed at the end.

    Args:
        terminal: its `quiet` hides the bar.
        what: the work, shown before the bar.
        total: number of bytes of a full bar, or None if it is not known.
    """

    def __init__(self, terminal: Terminal, what: str, total: int | None) -> None:
        self._what = what
        self._total = total
        self._done = 0
        self._begun = time.monotonic()
        self._wanted = not terminal.quiet and sys.stderr.isatty()
        self._bar: Any = None
        self._task: Any = None

    def advance(self, count: int) -> None:
        """Add a number of bytes that are done."""
        self.at(self._done + count)

    def at(self, done: int, total: int | None = None) -> None:
        """Set the number of bytes that are done."""
        self._done = done
        self._total = self._total if total is None else total
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=self._total)
        elif self._wanted and time.monotonic() - self._begun > _PATIENCE:
            self._draw()

    def _draw(self) -> None:
        # Importing rich takes a tenth of a second, which fast commands do not need to spend.
        from rich.console import Console  # noqa: PLC0415
        from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn  # noqa: PLC0415
        from rich.progress import Progress as Bar  # noqa: PLC0415

        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task(self._what, total=self._total, completed=self._done)
        self._bar.start()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()


class Waiting(Progress):
    """The same for work of unknown length: after a second, a moving bar appears."""

    def __init__(self, terminal: Terminal, what: str) -> None:
        super().__init__(terminal, what, None)
        self._timer = Timer(_PATIENCE, self._draw_late)
        self._timer.daemon = True
        self._lock = Lock()

    def _draw_late(self) -> None:
        with self._lock:
            if self._wanted:
                self._draw()

    def __enter__(self) -> Progress:
        if self._wanted:
            self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        with self._lock:
            self._wanted = False
        super().__exit__(kind, error, trace)
