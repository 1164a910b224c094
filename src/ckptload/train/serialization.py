"""Loading and saving under the module name of MindSpore's scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ckptload.absent import absent_from
from ckptload.binding.loading import load_param_into_net
from ckptload.converting.converters import ckpt_to_safetensors, safetensors_to_ckpt
from ckptload.loading import load_checkpoint, load_checkpoint_async
from ckptload.ranks.joining import merge_sliced_parameter
from ckptload.ranks.replicas import get_ckpt_path_with_strategy, restore_group_info_list
from ckptload.ranks.strategy_files import build_searched_strategy
from ckptload.resharding.distributed import load_distributed_checkpoint
from ckptload.resharding.holders import rank_list_for_transform
from ckptload.resharding.strategies import merge_pipeline_strategys
from ckptload.resharding.transforming import transform_checkpoint_by_rank, transform_checkpoints
from ckptload.saving import save_checkpoint

__all__ = [
    "build_searched_strategy",
    "ckpt_to_safetensors",
    "get_ckpt_path_with_strategy",
    "load_checkpoint",
    "load_checkpoint_async",
    "load_distributed_checkpoint",
    "load_param_into_net",
    "merge_pipeline_strategys",
    "merge_sliced_parameter",
    "rank_list_for_transform",
    "restore_group_info_list",
    "safetensors_to_ckpt",
    "save_checkpoint",
    "transform_checkpoint_by_rank",
    "transform_checkpoints",
]

if not TYPE_CHECKING:  # otherwise a type checker would accept any name
    __getattr__ = absent_from(__name__)
