"""Supplies of a rank's share and what completes it: entries of other files, or entries that other ranks broadcast."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from ckptload.binding.supplies import Spec
from ckptload.ranks import exchange
from ckptload.ranks.exchange import Sink

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from ckptload.binding.plan import Load
    from ckptload.binding.supplies import Supply, Transfer
    from ckptload.dtypes import Array
    from ckptload.ranks.exchange import Conversation, Grouping, Held, Holdings, Sharing


class CompletedSupply:
    """Two supplies as one: entries of the first, and what the second has beside them."""

    def __init__(self, first: Supply, rest: Supply) -> None:
        self._first, self._rest = first, rest
        self.keys: Collection[str] = {key: None for supply in (first, rest) for key in supply.keys}
        self.label = first.label or rest.label
        self.has_parts = first.has_parts and rest.has_parts

    def _of(self, key: str) -> Supply:
        return self._first if key in self._first.keys else self._rest

    def originals(self, key: str) -> tuple[str, ...]:
        """Return the name in the checkpoint."""
        return (key,)

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

    def part(self, key: str, first: int, last: int) -> Array:
        """Return some of a tensor's elements."""
        return self._of(key).part(key, first, last)

    def view(self, key: str) -> Array | None:
        """Return a tensor's elements if they are in memory of the caller."""
        return self._of(key).view(key)

    def transfer(self, transfers: Sequence[Transfer]) -> None:
        """Copy tensors of the first, then those of the rest."""
        self._first.transfer([each for each in transfers if each.key in self._first.keys])
        self._rest.transfer([each for each in transfers if each.key not in self._first.keys])


class LiveSupply:
    """A rank's own entries, and those that others broadcast. What others broadcast goes before what is our own."""

    has_parts = False

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

    def originals(self, key: str) -> tuple[str, ...]:
        """Return the name in the checkpoint."""
        return (key,)

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

    def wishes(self, loads: Sequence[Load], originals: Callable[[str], tuple[str, ...]]) -> bytes:
        """Return what this rank says of what it wants."""
        wanted = Counter(name for load in loads for name in originals(load.key))
        self._unread = Counter({key: number for key, number in wanted.items() if self._remote(key) is not None})
        return exchange.wishes(sorted(wanted.keys() & self._roots.keys()))

    def agree(self, wanted: Sequence[bytes]) -> None:
        """Settle what is broadcast, and make the groups for it."""
        self._agenda = exchange.agenda(self._grouping, self._holdings, wanted)
        self._conversation.prepare(self._grouping.groups)

    def array(self, key: str) -> Array:
        """Return a tensor's elements; those of another rank have arrived during `transfer`."""
        return self._own.array(key) if self._remote(key) is None else self._kept[key]

    def part(self, key: str, first: int, last: int) -> Array:
        """Return some of a tensor's elements."""
        return self.array(key).reshape(-1)[first:last]

    def view(self, key: str) -> Array | None:
        """Return a tensor's elements if they are in memory of the caller."""
        return self._own.view(key) if self._remote(key) is None else None

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
            return Sink()
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
