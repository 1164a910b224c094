"""Selection of names by patterns with ``*``, ``?`` and ``[...]``, or by the first parts of a module path."""

from __future__ import annotations

import fnmatch
import re
from itertools import islice
from typing import TYPE_CHECKING, Final

from ckptload.dotted import Beginnings
from ckptload.errors import NothingSelectedError
from ckptload.messages import closest, quoted, shown_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_SPECIAL: Final = frozenset("*?[")
#: Patterns whose nearest names are looked for, and names that are shown.
_EXPLAINED: Final = 3


def matcher(patterns: Iterable[str]) -> Callable[[str], bool]:
    """Return a function that tells whether a name matches one of the patterns.

    A pattern without special characters matches that name and everything below it: ``encoder.0`` matches
    ``encoder.0`` and ``encoder.0.weight``, but not ``encoder.01``. A pattern without a capital letter ignores case.
    """
    patterns = list(patterns)
    any_case = [pattern for pattern in patterns if pattern == pattern.lower()]
    parts = [_matcher([pattern for pattern in patterns if pattern != pattern.lower()])]
    if any_case:
        in_any_case = _matcher(any_case)
        parts.append(lambda name: in_any_case(name.lower()))
    return lambda name: any(part(name) for part in parts)


def _matcher(patterns: Iterable[str]) -> Callable[[str], bool]:
    """Return the same for patterns that do not ignore case."""
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


def no_match(
    patterns: Sequence[str], names: Iterable[str], path: str | None = None, *, command: str = "inspect"
) -> NothingSelectedError:
    """Return the error for patterns of which none matches.

    Args:
        patterns: of ``--filter`` or ``--include``; if there are none, ``--exclude`` leaves nothing.
        names: all that there are; those that look like the patterns are named.
        path: the file, if it is one.
        command: what lists the names.
    """
    if not patterns:
        return NothingSelectedError("--exclude leaves no entry", path=path, hint=f"{command} shows the names")
    every = list(names)
    near: dict[str, None] = {}
    for pattern in map(_plain, patterns[:_EXPLAINED]):
        inside = (name for name in every if pattern and pattern.lower() in name.lower())
        near.update(dict.fromkeys([*islice(inside, _EXPLAINED)] or closest(pattern, every)))
    return NothingSelectedError(
        f"no entry matches {' or '.join(map(shown_text, patterns))}",
        path=path,
        hint="the nearest names are " + quoted(list(near)[:_EXPLAINED]) if near else f"{command} shows the names",
    )


def _plain(pattern: str) -> str:
    """Return what of a pattern a name may look like."""
    return re.sub(r"\[[^]]*\]|[*?[]", "", pattern).strip(".")


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
