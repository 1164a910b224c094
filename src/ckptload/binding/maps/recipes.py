"""Recipes: what a map makes of the names of one checkpoint, name by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from ckptload.binding.maps.patterns import Pattern, Patterns
from ckptload.errors import ArgumentError, Hint
from ckptload.messages import listed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ckptload.binding.maps.rules import Rule


@dataclass(frozen=True)
class Recipe:
    """How one tensor of the net is made.

    Attributes:
        name: the new name.
        sources: the entries that it is made of; none for zeros.
        rule: what is done with their values; None if they do not change.
        part: number of the part of a cut.
        beside: the entry whose columns count for a cut, or beside which zeros stand; None if there is none.
    """

    name: str
    sources: tuple[str, ...]
    rule: Rule | None = None
    part: int = 0
    beside: str | None = None

    @property
    def is_moved(self) -> bool:
        """Whether elements do not stay in their order in one entry."""
        return self.rule is not None and (self.rule.zeros is not None or self.rule.transpose or self.rule.is_several)


class _Use(NamedTuple):
    """Where a pattern stands: in which rule, and which of its sources it is."""

    rule: int
    position: int


@dataclass
class _Joint:
    """The entries of a rule that joins them, as far as they were found, for one set of numbers."""

    rule: int
    values: tuple[tuple[str, int], ...]
    names: dict[int, str]


class Rules:
    """The rules of a map, ready to be applied.

    Args:
        rules: the rules; where several fit a name, that of the longest beginning counts, then the most exact.

    Raises:
        ArgumentError: a name is in two rules.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = rules
        self._targets = [[Pattern(text) for text in rule.targets] for rule in rules]
        self._besides = [Pattern(rule.beside) for rule in rules]
        uses: dict[str, _Use] = {}
        for number, rule in enumerate(rules):
            for position, text in enumerate(rule.sources):
                if text in uses:
                    raise ArgumentError("two rules are about the same name", name=text, hint="leave one of them out")
                uses[text] = _Use(number, position)
        # No beginning of a name is empty; a map that keeps every name says so.
        uses.pop("", None)
        self._keeps = any(rule.sources == rule.targets == ("",) for rule in rules)
        self._uses = list(uses.values())
        self._patterns = Patterns(map(Pattern, uses))
        self._zeros = [number for number, rule in enumerate(rules) if rule.zeros is not None and rule.beside]
        self._beside = Patterns(self._besides[number] for number in self._zeros)

    def recipes(self, names: Iterable[str]) -> list[Recipe]:
        """Return how each tensor of the net is made, in the order of the first entry of each.

        Args:
            names: names of a checkpoint; those that fit no rule keep their names.

        Raises:
            ArgumentError: two tensors would have the same name, or an entry that is joined with others lacks one.
        """
        order: list[Recipe | _Joint] = []
        joints: dict[tuple[int, tuple[tuple[str, int], ...]], _Joint] = {}
        for name in names:
            order.extend(self._of_name(name, joints))
            order.extend(self._zeros_beside(name))
        order += [
            Recipe(each.targets[0], (), each) for each in self._rules if each.zeros is not None and not each.beside
        ]
        found: dict[str, Recipe] = {}
        for each in order:
            recipe = self._joined(each) if isinstance(each, _Joint) else each
            if recipe.name in found:
                raise taken_twice(recipe.name, found[recipe.name].sources, recipe.sources)
            found[recipe.name] = recipe
        return list(found.values())

    def named(self, name: str) -> str | None:
        """Return what of a name the rule is about that counts for it: all, its beginning, or None.

        The rule from the empty name to the empty name is about all of every name.
        """
        for fit in self._patterns.every(name):
            if fit.length == len(name) or self._rules[self._uses[fit.number].rule].is_rename:
                return name[: fit.length]
        return name if self._keeps else None

    def unused(self, names: Iterable[str]) -> list[str]:
        """Return the names and patterns of entries that none of some names, or of their beginnings, fits."""
        used = {fit.number for name in names for fit in self._patterns.every(name)}
        texts = [self._rules[use.rule].sources[use.position] for use in self._uses]
        return [text for number, text in enumerate(texts) if number not in used]

    def whole(self, names: Iterable[str]) -> set[str]:
        """Return the names, of some names, that a rule is about as a whole, and not as all that begin like it."""
        return {name for name in names if any(fit.length == len(name) for fit in self._patterns.every(name))}

    def _of_name(
        self, name: str, joints: dict[tuple[int, tuple[tuple[str, int], ...]], _Joint]
    ) -> Iterator[Recipe | _Joint]:
        """Yield what one entry becomes; of entries that are joined, only at the first of them."""
        for fit in self._patterns.every(name):
            use = self._uses[fit.number]
            rule, targets = self._rules[use.rule], self._targets[use.rule]
            rest = name[fit.length :]
            if rest and not rule.is_rename:
                continue
            if len(rule.sources) > 1:
                joint = _Joint(use.rule, fit.values, {})
                known = joints.setdefault((use.rule, fit.values), joint)
                known.names[use.position] = name
                if known is joint:
                    yield joint
                return
            values = dict(fit.values)
            beside = self._besides[use.rule].name(values) if rule.beside else None
            for part, target in enumerate(targets):
                new = target.name(values)
                new = new + rest if new else rest.removeprefix(".")
                yield Recipe(new, (name,), None if rule.is_rename else rule, part, beside)
            return
        # An empty source is the beginning of every name.
        yield Recipe(name, (name,))

    def _zeros_beside(self, name: str) -> Iterator[Recipe]:
        for fit in self._beside.every(name):
            if fit.length == len(name):
                number = self._zeros[fit.number]
                new = self._targets[number][0].name(dict(fit.values))
                yield Recipe(new, (), self._rules[number], beside=name)

    def _joined(self, joint: _Joint) -> Recipe:
        rule, values = self._rules[joint.rule], dict(joint.values)
        lacking = [
            Pattern(text).name(values) for position, text in enumerate(rule.sources) if position not in joint.names
        ]
        new = self._targets[joint.rule][0].name(values)
        if lacking:
            raise ArgumentError(
                f"{listed([*joint.names.values()])} would be joined with {listed(lacking)}, which the checkpoint lacks",
                name=new,
                hint=Hint("take the rule out of the map, or the entries out of what is loaded"),
            )
        sources = tuple(joint.names[position] for position in range(len(rule.sources)))
        return Recipe(new, sources, rule)


def taken_twice(name: str, one: Sequence[str], other: Sequence[str]) -> ArgumentError:
    """Return the error for two tensors that would have the same name.

    Args:
        name: it.
        one: the entries of the first; none if it is a tensor of zeros.
        other: the entries of the second.
    """
    both = [" and ".join(map(repr, each)) or "zeros" for each in (one, other)]
    return ArgumentError(
        f"{both[0]} and {both[1]} would both have this name",
        name=name,
        hint=Hint("change {name_map} so that each entry has a different name"),
    )
