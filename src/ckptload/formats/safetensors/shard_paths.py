"""Where the shards of an index are: its entries are not trusted, so none may lead out of the folder."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Final

from ckptload.errors import CorruptCheckpointError
from ckptload.formats.safetensors.weight_map import AGAIN

#: Letters of a file's name in an index, and folders in it: each is looked up when the index is opened.
_LONGEST: Final = 1024
_DEEPEST: Final = 16


def path_inside(index: str, file: str) -> str:
    """Return the real path of a file that an index names.

    It must be in the folder of the index or, if the index is a link, as in Hugging Face's cache, in the folder of
    the link's target.

    Raises:
        CorruptCheckpointError: the file is elsewhere.
    """
    path = Path(index)
    if _is_plain(file):
        # A loop of links cannot be resolved, so it counts as outside the folder.
        with suppress(OSError, RuntimeError, ValueError):
            real = path.parent.joinpath(file).resolve()
            if any(real.is_relative_to(folder) for folder in (path.parent.resolve(), path.resolve().parent)):
                return str(real)
    raise CorruptCheckpointError(f"the index names a file outside its folder: {file[:200]!r}", path=index, hint=AGAIN)


def _is_plain(file: str) -> bool:
    """Return whether a path is relative and, by its text alone, stays below its start on every system."""
    if len(file) > _LONGEST or file.count("/") > _DEEPEST:
        return False
    here, windows = PurePosixPath(file), PureWindowsPath(file)
    if "\0" in file or here.is_absolute() or windows.drive or windows.root:
        return False
    return bool(here.parts) and ".." not in {*here.parts, *windows.parts}
