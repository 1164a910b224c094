"""Which files a converter converts, and to which: names alone, before anything is opened."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ckptload.errors import ArgumentError, ArgumentTypeError, CheckpointError, ReadError
from ckptload.formats.safetensors.shards import ENDING, ShardedSource

if TYPE_CHECKING:
    from collections.abc import Callable

CKPT: Final = ".ckpt"
SAFETENSORS: Final = ".safetensors"
#: A folder stands for its folders of such names, one for each device of a parallel training.
_RANK: Final = "rank"


class Job(NamedTuple):
    """One file to convert, and what it becomes."""

    source: Path
    target: Path

    @property
    def size(self) -> int:
        """Return the size of the source, or of all its shards, in bytes."""
        if not self.source.name.endswith(ENDING):
            return self.source.stat().st_size
        shards = ShardedSource(str(self.source))
        shards.close()
        return shards.size


def jobs(file_path: Any, save_path: Any, file_name_regex: Any, *, old: str, new: str) -> list[Job]:
    """Find what is to be converted.

    Args:
        file_path: a file, or a folder with folders whose names begin with ``rank``.
        save_path: folder for the results, or None for the folders of the files.
        file_name_regex: searched for in file names (of a lone file: in its path as given), or None.
        old: how names of files to convert end.
        new: how names of results end.

    Returns:
        The jobs in the order of their paths; none if the expression fits no file of the folder.

    Raises:
        ArgumentTypeError: an argument is of the wrong type.
        ArgumentError: an argument has a value that cannot be used.
        ReadError: there is no such file or folder.
    """
    given = _text("file_path", file_path)
    folder = _folder(save_path)
    fits = _matcher(file_name_regex)
    path = Path(given)
    try:
        if given and path.is_dir():
            # For an empty save_path, MindSpore puts the results of a folder into the working directory.
            return _in_ranks(path, Path() if save_path == "" else folder, fits, old, new)
        if not given or not path.exists():
            raise ReadError("there is no such file or folder", path=given, hint="check the path; ~ is not expanded")
    except (OSError, ValueError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise ReadError(f"the path cannot be examined: {error}", path=given) from error
    if not given.endswith((old, ENDING) if old == SAFETENSORS else old):
        raise ArgumentError(f"the name of a file to convert must end in {old}", path=given)
    if not fits(given):
        raise ArgumentError("file_name_regex does not fit the file", path=given, hint="pass None to convert it")
    return [_job(path, folder or path.parent, old, new)]


def check_targets(found: list[Job]) -> None:
    """Refuse jobs of which one would overwrite the result of another.

    Raises:
        ArgumentError: two have one target.
    """
    sources: dict[Path, Path] = {}
    for job in found:
        other = sources.setdefault(job.target, job.source)
        if other is not job.source:
            raise ArgumentError(
                f"{other} and {job.source} would both become {job.target}",
                hint="convert them one at a time, each into a folder of its own",
            )


def _text(argument: str, value: object) -> str:
    text = os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
    if not isinstance(text, str):
        raise ArgumentTypeError(f"{argument} must be a str or a Path, not {type(value).__name__}")
    return text


def _folder(save_path: object) -> Path | None:
    """Check the folder for the results, which need not exist."""
    if save_path is None or save_path == "":
        return None
    given = _text("save_path", save_path)
    folder = Path(given)
    if not folder.is_dir() and (folder.exists() or folder.suffix):
        # A folder may have a dot in its name, but MindSpore takes a new name with one for that of a file.
        raise ArgumentError(
            "save_path must be a folder" + ("" if folder.exists() else ", and this looks like the name of a file"),
            path=given,
            hint="results keep the names of their sources; to use a folder of this name, make it first",
        )
    return folder


def _matcher(expression: object) -> Callable[[str], bool]:
    if expression is None:
        return lambda _: True
    if not isinstance(expression, str):
        raise ArgumentTypeError(f"file_name_regex must be a str or None, not {type(expression).__name__}")
    try:
        compiled = re.compile(expression)
    except (re.error, RecursionError, OverflowError) as error:
        raise ArgumentError(f"file_name_regex {expression!r} is not a regular expression: {error}") from error
    return lambda name: compiled.search(name) is not None


def _in_ranks(path: Path, folder: Path | None, fits: Callable[[str], bool], old: str, new: str) -> list[Job]:
    ranks = sorted(child for child in path.iterdir() if child.name.startswith(_RANK) and child.is_dir())
    if not ranks:
        raise ArgumentError(
            f"the folder holds no folder whose name begins with {_RANK!r}",
            path=str(path),
            hint="name a single file, or the folder above the rank folders",
        )
    return [
        _job(file, folder / rank.name if folder else rank, old, new)
        for rank in ranks
        for file in sorted(rank.iterdir())
        if file.name.endswith(old) and fits(file.name) and file.is_file()
    ]


def _job(source: Path, folder: Path, old: str, new: str) -> Job:
    name = source.name
    # As MindSpore does it, wherever the ending stands in the name.
    target = name.removesuffix(ENDING) + new if name.endswith(ENDING) else name.replace(old, new)
    return Job(source, (folder / target).absolute())
