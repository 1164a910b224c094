"""The CRC-32 of MindSpore's safetensors files, with its way of summing single integers."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptload import dtypes
from ckptload.formats.crc32 import add_zeros
from ckptload.formats.safetensors import checksum
from ckptload.writing.gathering import gather

if TYPE_CHECKING:
    import numpy.typing as npt


def ours(arrays: dict[str, npt.NDArray[Any]]) -> int:
    value = 0
    for name in sorted(arrays):
        (item,) = gather({name: arrays[name]}, None, None)
        assert item.dtype is not None
        value = checksum.add(value, name, item.dtype, item.shape, item.pieces())
    return value


def as_mindspore(arrays: dict[str, npt.NDArray[Any]]) -> int:
    """Sum as MindSpore 2.10.0 does, whose reader and writer both pass arrays to bytes()."""
    value = 0
    for name in sorted(arrays):
        value = zlib.crc32(name.encode(), value)
        value = zlib.crc32(bytes(arrays[name]), value)
    return value


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        {"w": np.arange(6, dtype=np.float32).reshape(2, 3)},
        {"b": np.ones(3, np.int8), "a": np.zeros((0, 3)), "ü": np.array([5])},
        {"w": np.array(2.5, np.float32), "flag": np.array(True)},
        {"step": np.array(3), "w": np.ones(2)},
        {"step": np.array(0, np.uint8), "epoch": np.array(200, np.uint16)},
        {"step": np.array(1_000_000, np.int32)},
        {"large": np.arange(400_000)},
    ],
    ids=["nothing", "a tensor", "several", "scalars", "an integer", "small integers", "a large integer", "pieces"],
)
def test_the_sum_is_mindspores(arrays: dict[str, npt.NDArray[Any]]) -> None:
    assert ours(arrays) == as_mindspore(arrays)


@given(st.integers(0, 0xFFFFFFFF), st.integers(0, 5000))
def test_zeros_are_added_without_making_them(value: int, count: int) -> None:
    assert add_zeros(value, count) == zlib.crc32(bytes(count), value)


@given(st.integers(0, 0xFFFFFFFF), st.integers(0, 1 << 62), st.integers(0, 1 << 62))
def test_any_number_of_zeros_can_be_added_in_parts(value: int, first: int, second: int) -> None:
    in_parts = add_zeros(add_zeros(value, first), second)
    assert add_zeros(value, first + second) == in_parts


def test_a_negative_integer_is_summed_by_its_bytes() -> None:
    """MindSpore fails to sum it, so that there is no other rule to keep."""
    content = np.array(-4).tobytes()
    value = checksum.add(0, "e", dtypes.int64, (), iter([memoryview(content)]))
    assert value == zlib.crc32(content, zlib.crc32(b"e"))
