"""The file to write for a path as it was given: what is there is looked at, without opening it, before any work."""

from __future__ import annotations

import errno
import os
import re
import stat
from typing import TYPE_CHECKING, Final

from ckptload import shown
from ckptload.errors import (
    ArgumentError,
    MissingFolderError,
    ParentIsFileError,
    TargetIsFolderError,
    TargetIsNoFileError,
    WriteError,
    WritePermissionError,
)
from ckptload.messages import shown_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

#: Links that are followed one after the other, as many as Linux follows.
_MOST: Final = 40
#: Folders of the descriptors of a process, by their real paths. A link in them leads to what is open, which may be a
#: file that another program is writing.
_DESCRIPTORS: Final = re.compile(r"/dev/fd|/proc/.+/fd")

_URL: Final = re.compile(r"[a-z][a-z0-9+.-]+:/", re.ASCII | re.IGNORECASE)

_KINDS: Final = {
    FileNotFoundError: (MissingFolderError, "make the folder first"),
    PermissionError: (WritePermissionError, "the current user needs write permission for the folder"),
    IsADirectoryError: (TargetIsFolderError, "give the name of a file"),
    NotADirectoryError: (ParentIsFileError, "give a path whose folder exists"),
}
_HINTS: Final = {
    errno.ENOSPC: "free some space on the disk; the file at the path is unchanged",
    errno.EDQUOT: "the user's quota is used up; the file at the path is unchanged",
    errno.ELOOP: "symbolic links lead in a circle; give the name of a file",
    errno.EFBIG: "the system limits the size of files (ulimit -f), or the file system does",
}

#: What is at a path instead of a file.
_OTHERS: Final = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
#: The hint for what is not a file.
_NO_STREAM: Final = "give the name of a file: it is written beside its place and appears when it is complete"


def check_local(given: str) -> None:
    """Raise ArgumentError for a URL, which would make folders that are named after its host and its password."""
    if _URL.match(given):
        raise ArgumentError(
            "a URL was given where a file is written",
            path=given,
            hint="give the path of a file, and upload it afterwards",
        )


def place(given: str, complete: Callable[[str], str] | None = None) -> str:
    """Return the absolute path of the file that is to be replaced or created for a path.

    A symbolic link is followed, so that it stays a link, and the file at its end is the one to write, whatever that is
    called and even if it does not exist yet.

    Args:
        given: the path.
        complete: returns a path with the ending of its format; it is not called for a link.

    Raises:
        ArgumentError: this cannot be a path, or is a URL.
        TargetIsFolderError: a folder has the name, as it was given or completed.
        TargetIsNoFileError: a pipe, a socket or a device has it, or it leads to an open stream.
        WriteError: it cannot be examined, for example because links lead in a circle.
    """
    check_local(given)
    try:
        path = _end(given)
        check_place(path)
        if complete is not None and not os.path.islink(given.rstrip(os.sep)):  # noqa: PTH114 -- paths are strings here
            path = _end(complete(path))
            check_place(path)
    except ValueError as error:
        if isinstance(error, OSError):  # One of ours.
            raise
        raise ArgumentError(f"{shown_text(given)} is not a path: {shown.foreign(error)}") from shown.cause(error)
    return path


def _end(given: str) -> str:
    """Return the real path of a file, after looking at each link on the way to it."""
    path = given
    for _ in range(_MOST):
        folder, name = os.path.split(path)
        folder = os.path.realpath(folder)
        if _DESCRIPTORS.fullmatch(folder):
            raise TargetIsNoFileError(
                "the file cannot be saved: this is an open stream, such as standard output", path=given, hint=_NO_STREAM
            )
        path = os.path.join(folder, name)  # noqa: PTH118
        if not os.path.islink(path):  # noqa: PTH114
            return os.path.realpath(given)
        path = os.path.join(folder, os.readlink(path))  # noqa: PTH115, PTH118
    error = OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    raise failure(error, os.path.abspath(given)) from error  # noqa: PTH100 -- paths are strings here


def check_place(path: str) -> None:
    """Raise an error unless there is a file at a path, or a link to one, or nothing. Nothing is opened.

    Raises:
        TargetIsFolderError: there is a folder.
        TargetIsNoFileError: there is a pipe, a socket or a device.
        WriteError: the path cannot be examined.
    """
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 -- paths are strings here
    except (FileNotFoundError, NotADirectoryError):
        # A missing folder is an error when the file is created.
        return
    except OSError as error:
        raise failure(error, path) from shown.cause(error)
    if stat.S_ISDIR(mode):
        reason = IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        folder = failure(reason, path)
        folder.problem = "the file could not be saved: a folder has its name"
        raise folder from reason
    for is_one, what in _OTHERS:
        if is_one(mode):
            found = TargetIsNoFileError(f"the file could not be saved: {what} has its name", path=path, hint=_NO_STREAM)
            found.errno = errno.EINVAL
            raise found


def check_places(written: Iterable[str], removed: Iterable[str]) -> None:
    """Look at all places before anything is written, as `check_place` does; a link that is removed leads nowhere.

    Args:
        written: paths of files that are replaced or created.
        removed: paths of files that are removed.
    """
    for path in written:
        check_place(path)
    for path in removed:
        if not os.path.islink(path):  # noqa: PTH114 -- paths are strings here
            check_place(path)


def failure(error: OSError, path: str) -> WriteError:
    """Return the WriteError for an error of the system, of a matching class such as WritePermissionError."""
    found: tuple[type[WriteError], str | None] = (WriteError, None)
    for reason, known in _KINDS.items():
        if isinstance(error, reason):
            found = known
    cls, hint = found
    result = cls(
        f"the file could not be saved: {error.strerror or error}",
        path=path,
        hint=_HINTS.get(error.errno or 0, hint),
    )
    result.errno = error.errno
    return result
