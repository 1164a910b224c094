"""Tensors, parameters and dtypes under the module name of MindSpore's scripts."""

from ckptload.common import dtype, parameter, tensor
from ckptload.tensors.parameter import Parameter, ParameterTuple
from ckptload.tensors.tensor import Tensor

__all__ = ["Parameter", "ParameterTuple", "Tensor", "dtype", "parameter", "tensor"]
