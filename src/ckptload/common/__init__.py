"""Tensors, parameters, dtypes and the seed under the module name of MindSpore's scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ckptload.absent import absent_from
from ckptload.common import api, dtype, initializer, parameter, seed, tensor
from ckptload.common.api import jit
from ckptload.common.dtype import *  # noqa: F403 -- the same names, whatever they are
from ckptload.common.seed import get_seed, set_seed
from ckptload.common.tensor import from_numpy, is_tensor
from ckptload.tensors.parameter import Parameter, ParameterTuple
from ckptload.tensors.tensor import Tensor

__all__ = [
    "Parameter", "ParameterTuple", "Tensor", "api", "dtype", "from_numpy", "get_seed", "initializer", "is_tensor",
    "jit", "parameter", "seed", "set_seed", "tensor",
]  # fmt: skip

if not TYPE_CHECKING:  # otherwise a type checker would accept any name
    __getattr__ = absent_from(__name__)
