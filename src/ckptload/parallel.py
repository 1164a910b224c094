"""Functions on checkpoints of many ranks under the module name of MindSpore's scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ckptload.absent import absent
from ckptload.ranks.joining import merge_sliced_parameter
from ckptload.ranks.replicas import restore_group_info_list
from ckptload.ranks.strategy_files import build_searched_strategy
from ckptload.resharding.distributed import load_distributed_checkpoint, load_segmented_checkpoints
from ckptload.resharding.holders import rank_list_for_transform
from ckptload.resharding.strategies import merge_pipeline_strategys
from ckptload.resharding.transforming import transform_checkpoint_by_rank, transform_checkpoints
from ckptload.resharding.unifying import unified_safetensors

__all__ = [
    "build_searched_strategy",
    "convert_checkpoint_by_rank",
    "convert_checkpoints",
    "load_distributed_checkpoint",
    "load_segmented_checkpoints",
    "merge_pipeline_strategys",
    "merge_sliced_parameter",
    "rank_list_for_convert",
    "rank_list_for_transform",
    "restore_group_info_list",
    "transform_checkpoint_by_rank",
    "transform_checkpoints",
    "unified_safetensors",
]

# MindSpore has each of these twice (2.10.0, parallel/checkpoint_convert.py).
convert_checkpoints = transform_checkpoints
convert_checkpoint_by_rank = transform_checkpoint_by_rank
rank_list_for_convert = rank_list_for_transform

if not TYPE_CHECKING:  # otherwise a type checker would accept any name

    def __getattr__(name: str) -> Any:
        raise absent(__name__, name)
