"""Parameters that share memory are found, whatever their shapes and strides are, and only these."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptload.nets import overlaps
from ckptload.nets.overlaps import Extent, extent_of, overlapping

BASE = np.zeros(64, np.float32)
ROWS = BASE.reshape(8, 8)


def pair(first: np.ndarray, second: np.ndarray) -> dict[str, str]:
    return overlapping({"a": extent_of(first), "b": extent_of(second)})


@pytest.mark.parametrize(
    ("first", "second", "shared"),
    [
        (BASE[:4], BASE[4:8], False),
        (BASE[:4], BASE[3:8], True),
        (BASE[:4], BASE[:4], True),
        (BASE[::2], BASE[1::2], False),
        (BASE[::2], BASE[::3], True),
        (BASE[::-1], BASE[:1], True),
        (BASE[31::-1], BASE[32:], False),
        (ROWS[:, :4], ROWS[:, 4:], False),
        (ROWS[:, :5], ROWS[:, 4:], True),
        (ROWS[:, 0], ROWS[0], True),
        (ROWS[:, 0], ROWS[0, 1:], False),
        (BASE[:4].view(np.int8)[:3], BASE[:4].view(np.int8)[3:], False),
        (BASE[:4].view(np.int8)[:5], BASE[1:4], True),
        (BASE[:4].view(np.int16)[::2], BASE[:4].view(np.int16)[1::2], False),
        (BASE[:0], BASE[:4], False),
        (BASE[:4], ROWS[:, :0], False),
    ],
)
def test_pairs(first: np.ndarray, second: np.ndarray, shared: bool) -> None:
    assert np.shares_memory(first, second) is shared
    assert pair(first, second) == ({"a": "b", "b": "a"} if shared else {})


@pytest.mark.parametrize(
    ("shape", "strides", "shared"),
    [
        ((4,), (4,), False),
        ((4,), (0,), True),
        ((1,), (0,), False),
        ((0, 4), (0, 0), False),
        ((2, 3), (4, 4), True),
        ((2, 3), (12, 4), False),
        ((3, 2), (4, 12), False),
        ((2, 2), (12, 8), False),
        ((3, 2), (8, 12), False),
        ((4, 2), (4, 8), True),
        ((2,), (-4,), False),
        ((2, 3), (-4, 4), True),
        ((2,), (2,), True),
    ],
)
def test_one_array_in_itself(shape: tuple[int, ...], strides: tuple[int, ...], shared: bool) -> None:
    extent = Extent("cpu", 4000, shape, strides, 4)
    assert overlapping({"a": extent}) == ({"a": "a"} if shared else {})


def test_other_devices_have_addresses_of_their_own() -> None:
    first = extent_of(BASE)
    assert not overlapping({"a": first, "b": first._replace(device="cuda:0"), "c": first._replace(device="cuda:1")})


def test_of_many_each_is_named_with_another() -> None:
    parts = {"whole": BASE[:12], "a": BASE[:4], "b": BASE[6:8], "apart": BASE[12:16], "next": BASE[16:]}
    assert overlapping({name: extent_of(part) for name, part in parts.items()}) == {
        "whole": "a", "a": "whole", "b": "whole",
    }  # fmt: skip


@st.composite
def views(draw: st.DrawFn) -> np.ndarray:
    start = draw(st.integers(0, 40))
    part = BASE.view(np.int16)[start : start + draw(st.integers(0, 60)) : draw(st.integers(1, 5))]
    return part[::-1] if draw(st.booleans()) else part


@given(st.lists(views(), min_size=2, max_size=6))
def test_it_is_what_numpy_says(parts: list[np.ndarray]) -> None:
    expected = {
        str(number)
        for number, part in enumerate(parts)
        if any(np.shares_memory(part, other) for place, other in enumerate(parts) if place != number)
    }
    assert overlapping({str(number): extent_of(part) for number, part in enumerate(parts)}).keys() == expected


def test_ordinary_parameters_need_no_map_of_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlaps, "_mark", None)
    parts = {str(number): BASE[number * 4 : number * 4 + 4].reshape(2, 2).T for number in range(16)}
    assert overlapping({name: extent_of(part) for name, part in parts.items()}) == {}
