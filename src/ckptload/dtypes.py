"""The one table of types: MindSpore's name, numpy's type, item size, safetensors' name.

The type names are those that MindSpore writes into a checkpoint (docs/format.md, "Tensor types"). The public dtype
objects print as MindSpore's do.
"""

from __future__ import annotations

from typing import Any, Final

import ml_dtypes
import numpy as np

from ckptload.errors import ArgumentTypeError

#: An array of any dtype.
Array = np.ndarray[Any, np.dtype[Any]]


class Type:
    """Base of data types, and of the kinds that MindSpore's scripts name, such as any float."""

    __slots__ = ()


class DType(Type):
    """A MindSpore data type: ``str(float32)`` is ``Float32``, ``repr`` is ``mindspore.float32``.

    The instances are the constants of this module, and each type has exactly one. A dtype equals the dtype of
    MindSpore, torch or numpy that stands for the same type; ``mindspore.float32 == ckptload.float32`` is False all
    the same, because MindSpore's dtypes answer first.

    Attributes:
        name: name in a checkpoint.
        attribute: name under which ckptload exports it.
        numpy: type of arrays with such values, little-endian on every machine.
        itemsize: bytes of one element, in a file and in memory.
        safetensors: name in a safetensors header, or None if that format does not have the type.
        spelling: MindSpore's name of the constant, as in ``repr``.
    """

    __slots__ = ("attribute", "itemsize", "name", "numpy", "safetensors", "spelling")

    def __init__(self, name: str, attribute: str, numpy: Any, safetensors: str | None, spelling: str) -> None:
        self.name = name
        self.attribute = attribute
        little = np.dtype(numpy).newbyteorder("<")
        # On a little-endian machine use numpy's own object, which prints as float32 and not as <f4.
        self.numpy: np.dtype[Any] = np.dtype(numpy) if little.isnative else little
        self.itemsize: int = self.numpy.itemsize
        self.safetensors = safetensors
        self.spelling = spelling

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"mindspore.{self.spelling}"

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if isinstance(other, str) and _named(other) is not None:
            # MindSpore says False, and the script goes on in the wrong branch.
            raise ArgumentTypeError(
                f"a dtype is never equal to a str, and {other!r} is one",
                hint=f"compare it with ckptload.{self.attribute}, or str(dtype) with {self.name!r}",
            )
        return like(other) is self

    def __hash__(self) -> int:
        return id(self)

    def __reduce__(self) -> str:
        # Pickled as a reference to the constant, so that identity survives.
        return self.attribute

    def __copy__(self) -> DType:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> DType:
        return self


def _dtype(name: str, attribute: str, numpy: Any, safetensors: str | None, spelling: str = "") -> DType:
    return DType(name, attribute, numpy, safetensors, spelling or attribute)


bool_: Final = _dtype("Bool", "bool_", np.bool_, "BOOL", "bool")
int8: Final = _dtype("Int8", "int8", np.int8, "I8")
int16: Final = _dtype("Int16", "int16", np.int16, "I16")
int32: Final = _dtype("Int32", "int32", np.int32, "I32")
int64: Final = _dtype("Int64", "int64", np.int64, "I64")
uint8: Final = _dtype("UInt8", "uint8", np.uint8, "U8")
uint16: Final = _dtype("UInt16", "uint16", np.uint16, "U16")
uint32: Final = _dtype("UInt32", "uint32", np.uint32, "U32")
uint64: Final = _dtype("UInt64", "uint64", np.uint64, "U64")
float16: Final = _dtype("Float16", "float16", np.float16, "F16")
float32: Final = _dtype("Float32", "float32", np.float32, "F32")
float64: Final = _dtype("Float64", "float64", np.float64, "F64")
bfloat16: Final = _dtype("BFloat16", "bfloat16", ml_dtypes.bfloat16, "BF16")
# One int8 per element, as MindSpore stores it. safetensors does not have the type; the metadata of a file names it.
qint4x2: Final = _dtype("Int4", "qint4x2", np.int8, None, "int4")
complex64: Final = _dtype("Complex64", "complex64", np.complex64, "C64")
complex128: Final = _dtype("Complex128", "complex128", np.complex128, None)
float8_e4m3fn: Final = _dtype("Float8E4M3FN", "float8_e4m3fn", ml_dtypes.float8_e4m3fn, "F8_E4M3")
float8_e5m2: Final = _dtype("Float8E5M2", "float8_e5m2", ml_dtypes.float8_e5m2, "F8_E5M2")
# No numpy type has HiFloat8's layout; arrays hold the raw bytes.
hifloat8: Final = _dtype("HiFloat8", "hifloat8", np.uint8, None)

ALL: Final[tuple[DType, ...]] = (
    bool_, int8, int16, int32, int64, uint8, uint16, uint32, uint64, float16, float32, float64,
    bfloat16, qint4x2, complex64, complex128, float8_e4m3fn, float8_e5m2, hifloat8,
)  # fmt: skip

#: Floats that are converted to each other (docs/binding.md, "Conversions"); 8-bit floats are not.
FLOATS: Final = (float16, bfloat16, float32, float64)
#: Signed integers that are converted to each other.
INTEGERS: Final = (int8, int16, int32, int64)

BY_NAME: Final[dict[str, DType]] = {dtype.name: dtype for dtype in ALL}

#: Type names in files, in lower case: those of current MindSpore, of 1.0 to 1.3 (``Uint8``), and in maps those of
#: numpy (docs/format.md, "Tensor types").
_IN_FILES: Final[dict[str, DType]] = {
    spelling.lower(): dtype for dtype in ALL for spelling in (dtype.name, dtype.attribute, dtype.spelling)
}


#: What some writers put before MindSpore's names.
_PREFIX: Final = "mindspore."


def in_file(name: str | None) -> DType | None:
    """Find a type by its name in a file, in any case, with or without ``mindspore.`` in front."""
    return _IN_FILES.get((name or "").lower().removeprefix(_PREFIX))


def _named(name: str) -> DType | None:
    """Find a type by the name that a framework prints, with the framework's own prefix or without."""
    return in_file(name.rpartition(".")[2])


BY_SAFETENSORS: Final[dict[str, DType]] = {dtype.safetensors: dtype for dtype in ALL if dtype.safetensors is not None}

# Arrays of int8 and uint8 have these types, not qint4x2 and hifloat8, which are stored in such arrays.
_BY_NUMPY: Final[dict[np.dtype[Any], DType]] = {
    dtype.numpy: dtype for dtype in ALL if dtype is not qint4x2 and dtype is not hifloat8
}


def from_numpy(numpy: np.dtype[Any]) -> DType:
    """Find the MindSpore type for an array's type in any byte order.

    Raises:
        ArgumentTypeError: MindSpore does not have the type.
    """
    found = _BY_NUMPY.get(numpy.newbyteorder("<"))
    if found is None:
        raise ArgumentTypeError(
            f"MindSpore has no type for arrays of {numpy}",
            hint="convert it with ndarray.astype to one of: " + ", ".join(d.attribute for d in ALL),
        )
    return found


#: Classes of numpy's scalars that stand for no single type, such as ``numpy.floating``.
_ABSTRACT: Final = {
    base for scalar in (np.float64, np.int64, np.uint64, np.complex128, np.str_) for base in scalar.__mro__[1:]
}


def like(value: object) -> DType | None:
    """Find the type that a dtype of this package, MindSpore, torch or numpy stands for; None for anything else.

    No framework is imported: its dtypes are recognised by their classes, and found by their names.
    """
    if isinstance(value, DType):
        return value
    if isinstance(value, np.dtype) or (
        isinstance(value, type) and issubclass(value, np.generic) and value not in _ABSTRACT
    ):
        return _BY_NUMPY.get(np.dtype(value).newbyteorder("<"))
    classes = {(cls.__module__.partition(".")[0], cls.__name__) for cls in type(value).__mro__}
    if ("torch", "dtype") in classes or ("mindspore", "Type") in classes:
        return _named(str(value))
    return None
