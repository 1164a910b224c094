"""Names that once made a proposal certain and wrong, or that broke it."""

from __future__ import annotations

import pytest

from ckptload import propose_name_map

Shape = tuple[int, ...]


def weights(*names: str, shape: Shape = (8, 8)) -> dict[str, Shape]:
    return {f"{name}.weight": shape for name in names}


def test_words_that_cross_are_asked_though_shapes_decide() -> None:
    source = weights("m.encoder.0.fc") | weights("m.decoder.0.fc", shape=(8, 9))
    net = weights("decoder.0.fc") | weights("encoder.0.fc", shape=(8, 9))
    assert not propose_name_map(net, source).certain


def test_words_that_mean_the_other_are_asked_though_shapes_decide() -> None:
    source = weights("m.query") | weights("m.value", shape=(8, 9))
    net = weights("v_proj") | weights("q_proj", shape=(8, 9))
    assert not propose_name_map(net, source).certain


def test_what_is_left_in_a_block_is_not_a_layer_outside() -> None:
    blocks = [f"layer1.{number}.{name}" for number in (0, 1, 2) for name in ("bn1", "bn2")]
    source = weights(*blocks, "layer1.0.down_sample.1", shape=(8,))
    net = weights(*blocks, "bn1", shape=(8,))
    assert not propose_name_map(net, source).certain


def test_lists_that_lack_different_blocks_are_asked() -> None:
    source = [f"left.layers.{number}.{name}" for number in (0, 1, 3) for name in ("fc", "norm")]
    net = [f"online.blocks.{number}.{name}" for number in (0, 2, 3) for name in ("fc", "norm")]
    assert not propose_name_map(weights(*net), weights(*source)).certain


def test_counts_do_not_tell_lists_apart_that_lack_something() -> None:
    source = weights(*(f"encoder_k.layers.{n}.fc" for n in range(3)), "base_q.layers.0.fc", "base_q.layers.2.fc")
    net = weights(*(f"tower.blocks.{n}.dense" for n in range(3)), "momentum.blocks.0.dense", "momentum.blocks.1.dense")
    assert not propose_name_map(net, source).certain


def test_numbers_of_layers_in_wrappers_need_the_order() -> None:
    source = weights(*(f"layers.{n}.norms.{number}.x" for n in range(3) for number in (0, 1)), shape=(8,))
    net = weights(*(f"blocks.{n}.ln_{number}.x" for n in range(3) for number in (2, 3)), shape=(8,))
    assert not propose_name_map(net, source).certain


def test_a_single_layer_beside_it_does_not_keep_a_layer_in_its_part() -> None:
    source = weights("neck.fc", "body.fc") | weights("body.conv_last", shape=(8, 9))
    net = weights("trunk.fc", "head.fc") | weights("head.conv_last", shape=(8, 9))
    assert not propose_name_map(net, source).certain


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a.²", "a.³"),
        ("a.\u0661", "a.\u0662"),
        ("a." + "1" * 5000, "a." + "1" * 4999 + "2"),
        ("a." + "1." * 50_000 + "1", "a." + "1." * 50_000 + "2"),
        ("a" + "." * 50_000, "b" + "." * 50_000),
    ],
    ids=["superscripts", "arabic", "digits", "numbers", "dots"],
)
def test_hostile_names_are_compared(one: str, other: str) -> None:
    both = weights(one, other)
    assert propose_name_map(both, dict(reversed(both.items()))).name_map == {name: name for name in both}
