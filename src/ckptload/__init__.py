"""Reads MindSpore .ckpt files without MindSpore."""

from ckptload import common, dtype, errors, nn, train
from ckptload.cell import Cell
from ckptload.containers import CellList, SequentialCell
from ckptload.dtypes import (
    bfloat16,
    bool_,
    complex64,
    complex128,
    float8_e4m3fn,
    float8_e5m2,
    float16,
    float32,
    float64,
    hifloat8,
    int8,
    int16,
    int32,
    int64,
    qint4x2,
    uint8,
    uint16,
    uint32,
    uint64,
)
from ckptload.load import load_checkpoint, open_checkpoint
from ckptload.parameter import Parameter, ParameterTuple
from ckptload.save import save_checkpoint
from ckptload.tensor import Tensor

__all__ = [
    "Cell",
    "CellList",
    "Parameter",
    "ParameterTuple",
    "SequentialCell",
    "Tensor",
    "bfloat16",
    "bool_",
    "common",
    "complex64",
    "complex128",
    "dtype",
    "errors",
    "float8_e4m3fn",
    "float8_e5m2",
    "float16",
    "float32",
    "float64",
    "hifloat8",
    "int8",
    "int16",
    "int32",
    "int64",
    "load_checkpoint",
    "nn",
    "open_checkpoint",
    "qint4x2",
    "save_checkpoint",
    "train",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
]
