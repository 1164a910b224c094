"""Conversions between dtypes: MindSpore's results, recorded, and what does not depend on values."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptload import dtypes
from ckptload.dtypes import BY_NAME, DType
from ckptload.errors import ArgumentError, ArgumentTypeError
from ckptload.tensors import casting
from fixtures import make_rounding as recorded

RESULTS = json.loads(recorded.RECORD.read_text("utf-8"))["results"]
every_pair = pytest.mark.parametrize(("old", "new"), recorded.PAIRS)
single_bits = st.integers(0, (1 << 32) - 1)


def converted(bits: recorded.Bits, old: str, new: str) -> Any:
    """Convert values given by their bits, and return the bits they become."""
    source, target = BY_NAME[old], BY_NAME[new]
    return casting.cast(bits.view(source.numpy), source, target).view(f"<u{target.itemsize}")


@every_pair
def test_chosen_values_become_what_mindspore_recorded(old: str, new: str) -> None:
    expected = [int(text, 16) for text in RESULTS[f"{old} to {new}"]["chosen"].split()]
    assert [hex(value) for value in converted(recorded.chosen(old), old, new)] == [hex(value) for value in expected]


@every_pair
def test_a_million_values_become_what_mindspore_recorded(old: str, new: str) -> None:
    """All patterns of 16 bits; of others a million with NaNs, very small numbers and ties."""
    data = converted(recorded.patterns(old), old, new).tobytes()
    assert recorded.digest(data) == RESULTS[f"{old} to {new}"]["sha256"]


ties = single_bits.map(lambda bits: bits & 0xFFFFE000 | 0x1000)
bits_near_ties = st.lists(single_bits | ties, min_size=1, max_size=50)


@given(bits_near_ties)
def test_rounding_to_half_in_integers_is_numpys(bits: list[int]) -> None:
    """The way that is even for all numbers against numpy's own, which is slow for very small ones."""
    values = np.array(bits, np.uint32).view(np.float32)
    values = values[~np.isnan(values)]
    quick = np.empty(values.shape, np.uint16)
    casting._round_to_half(values.view(np.uint32), quick)
    with np.errstate(all="ignore"):
        slow = values.astype(np.float16).view(np.uint16)
    assert quick.tolist() == slow.tolist()


@pytest.mark.parametrize("scale", [1e-9, 1e-6, 1e-4, 1.0, 1e4, 1e6, 1e30])
def test_numbers_of_any_size_are_rounded_alike(scale: float) -> None:
    """Whichever way a chunk goes; a NaN is found in each."""
    values = (np.random.default_rng(1).standard_normal(10_000) * scale).astype(np.float32)
    values[[7, 9_999]] = np.nan, -np.nan
    with np.errstate(all="ignore"):
        expected = values.astype(np.float16).view(np.uint16)
    expected[[7, 9_999]] = 0x7E00, 0xFE00
    assert casting.cast(values, dtypes.float32, dtypes.float16).view(np.uint16).tolist() == expected.tolist()


def test_the_ways_to_half_are_chosen_by_the_numbers() -> None:
    usual = np.random.default_rng(1).standard_normal(10_000).astype(np.float32)
    for scale, unusual in ((1.0, False), (0.02, False), (0.0, False), (1e-6, True), (1e6, True)):
        assert casting._is_unusual((usual * np.float32(scale)).view(np.uint32)) is unusual
    assert not casting._is_unusual(np.full(10_000, 0x7F800000, np.uint32))


def test_only_floats_become_floats_and_signed_integers_signed_integers() -> None:
    floats = {dtypes.float16, dtypes.float32, dtypes.float64, dtypes.bfloat16}
    integers = {dtypes.int8, dtypes.int16, dtypes.int32, dtypes.int64, dtypes.qint4x2}
    for source in dtypes.ALL:
        group = next((group for group in (floats, integers) if source in group), {source})
        assert {target for target in dtypes.ALL if casting.can_cast(source, target)} == group


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (2, 3), (1, 2, 1, 3)])
def test_the_shape_stays(shape: tuple[int, ...]) -> None:
    result = casting.cast(np.ones(shape, np.float32), dtypes.float32, dtypes.bfloat16)
    assert (result.shape, result.dtype) == (shape, dtypes.bfloat16.numpy)
    assert result.flags.c_contiguous


def test_an_array_with_gaps_is_converted_in_its_own_order() -> None:
    array = np.arange(12, dtype=np.float64).reshape(3, 4).T[::2]
    result = casting.cast(array, dtypes.float64, dtypes.float16)
    assert result.tolist() == array.tolist()
    assert result.flags.c_contiguous


@pytest.mark.parametrize("dtype", dtypes.ALL, ids=str)
def test_equal_dtypes_are_copied_byte_for_byte(dtype: DType) -> None:
    array = np.frombuffer(bytes(range(256)), dtype.numpy)
    result = casting.cast(array, dtype, dtype)
    assert result.tobytes() == bytes(range(256))
    assert not np.shares_memory(result, array)


def test_a_nan_behind_a_chunk_of_numbers_is_found() -> None:
    size = 3 * casting._CHUNK + 7
    bits = np.full(size, 0x3F800000, np.uint32)
    places = [casting._CHUNK - 1, casting._CHUNK, 2 * casting._CHUNK + 5, size - 1]
    bits[places] = 0xFFC01234
    for target, one, nan in (("Float16", 0x3C00, 0xFE00), ("BFloat16", 0x3F80, 0x7FC0)):
        result = converted(bits, "Float32", target)
        assert np.flatnonzero(result != one).tolist() == places
        assert {int(value) for value in result[places]} == {nan}


TOO_LARGE = [
    ("Float32", "Float16", 65520.0, 65519.0),
    ("Float64", "Float16", -65520.0, 65519.0),
    ("BFloat16", "Float16", 65536.0, 65280.0),
    ("Float64", "Float32", 1e39, 3e38),
    ("Float32", "BFloat16", 3.4e38, 3.38e38),
    ("Int64", "Int32", 1 << 31, (1 << 31) - 1),
    ("Int16", "Int4", -129, -128),
]


@pytest.mark.parametrize("many", [False, True], ids=["few", "many"])
@pytest.mark.parametrize(("source", "target", "beyond", "within"), TOO_LARGE)
def test_a_value_that_the_type_cannot_hold_is_told(
    source: str, target: str, beyond: float, within: float, many: bool
) -> None:
    old, new = dtypes.BY_NAME[source], dtypes.BY_NAME[target]
    array = np.ones(2 * casting._CHUNK + 5, old.numpy)
    out = np.empty(array.shape, new.numpy)
    # Many small numbers are rounded in another way.
    array[: len(array) // 2 if many else 1] = 1e-6 if old in dtypes.FLOATS else 1
    array[-1] = within
    assert casting.cast_into(array, old, new, out) is False
    if old in dtypes.FLOATS:
        array[:4] = [np.nan, -np.nan, np.inf, -np.inf]
        assert casting.cast_into(array, old, new, out) is False
    array[-1] = beyond
    assert casting.cast_into(array, old, new, out) is True
    assert casting.cast_into(array[:5], old, new, out[:5]) is False


def test_a_wider_type_holds_every_value() -> None:
    for source, target in (("Float16", "Float32"), ("BFloat16", "Float64"), ("Int8", "Int64"), ("Int8", "Int4")):
        array = np.arange(256).astype("u1").view("i1" if "Int" in source else dtypes.BY_NAME[source].numpy)
        out = np.empty(array.shape, dtypes.BY_NAME[target].numpy)
        assert casting.cast_into(array, dtypes.BY_NAME[source], dtypes.BY_NAME[target], out) is False


def test_the_result_may_have_another_shape_of_that_size() -> None:
    out = np.zeros((2, 3), np.int8)
    casting.cast_into(np.arange(254, 260, dtype=np.int64).reshape(6, 1), dtypes.int64, dtypes.int8, out)
    assert out.tolist() == [[-2, -1, 0], [1, 2, 3]]


@pytest.mark.parametrize(
    "out",
    [np.zeros(5, np.float16), np.zeros(6, np.float32), np.zeros(12, np.float16)[::2]],
    ids=["size", "type", "gaps"],
)
def test_room_that_does_not_fit_is_refused(out: Any) -> None:
    with pytest.raises(ArgumentError, match="6 elements of Float16"):
        casting.cast_into(np.zeros(6, np.float32), dtypes.float32, dtypes.float16, out)
    assert not out.any()


@pytest.mark.parametrize(
    ("source", "target"),
    [(dtypes.float32, dtypes.int32), (dtypes.uint8, dtypes.int16), (dtypes.bool_, dtypes.int8)],
    ids=str,
)
def test_no_other_conversion_is_made(source: DType, target: DType) -> None:
    with pytest.raises(ArgumentTypeError, match=f"{source} cannot be converted to {target}"):
        casting.cast(np.zeros(3, source.numpy), source, target)
