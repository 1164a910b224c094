"""Which entry of a checkpoint belongs to which parameter of a net, by their names alone.

First a parameter takes the entry of exactly its name. What is left is matched by the ends of names:
``net.fc.weight`` in the checkpoint fits ``fc.weight`` in the net, and ``net.`` is then the prefix by
which other parameters are looked for, too (docs/binding.md, "Names").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

#: What names of optimizer state begin with. Such an entry ends like a weight's name and is no weight, so
#: that it is taken for one only where nothing else matches.
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

#: Sums of gradients belong to one training run: a net that has them is complete without theirs.
_TRANSIENT: Final = "accu_grads"


class Match(NamedTuple):
    """A parameter of the net and the entry that it takes.

    Attributes:
        name: the parameter.
        key: the entry.
        prefix: what stands before `name` in `key`: empty where they are equal.
    """

    name: str
    key: str
    prefix: str

    @property
    def from_optimizer(self) -> bool:
        """Tell whether the end of a name was found in optimizer state."""
        return bool(self.prefix) and self.key.startswith(OPTIMIZER_PREFIXES)


class Matching(NamedTuple):
    """How the names of a net and a checkpoint go together.

    Attributes:
        matches: in the net's order.
        missing: parameters without an entry, in the net's order.
        unused: entries without a parameter, in the checkpoint's order.
        transient: parameters that have no entry and need none.
        rivals: for each prefix used, the other prefixes that its parameters are found behind.
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
        keys: the checkpoint's entries, in its order; asked for membership, too.
        is_tensor: tells whether an entry can fill a parameter at all; asked only of entries that would.
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
            # An entry has the name and is no tensor: another one that ends alike would be a guess.
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
    """Match what is left by the ends of names, with optimizer state as the last resort."""
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
            # The first entry in the checkpoint's order decides, for every parameter behind its prefix.
            prefix = several[0].prefix
            for one in behind[prefix]:
                if found.setdefault(one.name, one) is one:
                    others = (other.prefix for other in candidates[one.name] if other.prefix != prefix)
                    # A dictionary, not a list: there may be as many prefixes as entries.
                    rivals.setdefault(prefix, {}).update(dict.fromkeys(others))


def _candidates(names: Iterable[str], keys: Iterable[str], is_tensor: Callable[[str], bool]) -> dict[str, list[Match]]:
    """Return for each name the entries that end with it behind a dot, names and entries in their order."""
    candidates: dict[str, list[Match]] = {name: [] for name in names}
    longest = max(map(len, candidates), default=0)
    for key in keys:
        # A name of the file may consist of thousands of dots; an end longer than any name of the net is none of them.
        at = key.find(".", max(0, len(key) - longest - 1))
        while at >= 0:
            name = key[at + 1 :]
            if name in candidates and is_tensor(key):
                candidates[name].append(Match(name, key, key[: at + 1]))
            at = key.find(".", at + 1)
    return {name: several for name, several in candidates.items() if several}
