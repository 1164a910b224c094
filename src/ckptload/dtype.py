"""The dtypes under the module name of MindSpore's scripts: ``from mindspore import dtype as mstype``."""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ckptload import dtypes
from ckptload.absent import absent_from
from ckptload.dtypes import (
    ALL,
    DType,
    Type,
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
    like,
    qint4x2,
    uint8,
    uint16,
    uint32,
    uint64,
)
from ckptload.errors import ArgumentTypeError
from ckptload.messages import shown_value

# Not in this list: bool, float and int, which a star import would put into the place of Python's.
__all__ = [
    "Type", "all_types", "bfloat16", "bool_", "byte", "cdouble", "cfloat", "complex64", "complex128", "complex_type",
    "double", "dtype_to_nptype", "dtype_to_pytype", "float8_e4m3fn", "float8_e5m2", "float16", "float32", "float64",
    "float_", "float_type", "half", "hifloat8", "int8", "int16", "int32", "int64", "int_", "int_type", "intc", "intp",
    "list_", "long", "number", "number_type", "pytype_to_dtype", "qint4x2", "short", "signed_type", "single",
    "string", "tensor_type", "tuple_", "type_none", "ubyte", "uint", "uint8", "uint16", "uint32", "uint64", "uint_type",
    "uintc", "uintp", "ushort",
]  # fmt: skip

byte: Final = int8
short: Final = int16
intc: Final = int32
long: Final = int64
intp: Final = int64
ubyte: Final = uint8
ushort: Final = uint16
uintc: Final = uint32
uintp: Final = uint64
half: Final = float16
single: Final = float32
double: Final = float64
cfloat: Final = complex64
cdouble: Final = complex128
bool: Final = bool_  # noqa: A001 -- MindSpore's names
int: Final = int32  # noqa: A001
float: Final = float32  # noqa: A001

int_type: Final = (int8, int16, int32, int64)
uint_type: Final = (uint8, uint16, uint32, uint64)
float_type: Final = (float16, float32, float64, bfloat16, float8_e4m3fn, float8_e5m2, hifloat8)
complex_type: Final = (complex64, complex128)
number_type: Final = (
    *int_type, *uint_type, float16, float32, float64, bfloat16, *complex_type,
    qint4x2, float8_e4m3fn, float8_e5m2, hifloat8,
)  # fmt: skip
signed_type: Final = tuple(one for one in number_type if one not in uint_type)
all_types: Final = (bool_, *number_type)


class _Kind(Type):
    """A kind of types, which no tensor has as its dtype: any integer, any number, a list.

    Args:
        name: MindSpore's name of the kind.
        spelling: MindSpore's name of the constant, as in ``repr``.
    """

    __slots__ = ("_name", "_spelling")

    def __init__(self, name: str, spelling: str) -> None:
        self._name = name
        self._spelling = spelling

    def __str__(self) -> str:
        return self._name

    def __repr__(self) -> str:
        return f"mindspore.{self._spelling}"


int_: Final = _Kind("Int", "int")
uint: Final = _Kind("UInt", "uint")
float_: Final = _Kind("Float", "float")
number: Final = _Kind("Number", "number")
string: Final = _Kind("String", "string_")
tensor_type: Final = _Kind("Tensor", "tensor")
list_: Final = _Kind("List", "list_")
tuple_: Final = _Kind("Tuple", "tuple_")
type_none: Final = _Kind("None", "type_none")

_PYTHON: Final = {
    "b": builtins.bool, "i": builtins.int, "u": builtins.int, "f": builtins.float, "V": builtins.float, "c": complex,
}  # fmt: skip
_FROM_PYTHON: Final[dict[Any, Type]] = {
    builtins.bool: bool_, builtins.int: int64, builtins.float: float64, complex: complex128,
    str: string, list: list_, tuple: tuple_, type(None): type_none,
}  # fmt: skip


def dtype_to_nptype(dtype: Any) -> type[np.generic]:
    """Return the type of numpy's scalars that stands for a dtype; ml_dtypes has those for bfloat16 and float8.

    Raises:
        ArgumentTypeError: it is not a dtype, or numpy has no such type.
    """
    found = like(dtype)
    if found is None or found in (hifloat8, qint4x2):
        raise ArgumentTypeError(
            f"numpy has no type for {shown_value(dtype)}", hint="use one of: " + ", ".join(one.attribute for one in ALL)
        )
    return found.numpy.type


def dtype_to_pytype(dtype: Any) -> type:
    """Return the type of Python that holds elements of a dtype: bool, int, float or complex.

    Raises:
        ArgumentTypeError: it is not a dtype of numbers.
    """
    found = like(dtype)
    if found is None or found in (hifloat8, qint4x2):
        raise ArgumentTypeError(
            f"Python has no type for {shown_value(dtype)}",
            hint="use one of: " + ", ".join(one.attribute for one in ALL),
        )
    return _PYTHON[found.numpy.kind]


def pytype_to_dtype(obj: Any) -> Type:
    """Return the dtype for a type of Python or numpy, such as ``float`` (Float64) or ``numpy.int8``.

    Raises:
        ArgumentTypeError: MindSpore has no dtype for it.
    """
    if isinstance(obj, type) and obj in _FROM_PYTHON:
        return _FROM_PYTHON[obj]
    if isinstance(obj, DType):
        return obj
    if isinstance(obj, np.dtype) or (isinstance(obj, type) and issubclass(obj, np.generic)):
        return dtypes.from_numpy(np.dtype(obj))
    raise ArgumentTypeError(
        f"MindSpore has no dtype for {shown_value(obj)}", hint="give a type of Python or numpy, such as float"
    )


if not TYPE_CHECKING:  # otherwise a type checker would accept any name
    __getattr__ = absent_from(__name__)
