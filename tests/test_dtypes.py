"""Types: MindSpore's names and printing, one object for each, and a table that agrees with itself."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from typing import TYPE_CHECKING

import ml_dtypes
import numpy as np
import pytest

from ckptload import dtypes
from ckptload.errors import ArgumentTypeError

if TYPE_CHECKING:
    from ckptload.dtypes import DType

#: As MindSpore 2.10.0 prints them: attribute, str, repr, bytes of an element.
PRINTED = [
    ("bool_", "Bool", "mindspore.bool", 1),
    ("int8", "Int8", "mindspore.int8", 1),
    ("int16", "Int16", "mindspore.int16", 2),
    ("int32", "Int32", "mindspore.int32", 4),
    ("int64", "Int64", "mindspore.int64", 8),
    ("uint8", "UInt8", "mindspore.uint8", 1),
    ("uint16", "UInt16", "mindspore.uint16", 2),
    ("uint32", "UInt32", "mindspore.uint32", 4),
    ("uint64", "UInt64", "mindspore.uint64", 8),
    ("float16", "Float16", "mindspore.float16", 2),
    ("float32", "Float32", "mindspore.float32", 4),
    ("float64", "Float64", "mindspore.float64", 8),
    ("bfloat16", "BFloat16", "mindspore.bfloat16", 2),
    ("qint4x2", "Int4", "mindspore.int4", 1),
    ("complex64", "Complex64", "mindspore.complex64", 8),
    ("complex128", "Complex128", "mindspore.complex128", 16),
    ("float8_e4m3fn", "Float8E4M3FN", "mindspore.float8_e4m3fn", 1),
    ("float8_e5m2", "Float8E5M2", "mindspore.float8_e5m2", 1),
    ("hifloat8", "HiFloat8", "mindspore.hifloat8", 1),
]

every_dtype = pytest.mark.parametrize("dtype", dtypes.ALL, ids=str)


@pytest.mark.parametrize(("attribute", "text", "representation", "size"), PRINTED)
def test_a_dtype_prints_as_mindspore_prints_it(attribute: str, text: str, representation: str, size: int) -> None:
    dtype = getattr(dtypes, attribute)
    assert (str(dtype), f"{dtype}", repr(dtype)) == (text, text, representation)
    assert (dtype.name, dtype.attribute, dtype.itemsize) == (text, attribute, size)


def test_the_list_above_is_complete() -> None:
    assert [dtype.attribute for dtype in dtypes.ALL] == [row[0] for row in PRINTED]


@every_dtype
def test_a_dtype_equals_only_itself(dtype: DType) -> None:
    assert [other for other in dtypes.ALL if other == dtype] == [dtype]
    assert dtype not in ("auto", None, object, float)
    assert len({dtype, getattr(dtypes, dtype.attribute)}) == 1


@every_dtype
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_dtype_stays_one_object_through_pickle(dtype: DType, protocol: int) -> None:
    assert pickle.loads(pickle.dumps(dtype, protocol)) is dtype


@every_dtype
def test_a_dtype_stays_one_object_through_copy(dtype: DType) -> None:
    assert copy.copy(dtype) is dtype
    assert copy.deepcopy([dtype])[0] is dtype


def test_a_dtype_pickled_elsewhere_is_ours() -> None:
    """A pickle holds a reference to the constant, so that identity survives a change of process."""
    code = "import pickle, sys; from ckptload import dtypes; sys.stdout.buffer.write(pickle.dumps(list(dtypes.ALL)))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert all(mine is theirs for mine, theirs in zip(dtypes.ALL, pickle.loads(done.stdout), strict=True))


@every_dtype
def test_a_dtype_has_no_attributes_but_its_own(dtype: DType) -> None:
    with pytest.raises(AttributeError):
        dtype.colour = "red"  # type: ignore[attr-defined]


@every_dtype
def test_names_lead_back_to_the_dtype(dtype: DType) -> None:
    assert dtypes.BY_NAME[dtype.name] is dtype
    for spelling in (dtype.name, dtype.attribute, dtype.spelling):
        for plain in (spelling, spelling.lower(), spelling.upper()):
            for name in (plain, f"mindspore.{plain}", f"MindSpore.{plain}", f"MINDSPORE.{plain}"):
                assert dtypes.in_file(name) is dtype
            for name in (f"torch.{plain}", f"numpy.{plain}", f".{plain}", f"mindspore.mindspore.{plain}"):
                assert dtypes.in_file(name) is None
    if dtype.safetensors is not None:
        assert dtypes.BY_SAFETENSORS[dtype.safetensors] is dtype


def test_no_two_types_share_a_name_in_safetensors() -> None:
    names = [dtype.safetensors for dtype in dtypes.ALL if dtype.safetensors is not None]
    assert len(names) == len(set(names)) == len(dtypes.BY_SAFETENSORS)


@pytest.mark.parametrize("size", [8, 16, 32, 64])
def test_the_unsigned_spellings_of_old_files_mean_the_same_types(size: int) -> None:
    assert dtypes.in_file(f"Uint{size}") is dtypes.BY_NAME[f"UInt{size}"]


@pytest.mark.parametrize(
    "name", [None, "", "Float", "str", "random_op", "Float32 ", "Float32.", "mindspore", "Float32x"]
)
def test_other_names_are_not_types(name: str | None) -> None:
    assert dtypes.in_file(name) is None


@every_dtype
def test_an_array_type_is_little_endian_and_has_the_item_size(dtype: DType) -> None:
    assert dtype.numpy.itemsize == dtype.itemsize == np.zeros(1, dtype.numpy).nbytes
    assert dtype.numpy == dtype.numpy.newbyteorder("<")


@every_dtype
def test_an_array_type_leads_back_to_the_dtype(dtype: DType) -> None:
    """Int4 and HiFloat8 have no array type of their own; they borrow that of their bytes."""
    borrowed = {dtypes.qint4x2: dtypes.int8, dtypes.hifloat8: dtypes.uint8}
    assert dtypes.from_numpy(dtype.numpy) is borrowed.get(dtype, dtype)


@pytest.mark.parametrize(
    ("numpy", "attribute"),
    [
        (">f4", "float32"),
        (">i8", "int64"),
        (">c16", "complex128"),
        ("longlong", "int64"),
        ("ulonglong", "uint64"),
        ("intc", "int32"),
        ("?", "bool_"),
        (float, "float64"),
        (ml_dtypes.bfloat16, "bfloat16"),
        (ml_dtypes.float8_e5m2, "float8_e5m2"),
    ],
)
def test_an_array_type_is_found_whatever_its_spelling_and_byte_order(numpy: object, attribute: str) -> None:
    assert dtypes.from_numpy(np.dtype(numpy)).attribute == attribute  # type: ignore[call-overload]


@pytest.mark.parametrize("numpy", ["U3", "S3", "O", "M8[s]", "m8[s]", "V4", "i4,f4", ml_dtypes.float8_e4m3b11fnuz])
def test_an_array_type_that_mindspore_has_not_is_an_argument_type_error(numpy: object) -> None:
    with pytest.raises(ArgumentTypeError, match="no type for arrays of") as caught:
        dtypes.from_numpy(np.dtype(numpy))  # type: ignore[call-overload]
    assert "float32" in str(caught.value.hint)
