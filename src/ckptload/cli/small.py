"""Small files that options name: keys and name maps, which may come through a pipe."""

from __future__ import annotations

import os
import stat
from typing import Final

from ckptload import shown
from ckptload.errors import ArgumentError

#: Opening waits neither for the writer of a pipe nor for a modem, and takes over no terminal.
_AT_ONCE: Final = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
#: Bytes to read at a time.
_PIECE: Final = 1 << 20


def read_small(path: str, most: int, what: str, *, at: str | None = None) -> bytes:
    """Return the content of a file, or the first `most` bytes and one more if it is longer.

    A pipe is read to its end, as ``<(command)`` in a shell and ``/dev/stdin`` need it, but only while it has a writer.

    Args:
        path: the path; a wrong one may lead to a file of any size.
        most: bytes that are enough.
        what: what to call it in messages, such as ``the name map``.
        at: the path that messages show below, if `what` does not have it.

    Raises:
        ArgumentError: it cannot be read, or is a device or a pipe that nobody writes to.
    """
    try:
        with open(path, "rb", buffering=0, opener=open_at_once) as file:
            number = file.fileno()
            mode = os.fstat(number).st_mode
            if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
                raise ArgumentError(f"{what} cannot be read: this is a device", path=at, hint="name a file or a pipe")
            if stat.S_ISFIFO(mode) and hasattr(os, "set_blocking"):
                os.set_blocking(number, True)
            content = _first_bytes(number, most + 1)
    except (OSError, ValueError) as error:
        if isinstance(error, ArgumentError):
            raise
        reason = error.strerror if isinstance(error, OSError) else "this is not a path"
        raise ArgumentError(f"{what} cannot be read: {reason}", path=at) from shown.cause(error)
    if stat.S_ISFIFO(mode) and not content:
        raise ArgumentError(f"{what} cannot be read: this is a pipe that nobody writes to", path=at)
    return content


def open_at_once(path: str, flags: int) -> int:
    """Open without waiting, as an `opener`."""
    return os.open(path, flags | _AT_ONCE)


def _first_bytes(number: int, most: int) -> bytes:
    parts, left = [], most
    while left and (part := os.read(number, min(left, _PIECE))):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)
