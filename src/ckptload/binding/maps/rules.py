"""Rules of a map: which entries of a checkpoint become which tensors of a net, and what their values need.

A rule can be turned round, so that a map for loading also serves for saving (docs/binding.md, "Maps").
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ckptload.binding.maps.patterns import Pattern
from ckptload.errors import ArgumentError, ArgumentTypeError
from ckptload.messages import shown_value, type_name

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Sizes of a cut that are no numbers: as many as the matrix has columns; an equal share of what is left.
COLUMNS: Final = "columns"
REST: Final = "rest"
_SHAPE: Final = re.compile(r"(?:\d{1,18}|\.\.\.)?(?: (?:\d{1,18}|\.\.\.))*", re.ASCII)
#: Between the two shapes of a `Rule.reshape`.
ARROW: Final = " -> "
_LARGEST: Final = 1 << 20


class Rule(NamedTuple):
    """What becomes of some entries.

    Attributes:
        sources: names of the checkpoint, or patterns of names. One, unless several are joined; none for zeros.
        targets: names in the net, with the same places for numbers. One, unless a tensor is cut; none if the entry is
            left out.
        transpose: whether the two axes of each source are exchanged, before it is joined or cut.
        reshape: the shape before and after, such as ``"... -> ... 1 1"``; the three dots stand for the same axes on
            both sides. Empty if it does not change.
        axis: the axis along which tensors are joined or cut, after they are transposed.
        groups: number of groups: of each source a part in turn, as heads of attention may be stored. 1 puts the whole
            of one source behind the other.
        sizes: of a cut: how the axis is shared, as proportions such as (4, 1, 1); or ``"columns"`` for as many as the
            matrix has columns, and ``"rest"`` for an equal share of what is left. Empty: in equal parts.
        zeros: shape of a tensor of zeros, which the net has and the checkpoint does not; None if it is none.
        beside: of zeros: the entry beside which they stand. Of a cut by columns: the matrix whose columns count. It has
            the same places for numbers.
        caution: what to check if the rule is used, because names and shapes do not tell it; a warning says so.
    """

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    transpose: bool = False
    reshape: str = ""
    axis: int = 0
    groups: int = 1
    sizes: tuple[int | str, ...] = ()
    zeros: tuple[int, ...] | None = None
    beside: str = ""
    caution: str = ""

    @property
    def is_rename(self) -> bool:
        """Whether values do not change, so that the rule also holds for all names that begin like it."""
        changes = self.zeros is not None or self.transpose or bool(self.reshape)
        return not (changes or self.is_several)

    def inverse(self) -> Rule | None:
        """Return the rule that goes back: from the names of the net to those of the checkpoint.

        Zeros go back as an entry that is left out. There is no rule for what was left out.
        """
        if self.zeros is not None:
            return Rule(self.targets, ())
        if not self.targets:
            return None
        before, arrow, after = self.reshape.partition(ARROW)
        axis = 1 - self.axis if self.transpose and self.is_several else self.axis
        return self._replace(
            sources=self.targets, targets=self.sources, reshape=f"{after}{arrow}{before}" if arrow else "", axis=axis
        )

    @property
    def is_several(self) -> bool:
        """Whether tensors are joined or cut."""
        return max(len(self.sources), len(self.targets)) > 1

    def data(self) -> dict[str, Any]:
        """Return the rule as a JSON object, without what is usual."""
        found: dict[str, Any] = {}
        if self.sources:
            found["from"] = _short(self.sources)
        found["to"] = _short(self.targets)
        for key in ("transpose", "reshape", "axis"):
            if getattr(self, key):
                found[key] = getattr(self, key)
        if self.groups != 1:
            found["groups"] = self.groups
        if self.sizes:
            found["sizes"] = list(self.sizes)
        if self.zeros is not None:
            found["zeros"] = list(self.zeros)
        for key in ("beside", "caution"):
            if getattr(self, key):
                found[key] = getattr(self, key)
        return found

    def __str__(self) -> str:
        return f"{' + '.join(self.sources) or 'zeros'} -> {' + '.join(self.targets) or 'left out'}"


def _short(names: tuple[str, ...]) -> str | list[str] | None:
    return list(names) if len(names) > 1 else (names[0] if names else None)


_KEYS: Final = ("from", "to", "transpose", "reshape", "axis", "groups", "sizes", "zeros", "beside", "caution")


def rule_of(told: Mapping[str, Any]) -> Rule:
    """Return the rule that a JSON object describes, checked.

    Args:
        told: its keys are ``from``, ``to``, and those of `Rule`.

    Raises:
        ArgumentTypeError: a value is of another type.
        ArgumentError: a key is not known, or the rule makes no sense.
    """
    for key in told:
        if key not in _KEYS:
            raise ArgumentError(f"a rule has no key {shown_value(key)}", hint=f"its keys are {', '.join(_KEYS)}")
    if "to" not in told:
        raise ArgumentError("a rule has no key 'to'", hint="a rule that leaves an entry out has null there")
    zeros = told.get("zeros")
    return check_rule(
        Rule(
            _names(told.get("from"), "from"),
            _names(told["to"], "to"),
            _kind(told, "transpose", bool, usual=False),
            _kind(told, "reshape", str, usual=""),
            _kind(told, "axis", int, usual=0),
            _kind(told, "groups", int, usual=1),
            tuple(_kind(told, "sizes", list, usual=[])),
            None if zeros is None else tuple(_kind(told, "zeros", list, usual=[])),
            _kind(told, "beside", str, usual=""),
            _kind(told, "caution", str, usual=""),
        )
    )


def _names(told: Any, key: str) -> tuple[str, ...]:
    names = told if isinstance(told, (list, tuple)) else [] if told is None else [told]
    if not all(isinstance(name, str) for name in names):
        raise ArgumentTypeError(f"{key!r} of a rule must be a name or a list of names, not {shown_value(told)}")
    return tuple(names)


def _kind(told: Mapping[str, Any], key: str, kind: type, *, usual: Any) -> Any:
    value = told.get(key, usual)
    if not isinstance(value, (kind, tuple) if kind is list else kind) or (kind is int and isinstance(value, bool)):
        raise ArgumentTypeError(f"{key!r} of a rule must be a {kind.__name__}, not {shown_value(value)}")
    return value


def check_rule(rule: Rule) -> Rule:
    """Return a rule that makes sense.

    Raises:
        ArgumentTypeError: a value is of another type.
        ArgumentError: the rule makes no sense; the message says why.
    """
    name = rule.sources[0] if rule.sources else rule.targets[0] if rule.targets else None
    wrong = _contradiction(rule) or _wrong_numbers(rule)
    if wrong:
        raise ArgumentError(f"the rule makes no sense: {wrong}", name=name)
    known = {place for text in (*rule.sources, rule.beside) for place in Pattern(text).places}
    for text in (*rule.sources, *rule.targets):
        places = set(Pattern(text).places)
        if not places <= known or (text in rule.sources and places != known):
            raise ArgumentError(
                "all names of a rule must have the same places for numbers; those of a target may be fewer", name=text
            )
    return rule


def _contradiction(rule: Rule) -> str | None:
    """Return what excludes what in a rule."""
    several = len(rule.sources) > 1, len(rule.targets) > 1
    if rule.zeros is not None:
        is_alone = not rule.sources and len(rule.targets) == 1 and not rule.transpose and not rule.reshape
        return None if is_alone else "zeros have one name in the net, and nothing else"
    reasons = {
        "'from' is missing": not rule.sources,
        "'beside' belongs to zeros, and to a cut by columns": bool(rule.beside) and COLUMNS not in rule.sizes,
        "several names become several": all(several),
        "several names are joined into one, which 'to' does not name": several[0] and not rule.targets,
        "'reshape' is only for one tensor that becomes one": bool(rule.reshape) and (any(several) or rule.transpose),
        "'axis' and 'groups' belong to tensors that are joined or cut": not any(several)
        and (rule.axis != 0 or rule.groups != 1),
        "'sizes' belong to a tensor that is cut, one for each part": bool(rule.sizes)
        and (not any(several) or len(rule.sizes) != max(len(rule.targets), len(rule.sources))),
        "an empty name": "" in rule.sources and not rule.is_rename,
        "the same name twice": len({*rule.sources}) < len(rule.sources) or len({*rule.targets}) < len(rule.targets),
        "'reshape' is not two shapes such as '... -> ... 1 1'": bool(rule.reshape) and not _is_reshape(rule.reshape),
    }
    return next((reason for reason, is_so in reasons.items() if is_so), None)


def _is_reshape(text: str) -> bool:
    sides = text.split(ARROW)
    dots = [side.split().count("...") for side in sides]
    return len(sides) == 2 and all(map(_SHAPE.fullmatch, sides)) and dots in ([0, 0], [1, 1])  # noqa: PLR2004 -- sides


def _wrong_numbers(rule: Rule) -> str | None:
    """Return which number of a rule is out of range."""
    if not 0 <= rule.axis < 64 or not 1 <= rule.groups <= _LARGEST:  # noqa: PLR2004 -- axes of numpy
        return "'axis' or 'groups' is out of range"
    for size in rule.sizes:
        is_number = isinstance(size, int) and not isinstance(size, bool) and 0 < size <= _LARGEST
        if not is_number and size not in (COLUMNS, REST):
            return f"a size is a positive number, {COLUMNS!r} or {REST!r}, not {shown_value(size)}"
    if len({isinstance(size, str) for size in rule.sizes}) > 1:
        return f"sizes are all numbers, or all {COLUMNS!r} and {REST!r}"
    for length in rule.zeros or ():
        if not isinstance(length, int) or isinstance(length, bool) or not 0 <= length < 1 << 40:
            return f"a shape has whole numbers, not {shown_value(length)}"
    return None


def rules_of(name_map: Any) -> tuple[Rule, ...]:
    """Return the rules of a dictionary of old and new names, or of a list of rules.

    Raises:
        ArgumentTypeError: it is neither, or a name is no text.
        ArgumentError: a rule makes no sense.
    """
    if hasattr(name_map, "items"):
        rules = []
        for old, new in name_map.items():
            if not isinstance(old, str) or not (new is None or isinstance(new, str)):
                raise ArgumentTypeError(
                    f"a map has names and new names; this has {shown_value(old)}: {shown_value(new)}"
                )
            rules.append(check_rule(Rule((old,), () if new is None else (new,))))
        return tuple(rules)
    if not isinstance(name_map, (list, tuple)):
        raise ArgumentTypeError(f"the rules must be a dict or a list, not {type_name(name_map)}")
    found = []
    for each in name_map:
        if isinstance(each, Rule):
            found.append(check_rule(each))
        elif hasattr(each, "items"):
            found.append(rule_of(each))
        else:
            raise ArgumentTypeError(f"a rule must be a dict or a Rule, not {type_name(each)}")
    return tuple(found)
