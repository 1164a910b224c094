"""Which entry a parameter takes, by names and shapes."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptload.binding.copies import STATE_PREFIXES, Look
from ckptload.binding.matching import Matching, match

if TYPE_CHECKING:
    from collections.abc import Iterable


def parsed(texts: Iterable[str]) -> dict[str, str]:
    """Return names and shapes: ``w:2`` has the shape 2, and ``w`` the one that is empty."""
    return {name: shape for name, _, shape in (each.partition(":") for each in texts)}


def matched(
    net: str | dict[str, str], checkpoint: str | dict[str, str], *, exact: bool = False, no_tensors: str = ""
) -> Matching:
    """Match names with shapes, which may stand in a text with blanks between them."""
    wanted, keys = (parsed(each.split()) if isinstance(each, str) else each for each in (net, checkpoint))
    look = Look(
        lambda key: key not in no_tensors.split(),
        lambda key: tuple(map(int, keys[key])),
        lambda name, key: wanted[name] == keys[key],
    )
    return match(list(wanted), keys, look, exact=exact)


def taken(net: str, checkpoint: str, *, exact: bool = False, no_tensors: str = "") -> str:
    """Return who takes what, as ``name=key``; a parameter that several entries match has ``?`` and all of them."""
    found = matched(net, checkpoint, exact=exact, no_tensors=no_tensors)
    return " ".join(
        [f"{name}={key}" for name, key, *_ in found.matches] + [f"{name}?{','.join(keys)}" for name, keys in found.ties]
    )


def test_equal_names_match_first() -> None:
    assert taken("w b", "mom.w w net.b") == "w=w b=net.b"


def test_only_equal_names_match_where_that_is_asked() -> None:
    found = matched("a b", "net.a b", exact=True)
    assert [(one.name, one.key, one.prefix) for one in found.matches] == [("b", "b", "")]
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
    assert taken("b a", "x.a x.b y.a y.b") == "b=x.b a=x.a"
    assert taken("a b", "x.a y.b x.b") == "a=x.a b=x.b"


def test_prefixes_follow_each_other_until_none_is_left() -> None:
    assert taken("a q b c", "x.a y.b x.c") == "a=x.a b=y.b c=x.c"


def test_a_prefix_may_be_a_parameters_name() -> None:
    assert taken("net. a", "net.a") == "a=net.a"
    assert taken("n n.b", "n.n n.n.b") == "n=n.n n.b=n.n.b"


def test_an_entry_may_fill_two_parameters() -> None:
    found = matched("a x.a", "x.a")
    assert [one.key for one in found.matches] == ["x.a", "x.a"]
    assert found.unused == []


# -- what nothing tells apart -----------------------------------------------------------------------------------


def test_the_first_of_several_entries_is_taken_where_that_decides_for_all() -> None:
    assert taken("w", "teacher.w student.w") == "w=teacher.w"
    assert taken("a b", "y.a x.a x.b y.b") == "a=y.a b=y.b"
    assert taken("b a", "x.a y.b y.a") == "b=y.b a=y.a"


def test_a_mixture_of_two_prefixes_that_share_a_parameter_is_a_question() -> None:
    assert taken("a b", "x.a y.a y.b") == "b=y.b a?x.a,y.a"
    assert taken("a b c", "y.a x.a x.b y.b x.c") == "c=x.c a?y.a,x.a b?x.b,y.b"


def test_a_question_about_one_parameter_leaves_the_others_alone() -> None:
    assert taken("a b c d", "y.a x.a c z.b x.d") == "b=z.b c=c d=x.d a?y.a,x.a"


def test_entries_without_a_shape_that_fits_are_no_choice() -> None:
    assert taken("a:2 b:2", "x.a:2 y.a:3 y.b:2") == "a=x.a b=y.b"


def test_shapes_tell_entries_apart() -> None:
    assert taken("w:2", "teacher.w:3 student.w:2") == "w=student.w"
    assert taken("w:2", "student.w:2 big.w:3") == "w=student.w"
    assert taken("w:2", "z.w:3 y.w:2 x.w:2") == "w=y.w"


def test_a_prefix_with_an_entry_that_does_not_fit_is_not_mixed_with_another() -> None:
    """Half of one net and half of another is worse than an error about the shape."""
    assert taken("a:2 b:2", "x.a:3 x.b:2 y.a:2") == "a=x.a b=x.b"
    assert taken("a:2 b:2", "x.a:3 x.b:2 y.a:2 y.b:2") == "a=y.a b=y.b"


def test_entries_none_of_which_fits_are_no_question() -> None:
    """The first is reported as a misfit, and can be skipped."""
    assert taken("w:2", "y.w:3 x.w:3") == "w=y.w"


# -- copies and optimizer state ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "copy", ["ema.net.{}", "exp_avg.net.{}", "ema_net.{}", "a.b.net.{}", "optimizer.exp_avg.net.{}"]
)
def test_an_entry_with_something_before_the_name_of_another_is_a_copy_of_it(copy: str) -> None:
    copies = f"{copy.format('w')} {copy.format('b')}"
    for file in (
        f"{copies} net.w net.b",
        f"net.w net.b {copies}",
        f"{copy.format('w')} net.w net.b {copy.format('b')}",
    ):
        assert taken("w b", file) == "w=net.w b=net.b"


@pytest.mark.parametrize("first", ["ema", "EMA", "module_ema", "ema_weights", "_ema_weights", "pma_weight_sma"])
def test_averages_are_known_by_their_names(first: str) -> None:
    found = matched("w b", f"{first}.w net.w {first}.b")
    assert [(one.key, one.is_state) for one in found.matches] == [("net.w", False), (f"{first}.b", True)]


@pytest.mark.parametrize("first", ["schema", "emax", "ema_attention"])
def test_words_that_only_contain_those_of_averages_are_none(first: str) -> None:
    assert taken("w b", f"{first}.w {first}.b net.w net.b") == f"w={first}.w b={first}.b"


def test_copies_of_copies_come_after_the_weights_too() -> None:
    assert taken("w", "exp_avg.ema.net.w ema.net.w net.w") == "w=net.w"
    assert taken("w", "a.net.w b.net.w net.w") == "w=net.w"


def test_something_is_in_front_only_before_a_dot_or_an_underscore() -> None:
    assert taken("w", "emanet.w net.w") == "w=emanet.w"
    assert taken("w", "net.w subnet.w") == "w=net.w"


def test_a_prefix_of_copies_is_one_for_every_parameter() -> None:
    """Adafactor's statistics of rows have other shapes than the weights; a copy may also have more entries."""
    assert taken("w:4 b:2", "s.net.b:2 s.net.w:3 net.w:4 net.b:2") == "w=net.w b=net.b"
    found = matched("w b", "ema.net.w ema.net.b net.w")
    assert [(one.key, one.is_state) for one in found.matches] == [("net.w", False), ("ema.net.b", True)]


def test_statistics_of_another_shape_come_after_the_weights() -> None:
    assert taken("w:4", "rows.net.w:2 net.w:4") == "w=net.w"


def test_a_longer_name_whose_shape_alone_fits_is_no_copy() -> None:
    assert taken("w:4", "net.w:2 big.net.w:4") == "w=big.net.w"


def test_optimizer_state_inside_a_cell_that_holds_everything_comes_after_the_weights() -> None:
    assert taken("w", "train.moment1.net.w train.moment2.net.w train.net.w") == "w=train.net.w"
    assert taken("w", "train.other.net.w train.net.w") == "w=train.other.net.w"


def test_names_that_modules_have_too_are_state_beside_other_state() -> None:
    found = matched("w", "linear.w")
    assert [one.is_state for one in found.matches] == [False]
    assert taken("w", "linear.net.w moments.net.w net.w") == "w=net.w"
    assert taken("w", "linear.w moments.w net.w") == "w=net.w"
    assert taken("w", "linear.w net.w") == "w=linear.w"
    assert taken("a b", "prev.a prev.b step_size.a net.a net.b") == "a=net.a b=net.b"


def test_weights_and_copies_below_one_name_are_told_apart() -> None:
    assert taken("w", "ema.ema.model.w ema.model.w ema.swap.model.w") == "w=ema.model.w"
    assert taken("w", "ema.swap.model.w ema.ema.model.w ema.model.w") == "w=ema.model.w"


def test_what_shows_to_be_a_copy_comes_before_what_has_the_name_of_optimizer_state() -> None:
    assert taken("w b", "moments.w net.b ema.net.b ema.net.w") == "w=ema.net.w b=net.b"


def test_a_net_beside_which_a_parameter_has_an_entry_of_its_own_is_no_copy() -> None:
    assert taken("w b", "moments.w net.w net.b b") == "w=net.w b=b"


def test_weights_in_a_wrapper_of_the_net_are_no_copies() -> None:
    found = matched("w v", "net.w net.v moment1.net.w")
    assert [(one.key, one.is_state) for one in found.matches] == [("net.w", False), ("net.v", False)]


@pytest.mark.parametrize("prefix", [each for each in STATE_PREFIXES if each.endswith(".")])
def test_optimizer_state_comes_after_everything_else(prefix: str) -> None:
    assert taken("w b", f"{prefix}w {prefix}b net.b net.w") == "w=net.w b=net.b"
    assert taken("w b", f"{prefix}w {prefix}b net.b") == f"w={prefix}w b=net.b"


def test_using_optimizer_state_shows() -> None:
    found = matched("w v moments.x", "moments.w net.v moments.x")
    assert [(one.name, one.is_state) for one in found.matches] == [
        ("w", True), ("v", False), ("moments.x", False),
    ]  # fmt: skip


def test_only_whole_words_name_optimizer_state() -> None:
    assert taken("w", "momentsx.w net.w") == "w=momentsx.w"
    assert taken("w", "net.momentsx.w x.w") == "w=net.momentsx.w"
    assert taken("w", "net.moments.w x.w") == "w=x.w"
    assert taken("w", "adam.exp_avg.fc.w model.fc.w") == "w=model.fc.w"


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
    found = matched("a b c", "y.a x.a x.b y.b z.a z.d v.c")
    assert found.rivals == {"y.": ["x.", "z."], "v.": []}


def test_an_entry_is_asked_about_only_if_it_could_match() -> None:
    """A damaged entry that no parameter asks for stops nobody."""
    asked = []

    def is_tensor(key: str) -> bool:
        asked.append(key)
        return True

    look = Look(is_tensor, lambda _: (), lambda *_: True)
    match(["a", "b"], dict.fromkeys(["a", "x.b", "x.c", "bb"]), look, exact=False)
    assert sorted(asked) == ["a", "x.b"]


words = st.lists(st.sampled_from(["a", "b", "moments", "accu_grads", ""]), min_size=1, max_size=3)
names = st.lists(words.map(".".join), max_size=7, unique=True)
shapes = st.sampled_from(["", "", "", ":2"])


named = names.flatmap(lambda several: st.tuples(*(shapes.map(each.__add__) for each in several))).map(parsed)


def first_ones(wanted: dict[str, str], keys: dict[str, str], group: dict[str, list[str]]) -> dict[str, str]:
    """Return the entry of each parameter by the rule of the first entry, as it is written down, step by step."""
    taken: dict[str, str] = {}

    def ends(prefix: str) -> list[str]:
        return [name for name in wanted if name not in taken and prefix + name in group[name]]

    def fit(prefix: str) -> bool:
        return all(wanted[name] == keys[prefix + name] for name in ends(prefix))

    for name in wanted:
        prefixes = [key[: len(key) - len(name)] for key in group[name]]
        if name in taken or not prefixes:
            continue
        first = prefixes[0]
        if not fit(first):
            first = next((each for each in prefixes if fit(each) and len(ends(each)) >= len(ends(first))), first)
        taken.update({each: first + each for each in ends(first)})
    return taken


def rank(prefix: str, wanted: Iterable[str], shapes: dict[str, str], keys: dict[str, str]) -> tuple[bool, bool]:
    """Tell by the rule whether a prefix is one of state by its name, and whether it shows to be one of copies."""
    witnesses = [
        (name, key)
        for name in wanted
        for key in keys
        if key.endswith("." + name) and (prefix + name) in keys and (prefix + name).endswith((f".{key}", f"_{key}"))
    ]
    alike = any(keys[prefix + name] == keys[key] or keys[prefix + name] != shapes[name] for name, key in witnesses)
    parts = prefix.split(".")
    shorter = [".".join(parts[:at] + parts[at + 1 :]) for at, part in enumerate(parts) if f"{part}." in STATE_PREFIXES]
    inside = any(each + name in keys and prefix + name in keys and "." in each for each in shorter for name in wanted)
    return any(f"{part}." in STATE_PREFIXES for part in parts), alike or inside


def by_the_rules(wanted: dict[str, str], keys: dict[str, str]) -> tuple[dict[str, str], dict[str, set[str]]]:
    """Return the entry of each parameter, and the entries of those that several match."""
    taken = {name: name for name in wanted if name in keys}
    ties: dict[str, set[str]] = {}
    by_ends = [name for name in wanted if name not in keys and not name.startswith("accu_grads")]
    for wanted_rank in itertools.product((False, True), repeat=2):
        left = {name: wanted[name] for name in by_ends if name not in taken and name not in ties}
        group = {
            name: [
                key
                for key in keys
                if key.endswith("." + name) and rank(key[: len(key) - len(name)], by_ends, wanted, keys) == wanted_rank
            ]
            for name in left
        }
        chosen = first_ones(left, keys, group)
        used = {key.removesuffix(name) for name, key in chosen.items()}
        for name, key in chosen.items():
            several = group[name]
            fit = [each for each in several if keys[each] == wanted[name] and each.removesuffix(name) in used]
            if key in fit and len(fit) > 1:
                ties[name] = set(several)
            else:
                taken[name] = key
    return taken, ties


@given(named, named)
def test_matching_is_that_of_the_rules_step_by_step(net: dict[str, str], file: dict[str, str]) -> None:
    found = matched(net, file)
    taken, ties = {one.name: one.key for one in found.matches}, {name: set(keys) for name, keys in found.ties}
    assert (taken, ties) == by_the_rules(net, file)
    assert all(one.prefix + one.name == one.key for one in found.matches)
    left = {name for name in net if name in file or not name.startswith("accu_grads")} - taken.keys() - ties.keys()
    assert (set(found.missing), set(found.unused)) == (left, file.keys() - set(taken.values()))


def test_twenty_thousand_names_behind_as_many_prefixes() -> None:
    """What is left costs a look at each entry, not one at each pair."""
    net = [f"layer{number}.w" for number in range(20_000)]
    keys = {f"p{number}.{name}": None for number, name in enumerate(net)}
    found = match(net, keys, Look(lambda _: True, lambda _: (), lambda *_: True), exact=False)
    assert [one.key for one in found.matches] == list(keys)
