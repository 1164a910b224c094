"""Whether ranks that should hold the same do: compared when it is first read (docs/ranks.md, "Copies that differ")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ckptload.errors import ArgumentError, CorruptCheckpointError, Hint
from ckptload.messages import shown_value, warn
from ckptload.ranks.placing import differs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ckptload.errors import CheckpointError
    from ckptload.ranks.boxes import Box
    from ckptload.ranks.members import Member

ERROR: Final = "error"
WARN: Final = "warn"
FIRST: Final = "first"
#: The values of the argument `copies`; None compares samples, and raises an error if they differ.
MODES: Final = (None, ERROR, WARN, FIRST)

#: Bytes at each end of a slice that are compared.
SAMPLE: Final = 4 << 10
#: Bytes that are compared at a time.
_PIECE: Final = 1 << 20


def check_mode(copies: object) -> None:
    """Raise ArgumentError unless it is a value of the argument `copies`."""
    if not (copies is None or (isinstance(copies, str) and copies in MODES)):
        raise ArgumentError(
            f'copies must be None, "error", "warn" or "first", not {shown_value(copies)}',
            hint="None compares the ends of copies, error all of them",
        )


class Copies:
    """Compares copies once.

    Args:
        mode: a value of the argument `copies`.
        cut: whether a strategy says that they are copies; without one, they are compared whole unless `mode` is
            ``"first"`` or ``"warn"``.
    """

    def __init__(self, mode: str | None, *, cut: bool) -> None:
        self._mode = mode
        self._cut = cut
        self._whole = mode == ERROR or (mode is None and not cut)
        self._done: set[tuple[str, Box | None]] = set()

    def compare(self, name: str, box: Box | None, holders: Sequence[Member]) -> Sequence[Member]:
        """Compare who holds a part of an entry, unless that was done; return the members that were read.

        Raises:
            ArgumentError: they differ, and no strategy says how they were cut.
            CorruptCheckpointError: they differ.
        """
        if len(holders) == 1 or self._mode == FIRST or (name, box) in self._done:
            return ()
        others = holders[1:] if self._whole else holders[-1:]
        for other in others:
            if not same(name, holders[0], other, whole=self._whole):
                error = self._error(name, holders[0], other)
                if self._mode != WARN:
                    raise error
                warn(f"{error.problem}; that of rank {holders[0].number} is taken")
        # Two threads may compare the same.
        self._done.add((name, box))
        return (holders[0], *others)

    def differing(self, name: str, holders: Sequence[Member]) -> Iterator[CheckpointError]:
        """Compare all of several copies; yield an error for each that differs from the first."""
        for other in holders[1:]:
            if not same(name, holders[0], other, whole=True):
                yield self._error(name, holders[0], other)

    def _error(self, name: str, first: Member, second: Member) -> CheckpointError:
        if not self._cut:
            return differs(name, first, second)
        return CorruptCheckpointError(
            f"ranks {first.number} and {second.number} should hold copies of the same slice, and they differ",
            name=name,
            path=second.label,
            hint=Hint(
                "the strategy may be that of another run, or say nothing of an optimizer shard "
                "(optimizer_weight_shard_aggregated_save)",
                "; {first_copy} to take the first of them",
            ),
        )


def same(name: str, first: Member, second: Member, *, whole: bool) -> bool:
    """Tell whether two members hold the same data under a name, by both ends or by all of it."""
    one, other = first.entry(name), second.entry(name)
    if (one.kind, one.dtype, one.shape, one.stored) != (other.kind, other.dtype, other.shape, other.stored):
        return False
    size = one.stored or sum(part.stored for part in one.parts)
    if whole or size <= 2 * SAMPLE:
        ranges = [(at, min(at + _PIECE, size)) for at in range(0, size, _PIECE)]
    else:
        ranges = [(0, SAMPLE), (size - SAMPLE, size)]
    for start, stop in ranges:
        left, right = bytearray(stop - start), bytearray(stop - start)
        first.read_stored(name, start, memoryview(left))
        second.read_stored(name, start, memoryview(right))
        if left != right:
            return False
    return True
