"""Whole tensors as a source: nothing is read before it is asked for, and then only that, through bounded memory.

Tensors stand one after the other at addresses that no file has. A range of one is read from the slices that meet it.
What is contiguous in a slice and in the whole goes straight to its place; the rest goes through scratch memory.
"""

from __future__ import annotations

import math
import threading
from bisect import bisect_right
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from ckptload import threads
from ckptload.errors import ClosedReaderError
from ckptload.formats.entry import descriptions
from ckptload.formats.item import as_bytes
from ckptload.ranks.boxes import contiguous_from, cut, flat, full, inside, overlap, volume
from ckptload.sources.base import Profile, Source

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ckptload.dtypes import Array
    from ckptload.ranks.boxes import Box
    from ckptload.ranks.copies import Copies
    from ckptload.ranks.members import Member
    from ckptload.sources.base import Request

    Numbers = np.ndarray[Any, np.dtype[np.int64]]
    #: The members that were read, each with the names of the entries.
    Touched = dict[Member, set[str]]

#: Bytes that are assembled at a time, by each thread.
PIECE: Final = 4 << 20
#: Addresses between two entries, in bytes: more than is ever read along with what is wanted.
APART: Final = 1 << 20
#: What is wanted of each row of a slice is read by itself if that skips more than this many bytes of each row, ...
_SKIPPED: Final = 64 << 10
#: ... unless it is shorter than this many bytes: then a read of its own takes longer than reading what it skips.
_SHORT: Final = 256


class Stored:
    """An entry as a file has it.

    Args:
        name: the entry.
        holders: the members that hold it, the first of which is read.
        copies: compares the others with it.

    Attributes:
        nbytes: size of its data in the file.
    """

    def __init__(self, name: str, holders: Sequence[Member], copies: Copies) -> None:
        self.name = name
        self.holders = holders
        self._copies = copies
        entry = holders[0].entry(name)
        self.nbytes = entry.stored + sum(part.stored for part in entry.parts)

    def read(self, start: int, out: memoryview, touched: Touched) -> None:
        """Fill `out` with the data from byte `start` on."""
        for member in (self.holders[0], *self._copies.compare(self.name, None, self.holders)):
            touched.setdefault(member, set()).add(self.name)
        self.holders[0].read_stored(self.name, start, out)


class _Slice(NamedTuple):
    """One part of a tensor, and who holds it."""

    box: Box
    holders: Sequence[Member]


class Slices:
    """The slices of a tensor. Tensors that lie alike share them, since there may be thousands of each.

    Args:
        boxes: who holds which part.
    """

    def __init__(self, boxes: Mapping[Box, Sequence[Member]]) -> None:
        self._boxes = boxes
        self._known: tuple[list[_Slice], Numbers, Numbers] | None = None

    def meeting(self, box: Box) -> Iterator[_Slice]:
        """Yield the slices that hold something of a box of the whole tensor."""
        if self._known is None:
            every_one = [_Slice(*each) for each in self._boxes.items()]
            # As arrays, because a million ranges may be asked for. They are made late: few tensors may be read.
            edges = np.array([each.box for each in every_one], np.int64).reshape(len(every_one), len(box), 2)
            self._known = (every_one, edges[:, :, 0], edges[:, :, 1])
        found, starts, stops = self._known
        if not box:
            yield from found
            return
        wanted = np.array(box, np.int64)
        meets = ((starts < wanted[:, 1]) & (stops > wanted[:, 0])).all(axis=1)
        yield from (found[at] for at in np.flatnonzero(meets))


class Assembled:
    """A tensor, or a part of one, that is made of slices.

    Args:
        name: the tensor.
        item: size of an element, in bytes.
        box: the part of the whole tensor that is wanted.
        slices: who holds which part.
        copies: compares holders of the same part.

    Attributes:
        nbytes: its size.
    """

    def __init__(self, name: str, item: int, box: Box, slices: Slices, copies: Copies) -> None:
        self.name = name
        self._item = item
        self._shape = tuple(stop - start for start, stop in box)
        self._origin = tuple(start for start, _ in box)
        self._copies = copies
        self._box = box
        self._slices = slices
        self.nbytes = math.prod(self._shape) * item

    @property
    def slices(self) -> list[_Slice]:
        """The slices that hold something of it."""
        return list(self._slices.meeting(self._box))

    def read(self, start: int, out: memoryview, touched: Touched) -> None:
        """Fill `out` with the data from byte `start` on."""
        item = self._item
        first, last = start // item, -(-(start + len(out)) // item)
        whole = (last - first) * item == len(out)
        # A range that cuts an element in two is made of a longer one; nobody asks for large ones.
        target = out if whole else memoryview(bytearray((last - first) * item))
        done = 0
        for box in cut(self._shape, first, last, max(PIECE // item, 1)):
            size = volume(box) * item
            self._assemble(box, target[done : done + size], touched)
            done += size
        if not whole:
            out[:] = target[start - first * item :][: len(out)]

    def _assemble(self, box: Box, out: memoryview, touched: Touched) -> None:
        """Fill `out` with a box of the tensor whose elements stand one after the other in it."""
        wanted = tuple((start + at, stop + at) for (start, stop), at in zip(box, self._origin, strict=True))
        target = _elements(out, tuple(stop - start for start, stop in wanted), self._item)
        for each in self._slices.meeting(wanted):
            part = overlap(wanted, each.box)
            if part is None:
                continue
            for member in (each.holders[0], *self._copies.compare(self.name, each.box, each.holders)):
                touched.setdefault(member, set()).add(self.name)
            # The ellipsis makes a view of a scalar, too.
            place: tuple[Any, ...] = (*(slice(*edges) for edges in inside(part, wanted)), ...)
            self._read(each, inside(part, each.box), target[place])

    def _read(self, each: _Slice, part: Box, out: Array) -> None:
        """Read a part of a slice, given by places in it, into elements that need not stand one after the other."""
        shape = tuple(stop - start for start, stop in each.box)
        axis = contiguous_from(part, shape)
        runs = math.prod(stop - start for start, stop in part[:axis])
        if runs == 1:
            self._read_run(each, flat(part, shape), out)
            return
        lead = next(at for at, (start, stop) in enumerate(part) if stop - start > 1)
        row = math.prod(shape[lead + 1 :]) * self._item
        run = volume(part) * self._item // runs
        if row > PIECE or (run >= _SHORT and row - run > _SKIPPED):
            self._read_runs(each, part, axis, out)
            return
        start, stop = part[lead]
        several = max(PIECE // row, 1)
        for at in range(start, stop, several):
            end = min(at + several, stop)
            rows = np.empty((end - at, *shape[lead + 1 :], *out.shape[len(part) :]), out.dtype)
            whole = (*part[:lead], (at, end), *full(shape[lead + 1 :]))
            self._read_run(each, flat(whole, shape), rows)
            cut = rows[(slice(None), *(slice(*edges) for edges in part[lead + 1 :]))]
            out[(*[slice(None)] * lead, slice(at - start, end - start))] = cut.reshape((*(1,) * lead, *cut.shape))

    def _read_runs(self, each: _Slice, part: Box, axis: int, out: Array) -> None:
        """Read what is wanted of each row by itself; the source reads neighbours together."""
        shape = tuple(stop - start for start, stop in each.box)
        requests: list[Request] = []
        scattered: list[tuple[Array, Array]] = []
        for index in np.ndindex(*(stop - start for start, stop in part[:axis])):
            place = (*((start + at, start + at + 1) for (start, _), at in zip(part, index, strict=False)), *part[axis:])
            row = out[index]
            target = row if row.flags.c_contiguous else np.empty(row.shape, row.dtype)
            if target is not row:
                scattered.append((row, target))
            requests.append((flat(place, shape) * self._item, as_bytes(target)))
        each.holders[0].read_many(self.name, requests)
        for row, target in scattered:
            row[...] = target

    def _read_run(self, each: _Slice, first: int, out: Array) -> None:
        """Read elements that stand one after the other in a slice, from the element `first` on."""
        target = out if out.flags.c_contiguous else np.empty(out.shape, out.dtype)
        each.holders[0].read_many(self.name, [(first * self._item, as_bytes(target))])
        if target is not out:
            out[...] = target


Region = Stored | Assembled


class AssembledSource(Source):
    """The entries of a set, one after the other at addresses of its own.

    Args:
        label: what to call it in messages.
        members: the files; they are closed with this source.
        regions: the entries, in their order.

    Attributes:
        starts: the address of each region.
    """

    # Pieces of an entry are then 1 MiB, which stays in the cache until it is written; larger ones took longer.
    profile = Profile(near=PIECE // 32, far=PIECE // 4)

    def __init__(self, label: str, members: Sequence[Member], regions: Sequence[Region]) -> None:
        self.label = label
        self.members = members
        self.files = tuple(file for member in members for file in member.source.files)
        self.authenticated = bool(members) and all(member.source.authenticated for member in members)
        self.unsealed = tuple(dict.fromkeys(text for member in members for text in member.source.unsealed))
        self._regions = regions
        self.starts = [0]
        for region in regions:
            self.starts.append(self.starts[-1] + region.nbytes + APART)
        self.size = self.starts[-1]
        self._closed = False
        self._touched = _Touched()

    def read_into(self, start: int, out: memoryview) -> None:
        """Fill `out` with a range of one entry; what is between entries reads as zeros."""
        self._read((start, out), self._touched.entries)

    def read_many(self, requests: Sequence[Request]) -> None:
        """Fill every ``(start, out)``, by two threads if there is much to read."""
        # Other threads may do the reading, but this one will call `check_unchanged`.
        read = partial(self._read, touched=self._touched.entries)
        jobs = [(start + at, out[at : at + PIECE]) for start, out in requests for at in range(0, len(out), PIECE)]
        if len(jobs) > 1 and sum(len(out) for _, out in jobs) >= PIECE:
            threads.share(read, jobs)
            return
        for job in jobs:
            read(job)

    def _read(self, request: Request, touched: Touched) -> None:
        start, out = request
        self.bounded(start, start + len(out))
        if self._closed:
            raise ClosedReaderError("the checkpoint was closed", path=self.label)
        while len(out):
            number = bisect_right(self.starts, start) - 1
            region, at = self._regions[number], start - self.starts[number]
            part = out[: max(region.nbytes - at, 0)]
            if part:
                region.read(at, part, touched)
            else:
                part = out[: self.starts[number + 1] - start]
                part[:] = bytes(len(part))
            start, out = start + len(part), out[len(part) :]

    def check_unchanged(self) -> None:
        """Check the files that this thread has read from since its last call; there may be too many to check all."""
        # What is found changed is not returned, so that it is forgotten in any case.
        touched, self._touched.entries = self._touched.entries, {}
        for member, names in touched.items():
            with member.named():
                member.source.check_near(descriptions(member.entry(name) for name in names))

    def authenticate(self) -> None:
        """Check the tags of every file."""
        for member in self.members:
            member.source.authenticate()

    def statuses(self) -> list[os.stat_result]:
        """Return those of all files."""
        found: list[os.stat_result] = []
        for member in self.members:
            with suppress(OSError):
                found.extend(member.source.statuses())
        return found

    def close(self) -> None:
        """Close all files."""
        self._closed = True
        for member in self.members:
            member.source.close()


class _Touched(threading.local):
    """What a thread has read."""

    def __init__(self) -> None:
        self.entries: Touched = {}


def _elements(out: memoryview, shape: tuple[int, ...], item: int) -> Array:
    """View memory as elements; those without an integer of their size have a last axis of bytes."""
    if item in _INTEGERS:
        return np.frombuffer(out, _INTEGERS[item]).reshape(shape)
    return np.frombuffer(out, np.uint8).reshape((*shape, item))


_INTEGERS: Final = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}


def every(regions: Iterable[Region]) -> Iterator[tuple[str, Box | None, Sequence[Member]]]:
    """Yield each part of each entry, and who holds it."""
    for region in regions:
        if isinstance(region, Stored):
            yield region.name, None, region.holders
        else:
            yield from ((region.name, each.box, each.holders) for each in region.slices)
