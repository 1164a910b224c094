"""Parameters under the module name of MindSpore's scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ckptload.absent import absent_from
from ckptload.tensors.parameter import Parameter, ParameterTuple

__all__ = ["Parameter", "ParameterTuple"]

if not TYPE_CHECKING:  # otherwise a type checker would accept any name
    __getattr__ = absent_from(__name__)
