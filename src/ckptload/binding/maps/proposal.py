"""A proposed map, and what is not known of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Final

from ckptload.binding.maps.compact import compacted, one_by_one, reshape_text
from ckptload.binding.maps.name_map import NameMap, save_text
from ckptload.binding.maps.rules import Rule
from ckptload.errors import CheckpointError
from ckptload.markup import block
from ckptload.messages import counted

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from ckptload.binding.maps.layers import Shape

_SHOWN: Final = 40


@dataclass(frozen=True)
class Question:
    """What a proposal does not know.

    Attributes:
        text: the question.
        times: for how many layers it is asked.
    """

    text: str
    times: int = 1

    def __str__(self) -> str:
        return f"{self.text} ({self.times} times)" if self.times > 1 else self.text


@dataclass(frozen=True, eq=False)
class Proposal:
    """A map that is proposed from names, shapes and types of layers.

    Attributes:
        certain: whether something other than the order of the tensors decides each of them. Only then it may be used
            without a look at it.
        name_map: names of the checkpoint, and of the net: the best guess where it is not certain.
        questions: what is not known.
        missing: names of the net for which the checkpoint has nothing.
        unused: names of the checkpoint for which the net has no place.
        reshapes: for names of the net, the shape in the checkpoint and in the net, where axes of length 1 differ.
        zeros: names of the net that the checkpoint lacks and that would be zero, with their shapes.
        joins: names of the net that would be joined of several entries.
        cuts: entries that would be cut into several tensors of the net.
        transposes: names of the net that would be transposed.
        entries: how many tensors the checkpoint has, and the net.
        told: rules of the user that do more than rename.
        told_names: names of the net that they make.
        is_complete: whether `told` is all of the map.
    """

    certain: bool
    name_map: dict[str, str]
    questions: tuple[Question, ...] = ()
    missing: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    reshapes: dict[str, tuple[Shape, Shape]] = field(default_factory=dict)
    zeros: dict[str, Shape] = field(default_factory=dict)
    joins: dict[str, tuple[str, ...]] = field(default_factory=dict)
    cuts: dict[str, tuple[str, ...]] = field(default_factory=dict)
    transposes: tuple[str, ...] = ()
    entries: tuple[int, int] = (0, 0)
    told: tuple[Rule, ...] = ()
    told_names: frozenset[str] = frozenset()
    is_complete: bool = False

    @cached_property
    def map(self) -> NameMap:
        """The map as rules, with places for numbers where names count alike on both sides."""
        if self.is_complete:
            return NameMap(self.told)
        pairs = [
            (old, new, reshape_text(*self.reshapes[new]) if new in self.reshapes else "")
            for old, new in self.name_map.items()
            if new not in self._moved
        ]
        for rules in (compacted(pair for pair in pairs if pair[0] != pair[1] or pair[2]), one_by_one(pairs)):
            found = NameMap([*rules, *self._values()])
            if self._gives(found, pairs):
                return found
        return found

    @property
    def _moved(self) -> set[str]:
        return {*self.transposes, *self.joins, *self.zeros, *(new for news in self.cuts.values() for new in news)}

    def _values(self) -> list[Rule]:
        """Return the rules that do more than rename."""
        olds = {new: old for old, new in self.name_map.items()}
        guessed = [
            *(Rule((olds[new],), (new,), transpose=True) for new in self.transposes if new in olds),
            *(Rule(old, (new,)) for new, old in self.joins.items()),
            *(Rule((old,), new) for old, new in self.cuts.items()),
            *(Rule((), (new,), zeros=shape) for new, shape in self.zeros.items()),
        ]
        return [*self.told, *(rule for rule in guessed if not self.told_names.issuperset(rule.targets))]

    def _gives(self, found: NameMap, pairs: Sequence[tuple[str, str, str]]) -> bool:
        names = [*self.name_map, *self.unused, *(old for olds in self.joins.values() for old in olds), *self.cuts]
        try:
            made = {recipe.name: recipe for recipe in found.recipes(dict.fromkeys(names))}
        except CheckpointError:
            return False
        for old, new, reshape in pairs:
            recipe = made.get(new)
            if recipe is None or recipe.sources != (old,) or (recipe.rule.reshape if recipe.rule else "") != reshape:
                return False
        return True

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the map to a file, with its questions.

        A file with questions is refused wherever a map is read, until they are answered there.

        Args:
            path: the file; an existing one is replaced only when the new one is complete.

        Raises:
            WriteError: it cannot be written.
        """
        more = {} if self.certain else {"certain": False, "questions": [str(each) for each in self.questions]}
        save_text(self.map.text(**more), path)

    def __str__(self) -> str:
        ours, theirs = self.entries
        head = "certain" if self.certain else "not certain"
        mapped = f"{len(self.name_map)} of {counted(ours, 'entry', 'entries')} of the checkpoint"
        lines = [f"The map is {head}: {mapped} for {counted(theirs, 'tensor')} of the net."]
        lines += _shown("Rules", [str(rule) for rule in self.map.rules])
        lines += _shown("Questions", [str(each) for each in self.questions])
        lines += _shown("Missing in the checkpoint", self.missing)
        lines += _shown("Not used", self.unused)
        lines += _shown("Reshaped", [f"{new}: {old} -> {to}" for new, (old, to) in self.reshapes.items()])
        lines += _shown("Zero, since the checkpoint lacks them", list(self.zeros))
        lines += _shown("Joined", [f"{' + '.join(olds)} -> {new}" for new, olds in self.joins.items()])
        lines += _shown("Cut", [f"{old} -> {' + '.join(news)}" for old, news in self.cuts.items()])
        lines += _shown("Transposed", self.transposes)
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return block("Proposal", str(self))

    def __repr__(self) -> str:
        return f"<Proposal: {'certain' if self.certain else 'not certain'}, {counted(len(self.name_map), 'name')}>"


def _shown(title: str, lines: Sequence[str]) -> list[str]:
    if not lines:
        return []
    more = len(lines) - _SHOWN
    return [f"{title}:", *(f"  {line}" for line in lines[:_SHOWN])] + [f"  and {more} more"] * (more > 0)
