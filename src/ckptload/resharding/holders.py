"""Which rank files a rank of the target needs, told from two strategies alone."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ckptload.errors import ArgumentError, ArgumentTypeError
from ckptload.messages import counted, shown_value, type_name
from ckptload.ranks.strategy_files import read_strategy

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ckptload.ranks.layout import SliceLayout


def rank_list_for_transform(rank_id: int, src_strategy_file: Any = None, dst_strategy_file: Any = None) -> list[int]:
    """Return the ranks of the source whose files are needed for one rank of the target.

    No checkpoint is read: what has a layout counts. MindSpore (2.10.0, parallel/checkpoint_transform.py:291) returns
    whole groups of ranks, among them several that hold the same.

    Args:
        rank_id: the rank of the target.
        src_strategy_file: the strategy of the source; None if nothing is cut.
        dst_strategy_file: the strategy of the target; None for whole tensors.

    Returns:
        One rank for each part that is needed, ascending; ``[0]`` if nothing is cut.

    Raises:
        ArgumentTypeError: `rank_id` is not an int.
        ArgumentError: the target has no such rank.
        CheckpointError: a strategy cannot be read.
    """
    if isinstance(rank_id, bool) or not isinstance(rank_id, int):
        raise ArgumentTypeError(f"rank_id must be an int, not {type_name(rank_id)}")
    target = None if dst_strategy_file is None else read_strategy(dst_strategy_file)
    if not 0 <= rank_id < (beyond := 1 if target is None else target.ranks):
        raise ArgumentError(
            f"rank_id is {shown_value(rank_id)}, and the target has {counted(beyond, 'rank')}, from 0 on"
        )
    if src_strategy_file is None:
        return [0]
    source = read_strategy(src_strategy_file)
    stage = 0 if target is None else target.stage_of(rank_id)
    local = 0 if target is None else rank_id - target.firsts[stage]
    groups: dict[tuple[int, ...], None] = {}
    # There are few layouts, and many names of each.
    seen: set[tuple[int, SliceLayout, SliceLayout | None]] = set()
    for name in source.names() if target is None else target.names(stage):
        stages = source.stages_of(name)
        if not stages:
            continue
        goal = None if target is None else target.layout(name, stage)
        case = (stages[0], source.layout(name, stages[0]), goal)
        if case not in seen:
            seen.add(case)
            first = source.firsts[stages[0]]
            groups.update(dict.fromkeys(tuple(first + rank for rank in group) for group in _needed(*case[1:], local)))
    return _fewest(groups) or [0]


def _needed(layout: SliceLayout, goal: SliceLayout | None, rank: int) -> Iterator[tuple[int, ...]]:
    """Yield the ranks of the source that hold each part of a tensor that meets the slice of a rank of the target.

    The layouts do not say how long a tensor is. A length that all cuts divide is as good as any.
    """
    uneven = layout.is_uneven or (goal is not None and goal.is_uneven)
    layout, goal = layout.even(), None if goal is None else goal.even()
    if goal is not None and layout.expanded != goal.expanded:
        # Where axes are written out, only a shape tells which belong together.
        goal = None
    axes = len(layout.parts)
    if goal is not None and not layout.expanded:
        axes = min(axes, len(goal.parts))
        layout, goal = _trimmed(layout, axes), _trimmed(goal, axes)
        axes = len(layout.parts)
    if goal is not None and len(goal.parts) != axes:
        goal = None
    cuts = [_cuts(layout), *([] if goal is None else [_cuts(goal)])]
    shape = tuple(map(math.lcm, *cuts)) if len(cuts) > 1 else tuple(cuts[0])
    wanted = [slice(0, length) for length in shape] if goal is None else list(goal.box(rank, shape))
    if uneven and wanted:
        # Some writers put other numbers where the rows of each part belong, and only the tensor tells.
        wanted[0] = slice(0, shape[0])
    for first in layout.firsts():
        holders = tuple(layout.replicas(first))
        for shard in range(layout.shards):
            box = layout.box(holders[shard], shape)
            if all(a.start < b.stop and b.start < a.stop for a, b in zip(box, wanted, strict=True)):
                yield holders[shard :: layout.shards]


def _trimmed(layout: SliceLayout, axes: int) -> SliceLayout:
    """Return the layout without empty entries beyond a number of axes."""
    return layout if any(layout.tensor_map[axes:]) else layout.fitted((0,) * axes, whole=True)


def _cuts(layout: SliceLayout) -> list[int]:
    cuts = list(layout.parts)
    if cuts:
        cuts[0] *= layout.shards
    return cuts


def _fewest(groups: Iterable[tuple[int, ...]]) -> list[int]:
    """Return one rank of each group, a rank of several groups where there is one."""
    chosen: set[int] = set()
    for group in sorted(groups, key=len):
        if chosen.isdisjoint(group):
            chosen.add(group[0])
    return sorted(chosen)
