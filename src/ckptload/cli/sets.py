"""Folders with the files of many ranks, which commands read as one checkpoint, and what is said about them."""

from __future__ import annotations

import os
import re
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ckptload import open_checkpoint, open_distributed, read_strategy
from ckptload.cli import cuts, globs, text
from ckptload.cli.standard import WORD
from ckptload.errors import ArgumentError, CheckpointError, EmptyCheckpointError
from ckptload.shown import place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from ckptload import Reader
    from ckptload.cli.terminal import Terminal

_RANK: Final = re.compile(r"rank_(\d{1,9})", re.ASCII)
#: Files that describe a whole folder, and what a metadata.json of a checkpoint holds near its beginning or its end.
_UNIFIED: Final = "param_name_map.json"
_PARTS: Final = re.compile(r"(part\d+|hyper_param)\.safetensors", re.ASCII)
_METADATA: Final = "metadata.json"
_TRACKER: Final = "latest_checkpointed_iteration.txt"
_DESCRIBED: Final = (b'"state_dict_metadata"', b'"storage_data"')
_PROBE: Final = 64 << 10
#: Names that strategies have, the ends of their files' names, and how many things beside a set are looked at.
_STRATEGY: Final = re.compile("strat", re.IGNORECASE)
_ENDINGS: Final = (".ckpt", ".json")
_CHECKPOINTS: Final = (".ckpt", ".safetensors")
_MOST: Final = 32

REMOVED, KEPT, STAGES, UNKNOWN = "removed", "kept", "stages", "unknown"
_REDUNDANCY: Final = {
    REMOVED: "redundancy was removed: ranks have different names",
    KEPT: "all ranks have the same names",
    STAGES: "ranks have different names by stages",
    UNKNOWN: "",
}


class Ranks(NamedTuple):
    """How the files of many ranks are read as one checkpoint.

    Attributes:
        strategy: a strategy file or folder, or None.
        file_suffix: what the name of a rank's file ends in, if there are several, or None.
        copies: what is done about ranks that should hold the same, or None.
    """

    strategy: str | None = None
    file_suffix: str | None = None
    copies: str | None = None

    def opens(self, path: str) -> Callable[..., Reader]:
        """Return what opens a path: a set, or a file by itself."""
        return partial(open_distributed, **self._asdict()) if self.takes(path) else open_checkpoint

    def takes(self, path: str) -> bool:
        """Tell whether a path is that of a set. That of a folder behind a URL is one if a strategy is given."""
        return is_set(path) or (any(self) and "://" in path)

    def check(self, paths: Iterable[str]) -> None:
        """Refuse options about sets if there is none.

        Raises:
            ArgumentError: no path is that of a set.
        """
        given = list(paths)
        if any(self) and not any(map(self.takes, given)):
            raise ArgumentError(
                "--strategy, --file-suffix and --copies are for the files of many ranks, and this is not their folder",
                path=given[0],
                hint="give the folder that holds rank_0, rank_1, ...",
            )


def is_set(path: str) -> bool:
    """Tell whether a local folder holds rank folders, or files that say together what a checkpoint is."""
    if path == WORD or "://" in path or not os.path.isdir(path):  # noqa: PTH112 -- paths are strings here
        return False
    try:
        with os.scandir(path) as entries:
            names = {entry.name for entry in entries if not _RANK.fullmatch(entry.name) or entry.is_dir()}
    except OSError:
        return False
    if _TRACKER in names or any(map(_RANK.fullmatch, names)):
        return True
    if _UNIFIED in names:
        # With other checkpoints beside them, the parts are one of several.
        return all(map(_PARTS.fullmatch, (name for name in names if name.endswith((".ckpt", ".safetensors")))))
    return _METADATA in names and _describes(Path(path) / _METADATA)


def _describes(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(_PROBE)
            file.seek(max(file.seek(0, os.SEEK_END) - _PROBE, 0))
            return any(mark in head + file.read(_PROBE) for mark in _DESCRIBED)
    except OSError:
        return False


def notes_of(reader: Reader, terminal: Terminal) -> None:
    """Show what was decided when a set was opened."""
    terminal.say(*(f"ckptload: note: {terminal.show(note.text)}" for note in reader.notes if note.kind != "files"))


# -- what a folder is ------------------------------------------------------------------------------


class Description(NamedTuple):
    """What a folder is.

    Attributes:
        kind: ``rank folders``, ``unified`` or ``metadata.json``.
        ranks: those that have a file.
        missing: those below the highest that have none.
        formats: number of files by the ends of their names.
        redundancy: ``removed``, ``kept``, ``stages`` or ``unknown``.
        strategies: what beside the folder looks like its strategy, each with its ranks and stages.
        notes: kinds and texts of the notes of the reader.
    """

    kind: str
    ranks: list[int]
    missing: list[int]
    formats: dict[str, int]
    redundancy: str
    strategies: dict[str, str]
    notes: list[tuple[str, str]]

    def as_data(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            **self._asdict(),
            "strategies": list(self.strategies),
            "notes": [{"kind": kind, "text": said} for kind, said in self.notes],
        }

    def lines(self, strategy: str | None) -> Iterator[str]:
        """Yield it for people."""
        files = ", ".join(f"{count:,} {ending}" for ending, count in self.formats.items())
        if self.kind != "rank folders":
            yield f"{self.kind} folder of {text.counted(sum(self.formats.values()), 'file', 'files')} ({files})"
        else:
            yield f"{text.counted(len(self.ranks), 'rank', 'ranks')} ({cuts.as_ranges(self.ranks)}), files: {files}"
        if self.missing:
            yield f"without a file: {text.counted(len(self.missing), 'rank', 'ranks')} ({cuts.as_ranges(self.missing)})"
        if _REDUNDANCY[self.redundancy]:
            yield _REDUNDANCY[self.redundancy]
        if self.kind == "rank folders" and strategy is None and len(self.ranks) > 1:
            yield "without a strategy: if ranks hold slices, these are read as if they were whole"
            for path, about in self.strategies.items():
                yield f"looks like its strategy: --strategy {path} ({about})"
        for _, said in self.notes:
            yield f"note: {said}"


def describe(path: str, reader: Reader | None, strategy: str | None) -> Description:
    """Say what a set is, by its index and, without a strategy, by the names in each of its files.

    Args:
        path: the folder; a local one if there is no reader.
        reader: the set as one, or None if it does not open as one.
        strategy: the strategy that was given.
    """
    files = _files(Path(path)) if reader is None else reader.files
    by_rank = {int(found[1]): file for file in files if (found := _RANK.fullmatch(Path(file).parent.name))}
    ranks = sorted(by_rank)
    inside = set() if "://" in path else set(os.listdir(path))  # noqa: PTH208 -- paths are strings here
    kind = "rank folders" if ranks else "unified" if _UNIFIED in inside else _METADATA
    there = set(ranks)
    return Description(
        kind,
        ranks,
        [rank for rank in range(ranks[-1]) if rank not in there] if ranks else [],
        dict(Counter(Path(file).suffix for file in files)),
        _redundancy(by_rank) if ranks and strategy is None else UNKNOWN,
        _strategies(path, ranks[-1]) if ranks and strategy is None else {},
        [] if reader is None else [(note.kind, note.text) for note in reader.notes],
    )


def _files(folder: Path) -> list[str]:
    """Return the last file of each rank, in natural order."""
    found = []
    for inside in folder.iterdir():
        if _RANK.fullmatch(inside.name) and inside.is_dir():
            files = sorted((file for file in inside.iterdir() if file.suffix in _CHECKPOINTS), key=_natural)
            found += [str(file) for file in files[-1:]]
    return found


def _natural(path: Path) -> Any:
    return globs.natural(path.name)


def _redundancy(by_rank: Mapping[int, str]) -> str:
    """Tell by the names in the files whether ranks left out what others have."""
    names: dict[int, frozenset[str]] = {}
    for rank in sorted(by_rank):
        found = _names_in(by_rank[rank])
        if found is None:
            return UNKNOWN
        names[rank] = found
    if len(names) == 1:
        return UNKNOWN
    ordered = list(names.values())
    runs = [at for at, one in enumerate(ordered) if not at or one != ordered[at - 1]]
    if len(runs) == 1:
        return KEPT
    # Ranks of a stage are neighbours, and have the same names.
    are_stages = len(set(ordered)) == len(runs) < len(ordered) and len(ordered) % len(runs) == 0
    return STAGES if are_stages and runs == list(range(0, len(ordered), len(ordered) // len(runs))) else REMOVED


def _names_in(path: str) -> frozenset[str] | None:
    """Return the names in a file, or None if they cannot be read, for example because it is encrypted."""
    try:
        with open_checkpoint(path, parameters="ckptload") as reader:
            return frozenset(reader)
    except EmptyCheckpointError:
        # That of a rank without a share.
        return frozenset()
    except CheckpointError:
        return None


def _strategies(path: str, highest: int) -> dict[str, str]:
    """Return what lies in or beside a folder and is a strategy of enough ranks."""
    if "://" in path:
        return {}
    folder = Path(path).absolute()
    found = {}
    for candidate in [*_candidates(folder), *_candidates(folder.parent)][:_MOST]:
        try:
            strategy = read_strategy(str(candidate))
        except CheckpointError:
            continue
        if strategy.ranks > highest:
            stages = text.counted(strategy.stages, "stage", "stages")
            found[place(str(candidate))] = f"{text.counted(strategy.ranks, 'rank', 'ranks')}, {stages}"
    return found


def _candidates(folder: Path) -> Sequence[Path]:
    try:
        inside = sorted(folder.iterdir(), key=_natural)
    except OSError:
        return []
    return [path for path in inside if _STRATEGY.search(path.name) and (path.is_dir() or path.suffix in _ENDINGS)]
