"""Checkpoints of other ranks that hold the same weights: MindSpore's group file, and paths of replicas."""

from __future__ import annotations

import os
import re
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

from ckptload.errors import (
    ArgumentError,
    ArgumentTypeError,
    CorruptCheckpointError,
    EmptyCheckpointError,
    Hint,
    LimitError,
)
from ckptload.messages import type_name
from ckptload.ranks import schema
from ckptload.ranks.layout_numbers import MAX_DEVICES
from ckptload.ranks.strategy_files import MAX_FILE, file_strategy, read_file, read_strategy
from ckptload.sources.folders import is_folder
from ckptload.sources.inputs import open_source

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ckptload.ranks.strategy import Strategy

_RANK: Final = re.compile(r"rank_\d+", re.ASCII)
#: Layouts of what need not be equal for the weights to be: gradients that are summed up, and inputs of the graph.
_NO_WEIGHTS: Final = ("accu_grads", "inputs")


def restore_group_info_list(group_info_file_name: str) -> list[int]:
    """Return the ranks that hold the same weights as the rank that wrote a group file.

    Args:
        group_info_file_name: a file that MindSpore writes if the variable ``GROUP_INFO_FILE`` names it.

    Raises:
        ArgumentTypeError: the path is not a str.
        EmptyCheckpointError: the file is empty, or has no list of ranks.
        CorruptCheckpointError: the file is damaged, or of another kind.
        LimitError: the file is larger than a group file can be.
        ReadError: the file cannot be read.
    """
    from google.protobuf.message import DecodeError  # noqa: PLC0415

    if not isinstance(group_info_file_name, str):
        raise ArgumentTypeError(f"group_info_file_name must be a str, not {type_name(group_info_file_name)}")
    with closing(open_source(group_info_file_name)) as source:
        label = source.label
        if source.size > _MAX_GROUP_FILE:
            raise LimitError(f"the file has {source.size} bytes, a group file at most {_MAX_GROUP_FILE}", path=label)
        data = bytes(source.read(0, source.size))
    try:
        found = schema.message_class("ParallelGroupMap").FromString(data)
    except DecodeError:
        raise CorruptCheckpointError("this is no group file, or it is damaged", path=label, hint=_HINT) from None
    if not found.HasField("ckpt_restore_rank_list"):
        raise EmptyCheckpointError("the file has no list of ranks with the same weights", path=label, hint=_HINT)
    ranks = list(found.ckpt_restore_rank_list.dim)
    if any(rank >= MAX_DEVICES for rank in ranks):
        raise CorruptCheckpointError(f"the file names rank {max(ranks)}", path=label, hint=_HINT)
    return ranks


#: Bytes of a group file: a list of ranks for each group. Each empty group becomes an object.
_MAX_GROUP_FILE: Final = MAX_FILE // 10
_HINT: Final = "a group file is what MindSpore writes where the variable GROUP_INFO_FILE says"


def get_ckpt_path_with_strategy(
    cur_ckpt_path: str, cur_strategy_path: str, *, rank: int | None = None, communicator: Any = None
) -> str | None:
    """Return the path of a checkpoint with a rank's weights: its own if that exists, or else that of a replica.

    MindSpore asks its communication for the rank (2.10.0, train/serialization.py:196). It takes the replicas of the
    parameter with the fewest; here they are those of all parameters.

    Args:
        cur_ckpt_path: the path of the rank's own checkpoint, with ``rank_`` and the number of any rank in it.
        cur_strategy_path: a strategy file of the rank's stage, or one of all stages.
        rank: counted over all stages.
        communicator: an object whose `rank` it is, if `rank` is None.

    Returns:
        The path with ``rank_`` and another number, or None if no such file exists. A path without ``rank_`` is
        returned as it is if the file exists.

    Raises:
        ArgumentTypeError: a path is not a str, or the rank not an int.
        ArgumentError: the rank is not given, or the strategy does not have it.
        CheckpointError: the strategy cannot be read.
    """
    for name, value in (("cur_ckpt_path", cur_ckpt_path), ("cur_strategy_path", cur_strategy_path)):
        if not isinstance(value, str):
            raise ArgumentTypeError(f"{name} must be a str, not {type_name(value)}")
    if rank is None:
        rank = getattr(communicator, "rank", None)
    if rank is None:
        raise ArgumentError("the rank is not known", hint=Hint("{give_rank}"))
    if not isinstance(rank, int) or isinstance(rank, bool):
        raise ArgumentTypeError(f"rank must be an int, not {type_name(rank)}")
    for each in (rank, *_replicas(cur_strategy_path, rank)):
        path = _RANK.sub(f"rank_{each}", cur_ckpt_path)
        if os.path.isfile(path):  # noqa: PTH113 -- what a caller passes may be no path at all
            return path
    return None


def _replicas(path: str, rank: int) -> Iterator[int]:
    """Yield the ranks that hold what a rank holds of all parameters. The file is read only if that is asked for."""
    if rank < 0:
        raise ArgumentError(f"there is no rank {rank}")
    strategy, first = _of_rank(path, rank)
    stage = strategy.stage_of(rank - first)
    common: set[int] | None = None
    weights = {layout: name for name, layout in strategy.layouts(stage).items() if not name.startswith(_NO_WEIGHTS)}
    for name in weights.values():
        found = set(strategy.replicas(name, rank - first))
        common = found if common is None else common & found
    yield from sorted(first + each for each in common or ())


def _of_rank(path: str, rank: int) -> tuple[Strategy, int]:
    """Return the strategy of a rank, and the rank at which it begins: a file of one stage does not say it."""
    if is_folder(path):
        return read_strategy(path), 0
    file = read_file(path)
    strategy = file_strategy(file)
    return strategy, 0 if file.is_merged else rank - rank % strategy.ranks
