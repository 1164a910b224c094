"""Loading and saving under the module name of MindSpore's scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ckptload.absent import absent_from
from ckptload.train import checkpoint_pb2, serialization
from ckptload.train.serialization import (
    ckpt_to_safetensors,
    load_checkpoint,
    load_checkpoint_async,
    load_param_into_net,
    safetensors_to_ckpt,
    save_checkpoint,
)

__all__ = [
    "checkpoint_pb2",
    "ckpt_to_safetensors",
    "load_checkpoint",
    "load_checkpoint_async",
    "load_param_into_net",
    "safetensors_to_ckpt",
    "save_checkpoint",
    "serialization",
]

if not TYPE_CHECKING:  # otherwise a type checker would accept any name
    __getattr__ = absent_from(__name__)
