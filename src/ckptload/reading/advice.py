"""What is said about a path that is not a checkpoint's: a folder, a missing file, another file's name."""

from __future__ import annotations

import os
from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING, Final

from ckptload.errors import (
    ArgumentError,
    CheckpointError,
    CorruptCheckpointError,
    Hint,
    MissingFileError,
    OutOfMemoryError,
    WrongFormatError,
    enough_memory,
)
from ckptload.formats.entry import CKPT, SAFETENSORS
from ckptload.formats.kinds import kind as kinds
from ckptload.formats.kinds.names import unfinished
from ckptload.formats.safetensors.weight_map import ENDING
from ckptload.messages import closest
from ckptload.reading.indexing import identified, wrong
from ckptload.sources.inputs import open_source

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ckptload.sources.base import Source

#: The ends of names of checkpoints; that of an index first, because its shards end in one of the others.
_ENDINGS: Final = (ENDING, "." + CKPT, "." + SAFETENSORS)
#: Names of a folder that are looked at, and folders in it.
_MOST: Final = 10_000
_FOLDERS: Final = 20
_LISTED: Final = 3

_PREFIX: Final = kinds.Kind(
    "the prefix of the files of a TensorFlow checkpoint (.index and .data-...)", kinds.TENSORFLOW
)


def open_advised(source: object, *, mapped: bool = False) -> Source:
    """Open what a caller passed, as `open_source` does; an error about a path says what is there instead.

    Raises:
        WrongFormatError: the path is the prefix of a TensorFlow checkpoint.
        CheckpointError: what `open_source` raises.
    """
    try:
        return open_source(source, mapped=mapped)
    except CheckpointError as error:
        path = os.fspath(source) if isinstance(source, (str, os.PathLike)) else None
        if not isinstance(path, str) or "://" in path:
            raise
        if _is_prefix(path):
            raise wrong(path, CKPT, _PREFIX) from None
        error.advice = _instead_of(path) or error.advice
        raise


def missing(path: str, problem: str, hint: str) -> CheckpointError:
    """Return the error for a path at which there is nothing.

    Args:
        path: the path, as it was given.
        problem: what is wrong.
        hint: a hint, if nothing is there instead.
    """
    if _is_prefix(path):
        return wrong(path, CKPT, _PREFIX)
    return MissingFileError(problem, path=path, hint=_instead_of(path) or hint)


def misnamed(path: str, wanted: str, problem: str) -> CheckpointError:
    """Return the error for a path whose name does not fit a format: about the file itself, if that is the reason.

    Args:
        path: the path, as it was given.
        wanted: the format that was asked for.
        problem: what is wrong with the name.
    """
    try:
        with enough_memory("to tell what the file is", path=path), closing(open_advised(path)) as source:
            kind = identified(source)
    except CheckpointError as error:
        # An index that names other files, or is damaged, says so.
        about_the_file = isinstance(error, (WrongFormatError, CorruptCheckpointError, OutOfMemoryError))
        if about_the_file or os.path.isdir(path):  # noqa: PTH112
            return error
        return ArgumentError(problem, path=path, hint=_instead_of(path) or _hint(path, None, wanted))
    own = kinds.CKPT if wanted == CKPT else kinds.SAFETENSORS
    if kind in {None, own} or (kind in _OF_FORMATS and path.endswith(_OF_FORMATS[kind])):
        return ArgumentError(problem, path=path, hint=_hint(path, kind, wanted))
    return wrong(path, wanted, kind)


#: The ends of names that say the same as the bytes.
_OF_FORMATS: Final[dict[kinds.Kind | None, tuple[str, ...]]] = {
    kinds.CKPT: (CKPT,),
    kinds.SAFETENSORS: (SAFETENSORS,),
    kinds.INDEX: (ENDING,),
}


def _hint(path: str, kind: kinds.Kind | None, wanted: str) -> Hint:
    if wanted == CKPT and kind is not kinds.CKPT and path.endswith((SAFETENSORS, ENDING)):
        return Hint("{as_safetensors}")
    if wanted == SAFETENSORS and kind is kinds.CKPT and path.endswith(CKPT):
        return Hint("{as_ckpt}")
    return Hint("rename the file", ", or {open_file}")


# -- what is there instead ----------------------------------------------------------------------------------


def _instead_of(path: str) -> str | None:
    """Return a hint that names the files in a folder or beside a missing file, or None if there are none."""
    if os.path.isdir(path):  # noqa: PTH112
        return _in_folder(path)
    if not path or os.path.lexists(path):
        return None
    folder, name = os.path.split(path)
    names = _names(folder)
    partial = [other for other in names if other.startswith(name + ".") and unfinished(other)]
    if partial:
        return f"{os.path.join(folder, partial[0])!r} is there: its download has not ended"  # noqa: PTH118
    found = _checkpoints(names)
    same = [other for other in found if _stem(other) == _stem(name)] or closest(name, found)
    return f"did you mean {_paths(folder, same[:_LISTED])}?" if same else None


def _in_folder(folder: str) -> str:
    """Return a hint for the path of a folder."""
    names = _names(folder)
    found = _checkpoints(names)
    if not found and "saved_model.pb" in names:
        return "this is the folder of a TensorFlow SavedModel; " + kinds.TENSORFLOW
    if not found:
        found = [
            os.path.join(name, inside)  # noqa: PTH118
            for name in names[:_FOLDERS]
            for inside in _checkpoints(_names(os.path.join(folder, name)))  # noqa: PTH118
        ]
    if not found:
        return "name a file in it; it has no .ckpt or .safetensors file"
    more = len(found) - _LISTED
    return f"name a file in it: {_paths(folder, found[:_LISTED])}" + (f" or one of {more} more" if more > 0 else "")


def _paths(folder: str, names: Sequence[str]) -> str:
    return " or ".join(repr(os.path.join(folder, name)) for name in names)  # noqa: PTH118


def _is_prefix(path: str) -> bool:
    return not os.path.lexists(path) and os.path.isfile(path + ".index")  # noqa: PTH113


def _names(folder: str) -> list[str]:
    """Return the names in a folder, in their order; none if it cannot be read."""
    try:
        with os.scandir(folder or os.curdir) as found:
            return sorted(entry.name for entry in islice(found, _MOST))
    except (OSError, ValueError):
        return []


def _checkpoints(names: Sequence[str]) -> list[str]:
    return [name for ending in _ENDINGS for name in names if name.endswith(ending)]


def _stem(name: str) -> str:
    return next((name.removesuffix(ending) for ending in _ENDINGS if name.endswith(ending)), name)
