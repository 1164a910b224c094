"""Tell copies of weights and optimizer state from the weights, by names and shapes.

Optimizers and averaging write entries whose names end like those of the weights: ``moment1.net.fc.weight``,
``ema.net.fc.weight``. Such entries are used only if nothing else matches (docs/binding.md, "Copies and optimizer
state").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    Shape = tuple[int, ...]
    Rank = tuple[int, bool]

#: Beginnings of names of optimizer state, for checkpoints without the weights: those of MindSpore 2.10.0 (nn/optim,
#: mint/optim, experimental/optim, boost) and of libraries on it.
STATE_PREFIXES: Final = (
    "moments.", "moments1.", "moments2.", "moment.", "moment1.", "moment2.", "moment3.", "vhat.", "adam_m.", "adam_v.",
    "lamb_m.", "lamb_v.", "nadam_m.", "nadam_v.", "muon_m.", "momentum_buf.",
    "accum.", "accum_update.", "accum_grad.", "accu_grads.", "accumulated_grads.", "accum_.", "accumulate_.",
    "grad_accumulation.", "grad_accumulated_.", "grad_sum.", "grad_res_momentum.", "grad_proj_init.", "dn_init.",
    "prev_gradient.", "mean_square.", "mean_grad.", "step_size.", "ax.", "ax_.", "weights_clone.", "delta_weight.",
    "exp_avg.", "exp_avg_sq.", "max_exp_avg_sq.", "exp_inf.", "exp_avg_sq_", "exp_avg_insta_",
)  # fmt: skip
#: Others, which usual names of modules begin with, too; they count beside state of the same weight with another name.
#: FTRL has ``linear.``, Rprop ``prev.``, SGD ``stat.``.
_UNSURE: Final = ("linear.", "prev.", "stat.")
#: Beginnings of names of averaged weights.
_AVERAGES: Final = ("ema.", "ema_", "swap.", "_ema_", "pma_weight_")

_STATE: Final = 2
_WITH_UNSURE: Final = frozenset((*STATE_PREFIXES, *_UNSURE))
_INSIDE: Final = _WITH_UNSURE.union(_AVERAGES)

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
    for name, prefixes in candidates.items():
        alone = len(prefixes) == 1
        for prefix in prefixes:
            named.setdefault(prefix, _named(prefix))
            if not alone and prefix.startswith(_UNSURE) and _is_beside_state(prefix, prefixes):
                named[prefix] = _STATE
        copies.update(
            longer
            for longer, shorter in _in_front(prefixes)
            if look.shape(longer + name) == look.shape(shorter + name) or not look.fits(name, longer + name)
        )
        copies.update(_with_state_inside(prefixes))
    return {prefix: (number, prefix in copies) for prefix, number in named.items()}


def _named(prefix: str) -> int:
    return _STATE if prefix.startswith(STATE_PREFIXES) else int(prefix.startswith(_AVERAGES))


def _is_beside_state(prefix: str, others: Iterable[str]) -> bool:
    """Return whether one of the others is the same behind another name of state."""
    rest = prefix.partition(".")[2]
    return any(
        other != prefix and other.endswith(rest) and other.removesuffix(rest) in _WITH_UNSURE for other in others
    )


def _with_state_inside(prefixes: Sequence[str]) -> Iterator[str]:
    """Yield the prefixes that are others with a name of state or averages inside: ``train.moment1.net.``."""
    known = set(prefixes) if len(prefixes) > 1 else ()
    for prefix in known:
        parts = prefix.split(".")
        for at, part in enumerate(parts):
            if f"{part}." in _INSIDE and ".".join(parts[:at] + parts[at + 1 :]) in known:
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
