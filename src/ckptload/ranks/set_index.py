"""The index of a set: whole entries, as if one file had them."""

from __future__ import annotations

import math
from copy import copy
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from ckptload.errors import CheckpointError, CorruptCheckpointError
from ckptload.formats.coverage import Coverage, by_all
from ckptload.formats.entry import CKPT, MAP, SAFETENSORS, TENSOR, Entry
from ckptload.formats.index import Facts, Foreign
from ckptload.formats.safetensors import strings
from ckptload.ranks.assembling import Assembled, AssembledSource, Slices, Stored, every
from ckptload.ranks.boxes import full, overlap, volume
from ckptload.ranks.placing import Cut

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ckptload.dtypes import DType
    from ckptload.errors import UnsupportedTypeError
    from ckptload.formats.entry import Span
    from ckptload.formats.index import Note
    from ckptload.ranks.assembling import Region
    from ckptload.ranks.boxes import Box
    from ckptload.ranks.copies import Copies
    from ckptload.ranks.members import Member
    from ckptload.ranks.placing import Place
    from ckptload.sources.base import Source


class Wanted(NamedTuple):
    """An entry of the set as it is given.

    Attributes:
        place: where it lies.
        box: the part that is wanted of a tensor; None for all of it, and for what is no tensor.
    """

    place: Place
    box: Box | None = None


class SetIndex:
    """The entries of a set by name.

    Args:
        label: what to call the set in messages.
        members: its files.
        wanted: its entries, in their order.
        refused: the error for each entry that cannot be given.
        copies: compares copies.
        notes: what was decided.
    """

    def __init__(
        self,
        label: str,
        members: Sequence[Member],
        wanted: Mapping[str, Wanted],
        refused: Mapping[str, CheckpointError],
        copies: Copies,
        notes: Sequence[Note],
    ) -> None:
        self.format = CKPT if any(member.index.format == CKPT for member in members) else SAFETENSORS
        self.cipher = next((member.index.cipher for member in members if member.index.cipher is not None), None)
        self.foreign = _foreign(members)
        self.metadata = _metadata(members)
        self.notes = notes
        self._members = members
        self._wanted = wanted
        self._refused = refused
        self._copies = copies
        shared: dict[int, Slices] = {}
        regions = [_region(name, one, copies, shared) for name, one in wanted.items()]
        self._regions = regions
        self._set_source = AssembledSource(label, members, regions)
        self.source: Source = self._set_source
        self._starts = dict(zip(wanted, self._set_source.starts, strict=False))
        self._names = [*wanted, *(name for name in refused if name not in wanted)]

    def names(self) -> Sequence[str]:
        """Return the names in the order of the files."""
        return self._names

    def public_names(self, chosen: Iterable[str]) -> dict[str, str]:
        """Return a dictionary from each name to itself: names are public here already."""
        return {name: name for name in chosen}

    def entry(self, name: str) -> Entry:
        """Return the entry of a whole tensor, or of the part that is wanted.

        Raises:
            CheckpointError: a slice is damaged, or does not fit the others.
            CorruptCheckpointError: no file that is here holds all of it.
        """
        if name in self._refused:
            # A copy, since it may be raised again and again.
            raise copy(self._refused[name])
        place, box = self._wanted[name]
        start = self._starts[name]
        if isinstance(place, Cut):
            _check_covered(name, place, box or full(place.shape), self.source.label)
            return _tensor(name, place.dtype, box or full(place.shape), start)
        entry = place.holders[0].entry(name)
        if box is not None and entry.dtype is not None:
            return _tensor(name, entry.dtype, box, start)
        return _moved(entry, start)

    def unsupported(self, entries: Sequence[Entry]) -> UnsupportedTypeError:
        """Return the error for entries of types that are not supported; it names the file of the first."""
        member = next(member for member in self._members if entries[0].name in member.names)
        error = member.index.unsupported(entries)
        error.path = member.label
        return error

    def facts(self) -> Facts:
        """Return facts about all files together."""
        every_one = [member.index.facts() for member in self._members]
        return Facts(
            sum(one.size for one in every_one),
            bool(every_one) and all(one.has_checksum for one in every_one),
            bool(every_one) and all(one.authenticated for one in every_one),
            every_one[0].written_by if len({one.written_by for one in every_one}) == 1 else None,
            every_one[0].evidence if len({one.evidence for one in every_one}) == 1 else (),
            self.foreign,
        )

    def verify_crc(self) -> Coverage | None:
        """Check every file that has a checksum.

        Returns:
            What the sums of all files cover; None if one of them has none.
        """
        found = []
        for member in self._members:
            with member.named():
                found.append(member.index.verify_crc())
        sums = [one for one in found if one is not None]
        return by_all(sums) if found and len(sums) == len(found) else None

    def reach(self) -> Coverage:
        """Return what checks of the files can cover: which files belong to the set is in none of them."""
        gap = "nothing covers which files belong to the set, so that a rank may be of another run"
        return Coverage(bytes=True, entries=True, order=True, completeness=False, gaps=(gap,))

    def check_index(self) -> list[CheckpointError]:
        """Compare all copies whole, and each file with its own index."""
        found = list(chain.from_iterable(member.index.check_index() for member in self._members))
        for name, _, holders in every(self._regions):
            found.extend(self._copies.differing(name, holders))
        return found


def _region(name: str, wanted: Wanted, copies: Copies, shared: dict[int, Slices]) -> Region:
    """Return where an entry is read from; `shared` has the slices of each dictionary of boxes, by its identity."""
    place, box = wanted
    if isinstance(place, Cut):
        slices = shared.setdefault(id(place.boxes), Slices(place.boxes))
        return Assembled(name, place.dtype.itemsize, box or full(place.shape), slices, copies)
    if box is not None:
        entry = place.holders[0].entry(name)
        if entry.dtype is not None:
            return Assembled(name, entry.dtype.itemsize, box, Slices({full(entry.shape): place.holders}), copies)
    return Stored(name, place.holders, copies)


def _tensor(name: str, dtype: DType, box: Box, start: int) -> Entry:
    shape = tuple(stop - begin for begin, stop in box)
    size = math.prod(shape) * dtype.itemsize
    return Entry(name, TENSOR, dtype, shape, size, ((start, start + size),), start)


def _moved(entry: Entry, start: int) -> Entry:
    """Return an entry at another address, where its data is in one span."""
    if entry.kind != MAP:
        return entry._replace(spans=((start, start + entry.stored),), offset=start, described=())
    parts = []
    at = start
    for part in entry.parts:
        span: Span = (at, at + part.stored)
        parts.append(part._replace(spans=(span,), offset=at, described=()))
        at = span[1]
    return entry._replace(parts=tuple(parts), offset=start, described=())


def _check_covered(name: str, place: Cut, box: Box, label: str) -> None:
    """Raise CorruptCheckpointError if no member holds a part of what is wanted."""
    if place.missing and not _is_covered(place, box):
        raise CorruptCheckpointError(
            place.missing,
            name=name,
            path=label,
            hint="put the missing files, or those of replicas, beside the others",
        )


def _is_covered(place: Cut, box: Box) -> bool:
    parts = (overlap(box, other) for other in place.boxes)
    return sum(volume(part) for part in parts if part is not None) >= volume(box)


def _metadata(members: Sequence[Member]) -> dict[str, str]:
    """Return the metadata of safetensors files as far as it is about the whole: strings that a conversion kept."""
    texts: dict[str, str] = {}
    for member in members:
        with member.named():
            texts = strings.kept(member.index.metadata) | texts
    return dict(strings.entry_for(texts))


def _foreign(members: Sequence[Member]) -> Foreign:
    found = [member.index.foreign for member in members]
    return Foreign(
        sum(one.number for one in found),
        sum(one.nbytes for one in found),
        next((one.first for one in found if one.number), ()),
    )
