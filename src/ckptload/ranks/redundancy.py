"""Which ranks hold the same slice, and which of them writes it when redundancy is removed.

Only a saving net needs to compute this. Who holds what in files that exist is seen in the files, since MindSpore deals
out more than parameters (docs/format.md, "Redundancy removed").
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ckptload.errors import ArgumentError, ArgumentTypeError
from ckptload.messages import shown_value, type_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ckptload.ranks.layout import SliceLayout

    Groups = Mapping[str, Sequence[tuple[int, ...]]]


def groups(layouts: Mapping[str, SliceLayout], first: int = 0) -> dict[str, list[tuple[int, ...]]]:
    """Return the groups of ranks that hold the same slice, for each name in the order of names.

    The groups of a name are in the order of its slices, as MindSpore's are (2.10.0, train/_utils.py,
    get_parameter_redundancy). A name whose optimizer shard does not divide the
    replicas has no groups. Equal layouts share one list.

    Args:
        layouts: the layout of each name, all of one stage.
        first: the first rank of the stage.
    """
    known: dict[SliceLayout, list[tuple[int, ...]]] = {}
    for layout in layouts.values():
        if layout not in known:
            known[layout] = _groups(layout, first)
    return {name: known[layouts[name]] for name in sorted(layouts)}


def _groups(layout: SliceLayout, first: int) -> list[tuple[int, ...]]:
    try:
        shards = layout.shards
    except ArgumentError:
        return []
    found = []
    for start in layout.firsts():
        group = [first + rank for rank in layout.replicas(start)]
        found += [tuple(group[at::shards]) for at in range(shards)]
    return found


def shares(groups: Groups, keep: int = 1) -> dict[int, set[str]]:
    """Return which names each rank writes, so that each slice is written by `keep` ranks.

    For each distinct group its names are dealt out in turn, in their order (MindSpore 2.10.0, train/_utils.py,
    remove_param_redundancy).

    Args:
        groups: the groups of each name, names in order (`groups`).
        keep: copies of each slice; at most as many are written as there are replicas.

    Raises:
        ArgumentTypeError: `keep` is not an int.
        ArgumentError: `keep` is less than 1.
    """
    if not isinstance(keep, int) or isinstance(keep, bool):
        raise ArgumentTypeError(f"keep must be an int, not {type_name(keep)}")
    if keep < 1:
        raise ArgumentError(f"keep must be at least 1, not {shown_value(keep)}")
    together: dict[tuple[int, ...], list[str]] = {}
    for name, found in groups.items():
        for group in found:
            together.setdefault(tuple(group), []).append(name)
    dealt: dict[int, set[str]] = {}
    for group, names in together.items():
        for at, name in enumerate(names):
            for copy in range(min(keep, len(group))):
                dealt.setdefault(group[(at + copy) % len(group)], set()).add(name)
    return {rank: dealt[rank] for rank in sorted(dealt)}
