"""Ranks of one job as threads of this process, which talk by a communicator of their own."""

from __future__ import annotations

import threading
from collections import defaultdict
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Result = TypeVar("Result")
    Group = tuple[int, ...]

#: Seconds after which a rank that waits for others has waited in vain.
PATIENCE = 10


class _Room:
    """Where threads meet: one place for all of them, and one for each group."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.lock = threading.Lock()
        self.barriers: dict[Group, threading.Barrier] = {}
        self.lying: dict[Group, dict[int, bytes]] = defaultdict(dict)

    def meet(self, ranks: Group, rank: int, content: bytes) -> dict[int, bytes]:
        """Lay something down, wait for the others, and return what all have laid down."""
        with self.lock:
            barrier = self.barriers.setdefault(ranks, threading.Barrier(len(ranks)))
        self.lying[ranks][rank] = content
        barrier.wait(PATIENCE)
        found = dict(self.lying[ranks])
        barrier.wait(PATIENCE)
        return found


class Talker:
    """One rank. `sent` holds what it has broadcast: root, group and number of bytes."""

    def __init__(self, room: _Room, rank: int) -> None:
        self._room, self.rank, self.size = room, rank, room.size
        self.gathered = 0
        self.prepared: list[Sequence[Group]] = []
        self.broadcasts: list[tuple[int, Group, int]] = []

    def all_gather(self, data: bytes) -> list[bytes]:
        self.gathered += 1
        found = self._room.meet(tuple(range(self.size)), self.rank, data)
        return [found[rank] for rank in range(self.size)]

    def prepare(self, groups: Sequence[Group]) -> None:
        self.prepared.append(groups)

    def broadcast(self, view: memoryview, root: int, ranks: Group) -> None:
        assert view.format == "B"
        assert self.rank in ranks
        self.broadcasts.append((root, ranks, len(view)))
        found = self._room.meet(ranks, self.rank, bytes(view) if self.rank == root else b"")
        if self.rank != root:
            view[:] = found[root]


def each_rank(size: int, work: Callable[[Talker], Result]) -> list[Result | Exception]:
    """Let each rank do its work in a thread, and return their results, or what they raised.

    Who waits for a rank that has ended has an error after a while, as on a cluster.
    """
    room = _Room(size)
    results: list[Any] = [None] * size

    def run(rank: int) -> None:
        try:
            results[rank] = work(Talker(room, rank))
        except Exception as error:  # noqa: BLE001 -- looked at by the test
            results[rank] = error

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * PATIENCE)
    return results
