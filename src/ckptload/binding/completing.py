"""What a rank's own file lacks, because redundancy was removed, comes from the files of other ranks or from the ranks.

The net is planned as if the files were one: what other ranks hold counts as entries of the checkpoint. So every rule of
binding holds, and nothing is written before everything fits on all ranks.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import numpy as np

from ckptload.binding.supplies import Spec, supply_of
from ckptload.errors import ArgumentTypeError, BindingError, CheckpointError, Hint, UnsupportedTypeError
from ckptload.messages import counted, listed
from ckptload.ranks import communicators, exchange
from ckptload.ranks.exchange import Conversation, Grouping, Held, Holdings, Sink
from ckptload.ranks.strategy_files import read_strategy

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from ckptload.binding.plan import Load
    from ckptload.binding.supplies import Supply, Transfer
    from ckptload.dtypes import Array
    from ckptload.ranks.exchange import Sharing
    from ckptload.reading.reader import Reader

#: Statistics of experts belong to one run, as sums of gradients do, and are never missed
#: (MindSpore 2.10.0, parallel/_cell_wrapper.py, _create_allreduce_input).
_UNMISSED: Final = "expert_load"


class Planned(Protocol):
    """What is used of a plan here."""

    loads: list[Load]
    missing: list[str]
    param_not_load: list[str]
    ckpt_not_load: list[str]
    skips: bool
    source: str | None
    supply: Supply

    @property
    def from_optimizer(self) -> list[Load]:
        """Return loads from entries that are copies or optimizer state."""

    def check(self) -> None:
        """Raise if the plan cannot be applied."""

    def warn(self) -> None:
        """Warn of what is not as it might be expected."""

    def apply(self) -> None:
        """Write the values into the net."""


def lacking(plan: Planned, names: Collection[str] | None = None) -> list[str]:
    """Return parameters of the net that no file has, although one should.

    An entry that is a copy or optimizer state does not stand in for them: it is in the share of this rank by chance.

    Args:
        plan: the plan.
        names: the names that files should have; None for all.
    """
    found = [*plan.missing, *(load.name for load in plan.from_optimizer)]
    return [name for name in found if not name.endswith(_UNMISSED) and (names is None or name in names)]


def stand_alone(missing: Sequence[str], path: str | None) -> ArgumentTypeError:
    """Return the error of a share that nothing completes; it names both ways to complete it."""
    said = f": {counted(len(missing), 'parameter')} of the net not in it: {listed(missing)}" if missing else ""
    return ArgumentTypeError(
        f"the checkpoint is what one rank of parallel training has saved, and nothing completes it{said}",
        path=path,
        hint=Hint(
            "load it from its rank_N folder with the folders of the other ranks beside it, and {strategy} if the net "
            "is split; or start the ranks together and {communicator}",
            "; or {skip_misfits}" if missing else "; if the file is complete, pass remove_redundancy=True",
        ),
    )


class CompletedSupply:
    """Two supplies as one: entries of the first, and what the second has beside them."""

    def __init__(self, first: Supply, rest: Supply) -> None:
        self._first, self._rest = first, rest
        self.keys: Collection[str] = {key: None for supply in (first, rest) for key in supply.keys}
        self.label = first.label or rest.label

    def _of(self, key: str) -> Supply:
        return self._first if key in self._first.keys else self._rest

    def original(self, key: str) -> str:
        """Return the name in the checkpoint."""
        return key

    def is_tensor(self, key: str) -> bool:
        """Tell whether an entry can fill a parameter."""
        return self._of(key).is_tensor(key)

    def shape(self, key: str) -> tuple[int, ...]:
        """Return the shape of a tensor entry."""
        return self._of(key).shape(key)

    def spec(self, key: str) -> Spec:
        """Return dtype and shape of a tensor entry."""
        return self._of(key).spec(key)

    def authenticate(self) -> None:
        """Compare the tags of both."""
        self._first.authenticate()
        self._rest.authenticate()

    def array(self, key: str) -> Array:
        """Return a tensor's elements."""
        return self._of(key).array(key)

    def transfer(self, transfers: Sequence[Transfer]) -> None:
        """Copy tensors of the first, then those of the rest."""
        self._first.transfer([each for each in transfers if each.key in self._first.keys])
        self._rest.transfer([each for each in transfers if each.key not in self._first.keys])


class LiveSupply:
    """A rank's own entries, and those that others broadcast. What others broadcast goes before what is our own."""

    def __init__(self, own: Supply, conversation: Conversation, grouping: Grouping, holdings: Holdings) -> None:
        self._own, self._conversation, self._grouping = own, conversation, grouping
        self._roots = holdings.roots
        self._holdings = holdings
        self.keys: Collection[str] = {**dict.fromkeys(own.keys), **dict.fromkeys(holdings.roots)}
        self.label = own.label
        self._agenda: list[Sharing] = []
        self._kept: dict[str, Array] = {}
        #: How many parameters each name fills that another rank broadcasts.
        self._unread: Counter[str] = Counter()

    def _remote(self, key: str) -> Held | None:
        """Return what another rank says of an entry that it will broadcast; None if the entry is our own."""
        root, held = self._roots.get(key, (self._conversation.rank, None))
        return None if root == self._conversation.rank else held

    def original(self, key: str) -> str:
        """Return the name in the checkpoint."""
        return key

    def is_tensor(self, key: str) -> bool:
        """Tell whether an entry can fill a parameter."""
        return self._remote(key) is not None or self._own.is_tensor(key)

    def shape(self, key: str) -> tuple[int, ...]:
        """Return the shape of a tensor entry."""
        held = self._remote(key)
        return self._own.shape(key) if held is None else held.shape

    def spec(self, key: str) -> Spec:
        """Return dtype and shape of a tensor entry."""
        held = self._remote(key)
        return self._own.spec(key) if held is None else Spec(held.dtype, held.shape, 0)

    def authenticate(self) -> None:
        """Compare the tags of this rank's own file."""
        self._own.authenticate()

    def wishes(self, loads: Sequence[Load], original: Callable[[str], str]) -> bytes:
        """Return what this rank says of what it wants."""
        wanted = Counter(original(load.key) for load in loads)
        self._unread = Counter({key: number for key, number in wanted.items() if self._remote(key) is not None})
        return exchange.wishes(sorted(wanted.keys() & self._roots.keys()))

    def agree(self, wanted: Sequence[bytes]) -> None:
        """Settle what is broadcast, and make the groups for it."""
        self._agenda = exchange.agenda(self._grouping, self._holdings, wanted)
        self._conversation.prepare(self._grouping.groups)

    def array(self, key: str) -> Array:
        """Return a tensor's elements; those of another rank have arrived during `transfer`."""
        return self._own.array(key) if self._remote(key) is None else self._kept[key]

    def transfer(self, transfers: Sequence[Transfer]) -> None:
        """Copy our own tensors into the net, and then broadcast and receive."""
        by_key: dict[str, list[Transfer]] = {}
        for each in transfers:
            by_key.setdefault(each.key, []).append(each)

        def own() -> bytes:
            self._own.transfer([each for each in transfers if self._remote(each.key) is None])
            return b""

        self._conversation.together(own)
        exchange.share(
            self._conversation, self._agenda, self._own.array, lambda each: self._sink(each, by_key.get(each.name, []))
        )

    def _sink(self, sharing: Sharing, transfers: Sequence[Transfer]) -> Sink:
        """Return where an arriving tensor is put: straight into the net if nothing is to be converted."""
        dtype, name = sharing.held.dtype, sharing.name
        if not self._unread[name]:
            return Sink(None)
        if len(transfers) < self._unread[name]:
            # It is asked for as an array, too, for a parameter whose memory numpy cannot reach.
            kept = self._kept[name] = np.empty(sharing.held.shape, dtype.numpy)
            memory = exchange.as_bytes(kept)
        elif len(transfers) == 1 and transfers[0].dtype.numpy == dtype.numpy:
            return Sink(exchange.as_bytes(transfers[0].memory))
        else:
            memory = None

        def take(piece: Array, start: int) -> None:
            array, at = piece.view(dtype.numpy), start // dtype.itemsize
            for transfer in transfers:
                transfer.convert(array, transfer.memory.reshape(-1)[at : at + array.size])

        return Sink(memory, take)


def bind_live(
    conversation: Conversation,
    grouping: Callable[[], Grouping],
    own: Callable[[], Supply],
    plan_with: Callable[[Supply], Planned],
) -> Planned:
    """Load a net on all ranks, or on none.

    Args:
        conversation: the ranks.
        grouping: returns who holds the same slices.
        own: returns what this rank's file has.
        plan_with: plans a load from a supply.

    Returns:
        The plan that was applied.

    Raises:
        RankError: another rank failed, or the ranks cannot talk. Nothing is written unless an error comes up while
            values are written: what then is in the net is partly loaded.
        BindingError: something does not fit, or no rank has what should be there.
        Exception: what `own` or `plan_with` raised.
    """
    found: dict[str, Any] = {}

    def offer() -> bytes:
        found["grouping"], found["own"] = grouping(), own()
        return exchange.offer(found["grouping"], _held(found["own"]))

    offers = conversation.together(offer)
    groups, mine = found["grouping"], found["own"]
    holdings = Holdings(conversation, groups, offers)
    holdings.check_copies(lambda name: _digest(mine, name))
    supply = LiveSupply(mine, conversation, groups, holdings)

    def wishes() -> bytes:
        plan = found["plan"] = plan_with(supply)
        missing = lacking(plan, groups.names)
        if missing and not plan.skips:
            raise _missing(missing, groups.of, plan.source)
        plan.check()
        plan.warn()
        return supply.wishes(plan.loads, plan.supply.original)

    supply.agree(conversation.together(wishes))
    _apply(found["plan"], conversation)
    conversation.close()
    return found["plan"]


def _apply(plan: Planned, conversation: Conversation) -> None:
    """Write the values, and end together: a rank that fails before it broadcasts or after it says so."""
    failure: Exception | None = None
    try:
        plan.apply()
    except Exception as error:
        if conversation.is_over:
            raise
        failure = error

    def end() -> bytes:
        if failure is not None:
            raise failure
        return b""

    conversation.together(end)


def _missing(names: Sequence[str], ranks_of: Callable[[str], Sequence[int]], path: str | None) -> BindingError:
    """Return the error of parameters that none of the ranks has that should."""
    ranks = ranks_of(names[0])
    where = f"; {names[0]!r} belongs to ranks {listed([*map(str, ranks)])}".replace("'", "") if len(ranks) > 1 else ""
    return BindingError(
        f"{counted(len(names), 'parameter')} of the net in no rank's file, and nothing was written: "
        f"{listed(names)}{where}",
        path=path,
        hint=Hint("check that the file of every rank is there, and of the same step", "; or {skip_misfits}"),
    )


def _held(supply: Supply) -> dict[str, Held]:
    """Return the tensors of a supply that others can be given."""
    found: dict[str, Held] = {}
    for key in supply.keys:
        # A type that cannot be read is an error where a parameter wants it.
        with suppress(UnsupportedTypeError):
            if supply.is_tensor(key):
                spec = supply.spec(key)
                found[key] = Held(spec.dtype, spec.shape)
    return found


def _digest(supply: Supply, name: str) -> str | None:
    if name not in supply.keys or not supply.is_tensor(name):
        return None
    spec = supply.spec(name)
    digest = hashlib.sha256(f"{spec.dtype} {spec.shape} ".encode())
    digest.update(exchange.as_bytes(supply.array(name)))
    return digest.hexdigest()


class Ways(NamedTuple):
    """How a rank's share is to be completed.

    Attributes:
        asked: whether the caller has said that redundancy was removed; what a file says is not known to all ranks, and
            so never makes them talk.
        strategy: a strategy, a path of one, or None.
        communicator: a communicator, or None.
        beside: opens what the rank folders beside the file hold for this rank: a reader of its slices and the number
            of the rank, or None if there are none.
    """

    asked: bool
    strategy: Any
    communicator: Any
    beside: Callable[[], tuple[Reader, int] | None]


def bind_share(own: Callable[[], Supply], plan_with: Callable[[Supply], Planned], ways: Ways) -> Planned:
    """Load a net from a share, which other files or other ranks complete.

    A communicator that the caller passes is used. One that is only set up is used unless every rank can do with files:
    the ranks ask each other first, since files that one rank sees may be on a disk that another has not.

    Args:
        own: returns what this rank's file has.
        plan_with: plans a load from a supply.
        ways: how it is to be completed.

    Returns:
        The plan that was applied.

    Raises:
        ArgumentTypeError: nothing completes the share.
        CheckpointError: as for `bind_live`.
    """
    given = communicators.communicator_of(ways.communicator)
    talker = given if given is not None or not ways.asked else communicators.found()
    conversation = None if talker is None else Conversation(talker)
    if conversation is None or conversation.size == 1:
        return _bind_alone(own, plan_with, ways, ways.beside())
    if given is None:
        beside = _readable(ways)
        if b"no" not in conversation.together(lambda: b"no" if beside is None else b"yes"):
            conversation.close()
            return _bind_alone(own, plan_with, ways, beside)
        if beside is not None:
            beside[0].close()
    rank, size = conversation.rank, conversation.size
    return bind_live(conversation, lambda: Grouping(_strategy(ways.strategy), rank, size), own, plan_with)


def _strategy(given: Any) -> Any:
    return None if given is None else read_strategy(given)


def _readable(ways: Ways) -> tuple[Reader, int] | None:
    with suppress(CheckpointError):
        return ways.beside()
    return None


def _bind_alone(
    own: Callable[[], Supply],
    plan_with: Callable[[Supply], Planned],
    ways: Ways,
    beside: tuple[Reader, int] | None,
) -> Planned:
    """Load a net from this rank's file and those beside it."""
    if beside is None:
        plan = plan_with(own())
        missing = lacking(plan)
        if not ways.asked or (missing and not plan.skips):
            raise stand_alone(missing, plan.source)
        _carry_out(plan)
        return plan
    reader, rank = beside
    with closing(reader):
        plan = plan_with(CompletedSupply(own(), supply_of(reader, "the rank folders")))
        strategy = _strategy(ways.strategy)
        names = None if strategy is None else {*strategy.names(strategy.stage_of(rank))}
        missing = lacking(plan, names)
        if missing and not plan.skips:
            raise _missing(missing, lambda _: (), reader.path)
        _carry_out(plan)
    return plan


def _carry_out(plan: Planned) -> None:
    plan.check()
    plan.warn()
    plan.apply()
