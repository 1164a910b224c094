"""The module `dtype` has MindSpore's names; what they are is in differential/test_functions.py."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ckptload
from ckptload import dtype, dtypes, errors


def test_every_dtype_and_kind_is_a_type_and_only_dtypes_make_tensors() -> None:
    for value in vars(dtype).values():
        if isinstance(value, dtype.Type):
            assert repr(value).startswith("mindspore.")
            assert isinstance(value, dtypes.DType) == (value in dtypes.ALL)
    with pytest.raises(errors.ArgumentTypeError):
        ckptload.Tensor([1.0], ckptload.float_)


@pytest.mark.parametrize("one", [one for one in dtypes.ALL if one not in (dtypes.hifloat8, dtypes.qint4x2)], ids=str)
def test_a_dtype_has_a_type_of_numpy_and_of_python(one: dtypes.DType) -> None:
    assert np.dtype(dtype.dtype_to_nptype(one)) == one.numpy
    assert dtype.pytype_to_dtype(dtype.dtype_to_nptype(one)) is one
    assert dtype.pytype_to_dtype(one.numpy) is one
    assert isinstance(ckptload.Tensor([1]).astype(one).item(), (dtype.dtype_to_pytype(one), float))


@pytest.mark.parametrize("function", [dtype.dtype_to_nptype, dtype.dtype_to_pytype])
@pytest.mark.parametrize("value", [dtype.float_, dtypes.hifloat8, dtypes.qint4x2, "float32", 3, [], None])
def test_what_has_none_is_refused(function: Any, value: Any) -> None:
    with pytest.raises(errors.ArgumentTypeError, match="bfloat16"):
        function(value)


@pytest.mark.parametrize("value", [dict, "float32", 3, [], np.str_, object])
def test_a_type_without_a_dtype_is_refused(value: Any) -> None:
    with pytest.raises(errors.ArgumentTypeError):
        dtype.pytype_to_dtype(value)


def test_a_star_import_leaves_pythons_names_alone() -> None:
    for module in (dtype, ckptload):
        assert not {"bool", "float", "int"} & set(module.__all__)
    assert (ckptload.int, ckptload.float, ckptload.bool) == (dtypes.int32, dtypes.float32, dtypes.bool_)  # type: ignore[attr-defined]
