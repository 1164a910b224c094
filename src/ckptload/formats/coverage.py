"""What the checks of a file cover: a sum or a tag vouches for some parts of a checkpoint, and not for others."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable


class Coverage(NamedTuple):
    """The parts of a checkpoint for which the checks vouch that nothing was changed by accident.

    Attributes:
        bytes: the data of all tensors, strings and maps.
        entries: their names, dtypes and shapes.
        order: their order.
        completeness: that none is missing or was added, between others or at the end.
        gaps: what is left out, in words; empty if nothing is, or if there is nothing that vouches.
    """

    bytes: bool = False
    entries: bool = False
    order: bool = False
    completeness: bool = False
    gaps: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether every part is covered."""
        return self.bytes and self.entries and self.order and self.completeness


#: What covers everything, such as a sum over all bytes of a file.
WHOLE = Coverage(bytes=True, entries=True, order=True, completeness=True)


def by_any(found: Iterable[Coverage]) -> Coverage:
    """Return what at least one of several checks of the same file covers."""
    every = list(found)
    parts = Coverage(
        bytes=any(one.bytes for one in every),
        entries=any(one.entries for one in every),
        order=any(one.order for one in every),
        completeness=any(one.completeness for one in every),
    )
    return parts if parts.whole else parts._replace(gaps=_gaps(every))


def by_all(found: Iterable[Coverage]) -> Coverage:
    """Return what is covered of a whole, given what is covered of each of its parts; nothing if there are none."""
    every = list(found)
    return Coverage(
        bytes=bool(every) and all(one.bytes for one in every),
        entries=bool(every) and all(one.entries for one in every),
        order=bool(every) and all(one.order for one in every),
        completeness=bool(every) and all(one.completeness for one in every),
        gaps=_gaps(every),
    )


def _gaps(found: Iterable[Coverage]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(gap for one in found for gap in one.gaps))
