"""`propose_name_map`: a map from both sides' names, shapes and types of layers."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from ckptload.binding.maps.choosing import chosen_map
from ckptload.binding.maps.deciding import matched
from ckptload.binding.maps.guessing import guesses
from ckptload.binding.maps.layers import layers_of
from ckptload.binding.maps.name_map import NameMap
from ckptload.binding.maps.proposal import Proposal, Question
from ckptload.binding.maps.sides import spots_of_net, spots_of_source
from ckptload.binding.maps.told import applied
from ckptload.errors import ArgumentTypeError
from ckptload.messages import type_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ckptload.binding.maps.deciding import Matching
    from ckptload.binding.maps.guessing import Guesses
    from ckptload.binding.maps.layers import Layer, Spot
    from ckptload.binding.maps.structure import Pair
    from ckptload.binding.maps.told import Told

_BRACES: Final = re.compile("[{}]")
_DIGITS: Final = re.compile("[0-9]+")
_NUMBER: Final = re.compile(r"(?<![^.])[0-9]+(?![^.])")


def propose_name_map(module: Any, source: Any, *, rules: Any = None, convention: Any = None) -> Proposal:
    """Propose a map from the names of a checkpoint to those of a net.

    Only names, shapes, their order and types of layers are looked at; no tensor data is read. The proposal is certain
    only if something beside the order decides each tensor of both sides; otherwise it has questions (docs/pytorch.md).

    Args:
        module: the net: a ``torch.nn.Module`` (of the meta device, too), a Cell, a dictionary of names and tensors or
            shapes, an open checkpoint, or the path of one.
        source: the checkpoint: an open one, its path, or a dictionary of names and tensors or shapes.
        rules: what is known of the map: a dictionary of names and new names, a list of rules, a `NameMap`, or its file.
            It answers questions.
        convention: a map for all of it, or the name of one that ckptload knows; nothing else is proposed then, and the
            proposal says whether it fits.

    Returns:
        The proposal. It shares no memory with either side.

    Raises:
        ArgumentTypeError: an argument is of another type.
        ArgumentError: the rules make no sense.
        LimitError: a side has more than 100 000 tensors.
    """
    ours = spots_of_source(source)
    theirs = spots_of_net(module, {spot.name for spot in ours})
    if convention is not None:
        return _by_convention(ours, theirs, _map(convention, "convention"))
    return proposed(ours, theirs, None if rules is None else _map(rules, "rules"))


def _map(given: Any, argument: str) -> NameMap:
    chosen: Any = chosen_map(given) if isinstance(given, str) or hasattr(given, "__fspath__") else given
    if isinstance(chosen, NameMap):
        return chosen
    if not isinstance(chosen, (dict, list, tuple)):
        raise ArgumentTypeError(f"{argument} must be a dict, a list of rules or a map, not {type_name(chosen)}")
    return NameMap(chosen)


def proposed(ours: list[Spot], theirs: list[Spot], rules: NameMap | None = None) -> Proposal:
    """Return the proposal for the tensors of a checkpoint and those of a net."""
    told = applied(ours, theirs, rules if rules is not None else NameMap({}), only_named=True)
    # Rules cannot tell a name with braces from a pattern.
    mine = [spot for spot in ours if spot.name not in told.used and not _BRACES.search(spot.name)]
    others = [spot for spot in theirs if spot.name not in told.made and not _BRACES.search(spot.name)]
    layers, targets = layers_of(mine), layers_of(others)
    found = matched(layers, targets, _told_layers(layers, targets, told))
    guessed = guesses(found)
    draft = Draft(told)
    for one, other in (*found.pairs, *guessed.biased, *guessed.transposed):
        draft.add(one, other)
    draft.add_guesses(guessed)
    questions = [*told.questions, *_questions(found, guessed)]
    return draft.proposal(ours, theirs, questions, is_certain=found.is_certain or (not layers and not targets))


def _by_convention(ours: list[Spot], theirs: list[Spot], convention: NameMap) -> Proposal:
    told = applied(ours, theirs, convention)
    draft = Draft(told)
    draft.names |= told.renamed
    draft.reshapes |= told.reshapes
    return draft.proposal(ours, theirs, told.questions, is_certain=True, map_=convention)


def _told_layers(layers: Sequence[Layer], targets: Sequence[Layer], told: Told) -> list[Pair]:
    mine = {spot.name: layer for layer in layers for spot in layer.spots.values()}
    theirs = {spot.name: layer for layer in targets for spot in layer.spots.values()}
    pairs = {
        (id(mine[old]), id(theirs[new])): (mine[old], theirs[new])
        for old, new in told.renamed.items()
        if old in mine and new in theirs
    }
    return list(pairs.values())


class Draft:
    """A proposal while it is made.

    Args:
        told: what the user has told.
    """

    def __init__(self, told: Told) -> None:
        self._told = told
        self.names: dict[str, str] = {}
        self.reshapes: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}
        self._zeros = dict(told.zeros)
        self._joins = dict(told.joins)
        self._cuts = dict(told.cuts)
        self._transposes = list(told.transposes)

    def add(self, one: Layer, other: Layer) -> None:
        """Add the tensors of two layers."""
        for role, spot in {**one.spots, **one.extra}.items():
            target = other.spots.get(role) or other.extra.get(role)
            if target is not None:
                self.names[spot.name] = target.name
                if spot.shape != target.shape and not target.fits(spot.shape):
                    self.reshapes[target.name] = (spot.shape, target.shape)

    def add_guesses(self, guessed: Guesses) -> None:
        """Add what layers without a counterpart may be."""
        for _, other in guessed.biased:
            self._zeros[other.spots["bias"].name] = other.spots["bias"].shape
        for _, other in guessed.transposed:
            weight = other.spots["weight"].name
            self._transposes.append(weight)
            self.reshapes.pop(weight, None)
        for several, other in guessed.joined:
            for role, spot in other.spots.items():
                self._joins[spot.name] = tuple(layer.spots[role].name for layer in several)
        for one, others in guessed.cut:
            for role, spot in one.spots.items():
                self._cuts[spot.name] = tuple(layer.spots[role].name for layer in others)

    def proposal(
        self,
        ours: list[Spot],
        theirs: list[Spot],
        questions: Sequence[Question],
        *,
        is_certain: bool,
        map_: NameMap | None = None,
    ) -> Proposal:
        """Return the proposal."""
        made = {
            *self.names.values(),
            *self._zeros,
            *self._joins,
            *(new for news in self._cuts.values() for new in news),
        }
        used = {*self.names, *self._cuts, *(old for olds in self._joins.values() for old in olds)}
        made, used = made | self._told.made, used | self._told.used
        missing = tuple(spot.name for spot in theirs if spot.name not in made and not spot.may_lack)
        unused = tuple(spot.name for spot in ours if spot.name not in used)
        return Proposal(
            certain=is_certain and bool(made) and not (missing or questions or (unused and map_ is None)),
            name_map={spot.name: self.names[spot.name] for spot in ours if spot.name in self.names},
            questions=tuple(questions),
            missing=missing,
            unused=unused,
            reshapes=self.reshapes,
            zeros=self._zeros,
            joins=self._joins,
            cuts=self._cuts,
            transposes=tuple(self._transposes),
            entries=(len(ours), sum(not spot.may_lack for spot in theirs)),
            told=self._told.rules if map_ is None else map_.rules,
            told_names=frozenset(self._told.made),
            is_complete=map_ is not None,
        )


def _questions(found: Matching, guessed: Guesses) -> Iterator[Question]:
    asked = Counter(_exchange(one, other) for one, other in found.open)
    asked.update(
        f"is {_places(other.path.text)} {_places(one.path.text)}? It does not fit in with the others"
        for one, other in found.odd
    )
    asked.update(
        f"is {_places(other.path.text)} {_places(one.path.text)} with a bias of zeros?" for one, other in guessed.biased
    )
    asked.update(
        f"is {_places(other.path.text)} {_places(one.path.text)} transposed?" for one, other in guessed.transposed
    )
    asked.update(
        f"is {_places(other.path.text)} joined of {' + '.join(_places(each.path.text) for each in several)}?"
        for several, other in guessed.joined
    )
    asked.update(
        f"is {_places(one.path.text)} cut into {' + '.join(_places(each.path.text) for each in others)}?"
        for one, others in guessed.cut
    )
    return (Question(text, times) for text, times in asked.items())


def _exchange(one: Pair, other: Pair) -> str:
    mine = _apart(one[0].path.text, other[0].path.text)
    theirs = _apart(one[1].path.text, other[1].path.text)
    return f"{theirs[0]} <- {mine[0]} and {theirs[1]} <- {mine[1]}, or the other way round?"


def _places(text: str) -> str:
    """Return a name in which a place stands for each number that counts blocks: not ``conv1``, nor ``fc1.norm``."""
    *outer, before, last = ["", "", *text.split(".")]
    inner = [_NUMBER.sub("{i}", part) for part in (before, last)]
    return ".".join(part for part in [*(_DIGITS.sub("{i}", part) for part in outer), *inner] if part)


def _apart(one: str, other: str) -> tuple[str, str]:
    """Return two names without the parts with which both begin."""
    mine, theirs = one.split("."), other.split(".")
    start = 0
    while start < min(len(mine), len(theirs)) - 1 and mine[start] == theirs[start]:
        start += 1
    return _places(".".join(mine[start:])), _places(".".join(theirs[start:]))
