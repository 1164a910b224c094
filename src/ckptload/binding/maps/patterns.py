"""Patterns of names: ``layers.{i}.wq`` stands for a name with any number, and ``{i+1}`` for the next one.

Names come from files: there may be a million of them. So a name is compared only with patterns that have the same
text between its numbers, which are found by its parts (`dotted.Beginnings`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from ckptload.dotted import Beginnings
from ckptload.errors import ArgumentError, Hint

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_PLACE: Final = re.compile(r"\{([A-Za-z_]\w*)(?:\+(\d{1,6}))?\}", re.ASCII)
_DIGITS: Final = re.compile(r"[0-9]+")
#: What `_PLACE` leaves of a brace is part of the name; what looks like a place and is none was mistyped.
_MISTYPED: Final = re.compile(r"\{[^{}.]*\}")
_NUMBERS: Final = re.compile(r"[0-9]+|\{[A-Za-z_]\w*(?:\+\d{1,6})?\}", re.ASCII)
_TOGETHER: Final = re.compile(r"[0-9]\{|\}[0-9]|\}\{")
#: Digits of a number that a place can stand for.
_LENGTH: Final = 9
_HINT: Final = Hint("a place for a number is a word in braces, such as {places}", places="{i} or {i+1}")


def has_places(text: str) -> bool:
    """Tell whether a text is a pattern."""
    return _PLACE.search(text) is not None


class Values(NamedTuple):
    """A name, or its beginning up to a dot, that fits a pattern.

    Attributes:
        number: number of the pattern among all.
        length: characters of the beginning.
        values: the number for each place, in the order of their names.
    """

    number: int
    length: int
    values: tuple[tuple[str, int], ...]


class Pattern:
    """A name with places for numbers.

    Args:
        text: such as ``layers.{i}.weight``; a place may come twice, and then stands for the same number.

    Attributes:
        text: it.
        places: the words in its places, sorted.

    Raises:
        ArgumentError: places stand next to each other or to a digit, so that no number is certain; or a brace is
            mistyped.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        found = list(_PLACE.finditer(text))
        self.places: tuple[str, ...] = tuple(sorted({each[1] for each in found}))
        if not found:
            return
        mistyped = _MISTYPED.search(_PLACE.sub("", text))
        if mistyped is not None:
            raise ArgumentError(f"{mistyped[0]!r} is no place for a number", name=text, hint=_HINT)
        if _TOGETHER.search(text):
            raise ArgumentError(
                "a place for a number stands next to a digit or to another place", name=text, hint="put text between"
            )
        self._offsets = [(each[1], int(each[2] or 0)) for each in found]
        parts = _PLACE.split(text)[::3]
        number = rf"(0|[1-9][0-9]{{0,{_LENGTH - 1}}})"
        self._fits = re.compile(number.join(map(re.escape, parts)))

    @property
    def skeleton(self) -> str:
        """The text with a mark in the place of each number."""
        return _skeleton(_PLACE.sub("0", self.text))

    @property
    def numbers(self) -> tuple[str | None, ...]:
        """The numbers in the text, in their order; None for each that is a place."""
        return tuple(None if each[0] == "{" else each for each in _NUMBERS.findall(self.text))

    def read(self, name: str) -> tuple[tuple[str, int], ...] | None:
        """Return the number for each place if a name fits, and None otherwise."""
        if not self.places:
            return () if name == self.text else None
        fit = self._fits.fullmatch(name)
        if fit is None:
            return None
        found: dict[str, int] = {}
        for (place, offset), digits in zip(self._offsets, fit.groups(), strict=True):
            number = int(digits) - offset
            if number < 0 or found.setdefault(place, number) != number:
                return None
        return tuple(sorted(found.items()))

    def name(self, values: Mapping[str, int]) -> str:
        """Return the name with these numbers in the places."""
        return _PLACE.sub(lambda place: str(values[place[1]] + int(place[2] or 0)), self.text)


class Patterns:
    """Many patterns, which are looked for at the beginnings of names.

    Args:
        patterns: the patterns.
    """

    def __init__(self, patterns: Iterable[Pattern]) -> None:
        self._patterns = list(patterns)
        # By their text between numbers; then by which numbers are no places, and by these numbers.
        self._found: dict[str, dict[tuple[int, ...], dict[tuple[str | None, ...], list[int]]]] = {}
        for number, pattern in enumerate(self._patterns):
            numbers = pattern.numbers
            fixed = tuple(at for at, digits in enumerate(numbers) if digits is not None)
            by_numbers = self._found.setdefault(pattern.skeleton, {}).setdefault(fixed, {})
            by_numbers.setdefault(tuple(numbers[at] for at in fixed), []).append(number)
        self._beginnings = Beginnings(self._found)

    def every(self, name: str) -> Iterator[Values]:
        """Yield what fits a name or its beginnings up to a dot; the longest first, and of equals the most exact."""
        found = []
        numbers = _DIGITS.findall(name)
        ends = [*(at for at, letter in enumerate(name) if letter == "."), len(name)]
        for skeleton in self._beginnings.every(_skeleton(name)):
            length = ends[skeleton.count(".")]
            for fixed, by_numbers in self._found[skeleton].items():
                for number in by_numbers.get(tuple(numbers[at] for at in fixed if at < len(numbers)), ()):
                    values = self._patterns[number].read(name[:length])
                    if values is not None:
                        found.append(Values(number, length, values))
        found.sort(key=lambda each: (-each.length, len(each.values), each.number))
        yield from found


def _skeleton(name: str) -> str:
    return _DIGITS.sub("#", name)
