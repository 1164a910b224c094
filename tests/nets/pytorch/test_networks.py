"""Networks saved by MindSpore compute in torch what they computed there, and their weights find their way back."""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import ckptload
from places import FIXTURES

pytest.importorskip("torch")

import torch

from networks import torch_side

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [
    pytest.mark.torch,
    # What is said of layers is tested in tests/nets/pytorch/test_differences.py.
    pytest.mark.filterwarnings("ignore::ckptload.LayerDifferenceWarning"),
]

NAMES = sorted(torch_side.NETWORKS)
#: Names that say too little without a module, by network; of all other networks the names say enough.
UNCLEAR = {
    "cnn": ["act.w"],
    "transformer": [
        f"encoder.layers.{layer}.{dense}.{own}"
        for layer in (0, 1)
        for dense in ("dense1", "dense2")
        for own in ("weight", "bias")
    ],
    "transposed": ["line.weight"],
    "line": ["conv1.weight", "conv2.weight"],
    "volume": ["bn.bn2d.moving_mean", "bn.bn2d.moving_variance", "bn.bn2d.gamma", "bn.bn2d.beta"],
}

every_network = pytest.mark.parametrize("name", NAMES)


def checkpoint(name: str) -> Path:
    return FIXTURES / ("lenet5.ckpt" if name == "lenet5" else f"networks/{name}.ckpt")


def recorded(name: str) -> tuple[Any, Any]:
    """Return an input, and what MindSpore made of it."""
    with np.load(FIXTURES / "networks" / f"{name}.npz") as arrays:
        return arrays["input"], arrays["output"]


def output(module: Any, given: Any) -> Any:
    with torch.no_grad():
        return module(torch.from_numpy(given)).numpy()


def assert_computes_the_same(module: Any, name: str) -> None:
    """Hold a module's output against MindSpore's, to the precision of float32 sums in another order."""
    given, expected = recorded(name)
    np.testing.assert_allclose(output(module, given), expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())


def test_every_network_has_its_fixture() -> None:
    assert sorted(path.stem for path in (FIXTURES / "networks").glob("*.npz")) == NAMES


@every_network
def test_a_new_module_computes_something_else(name: str) -> None:
    """What the other tests compare would not be equal if nothing were loaded."""
    with pytest.raises(AssertionError):
        assert_computes_the_same(torch_side.build(name), name)


def loaded(module: Any, path: Path) -> Any:
    return ckptload.load_param_into_net(module, ckptload.load_checkpoint(path))


def from_reader(module: Any, path: Path) -> Any:
    with ckptload.open_checkpoint(path) as reader:
        return ckptload.load_param_into_net(module, reader, strict_load=True)


def while_loading(module: Any, path: Path) -> Any:
    ckptload.load_checkpoint(path, module)
    plan = ckptload.plan_binding(module, ckptload.load_checkpoint(path))
    return plan.param_not_load, plan.ckpt_not_load


@pytest.mark.parametrize("load", [loaded, from_reader, while_loading])
@every_network
def test_a_module_computes_what_mindspore_computed(name: str, load: Callable[[Any, Path], Any]) -> None:
    """Every entry finds its tensor, and every tensor its entry."""
    module = torch_side.build(name)
    assert load(module, checkpoint(name)) == ([], [])
    assert_computes_the_same(module, name)


@every_network
def test_a_state_dictionary_is_complete_and_exact(name: str) -> None:
    module = torch_side.build(name)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    with ckptload.open_checkpoint(checkpoint(name)) as reader:
        state = ckptload.to_torch_state_dict(reader, module)
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    module.load_state_dict(state, strict=True)
    assert_computes_the_same(module, name)


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(UNCLEAR)))
def test_the_groups_of_names_may_say_enough(name: str) -> None:
    state = ckptload.to_torch_state_dict(ckptload.load_checkpoint(checkpoint(name)))
    module = torch_side.build(name)
    module.load_state_dict(state, strict=True)
    assert_computes_the_same(module, name)


@pytest.mark.parametrize("name", UNCLEAR)
def test_names_that_leave_open_what_they_are_are_listed(name: str) -> None:
    """These and no others keep torch from taking the state dictionary."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        state = ckptload.to_torch_state_dict(ckptload.load_checkpoint(checkpoint(name)))
    (warning,) = caught
    assert warning.filename == __file__
    assert re.findall(r"'(.+?)'", str(warning.message)) == UNCLEAR[name]
    wanted = {key: value.shape for key, value in torch_side.build(name).state_dict().items()}
    fits = {key for key, value in state.items() if wanted.get(key) == value.shape}
    unclear = {key.replace("gamma", "weight").replace("beta", "bias") for key in UNCLEAR[name]}
    unclear = {key.replace("moving_mean", "running_mean").replace("moving_variance", "running_var") for key in unclear}
    assert state.keys() - fits == unclear


@every_network
def test_weights_go_back_and_come_again(name: str, tmp_path: Path) -> None:
    """What torch gives is, entry by entry, what MindSpore saved."""
    module = torch_side.build(name)
    ckptload.load_checkpoint(checkpoint(name), module)
    ckptload.save_checkpoint(ckptload.from_torch(module), tmp_path / "back.ckpt")
    back, original = ckptload.load_checkpoint(tmp_path / "back.ckpt"), ckptload.load_checkpoint(checkpoint(name))
    assert {key: (value.shape, value.get_bytes()) for key, value in back.items()} == {
        key: (value.shape, value.get_bytes()) for key, value in original.items()
    }
    again = torch_side.build(name)
    assert ckptload.load_param_into_net(again, back) == ([], [])
    assert_computes_the_same(again, name)


@every_network
def test_a_module_is_saved_as_mindspore_would_save_it(name: str, tmp_path: Path) -> None:
    module = torch_side.build(name)
    ckptload.load_checkpoint(checkpoint(name), module)
    ckptload.save_checkpoint(module, tmp_path / "module.ckpt")
    assert loaded(torch_side.build(name), tmp_path / "module.ckpt") == ([], [])


@every_network
def test_training_goes_on_from_what_was_loaded(name: str) -> None:
    """Gradients reach every parameter, and a step changes what the module computes."""
    module = torch_side.build(name).train()
    ckptload.load_checkpoint(checkpoint(name), module)
    given, _ = recorded(name)
    before = output(module.eval(), given)
    optimizer = torch.optim.SGD(module.train().parameters(), lr=0.01)
    module(torch.from_numpy(given)).square().mean().backward()
    assert all(parameter.requires_grad and parameter.grad is not None for parameter in module.parameters())
    optimizer.step()
    assert not np.array_equal(output(module.eval(), given), before)
