"""Many pairs of names as few rules with places for numbers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from ckptload.binding.maps.rules import Rule

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ckptload.binding.maps.layers import Shape

_DIGITS: Final = re.compile(r"(?<![0-9])(?:0|[1-9][0-9]{0,8})(?![0-9])")
_PLACES: Final = "ijklmn"
_BRACE: Final = re.compile(r"[{}]")

#: An old name, a new name, and how the shape changes.
Renaming = tuple[str, str, str]


def reshape_text(before: Shape, after: Shape) -> str:
    """Return how a rule says that axes of length 1 come or go; empty if the shapes are equal."""
    if before == after:
        return ""
    for one, other, turned in ((before, after, False), (after, before, True)):
        more = len(other) - len(one)
        if more > 0:
            ones = " ".join("1" for _ in range(more))
            text = (
                f"... {ones}"
                if other == (*one, *(1,) * more)
                else f"{ones} ..."
                if other == (*(1,) * more, *one)
                else ""
            )
            if text:
                return f"{text} -> ..." if turned else f"... -> {text}"
    return f"{' '.join(map(str, before))} -> {' '.join(map(str, after))}"


def compacted(renamings: Iterable[Renaming]) -> list[Rule]:
    """Return rules that rename the same, with places for numbers where they count on both sides alike."""
    groups: dict[tuple[object, ...], list[Renaming]] = {}
    for each in renamings:
        old, new, reshape = each
        # The text between the numbers.
        groups.setdefault((*_DIGITS.split(old), None, *_DIGITS.split(new), None, reshape), []).append(each)
    found: list[Rule] = []
    for group in groups.values():
        found += _rules(group, frozenset())
    return found


def one_by_one(renamings: Iterable[Renaming]) -> list[Rule]:
    """Return a rule for each name."""
    return [Rule((old,), (new,), reshape=reshape) for old, new, reshape in renamings]


def _rules(group: Sequence[Renaming], fixed: frozenset[int]) -> list[Rule]:
    """Return rules for names that differ in numbers only; numbers of the old name at places in `fixed` are written."""
    if len(group) == 1 or _BRACE.search(group[0][0] + group[0][1]):
        return one_by_one(group)
    rule = _rule(group, fixed)
    if rule is not None:
        return [rule]
    olds = [_DIGITS.findall(old) for old, _, _ in group]
    at = next((place for place in range(len(olds[0])) if place not in fixed), None)
    if at is None:
        return one_by_one(group)
    parts: dict[str, list[Renaming]] = {}
    for numbers, each in zip(olds, group, strict=True):
        parts.setdefault(numbers[at], []).append(each)
    return [rule for part in parts.values() for rule in _rules(part, fixed | {at})]


def _rule(group: Sequence[Renaming], fixed: frozenset[int]) -> Rule | None:
    """Return one rule for all, or None if their numbers do not run alike."""
    olds = [[int(n) for n in _DIGITS.findall(old)] for old, _, _ in group]
    news = [[int(n) for n in _DIGITS.findall(new)] for _, new, _ in group]
    places = {at: _PLACES[at] for at in range(min(len(olds[0]), len(_PLACES))) if _varies(olds, at)}
    if any(at in fixed for at in places):
        return None
    source = [str(n) for n in olds[0]]
    shift: dict[int, int] = {}
    target = []
    for at in range(len(news[0])):
        if not _varies(news, at):
            target.append(str(news[0][at]))
            continue
        like = _runs_like(olds, news, at, places)
        if like is None:
            return None
        offset = news[0][at] - olds[0][like]
        shift[like] = min(shift.get(like, 0), offset)
        target.append(f"{like}:{offset}")
    if not set(places) <= set(shift):
        return None
    for at, place in places.items():
        source[at] = _place(place, -shift[at])
    written = [
        each
        if ":" not in each
        else _place(places[int(each.split(":")[0])], int(each.split(":")[1]) - shift[int(each.split(":")[0])])
        for each in target
    ]
    return Rule((_filled(group[0][0], source),), (_filled(group[0][1], written),), reshape=group[0][2])


def _varies(numbers: list[list[int]], at: int) -> bool:
    return any(each[at] != numbers[0][at] for each in numbers)


def _runs_like(olds: list[list[int]], news: list[list[int]], at: int, places: dict[int, str]) -> int | None:
    for place in places:
        offset = news[0][at] - olds[0][place]
        if all(new[at] - old[place] == offset for old, new in zip(olds, news, strict=True)):
            return place
    return None


def _place(name: str, offset: int) -> str:
    return f"{{{name}+{offset}}}" if offset else f"{{{name}}}"


def _filled(text: str, numbers: Sequence[str]) -> str:
    parts = _DIGITS.split(text)
    return parts[0] + "".join(number + part for number, part in zip(numbers, parts[1:], strict=True))
