"""Selection of names by patterns with ``*``, ``?`` and ``[...]``, or by the first parts of a module path."""

from __future__ import annotations

import fnmatch
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_SPECIAL: Final = frozenset("*?[")


def matcher(patterns: Iterable[str]) -> Callable[[str], bool]:
    """Return a function that tells whether a name matches one of the patterns.

    A pattern without special characters matches that name and everything below it: ``encoder.0`` matches
    ``encoder.0`` and ``encoder.0.weight``, but not ``encoder.01``.
    """
    wanted = [
        fnmatch.translate(pattern) if _SPECIAL & set(pattern) else rf"(?s:{re.escape(pattern)}(\..*)?)\Z"
        for pattern in patterns
    ]
    if not wanted:
        return lambda _: False
    compiled = re.compile("|".join(wanted))
    return lambda name: compiled.match(name) is not None


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
