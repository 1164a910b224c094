"""Tensors under the name that MindSpore's scripts import them from."""

from ckptload.tensor import Tensor

__all__ = ["Tensor"]
