"""`open_distributed`: many files of a training as one checkpoint."""

from __future__ import annotations

import os
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from ckptload.encryption.ciphers import AES_GCM
from ckptload.encryption.keys import hidden
from ckptload.errors import ArgumentError, ArgumentTypeError, CheckpointError, EmptyCheckpointError, enough_memory
from ckptload.foreign.giving import AUTO, chosen
from ckptload.formats.entry import TENSOR
from ckptload.formats.index import Note
from ckptload.formats.limits import MAX_RECORDS
from ckptload.messages import counted, listed, type_name, warn
from ckptload.ranks import copies as comparing
from ckptload.ranks import folders, gathering
from ckptload.ranks.placing import Cut
from ckptload.ranks.set_index import SetIndex, Wanted
from ckptload.ranks.strategy_files import read_strategy
from ckptload.reading.access import Access
from ckptload.reading.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ckptload.ranks.boxes import Box
    from ckptload.ranks.gathering import Gathered
    from ckptload.ranks.placing import Place
    from ckptload.ranks.strategy import Strategy

    Path = str | os.PathLike[str]


def open_distributed(
    source: Path | Mapping[int, Path] | Sequence[Path],
    strategy: Path | Strategy | None = None,
    *,
    to: Path | Strategy | None = None,
    rank: int | None = None,
    file_suffix: str | None = None,
    copies: str | None = None,
    dec_key: bytes | None = None,
    dec_mode: str = AES_GCM,
    allow_unauthenticated: bool = False,
    max_records: int = MAX_RECORDS,
    parameters: str = AUTO,
) -> Reader:
    """Open the files of many ranks as one checkpoint of whole tensors, without reading their data.

    Values are assembled when they are read, in little memory beside them (docs/ranks.md).

    Args:
        source: a folder of folders ``rank_0``, ``rank_1``, ...; a dictionary of ranks and paths, or a list of paths in
            the order of ranks; a unified folder (``param_name_map.json``); a folder of MindFormers with
            ``metadata.json``, or the one above its iterations; or a single file. Folders and files may be URLs.
        strategy: the strategy file of the run that wrote the files, or the folder of those of its stages. None if the
            folder says it by itself, or if nothing is cut: then ranks that hold an entry must hold the same.
        to: a strategy file; the reader then holds what `rank` of it holds, and not whole tensors.
        rank: a rank of `to`, counted over all stages.
        file_suffix: of several files in a rank's folder, take those whose stem ends in it, such as ``"10_1"``;
            otherwise the last in natural order is taken.
        copies: what is done about ranks that should hold the same slice. None compares the first and last 4 KiB of two
            copies when the slice is first read, and raises if they differ; without a strategy it compares all of
            them, since nothing else says that they are copies. ``"error"`` compares all copies whole. ``"warn"``
            compares as None does, and warns. ``"first"`` takes the first and does not compare.
        dec_key: key of encrypted files, the same for all: 16, 24 or 32 bytes for AES, 16 for SM4.
        dec_mode: ``"AES-GCM"``, ``"AES-CBC"`` or ``"SM4-CBC"``.
        allow_unauthenticated: open AES-GCM files with data that no tag covers (docs/security.md).
        max_records: largest number of entries of a file (docs/security.md).
        parameters: what tensors are read as; see `open_checkpoint`.

    Returns:
        A mapping of names to values, like that of `open_checkpoint`. Its `notes` say what was decided: which files were
        taken, which names were left out, which layouts were borrowed from a weight. It keeps up to 64 files open.

    Raises:
        ArgumentError: there are no rank folders, the strategy does not cover the ranks, or an argument is not valid.
            This and all below are CheckpointErrors.
        ReadError: a file cannot be read.
        CorruptCheckpointError: a file is damaged, slices do not fit each other, or copies differ; or, when an entry is
            asked for, no file that is here holds all of it.
        WrongFormatError: a file is of another kind.

    Warns:
        UserWarning: a rank has several files.
    """
    dec_key = hidden(dec_key)
    access = Access(
        key=dec_key,
        mode=dec_mode,
        allow_unauthenticated=allow_unauthenticated,
        max_records=max_records,
        gives=chosen(parameters),
    )
    target = _target(to, rank)
    opened = OpenSet(source, strategy, file_suffix=file_suffix, copies=copies, access=access)
    with ExitStack() as stack:
        stack.callback(opened.close)
        index = opened.index(target)
        reopens = access.key is None
        again = partial(
            open_distributed,
            _absolute(source),
            opened.strategy,
            to=None if target is None else target[0],
            rank=rank,
            file_suffix=file_suffix,
            copies=copies,
            allow_unauthenticated=allow_unauthenticated,
            max_records=max_records,
            parameters=access.gives,
        )
        reader = Reader(index, gives=access.gives, reopen=(again, ()) if reopens else None)
        reader.warn_of_foreign_fields()
        stack.pop_all()
    return reader


class OpenSet:
    """The files of a set, open once for several readers.

    Args:
        source: see `open_distributed`.
        strategy: see `open_distributed`.
        file_suffix: see `open_distributed`.
        copies: see `open_distributed`.
        access: how each file is opened.

    Attributes:
        strategy: the strategy of the source, or None.

    Raises:
        CheckpointError: as `open_distributed`.
    """

    def __init__(
        self,
        source: Path | Mapping[int, Path] | Sequence[Path],
        strategy: Path | Strategy | None,
        *,
        file_suffix: str | None,
        copies: str | None,
        access: Access,
    ) -> None:
        comparing.check_mode(copies)
        self.strategy = None if strategy is None else read_strategy(strategy)
        self._files = folders.find(source, file_suffix)
        for note in self._files.notes:
            warn(f"{self._files.label}: {note.text}")
        with enough_memory("to open the checkpoint", path=self._files.label):
            self._found = gathering.gather(self._files, self.strategy, access)
        self._copies = comparing.Copies(copies, cut=self._found.is_cut)
        self._gives = access.gives

    def index(self, target: tuple[Strategy, int] | None) -> SetIndex:
        """Return an index of whole tensors, or of the slices of a rank of a target; its source closes all files."""
        with enough_memory("to open the checkpoint", path=self._files.label):
            return _index(self._files.label, self._files.notes, self._found, target, self._copies)

    def reader(self, to: Strategy | None = None, rank: int | None = None) -> Reader:
        """Return a reader of whole tensors, or of the slices of a rank of a target; the files stay open with this."""
        index = self.index(_target(to, rank))
        return Reader(index, index.names(), gives=self._gives)

    def close(self) -> None:
        """Close all files."""
        for member in self._found.members:
            member.source.close()


def _absolute(source: Any) -> Any:
    """Return a source that another process, in another folder, finds."""
    if isinstance(source, (str, os.PathLike)):
        path = os.fspath(source)
        return path if "://" in path else os.path.abspath(path)  # noqa: PTH100 -- links must not be followed
    if hasattr(source, "items"):
        return {number: _absolute(path) for number, path in source.items()}
    return [_absolute(path) for path in source]


def _target(to: Any, rank: Any) -> tuple[Strategy, int] | None:
    if to is None:
        if rank is not None:
            raise ArgumentError("rank is a rank of the strategy `to`, which is missing", hint="pass to as well")
        return None
    target = read_strategy(to)
    if rank is None:
        raise ArgumentError(
            f"`to` has {counted(target.ranks, 'rank')}, and which of them is wanted is missing",
            hint="pass rank as well",
        )
    if isinstance(rank, bool) or not isinstance(rank, int):
        raise ArgumentTypeError(f"rank must be an int, not {type_name(rank)}")
    target.stage_of(rank)
    return target, rank


def _index(
    label: str,
    notes: Sequence[Note],
    found: Gathered,
    target: tuple[Strategy, int] | None,
    copies: comparing.Copies,
) -> SetIndex:
    wanted: dict[str, Wanted] = {}
    refused = dict(found.refused)
    said = [*notes, *found.notes]
    if target is None:
        wanted = {name: Wanted(place) for name, place in found.places.items()}
    else:
        strategy, rank = target
        stage = strategy.stage_of(rank)
        mine = strategy.layouts(stage)
        anywhere = set(strategy.names())
        for name, place in found.places.items():
            if name in mine:
                try:
                    wanted[name] = Wanted(place, _box(strategy, name, rank, place))
                except CheckpointError as error:
                    refused[name] = error
            elif name not in anywhere and not _is_cut(name, place, found):
                wanted[name] = Wanted(place)
        refused = {name: error for name, error in refused.items() if name in mine or name not in anywhere}
        said.extend(_of_target(found, mine, anywhere))
    if not wanted and not refused:
        raise EmptyCheckpointError(
            "the files have no entry" if target is None else "no entry of the files is on this rank of the target",
            path=label,
            hint="check that the strategy is that of the same net",
        )
    return SetIndex(label, found.members, wanted, refused, copies, said)


def _box(strategy: Strategy, name: str, rank: int, place: Place) -> Box | None:
    """Return the part of a tensor that a rank of the target holds; None for what is no tensor."""
    if isinstance(place, Cut):
        shape = place.shape
    else:
        entry = place.holders[0].entry(name)
        if entry.kind != TENSOR:
            return None
        shape = entry.shape
    return tuple((part.start, part.stop) for part in strategy.box(name, rank, shape))


def _is_cut(name: str, place: Place, found: Gathered) -> bool:
    """Tell whether an entry is a parameter that a target without a layout for it cannot have."""
    return isinstance(place, Cut) or name in found.parameters


def _of_target(found: Gathered, mine: Mapping[str, object], anywhere: set[str]) -> list[Note]:
    left = [name for name, place in found.places.items() if name not in anywhere and _is_cut(name, place, found)]
    absent = [name for name in mine if name not in found.places and name not in found.refused]
    notes = []
    if left:
        notes.append(
            Note(
                "left out",
                tuple(left),
                f"{counted(len(left), 'parameter is', 'parameters are')} left out, since the target has no layout: "
                f"{listed(left)}",
            )
        )
    if absent:
        notes.append(
            Note(
                "absent",
                tuple(absent),
                f"{counted(len(absent), 'parameter', 'parameters')} of the target in no file: {listed(absent)}",
            )
        )
    return notes
