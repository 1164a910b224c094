"""Statistics, histograms and distances of tensors, held against numpy in float64."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

pytest.importorskip("click")

from ckptload import dtypes
from ckptload.cli import stats
from ckptload.cli.diff import Distance

NUMBERS = ["f2", "f4", "f8", "i1", "u1", "i4", "u8", "i8", "?", "c8", "c16", ml_dtypes.bfloat16]


def in_pieces(array: np.ndarray) -> list[np.ndarray]:
    return [array[start : start + 7] for start in range(0, array.size, 7)]


@settings(max_examples=100)
@given(st.data())
def test_statistics_are_those_of_numpy(data: st.DataObject) -> None:
    dtype = np.dtype(data.draw(st.sampled_from(NUMBERS)))
    if dtype == ml_dtypes.bfloat16:
        array = data.draw(hnp.arrays("f4", st.integers(0, 60))).astype(dtype)
    else:
        array = data.draw(hnp.arrays(dtype, st.integers(0, 60)))
    found = stats.Stats()
    for piece in in_pieces(array):
        found.add(piece)
    with np.errstate(all="ignore"):
        values = np.abs(array.astype("c16")) if dtype.kind == "c" else array.astype("f8")
        finite = values[np.isfinite(values)]
        assert found.count == array.size
        assert found.nan == np.isnan(values).sum()
        assert found.inf == np.isinf(values).sum()
        assert found.zeros == (values == 0).sum()
        if not finite.size:
            assert found.min is found.max is found.mean is found.std is None
            return
        exact = array if dtype.kind in "iub" else finite
        assert (found.min, found.max) == (exact.min(), exact.max())
        scale = float(np.abs(finite).max())
        if scale < 1e150:
            assert found.mean == pytest.approx(finite.mean(), rel=1e-9, abs=1e-12 * scale)
            assert found.std == pytest.approx(finite.std(), rel=1e-7, abs=1e-8 * scale)


def test_large_integers_are_not_rounded() -> None:
    found = stats.of(dtypes.uint64, [np.array([2**63 + 1, 2**64 - 1], "u8")])
    assert found is not None
    assert (found.min, found.max) == (2**63 + 1, 2**64 - 1)


def test_small_deviations_from_a_large_mean_are_seen() -> None:
    """The textbook formula, sum of squares minus square of the sum, gives nothing here."""
    array = 1e9 + np.random.default_rng(0).standard_normal(200_000)
    found = stats.Stats()
    found.add(array)
    assert found.std == pytest.approx(array.std(), rel=1e-6)


def test_bytes_without_a_meaning_as_numbers_have_no_statistics() -> None:
    assert stats.of(dtypes.hifloat8, [np.zeros(3, "u1")]) is None


@pytest.mark.parametrize(
    ("values", "dead", "constant"),
    [([0.0, 0.0], True, True), ([1.0, 1.0], False, True), ([0.0], False, False), ([0.0, math.nan], False, False)],
)
def test_dead_and_constant_tensors_are_told(values: list[float], dead: bool, constant: bool) -> None:
    found = stats.of(dtypes.float64, [np.array(values)])
    assert found is not None
    assert (found.dead, found.constant) == (dead, constant)


@settings(max_examples=60)
@example(np.array([0.0, -1 / 3, -0.25, -0.25, -0.25]))
@given(hnp.arrays("f8", st.integers(1, 200), elements=st.floats(-1e6, 1e6) | st.just(math.nan) | st.just(math.inf)))
def test_a_histogram_counts_every_finite_element_in_its_place(array: np.ndarray) -> None:
    finite = array[np.isfinite(array)]
    if not finite.size:
        return
    histogram = stats.Histogram(finite.min(), finite.max())
    for piece in in_pieces(array):
        histogram.add(piece)
    assert histogram.counts.sum() == finite.size
    if finite.max() - finite.min() > 1e-3:
        places = (finite - finite.min()) / (finite.max() - finite.min()) * stats.BINS
        # Rounding may put an element on a border into the neighbour.
        late, early = (
            np.cumsum(np.bincount(np.clip(places + off, 0, stats.BINS - 1).astype(int), minlength=stats.BINS))
            for off in (1e-6, -1e-6)
        )
        got = np.cumsum(histogram.counts)
        assert (late <= got).all()
        assert (got <= early).all()
        assert histogram.counts[0] > 0
        assert histogram.counts[-1] > 0


@pytest.mark.parametrize(("low", "high"), [(0.0, 5e-324), (-1.7e308, 1.7e308), (1.0, 1.0 + 2**-52)])
def test_a_histogram_can_be_as_narrow_or_wide_as_floats_allow(low: float, high: float) -> None:
    histogram = stats.Histogram(low, high)
    histogram.add(np.array([low, high, high]))
    assert (histogram.counts[0], histogram.counts[-1]) == (1, 2)


def test_a_histogram_of_a_constant_has_one_bar() -> None:
    histogram = stats.Histogram(2, 2)
    histogram.add(np.full(5, 2.0))
    assert histogram.counts[stats.BINS // 2] == 5


@settings(max_examples=100)
@given(
    hnp.arrays("f4", (2, 40), elements=st.floats(-1000, 1000, width=32) | st.just(math.nan)),
    st.sampled_from([0.0, 0.5]),
    st.sampled_from([0.0, 0.01]),
)
def test_distances_are_those_of_numpy(pair: np.ndarray, atol: float, rtol: float) -> None:
    a, b = pair
    distance = Distance(atol, rtol)
    for start in range(0, 40, 7):
        distance.add(a[start : start + 7], b[start : start + 7])
    wide_a, wide_b = a.astype("f8"), b.astype("f8")
    assert distance.changed == 40 - np.isclose(wide_a, wide_b, rtol, atol, equal_nan=True).sum()
    both = np.isfinite(wide_a) & np.isfinite(wide_b)
    if not both.any():
        assert (distance.largest, distance.mean, distance.cosine) == (0, 0, None)
        return
    differences = np.abs(wide_a - wide_b)[both]
    assert distance.largest == differences.max()
    assert distance.mean == pytest.approx(differences.mean())
    length = np.linalg.norm(wide_a[both]) * np.linalg.norm(wide_b[both])
    if length > 1e-300:
        assert distance.cosine == pytest.approx(wide_a[both] @ wide_b[both] / length, abs=1e-9)


@pytest.mark.parametrize("values", [[math.nan], [math.inf, -math.inf], [0.0, -0.0]])
def test_a_tensor_is_the_same_as_itself_whatever_is_in_it(values: list[float]) -> None:
    distance = Distance(0, 0)
    distance.add(np.array(values), np.array(values[::1]))
    assert distance.changed == 0


def test_infinities_of_other_signs_differ() -> None:
    distance = Distance(1e9, 1)
    distance.add(np.array([math.inf, math.nan]), np.array([-math.inf, 1.0]))
    assert distance.changed == 2
