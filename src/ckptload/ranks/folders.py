"""Which files a set of ranks has, and how they are laid out (docs/ranks.md, "What lies on the disk")."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ckptload.errors import (
    ArgumentError,
    ArgumentTypeError,
    CorruptCheckpointError,
    Hint,
    LimitError,
    MissingFileError,
)
from ckptload.formats.entry import CKPT, SAFETENSORS
from ckptload.formats.index import Note
from ckptload.messages import counted, listed, shown_text, type_name
from ckptload.ranks.layout_numbers import MAX_DEVICES as MAX_RANKS
from ckptload.sources.folders import below, contents, is_folder
from ckptload.sources.inputs import open_source

if TYPE_CHECKING:
    from collections.abc import Iterable

#: What lies in folders of these kinds, by a name that only they have.
UNIFIED_MAP: Final = "param_name_map.json"
HYPER: Final = "hyper_param.safetensors"
METADATA: Final = "metadata.json"
TRACKER: Final = "latest_checkpointed_iteration.txt"

_RANK: Final = re.compile(r"rank_(\d{1,9})", re.ASCII)
_DIGITS: Final = re.compile(r"(\d+)", re.ASCII)
_NUMBER: Final = re.compile(r"\s*(\d{1,12})\s*", re.ASCII)
#: What a conversion leaves behind if it is killed while it gives several files their names.
_JOURNAL: Final = re.compile(r"\.ckptload-[0-9a-f]{16}\.journal", re.ASCII)


class Files(NamedTuple):
    """The files of a set.

    Attributes:
        label: what to call the set in messages.
        folder: the folder that the files are in; empty if they were given one by one.
        paths: the file of each rank, in the order of ranks; for other layouts empty.
        layout: `UNIFIED_MAP` or `METADATA` if the folder has a file of this name that says where everything is.
        notes: what was decided.
    """

    label: str
    folder: str
    paths: dict[int, str]
    layout: str = ""
    notes: tuple[Note, ...] = ()


def find(source: Any, file_suffix: str | None = None) -> Files:
    """Return the files of a set.

    Args:
        source: a folder of rank folders, a unified folder, a folder with ``metadata.json`` or the one above it, a
            single file; a mapping of ranks to paths; or a sequence of paths in the order of ranks.
        file_suffix: of several files in a rank's folder, take those whose stem ends in it.

    Raises:
        ArgumentTypeError: an argument is of the wrong type.
        ArgumentError: there are no rank folders, a rank folder has files of both formats, or none of the suffix.
        ReadError: the folder cannot be read.
    """
    if file_suffix is not None and not isinstance(file_suffix, str):
        raise ArgumentTypeError(f"file_suffix must be a str or None, not {type_name(file_suffix)}")
    if isinstance(source, Mapping):
        return _given(source.items())
    if isinstance(source, (str, os.PathLike)):
        path = os.fspath(source)
        if isinstance(path, str):
            return _in_folder(path, file_suffix) if is_folder(path) else _single(path)
    if isinstance(source, Sequence) and not isinstance(source, (bytes, bytearray, memoryview)):
        return _given(enumerate(source))
    raise ArgumentTypeError(
        f"a set of ranks is a folder, a dictionary of ranks and paths, or a list of paths, not {type_name(source)}"
    )


def _single(path: str) -> Files:
    # A trailing slash, or a folder that is not there, is told by opening it as a file.
    return Files(path, "", {0: path})


def _given(pairs: Iterable[tuple[Any, Any]]) -> Files:
    paths: dict[int, str] = {}
    for rank, path in pairs:
        place = os.fspath(path) if isinstance(path, (str, os.PathLike)) else None
        if isinstance(rank, bool) or not isinstance(rank, int) or not isinstance(place, str):
            raise ArgumentTypeError(
                f"a set of ranks maps numbers to paths, not {type_name(rank)} to {type_name(path)}",
                hint='for example {0: "rank_0/net.ckpt", 1: "rank_1/net.ckpt"}',
            )
        if not 0 <= rank < MAX_RANKS:
            raise ArgumentError(f"there is no rank {rank}: ranks are 0 to {MAX_RANKS - 1}")
        paths[rank] = place
    if not paths:
        raise ArgumentError("there is no file in the set of ranks", hint="give at least one path")
    return Files(f"<files of {counted(len(paths), 'rank')}>", "", dict(sorted(paths.items())))


def _in_folder(folder: str, file_suffix: str | None) -> Files:
    inside = contents(folder)
    for name in (METADATA, UNIFIED_MAP):
        if name in inside:
            return Files(folder, folder, {}, name, _unfinished(inside))
    if TRACKER in inside:
        return _tracked(folder)
    ranks = {
        int(match[1]): name
        for name, is_dir in inside.items()
        if is_dir and (match := _RANK.fullmatch(name)) is not None
    }
    if not ranks:
        raise ArgumentError(
            "the folder has no folders named rank_0, rank_1, ..., and no metadata.json or param_name_map.json",
            path=folder,
            hint=Hint("pass the folder that holds the rank folders", ", or {rank_paths}"),
        )
    if max(ranks) >= MAX_RANKS:
        raise LimitError(f"the folder has {ranks[max(ranks)]}; ranks are 0 to {MAX_RANKS - 1}", path=folder)
    paths: dict[int, str] = {}
    several: dict[str, list[str]] = {}
    for rank, name in sorted(ranks.items()):
        place = below(folder, name)
        files = _checkpoints(place, file_suffix)
        if files:
            paths[rank] = below(place, files[-1])
        if len(files) > 1:
            several[name] = files
    if not paths:
        raise ArgumentError(
            "none of the rank_N folders has a .ckpt or .safetensors file", path=folder, hint="check the path"
        )
    return Files(folder, folder, paths, "", (*_unfinished(inside), *_choices(several)))


def _checkpoints(folder: str, file_suffix: str | None) -> list[str]:
    """Return the names of the checkpoints of a rank, in natural order."""
    names = [name for name, is_dir in contents(folder).items() if not is_dir]
    both = {ending: [name for name in names if name.endswith(f".{ending}")] for ending in (CKPT, SAFETENSORS)}
    found = [name for files in both.values() for name in files]
    if found and file_suffix is not None:
        found = [name for name in found if _ends(PurePath(name).stem, file_suffix)]
        if not found:
            raise ArgumentError(
                f"no file of this rank has a name that ends in {shown_text(file_suffix)}",
                path=folder,
                hint=f"the names are {listed(sorted(names, key=_natural))}",
            )
        both = {ending: [name for name in files if name in found] for ending, files in both.items()}
    if all(both.values()):
        raise ArgumentError(
            f"the rank's folder holds .ckpt and .safetensors files: {both[CKPT][0]!r} and {both[SAFETENSORS][0]!r}",
            path=folder,
            hint=Hint("move one kind away", ", or {rank_paths}"),
        )
    return sorted(found, key=_natural)


def _natural(name: str) -> list[tuple[bool, int | str]]:
    """Return a key by which numbers in names are ordered as numbers."""
    # Split by a group, every second part is a number; str.isdigit() is also true of a superscript two, which is none.
    return [(at % 2 == 0, int(part) if at % 2 else part) for at, part in enumerate(_DIGITS.split(name[:1024]))]


def _ends(stem: str, suffix: str) -> bool:
    """Tell whether a stem ends in a suffix, not inside a number or a word."""
    wanted = suffix.lstrip("-_")
    return stem == wanted or stem.endswith((f"-{wanted}", f"_{wanted}"))


def _choices(several: dict[str, list[str]]) -> tuple[Note, ...]:
    if not several:
        return ()
    rank, files = next(iter(several.items()))
    return (
        Note(
            "files",
            tuple(several),
            f"{counted(len(several), 'rank has', 'ranks have')} several files, of which the last is taken: "
            f"in {rank} {files[-1]!r} of {listed(files)}",
        ),
    )


def _unfinished(inside: Iterable[str]) -> tuple[Note, ...]:
    """Say if a conversion into this folder has not ended: its files may be those of two runs."""
    if not any(_JOURNAL.fullmatch(name) for name in inside):
        return ()
    return (
        Note(
            "unfinished",
            (),
            "a conversion into this folder is running or was killed: if it was killed, run it again, since ranks may "
            "be of two runs until then",
        ),
    )


def _tracked(folder: str) -> Files:
    """Return the newest iteration of a folder of MindFormers."""
    place = below(folder, TRACKER)
    with closing(open_source(place)) as source:
        text = bytes(source.read(0, min(source.size, 64))).decode("utf-8", "replace")
    found = _NUMBER.fullmatch(text)
    if found is None:
        raise CorruptCheckpointError(
            f"the file must hold the number of the newest iteration, not {text[:20]!r}",
            path=place,
            hint="pass the folder of an iteration, such as iteration_00000010",
        )
    name = f"iteration_{int(found[1]):08d}"
    inside = below(folder, name)
    if not is_folder(inside):
        raise MissingFileError(
            f"{TRACKER} names iteration {int(found[1])}, and there is no folder {name}",
            path=folder,
            hint="pass the folder of an iteration that is there",
        )
    if METADATA not in (names := contents(inside)):
        raise MissingFileError(
            f"the folder has no {METADATA}", path=inside, hint="pass the folder of another iteration"
        )
    return Files(inside, inside, {}, METADATA, _unfinished(names))
