"""What holds for all pairs of layers together, if a map is right.

Layers with the same words in their names belong to layers with the same words, their numbers rise together, and layers
that stand in one block stay in one.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from ckptload.binding.maps.paths import verdict

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Sequence

    from ckptload.binding.maps.layers import Layer
    from ckptload.binding.maps.paths import Path, Tokens

    Pair = tuple[Layer, Layer]
    Templates = tuple[Tokens, Tokens]

#: Neighbours whose names are compared though their shapes differ.
_NEAR: Final = 8


class Families:
    """Pairs by the templates of their names.

    Args:
        pairs: all pairs.
    """

    def __init__(self, pairs: Iterable[Pair]) -> None:
        self.members: defaultdict[Templates, list[Pair]] = defaultdict(list)
        self._theirs: defaultdict[Tokens, set[Tokens]] = defaultdict(set)
        self._ours: defaultdict[Tokens, set[Tokens]] = defaultdict(set)
        self._whole: dict[Templates, bool] = {}
        for one, other in pairs:
            key = one.path.template, other.path.template
            self.members[key].append((one, other))
            self._theirs[key[0]].add(key[1])
            self._ours[key[1]].add(key[0])

    def are_apart(self, one: Pair, other: Pair) -> bool:
        """Tell whether two pairs cannot be exchanged, since their families have different numbers of members.

        That says something only if either family is all that has its template, on both sides.
        """
        keys = [(each[0].path.template, each[1].path.template) for each in (one, other)]
        sizes = [len(self.members[key]) for key in keys]
        return sizes[0] != sizes[1] and max(sizes) > 2 and all(map(self._is_whole, keys))  # noqa: PLR2004 -- not by chance

    def _is_pure(self, key: Templates) -> bool:
        return len(self._theirs[key[0]]) == 1 and len(self._ours[key[1]]) == 1

    def _is_whole(self, key: Templates) -> bool:
        """Tell whether a family is all that has its template, and no number is left out on one side only."""
        if key not in self._whole:
            members = self.members[key]
            gaps = [_gaps(pair[side].path for pair in members) for side in (0, 1)]
            self._whole[key] = self._is_pure(key) and gaps[0] == gaps[1]
        return self._whole[key]

    def mixed(self) -> Iterator[Pair]:
        """Yield pairs of families that share their template with others, on both sides."""
        for (mine, theirs), members in self.members.items():
            if len(self._theirs[mine]) > 1 and len(self._ours[theirs]) > 1:
                yield from members


def _gaps(paths: Iterable[Path]) -> int:
    """Return how many numbers are left out in lists that count up."""
    lists: defaultdict[Tokens, set[int]] = defaultdict(set)
    for path in paths:
        for (_, tokens), number in zip(path.beginnings(), path.numbers, strict=True):
            lists[tokens[:-1]].add(number)
    return sum(max(numbers) - min(numbers) + 1 - len(numbers) for numbers in lists.values())


def doubtful(pairs: Sequence[Pair]) -> list[Pair]:
    """Return pairs that do not fit the others."""
    families = Families(pairs)
    found = [*_elsewhere(pairs), *families.mixed(), *_crossed(pairs), *_torn(pairs)]
    blocks = _Blocks()
    for members in families.members.values():
        members.sort(key=lambda pair: pair[0].path.numbers)
        found += [second for first, second in pairwise(members) if first[1].path.numbers >= second[1].path.numbers]
        mine, theirs = ([_numbered(pair[side].path) for pair in members] for side in (0, 1))
        if not _explained(mine, theirs) or not _explained(theirs, mine):
            found.append(members[0])
        blocks.add(mine, theirs, members[0])
    found += blocks.doubtful()
    found += blocks.outside(pairs)
    return list(dict.fromkeys(found))


def _elsewhere(pairs: Sequence[Pair]) -> Iterator[Pair]:
    """Yield pairs whose first layer has the name of another layer of the net."""
    named = {other.path.tokens: other for _, other in pairs}
    for one, other in pairs:
        if named.get(one.path.tokens, other) is not other:
            yield one, other


def _crossed(pairs: Sequence[Pair]) -> Iterator[Pair]:
    """Yield pairs of neighbours that shapes bring together though their names say the other way round."""
    row = sorted(pairs, key=lambda pair: pair[0].order)
    for at, (one, other) in enumerate(row):
        for second, third in row[at + 1 : at + 1 + _NEAR]:
            if verdict(one.path, other.path, second.path, third.path).sign < 0:
                yield one, other


def _torn(pairs: Sequence[Pair]) -> Iterator[Pair]:
    """Yield pairs in lists of blocks of which one side lacks a number in the middle, and the other does not lack it."""
    holes = [_holes(pair[side].path for pair in pairs) for side in (0, 1)]
    if not any(holes):
        return
    for pair in pairs:
        mine, theirs = (
            {holes[side][tokens[:-1]] for _, tokens in pair[side].path.beginnings() if tokens[:-1] in holes[side]}
            for side in (0, 1)
        )
        if mine != theirs:
            yield pair


def _holes(paths: Iterable[Path]) -> dict[Tokens, tuple[int, ...]]:
    """Return the numbers, counted from the first, of lists of blocks that lack a number in the middle.

    A number that is left out may be a layer without tensors, where what is counted are layers and not blocks.
    """
    lists: defaultdict[Tokens, Counter[int]] = defaultdict(Counter)
    for path in paths:
        for (_, tokens), number in zip(path.beginnings(), path.numbers, strict=True):
            lists[tokens[:-1]][number] += 1
    return {
        tokens: tuple(number - min(counts) for number in sorted(counts))
        for tokens, counts in lists.items()
        if min(counts.values()) > 1 and max(counts) - min(counts) >= len(counts)
    }


def _numbered(path: Path) -> list[tuple[Tokens, Tokens, int]]:
    """Return the beginnings of a name that end in a number: as templates, as they are, and the number."""
    return [
        (template, tokens, number) for (template, tokens), number in zip(path.beginnings(), path.numbers, strict=True)
    ]


_Numbered = list[tuple["Tokens", "Tokens", int]]


def _explained(causes: list[_Numbered], effects: list[_Numbered]) -> bool:
    """Tell whether each number of one side depends on a single number of the other, or counts its blocks."""
    for slot in range(len(effects[0])):
        values = [each[slot][2] for each in effects]
        if len(set(values)) > 1 and not any(
            _is_function([each[cause][2] for each in causes], values)
            or _is_bijection([each[cause][1] for each in causes], values)
            for cause in range(len(causes[0]))
        ):
            return False
    return True


def _is_function(causes: Sequence[Hashable], effects: Sequence[Hashable]) -> bool:
    seen: dict[Hashable, Hashable] = {}
    return all(seen.setdefault(cause, effect) == effect for cause, effect in zip(causes, effects, strict=True))


def _is_bijection(causes: Sequence[Hashable], effects: Sequence[Hashable]) -> bool:
    return _is_function(causes, effects) and _is_function(effects, causes)


class _Blocks:
    """Which numbered beginnings of names belong to which, as all families together say."""

    def __init__(self) -> None:
        self._found: defaultdict[Templates, list[tuple[Tokens, Tokens]]] = defaultdict(list)
        self._example: dict[Templates, Pair] = {}

    def add(self, mine: list[_Numbered], theirs: list[_Numbered], example: Pair) -> None:
        """Add what a family says."""
        slots = {
            (one, other)
            for one in _varying(mine)
            for other in _varying(theirs)
            if _is_bijection([each[one][1] for each in mine], [each[other][1] for each in theirs])
        }
        for one, other in slots:
            # Deeper beginnings follow from these.
            if one == min(a for a, b in slots if b == other) and other == min(b for a, b in slots if a == one):
                key = mine[0][one][0], theirs[0][other][0]
                self._found[key] += [(a[one][1], b[other][1]) for a, b in zip(mine, theirs, strict=True)]
                self._example.setdefault(key, example)

    def doubtful(self) -> Iterator[Pair]:
        """Yield an example of what contradicts itself; one block may be several, but not on both sides at once."""
        for key, found in self._found.items():
            mine, theirs = [a for a, _ in found], [b for _, b in found]
            if not _is_function(mine, theirs) and not _is_function(theirs, mine):
                yield self._example[key]

    def outside(self, pairs: Sequence[Pair]) -> Iterator[Pair]:
        """Yield pairs of which one side stands in a block that is known, and the other in none of that kind."""
        known: tuple[defaultdict[Tokens, set[Tokens]], ...] = defaultdict(set), defaultdict(set)
        for templates, found in self._found.items():
            for block in found:
                for side in (0, 1):
                    known[side][block[side]].add(templates[1 - side])
        for pair in pairs:
            ends = [pair[side].path.beginnings() for side in (0, 1)]
            for side in (0, 1):
                wanted = [known[side][tokens] for _, tokens in ends[side] if tokens in known[side]]
                if wanted and not any(template in each for template, _ in ends[1 - side] for each in wanted):
                    yield pair


def _varying(numbered: list[_Numbered]) -> list[int]:
    return [slot for slot in range(len(numbered[0])) if len({each[slot][2] for each in numbered}) > 1]
