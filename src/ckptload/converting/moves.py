"""What a conversion does, as data: entries, and the files that are written and removed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ckptload.errors import ArgumentError, Hint
from ckptload.messages import listed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ckptload.dtypes import DType
    from ckptload.formats.item import Item


class Move(NamedTuple):
    """One entry in the source and in the result.

    Attributes:
        old: its name in the source; of several that are joined, all names with " + " between them; empty for zeros.
        source: its dtype in the source; None if it is not a tensor.
        item: the entry in the result.
    """

    old: str
    source: DType | None
    item: Item


class Moves(list[Move]):
    """The entries of a conversion.

    Attributes:
        written: the paths of the files that are written.
        removed: the paths of other files that are removed, because they belong to what is replaced.
    """

    def __init__(self, entries: Iterable[Move], written: list[str], removed: list[str]) -> None:
        super().__init__(entries)
        self.written = written
        self.removed = removed


def refuse_to_replace(taken: list[str]) -> None:
    """Raise ArgumentError if there are files.

    Args:
        taken: the paths of files that would be replaced or removed.
    """
    if taken:
        several = f"{len(taken)} files already exist: {listed([Path(path).name for path in taken])}"
        raise ArgumentError(
            "the file already exists" if len(taken) == 1 else several,
            path=taken[0] if len(taken) == 1 else str(Path(taken[0]).parent),
            hint=Hint("give another name, or {replace}"),
        )
