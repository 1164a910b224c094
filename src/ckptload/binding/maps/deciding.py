"""Which layer of a net is which layer of a checkpoint, and whether anything but the order says so."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ckptload.binding.maps.layers import classes_of
from ckptload.binding.maps.paths import compared

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ckptload.binding.maps.layers import Layer

    Pair = tuple[Layer, Layer]

#: How far from its place in the order a layer is looked for, if names speak against the order.
_WINDOW: Final = 4
#: Layers that must be certain before the order may say anything.
_ANCHORS: Final = 8
_ORDERED: Final = 0.9
#: Open pairs that are kept of each class.
_KEPT: Final = 200


@dataclass
class Matching:
    """What belongs together.

    Attributes:
        pairs: layers of the checkpoint and of the net.
        left: layers of the checkpoint without a counterpart.
        lacking: layers of the net without one.
        open: pairs that could be exchanged.
    """

    pairs: list[Pair] = field(default_factory=list)
    left: list[Layer] = field(default_factory=list)
    lacking: list[Layer] = field(default_factory=list)
    open: list[tuple[Pair, Pair]] = field(default_factory=list)


def matched(ours: Sequence[Layer], theirs: Sequence[Layer]) -> Matching:
    """Match layers of a checkpoint with those of a net."""
    found = Matching()
    mine, other = classes_of(ours), classes_of(theirs)
    classes: list[list[Pair]] = []
    for key in {**mine, **other}:
        pairs, left, lacking = _paired(mine.get(key, []), other.get(key, []))
        found.left += left
        found.lacking += lacking
        if pairs:
            classes.append(pairs)
    found.pairs = [pair for pairs in classes for pair in pairs]
    found.open = _open_pairs(classes)
    return found


def is_same(pair: Pair) -> bool:
    """Tell whether two layers have the same name."""
    return pair[0].path.text == pair[1].path.text


def _paired(ours: list[Layer], theirs: list[Layer]) -> tuple[list[Pair], list[Layer], list[Layer]]:
    """Pair the layers of a class: those of the same name, and then by their order as far as names do not object."""
    named = {layer.path.text: layer for layer in theirs}
    same = {layer.path.text for layer in ours} & named.keys()
    pairs = [(layer, named[layer.path.text]) for layer in ours if layer.path.text in same]
    rest = [layer for layer in ours if layer.path.text not in same]
    others = [layer for layer in theirs if layer.path.text not in same]
    _exchange(rest, others)
    both = min(len(rest), len(others))
    return pairs + list(zip(rest[:both], others[:both], strict=True)), rest[both:], others[both:]


def _exchange(ours: list[Layer], theirs: list[Layer]) -> None:
    """Exchange neighbours where names say so."""
    count = min(len(ours), len(theirs))
    for _ in range(_WINDOW):
        changed = False
        for at in range(count):
            for to in range(at + 1, min(at + _WINDOW, count)):
                told = compared(ours[at].path, ours[to].path, theirs[at].path, theirs[to].path)
                if told.is_against:
                    theirs[at], theirs[to] = theirs[to], theirs[at]
                    changed = True
        if not changed:
            return


def _open_pairs(classes: list[list[Pair]]) -> list[tuple[Pair, Pair]]:
    """Return the pairs that nothing but the order tells apart."""
    anchors = [pair for pairs in classes for pair in pairs if len(pairs) == 1 or is_same(pair)]
    waiting = [pairs for pairs in classes if len(pairs) > 1]
    found: list[tuple[Pair, Pair]] = []
    while True:
        order = Order(anchors)
        found, still = [], []
        for pairs in waiting:
            doubts = _doubts(pairs, order)
            if doubts:
                found += doubts
                still.append(pairs)
            else:
                anchors += [pair for pair in pairs if not is_same(pair)]
        if len(still) == len(waiting):
            return found
        waiting = still


def _doubts(pairs: list[Pair], order: Order) -> list[tuple[Pair, Pair]]:
    found: list[tuple[Pair, Pair]] = []
    known = [pair for pair in pairs if is_same(pair)]
    templates = {pair[0].path.template for pair in known} | {pair[1].path.template for pair in known}
    for at, one in enumerate(pairs):
        for other in pairs[at + 1 :]:
            if not _is_told(one, other, order, templates):
                found.append((one, other))
                if len(found) >= _KEPT:
                    return found
    return found


def _is_told(one: Pair, other: Pair, order: Order, templates: set[str]) -> bool:
    same = is_same(one), is_same(other)
    if all(same):
        return True
    told = compared(one[0].path, other[0].path, one[1].path, other[1].path)
    if told.is_decided:
        return True
    if told.is_against:
        return False
    if any(same):
        # All others of the class have their own names on both sides: what is left belongs together, unless it is
        # one more of the same kind, as where all numbers are shifted.
        new = other if same[0] else one
        if not {new[0].path.template, new[1].path.template} & templates:
            return True
    return told.is_likely and order.separates(one, other)


class Order:
    """Layers that are certain, as marks between which others stand.

    Args:
        anchors: pairs that are certain.
    """

    def __init__(self, anchors: Sequence[Pair]) -> None:
        ordered = sorted((one.order, other.order) for one, other in anchors)
        chain = _rising(ordered)
        enough = len(ordered) >= _ANCHORS and len(chain) >= _ORDERED * len(ordered)
        self._ours = [one for one, _ in chain] if enough else []
        self._theirs = [other for _, other in chain] if enough else []

    def separates(self, one: Pair, other: Pair) -> bool:
        """Tell whether the same certain layers stand between two, on both sides."""
        gaps = [(bisect_left(self._ours, a.order), bisect_left(self._theirs, b.order)) for a, b in (one, other)]
        return all(a == b for a, b in gaps) and gaps[0][0] != gaps[1][0]


def _rising(pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return a longest part of a list in which the second number rises, too."""
    ends: list[int] = []
    tails: list[int] = []
    before: list[int] = []
    for at, (_, value) in enumerate(pairs):
        place = bisect_left(ends, value)
        before.append(tails[place - 1] if place else -1)
        if place == len(ends):
            ends.append(value)
            tails.append(at)
        else:
            ends[place], tails[place] = value, at
    found = []
    at = tails[-1] if tails else -1
    while at >= 0:
        found.append(pairs[at])
        at = before[at]
    return found[::-1]
