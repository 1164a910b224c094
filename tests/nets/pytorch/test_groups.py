"""Names in torch without a module: a layer is told by all names and shapes beside a name, or it is left alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptload import guess_torch_names

if TYPE_CHECKING:
    from collections.abc import Mapping

Shapes = dict[str, tuple[int, ...]]

AFFINE: Shapes = {"gamma": (4,), "beta": (4,)}
STATISTICS: Shapes = {"moving_mean": (4,), "moving_variance": (4,)}
BATCH_NORM: Shapes = {**AFFINE, **STATISTICS}
TABLE: Shapes = {"embedding_table": (9, 4)}
NORM_NAMES = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}


def below(prefix: str, shapes: Mapping[str, tuple[int, ...]]) -> Shapes:
    return {f"{prefix}.{last}": shape for last, shape in shapes.items()}


def changed(shapes: Shapes) -> dict[str, str]:
    """Map names, and return those that change."""
    found, _ = guess_torch_names(shapes, shapes=shapes)
    assert list(found) == list(shapes)
    return {old: new for old, new in found.items() if old != new}


def kept(shapes: Shapes) -> list[str]:
    """Map names, none of which changes, and return those that are listed as ambiguous."""
    assert changed(shapes) == {}
    return guess_torch_names(shapes, shapes=shapes)[1]


@pytest.mark.parametrize(
    "shapes",
    [
        AFFINE,
        BATCH_NORM,
        STATISTICS,
        {**STATISTICS, "gamma": (4,)},
        dict.fromkeys(BATCH_NORM, (1,)),
        {**BATCH_NORM, "num_batches_tracked": ()},
        {**AFFINE, "mean": (4,), "variance": (4,)},
    ],
    ids=["layer", "batch", "statistics", "without beta", "one channel", "counted", "instance"],
)
@pytest.mark.parametrize("prefix", ["norm", "backbone.0.norm", "moment1.norm"])
def test_a_norm_has_torchs_names(prefix: str, shapes: Shapes) -> None:
    every = {**below(prefix, shapes), "fc.weight": (4, 4)}
    expected = {f"{prefix}.{last}": f"{prefix}.{NORM_NAMES[last]}" for last in shapes if last in NORM_NAMES}
    assert changed(every) == expected
    assert guess_torch_names(every, shapes=every)[1] == []


def test_an_embedding_has_torchs_name() -> None:
    assert changed(below("embed", TABLE)) == {"embed.embedding_table": "embed.weight"}


@pytest.mark.parametrize(
    "shapes",
    [
        {"gamma": (1, 1, 1, 4), "beta": (1, 1, 1, 4)},
        {"gamma": (), "beta": ()},
        {"gamma": (8, 4), "beta": (8, 4)},
        {"gamma": (4,), "beta": (1, 4)},
        {"gamma": (4,), "beta": (5,)},
        {**AFFINE, "moving_mean": (1, 4), "moving_variance": (1, 4)},
    ],
    ids=["GRN", "scalars", "two dimensions", "mixed", "unequal", "statistics"],
)
def test_a_norm_has_one_dimension(shapes: Shapes) -> None:
    """GRN and others have the names of a norm, and another shape."""
    every = below("block.grn", shapes)
    assert kept({**every, "block.fc.weight": (4, 4)}) == list(every)


@pytest.mark.parametrize("shape", [(4,), (1, 9, 4)])
def test_an_embedding_has_two_dimensions(shape: tuple[int, ...]) -> None:
    assert kept({"position.embedding_table": shape}) == ["position.embedding_table"]


@pytest.mark.parametrize("shapes", [AFFINE, BATCH_NORM, TABLE], ids=["layer", "batch", "embedding"])
@pytest.mark.parametrize("child", ["fc.weight", "conv.0.kernel.weight"])
def test_a_module_with_children_keeps_its_own_names(child: str, shapes: Shapes) -> None:
    for prefix in ("b", "a.b"):
        own = below(prefix, shapes)
        for every in ({**own, f"{prefix}.{child}": (4, 4)}, {f"{prefix}.{child}": (4, 4), **own}):
            assert kept(every) == list(own)
    assert kept({**shapes, child: (4, 4)}) == list(shapes)


def test_a_child_of_such_a_module_may_be_a_norm() -> None:
    assert changed({"b.gamma": (4,), "b.beta": (4,), **below("b.norm", AFFINE)}) == {
        "b.norm.gamma": "b.norm.weight",
        "b.norm.beta": "b.norm.bias",
    }


def test_names_that_begin_alike_are_no_children() -> None:
    every = {**below("b.norm", AFFINE), "b.norm1.weight": (4, 4), "b.norm_.fc.weight": (4, 4), "b.normal": (4,)}
    assert changed(every) == {"b.norm.gamma": "b.norm.weight", "b.norm.beta": "b.norm.bias"}


@pytest.mark.parametrize(
    "shapes",
    [
        {**AFFINE, "alpha": (4,)},
        {**AFFINE, "weight": (4,)},
        {**AFFINE, "moving_mean": (4,)},
        {**AFFINE, **TABLE},
        {**TABLE, "positional_embedding": (9, 4)},
    ],
    ids=["alpha", "weight", "half of the statistics", "embedding", "two tables"],
)
def test_a_module_with_further_tensors_is_no_layer_of_the_table(shapes: Shapes) -> None:
    every = below("b", shapes)
    assert kept(every) == [name for name in every if name.rpartition(".")[2] in {*NORM_NAMES, *TABLE}]


@pytest.mark.parametrize("last", ["gamma", "beta", "moving_mean", "moving_variance"])
def test_alone_a_name_may_be_anything(last: str) -> None:
    """A gamma alone is the weight of an RMSNorm, or the scale of a residual block, which torch calls gamma too."""
    assert kept({f"b.{last}": (4,)}) == [f"b.{last}"]


def test_names_that_only_look_like_these_are_kept_and_not_listed() -> None:
    assert kept({"b.gamma_1": (4,), "b.gamma_2": (4,), "b.ls.gamma1": (4,), "b.my_beta": (4,)}) == []


def test_without_shapes_a_layer_has_those_that_it_should_have() -> None:
    assert guess_torch_names(["b.gamma", "b.beta"]) == ({"b.gamma": "b.weight", "b.beta": "b.bias"}, [])
    assert guess_torch_names(["b.gamma", "b.beta"], shapes={"b.gamma": (1, 4)})[1] == ["b.gamma", "b.beta"]


def test_other_names_of_the_checkpoint_count_and_are_not_mapped() -> None:
    names = ["b.gamma", "b.beta"]
    assert guess_torch_names(names, beside=[*names, "b.fc.weight", "c.gamma"]) == (
        {name: name for name in names},
        names,
    )
    assert guess_torch_names(["b.gamma"], beside=["b.beta"]) == ({"b.gamma": "b.weight"}, [])


@given(
    st.dictionaries(
        st.lists(
            st.sampled_from(["a", "gamma", "beta", "moving_mean", "moving_variance", "weight", "bias", "bn2d", "w"]),
            min_size=1,
            max_size=3,
        ).map(".".join),
        st.sampled_from([(4,), (5,), (2, 2)]),
    )
)
def test_no_two_entries_get_the_same_name(shapes: Shapes) -> None:
    found, unclear = guess_torch_names(shapes, shapes=shapes)
    assert list(found) == list(shapes)
    assert len(set(found.values())) == len(found)
    assert set(unclear) <= set(found)
