"""Rules: what they may say, and how they are turned round."""

from __future__ import annotations

from typing import Any

import pytest

from ckptload.binding.maps.rules import Rule, check_rule, rule_of, rules_of
from ckptload.errors import ArgumentError, ArgumentTypeError

GOOD: list[dict[str, Any]] = [
    {"from": "a", "to": "b"},
    {"from": "a.{i}", "to": "b.{i+1}"},
    {"from": "a", "to": None},
    {"from": "a", "to": "b", "transpose": True},
    {"from": "a", "to": "b", "reshape": "... -> ... 1 1"},
    {"from": ["q", "k", "v"], "to": "qkv", "axis": 1, "groups": 4, "transpose": True},
    {"from": "qkv", "to": ["q", "k", "v"], "sizes": ["columns", "rest", "rest"]},
    {"from": "qkv.b", "to": ["q", "k", "v"], "sizes": ["columns", "rest", "rest"], "beside": "qkv.w"},
    {"from": "qkv", "to": ["q", "k", "v"], "sizes": [4, 1, 1]},
    {"to": "b.{i}", "zeros": [3], "beside": "w.{i}"},
]


@pytest.mark.parametrize("told", GOOD, ids=str)
def test_a_rule_is_told_as_it_was_given(told: dict[str, Any]) -> None:
    rule = rule_of(told)
    assert rule.data() == told
    assert rule_of(rule.data()) == rule


@pytest.mark.parametrize("told", [each for each in GOOD if each["to"] is not None and "zeros" not in each], ids=str)
def test_a_rule_turned_round_twice_is_the_same(told: dict[str, Any]) -> None:
    rule = rule_of(told)
    back = rule.inverse()
    assert back is not None
    assert check_rule(back).inverse() == rule


def test_zeros_go_back_as_nothing_and_what_is_left_out_does_not_come_back() -> None:
    assert rule_of({"to": "b", "zeros": [3]}).inverse() == Rule(("b",), ())
    assert rule_of({"from": "a", "to": None}).inverse() is None


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({"from": "a"}, "no key 'to'"),
        ({"to": "a"}, "'from' is missing"),
        ({"from": "a", "to": "b", "if": 1}, "no key 'if'"),
        ({"from": ["a", "b"], "to": ["c", "d"]}, "several names become several"),
        ({"from": ["a", "b"], "to": None}, "does not name"),
        ({"from": ["a", "a"], "to": "b"}, "same name twice"),
        ({"from": "a", "to": "b", "axis": 1}, "joined or cut"),
        ({"from": "a", "to": "b", "sizes": [1]}, "tensor that is cut"),
        ({"from": "a", "to": ["b", "c"], "sizes": [1]}, "one for each part"),
        ({"from": "a", "to": ["b", "c"], "sizes": [1, 0]}, "positive number"),
        ({"from": "a", "to": ["b", "c"], "sizes": [1, "rest"]}, "all numbers"),
        ({"from": "a", "to": "b", "reshape": "1 -> ..."}, "two shapes"),
        ({"from": "a", "to": "b", "reshape": "... ... -> ... ..."}, "two shapes"),
        ({"from": "a", "to": "b", "reshape": "a -> b"}, "two shapes"),
        ({"from": "a", "to": "b", "reshape": "1", "transpose": True}, "reshape"),
        ({"from": "a", "to": "b", "zeros": [3]}, "nothing else"),
        ({"to": "b", "zeros": [-3]}, "whole numbers"),
        ({"from": "a", "to": "b", "beside": "c"}, "beside"),
        ({"from": "a.{i}", "to": "b.{j}"}, "same places"),
        ({"from": ["a.{i}", "b"], "to": "c.{i}"}, "same places"),
        ({"from": "a", "to": ["b", "c"], "groups": 0}, "out of range"),
        ({"from": "a", "to": ["b", "c"], "axis": 64}, "out of range"),
    ],
    ids=str,
)
def test_a_rule_that_makes_no_sense_is_refused(told: dict[str, Any], reason: str) -> None:
    with pytest.raises(ArgumentError, match=reason):
        rule_of(told)


@pytest.mark.parametrize(
    "told",
    [
        {"from": 1, "to": "b"},
        {"from": "a", "to": "b", "transpose": 1},
        {"from": "a", "to": ["b", "c"], "axis": True},
        {"from": "a", "to": ["b", "c"], "sizes": "11"},
    ],
    ids=str,
)
def test_a_value_of_another_type_is_a_type_error(told: dict[str, Any]) -> None:
    with pytest.raises(ArgumentTypeError):
        rule_of(told)


@pytest.mark.parametrize("rules", [{"a": 1}, {1: "a"}, "a", 3, [3], [["a", "b"]]], ids=str)
def test_what_is_no_map_is_a_type_error(rules: object) -> None:
    with pytest.raises(ArgumentTypeError):
        rules_of(rules)
