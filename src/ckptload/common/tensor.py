"""Tensors under the module name of MindSpore's scripts."""

from ckptload.tensors.tensor import Tensor

__all__ = ["Tensor"]
