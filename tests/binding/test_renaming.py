"""name_map: what a dictionary or a function makes of the names of a checkpoint."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ckptload
from ckptload.binding.maps.applying import mapped
from ckptload.binding.renaming import renamed
from ckptload.binding.supplies import supply_of
from ckptload.errors import ArgumentError, ArgumentTypeError, BindingError
from ckptload.tensors.parameter import Parameter
from strategies import record, text


def param(*values: float) -> Parameter:
    return Parameter(np.array(values, np.float32))


def cell(*names: str) -> ckptload.Cell:
    """Make a cell whose parameters are all zero."""
    found = ckptload.Cell()
    for number, name in enumerate(names):
        found.insert_param_to_cell(f"p{number}", Parameter(np.zeros(1, np.float32), name=name))
    return found


def values(net: ckptload.Cell) -> dict[str, float]:
    return {parameter.name: float(parameter.asnumpy()[0]) for parameter in net.get_parameters()}


# -- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name_map", "name", "new"),
    [
        (None, "a.b", "a.b"),
        ({}, "a.b", "a.b"),
        ({"a.b": "x"}, "a.b", "x"),
        ({"a": "x"}, "a.b", "x.b"),
        ({"a": "x.y"}, "a.b.c", "x.y.b.c"),
        ({"a.b": "x"}, "a.b.c", "x.c"),
        ({"a": "x", "a.b": "y"}, "a.b.c", "y.c"),
        ({"a": "x", "a.b.c": "y"}, "a.b.c", "y"),
        ({"a": ""}, "a.b", "b"),
        ({"a.b": ""}, "a.b.c.d", "c.d"),
        ({"a": "x"}, "ab.c", "ab.c"),
        ({"b": "x"}, "a.b", "a.b"),
        ({"a": "x"}, "b.a.c", "b.a.c"),
        ({"": "x"}, "a.b", "a.b"),
        ({"": "x"}, ".a", ".a"),
        (MappingProxyType({"a": "x"}), "a.b", "x.b"),
        (str.upper, "a.b", "A.B"),
        (lambda name: name, "a.b", "a.b"),
    ],
)
def test_the_longest_beginning_that_ends_at_a_dot_is_renamed(name_map: Any, name: str, new: str) -> None:
    """A dictionary has whole names or beginnings; a function does as it likes."""
    assert renamed([name], name_map) == {new: name}


def test_the_order_of_the_checkpoint_stays() -> None:
    assert list(renamed(["c", "a", "b"], {"c": "z", "b": "y"}).items()) == [("z", "c"), ("a", "a"), ("y", "b")]


def test_none_in_place_of_a_name_leaves_entries_out() -> None:
    assert renamed(["a", "b"], lambda name: None if name == "a" else name) == {"b": "b"}
    assert renamed(["a.x", "a.y", "b"], {"a": None, "a.y": "y"}) == {"y": "a.y", "b": "b"}


def test_names_may_be_exchanged() -> None:
    assert renamed(["a", "b"], {"a": "b", "b": "a"}) == {"b": "a", "a": "b"}


@pytest.mark.parametrize("name_map", [{"a": "b"}, {"b": "a"}, {"a": "x", "b": "x"}, lambda _: "x"])
def test_two_entries_of_one_name_are_refused(name_map: Any) -> None:
    with pytest.raises(ArgumentError, match="'a' and 'b' would both have this name"):
        renamed(["a", "b"], name_map)


@pytest.mark.parametrize("name_map", [["a"], "a", 1, {"a"}])
def test_a_map_is_a_dictionary_or_a_function(name_map: Any) -> None:
    with pytest.raises(ArgumentTypeError, match=r"name_map must be a dict or a function, not \w+\n  hint: for example"):
        renamed(["a"], name_map)


@pytest.mark.parametrize("name_map", [{"a.b": 1}, {"a": 1}, lambda _: 1, lambda _: b"a"])
def test_a_map_gives_names(name_map: Any) -> None:
    with pytest.raises(ArgumentTypeError, match=r"parameter 'a.b': name_map gave (int|bytes), not a str"):
        renamed(["a.b"], name_map)


def test_what_a_function_raises_is_the_callers_own() -> None:
    with pytest.raises(ZeroDivisionError):
        renamed(["a"], lambda _: str(1 // 0))


parts = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=4).map(".".join)


@given(st.lists(parts, unique=True), st.dictionaries(parts, parts | st.none() | st.just(""), max_size=4))
def test_a_dictionary_is_the_function_that_tries_every_beginning(
    names: list[str], name_map: dict[str, str | None]
) -> None:
    """The rule, written down the long way."""

    def rule(name: str) -> str | None:
        pieces = name.split(".")
        for length in range(len(pieces), 0, -1):
            beginning, rest = ".".join(pieces[:length]), pieces[length:]
            if beginning in name_map:
                new = name_map[beginning]
                return None if new is None else ".".join([new, *rest] if new else rest)
        return name

    new = {name: rule(name) for name in names if rule(name) is not None}
    if len(set(new.values())) == len(new):
        assert renamed(names, name_map) == {renamed_to: name for name, renamed_to in new.items()}
    else:
        with pytest.raises(ArgumentError):
            renamed(names, name_map)


# -- loading --------------------------------------------------------------------------------------


@pytest.mark.parametrize("from_file", [False, True])
def test_entries_are_loaded_by_their_new_names_and_reported_by_their_old(from_file: bool) -> None:
    checkpoint: dict[str, Any] = {"old.a": param(1), "old.b": param(2), "c": param(3), "note": "text"}
    data = b"".join(
        text(name, value) if isinstance(value, str) else record(name, value.shape, "Float32", value.get_bytes())
        for name, value in checkpoint.items()
    )
    net = cell("new.a", "b")
    given_ = ckptload.open_checkpoint(data) if from_file else checkpoint
    result = ckptload.load_param_into_net(net, given_, name_map={"old": "new", "old.b": "b", "note": "c2"})
    assert result == ([], ["c", "note"])
    assert values(net) == {"new.a": 1, "b": 2}


def test_new_names_may_stand_behind_a_prefix() -> None:
    net = cell("a", "b")
    with pytest.warns(UserWarning, match=r"the prefix 'net\.' \(2 parameters\)"):
        result = ckptload.load_param_into_net(net, {"x.a": param(1), "x.b": param(2)}, name_map={"x": "net"})
    assert result == ([], [])
    assert values(net) == {"a": 1, "b": 2}


def test_a_plan_shows_the_new_names() -> None:
    plan = ckptload.plan_binding(cell("a"), {"x": param(1), "y": param(2)}, name_map={"x": "a"})
    assert [(load.name, load.key) for load in plan.loads] == [("a", "a")]
    assert plan.ckpt_not_load == ["y"]


def test_a_misfit_under_a_new_name_leaves_the_net_as_it_was() -> None:
    net = cell("a", "b")
    with pytest.raises(BindingError, match="'b': the net has"):
        ckptload.load_param_into_net(net, {"x": param(1), "y": param(2, 3)}, name_map={"x": "a", "y": "b"})
    assert values(net) == {"a": 0, "b": 0}


def test_a_renamed_supply_says_of_an_entry_what_the_other_says() -> None:
    checkpoint: dict[str, Any] = {"x": param(1, 2), "y": "text"}
    supply = mapped(supply_of(checkpoint, "parameters"), {"x": "a", "y": "b"})
    assert list(supply.keys) == ["a", "b"]
    assert (supply.originals("a"), supply.is_tensor("a"), supply.is_tensor("b")) == (("x",), True, False)
    assert supply.spec("a").shape == (2,)
    assert supply.array("a") is checkpoint["x"].asnumpy()
