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

    Without the extra ``cli`` (click and rich) it lists files as plain text and nothing else.

    Args:
        arguments: what stands behind the command's name; those of the process by default.

    Returns:
        The exit code; docs/cli.md has the table.
    """
    text.prepare_streams()
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        # What was written half is removed, as after Ctrl-C.
        signal.signal(signal.SIGTERM, _stop)
    try:
        code = _run(list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()
    except BrokenPipeError:
        # What reads our output, such as head, has seen enough.
        text.abandon(sys.stdout, sys.stderr)
        return text.CUT_OFF
    except KeyboardInterrupt:
        return text.INTERRUPTED
    return code


def _run(arguments: Sequence[str]) -> int:
    if find_spec("click") is None or find_spec("rich") is None:
        from ckptload.cli import plain  # noqa: PLC0415 -- one of the two programs is needed

        return plain.run(arguments)
    from ckptload.cli import app  # noqa: PLC0415

    return app.run(arguments)


def _stop(number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
