"""Match the entries of a checkpoint with the parameters of a net, by name only.

A parameter first takes the entry with exactly its name. The remaining ones are matched by the ends of
names: ``net.fc.weight`` in the checkpoint matches ``fc.weight`` in the net, and the prefix ``net.`` is then
tried for the other parameters, too (docs/binding.md, "Names"). MindSpore does the same with more freedom
(2.10.0, train/serialization.py:1930); docs/binding.md, "Where MindSpore does otherwise", lists the differences.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

#: Prefixes of optimizer state (docs/binding.md, "Names"). Such an entry ends like a weight's name but is not
#: a weight, so it is used only if nothing else matches.
OPTIMIZER_PREFIXES: Final = (
    "moments.",
    "moment1.",
    "moment2.",
    "vhat.",
    "adam_m.",
    "adam_v.",
    "accum.",
    "accu_grads.",
)

#: Sums of gradients belong to one training run, so a checkpoint may lack them
#: (MindSpore 2.10.0, train/serialization.py:1840).
_TRANSIENT: Final = "accu_grads"


class Match(NamedTuple):
    """A parameter of the net and the entry that it takes.

    Attributes:
        name: the parameter.
        key: the entry.
        prefix: the part of `key` before `name`; empty if they are equal.
    """

    name: str
    key: str
    prefix: str

    @property
    def from_optimizer(self) -> bool:
        """Tell whether the entry is optimizer state that was matched by the end of its name."""
        return bool(self.prefix) and self.key.startswith(OPTIMIZER_PREFIXES)


class Matching(NamedTuple):
    """The result of matching the names of a net and a checkpoint.

    Attributes:
        matches: matched parameters, in the net's order.
        missing: parameters without an entry, in the net's order.
        unused: entries without a parameter, in the checkpoint's order.
        transient: parameters that do not need an entry and have none.
        rivals: for each prefix used, other prefixes that would match its parameters.
    """

    matches: list[Match]
    missing: list[str]
    unused: list[str]
    transient: list[str]
    rivals: dict[str, list[str]]


def match(names: Sequence[str], keys: Collection[str], is_tensor: Callable[[str], bool], *, exact: bool) -> Matching:
    """Match the parameters of a net with the entries of a checkpoint.

    Args:
        names: the net's parameters, each once, in its order.
        keys: the checkpoint's entries, in its order; membership tests should be fast.
        is_tensor: tells whether an entry can fill a parameter at all; called only for entries whose names match.
        exact: whether only equal names match.
    """
    found: dict[str, Match] = {}
    missing: list[str] = []
    open_names: list[str] = []
    transient: list[str] = []
    for name in names:
        if name not in keys:
            (transient if name.startswith(_TRANSIENT) else open_names).append(name)
        elif is_tensor(name):
            found[name] = Match(name, name, "")
        else:
            # The entry with this name is not a tensor. Taking another one with the same end would be a guess.
            missing.append(name)
    rivals: dict[str, dict[str, None]] = {}
    if open_names and not exact:
        _match_ends(open_names, keys, is_tensor, found, rivals)
    without = {name for name in (*missing, *open_names) if name not in found}
    used = {each.key for each in found.values()}
    return Matching(
        matches=[found[name] for name in names if name in found],
        missing=[name for name in names if name in without],
        unused=[key for key in keys if key not in used],
        transient=transient,
        rivals={prefix: list(others) for prefix, others in rivals.items()},
    )


def _match_ends(
    names: Iterable[str],
    keys: Iterable[str],
    is_tensor: Callable[[str], bool],
    found: dict[str, Match],
    rivals: dict[str, dict[str, None]],
) -> None:
    """Match the remaining parameters by the ends of names, with optimizer state as the last resort."""
    wanted = dict.fromkeys(names)
    state: list[str] = []
    rest: list[str] = []
    for key in keys:
        (state if key.startswith(OPTIMIZER_PREFIXES) else rest).append(key)
    for group in (rest, state):
        candidates = _candidates([name for name in wanted if name not in found], group, is_tensor)
        behind: dict[str, list[Match]] = {}
        for several in candidates.values():
            for one in several:
                behind.setdefault(one.prefix, []).append(one)
        for name, several in candidates.items():
            if name in found:
                continue
            # The first entry in the checkpoint's order gives the prefix for all parameters that have it.
            prefix = several[0].prefix
            for one in behind[prefix]:
                if found.setdefault(one.name, one) is one:
                    others = (other.prefix for other in candidates[one.name] if other.prefix != prefix)
                    # A dictionary, because there may be as many prefixes as entries and a list would be searched.
                    rivals.setdefault(prefix, {}).update(dict.fromkeys(others))


def _candidates(names: Iterable[str], keys: Iterable[str], is_tensor: Callable[[str], bool]) -> dict[str, list[Match]]:
    """Return for each name the entries that end with a dot and that name; both keep their order."""
    candidates: dict[str, list[Match]] = {name: [] for name in names}
    longest = max(map(len, candidates), default=0)
    for key in keys:
        # A name in the file may have thousands of dots, so ends longer than any name of the net are not tried.
        at = key.find(".", max(0, len(key) - longest - 1))
        while at >= 0:
            name = key[at + 1 :]
            if name in candidates and is_tensor(key):
                candidates[name].append(Match(name, key, key[: at + 1]))
            at = key.find(".", at + 1)
    return {name: several for name, several in candidates.items() if several}
