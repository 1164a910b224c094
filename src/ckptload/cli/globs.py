"""Selection of names by patterns with ``*``, ``?`` and ``[...]``, or by the first parts of a module path."""

from __future__ import annotations

import fnmatch
import re
from typing import TYPE_CHECKING, Final

from ckptload.dotted import Beginnings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_SPECIAL: Final = frozenset("*?[")


def matcher(patterns: Iterable[str]) -> Callable[[str], bool]:
    """Return a function that tells whether a name matches one of the patterns.

    A pattern without special characters matches that name and everything below it: ``encoder.0`` matches
    ``encoder.0`` and ``encoder.0.weight``, but not ``encoder.01``.
    """
    patterns = list(patterns)
    special = [fnmatch.translate(pattern) for pattern in patterns if _SPECIAL & set(pattern)]
    compiled = re.compile("|".join(special))
    plain = Beginnings(pattern for pattern in patterns if not _SPECIAL & set(pattern))

    def matches(name: str) -> bool:
        return any(True for _ in plain.every(name)) or (bool(special) and compiled.match(name) is not None)

    return matches


def chooser(include: Iterable[str], exclude: Iterable[str]) -> Callable[[str], bool]:
    """Return a function that tells whether a name is included (all are by default) and not excluded."""
    include = list(include)
    keep, drop = matcher(include), matcher(exclude)
    return lambda name: (not include or keep(name)) and not drop(name)


def natural(name: str) -> list[tuple[int, int, str]]:
    """Return a key that sorts names as people do: ``layer.2`` before ``layer.10``.

    Numbers are compared by their digits: Python makes no integer of thousands of them.
    """
    return [_key(part) for part in re.split(r"([0-9]+)", name) if part]


def _key(part: str) -> tuple[int, int, str]:
    if not (part.isascii() and part.isdigit()):
        return 1, 0, part
    digits = part.lstrip("0")
    return 0, len(digits), digits
