"""Match the entries of a checkpoint with the parameters of a net, by names, and by shapes where names leave a choice.

A parameter first takes the entry with exactly its name. The remaining ones are matched by the ends of
names: ``net.fc.weight`` in the checkpoint matches ``fc.weight`` in the net, and the prefix ``net.`` is then
tried for the other parameters, too (docs/binding.md, "Names"). MindSpore does the same with more freedom
(2.10.0, train/serialization.py:1930); docs/binding.md, "Where MindSpore does otherwise", lists the differences.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

from ckptload.binding.copies import WEIGHTS, rank_prefixes

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from ckptload.binding.copies import Look

    Candidates = Mapping[str, Sequence[str]]

#: Sums of gradients belong to one training run, so a checkpoint may lack them
#: (MindSpore 2.10.0, train/serialization.py:1840).
_TRANSIENT: Final = "accu_grads"


class Match(NamedTuple):
    """A parameter of the net and the entry that it takes.

    Attributes:
        name: the parameter.
        key: the entry.
        prefix: the part of `key` before `name`; empty if they are equal.
        is_state: whether the entry is a copy or optimizer state that was matched by the end of its name.
    """

    name: str
    key: str
    prefix: str
    is_state: bool = False


class Tie(NamedTuple):
    """A parameter that several entries match, which nothing tells apart.

    Attributes:
        name: the parameter.
        keys: the entries, in the checkpoint's order.
    """

    name: str
    keys: tuple[str, ...]


class Matching(NamedTuple):
    """The result of matching the names of a net and a checkpoint.

    Attributes:
        matches: matched parameters, in the net's order.
        ties: parameters that several entries match, in the net's order.
        missing: parameters without an entry, in the net's order.
        unused: entries without a parameter, in the checkpoint's order.
        transient: parameters that do not need an entry and have none.
        rivals: for each prefix used, other prefixes that would match its parameters.
    """

    matches: list[Match]
    ties: list[Tie]
    missing: list[str]
    unused: list[str]
    transient: list[str]
    rivals: dict[str, list[str]]


def match(names: Sequence[str], keys: Collection[str], look: Look, *, exact: bool) -> Matching:
    """Match the parameters of a net with the entries of a checkpoint.

    Args:
        names: the net's parameters, each once, in its order.
        keys: the checkpoint's entries, in its order; membership tests should be fast.
        look: what is known of the entries.
        exact: whether only equal names match.
    """
    found: dict[str, Match] = {}
    missing: list[str] = []
    open_names: list[str] = []
    transient: list[str] = []
    for name in names:
        if name not in keys:
            (transient if name.startswith(_TRANSIENT) else open_names).append(name)
        elif look.is_tensor(name):
            found[name] = Match(name, name, "")
        else:
            # The entry with this name is not a tensor. Taking another one with the same end would be a guess.
            missing.append(name)
    ties: dict[str, Tie] = {}
    rivals: dict[str, dict[str, None]] = {}
    if open_names and not exact:
        _match_ends(open_names, keys, look, found, ties, rivals)
    without = {name for name in (*missing, *open_names) if name not in found and name not in ties}
    used = {each.key for each in found.values()}
    return Matching(
        matches=[found[name] for name in names if name in found],
        ties=[ties[name] for name in names if name in ties],
        missing=[name for name in names if name in without],
        unused=[key for key in keys if key not in used],
        transient=transient,
        rivals={prefix: list(others) for prefix, others in rivals.items()},
    )


def _match_ends(
    names: Sequence[str],
    keys: Collection[str],
    look: Look,
    found: dict[str, Match],
    ties: dict[str, Tie],
    rivals: dict[str, dict[str, None]],
) -> None:
    """Match the remaining parameters by the ends of names, with copies and optimizer state as the last resort."""
    candidates = {
        name: [prefix for prefix in prefixes if look.is_tensor(prefix + name)]
        for name, prefixes in _prefixes(names, keys).items()
    }
    ranks = rank_prefixes(candidates, look)
    for rank in sorted(set(ranks.values())):
        group = {
            name: mine
            for name, prefixes in candidates.items()
            if name not in found
            and name not in ties
            and (mine := [prefix for prefix in prefixes if ranks[prefix] == rank])
        }
        for name, (prefix, is_certain) in _decided(group, look).items():
            if not is_certain:
                ties[name] = Tie(name, tuple(each + name for each in group[name]))
                continue
            found[name] = Match(name, prefix + name, prefix, rank != WEIGHTS)
            others = [other for other in group[name] if other != prefix]
            # A dictionary, because there may be as many prefixes as entries and a list would be searched.
            rivals.setdefault(prefix, {}).update(dict.fromkeys(others))


def _decided(candidates: Candidates, look: Look) -> dict[str, tuple[str, bool]]:
    """Return the prefix that each parameter takes, and whether the order of the entries may decide so.

    It may if all parameters that have entries behind another prefix, too, take theirs from this one. If that other
    prefix is used as well, the net would be filled with a mixture, and the order says only where it begins.
    """
    chosen = _assigned(candidates, look)
    used = set(chosen.values())
    return {
        name: (
            prefix,
            not look.fits(name, prefix + name)
            or not any(each != prefix and each in used and look.fits(name, each + name) for each in candidates[name]),
        )
        for name, prefix in chosen.items()
    }


def _assigned(candidates: Candidates, look: Look) -> dict[str, str]:
    """Return the prefix that each parameter takes, by the rule of the first entry.

    The first entry that ends with a parameter's name gives the prefix for all parameters that have it. But a prefix
    with an entry that does not fit gives way to one behind which everything fits and no less is found.
    """
    taken: dict[str, str] = {}
    if all(len(prefixes) == 1 for prefixes in candidates.values()):
        return {name: prefixes[0] for name, prefixes in candidates.items()}
    behind: dict[str, list[str]] = {}
    # How many of the parameters that are left a prefix has entries for, and how many of these do not fit.
    left: Counter[str] = Counter()
    unfit: Counter[str] = Counter()
    for name, prefixes in candidates.items():
        for prefix in prefixes:
            behind.setdefault(prefix, []).append(name)
            left[prefix] += 1
            unfit[prefix] += not look.fits(name, prefix + name)
    for name, prefixes in candidates.items():
        if name in taken:
            continue
        first = prefixes[0]
        if unfit[first]:
            first = next((each for each in prefixes if not unfit[each] and left[each] >= left[first]), first)
        for each in behind[first]:
            if taken.setdefault(each, first) is first:
                for prefix in candidates[each]:
                    left[prefix] -= 1
                    unfit[prefix] -= not look.fits(each, prefix + each)
    return taken


def _prefixes(names: Iterable[str], keys: Iterable[str]) -> dict[str, list[str]]:
    """Return for each name what stands before it in the entries that end with a dot and that name, in their order."""
    candidates: dict[str, list[str]] = {name: [] for name in names}
    longest = max(map(len, candidates), default=0)
    for key in keys:
        # A name in the file may have thousands of dots, so ends longer than any name of the net are not tried.
        at = key.find(".", max(0, len(key) - longest - 1))
        while at >= 0:
            prefixes = candidates.get(key[at + 1 :])
            if prefixes is not None:
                prefixes.append(key[: at + 1])
            at = key.find(".", at + 1)
    return {name: prefixes for name, prefixes in candidates.items() if prefixes}
