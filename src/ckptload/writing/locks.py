"""Folders in which one process at a time gives several files their names."""

from __future__ import annotations

import errno
import os
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from ckptload.writing import temporary_files

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

#: Folders that are locked, each by a descriptor. More are ranks of one job, and the folder above them is the first.
_MOST: Final = 16
#: Seconds that a folder is waited for. Files get their names in far less; but whoever may read a folder can lock it.
PATIENCE: Final = 60.0
_SHORT: Final = 0.005

#: The folders that threads of this process hold: the thread, the device and the inode.
_held: set[tuple[int, int, int]] = set()


@contextmanager
def locked(folders: Iterable[Path]) -> Iterator[bool]:
    """Wait until no other process or thread holds a folder, and hold all of them.

    A folder that cannot be locked is left out: on Windows, on file systems without locks, or if it may not be read.
    The block gets whether all were locked.

    Raises:
        OSError: this thread holds one of them already, so that waiting would never end: it is in a signal handler. Or
            another process has held one for a minute.
    """
    if not temporary_files.has_locks():
        yield False
        return
    folders = set(folders)
    numbers = _opened(folders)
    mine = {(threading.get_ident(), *place) for place in numbers}
    try:
        if not _held.isdisjoint(mine):
            mine = set()
            raise OSError(errno.EDEADLK, "this thread is in the middle of a conversion into the same folder")
        _held.update(mine)
        # All processes take them in this order, so that no two wait for each other.
        count = 0
        for place in sorted(numbers):
            count += _take(numbers[place])
        yield count == len(folders)
    finally:
        _held.difference_update(mine)
        for number in numbers.values():
            # A process that was forked meanwhile has the descriptor, too, and closing it would not be enough.
            temporary_files.unlock(number)
            os.close(number)


def _take(number: int) -> bool:
    """Lock a folder; return False if it cannot be locked."""
    end = time.monotonic() + PATIENCE
    while (taken := temporary_files.try_lock(number)) is False:
        if time.monotonic() > end:
            raise OSError(errno.EBUSY, f"another process has locked the folder for {PATIENCE:.0f} seconds")
        time.sleep(_SHORT)
    return taken is not None


def _opened(folders: Iterable[Path]) -> dict[tuple[int, int], int]:
    """Return descriptors of the folders that can be opened, by device and inode: two paths may lead to one folder."""
    numbers: dict[tuple[int, int], int] = {}
    for folder in sorted(set(folders))[:_MOST]:
        with suppress(OSError):
            number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            known = True
            try:
                status = os.fstat(number)
                known = numbers.setdefault((status.st_dev, status.st_ino), number) != number
            finally:
                if known:
                    os.close(number)
    return numbers
