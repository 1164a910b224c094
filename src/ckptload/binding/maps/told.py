"""What a map that is given makes of one side, and whether it fits the other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ckptload.binding.maps.layouts import shape_of
from ckptload.binding.maps.proposal import Question
from ckptload.errors import BindingError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ckptload.binding.maps.layers import Shape, Spot
    from ckptload.binding.maps.name_map import NameMap
    from ckptload.binding.maps.recipes import Recipe
    from ckptload.binding.maps.rules import Rule


@dataclass
class Told:
    """What a map says of two sides.

    Attributes:
        rules: its rules that do more than rename, or leave an entry out.
        renamed: names of the checkpoint and of the net, of entries that are renamed or reshaped.
        used: entries that are joined, cut, transposed or left out.
        made: names of the net that are made by rules that do more than rename.
        reshapes: see `Proposal`, as are the following.
        zeros: tensors of zeros.
        joins: tensors that are joined.
        cuts: tensors that are cut.
        transposes: tensors that are transposed.
        questions: what does not fit.
    """

    rules: tuple[Rule, ...] = ()
    renamed: dict[str, str] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    made: set[str] = field(default_factory=set)
    reshapes: dict[str, tuple[Shape, Shape]] = field(default_factory=dict)
    zeros: dict[str, Shape] = field(default_factory=dict)
    joins: dict[str, tuple[str, ...]] = field(default_factory=dict)
    cuts: dict[str, tuple[str, ...]] = field(default_factory=dict)
    transposes: list[str] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)


def applied(ours: Sequence[Spot], theirs: Sequence[Spot], rules: NameMap, *, only_named: bool = False) -> Told:
    """Apply a map to the names of a checkpoint.

    Args:
        ours: tensors of the checkpoint.
        theirs: tensors of the net.
        rules: the map.
        only_named: whether entries that no rule is about are left to the proposal.

    Raises:
        ArgumentError: two tensors would have the same name, or an entry that is joined with others lacks one.
    """
    told = Told(tuple(rule for rule in rules.rules if not rule.is_rename or not rule.targets))
    shapes = {spot.name: spot.shape for spot in ours}
    targets: dict[str, Spot] = {}
    for spot in theirs:
        for name in (spot.name, *spot.aliases):
            targets.setdefault(name, spot)
    names = [name for name in shapes if not only_named or rules.names(name) is not None]
    recipes = rules.recipes(names)
    kept = {name for recipe in recipes for name in recipe.sources}
    told.used.update(name for name in names if name not in kept)
    for recipe in recipes:
        target = targets.get(recipe.name)
        if target is None:
            if only_named:
                told.questions.append(Question(f"{recipe.name} is no tensor of the net; what is meant in the rules?"))
            continue
        _add(told, recipe, target, shapes)
    return told


def _add(told: Told, recipe: Recipe, target: Spot, shapes: dict[str, Shape]) -> None:
    try:
        shape = shape_of(recipe, shapes.__getitem__)
    except BindingError as error:
        told.questions.append(Question(f"{recipe.name}: {error.problem}"))
        return
    if not target.fits(shape):
        told.questions.append(
            Question(f"{target.name} has shape {target.shape}, and the rule makes {shape}; is it right?")
        )
    if not recipe.is_moved:
        (old,) = recipe.sources
        told.renamed[old] = target.name
        if not target.fits(shapes[old]):
            told.reshapes[target.name] = (shapes[old], target.shape)
        return
    told.made.add(target.name)
    told.used.update(recipe.sources)
    rule = recipe.rule
    if rule is None or rule.zeros is not None:
        told.zeros[target.name] = target.shape
    elif len(rule.sources) > 1:
        told.joins[target.name] = recipe.sources
    elif len(rule.targets) > 1:
        (old,) = recipe.sources
        told.cuts[old] = (*told.cuts.get(old, ()), target.name)
    if rule is not None and rule.transpose:
        told.transposes.append(target.name)
