"""Tensors under the name that MindSpore's scripts import them from."""

from ckptload.tensors.tensor import Tensor

__all__ = ["Tensor"]
