"""Nets in which all shapes fit and names mislead: a proposal must ask, or be right."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ckptload import propose_name_map

if TYPE_CHECKING:
    from collections.abc import Iterable

Shape = tuple[int, ...]
#: Names on both sides, and a shape.
Row = tuple[str, str, Shape]
BLOCKS = 4
WIDTH = 16


def sides(rows: Iterable[Row], order: Iterable[str] = ()) -> tuple[dict[str, Shape], dict[str, Shape], dict[str, str]]:
    """Return the checkpoint, the net in another order if there is one, and the true map."""
    every = list(rows)
    net = {new: shape for _, new, shape in every}
    return (
        {old: shape for old, _, shape in every},
        {new: net[new] for new in order} or net,
        {old: new for old, new, _ in every},
    )


def in_blocks(parts: Iterable[Row], ours: str = "blocks", theirs: str = "layers") -> list[Row]:
    """Return the same parts in each of some blocks."""
    every = list(parts)
    return [
        (f"{ours}.{block}.{old}", f"{theirs}.{block}.{new}", shape)
        for block in range(BLOCKS)
        for old, new, shape in every
    ]


def in_order(parts: Iterable[str], theirs: str = "layers") -> list[str]:
    every = list(parts)
    return [f"{theirs}.{block}.{new}" for block in range(BLOCKS) for new in every]


def check(rows: Iterable[Row], order: Iterable[str] = (), *, may_be_right: bool = False) -> None:
    checkpoint, net, truth = sides(rows, order)
    proposal = propose_name_map(net, checkpoint)
    if may_be_right and proposal.certain:
        assert proposal.name_map == truth
        return
    assert not proposal.certain
    assert proposal.questions


ATTENTION = ("attention.dense.weight", "attn.qkv.weight", (3 * WIDTH, WIDTH))
MLP = ("output.dense.weight", "mlp.fc.weight", (4 * WIDTH, WIDTH))


@pytest.mark.parametrize(
    "new", [("norm1", "norm2"), ("ln_1", "ln_2"), ("norm_before", "norm_after"), ("norm_x", "norm_y")]
)
@pytest.mark.parametrize("old", [("layernorm1", "layernorm2"), ("attention_norm", "ffn_norm")])
@pytest.mark.parametrize("is_turned", [False, True])
@pytest.mark.parametrize("between", [False, True])
def test_norms_that_stand_together_are_asked_for(
    old: tuple[str, str], new: tuple[str, str], *, is_turned: bool, between: bool
) -> None:
    """The blocks of mindformers store both norms together; in its BERT, layernorm2 is that of the attention."""
    first, second = new[::-1] if is_turned else new
    norms: list[Row] = [
        (f"{old[0]}.weight", f"{first}.weight", (WIDTH,)),
        (f"{old[1]}.weight", f"{second}.weight", (WIDTH,)),
    ]
    names = [ATTENTION[1], f"{new[0]}.weight", MLP[1], f"{new[1]}.weight"]
    order = names if between else [names[1], names[3], names[0], names[2]]
    check(in_blocks([*norms, ATTENTION, MLP]), in_order(order))


@pytest.mark.parametrize(
    "new", [("gate_proj", "up_proj"), ("up_proj", "gate_proj"), ("fc1_g", "fc1_x"), ("lin1", "lin3")]
)
def test_two_halves_of_a_gated_layer_are_asked_for_once(new: tuple[str, str]) -> None:
    rows = in_blocks([
        ("w1.weight", f"{new[0]}.weight", (3 * WIDTH, WIDTH)),
        ("w2.weight", "down_proj.weight", (WIDTH, 3 * WIDTH)),
        ("w3.weight", f"{new[1]}.weight", (3 * WIDTH, WIDTH)),
    ])  # fmt: skip
    checkpoint, net, _ = sides(rows)
    (question,) = propose_name_map(net, checkpoint).questions
    assert "the other way round" in str(question)
    assert f"({BLOCKS} times)" in str(question)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (("b0", "b1"), ("branch0", "branch1")),
        (("paths.0", "paths.1"), ("branches.0", "branches.1")),
        (("left", "right"), ("main", "side")),
        (("m0", "m1"), ("conv1", "conv2")),
        (("horizontal", "vertical"), ("h", "w")),
    ],
)
@pytest.mark.parametrize("is_turned", [False, True])
def test_branches_of_equal_shapes_are_asked_for(old: tuple[str, str], new: tuple[str, str], *, is_turned: bool) -> None:
    """Two nets may count their branches in any way."""
    first, second = new[::-1] if is_turned else new
    shape = (WIDTH, WIDTH, 3, 3)
    rows = in_blocks(
        [
            (f"{old[0]}.conv.weight", f"{first}.conv.weight", shape),
            (f"{old[1]}.conv.weight", f"{second}.conv.weight", shape),
        ]
    )
    check(rows, in_order([f"{new[0]}.conv.weight", f"{new[1]}.conv.weight"]))


@pytest.mark.parametrize(("outer", "inner"), [(3, 3), (4, 3), (2, 2), (3, 4)])
@pytest.mark.parametrize("names", [("experts", "layers", "blocks", "ffn"), ("a", "b", "x", "y")])
def test_numbers_whose_places_are_exchanged_are_asked_for(outer: int, inner: int, names: tuple[str, ...]) -> None:
    a, b, x, y = names
    rows: list[Row] = [
        (f"{a}.{i}.{b}.{j}.weight", f"{x}.{j}.{y}.{i}.weight", (WIDTH, WIDTH))
        for i in range(outer)
        for j in range(inner)
    ]
    order = [f"{x}.{j}.{y}.{i}.weight" for j in range(inner) for i in range(outer)]
    check(rows, order)


@pytest.mark.parametrize("pair", [("student", "teacher"), ("online", "target"), ("enc", "dec")])
@pytest.mark.parametrize("is_turned", [False, True])
def test_twins_with_other_names_are_asked_for(pair: tuple[str, str], *, is_turned: bool) -> None:
    new = ("model_b", "model_a") if is_turned else ("model_a", "model_b")
    rows: list[Row] = [
        (f"{pair[twin]}.blocks.{block}.weight", f"{new[twin]}.blocks.{block}.weight", (WIDTH, WIDTH))
        for twin in (0, 1)
        for block in range(BLOCKS)
    ]
    check(rows, sorted(row[1] for row in rows))


@pytest.mark.parametrize("up", ["ups", "up_blocks", "stack"])
def test_what_may_be_numbered_from_the_end_is_asked_for(up: str) -> None:
    rows: list[Row] = [
        (f"up.{block}.weight", f"{up}.{BLOCKS - 1 - block}.weight", (WIDTH, WIDTH)) for block in range(BLOCKS)
    ]
    check(rows, sorted(row[1] for row in rows))


def test_a_first_layer_that_is_the_last_of_the_other_net_is_asked_for() -> None:
    rows: list[Row] = [("convs.0.weight", "head.weight", (WIDTH, WIDTH))]
    rows += [(f"convs.{block + 1}.weight", f"blocks.{block}.weight", (WIDTH, WIDTH)) for block in range(BLOCKS)]
    check(rows, [*(row[1] for row in rows[1:]), rows[0][1]])


def test_names_that_overlap_because_numbers_are_shifted_are_not_trusted() -> None:
    rows: list[Row] = [
        (f"layers.{block + 1}.weight", f"layers.{block}.weight", (WIDTH, WIDTH)) for block in range(BLOCKS)
    ]
    check(rows, may_be_right=True)


@pytest.mark.parametrize("old", [("fc1", "fc2"), ("mapping", "projection"), ("wi_0", "wi_1"), ("in", "out")])
@pytest.mark.parametrize("new", [("lin1", "lin2"), ("gate", "up"), ("x", "y")])
@pytest.mark.parametrize("is_turned", [False, True])
def test_square_layers_beside_each_other_are_asked_for(
    old: tuple[str, str], new: tuple[str, str], *, is_turned: bool
) -> None:
    first, second = new[::-1] if is_turned else new
    rows = in_blocks(
        [
            (f"{old[0]}.weight", f"{first}.weight", (WIDTH, WIDTH)),
            (f"{old[1]}.weight", f"{second}.weight", (WIDTH, WIDTH)),
        ]
    )
    check(rows, in_order([f"{new[0]}.weight", f"{new[1]}.weight"]))


def test_blocks_of_a_decoder_that_counts_from_the_end_are_asked_for() -> None:
    """In a decoder as its authors store it, ``up.3`` may be what ``up_blocks.0`` is elsewhere."""
    rows: list[Row] = [
        (
            f"decoder.up.{3 - level}.block.{block}.conv.weight",
            f"decoder.up_blocks.{level}.resnets.{block}.conv.weight",
            shape,
        )
        for level, shape in enumerate([(WIDTH, WIDTH, 3, 3)] * 2 + [(8, 8, 3, 3), (4, 4, 3, 3)])
        for block in range(3)
    ]
    check(sorted(rows), [row[1] for row in rows])


@pytest.mark.parametrize(
    ("old", "new"), [("blocks", "layers"), ("encoder.layer", "h"), ("net", "trunk"), ("cell_list", "units")]
)
def test_blocks_that_are_called_a_row_on_both_sides_are_certain(old: str, new: str) -> None:
    rows = in_blocks(
        [ATTENTION, MLP, ("norm1.weight", "norm1.weight", (WIDTH,)), ("norm2.weight", "norm2.weight", (WIDTH,))],
        old,
        new,
    )
    checkpoint, net, truth = sides(rows)
    proposal = propose_name_map(net, checkpoint)
    assert proposal.certain
    assert proposal.name_map == truth


def test_of_many_equal_blocks_each_is_compared_with_its_neighbours() -> None:
    """Comparing every two of thousands would take minutes."""
    rows: list[Row] = [
        (f"blocks.{block}.{name}.weight", f"layers.{block}.{name}.weight", (WIDTH,))
        for block in range(1500)
        for name in ("q", "k")
    ]
    checkpoint, net, truth = sides(rows)
    proposal = propose_name_map(net, checkpoint)
    assert proposal.certain
    assert proposal.name_map == truth


@pytest.mark.parametrize("new", [("gate", "up"), ("norm1", "norm2")])
def test_what_is_open_in_one_of_many_blocks_is_asked_for(new: tuple[str, str]) -> None:
    rows: list[Row] = [
        (f"blocks.{block}.{old}.weight", f"layers.{block}.{name}.weight", (WIDTH,))
        for block in range(100)
        for old, name in zip(("w1", "w3") if block == 77 else new, new, strict=True)
    ]
    check(rows)
