"""Loading into nets against MindSpore itself: random nets, names, prefixes, shapes and dtypes.

Where ckptload decides otherwise on purpose (docs/binding.md, "Where MindSpore does otherwise"), an example
is left out or the difference is taken out of the comparison; everything else must be equal, byte for byte.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ckptload
from ckptload.dtypes import BY_NAME
from ckptload.errors import BindingError
from ckptload.tensors import casting

if TYPE_CHECKING:
    from pathlib import Path

    from ckptload.binding.loading import BindingPlan

mindspore = pytest.importorskip("mindspore")

pytestmark = [pytest.mark.mindspore, pytest.mark.filterwarnings("ignore::UserWarning")]

FLOATS = ["Float32", "Float16", "BFloat16", "Float64"]
INTEGERS = ["Int32", "Int8", "Int64", "Int16", "Int4"]
OTHERS = ["Bool", "UInt8", "UInt32", "Complex64"]
SHAPES = [(), (1,), (3,), (2, 3), (2, 1), (6,), (3, 2)]


class Entry(NamedTuple):
    """A tensor on either side, given by what it is made of."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    data: bytes


class Case(NamedTuple):
    net: list[Entry]
    checkpoint: dict[str, Entry | str]
    strict: bool


# -- what is tried --------------------------------------------------------------------------------

words = st.lists(st.sampled_from(["fc", "conv", "w", "0", "b"]), min_size=1, max_size=3).map(".".join)
net_names = st.one_of(*[words] * 9, words.map("accu_grads.".__add__))
prefixes = st.sampled_from(["net.", "net.", "model.net.", "ema.", "moments.", "my", "net.fc."])


@st.composite
def entries(draw: st.DrawFn, name: str, shape: tuple[int, ...], dtype: str) -> Entry:
    size = math.prod(shape) * BY_NAME[dtype].itemsize
    data = draw(st.binary(min_size=size, max_size=size))
    return Entry(name, shape, dtype, bytes(byte & 1 for byte in data) if dtype == "Bool" else data)


@st.composite
def offers(draw: st.DrawFn, name: str, wanted: Entry) -> Entry:
    """Make an entry for a parameter, which mostly fits it, as it is or after a conversion."""
    group = next(group for group in (FLOATS, INTEGERS, OTHERS) if wanted.dtype in group)
    dtype = draw(st.sampled_from([*group, *group, wanted.dtype] if group is not OTHERS else [wanted.dtype]))
    shape = draw(st.one_of(*[st.just(wanted.shape)] * 7, st.just((*wanted.shape, 1)), st.just((*wanted.shape, 1, 1))))
    # Rarely one that need not fit; small numbers are drawn more often than others.
    if draw(st.integers(0, 19)) == 13:
        dtype, shape = draw(st.sampled_from([*FLOATS, *INTEGERS, *OTHERS])), draw(st.sampled_from(SHAPES))
    return draw(entries(name, shape, dtype))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    kinds = st.one_of(*[st.sampled_from(FLOATS)] * 3, st.sampled_from(INTEGERS), st.sampled_from(OTHERS))
    net = [
        draw(entries(name, draw(st.sampled_from(SHAPES)), draw(kinds)))
        for name in draw(st.lists(net_names, min_size=2, max_size=6, unique=True))
    ]
    usual = draw(prefixes)
    found: dict[str, Entry | str] = {}
    for wanted in net:
        way = draw(st.sampled_from(["own", "own", "usual", "usual", "usual", "other", "both", "none"]))
        if way in {"own", "both"}:
            found[wanted.name] = draw(offers(wanted.name, wanted))
        if way in {"usual", "other", "both"}:
            key = (usual if way != "other" else draw(prefixes)) + wanted.name
            found[key] = draw(offers(key, wanted))
    for key in draw(st.lists(words, max_size=2)):
        found.setdefault(key, draw(st.one_of(st.just("text"), entries(key, (1,), "Float32"))))
    order = draw(st.permutations(sorted(found)))
    return Case(net, {key: found[key] for key in order}, draw(st.sampled_from([False, False, False, True])))


# -- the same in both libraries -------------------------------------------------------------------


def parameter(library: Any, entry: Entry) -> Any:
    dtype = BY_NAME[entry.dtype]
    array = np.frombuffer(entry.data, dtype.numpy).reshape(entry.shape).copy()
    return library.Parameter(library.Tensor(array, getattr(library, dtype.attribute)), name=entry.name)


def network(library: Any, case: Case) -> Any:
    cell = library.nn.Cell()
    for number, entry in enumerate(case.net):
        cell.insert_param_to_cell(f"p{number}", parameter(library, entry))
    return cell


def dictionary(library: Any, case: Case) -> dict[str, Any]:
    return {
        key: entry if isinstance(entry, str) else parameter(library, entry) for key, entry in case.checkpoint.items()
    }


def content(cell: Any) -> list[tuple[str, str, bytes]]:
    """Return names, dtypes and bytes; shapes are compared by whoever knows whether they may differ."""
    return [(p.name, str(p.dtype), p.get_bytes()) for p in cell.get_parameters()]


# -- what is decided otherwise --------------------------------------------------------------------


def guesses_differ(case: Case, plan: BindingPlan) -> bool:
    """Tell whether MindSpore might find a parameter where ckptload does not, or another one.

    It does not ask for a dot before the end of a name, takes the first entry, whether it is a copy, optimizer state,
    or does not fit, and fails where what it found is a string.
    """
    keys = case.checkpoint
    missing = [one.name for one in case.net if one.name not in keys and not one.name.startswith("accu_grads")]
    if case.strict:
        return False
    ends = [(key, name) for key in keys for name in missing if key.endswith(name)]
    if any(not key.endswith("." + name) or isinstance(keys[key], str) for key, name in ends):
        return True
    taken: dict[str, str] = {}
    for name in missing:
        first = next((key for key in keys if key.endswith(name)), None)
        if first is not None and name not in taken:
            prefix = first.removesuffix(name)
            taken.update({each: prefix + each for each in missing if each not in taken and prefix + each in keys})
    pairs = [(load.name, load.key) for load in plan.loads] + [(misfit.name, misfit.key) for misfit in plan.misfits]
    return bool(plan.ties) or {name: key for name, key in pairs if name != key} != taken


def reshapes(plan: BindingPlan) -> bool:
    """Tell whether MindSpore would put values of another shape into a parameter, as (2, 3, 1) into (3, 2)."""
    return any(
        len(misfit.key_shape) > len(misfit.shape)
        and set(misfit.key_shape[len(misfit.shape) :]) == {1}
        and math.prod(misfit.key_shape) == math.prod(misfit.shape)
        and casting.can_cast(misfit.key_dtype, misfit.dtype)
        for misfit in plan.misfits
    )


def compare(case: Case, counts: Counter[str]) -> None:
    ours, theirs = network(ckptload, case), network(mindspore, case)
    before = content(ours)
    plan = ckptload.plan_binding(ours, dictionary(ckptload, case), case.strict)
    if guesses_differ(case, plan) or reshapes(plan):
        counts["left out, being decided otherwise"] += 1
        return
    counts["compared"] += 1
    if plan.misfits:
        counts["failed"] += 1
        with pytest.raises((RuntimeError, ValueError)):
            mindspore.load_param_into_net(theirs, dictionary(mindspore, case), case.strict)
        with pytest.raises(BindingError):
            ckptload.load_param_into_net(ours, dictionary(ckptload, case), case.strict)
        assert content(ours) == before
        compare_skipping(case, counts)
        return
    if plan.unmatched:
        counts["refused, because nothing matches"] += 1
        assert refused(ours, case) == mindspore.load_param_into_net(theirs, dictionary(mindspore, case), case.strict)
        assert content(ours) == content(theirs) == before
        return
    counts["bound through a prefix"] += bool(plan.prefixes)
    counts["converted a dtype"] += bool(plan.conversions)
    counts["left a parameter or an entry over"] += bool(plan.param_not_load or plan.ckpt_not_load)
    expected = mindspore.load_param_into_net(theirs, dictionary(mindspore, case), case.strict)
    lists = ckptload.load_param_into_net(ours, dictionary(ckptload, case), case.strict)
    assert content(ours) == content(theirs)
    assert [p.shape for p in ours.get_parameters()] == [entry.shape for entry in case.net]
    by_prefix = {load.key for load in plan.loads if load.prefix}
    no_tensor = {key for key, entry in case.checkpoint.items() if isinstance(entry, str)}
    assert [name for name in lists[0] if name not in no_tensor] == expected[0]
    assert lists[1] == [key for key in expected[1] if key not in by_prefix]


def refused(net: Any, case: Case) -> tuple[list[str], list[str]]:
    """Load where nothing matches, which ckptload's plan refuses, and return the lists."""
    with pytest.raises(BindingError, match="no entry of the checkpoint matches a parameter of the net"):
        ckptload.plan_binding(net, dictionary(ckptload, case), case.strict).apply()
    with pytest.warns(UserWarning, match="no entry of the checkpoint matches a parameter of the net"):
        missing, unused = ckptload.load_param_into_net(net, dictionary(ckptload, case), case.strict)
    return [name for name in missing if name not in case.checkpoint], unused


def compare_skipping(case: Case, counts: Counter[str]) -> None:
    """Skip misfits, and compare the rest with what MindSpore loads into a net of these parameters alone."""
    ours = network(ckptload, case)
    plan = ckptload.plan_binding(ours, dictionary(ckptload, case), case.strict, skip_misfits=True)
    if not plan.loads:
        with pytest.raises(BindingError):
            plan.apply()
        return
    counts["skipped misfits"] += 1
    loads = {load.name: load.key for load in plan.loads}
    theirs = network(mindspore, case._replace(net=[entry for entry in case.net if entry.name in loads]))
    values = dictionary(mindspore, case)
    mindspore.load_param_into_net(theirs, {name: values[key] for name, key in loads.items()}, case.strict)
    before = content(ours)
    lists = ckptload.load_param_into_net(ours, dictionary(ckptload, case), case.strict, skip_misfits=True)
    assert [one for one in content(ours) if one[0] in loads] == content(theirs)
    assert [one for one in content(ours) if one[0] not in loads] == [one for one in before if one[0] not in loads]
    assert lists[0] == [one.name for one in case.net if one.name not in {*loads, *plan.transient}]
    assert lists[1] == [key for key in case.checkpoint if key not in loads.values()]


def test_random_nets_hold_what_mindspore_loads_into_them(capfd: pytest.CaptureFixture[str]) -> None:
    counts: Counter[str] = Counter()

    @settings(max_examples=400)
    @given(cases())
    def check(case: Case) -> None:
        compare(case, counts)

    check()
    with capfd.disabled():
        sys.stdout.write("\n" + ", ".join(f"{number} {kind}" for kind, number in counts.most_common()) + "\n")
    for kind, least in {
        "compared": 200,
        "bound through a prefix": 40,
        "converted a dtype": 60,
        "failed": 5,
        "skipped misfits": 3,
    }.items():
        assert counts[kind] >= least, counts


@settings(max_examples=60)
@given(case=cases())
def test_random_nets_hold_what_mindspore_loads_from_its_own_files(case: Case, tmp_path: Path) -> None:
    """The same by load_checkpoint, and by an open reader that fills the net directly."""
    unreadable = any(isinstance(entry, Entry) and entry.dtype == "Complex64" for entry in case.checkpoint.values())
    planned = ckptload.plan_binding(network(ckptload, case), dictionary(ckptload, case), case.strict)
    if not case.checkpoint or guesses_differ(case, planned) or unreadable:
        return
    path = tmp_path / "case.ckpt"
    path.unlink(missing_ok=True)
    items = dictionary(mindspore, case)
    texts = {key: value for key, value in items.items() if isinstance(value, str)}
    tensors = [{"name": key, "data": value} for key, value in items.items() if key not in texts]
    mindspore.save_checkpoint(tensors, str(path), append_dict=texts or None)
    theirs, ours, direct = (network(library, case) for library in (mindspore, ckptload, ckptload))
    with ckptload.open_checkpoint(path) as reader:
        plan = ckptload.plan_binding(direct, reader, case.strict)
        if plan.unmatched:
            with pytest.raises(BindingError):
                plan.apply()
            return
        if plan.misfits:
            if not reshapes(plan):
                with pytest.raises((RuntimeError, ValueError)):
                    mindspore.load_checkpoint(str(path), theirs, case.strict)
            with pytest.raises(BindingError):
                ckptload.load_checkpoint(path, ours, case.strict)
            assert content(ours) == content(network(ckptload, case))
            return
        plan.apply()
    mindspore.load_checkpoint(str(path), theirs, case.strict)
    ckptload.load_checkpoint(path, ours, case.strict)
    assert content(ours) == content(direct) == content(theirs)
