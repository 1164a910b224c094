"""Tell copies of weights and optimizer state from the weights, by names and shapes.

Optimizers and averaging write entries whose names end like those of the weights: ``moment1.net.fc.weight``,
``ema.net.fc.weight``. Such entries are used only if nothing else matches (docs/binding.md,
"Copies and optimizer state").
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    Shape = tuple[int, ...]
    Rank = tuple[int, bool]

#: Beginnings of names of optimizer state, for checkpoints without the weights: those of MindSpore 2.10.0 (nn/optim,
#: mint/optim, experimental/optim, boost) and of libraries on it.
STATE_PREFIXES: Final = (
    "moments.", "moments1.", "moments2.", "moment.", "moment1.", "moment2.", "moment3.", "vhat.", "adam_m.", "adam_v.",
    "lamb_m.", "lamb_v.", "nadam_m.", "nadam_v.", "muon_m.", "momentum_buf.",
    "accum.", "accum_update.", "accum_grad.", "accum_grads.", "accu_grads.", "accumulated_grads.", "accum_.",
    "accumulate_.",
    "grad_accumulation.", "grad_accumulated_.", "grad_sum.", "grad_res_momentum.", "grad_proj_init.", "dn_init.",
    "prev_gradient.", "mean_square.", "mean_grad.", "step_size.", "ax.", "ax_.", "weights_clone.", "delta_weight.",
    "exp_avg.", "exp_avg_sq.", "max_exp_avg_sq.", "exp_inf.", "exp_avg_sq_", "exp_avg_insta_",
)  # fmt: skip
#: Others, which usual names of modules begin with, too; they count beside state of the same weight with another name.
#: FTRL has ``linear.``, Rprop ``prev.``, SGD ``stat.``.
_UNSURE: Final = ("linear.", "prev.", "stat.")
#: First parts of names of averaged weights, such as ``ema.``, ``module_ema.`` and ``pma_weight_sma.``.
_AVERAGES: Final = re.compile(
    r"(?:[^.]*_)?(?:ema|sma|averaged)(?:_(?:weights?|model|net|network|params?))?\.|swap\.", re.IGNORECASE
)

#: What a name says, the least for nothing.
_AVERAGE: Final = 1
_STATE: Final = 2
_SURE: Final = frozenset(STATE_PREFIXES)
_WITH_UNSURE: Final = _SURE.union(_UNSURE)
#: Parts of a prefix among which the name of state is looked for.
_PARTS: Final = 16

#: What stands between the name of a weight and what a copy has in front of it.
_SEPARATORS: Final = "._"

#: The rank of weights in `rank_prefixes`.
WEIGHTS: Final = (0, False)


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


def rank_prefixes(candidates: Mapping[str, Sequence[str]], look: Look) -> dict[str, Rank]:
    """Return how far from the weights the entries behind each prefix are; the smallest is that of weights.

    A prefix that is another one with something in front is that of copies if, behind the two, an entry of some
    parameter has the same shape, or a shape that does not fit the parameter. So is one that is another one with the
    name of state inside. What holds for one entry holds for all with its prefix.

    Args:
        candidates: for each parameter, the prefixes of entries that end with its name.
        look: what is known of the entries.

    Returns:
        For each prefix what its name says (state, averages, or nothing), and whether it shows to be one of copies.
    """
    named: dict[str, int] = {}
    copies: set[str] = set()
    originals: set[str] = set()
    for name, prefixes in candidates.items():
        every = frozenset(prefixes)
        for prefix in prefixes:
            named.setdefault(prefix, _named(prefix))
            if prefix.startswith(_UNSURE) and _is_beside_state(prefix, every):
                named[prefix] = _STATE
        # There may be thousands of pairs of each prefix.
        shape = cache(lambda prefix, name=name: look.shape(prefix + name))
        fits = cache(lambda prefix, name=name: look.fits(name, prefix + name))
        for longer, shorter in _in_front(prefixes):
            if shape(longer) == shape(shorter) or not fits(longer):
                copies.add(longer)
                originals.add(shorter)
        for longer, shorter in _with_state_inside(every):
            copies.add(longer)
            originals.add(shorter)
    for prefix in originals - copies:
        if named[prefix] == _AVERAGE:
            # A cell called ema, which holds a net and its averages.
            named[prefix] = 0
    return {prefix: (number, prefix in copies) for prefix, number in named.items()}


def _named(prefix: str) -> int:
    if prefix.startswith(STATE_PREFIXES) or any(f"{part}." in _SURE for part in prefix.split(".")):
        return _STATE
    return _AVERAGE if _AVERAGES.match(prefix) else 0


def _is_beside_state(prefix: str, every: Collection[str]) -> bool:
    """Return whether another prefix is this one with another name of state."""
    rest = prefix.partition(".")[2]
    return any(state + rest in every and state + rest != prefix for state in _WITH_UNSURE)


def _with_state_inside(every: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield pairs of prefixes of which the first is the second with a name of state inside: ``train.moment1.net.``."""
    for prefix in every:
        parts = prefix.split(".")
        # A name of very many such parts is not one that training writes.
        for at, part in enumerate(parts[:_PARTS]):
            is_known = f"{part}." in _WITH_UNSURE or _AVERAGES.match(f"{part}.")
            if is_known and (without := ".".join(parts[:at] + parts[at + 1 :])) in every:
                yield prefix, without


def _in_front(prefixes: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield pairs of prefixes of which the first is the second with something in front.

    In the order of reversed texts all that end alike stand together, so that not every pair is looked at.
    """
    ends: list[tuple[str, str]] = []
    for end, prefix in sorted((prefix[::-1], prefix) for prefix in prefixes):
        while ends and not end.startswith(ends[-1][0]):
            ends.pop()
        for _, shorter in ends:
            if end[len(shorter)] in _SEPARATORS:
                yield prefix, shorter
        ends.append((end, prefix))
