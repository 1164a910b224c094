"""Parameters under the module name of MindSpore's scripts."""

from ckptload.tensors.parameter import Parameter, ParameterTuple

__all__ = ["Parameter", "ParameterTuple"]
