"""Tensors, parameters and dtypes under the name that MindSpore's scripts import them from."""

from ckptload.common import dtype, parameter, tensor
from ckptload.parameter import Parameter, ParameterTuple
from ckptload.tensor import Tensor

__all__ = ["Parameter", "ParameterTuple", "Tensor", "dtype", "parameter", "tensor"]
