"""The texts of plans, misfits and warnings: counts first, then names."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from ckptload import markup
from ckptload.messages import _LISTED, counted, listed
from ckptload.shown import human_bytes, human_count

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ckptload.binding.matching import Tie
    from ckptload.binding.plan import Load, Misfit, Plan

#: Number of missing parameters, or of misfits in a warning, that are listed, each with the nearest names.
_EXPLAINED: Final = 10
#: Number of parameters for which the nearest names are given if nothing matches.
_NEAR: Final = 3
_UNLIKE: Final = "with these weights, layers may compute something else than MindSpore's"


#: The columns of the HTML for notebooks.
_COLUMNS: Final = ("parameter", "entry", "what happens")


def summary(plan: Plan) -> str:
    """Describe a plan in a line."""
    elements = sum(math.prod(load.shape) for load in plan.loads)
    size = sum(math.prod(load.shape) * load.dtype.itemsize for load in plan.loads)
    return (
        f"{len(plan.loads)} of {plan.total} parameters ({human_count(elements)} elements, "
        f"{human_bytes(size)}) from {counted(plan.entries, 'entry', 'entries')}, "
        f"{counted(len(plan.misfits), 'misfit')}"
    )


def html(plan: Plan) -> str:
    """Return HTML for notebooks: what does not fit first."""
    rows = [(one.name, one.key, f"does not fit: {'; '.join(one.reasons)}") for one in plan.misfits]
    rows += [(name, "", "keeps its values") for name in plan.missing]
    rows += [(one.name, one.key, _filled(one)) for one in plan.loads]
    return markup.table(f"BindingPlan: {summary(plan)}", _COLUMNS, rows, len(rows))


def _filled(load: Load) -> str:
    said = f"{load.dtype} {load.shape}"
    return said if load.key_dtype is load.dtype else f"{said}, converted from {load.key_dtype}"


def warnings_of(plan: Plan) -> Iterable[str]:
    """Yield the warnings for a plan that is about to be applied, one for each kind."""
    total = f"{plan.total} parameters"
    if plan.entries and not plan.total:
        yield f"the net has no parameters; {counted(plan.entries, 'entry', 'entries')} of the checkpoint not loaded"
    if plan.param_not_load:
        yield _kept(plan)
    optimizer = {load.name for load in plan.from_optimizer}
    prefixes = {prefix: [n for n in names if n not in optimizer] for prefix, names in plan.prefixes.items()}
    by_end = sum(map(len, prefixes.values()))
    if by_end:
        used = [
            f"{prefix!r} ({counted(len(names), 'parameter')}{_rivals(plan, prefix, '; ')})"
            for prefix, names in prefixes.items()
            if names
        ]
        yield (
            f"{by_end} of {total} {_be(by_end)} matched by the end of the name, after "
            f"{'the prefix' if len(used) == 1 else 'the prefixes'} {_joined(used)}"
        )
    if optimizer:
        pairs = [f"{load.name!r} from {load.key!r}" for load in plan.from_optimizer]
        yield (
            f"{counted(len(pairs), 'parameter')} {_be(len(pairs))} filled from optimizer state or copies, because no "
            f"other entry matches: {_joined(pairs)}"
        )
    if plan.shared:
        yield f"{_shared(plan)}: {_joined([f'{key!r} fills {listed(names)}' for key, names in plan.shared.items()])}"
    if plan.conversions:
        number = sum(map(len, plan.conversions.values()))
        kinds = [f"{old} to {new} ({len(names)})" for (old, new), names in plan.conversions.items()]
        yield f"{counted(number, 'parameter')} {_be(number)} converted to the net's dtype: {_joined(kinds)}"


def beyond(loads: Sequence[Load]) -> str:
    """Describe parameters whose dtype cannot hold all values of their entries."""
    have = "has" if len(loads) == 1 else "have"
    return (
        f"{counted(len(loads), 'parameter')} {have} a dtype that cannot hold all values: floats became infinite, "
        f"integers wrapped around: {_joined([f'{load.name!r} ({load.key_dtype} to {load.dtype})' for load in loads])}"
    )


def _rivals(plan: Plan, prefix: str, before: str) -> str:
    """Describe the other prefixes that would do as well as one that is used, or return nothing."""
    others = plan.rivals.get(prefix)
    if others is None:
        return ""
    match = "matches" if len(others) == 1 else "match"
    return f"{before}{listed(others)} {match} as well" + (")" if before.endswith("(") else "")


def _shared(plan: Plan) -> str:
    fill = "fills" if len(plan.shared) == 1 else "fill"
    return f"{counted(len(plan.shared), 'entry', 'entries')} {fill} several parameters"


def _kept(plan: Plan) -> str:
    """Describe which parameters keep their values, and why."""
    keep = "keeps its values" if len(plan.param_not_load) == 1 else "keep their values"
    head = f"{len(plan.param_not_load)} of {plan.total} parameters {keep}"
    absent = f"because the checkpoint has no tensor of that name: {listed(plan.missing)}"
    if not plan.misfits:
        return f"{head}, {absent}"
    number = len(plan.misfits)
    lines = [misfit(found) for found in plan.misfits[:_EXPLAINED]]
    if number > _EXPLAINED:
        lines.append(f"and {number - _EXPLAINED} more")
    unfit = f"because {'its entry does not' if number == 1 else 'their entries do not'} fit:" + _lines(lines)
    return f"{head}: {len(plan.missing)} {absent}; {number} {unfit}" if plan.missing else f"{head}, {unfit}"


def unmatched(plan: Plan) -> str:
    """Describe a load in which nothing matches: names of both sides, and those that come closest."""
    lines = [
        f"the net has {counted(plan.total, 'parameter')}: {listed(list(plan.slots))}",
        f"the checkpoint has {counted(plan.entries, 'entry', 'entries')}: {listed(list(plan.supply.keys))}",
    ]
    for name in plan.missing[:_NEAR]:
        near = plan.nearest(name)
        if name in plan.supply.keys:
            lines.append(f"{name!r} is not a tensor in the checkpoint")
        elif near:
            lines.append(f"nearest to {name!r}: {near[0]!r}")
    return "no entry of the checkpoint matches a parameter of the net, and nothing was written:" + _lines(lines)


def ties(found: Sequence[Tie], total: int) -> str:
    """Describe the parameters that several entries match, one per line, below a heading."""
    match = "matches" if len(found) == 1 else "match"
    head = f"{len(found)} of {total} parameters {match} several entries that nothing tells apart"
    return f"{head}, and nothing was written:{_lines(_tied(found))}"


def _tied(found: Sequence[Tie]) -> Iterable[str]:
    for tie in found[:_EXPLAINED]:
        yield f"{tie.name!r}: {listed(tie.keys)}"
    if len(found) > _EXPLAINED:
        yield f"and {len(found) - _EXPLAINED} more"


def differences(plan: Plan) -> str:
    """Describe the layers that may compute something else than MindSpore's, one line for each kind."""
    return f'{_UNLIKE} (docs/pytorch.md, "Where layers differ"):{_lines(map(str, plan.differences))}'


def misfits(found: Sequence[Misfit], total: int) -> str:
    """Describe all misfits, one per line, below a heading."""
    head = f"{len(found)} of {total} parameters cannot be loaded, and nothing was written:"
    return head + _lines(map(misfit, found))


def misfit(found: Misfit) -> str:
    """Describe one misfit in one line."""
    key = "" if found.key == found.name else f" under {found.key!r}"
    line = (
        f"{found.name!r}: the net has {found.dtype} {found.shape}, the checkpoint {found.key_dtype} "
        f"{found.key_shape}{key}; {'; '.join(found.reasons)}"
    )
    return line if not found.nearest else f"{line}; the nearest other names are {listed(found.nearest)}"


def describe(plan: Plan) -> str:
    """Describe a plan in a few lines; long lists of names are shortened."""
    entries = counted(plan.entries, "entry", "entries")
    source = entries if plan.source is None else f"{entries} of {plan.source}"
    lines = [f"{len(plan.loads)} of {plan.total} parameters can be loaded from {source}"]
    if plan.exact:
        lines.append(f"{len(plan.exact)} matched by name: {listed(plan.exact)}")
    lines.extend(
        f"{len(names)} matched after the prefix {prefix!r}{_rivals(plan, prefix, ' (')}: {listed(names)}"
        for prefix, names in plan.prefixes.items()
    )
    if plan.from_optimizer:
        taken = [load.key for load in plan.from_optimizer]
        lines.append(
            f"{len(taken)} of these from optimizer state or copies, because nothing else matches: {listed(taken)}"
        )
    if plan.shared:
        lines.append(f"{_shared(plan)}: {listed(list(plan.shared))}")
    for (old, new), names in plan.conversions.items():
        lines.append(f"{len(names)} converted from {old} to {new}: {listed(names)}")
    if plan.unmatched:
        lines.append("nothing matches; nothing will be written")
    lines.extend(_obstacles(plan))
    if plan.missing:
        lines.append(f"{counted(len(plan.missing), 'parameter')} of the net not in the checkpoint:")
        lines.extend("  " + _missing(name, plan) for name in plan.missing[:_EXPLAINED])
        if len(plan.missing) > _EXPLAINED:
            lines.append(f"  and {len(plan.missing) - _EXPLAINED} more")
    lines.extend(_rest(plan))
    return "\n  ".join(lines)


def _rest(plan: Plan) -> Iterable[str]:
    """Yield the lines about what is left over, and about what the weights do not say."""
    if plan.transient:
        yield f"{len(plan.transient)} ignored, because gradient sums need no values: {listed(plan.transient)}"
    if plan.ckpt_not_load:
        unused = counted(len(plan.ckpt_not_load), "entry", "entries")
        yield f"{unused} of the checkpoint not used: {listed(plan.ckpt_not_load)}"
    if plan.differences:
        yield f"{_UNLIKE}:"
        yield from (f"  {each}" for each in plan.differences)


def _obstacles(plan: Plan) -> Iterable[str]:
    """Yield the lines about what cannot be loaded as it is."""
    if plan.ties:
        number = counted(len(plan.ties), "parameter")
        yield f"{number} with several entries that nothing tells apart; nothing will be written:"
        yield from ("  " + line for line in _tied(plan.ties))
    if plan.misfits:
        outcome = "skipped" if plan.skips and plan.loads else "nothing will be written"
        yield f"{counted(len(plan.misfits), 'misfit')}; {outcome}:"
        yield from ("  " + misfit(found) for found in plan.misfits)


def _missing(name: str, plan: Plan) -> str:
    near = plan.nearest(name)
    return f"{name!r}; the nearest names are {listed(near)}" if near else repr(name)


def _lines(items: Iterable[str]) -> str:
    return "".join("\n    " + item for item in items)


def _joined(items: Sequence[str]) -> str:
    shown = ", ".join(items[:_LISTED])
    return shown if len(items) <= _LISTED else f"{shown} and {len(items) - _LISTED} more"


def _be(number: int) -> str:
    return "is" if number == 1 else "are"
