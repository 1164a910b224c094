"""Words that messages share: counts, lists of names, and the names that come closest."""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


#: Names listed one after the other before the rest is only counted.
_LISTED: Final = 8


def counted(number: int, one: str, several: str = "") -> str:
    """Return a number and the word for so many."""
    return f"{number} {one if number == 1 else several or one + 's'}"


def listed(names: Sequence[str], limit: int = _LISTED) -> str:
    """List names, and only count what is beyond the limit."""
    shown = ", ".join(repr(name) for name in names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"


#: Comparing is quadratic in the lengths of names: beyond this many, only the likeliest are compared.
_COMPARED: Final = 1000


def closest(name: str, candidates: Iterable[str], limit: int = 3) -> list[str]:
    """Return up to `limit` candidates that look most like `name`, best first."""
    import difflib  # noqa: PLC0415 -- wanted for errors alone

    last = name.rsplit(".", 1)[-1]

    def unlikely(candidate: str) -> tuple[bool, bool, int]:
        return (last not in candidate, candidate[:3] != name[:3], abs(len(candidate) - len(name)))

    likely = sorted(candidates, key=unlikely)[:_COMPARED]
    # Names ending alike are what a person looks for, however different their beginnings.
    alike = [candidate for candidate in likely if candidate.endswith(name) or name.endswith(candidate)]
    near = difflib.get_close_matches(name, likely, n=limit)
    return list(dict.fromkeys([*alike, *near]))[:limit]


def quoted(found: Iterable[str]) -> str:
    """Print names for a message, none of them at a length that only damage gives."""
    limit = 100
    return ", ".join(repr(name if len(name) <= limit else name[:limit] + "...") for name in found)


def warn(text: str) -> None:
    """Warn at the line of the script that called this package, whatever lies between."""
    package = __name__.partition(".")[0]
    level, frame = 1, sys._getframe()  # noqa: SLF001 -- Python 3.12 has warn(skip_file_prefixes=...) for this
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == package:
        level, frame = level + 1, frame.f_back
    warnings.warn(text, stacklevel=level)
