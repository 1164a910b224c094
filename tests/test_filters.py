"""Which names are wanted, and which come close to one that is not there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ckptload import filters, messages
from ckptload.errors import ArgumentError, ArgumentTypeError, CheckpointError

NAMES = ["conv1.weight", "conv1.bias", "conv2.weight", "fc.weight", "Conv1.weight", ""]


@pytest.mark.parametrize("argument", ["specify_prefix", "filter_prefix"])
@pytest.mark.parametrize(
    "value", [b"conv", {"conv"}, {"conv": 1}, range(1), np.array(["conv"]), True, 1, object()], ids=repr
)
def test_a_prefix_of_another_type_is_a_type_error(argument: str, value: Any) -> None:
    with pytest.raises(ArgumentTypeError, match=f"{argument} must be a str, a list or a tuple of str") as caught:
        filters.prefixes(value, argument)
    assert isinstance(caught.value, TypeError)
    assert caught.value.hint


@pytest.mark.parametrize("value", [[], ()])
def test_no_prefix_at_all_is_an_error(value: Any) -> None:
    with pytest.raises(ArgumentError, match="specify_prefix is empty"):
        filters.prefixes(value, "specify_prefix")


@pytest.mark.parametrize(("value", "index"), [([1], 0), (("a", None), 1), (["a", "b", b"c"], 2)])
def test_an_element_of_another_type_is_named(value: Any, index: int) -> None:
    with pytest.raises(ArgumentTypeError, match=rf"filter_prefix\[{index}\] must be a str"):
        filters.prefixes(value, "filter_prefix")


@pytest.mark.parametrize("value", ["", [""], ("a", "")])
def test_an_empty_prefix_is_an_error(value: Any) -> None:
    with pytest.raises(ArgumentError, match="has an empty prefix"):
        filters.prefixes(value, "specify_prefix")


@pytest.mark.parametrize(
    ("value", "expected"), [(None, None), ("a", ("a",)), (["a", "a"], ("a", "a")), (("a", "b"), ("a", "b"))]
)
def test_prefixes_are_a_str_a_list_or_a_tuple(value: Any, expected: Any) -> None:
    assert filters.prefixes(value, "specify_prefix") == expected


class Prefix(str):
    """A str of a class of its own."""

    __slots__ = ()


def test_a_subclass_of_str_is_a_prefix() -> None:
    assert filters.select(NAMES, specify_prefix=Prefix("fc")) == ["fc.weight"]


@pytest.mark.parametrize(
    ("specify", "leave_out", "expected"),
    [
        (None, None, NAMES),
        ("conv1", None, ["conv1.weight", "conv1.bias"]),
        (["fc", "conv2"], None, ["conv2.weight", "fc.weight"]),
        (("conv1.weight",), None, ["conv1.weight"]),
        (None, "conv", ["fc.weight", "Conv1.weight", ""]),
        (None, ["conv1", "conv2"], ["fc.weight", "Conv1.weight", ""]),
        ("conv", "conv1", ["conv2.weight"]),
        ("conv1", "conv1", []),
        ("onv", None, []),
    ],
)
def test_prefixes_choose_by_their_letters_alone(specify: Any, leave_out: Any, expected: list[str]) -> None:
    """No dot is needed, case counts, the filter wins, and the order stays."""
    assert filters.select(NAMES, specify_prefix=specify, filter_prefix=leave_out) == expected


def test_choice_func_is_asked_once_for_each_name_in_order_and_its_truth_counts() -> None:
    asked = []

    def choose(name: str) -> Any:
        asked.append(name)
        return {"conv1.bias": [0], "fc.weight": "yes", "": 0.5}.get(name, [])

    assert filters.select(NAMES, choice_func=choose) == ["conv1.bias", "fc.weight", ""]
    assert asked == NAMES


@pytest.mark.parametrize("prefix", [{"specify_prefix": "fc"}, {"filter_prefix": "conv"}])
def test_choice_func_is_not_asked_where_there_is_a_prefix(prefix: dict[str, Any]) -> None:
    def never(name: str) -> bool:
        raise AssertionError(name)

    assert "fc.weight" in filters.select(NAMES, choice_func=never, **prefix)


class Doubtful:
    """An object that has no truth, as an array of two."""

    def __bool__(self) -> bool:
        raise ValueError("which one?")


@pytest.mark.parametrize(
    ("choose", "cause"),
    [
        (lambda name: 1 // 0 if name == "fc.weight" else True, ZeroDivisionError),
        (lambda name: Doubtful() if name == "fc.weight" else True, ValueError),
        (lambda name: {}[name] if name == "fc.weight" else True, KeyError),
    ],
)
def test_what_choice_func_raises_is_the_cause_of_an_error(choose: Any, cause: type[Exception]) -> None:
    with pytest.raises(CheckpointError, match=f"the filter raised {cause.__name__}") as caught:
        filters.select(NAMES, choice_func=choose)
    assert caught.value.name == "fc.weight"
    assert isinstance(caught.value.__cause__, cause)


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_interrupt_in_choice_func_passes_through(interrupt: type[BaseException]) -> None:
    def choose(name: str) -> bool:
        raise interrupt(name)

    with pytest.raises(interrupt):
        filters.select(NAMES, choice_func=choose)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("conv1.weigth", "conv1.weight"),
        ("weight", "conv1.weight"),
        ("net.fc.weight", "fc.weight"),
        ("conv1.biass", "conv1.bias"),
    ],
)
def test_the_closest_names_come_first(name: str, expected: str) -> None:
    assert expected in messages.closest(name, NAMES[:-1])
    assert len(messages.closest(name, NAMES, limit=2)) <= 2


def test_nothing_is_close_to_what_is_far() -> None:
    assert messages.closest("zzzzzzzzzz", ["a.b", "c.d"]) == []
    assert messages.closest("a", []) == []


def test_the_closest_of_very_many_names_is_found_by_looking_at_the_likeliest() -> None:
    many = [f"layer{i}.attention.key" for i in range(5000)] + ["layer7.mlp.gate"]
    assert messages.closest("layer7.mlp.gates", many)[0] == "layer7.mlp.gate"


def test_names_are_listed_without_those_parts_that_only_damage_makes() -> None:
    assert messages.quoted(["a", "b c"]) == "'a', 'b c'"
    assert len(messages.quoted(["n" * 60_000] * 3)) < 350
