"""Where each entry of a set lies: which boxes of a tensor there are, and who holds each (docs/ranks.md, "Which names").

Shapes and names only; nothing here reads a value.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

from ckptload.errors import ArgumentError, CheckpointError, CorruptCheckpointError, Hint
from ckptload.formats.entry import TENSOR
from ckptload.messages import counted
from ckptload.ranks.boxes import volume

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ckptload.dtypes import DType
    from ckptload.formats.entry import Entry
    from ckptload.ranks.boxes import Box
    from ckptload.ranks.layout import SliceLayout
    from ckptload.ranks.members import Member
    from ckptload.ranks.strategy import Strategy

#: Gradients that are summed over steps; they are saved without the optimizer shard that their layout names.
ACCUMULATED: Final = "accu_grads."


class Cut(NamedTuple):
    """A tensor of which several members hold parts.

    Attributes:
        dtype: type of its elements.
        shape: shape of the whole.
        boxes: the members that hold each box, the first of which is read.
        missing: what no member holds, in words; empty if nothing is missing.
    """

    dtype: DType
    shape: tuple[int, ...]
    boxes: dict[Box, list[Member]]
    missing: str = ""


class Whole(NamedTuple):
    """An entry that members hold as it is; the first is read."""

    holders: list[Member]


Place = Cut | Whole


class Placing:
    """Places the entries of rank files by a strategy.

    Args:
        members: the files, in the order of ranks.
        strategy: the layouts.

    Attributes:
        borrowed: names that have no layout, each with the weight whose layout they got.

    Raises:
        ArgumentError: there is a file of a rank that the strategy does not have.
    """

    def __init__(self, members: Sequence[Member], strategy: Strategy) -> None:
        self.borrowed: dict[str, str] = {}
        self._strategy = strategy
        self._members = {member.number: member for member in members}
        self._by_stage: dict[int, list[tuple[int, Member]]] = {}
        self._cuts: dict[tuple[object, ...], Cut] = {}
        beyond = [rank for rank in self._members if rank >= strategy.ranks]
        if beyond:
            raise ArgumentError(
                f"the strategy covers {counted(strategy.ranks, 'rank')}, and there are files of "
                f"{counted(len(beyond), 'other rank')}: {', '.join(map(str, beyond[:8]))}",
                hint="give the strategy of the run that wrote the files; with pipeline stages, that of all stages",
            )
        # Tensors of one layout and shape lie alike, and there are few layouts.
        self._boxes: dict[tuple[SliceLayout, tuple[int, ...]], dict[int, Box]] = {}
        self._fitted: dict[tuple[SliceLayout, tuple[int, ...]], SliceLayout] = {}

    def place(self, name: str, holders: Sequence[Member]) -> Place:
        """Place the entry of a name.

        Raises:
            CheckpointError: what the members hold does not fit the layout, or each other.
        """
        base = self._base(name, holders)
        if base is None or any(member.entry(name).kind != TENSOR for member in holders):
            # Nothing says that what other ranks hold under this name is a copy.
            return Whole(list(holders[:1]))
        found: Cut | None = None
        try:
            # In real pipelines, a shared parameter is kept by its first stage.
            for stage in self._strategy.stages_of(base):
                more = self._in_stage(name, base, stage)
                found = more if found is None or more is None else _joined(found, more)
                if found is not None and not found.missing:
                    break
        except CheckpointError as error:
            error.name = error.name or name
            raise
        if found is None:
            raise ArgumentError(
                f"the entry is in files of {_ranks(holders)}, and the strategy has its layout on other stages only",
                name=name,
                hint="give the strategy of the run that wrote the files",
            )
        return found

    def _base(self, name: str, holders: Sequence[Member]) -> str | None:
        """Return the name whose layout an entry has: its own, or that of the weight whose name ends it."""
        if self._strategy.stages_of(name):
            return name
        rest = name
        while "." in rest:
            rest = rest.partition(".")[2]
            stages = self._strategy.stages_of(rest)
            if stages:
                ranks = [self._strategy.ranks_of(stage) for stage in stages]
                both = [
                    member
                    for member in holders
                    if rest in member.names and any(member.number in of_stage for of_stage in ranks)
                ]
                if both and all(_alike(member.entry(name), member.entry(rest)) for member in both):
                    self.borrowed[name] = rest
                    return rest
                return None
        return None

    def _in_stage(self, name: str, base: str, stage: int) -> Cut | None:
        """Return what the ranks of a stage hold; None if none of them has the entry."""
        held = {rank: member for rank, member in self._of_stage(stage) if name in member.names}
        if not held:
            return None
        entries = {rank: member.entry(name) for rank, member in held.items()}
        given = self._strategy.layout(base, stage)
        kinds = {(entry.shape, entry.dtype) for entry in entries.values()}
        if len(kinds) > 1 or name.startswith(ACCUMULATED):
            return self._cut(name, stage, given, held, entries)
        # Of thousands of names, each on a thousand ranks, most lie alike, and share their boxes.
        key = (given, stage, *kinds, *held)
        found = self._cuts.get(key)
        if found is None:
            found = self._cuts[key] = self._cut(name, stage, given, held, entries)
        return found

    def _of_stage(self, stage: int) -> list[tuple[int, Member]]:
        """Return the members of a stage, each with its rank within it."""
        found = self._by_stage.get(stage)
        if found is None:
            ranks = self._strategy.ranks_of(stage)
            found = [(rank - ranks.start, member) for rank, member in self._members.items() if rank in ranks]
            self._by_stage[stage] = found
        return found

    def _cut(
        self, name: str, stage: int, given: SliceLayout, held: dict[int, Member], entries: dict[int, Entry]
    ) -> Cut:
        """Return what ranks of a stage hold, from the entry of each."""
        ranks = self._strategy.ranks_of(stage)
        layouts = {shape: self._layout(given, shape) for shape in {entry.shape for entry in entries.values()}}
        if not all(_is_part(layouts[entry.shape], rank, entry.shape) for rank, entry in entries.items()):
            layouts = {shape: layout.even() for shape, layout in layouts.items()}
        if name.startswith(ACCUMULATED):
            layouts = {shape: self._accumulated(name, layout, held, stage) for shape, layout in layouts.items()}
        (some, kept), *others = entries.items()
        shape = layouts[kept.shape].whole(kept.shape)
        for rank, entry in others:
            other = layouts[entry.shape].whole(entry.shape)
            if other != shape or entry.dtype is not kept.dtype:
                raise _misfit(name, held[some], kept, held[rank], entry)
        boxes: dict[Box, list[Member]] = {}
        for rank, member in held.items():
            box = self._box(layouts[entries[rank].shape], rank, shape)
            size = tuple(stop - start for start, stop in box)
            if size != entries[rank].shape:
                raise _misplaced(name, member, entries[rank], size)
            boxes.setdefault(box, []).append(member)
        layout = layouts[kept.shape]
        lacking = self._lacking(layout, shape, boxes, ranks)
        if kept.dtype is None:
            raise CorruptCheckpointError("the type of a slice is not known", name=name, path=held[some].label)
        return Cut(kept.dtype, shape, boxes, lacking)

    def _layout(self, layout: SliceLayout, shape: tuple[int, ...]) -> SliceLayout:
        key = (layout, shape)
        found = self._fitted.get(key)
        if found is None:
            found = self._fitted[key] = layout.fitted(shape, whole=False)
        return found

    def _box(self, layout: SliceLayout, rank: int, shape: tuple[int, ...]) -> Box:
        known = self._boxes.setdefault((layout, shape), {})
        found = known.get(rank)
        if found is None:
            found = known[rank] = tuple((part.start, part.stop) for part in layout.box(rank, shape))
        return found

    def _accumulated(self, name: str, layout: SliceLayout, held: Mapping[int, Member], stage: int) -> SliceLayout:
        """Return the layout without the optimizer shard if only that gives the shape of the weight."""
        weight = name.removeprefix(ACCUMULATED)
        if not layout.shard or stage not in self._strategy.stages_of(weight):
            return layout
        for member in held.values():
            if weight in member.names:
                mine, shape = member.entry(name).shape, member.entry(weight).shape
                whole = self._layout(self._strategy.layout(weight, stage), shape).whole(shape)
                plain = layout.unsharded()
                return plain if layout.whole(mine) != whole == plain.whole(mine) else layout
        return layout

    def _lacking(self, layout: SliceLayout, shape: tuple[int, ...], boxes: Mapping[Box, object], ranks: range) -> str:
        """Say what no file holds, and which ranks could; boxes of one layout never overlap."""
        total, there = math.prod(shape), sum(map(volume, boxes))
        if there >= total:
            return ""
        owners = []
        for rank in ranks:
            # Only the first few are said.
            if rank not in self._members and self._box(layout, rank - ranks.start, shape) not in boxes:
                owners.append(str(rank))
                if len(owners) > _SAID:
                    break
        said = f"rank {owners[0]} holds" if len(owners) == 1 else f"ranks {', '.join(owners[:_SAID])} hold"
        if len(owners) > _SAID:
            said = said.replace(" hold", ", ... hold")
        return f"{total - there} of {total} elements are in no file that is here; " + (
            f"{said} them" if owners else "the ranks that hold them have files without the entry"
        )


#: Ranks that a message names.
_SAID: Final = 16


def without_strategy(name: str, holders: Sequence[Member]) -> Whole:
    """Place an entry of ranks that hold the same: all must have one kind, dtype and shape.

    Raises:
        ArgumentError: they do not.
    """
    first = holders[0].entry(name)
    for member in holders[1:]:
        other = member.entry(name)
        if (first.kind, first.dtype, first.shape, first.nbytes) != (other.kind, other.dtype, other.shape, other.nbytes):
            raise differs(name, holders[0], member)
    return Whole(list(holders))


def differs(name: str, first: Member, second: Member) -> ArgumentError:
    """Return the error for an entry that two ranks hold differently, when nothing says how it was cut."""
    return ArgumentError(
        f"{name!r} differs between rank {first.number} and rank {second.number}; slices need their strategy",
        path=second.label,
        hint=Hint(
            "give the strategy file of the run that wrote them",
            "; if only statistics such as moving averages differ, {first_copy}",
        ),
    )


def _alike(entry: Entry, other: Entry) -> bool:
    return entry.kind == other.kind == TENSOR and entry.shape == other.shape


def _is_part(layout: SliceLayout, rank: int, shape: tuple[int, ...]) -> bool:
    """Tell whether a slice has the rows that an uneven layout gives its part."""
    if not layout.is_uneven or not shape:
        return False
    return layout.split[layout.part(rank)] == shape[0]


def _joined(found: Cut, more: Cut) -> Cut:
    """Return what two stages hold together; the first counts where both hold something."""
    if (found.dtype, found.shape) != (more.dtype, more.shape):
        return found
    # Boxes of two layouts may overlap, so that what is missing cannot be told by adding.
    return more._replace(boxes={**more.boxes, **found.boxes}) if not more.missing else found


def _ranks(holders: Sequence[Member]) -> str:
    return f"rank {', '.join(str(member.number) for member in holders[:_SAID])}"


def _misfit(name: str, first: Member, one: Entry, second: Member, other: Entry) -> CorruptCheckpointError:
    return CorruptCheckpointError(
        f"the slice of rank {second.number} is {other.dtype} of shape {list(other.shape)}, which does not fit "
        f"{one.dtype} of shape {list(one.shape)} of rank {first.number} in one tensor",
        name=name,
        path=second.label,
        hint="check that all files are of one run, and that the strategy is its own",
    )


def _misplaced(name: str, member: Member, entry: Entry, size: tuple[int, ...]) -> CorruptCheckpointError:
    return CorruptCheckpointError(
        f"the slice of rank {member.number} has shape {list(entry.shape)}, its place in the whole has {list(size)}",
        name=name,
        path=member.label,
        hint="check that all files are of one run, and that the strategy is its own",
    )
