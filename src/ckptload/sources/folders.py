"""What is in a folder, of this system or behind a URL."""

from __future__ import annotations

import os
from typing import Any, Final

from ckptload import shown
from ckptload.errors import CheckpointError, LimitError, MissingFileError, ReadError
from ckptload.sources import filesystems

#: Names in a folder. A training run of 10 000 devices, each with a few files, has fewer.
MAX_NAMES: Final = 1_000_000


def contents(folder: str) -> dict[str, bool]:
    """Return the names in a folder in their order, each with whether it is a folder itself.

    Args:
        folder: a path, or a URL that fsspec lists.

    Raises:
        MissingFileError: there is no such folder.
        ReadError: it cannot be read, or is a file.
        LimitError: it has more than `MAX_NAMES` names.
    """
    return _remote(folder) if "://" in folder else _local(folder)


def _local(folder: str) -> dict[str, bool]:
    found: dict[str, bool] = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                found[entry.name] = entry.is_dir()
                _bound(found, folder)
    except (OSError, ValueError) as error:
        if isinstance(error, CheckpointError):
            raise
        cls = MissingFileError if isinstance(error, FileNotFoundError) else ReadError
        reason = (error.strerror if isinstance(error, OSError) else None) or shown.foreign(error)
        result = cls(f"cannot list the folder: {reason}", path=folder, hint="check the path")
        result.errno = error.errno if isinstance(error, OSError) else None
        raise result from shown.cause(error)
    return dict(sorted(found.items()))


def _remote(folder: str) -> dict[str, bool]:
    place = shown.place(folder)
    try:
        files, name = filesystems.opened(folder)
        listed: list[dict[str, Any]] = files.ls(name, detail=True)
        found = {str(one["name"]).rstrip("/").rpartition("/")[2]: one.get("type") == "directory" for one in listed}
    except CheckpointError:
        raise
    except Exception as error:  # noqa: BLE001 -- a file system may raise anything
        cls = MissingFileError if isinstance(error, FileNotFoundError) else ReadError
        reason = shown.without(str(error), folder)
        result = cls(f"cannot list the folder: {type(error).__name__}: {reason}".rstrip(": "), path=place)
        result.advice = "check the URL and the credentials, or pass the paths of the files as a dictionary"
    else:
        _bound(found, folder)
        return dict(sorted(found.items()))
    # Not chained: the original exception, and its frames, show the whole URL.
    raise result


def _bound(found: dict[str, bool], folder: str) -> None:
    if len(found) > MAX_NAMES:
        raise LimitError(f"the folder has more than {MAX_NAMES} names", path=folder, hint="check the path")


def below(folder: str, name: str) -> str:
    """Return the path or URL of a name in a folder."""
    return f"{folder.rstrip('/')}/{name}" if "://" in folder else os.path.join(folder, name)  # noqa: PTH118


def is_folder(place: str) -> bool:
    """Tell whether a path is that of a folder; a URL is one if it can be listed and is not a file."""
    if "://" not in place:
        return os.path.isdir(place)  # noqa: PTH112
    try:
        from fsspec.core import url_to_fs  # noqa: PLC0415 -- as above

        files, name = url_to_fs(place)
        return bool(files.isdir(name))
    except Exception:  # noqa: BLE001 -- a file system may raise anything; opening the file tells why
        return False
