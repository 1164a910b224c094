"""Tell copies of weights and optimizer state from the weights, by names and shapes.

Optimizers and averaging write entries whose names end like those of the weights: ``moment1.net.fc.weight``,
``ema.net.fc.weight``. Such entries are used only if nothing else matches
(docs/binding.md, "Copies and optimizer state").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    Shape = tuple[int, ...]

#: Beginnings of names of optimizer state, for checkpoints without the weights
#: (docs/binding.md, "Copies and optimizer state").
STATE_PREFIXES: Final = (
    "moments.",
    "moment1.",
    "moment2.",
    "vhat.",
    "adam_m.",
    "adam_v.",
    "accum.",
    "accu_grads.",
)

#: How near to the weights entries are: the weights themselves, what shows to be copies of other entries, and what has
#: the name of optimizer state.
WEIGHTS: Final = 0
COPIES: Final = 1
STATE: Final = 2

#: What stands between the name of a weight and what a copy has in front of it.
_SEPARATORS: Final = "._"


class Look(NamedTuple):
    """What may be asked about entries; only about those whose names match.

    Attributes:
        is_tensor: tells whether an entry can fill a parameter at all.
        shape: returns the shape of a tensor entry.
        fits: tells whether the shape of an entry fits a parameter: ``fits(name, key)``.
    """

    is_tensor: Callable[[str], bool]
    shape: Callable[[str], Shape]
    fits: Callable[[str, str], bool]


def rank_prefixes(candidates: Mapping[str, Sequence[str]], look: Look) -> dict[str, int]:
    """Return how near to the weights the entries behind each prefix are: `WEIGHTS`, `COPIES` or `STATE`.

    A prefix that is another one with something in front is that of copies if, behind the two, an entry of some
    parameter has the same shape, or a shape that does not fit the parameter. One that is another one with the name
    of optimizer state inside is that of state. What holds for one entry holds for all with its prefix.

    Args:
        candidates: for each parameter, the prefixes of entries that end with its name.
        look: what is known of the entries.
    """
    ranks = {
        prefix: STATE if prefix.startswith(STATE_PREFIXES) else WEIGHTS
        for prefixes in candidates.values()
        for prefix in prefixes
    }
    for name, prefixes in candidates.items():
        for longer, shorter in _in_front(prefixes):
            if ranks[longer] is WEIGHTS and (
                look.shape(longer + name) == look.shape(shorter + name) or not look.fits(name, longer + name)
            ):
                ranks[longer] = COPIES
        ranks.update(dict.fromkeys(_with_state_inside(prefixes), STATE))
    return ranks


def _with_state_inside(prefixes: Sequence[str]) -> Iterator[str]:
    """Yield the prefixes that are others with the name of optimizer state inside: ``train.moment1.net.``."""
    known = set(prefixes) if len(prefixes) > 1 else ()
    for prefix in known:
        parts = prefix.split(".")
        for at, part in enumerate(parts):
            if part + "." in STATE_PREFIXES and ".".join(parts[:at] + parts[at + 1 :]) in known:
                yield prefix


def _in_front(prefixes: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield pairs of prefixes of which the first is the second with something in front.

    In the order of reversed texts all that end alike stand together, so that not every pair is looked at.
    """
    ends: list[str] = []
    for end in sorted(prefix[::-1] for prefix in prefixes):
        while ends and not end.startswith(ends[-1]):
            ends.pop()
        for shorter in ends:
            if end[len(shorter)] in _SEPARATORS:
                yield end[::-1], shorter[::-1]
        ends.append(end)
