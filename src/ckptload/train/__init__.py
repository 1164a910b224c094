"""Loading and saving under the name that MindSpore's scripts import them from."""

from ckptload.train import serialization
from ckptload.train.serialization import load_checkpoint, save_checkpoint

__all__ = ["load_checkpoint", "save_checkpoint", "serialization"]
