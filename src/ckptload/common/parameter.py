"""Parameters under the name that MindSpore's scripts import them from."""

from ckptload.parameter import Parameter, ParameterTuple

__all__ = ["Parameter", "ParameterTuple"]
