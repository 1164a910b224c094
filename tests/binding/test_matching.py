"""Which entry a parameter takes, by names alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptload.binding.matching import OPTIMIZER_PREFIXES, Matching, match


def matched(net: str, checkpoint: str, *, exact: bool = False, no_tensors: str = "") -> Matching:
    """Match names that stand in a text with blanks between them."""
    keys = dict.fromkeys(checkpoint.split())
    return match(net.split(), keys, lambda key: key not in no_tensors.split(), exact=exact)


def taken(net: str, checkpoint: str, *, exact: bool = False, no_tensors: str = "") -> str:
    """Return who takes what, as ``name=key``."""
    found = matched(net, checkpoint, exact=exact, no_tensors=no_tensors)
    return " ".join(f"{name}={key}" for name, key, _ in found.matches)


def test_equal_names_match_first() -> None:
    assert taken("w b", "mom.w w net.b") == "w=w b=net.b"


def test_only_equal_names_match_where_that_is_asked() -> None:
    found = matched("a b", "net.a b", exact=True)
    assert [tuple(one) for one in found.matches] == [("b", "b", "")]
    assert (found.missing, found.unused) == (["a"], ["net.a"])


def test_the_end_of_a_name_begins_behind_a_dot() -> None:
    assert taken("w", "bw x.w") == "w=x.w"
    assert taken("fc.w", "myfc.w m.fc.w") == "fc.w=m.fc.w"
    assert taken("w", "bw") == ""
    assert taken("a", ".a") == "a=.a"


def test_a_prefix_is_what_stands_before_the_name() -> None:
    assert [one.prefix for one in matched("a b.c d", "a x.y.b.c .d").matches] == ["", "x.y.", "."]


def test_a_net_prefix_is_never_removed() -> None:
    assert taken("net.a", "a") == ""


def test_the_first_entry_in_the_checkpoints_order_gives_the_prefix_for_all_that_it_covers() -> None:
    assert taken("a b", "y.a x.a x.b y.b") == "a=y.a b=y.b"
    assert taken("b a", "x.a y.b y.a") == "b=y.b a=y.a"


def test_prefixes_follow_each_other_until_none_is_left() -> None:
    assert taken("a q b c", "x.a y.b x.c") == "a=x.a b=y.b c=x.c"


def test_a_prefix_may_be_a_parameters_name() -> None:
    assert taken("net. a", "net.a") == "a=net.a"
    assert taken("n n.b", "n.n n.n.b") == "n=n.n n.b=n.n.b"


def test_an_entry_may_fill_two_parameters() -> None:
    found = matched("a x.a", "x.a")
    assert [one.key for one in found.matches] == ["x.a", "x.a"]
    assert found.unused == []


@pytest.mark.parametrize("prefix", OPTIMIZER_PREFIXES)
def test_optimizer_state_comes_after_everything_else(prefix: str) -> None:
    assert taken("w b", f"{prefix}w {prefix}b net.b net.w") == "w=net.w b=net.b"
    assert taken("w b", f"{prefix}w {prefix}b net.b") == f"w={prefix}w b=net.b"


def test_using_optimizer_state_shows() -> None:
    found = matched("w v moments.x", "moments.w net.v moments.x")
    assert [(one.name, one.from_optimizer) for one in found.matches] == [
        ("w", True), ("v", False), ("moments.x", False),
    ]  # fmt: skip


def test_only_whole_words_name_optimizer_state() -> None:
    assert taken("w", "momentsx.w net.w") == "w=momentsx.w"
    assert taken("w", "net.moments.w x.w") == "w=net.moments.w"


def test_what_is_no_tensor_fills_nothing() -> None:
    found = matched("a b", "a b", no_tensors="a")
    assert [one.key for one in found.matches] == ["b"]
    assert (found.missing, found.unused) == (["a"], ["a"])


def test_what_is_no_tensor_gives_no_prefix() -> None:
    found = matched("a b", "x.a y.a x.b", no_tensors="x.a")
    assert [one.key for one in found.matches] == ["y.a", "x.b"]
    assert found.unused == ["x.a"]


def test_another_name_is_not_guessed_where_the_own_one_is_no_tensor() -> None:
    found = matched("a b", "a x.a x.b", no_tensors="a")
    assert [one.key for one in found.matches] == ["x.b"]
    assert (found.missing, found.unused) == (["a"], ["a", "x.a"])


def test_gradient_sums_are_neither_looked_for_nor_missed() -> None:
    found = matched("accu_grads.a b accu_grads.c", "x.accu_grads.a x.b accu_grads.c")
    assert [one.key for one in found.matches] == ["x.b", "accu_grads.c"]
    assert (found.missing, found.transient, found.unused) == ([], ["accu_grads.a"], ["x.accu_grads.a"])


def test_what_is_left_stands_in_the_order_of_its_own_side() -> None:
    found = matched("d c b a", "z y b x")
    assert (found.missing, found.unused) == (["d", "c", "a"], ["z", "y", "x"])


def test_prefixes_that_lost_are_told() -> None:
    found = matched("a b c", "y.a x.a x.b y.b z.a x.c")
    assert found.rivals == {"y.": ["x.", "z."], "x.": []}


def test_an_entry_is_asked_about_only_if_it_could_match() -> None:
    """A damaged entry that no parameter asks for stops nobody."""
    asked = []

    def is_tensor(key: str) -> bool:
        asked.append(key)
        return True

    match(["a", "b"], dict.fromkeys(["a", "x.b", "x.c", "bb"]), is_tensor, exact=False)
    assert sorted(asked) == ["a", "x.b"]


words = st.lists(st.sampled_from(["a", "b", "moments", "accu_grads", ""]), min_size=1, max_size=3)
names = st.lists(words.map(".".join), max_size=7, unique=True)


def slow(net: list[str], keys: list[str], tensors: set[str]) -> tuple[dict[str, str], list[str], list[str]]:
    """Match as the rules are written down, step by step."""
    taken = {name: name for name in net if name in tensors}
    open_names = [name for name in net if name not in keys and not name.startswith("accu_grads")]
    for state in (False, True):
        group = [key for key in keys if key in tensors and key.startswith(OPTIMIZER_PREFIXES) is state]
        while True:
            left = [name for name in open_names if name not in taken]
            first = next(((name, key) for name in left for key in group if key.endswith("." + name)), None)
            if first is None:
                break
            prefix = first[1][: len(first[1]) - len(first[0])]
            taken.update({name: prefix + name for name in left if prefix + name in group})
    missing = [name for name in net if name not in taken and (name in keys or not name.startswith("accu_grads"))]
    return taken, missing, [key for key in keys if key not in taken.values()]


@given(names, names, st.data())
def test_matching_is_that_of_the_rules_step_by_step(net: list[str], keys: list[str], data: st.DataObject) -> None:
    tensors = set(keys) - data.draw(st.sets(st.sampled_from(keys), max_size=2) if keys else st.just(set()))
    found = match(net, dict.fromkeys(keys), tensors.__contains__, exact=False)
    result = {one.name: one.key for one in found.matches}, found.missing, found.unused
    assert result == slow(net, keys, tensors)
    assert all(one.prefix + one.name == one.key for one in found.matches)


def test_twenty_thousand_names_behind_as_many_prefixes() -> None:
    """What is left costs a look at each entry, not one at each pair."""
    net = [f"layer{number}.w" for number in range(20_000)]
    keys = {f"p{number}.{name}": None for number, name in enumerate(net)}
    found = match(net, keys, lambda _: True, exact=False)
    assert [one.key for one in found.matches] == list(keys)
