"""The command as a person or a script meets it: in a process of its own, in a pipe or on a terminal."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import ckptload

FIXTURES = Path(__file__).parent / "fixtures"
#: Keys of the encrypted fixtures; they protect nothing.
KEY = "0123456789abcdef"
LONG_KEY = "0123456789abcdef0123456789ABCDEF"
PROGRAM = (sys.executable, "-m", "ckptload")
#: Long enough for a machine that is busy with other things.
PATIENCE = 120


class Result(NamedTuple):
    """What a run gave."""

    code: int
    out: str
    err: str


def check_schema(found: dict[str, Any], command: str) -> None:
    """Compare what a command printed as JSON with its schema."""
    jsonschema = pytest.importorskip("jsonschema")
    path = Path(ckptload.__file__).parent / "cli" / "schemas" / f"{command}.schema.json"
    jsonschema.validate(found, json.loads(path.read_text("utf-8")), cls=jsonschema.Draft202012Validator)


def environment(**changes: str | None) -> dict[str, str]:
    """Return this process' environment without what would change the output, and with some changes."""
    inherited = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "COLUMNS", "TERM"}}
    wanted: dict[str, str | None] = {**inherited, "PYTHONUTF8": "0", "TERM": "xterm-256color", **changes}
    return {name: value for name, value in wanted.items() if value is not None}


def run(*arguments: object, **changes: str | None) -> Result:
    """Run the command with its output in pipes; keywords change the environment."""
    done = subprocess.run(
        [*PROGRAM, *map(str, arguments)],
        check=False,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        env=environment(**changes),
        timeout=PATIENCE,
    )
    return Result(done.returncode, done.stdout.decode(), done.stderr.decode())


def on_terminal(
    *arguments: object, columns: int = 100, typed: str = "", interrupt_after: str | None = None, **changes: str | None
) -> Result:
    """Run the command on a pseudo-terminal of its own; `out` has what a person would see, `err` nothing.

    Args:
        arguments: of the command.
        columns: width of the terminal.
        typed: what is typed once something was printed.
        interrupt_after: Ctrl-C is pressed once this was printed.
        changes: to the environment.
    """
    import fcntl
    import pty
    import struct
    import termios

    child, terminal = pty.fork()
    if child == 0:
        with contextlib.suppress(OSError):
            os.execve(sys.executable, [*PROGRAM, *map(str, arguments)], environment(**changes))  # noqa: S606 -- ours
        os._exit(127)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    shown = b""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        ready, _, _ = select.select([terminal], [], [], 0.1)
        if not ready:
            continue
        try:
            piece = os.read(terminal, 65536)
        except OSError:
            # Linux says so when the last process on a terminal has ended.
            break
        if not piece:
            break
        shown += piece
        if typed and b"Key: " in shown:
            os.write(terminal, typed.encode())
            typed = ""
        if interrupt_after is not None and interrupt_after.encode() in shown:
            os.write(terminal, b"\x03")
            interrupt_after = None
    os.close(terminal)
    _, status = os.waitpid(child, 0)
    return Result(os.waitstatus_to_exitcode(status), shown.decode(errors="replace").replace("\r\n", "\n"), "")
