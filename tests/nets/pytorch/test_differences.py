"""What is said of layers that may compute something else than MindSpore's, although all weights fit."""

# mypy: allow-subclassing-any
from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import pytest

import ckptload
from ckptload import LayerDifferenceWarning
from places import FIXTURES

pytest.importorskip("torch")

import torch
from torch import nn

from ckptload.nets.pytorch.differences import differences
from networks import torch_side

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.torch

#: A pool with the edit for ``pad_mode="same"`` is named as one that differs by default.
ROUNDED = "layer.ceil_mode = False"
#: Layers that may differ, and the edits that make them equal.
NAMED: list[tuple[Callable[[], nn.Module], str]] = [
    (lambda: nn.MaxPool2d(3, 2, 1), "layer.padding, layer.ceil_mode = 0, True"),
    (lambda: nn.MaxPool1d(5, 3, 2), "layer.padding, layer.ceil_mode = 1, False"),
    (lambda: nn.MaxPool2d((3, 1), (2, 1), (1, 0)), "layer.padding, layer.ceil_mode = 0, True"),
    (lambda: nn.AvgPool2d(3, 2, 1), "layer.padding, layer.ceil_mode = 0, True; layer.count_include_pad = False"),
    (lambda: nn.AvgPool2d(3, 1, 1), "layer.padding, layer.ceil_mode = 1, False; layer.count_include_pad = False"),
    (
        lambda: nn.AvgPool3d(3, 2, 1),
        (
            "layer.padding = (0, 0, 0); layer.register_forward_pre_hook("
            "lambda _, given: (nn.functional.pad(given[0], (0, 1, 0, 1, 0, 1)),))"
        ),
    ),
    (
        lambda: nn.Conv2d(3, 4, (3, 7), 2, padding=(1, 3)),
        (
            "layer.padding = (0, 0); layer.register_forward_pre_hook("
            "lambda _, given: (nn.functional.pad(given[0], (2, 3, 0, 1)),))"
        ),
    ),
    (
        lambda: nn.ConvTranspose2d(3, 4, 3, 2, padding=1, output_padding=1),
        (
            "layer.padding = layer.output_padding = (0, 0); layer.register_forward_hook("
            "lambda _, given, output: nn.functional.pad(output, (0, -1, 0, -1)))"
        ),
    ),
    (lambda: nn.MaxPool2d(3, 2, ceil_mode=True), ROUNDED),
    (lambda: nn.AvgPool2d(3, 2, ceil_mode=True), ROUNDED),
    (lambda: nn.LayerNorm(4), "layer.eps = 1e-07"),
    (lambda: nn.BatchNorm2d(4, eps=1e-3), "layer.eps = 1e-05"),
    (lambda: nn.GroupNorm(2, 4, eps=1e-6), "layer.eps = 1e-05"),
    (nn.GELU, "layer.approximate = 'tanh'"),
    (nn.LeakyReLU, "layer.negative_slope = 0.2"),
    (
        lambda: nn.LocalResponseNorm(5),
        "layer.size, layer.alpha, layer.beta, layer.k = 11, 11.0, 0.5, 1.0",
    ),
]

#: Layers that cannot differ, or would have another shape.
ALIKE: list[Callable[[], nn.Module]] = [
    lambda: nn.MaxPool2d(2, 2),
    lambda: nn.MaxPool2d(3, 1, 1),
    lambda: nn.MaxPool2d(3, 2),
    lambda: nn.MaxPool2d(2, 2, ceil_mode=True),
    lambda: nn.AvgPool2d(4, 2, 1, ceil_mode=True),
    lambda: nn.MaxPool2d(3, 2, 1, dilation=2),
    lambda: nn.AvgPool2d(2),
    lambda: nn.AvgPool2d(3, 1, 1, count_include_pad=False),
    lambda: nn.AvgPool3d(3, 1, 1),
    lambda: nn.Conv2d(3, 4, 3, padding=1),
    lambda: nn.Conv2d(3, 4, 3, stride=2),
    lambda: nn.Conv2d(3, 4, 4, stride=2, padding=1),
    lambda: nn.Conv2d(3, 4, 1, stride=2),
    lambda: nn.Conv2d(3, 4, 16, stride=16),
    lambda: nn.Conv2d(3, 4, 3, padding="same"),
    lambda: nn.Conv2d(3, 4, 3, stride=2, padding=1, padding_mode="reflect"),
    lambda: nn.ConvTranspose2d(3, 4, 4, 2, padding=1),
    lambda: nn.ConvTranspose2d(3, 4, 2, 2),
    lambda: nn.BatchNorm1d(4),
    lambda: nn.GroupNorm(2, 4),
    lambda: nn.LayerNorm(4, eps=1e-7),
    lambda: nn.GELU("tanh"),
    nn.ReLU6,
    nn.Hardswish,
    lambda: nn.TransformerEncoderLayer(4, 2, 8),
]


@pytest.mark.parametrize("number", range(len(NAMED)))
def test_a_layer_that_may_differ_is_named_with_its_edit_and_no_more_after_it(number: int) -> None:
    make, edit = NAMED[number]
    layer = make()
    (found,) = differences(nn.Sequential(nn.ReLU(), layer))
    assert (found.kind, dict(found.edits), found.paths) == (type(layer).__name__, {edit: ("1",)}, ("1",))
    assert str(found).startswith(f"1 {found.kind}, '1': ")
    assert str(found).endswith(edit)
    exec(edit, {"layer": layer, "nn": nn})  # noqa: S102 -- the edit is code
    left = [[*each.edits] for each in differences(layer)]
    assert left == ([[ROUNDED]] if "ceil_mode = 0, True" in edit else [])


@pytest.mark.parametrize("number", range(len(ALIKE)))
def test_a_layer_that_cannot_differ_is_not_named(number: int) -> None:
    assert differences(ALIKE[number]()) == ()


def test_each_kind_is_named_once_with_an_edit_for_each_setting() -> None:
    convolutions = [nn.Conv2d(3, 3, 7, 2, 3), nn.Conv2d(3, 3, 3, 2, 1), nn.Conv2d(3, 3, 3, 2, 1), nn.Conv2d(3, 3, 1)]
    found = differences(nn.Sequential(*convolutions, nn.GELU(), nn.GELU()))
    assert [each.kind for each in found] == ["Conv2d", "GELU"]
    assert [paths for _, paths in found[0].edits.items()] == [("0",), ("1", "2")]
    assert "(and 1 other edit, by the settings of the layer)" in str(found[0])


def test_a_layer_whose_settings_are_of_another_kind_is_left_out() -> None:
    layer = nn.Conv2d(3, 4, 3, 2, 1)
    layer.stride = None
    assert differences(layer) == ()


#: What the networks of the fixtures have.
EXPECTED = {"cnn": ["Conv2d"], "residual": ["Conv2d"], "transformer": ["LayerNorm"]}


@pytest.mark.parametrize("name", ["cnn", "groups", "residual", "transformer"])
def test_a_plan_says_it_and_a_load_warns_once(name: str) -> None:
    module = torch_side.build(name)
    weights = ckptload.load_checkpoint(FIXTURES / "networks" / f"{name}.ckpt")
    plan = ckptload.plan_binding(module, weights)
    # Of a dictionary only its names tell where it comes from.
    assert [each.kind for each in plan.differences] == EXPECTED.get(name, [])
    assert ("layers may compute something else" in str(plan)) == (name in EXPECTED)
    for load in (
        lambda: ckptload.load_param_into_net(module, weights),
        lambda: ckptload.to_torch_state_dict(weights, module),
    ):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            load()
        assert [each.category for each in caught] == [LayerDifferenceWarning] * (name in EXPECTED)


class Pooled(nn.Module):
    """A net whose names are the same in both frameworks."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.pool = nn.Linear(3, 2), nn.MaxPool2d(3, 2, 1)


def saved(path: Path) -> Path:
    ckptload.save_checkpoint(ckptload.from_torch(Pooled()), path, format=path.suffix[1:])
    return path


def told(module: Any, source: Any, **how: Any) -> list[str]:
    return [each.kind for each in ckptload.plan_binding(module, source, **how).differences]


def test_it_is_said_of_entries_that_come_from_mindspore(tmp_path: Path) -> None:
    """They are from an open .ckpt, or one of them has a name of ``mindspore.nn`` that is another in torch."""
    for name, expected in (("net.ckpt", ["MaxPool2d"]), ("net.safetensors", [])):
        with ckptload.open_checkpoint(saved(tmp_path / name)) as reader:
            assert told(Pooled(), reader) == expected
    assert told(Pooled(), ckptload.load_checkpoint(tmp_path / "net.ckpt")) == []


def test_a_map_does_not_hide_where_entries_come_from() -> None:
    norm = nn.Sequential(nn.LayerNorm(3))
    weights = {f"a.{name}": ckptload.Parameter([1.0, 2.0, 3.0]) for name in ("gamma", "beta")}
    theirs = {"a.gamma": "0.weight", "a.beta": "0.bias"}
    assert told(norm, weights, name_map=theirs) == ["LayerNorm"]
    assert told(norm, {theirs[key]: value for key, value in weights.items()}) == []


def test_a_tensor_of_torch_that_is_called_gamma_says_nothing() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gamma, self.act = nn.Parameter(torch.ones(3)), nn.GELU()

    assert told(Scaled(), {"gamma": ckptload.Parameter([1.0, 2.0, 3.0])}) == []


def test_nothing_is_said_of_cells() -> None:
    cell = ckptload.Cell()
    cell.weight = ckptload.Parameter([1.0], name="weight")
    plan = ckptload.plan_binding(cell, {"weight": ckptload.Parameter([2.0])})
    assert plan.differences == ()
