"""Patterns: names with places for numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptload.binding.maps.patterns import Pattern, Patterns
from ckptload.errors import ArgumentError


@pytest.mark.parametrize(
    ("pattern", "name", "values"),
    [
        ("a.{i}.b", "a.7.b", {"i": 7}),
        ("a.{i}.b", "a.70.b", {"i": 70}),
        ("a.{i}.b", "a.07.b", None),
        ("a.{i}.b", "a.x.b", None),
        ("a.{i}.b", "a.7.c", None),
        ("a.{i+1}.b", "a.7.b", {"i": 6}),
        ("a.{i+1}.b", "a.0.b", None),
        ("layer{i}.{j}", "layer2.3", {"i": 2, "j": 3}),
        ("a{i}.{i}", "a2.2", {"i": 2}),
        ("a{i}.{i}", "a2.3", None),
        ("a.{i}", "a.1234567890", None),
        ("a(.)", "a(.)", {}),
        ("a(.)", "a(x)", None),
    ],
)
def test_a_name_fits_a_pattern_with_these_numbers(pattern: str, name: str, values: dict[str, int] | None) -> None:
    found = Pattern(pattern).read(name)
    assert (None if found is None else dict(found)) == values


@given(st.integers(0, 10**8), st.integers(0, 99))
def test_a_name_is_made_and_read_back(number: int, other: int) -> None:
    pattern = Pattern("a.{i+3}.x{j}_b.{i}")
    name = pattern.name({"i": number, "j": other})
    assert pattern.read(name) == (("i", number), ("j", other))


@pytest.mark.parametrize("text", ["a{i}{j}", "a1{i}", "{i}2", "{i}.{1}", "{i}.{}", "{i}.{i+}", "{i}.{j-1}"])
def test_a_pattern_that_leaves_a_number_open_is_refused(text: str) -> None:
    with pytest.raises(ArgumentError, match="place"):
        Pattern(text)


def test_of_several_patterns_the_longest_comes_first_and_then_the_most_exact() -> None:
    patterns = Patterns(map(Pattern, ["a", "a.{i}", "a.1", "a.{i}.b", "a.2.b", "b"]))
    assert [each.number for each in patterns.every("a.1.b")] == [3, 2, 1, 0]
    assert [each.number for each in patterns.every("a.2.b.c")] == [4, 3, 1, 0]
    assert not list(patterns.every("ab.1"))
    assert [each.number for each in patterns.every("a.x")] == [0]


@given(st.text("a#.1{}i", max_size=12))
def test_any_name_can_be_looked_for(name: str) -> None:
    patterns = Patterns(map(Pattern, ["a.{i}", "#.{i}", "a"]))
    assert all(name.startswith(("a", "#")) for _ in patterns.every(name))
