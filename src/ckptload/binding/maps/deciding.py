"""Which layer of a net is which layer of a checkpoint, and whether anything but the order says so.

Layers of equal roles and shapes are taken in their order, and exchanged where names speak for it. Then each exchange of
two of them must be excluded: by identical names, numbers that rise on both sides, words, the other layers of their
blocks, or certain layers between them. The order of two alone says nothing.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import combinations, pairwise, product
from typing import TYPE_CHECKING, Final

from ckptload.binding.maps.layers import classes_of
from ckptload.binding.maps.paths import is_number, verdict
from ckptload.binding.maps.structure import Families, doubtful

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ckptload.binding.maps.layers import Layer
    from ckptload.binding.maps.paths import Tokens
    from ckptload.binding.maps.structure import Pair

#: How far from its place in the order a layer is looked for, and how often.
_WINDOW: Final = 40
_TURNS: Final = 6
#: Layers that must be certain before the order says anything, and the share of them that must stand in order.
_ANCHORS: Final = 8
_ORDERED: Final = 0.9
#: Certain layers beside a pair that keep it in its place where no number of a block says so, too: a single one may
#: belong to another part in the other net.
_BESIDE: Final = 2
_DIGIT: Final = re.compile("[0-9]")
#: Open pairs that are kept.
_KEPT: Final = 2000
#: Layers of a class of which every two are compared at any rate; and above which they are only if their numbers allow
#: to compare neighbours.
_FEW: Final = 64
_MOST: Final = 1000
#: Layers of a block that are compared with those of the next.
_NEAR: Final = 12


@dataclass
class Matching:
    """What belongs together.

    Attributes:
        pairs: layers of the checkpoint and of the net.
        left: layers of the checkpoint without a counterpart.
        lacking: layers of the net without one.
        open: pairs that could be exchanged.
        odd: pairs that do not fit the others.
    """

    pairs: list[Pair] = field(default_factory=list)
    left: list[Layer] = field(default_factory=list)
    lacking: list[Layer] = field(default_factory=list)
    open: list[tuple[Pair, Pair]] = field(default_factory=list)
    odd: list[Pair] = field(default_factory=list)

    @property
    def is_certain(self) -> bool:
        """Whether nothing is left, open or odd."""
        return bool(self.pairs) and not (self.left or self.lacking or self.open or self.odd)


def matched(ours: Sequence[Layer], theirs: Sequence[Layer], told: Iterable[Pair] = ()) -> Matching:
    """Match layers of a checkpoint with those of a net.

    Args:
        ours: layers of the checkpoint, in their order.
        theirs: layers of the net, in their order.
        told: pairs that the user has told.
    """
    known = {id(one): other for one, other in told}
    taken = set(map(id, known.values()))
    found = Matching()
    mine = classes_of(layer for layer in ours if id(layer) not in known)
    other = classes_of(layer for layer in theirs if id(layer) not in taken)
    classes = [_paired(mine.get(key, []), other.get(key, []), found) for key in {**mine, **other}]
    sure = [(one, known[id(one)]) for one in ours if id(one) in known]
    found.pairs = sure + [pair for pairs in classes for pair in pairs]
    found.odd = [pair for pair in doubtful(found.pairs) if id(pair[0]) not in known]
    has_norms = any(layer.is_norm and len(layer.spots) > 1 for layer in ours)
    found.odd += [
        pair
        for pairs in classes
        for pair in pairs
        if not _is_same(pair) and not _is_possible(*pair, has_norms=has_norms)
    ]
    found.open = _open(classes, sure, Families(found.pairs))
    return found


def _paired(ours: list[Layer], theirs: list[Layer], found: Matching) -> list[Pair]:
    """Pair the layers of a class: those of the same name, and then by their order as far as names do not object."""
    named = {layer.path.tokens: layer for layer in theirs}
    same = [(layer, named.pop(layer.path.tokens)) for layer in ours if layer.path.tokens in named]
    taken = {id(layer) for pair in same for layer in pair}
    mine = [layer for layer in ours if id(layer) not in taken]
    others = [layer for layer in theirs if id(layer) not in taken]
    mine, others = _in_families(mine, others)
    number = min(len(mine), len(others))
    found.left += mine[number:]
    found.lacking += others[number:]
    pairs = sorted([*same, *zip(mine[:number], others[:number], strict=True)], key=lambda pair: pair[0].order)
    for _ in range(_TURNS):
        if not _exchange(pairs):
            break
    return pairs


def _in_families(ours: list[Layer], theirs: list[Layer]) -> tuple[list[Layer], list[Layer]]:
    """Put layers first whose template is the only one on both sides with so many layers: they may belong together."""
    sides = []
    for layers in (ours, theirs):
        families: defaultdict[tuple[str, ...], list[Layer]] = defaultdict(list)
        for layer in layers:
            families[layer.path.template].append(layer)
        sizes = Counter(map(len, families.values()))
        sides.append({len(each): each for each in families.values() if sizes[len(each)] == 1})
    mine, other = sides
    sure = sorted(mine.keys() & other.keys())
    first = [layer for size in sure for layer in mine[size]], [layer for size in sure for layer in other[size]]
    taken = {id(layer) for side in first for layer in side}
    rest = ([layer for layer in layers if id(layer) not in taken] for layers in (ours, theirs))
    one, two = (begin + end for begin, end in zip(first, rest, strict=True))
    return one, two


def _exchange(pairs: list[Pair]) -> bool:
    """Exchange what names say is crossed, and tell whether there was any."""
    changed = False
    window = _WINDOW if len(pairs) <= _MOST else _NEAR
    for at in range(len(pairs)):
        for to in range(at + 1, min(len(pairs), at + window)):
            (a1, b1), (a2, b2) = pairs[at], pairs[to]
            if verdict(a1.path, b1.path, a2.path, b2.path).sign < 0:
                pairs[at], pairs[to] = (a1, b2), (a2, b1)
                changed = True
    return changed


def _is_possible(one: Layer, other: Layer, *, has_norms: bool) -> bool:
    """Tell whether types allow a pair: a norm, known by its names or its type, belongs to a norm.

    Args:
        one: the layer of the checkpoint.
        other: the layer of the net.
        has_norms: whether the checkpoint calls what belongs to norms otherwise than what belongs to other layers.
    """
    if not other.kind:
        return True
    is_norm = "Norm" in other.kind
    if one.is_norm and len(one.spots) > 1:
        return is_norm
    return not (is_norm and has_norms and one.is_plain and not one.is_norm)


def _open(classes: list[list[Pair]], told: list[Pair], families: Families) -> list[tuple[Pair, Pair]]:
    """Return the pairs whose exchange nothing excludes."""
    sure = told + [pair for pairs in classes for pair in pairs if len(pairs) == 1 or _is_same(pair)]
    waiting = [pairs for pairs in classes if len(pairs) > 1]
    while True:
        evidence = _Evidence(sure, families)
        results = [(pairs, _doubts(pairs, evidence)) for pairs in waiting]
        still = [pairs for pairs, doubts in results if doubts]
        if len(still) == len(waiting):
            return [doubt for _, doubts in results for doubt in doubts][:_KEPT]
        # What is certain now may stand between others.
        sure += [pair for pairs, doubts in results if not doubts for pair in pairs if not _is_same(pair)]
        waiting = still


def _is_same(pair: Pair) -> bool:
    return pair[0].path.tokens == pair[1].path.tokens


def _doubts(pairs: list[Pair], evidence: _Evidence) -> list[tuple[Pair, Pair]]:
    found = []
    for one, other in _compared(pairs, (0, 0)):
        if one is other or not evidence.excludes(one, other):
            found.append((one, other))
            if len(found) >= _KEPT:
                break
    return found


def _compared(pairs: list[Pair], starts: tuple[int, int]) -> Iterator[tuple[Pair, Pair]]:
    """Yield the pairs of a class that must be compared: all with all, unless there are many.

    Where many differ first in a number on both sides, only those of neighbouring numbers are compared: what holds for
    them holds for all. A pair beside itself stands for more than can be compared.

    Args:
        pairs: pairs whose names begin alike.
        starts: how many words and numbers, at least, the names of either side have in common.
    """
    if len(pairs) <= _FEW:
        yield from combinations(pairs, 2)
        return
    at, to = (_common([pair[side].path.tokens for pair in pairs], starts[side]) for side in (0, 1))
    parts: defaultdict[tuple[str, str], list[Pair]] = defaultdict(list)
    for one, other in pairs:
        parts["".join(one.path.tokens[at : at + 1]), "".join(other.path.tokens[to : to + 1])].append((one, other))
    numbers = [key for key in parts if is_number(key[0]) and is_number(key[1])]
    sides = [{key[side] for key in parts} for side in (0, 1)]
    if len(numbers) < 2 or not len(numbers) == len(parts) == len(sides[0]) == len(sides[1]):  # noqa: PLR2004 -- two differ
        yield from combinations(pairs, 2) if len(pairs) <= _MOST else [(pairs[0], pairs[0])]
        return
    runs = [parts[key] for key in sorted(parts, key=lambda key: int(key[0]))]
    for before, after in pairwise(runs):
        yield from product(before[:_NEAR], after[:_NEAR])
    for run in runs:
        yield from _compared(run, (at + 1, to + 1))


def _common(names: list[Tokens], start: int) -> int:
    """Return how many words and numbers all names have in common, from a number on that is known."""
    first = names[0]
    while start < len(first) and all(name[start : start + 1] == first[start : start + 1] for name in names):
        start += 1
    return start


class _Evidence:
    """What excludes that two pairs are exchanged.

    Args:
        sure: pairs that are certain.
        families: all pairs by the templates of their names.
    """

    def __init__(self, sure: Sequence[Pair], families: Families) -> None:
        self._families = families
        self._parents: defaultdict[str, set[str]] = defaultdict(set)
        self._children: defaultdict[str, set[str]] = defaultdict(set)
        self._beside: Counter[str] = Counter()
        for one, other in sure:
            self._parents[one.path.parent].add(other.path.parent)
            self._children[other.path.parent].add(one.path.parent)
            self._beside[one.path.parent] += 1
        chain = _rising(sorted((one.order, other.order) for one, other in sure))
        is_ordered = len(sure) >= _ANCHORS and len(chain) >= _ORDERED * len(sure)
        self._ours = [one for one, _ in chain] if is_ordered else []
        self._theirs = [other for _, other in chain] if is_ordered else []

    def excludes(self, one: Pair, other: Pair) -> bool:
        """Tell whether the exchange of two pairs is excluded."""
        said = verdict(one[0].path, one[1].path, other[0].path, other[1].path)
        if said.sign > 0 and (not said.needs_order or self._are_separate(one, other)):
            return True
        if said.sign < 0:
            return False
        if self._families.are_apart(one, other):
            return True
        known = self._stays(one) + self._stays(other)
        is_listed = any(_DIGIT.search(layer.path.parent) for layer in (*one, *other))
        stays = known >= (1 if is_listed else _BESIDE)
        return stays and all(one[side].path.parent != other[side].path.parent for side in (0, 1))

    def _stays(self, pair: Pair) -> int:
        """Return how many certain layers stand beside one of a pair, if they are those that stand beside the other."""
        mine, theirs = pair[0].path.parent, pair[1].path.parent
        stays = self._parents.get(mine) == {theirs} and self._children.get(theirs) == {mine}
        return self._beside[mine] if stays else 0

    def _are_separate(self, one: Pair, other: Pair) -> bool:
        """Tell whether the same certain layers stand between two pairs, on both sides."""
        gaps = [
            (bisect_left(self._ours, pair[0].order), bisect_left(self._theirs, pair[1].order)) for pair in (one, other)
        ]
        return all(mine == theirs for mine, theirs in gaps) and gaps[0] != gaps[1]


def _rising(pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return a longest part of a list in which the second number rises, too."""
    ends: list[int] = []
    tails: list[int] = []
    before: list[int] = []
    for at, (_, value) in enumerate(pairs):
        place = bisect_left(ends, value)
        before.append(tails[place - 1] if place else -1)
        ends[place : place + 1] = [value]
        tails[place : place + 1] = [at]
    found = []
    at = tails[-1] if tails else -1
    while at >= 0:
        found.append(pairs[at])
        at = before[at]
    return found[::-1]
