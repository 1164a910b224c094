"""The command `ckptload`, which is also ``python -m ckptload``."""

from __future__ import annotations

import signal
import sys
import threading
from importlib.util import find_spec
from typing import TYPE_CHECKING, NoReturn

from ckptload.cli import text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Without the extra ``cli`` (click and rich) it only lists files as plain text.

    Args:
        arguments: the arguments after the command's name; by default those of the process.

    Returns:
        The exit code (docs/cli.md, "Exit codes", "diff" and "On terminals and in pipes").
    """
    text.prepare_streams()
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        # Remove partial files, as after Ctrl-C.
        signal.signal(signal.SIGTERM, _stop)
    try:
        code = _run(list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of our output, such as head, is gone.
        text.abandon(sys.stdout, sys.stderr)
        return text.CUT_OFF
    except KeyboardInterrupt:
        return text.INTERRUPTED
    return code


def _run(arguments: Sequence[str]) -> int:
    if find_spec("click") is None or find_spec("rich") is None:
        from ckptload.cli import plain  # noqa: PLC0415 -- only one of the two programs is needed

        return plain.run(arguments)
    from ckptload.cli import app  # noqa: PLC0415

    return app.run(arguments)


def _stop(number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
