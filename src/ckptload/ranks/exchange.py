"""The live protocol: each rank has read its own file, and what it lacks comes from a rank that has it.

1. Every rank says what it holds, also one without a group: nobody is waited for in vain.
2. Every rank says what it wants, once it has checked everything that can be checked.
3. The bytes of each wanted name are broadcast in its group by the lowest rank that holds them, group by group and name
   by name in one order. Bytes, not numbers: -0.0 stays what it is, and every dtype passes.

A rank that fails says so in the next step, in the place of what it would have said, and then all fail. While bytes are
broadcast there is no such step, so that a rank that cannot read sends zeros, and says so at the end.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from ckptload.dtypes import BY_NAME
from ckptload.errors import ArgumentError, CheckpointError, Hint, RankError
from ckptload.messages import counted
from ckptload.ranks import redundancy
from ckptload.ranks.communicators import Adapter, check_place

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from ckptload.dtypes import Array, DType
    from ckptload.ranks.communicators import Communicator, Group
    from ckptload.ranks.strategy import Strategy

#: Bytes that one broadcast moves: large enough to be fast, and a multiple of every item size.
PIECE: Final = 16 << 20
#: Characters of an error that other ranks are told.
_TOLD: Final = 2000
_GOOD: Final = b"+"
_BAD: Final = b"-"


class Held(NamedTuple):
    """What a rank says of a tensor that it holds."""

    dtype: DType
    shape: tuple[int, ...]


class Conversation:
    """Steps that all ranks take together, or none.

    Attributes:
        rank: the number of this rank.
        size: the number of ranks.
        is_over: whether there is nobody to talk to any more, because a step has failed.
    """

    def __init__(self, communicator: Communicator) -> None:
        self.rank, self.size = check_place(communicator.rank, communicator.size)
        self.is_over = False
        self._communicator = communicator

    def together(self, work: Callable[[], bytes]) -> list[bytes]:
        """Do this rank's part of a step, and return what each rank's part gave.

        Raises:
            RankError: another rank's part failed, or the communicator did.
            Exception: this rank's own part failed; the others are told.
        """
        failure: Exception | None = None
        try:
            said = _GOOD + work()
        except Exception as error:  # noqa: BLE001 -- raised below, once the others know
            failure, said = error, _BAD + _told(error)
        try:
            answers = self._answers(said)
        except RankError:
            if failure is not None:
                raise failure from failure.__cause__
            raise
        bad = {rank: answer for rank, answer in enumerate(answers) if answer[:1] != _GOOD}
        self.is_over = bool(bad)
        if failure is not None:
            raise failure
        if bad:
            raise _failed(bad)
        return [answer[1:] for answer in answers]

    def _answers(self, said: bytes) -> list[bytes]:
        answers = self._called(lambda: self._communicator.all_gather(said))
        if not isinstance(answers, list) or len(answers) != self.size:
            self.is_over = True
            raise RankError(f"all_gather of the communicator must return a list of {counted(self.size, 'answer')}")
        return [bytes(answer) for answer in answers]

    def prepare(self, groups: Sequence[Group]) -> None:
        """Have groups made by a communicator that wants it."""
        prepare = getattr(self._communicator, "prepare", None)
        if prepare is not None:
            self._called(lambda: prepare(groups))

    def broadcast(self, content: Array, root: int, ranks: Group) -> None:
        """Fill uint8 elements on all ranks of a group with those of `root`."""
        self._called(lambda: self._communicator.broadcast(content.data, root, ranks))

    def close(self) -> None:
        """Give up the groups of a communicator of ours; only if nothing has failed, as all ranks do it."""
        if isinstance(self._communicator, Adapter) and not self.is_over:
            self._called(self._communicator.close)

    def _called(self, call: Callable[[], object]) -> object:
        """Call the communicator, whose failures may be of any class; after one, nothing more is said."""
        try:
            return call()
        except Exception as error:
            self.is_over = True
            raise RankError(
                f"the ranks cannot talk: {type(error).__name__}: {error}",
                hint="see what the other ranks say; one of them may have ended",
            ) from error


def _told(error: Exception) -> bytes:
    """Return what the other ranks are told of a failure. What others than we say may hold anything."""
    text = str(error) if isinstance(error, CheckpointError) else type(error).__name__
    return text[:_TOLD].encode("utf-8", "backslashreplace")


def _failed(bad: Mapping[int, bytes]) -> RankError:
    """Return the error of a rank whose own part was good; the first rank that failed says why."""
    rank = min(bad)
    more = "" if len(bad) == 1 else f" (and {counted(len(bad) - 1, 'other rank')})"
    return RankError(
        f"rank {rank}{more} failed, and so no rank loads anything: {bad[rank][1:].decode('utf-8', 'replace')}"
    )


def check_size(strategy: Strategy, size: int) -> None:
    """Raise ArgumentError unless a strategy is for this number of ranks."""
    if strategy.ranks != size:
        raise ArgumentError(
            f"the strategy is for {counted(strategy.ranks, 'rank')}, and the communicator has {size}",
            hint="pass the strategy of this job, or start as many processes",
        )


class Grouping:
    """Which ranks hold the same slice of a name, as this rank sees it.

    Attributes:
        names: the names that have a layout in this rank's stage; None without a strategy, where all have one.
        groups: the groups of more than one rank, of all stages, in the one order in which all ranks make them.
        digest: the same on all ranks if they have the same strategy.
    """

    def __init__(self, strategy: Strategy | None, rank: int, size: int) -> None:
        if strategy is not None:
            check_size(strategy, size)
        self._everyone = tuple(range(size))
        self._mine: dict[str, Group] = {}
        self.names: Collection[str] | None = None
        every = {self._everyone}
        said = "one group"
        if strategy is not None:
            every, said = set(), ""
            for stage, first in enumerate(strategy.firsts):
                found = redundancy.groups(strategy.layouts(stage), first)
                if stage == strategy.stage_of(rank):
                    self._mine = _mine(found, rank)
                    self.names = found
                distinct = {id(groups): groups for groups in found.values()}
                every |= {group for groups in distinct.values() for group in groups}
                said += "".join(f"{stage} {name} {strategy.layout(name, stage)!r}" for name in found)
        self.groups = sorted(group for group in every if len(group) > 1)
        self.digest = hashlib.sha256(f"{said}{self.groups}".encode("utf-8", "backslashreplace")).hexdigest()

    def of(self, name: str) -> Group:
        """Return the group of this rank that holds a name; empty if it is this rank's alone, or nothing is known."""
        return self._everyone if self.names is None else self._mine.get(name, ())

    def mates(self, rank: int) -> set[int]:
        """Return the ranks that are in a group with this one."""
        return {other for group in self.groups if rank in group for other in group}


def _mine(found: Mapping[str, Sequence[Group]], rank: int) -> dict[str, Group]:
    """Return the group that a rank is in, of each name for which it has company."""
    known: dict[int, Group] = {}
    for groups in found.values():
        if id(groups) not in known:
            known[id(groups)] = next((group for group in groups if rank in group and len(group) > 1), ())
    return {name: known[id(groups)] for name, groups in found.items() if known[id(groups)]}


class Holdings:
    """What this rank and those in a group with it hold.

    Attributes:
        roots: for each name that somebody in the name's group holds, the lowest rank that does, and what it says of it.
        several: names that several ranks of a group hold.
    """

    def __init__(self, conversation: Conversation, grouping: Grouping, offers: Sequence[bytes]) -> None:
        if len({offer[:64] for offer in offers}) > 1:
            raise ArgumentError(
                "the ranks have different strategies", hint="pass the strategy of the whole job to every rank"
            )
        self._conversation, self._grouping = conversation, grouping
        self.roots: dict[str, tuple[int, Held]] = {}
        self.several: list[str] = []
        for rank in sorted(grouping.mates(conversation.rank)):
            for name, held in _decoded(offers[rank][64:]):
                if rank in grouping.of(name):
                    if name in self.roots:
                        self.several.append(name)
                    self.roots.setdefault(name, (rank, held))

    def check_copies(self, digest: Callable[[str], str | None]) -> None:
        """Refuse copies that differ, where no strategy says that they are copies: slices would be taken for each other.

        Args:
            digest: returns what tells the content of a tensor of this rank from others; None if it has none.

        Raises:
            ArgumentError: two ranks hold different tensors of one name.
        """
        if self._grouping.names is not None:
            return
        names = sorted(set(self.several))
        said = self._conversation.together(lambda: json.dumps([digest(name) for name in names]).encode())
        rows = [json.loads(each) for each in said]
        for name, *digests in zip(names, *rows, strict=True):
            different = {each: rank for rank, each in reversed([*enumerate(digests)]) if each is not None}
            if len(different) > 1:
                one, other, *_ = sorted(different.values())
                raise ArgumentError(
                    f"it differs between rank {one} and rank {other}; slices need their strategy",
                    name=name,
                    hint=Hint("{strategy}, the strategy file of the job that saved the files"),
                )


def offer(grouping: Grouping, held: Mapping[str, Held]) -> bytes:
    """Return what a rank says of what it holds."""
    rows = [[name, each.dtype.name, each.shape] for name, each in held.items()]
    return grouping.digest.encode() + json.dumps(rows).encode()


def _decoded(said: bytes) -> Iterator[tuple[str, Held]]:
    for name, dtype, shape in json.loads(said):
        yield name, Held(BY_NAME[dtype], tuple(shape))


def wishes(names: Iterable[str]) -> bytes:
    """Return what a rank says of the names that it wants from others."""
    return json.dumps(list(names)).encode()


class Sharing(NamedTuple):
    """A tensor that is about to be broadcast.

    Attributes:
        name: its name in the files.
        root: the rank that has it.
        ranks: the group in which it is broadcast.
        held: its dtype and shape.
    """

    name: str
    root: int
    ranks: Group
    held: Held


def agenda(grouping: Grouping, holdings: Holdings, wanted: Sequence[bytes]) -> list[Sharing]:
    """Return what is broadcast in groups of this rank, in the order in which all their ranks do it.

    Args:
        grouping: the groups.
        holdings: who holds what.
        wanted: what each rank has said of what it wants (`wishes`).
    """
    by_group: dict[Group, list[str]] = {}
    wishers = {rank: set(json.loads(said)) for rank, said in enumerate(wanted)}
    for name in sorted(holdings.roots):
        group = grouping.of(name)
        if any(name in wishers[rank] for rank in group):
            by_group.setdefault(group, []).append(name)
    # Dictionaries keep the order of the groups' first names, which is the same for all ranks of a group; two groups
    # with the same first name have no rank in common.
    return [
        Sharing(name, holdings.roots[name][0], group, holdings.roots[name][1])
        for group, names in by_group.items()
        for name in names
    ]


def _not_taken(_piece: Array, _start: int) -> None:
    """Take nothing of what arrives."""


class Sink(NamedTuple):
    """Where a tensor that arrives is put.

    Attributes:
        memory: uint8 view of memory of its size, which it is received into; or None.
        take: called with each piece, uint8 elements that it must not keep, and the piece's place in bytes.
    """

    memory: Array | None = None
    take: Callable[[Array, int], None] = _not_taken


_NOWHERE: Final = Sink()


def share(
    conversation: Conversation,
    sharings: Sequence[Sharing],
    source: Callable[[str], Array],
    sink: Callable[[Sharing], Sink],
) -> None:
    """Broadcast tensors, and put those that arrive into their places.

    Args:
        conversation: the ranks.
        sharings: what `agenda` returned.
        source: returns an array of this rank's file; it may be the file's own memory, and is not changed.
        sink: returns where a tensor is put; called for those that other ranks have.

    Raises:
        RankError: the communicator failed.
        Exception: what `source` or a sink raised first, once everything is broadcast.
    """
    failures: list[Exception] = []
    for sharing in sharings:
        size = _size(sharing.held)
        mine = sharing.root == conversation.rank
        content, place = None, _NOWHERE
        try:
            if mine:
                content = as_bytes(source(sharing.name))
            else:
                place = sink(sharing)
        except Exception as error:  # noqa: BLE001 -- the others wait for this rank; raised at the end
            failures.append(error)
        if mine and content is not None and content.size != size:
            failures.append(ArgumentError("the values were changed while they were loaded", name=sharing.name))
            content = None
        if content is None:
            # Nobody reads it where it should have been sent; where it arrives, it fills the net.
            content = place.memory
        for start in range(0, size, PIECE):
            length = min(PIECE, size - start)
            piece = np.zeros(length, np.uint8) if content is None else content[start : start + length]
            conversation.broadcast(piece, sharing.root, sharing.ranks)
            try:
                place.take(piece, start)
            except Exception as error:  # noqa: BLE001 -- likewise
                failures.append(error)
                place = _NOWHERE
    if failures:
        raise failures[0]


def as_bytes(array: Array) -> Array:
    """View an array as uint8 elements, or copy it if it is not contiguous."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _size(held: Held) -> int:
    return int(np.prod(held.shape, dtype=np.int64, initial=1)) * held.dtype.itemsize
