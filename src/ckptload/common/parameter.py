"""Parameters under the name that MindSpore's scripts import them from."""

from ckptload.tensors.parameter import Parameter, ParameterTuple

__all__ = ["Parameter", "ParameterTuple"]
