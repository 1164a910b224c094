"""Tensors, parameters and dtypes under the name that MindSpore's scripts import them from."""

from ckptload.common import dtype, parameter, tensor
from ckptload.tensors.parameter import Parameter, ParameterTuple
from ckptload.tensors.tensor import Tensor

__all__ = ["Parameter", "ParameterTuple", "Tensor", "dtype", "parameter", "tensor"]
