"""Standard input and standard output in place of files: ``-``."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
import weakref
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from ckptload import shown
from ckptload.errors import ArgumentError, ReadError, WriteError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: The word of the command line for both.
WORD: Final = "-"
#: What messages and output call them.
INPUT: Final = "standard input"
OUTPUT: Final = "standard output"
#: Bytes to copy at a time.
_PIECE: Final = 1 << 20


def place(path: str) -> str:
    """Return how a file of the command line is shown: a path, a URL without its secrets, or standard input."""
    return INPUT if path == WORD else shown.place(path)


def check_is_file(path: str, role: str) -> None:
    """Refuse standard input or output where only a file or a folder will do.

    Args:
        path: a word of the command line.
        role: what it is to the command, such as ``SRC``.

    Raises:
        ArgumentError: it is ``-``.
    """
    if path == WORD:
        raise ArgumentError(f"{role} cannot be {WORD}", hint="give a path")


def check_once(paths: Iterable[str]) -> None:
    """Refuse standard input as several files.

    Raises:
        ArgumentError: it is named more than once.
    """
    if list(paths).count(WORD) > 1:
        raise ArgumentError("standard input can be read only once", hint="name a file in place of the other -")


class Input:
    """What comes through standard input, as a file object that can be read from any place.

    A file behind it is read where it is. Anything else is copied first, into a temporary file without a name, which
    the system removes when the process ends.
    """

    name: Final = INPUT

    def __init__(self) -> None:
        try:
            number = sys.stdin.fileno()
            if os.isatty(number):
                raise ArgumentError(
                    "standard input is a terminal", hint="send a checkpoint through a pipe, or name its file"
                )
            if stat.S_ISREG(os.fstat(number).st_mode):
                self._file: BinaryIO = open(number, "rb", closefd=False)  # noqa: SIM115 -- the reader closes nothing
            else:
                self._file = _copied(number)
        except (OSError, ValueError, AttributeError) as error:
            if isinstance(error, (ArgumentError, ReadError)):
                raise
            raise ReadError(f"standard input cannot be read: {shown.foreign(error)}") from shown.cause(error)
        weakref.finalize(self, self._file.close)

    def read(self, size: int = -1) -> bytes:
        """Read as a file does."""
        return self._file.read(size)

    def seek(self, position: int, whence: int = os.SEEK_SET) -> int:
        """Move as in a file."""
        return self._file.seek(position, whence)

    def tell(self) -> int:
        """Return the position."""
        return self._file.tell()

    def fileno(self) -> int:
        """Return the descriptor, by which a change is noticed."""
        return self._file.fileno()

    @property
    def closed(self) -> bool:
        """Tell whether it was closed."""
        return self._file.closed

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def seekable(self) -> bool:
        """Tell that it can be read from any place."""
        return True


def _copied(number: int) -> BinaryIO:
    """Copy all that comes through a descriptor to the disk.

    Raises:
        ReadError: the disk has no room for it.
    """
    kept: Any = tempfile.TemporaryFile(prefix="ckptload-")  # noqa: SIM115 -- the process keeps it
    try:
        while piece := os.read(number, _PIECE):
            kept.write(piece)
        kept.flush()
    except OSError as error:
        kept.close()
        raise ReadError(
            f"standard input could not be copied to {tempfile.gettempdir()}: {error.strerror}",
            hint="set TMPDIR to a folder with enough room, or write it to a file first",
        ) from error
    kept.seek(0)
    return kept  # type: ignore[no-any-return]


@contextmanager
def output(ending: str) -> Iterator[str]:
    """Yield the path of a temporary file; what was written there goes to standard output at the end.

    Args:
        ending: of the file's name.

    Raises:
        ArgumentError: standard output is a terminal.
        WriteError: it cannot be written, or the temporary file cannot be.
    """
    if sys.stdout.isatty():
        raise ArgumentError("standard output is a terminal", hint="send it through a pipe, or into a file with >")
    with tempfile.TemporaryDirectory(prefix="ckptload-") as folder:
        path = Path(folder) / f"out{ending}"
        yield str(path)
        sys.stdout.flush()
        with path.open("rb") as file:
            try:
                while piece := file.read(_PIECE):
                    sys.stdout.buffer.write(piece)
                sys.stdout.buffer.flush()
            except BrokenPipeError:
                raise
            except OSError as error:
                raise WriteError(f"standard output cannot be written: {error.strerror}") from error
