"""Layers that are said to differ do differ from MindSpore's, and are equal with the edit that is said with it.

MindSpore's layer is created with ``pad_mode="same"`` or with its defaults, torch's as it is written in torch. Both have
the same weights.
"""

# mypy: allow-subclassing-any
from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import ckptload
from places import ROOT

pytest.importorskip("mindspore")
pytest.importorskip("torch")

import mindspore
import mindspore.nn as ms
import torch
import torch.nn as th

from ckptload.nets.pytorch.differences import differences

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [
    pytest.mark.mindspore,
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ckptload.LayerDifferenceWarning"),
]

PAGE = ROOT / "docs" / "pytorch.md"

Pair = tuple["Callable[[], Any]", "Callable[[], Any]", tuple[int, ...]]


def pool(kind: str, dimensions: int, kernel: int, stride: int, padding: int, **how: Any) -> Pair:
    name = f"{kind}Pool{dimensions}d"
    return (
        lambda: getattr(ms, name)(kernel, stride, pad_mode="same"),
        lambda: getattr(th, name)(kernel, stride, padding, **how),
        (2, 4, *(12,) * dimensions),
    )


def convolution(dimensions: int, kernel: Any, stride: int, padding: Any, dilation: int = 1) -> Pair:
    name = f"Conv{dimensions}d"
    return (
        lambda: getattr(ms, name)(4, 3, kernel, stride, dilation=dilation),
        lambda: getattr(th, name)(4, 3, kernel, stride, padding, dilation, bias=False),
        (2, 4, *(12,) * dimensions),
    )


def transposed(dimensions: int, kernel: int, stride: int, padding: int, more: int) -> Pair:
    return (
        lambda: getattr(ms, f"Conv{dimensions}dTranspose")(4, 3, kernel, stride),
        lambda: getattr(th, f"ConvTranspose{dimensions}d")(4, 3, kernel, stride, padding, more, bias=False),
        (2, 4, *(5,) * dimensions),
    )


LAYERS: dict[str, Pair] = {
    **{f"MaxPool{n}d": pool("Max", n, 3, 2, 1) for n in (1, 2, 3)},
    **{f"AvgPool{n}d": pool("Avg", n, 3, 2, 1) for n in (1, 2, 3)},
    **{f"AvgPool{n}d of stride 1": pool("Avg", n, 3, 1, 1) for n in (1, 2)},
    "AvgPool3d without padding in it": pool("Avg", 3, 3, 1, 1, count_include_pad=False),
    "wide MaxPool2d": pool("Max", 2, 5, 3, 2),
    "wide AvgPool2d": pool("Avg", 2, 5, 2, 2, count_include_pad=False),
    **{f"Conv{n}d": convolution(n, 3, 2, 1) for n in (1, 2, 3)},
    "wide Conv2d": convolution(2, 7, 2, 3),
    "oblong Conv2d": convolution(2, (3, 7), 2, (1, 3)),
    "Conv2d of stride 3": convolution(2, 5, 3, 2),
    "dilated Conv2d": convolution(2, 3, 2, 2, dilation=2),
    **{f"ConvTranspose{n}d": transposed(n, 3, 2, 1, 1) for n in (1, 2, 3)},
    "wide ConvTranspose2d": transposed(2, 5, 2, 2, 1),
    "LayerNorm": (lambda: ms.LayerNorm((8,)), lambda: th.LayerNorm(8), (2, 3, 8)),
    "BatchNorm2d": (lambda: ms.BatchNorm2d(4), lambda: th.BatchNorm2d(4, eps=1e-3), (2, 4, 5, 5)),
    "GroupNorm": (lambda: ms.GroupNorm(2, 4), lambda: th.GroupNorm(2, 4, eps=1e-6), (2, 4, 5, 5)),
    "GELU": (ms.GELU, th.GELU, (2, 50)),
    "LeakyReLU": (ms.LeakyReLU, th.LeakyReLU, (2, 50)),
    "LocalResponseNorm": (ms.LRN, lambda: th.LocalResponseNorm(5), (2, 16, 5, 5)),
}

#: Whose names are words that are alike in both, and which compute the same.
EQUAL: dict[str, Pair] = {
    "ReLU6": (ms.ReLU6, th.ReLU6, (2, 50)),
    "Hardswish": (ms.HSwish, th.Hardswish, (2, 50)),
    "Hardsigmoid": (ms.HSigmoid, th.Hardsigmoid, (2, 50)),
    "ELU": (ms.ELU, th.ELU, (2, 50)),
    "SiLU": (ms.SiLU, th.SiLU, (2, 50)),
    "Mish": (ms.Mish, th.Mish, (2, 50)),
    "MaxPool2d of stride 1": pool("Max", 2, 3, 1, 1),
    "MaxPool2d of windows side by side": pool("Max", 2, 2, 2, 0),
    "AvgPool2d without padding in it": pool("Avg", 2, 3, 1, 1, count_include_pad=False),
    "Conv2d of stride 1": convolution(2, 3, 1, 1),
    "Conv2d of stride 2 and an even kernel": convolution(2, 4, 2, 1),
    "ConvTranspose2d of an even kernel": transposed(2, 4, 2, 1, 0),
}


def outputs(theirs: Any, ours: Any, given: Any) -> tuple[Any, Any]:
    with torch.no_grad():
        return theirs(mindspore.Tensor(given)).asnumpy(), ours(torch.from_numpy(given)).numpy()


def made(pair: Pair) -> tuple[Any, Any, Any]:
    """Return both layers, with the same weights, and an input. It is small and below zero, where layers differ most."""
    theirs, ours, shape = pair[0]().set_train(False), pair[1]().eval(), pair[2]
    rng = np.random.default_rng(21)
    weights = {}
    for name, parameter in theirs.parameters_and_names():
        parameter.set_data(mindspore.Tensor(np.abs(rng.normal(0, 0.5, parameter.shape)).astype(np.float32) + 0.01))
        weights[name] = ckptload.Parameter(parameter.asnumpy())
    if weights:
        assert ckptload.load_param_into_net(ours, weights) == ([], [])
    scale = 0.01 if "Norm" in type(ours).__name__ and not isinstance(ours, th.BatchNorm2d) else 1.0
    return theirs, ours, rng.normal(-scale, scale, shape).astype(np.float32)


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_that_is_named_differs_and_is_equal_with_the_edit(name: str) -> None:
    theirs, ours, given = made(LAYERS[name])
    expected, found = outputs(theirs, ours, given)
    spread = expected.max() - expected.min()
    assert np.abs(found - expected).max() > 1e-5 * spread
    (difference,) = differences(ours)
    ((edit, paths),) = difference.edits.items()
    assert paths == ("",)
    exec(edit, {"layer": ours, "nn": th})  # noqa: S102 -- the edit is code
    expected, found = outputs(theirs, ours, given)
    np.testing.assert_allclose(found, expected, atol=5e-7 * spread, rtol=1e-5)
    # A pool that is edited has ceil_mode, which is named in turn.
    left = [[*each.edits] for each in differences(ours)]
    assert left == ([["layer.ceil_mode = False"]] if getattr(ours, "ceil_mode", False) else [])


@pytest.mark.parametrize("kind", ["Max", "Avg"])
def test_a_pool_that_rounds_up_is_named_and_equal_to_the_default_with_the_edit(kind: str) -> None:
    theirs, ours = getattr(ms, f"{kind}Pool2d")(3, 2), getattr(th, f"{kind}Pool2d")(3, 2, ceil_mode=True)
    given = np.random.default_rng(4).normal(-3, 1, (2, 3, 12, 12)).astype(np.float32)
    expected, found = outputs(theirs, ours, given)
    assert found.shape != expected.shape
    (difference,) = differences(ours)
    exec(next(iter(difference.edits)), {"layer": ours})  # noqa: S102 -- the edit is code
    np.testing.assert_allclose(outputs(theirs, ours, given)[1], expected, rtol=1e-6)
    assert differences(ours) == ()


@pytest.mark.parametrize("name", EQUAL)
def test_a_layer_that_is_not_named_is_equal(name: str) -> None:
    theirs, ours, given = made(EQUAL[name])
    assert differences(ours) == ()
    expected, found = outputs(theirs, ours, given)
    np.testing.assert_allclose(found, expected, atol=5e-7 * (expected.max() - expected.min()), rtol=1e-5)


@pytest.mark.parametrize("size", [12, 13])
@pytest.mark.parametrize("kind", ["Max", "Avg"])
def test_for_sizes_that_are_no_multiples_of_the_stride_the_padding_is_another(kind: str, size: int) -> None:
    """What the page says: of an odd size, a window of 3 with stride 2 is padded alike in both."""
    theirs, ours = getattr(ms, f"{kind}Pool2d")(3, 2, pad_mode="same"), getattr(th, f"{kind}Pool2d")(3, 2, 1)
    if kind == "Avg":
        ours.count_include_pad = False
    given = np.random.default_rng(4).normal(-3, 1, (2, 3, size, size)).astype(np.float32)
    expected, found = outputs(theirs, ours, given)
    assert np.allclose(found, expected, atol=1e-6) == bool(size % 2)


def test_zeros_are_no_padding_of_a_maximum() -> None:
    """A max pool pads with the least value that there is; zeros would be the largest value below zero."""
    given = np.random.default_rng(4).normal(-3, 0.5, (2, 3, 12, 12)).astype(np.float32)
    theirs = ms.MaxPool2d(3, 2, pad_mode="same")
    for value, is_equal in ((-np.inf, True), (0.0, False)):
        ours = th.Sequential(th.ConstantPad2d((0, 1, 0, 1), value), th.MaxPool2d(3, 2))
        expected, found = outputs(theirs, ours, given)
        assert np.array_equal(found, expected) == is_equal


class Cell(ms.Cell):
    def __init__(self) -> None:
        super().__init__()
        self.conv = ms.Conv2d(3, 4, 3, pad_mode="pad", padding=1)
        self.bn = ms.BatchNorm2d(4)
        self.pool = ms.MaxPool2d(3, 2, pad_mode="same")
        self.fc = ms.Dense(64, 3)

    def construct(self, x: Any) -> Any:
        x = self.pool(self.bn(self.conv(x)))
        return self.fc(x.reshape(x.shape[0], -1))


class Module(th.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = th.Conv2d(3, 4, 3, padding=1, bias=False), th.BatchNorm2d(4)
        self.pool, self.fc = th.MaxPool2d(3, 2, 1), th.Linear(64, 3)

    def forward(self, x: Any) -> Any:
        return self.fc(self.pool(self.bn(self.conv(x))).flatten(1))


def recorder() -> Callable[..., None]:
    """Return the function that docs/pytorch.md shows."""
    if not PAGE.exists():
        pytest.skip("the documentation is not here")
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    (script,) = (block for block in blocks if "def record(" in block)
    names: dict[str, Any] = {}
    exec(script, names)  # noqa: S102 -- the page's own
    found: Callable[..., None] = names["record"]
    return found


def test_the_script_of_the_page_records_and_the_pool_is_found(tmp_path: Path) -> None:
    net, module = Cell(), Module()
    record = recorder()
    record(net, tmp_path / "io.npz", np.random.default_rng(2).normal(0, 1, (2, 3, 8, 8)).astype(np.float32))
    mindspore.save_checkpoint(net, str(tmp_path / "net.ckpt"))
    with ckptload.open_checkpoint(tmp_path / "net.ckpt") as reader:
        assert ckptload.load_param_into_net(module, reader) == ([], [])
    found = ckptload.compare_outputs(module, tmp_path / "io.npz")
    assert found.first_difference is not None
    assert ([each.path for each in found.layers], found.first_difference.path) == (["conv", "bn", "pool", "fc"], "pool")
    exec(found.first_difference.advice.rpartition("if so: ")[2], {"layer": module.pool})  # noqa: S102 -- as it says
    assert ckptload.compare_outputs(module, tmp_path / "io.npz").equal
