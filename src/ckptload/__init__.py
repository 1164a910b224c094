"""Reads MindSpore .ckpt files without MindSpore."""

from ckptload.load import load_checkpoint, open_checkpoint
from ckptload.parameter import Parameter
from ckptload.tensor import Tensor

__all__ = ["Parameter", "Tensor", "load_checkpoint", "open_checkpoint"]
