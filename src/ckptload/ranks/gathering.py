"""The entries of a set, whatever it is: rank folders, a unified folder, a folder of MindFormers."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Final, NamedTuple

from ckptload.errors import CheckpointError, CorruptCheckpointError, MissingShardError
from ckptload.formats.entry import SAFETENSORS, TENSOR
from ckptload.formats.index import Note
from ckptload.formats.safetensors.shard_paths import path_inside
from ckptload.messages import counted, listed
from ckptload.ranks import members, metadata
from ckptload.ranks.boxes import volume
from ckptload.ranks.folders import HYPER, METADATA, UNIFIED_MAP
from ckptload.ranks.placing import ACCUMULATED, Cut, Placing, Whole, without_strategy
from ckptload.sources.folders import below, contents

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ckptload.ranks.boxes import Box
    from ckptload.ranks.folders import Files
    from ckptload.ranks.members import Member
    from ckptload.ranks.metadata import Described
    from ckptload.ranks.placing import Place
    from ckptload.ranks.strategy import Strategy
    from ckptload.reading.access import Access


class Gathered(NamedTuple):
    """All entries of a set.

    Attributes:
        members: the files.
        places: where each entry lies, in the order of the files.
        refused: the error for each entry whose files do not fit each other.
        parameters: names of whole entries that are known to be parameters.
        is_cut: whether something says which ranks hold copies.
        notes: what was decided.
    """

    members: list[Member]
    places: dict[str, Place]
    refused: dict[str, CheckpointError]
    parameters: frozenset[str] = frozenset()
    is_cut: bool = True
    notes: tuple[Note, ...] = ()


def gather(files: Files, strategy: Strategy | None, access: Access) -> Gathered:
    """Open the files of a set and find out where each entry lies.

    Raises:
        CheckpointError: a file cannot be read or is damaged, or the files are not those of the strategy.
    """
    notes: tuple[Note, ...] = ()
    if files.layout and strategy is not None:
        text = f"{files.layout} says where everything is, so that the strategy is not needed"
        notes = (Note("strategy", (), text),)
    if files.layout == METADATA:
        return _described(files, access, notes)
    if files.layout == UNIFIED_MAP:
        return _unified(files, access, notes)
    found = members.opened(files.paths, access)
    try:
        if strategy is None:
            return _copies(found)
        return _cut(found, strategy)
    except CheckpointError as error:
        _close(found)
        error.path = error.path or files.label
        raise
    except BaseException:
        _close(found)
        raise


def _close(found: Iterable[Member]) -> None:
    for member in found:
        member.source.close()


def _holders(found: Sequence[Member]) -> dict[str, list[Member]]:
    """Return the members that hold each name, in the order of the first that has it."""
    held: dict[str, list[Member]] = {}
    for member in found:
        for name in member.names:
            held.setdefault(name, []).append(member)
    return held


def _copies(found: list[Member]) -> Gathered:
    """Gather files of ranks that hold the same, or of which each holds a share."""
    places: dict[str, Place] = {}
    refused: dict[str, CheckpointError] = {}
    for name, holders in _holders(found).items():
        try:
            places[name] = without_strategy(name, holders)
        except CheckpointError as error:  # noqa: PERF203 -- the others can be read
            refused[name] = error
    return Gathered(found, places, refused, is_cut=False)


def _cut(found: list[Member], strategy: Strategy) -> Gathered:
    """Gather files of ranks by their strategy."""
    placing = Placing(found, strategy)
    places: dict[str, Place] = {}
    refused: dict[str, CheckpointError] = {}
    held = _holders(found)
    for name, holders in held.items():
        try:
            places[name] = placing.place(name, holders)
        except CheckpointError as error:  # noqa: PERF203 -- the others can be read
            refused[name] = error
    notes = []
    if placing.borrowed:
        names = list(placing.borrowed)
        notes.append(
            Note(
                "layout",
                tuple(names),
                f"{counted(len(names), 'entry has', 'entries have')} no layout and got that of the weight: "
                f"{listed(names)}",
            )
        )
    absent = [name for name in strategy.names() if name not in held]
    if absent:
        notes.append(
            Note("absent", tuple(absent), f"{counted(len(absent), 'layout')} of names in no file: {listed(absent)}")
        )
    return Gathered(found, places, refused, notes=tuple(notes))


# -- unified folders ------------------------------------------------------------------------------------------


def _unified(files: Files, access: Access, notes: tuple[Note, ...]) -> Gathered:
    paths = {0: below(files.folder, UNIFIED_MAP)}
    if HYPER in contents(files.folder):
        paths[1] = below(files.folder, HYPER)
    found = members.opened(paths, access)
    places: dict[str, Place] = {}
    parameters = frozenset(found[0].names) if found and found[0].number == 0 else frozenset()
    left = []
    for member in found:
        for name in member.names:
            if member.number and name.startswith(ACCUMULATED):
                left.append(name)
            elif name not in places:
                places[name] = Whole([member])
    if left:
        text = f"{counted(len(left), 'entry is', 'entries are')} left out: in {HYPER} they are slices of rank 0"
        notes = (*notes, Note("left out", tuple(left), f"{text}: {listed(left)}"))
    return Gathered(found, places, {}, parameters, notes=notes)


# -- folders of MindFormers -----------------------------------------------------------------------------------

_AGAIN: Final = "fetch the whole folder again"


def _described(files: Files, access: Access, notes: tuple[Note, ...]) -> Gathered:
    place = below(files.folder, METADATA)
    tensors = metadata.read(place, access.max_records)
    inside = {name for name, is_dir in contents(files.folder).items() if not is_dir}
    named = list(dict.fromkeys(file for one in tensors.values() for _, every in one.slices for file in every))
    names = [file for file in named if _checked(place, file) in inside]
    names += sorted(name for name in inside if name.endswith(f".{SAFETENSORS}") and name not in set(names))
    found = members.opened({number: below(files.folder, name) for number, name in enumerate(names)}, access)
    by_file = {names[member.number]: member for member in found}
    places: dict[str, Place] = {}
    refused: dict[str, CheckpointError] = {}
    try:
        for name, one in tensors.items():
            try:
                places[name] = _from_chunks(place, name, one, by_file)
            except CheckpointError as error:  # noqa: PERF203 -- the others can be read
                refused[name] = error
        for name, holders in _holders(found).items():
            if name not in tensors:
                places[name] = Whole(holders[:1])
    except BaseException:
        _close(found)
        raise
    return Gathered(found, places, refused, notes=notes)


def _checked(place: str, file: str) -> str:
    """Return the name of a file that metadata.json names, which must be in its folder."""
    if "://" in place:
        if "/" in file or "\\" in file or file in {"", ".", ".."}:
            raise CorruptCheckpointError(f"it names a file outside its folder: {file[:200]!r}", path=place, hint=_AGAIN)
        return file
    path_inside(place, file)
    return os.path.normpath(file)


def _from_chunks(place: str, name: str, one: Described, files: Mapping[str, Member]) -> Place:
    boxes: dict[Box, list[Member]] = {}
    missing: list[str] = []
    for box, named in one.slices:
        holders = [files[file] for file in named if file in files and name in files[file].names]
        if not holders:
            missing.extend(named)
            continue
        boxes.setdefault(box, []).extend(holders)
    if not boxes:
        raise MissingShardError(
            f"no file that is here holds a slice of it; metadata.json names {listed(list(dict.fromkeys(missing)))}",
            name=name,
            path=place,
            hint=_AGAIN,
        )
    kept: dict[Box, list[Member]] = {}
    first = next(iter(boxes.values()))[0].entry(name)
    if first.kind != TENSOR or first.dtype is None:
        return Whole(next(iter(boxes.values()))[:1])
    for box, holders in boxes.items():
        size = tuple(stop - start for start, stop in box)
        for member in holders:
            entry = member.entry(name)
            if entry.shape != size or entry.dtype is not first.dtype:
                raise CorruptCheckpointError(
                    f"the file has {entry.dtype} of shape {list(entry.shape)}, metadata.json says {first.dtype} of "
                    f"shape {list(size)}",
                    name=name,
                    path=member.label,
                    hint=_AGAIN,
                )
        kept[box] = holders
    lacking = math.prod(one.shape) - sum(map(volume, kept))
    text = f"{lacking} of {math.prod(one.shape)} elements are in no file that is here" if lacking > 0 else ""
    if text and missing:
        text += f"; metadata.json names {listed(list(dict.fromkeys(missing)))}"
    return Cut(first.dtype, one.shape, kept, text)
