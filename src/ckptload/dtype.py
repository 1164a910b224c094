"""The dtypes under the module name of MindSpore's scripts: ``from mindspore import dtype``."""

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

__all__ = [
    "bfloat16", "bool_", "complex64", "complex128", "float8_e4m3fn", "float8_e5m2", "float16", "float32", "float64",
    "hifloat8", "int8", "int16", "int32", "int64", "qint4x2", "uint8", "uint16", "uint32", "uint64",
]  # fmt: skip
