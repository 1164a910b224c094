"""What a rank's own file lacks, because redundancy was removed, comes from the files of other ranks or from the ranks.

The net is planned as if the files were one: what other ranks hold counts as entries of the checkpoint. So every rule of
binding holds, and nothing is written before everything fits on all ranks.
"""

from __future__ import annotations

import hashlib
import math
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from ckptload.binding.completed import CompletedSupply, LiveSupply
from ckptload.binding.supplies import supply_of
from ckptload.errors import ArgumentTypeError, BindingError, CheckpointError, Hint, UnsupportedTypeError
from ckptload.messages import counted, listed
from ckptload.ranks import communicators, exchange
from ckptload.ranks.exchange import Conversation, Grouping, Held, Holdings
from ckptload.ranks.strategy_files import read_strategy

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from ckptload.binding.plan import Load
    from ckptload.binding.supplies import Supply
    from ckptload.ranks.strategy import Strategy
    from ckptload.reading.reader import Reader

#: Statistics of experts belong to one run, as sums of gradients do, and are never missed
#: (MindSpore 2.10.0, parallel/_cell_wrapper.py, _create_allreduce_input).
_UNMISSED: Final = "expert_load"
_FOLDERS: Final = "the rank folders"


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
    """Return the error of a share that nothing can complete; it names both ways to complete it.

    MindSpore raises a TypeError, too, where there are no other ranks (2.10.0, train/serialization.py,
    _check_remove_redundancy_net).
    """
    lacks = f": {counted(len(missing), 'parameter')} of the net not in it: {listed(missing)}" if missing else ""
    return ArgumentTypeError(
        "the checkpoint is taken for what one rank of parallel training has saved with redundancy removed, and there "
        f"is nothing to complete it{lacks}",
        path=path,
        hint=Hint(
            "load it from its folder rank_N with the folders of the other ranks beside it, and {strategy} if the net "
            "is split",
            "; or start all ranks and {communicator}",
            "" if missing else "; if it is complete, load it without a net, and then into the net",
        ),
    )


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
    found: list[tuple[Grouping, Supply]] = []
    plans: list[Planned] = []

    def offer() -> bytes:
        found.append((grouping(), own()))
        groups, mine = found[0]
        return exchange.offer(groups, _held(mine))

    offers = conversation.together(offer)
    groups, mine = found[0]
    holdings = Holdings(conversation, groups, offers)
    holdings.check_copies(lambda name: _digest(mine, name))
    supply = LiveSupply(mine, conversation, groups, holdings)

    def wishes() -> bytes:
        plan = plan_with(supply)
        plans.append(plan)
        missing = lacking(plan, groups.names)
        if missing and not plan.skips:
            raise _missing(missing, groups.of, plan.source)
        plan.check()
        plan.warn()
        return supply.wishes(plan.loads, plan.supply.originals)

    supply.agree(conversation.together(wishes))
    _apply(plans[0], conversation)
    conversation.close()
    return plans[0]


def _apply(plan: Planned, conversation: Conversation) -> None:
    """Write the values, and end together: a rank that fails before it broadcasts or after it says so."""
    failure: Exception | None = None
    try:
        plan.apply()
    except Exception as error:
        if conversation.is_over:
            raise
        failure = error
    conversation.together(bytes if failure is None else partial(_fail, failure))


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
    digest.update(exchange.as_bytes(supply.array(name)).data)
    return digest.hexdigest()


class Beside(NamedTuple):
    """What the files of all ranks hold for one of them.

    Attributes:
        reader: the slices of this rank, which is open.
        rank: its number.
        close: closes the files.
    """

    reader: Reader
    rank: int
    close: Callable[[], None]


class Ways(NamedTuple):
    """How a rank's share is to be completed.

    Attributes:
        asked: whether the caller has said that redundancy was removed; what a file says is not known to all ranks, and
            so never makes them talk.
        strategy: a strategy, a path of one, or None.
        communicator: a communicator, or None.
        beside: opens what the rank folders beside the file hold for this rank; None if there are none.
    """

    asked: bool
    strategy: Any
    communicator: Any
    beside: Callable[[], Beside | None]


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
    is_given = ways.communicator is not None
    conversation = _conversation(ways.communicator, asked=ways.asked)
    if conversation is None or conversation.size == 1:
        return _bind_alone(own, plan_with, ways, ways.beside(), is_only=is_given)
    if not is_given:
        beside = _sufficient(plan_with, ways)
        if b"no" not in conversation.together(lambda: b"no" if beside is None else b"yes"):
            conversation.close()
            return _bind_alone(own, plan_with, ways, beside)
        if beside is not None:
            beside.close()
    rank, size = conversation.rank, conversation.size
    return bind_live(conversation, lambda: Grouping(_strategy(ways.strategy), rank, size), own, plan_with)


def _conversation(communicator: Any, *, asked: bool) -> Conversation | None:
    """Return the ranks that a caller passed, or those that are set up in this process if they are asked for."""
    given = communicators.communicator_of(communicator)
    talker = communicators.found() if given is None and asked else given
    return None if talker is None else Conversation(talker)


@contextmanager
def told(communicator: Any, *, asked: bool) -> Iterator[None]:
    """Tell the other ranks of an error that comes up before the first step; they would wait for this rank."""
    try:
        yield
    except CheckpointError as error:
        conversation = None
        if asked:
            with suppress(CheckpointError):
                conversation = _conversation(communicator, asked=True)
        if conversation is None or conversation.size == 1:
            raise
        conversation.together(partial(_fail, error))


def _fail(failure: Exception) -> bytes:
    """Raise what a step raises that has failed already."""
    raise failure


def _strategy(given: Any) -> Strategy | None:
    return None if given is None else read_strategy(given)


def _names(given: Any, rank: int) -> Collection[str] | None:
    """Return the names that have a layout in the stage of a rank; None without a strategy."""
    strategy = _strategy(given)
    return None if strategy is None else strategy.layouts(strategy.stage_of(rank))


def _sufficient(plan_with: Callable[[Supply], Planned], ways: Ways) -> Beside | None:
    """Open the files beside that of this rank if they hold all that its net needs."""
    with suppress(CheckpointError), ExitStack() as stack:
        beside = ways.beside()
        if beside is not None:
            stack.callback(beside.close)
            if not lacking(plan_with(supply_of(beside.reader, _FOLDERS)), _names(ways.strategy, beside.rank)):
                stack.pop_all()
                return beside
    return None


def _bind_alone(
    own: Callable[[], Supply],
    plan_with: Callable[[Supply], Planned],
    ways: Ways,
    beside: Beside | None,
    *,
    is_only: bool = False,
) -> Planned:
    """Load a net from this rank's file and those beside it.

    Without any, a file is not loaded because it happens to have every name of the net: only if this rank `is_only` one.
    """
    if beside is None:
        plan = plan_with(own())
        missing = lacking(plan)
        if not is_only or (missing and not plan.skips):
            raise stand_alone(missing, plan.source)
        _carry_out(plan)
        return plan
    with closing(beside):
        mine = own()
        plan = plan_with(CompletedSupply(mine, supply_of(beside.reader, _FOLDERS)))
        missing = lacking(plan, _names(ways.strategy, beside.rank))
        if missing and not plan.skips:
            raise _missing(missing, lambda _: (), beside.reader.path)
        _compare_copies(
            beside.reader, {name for load in plan.loads for name in plan.supply.originals(load.key)} - {*mine.keys}
        )
        _carry_out(plan)
    return plan


def _compare_copies(reader: Reader, names: Iterable[str]) -> None:
    """Read a little of what is about to be loaded: copies are compared when they are first read."""
    for name in sorted(names):
        part = reader.get_slice(name)
        if size := math.prod(part.shape):
            for at in (0, size - 1):
                part.flat(at, at + 1)


def _carry_out(plan: Planned) -> None:
    plan.check()
    plan.warn()
    plan.apply()
