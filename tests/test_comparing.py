"""`compare_outputs`: a module runs on what was recorded, and the first layer that differs is named."""

# mypy: allow-subclassing-any
from __future__ import annotations

import io
import math
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import ckptload
from ckptload import ArgumentError, ArgumentTypeError, CheckpointError, WrongFormatError, compare_outputs

pytest.importorskip("torch")

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.torch


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.fc = nn.Linear(32, 3)

    def forward(self, x: Any) -> Any:
        return self.fc(self.relu(self.pool(self.relu(self.conv(x)))).flatten(1))


def recorded(net: Net, **edited: Any) -> dict[str, Any]:
    """Return what MindSpore would record of a net: by the same layers, and a pool as ``pad_mode="same"`` has it."""
    x = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(3))
    pool = nn.MaxPool2d(3, 2, ceil_mode=True)
    with torch.no_grad():
        conv = net.conv(x)
        pooled = pool(conv.relu())
        layers = {"conv": conv, "relu": conv.relu(), "pool": pooled, "fc": net.fc(pooled.flatten(1))}
    found = {f"layer:{name}": tensor.numpy() for name, tensor in layers.items()}
    return {"input": x.numpy(), **found, "output": layers["fc"].numpy(), **edited}


@pytest.fixture
def net() -> Net:
    torch.manual_seed(1)
    return Net()


def test_the_first_layer_that_differs_is_named_with_what_is_known_of_it(net: Net, tmp_path: Path) -> None:
    np.savez(tmp_path / "io.npz", **recorded(net))
    found = compare_outputs(net, tmp_path / "io.npz")
    assert not found.equal
    assert [each.path for each in found.layers] == ["conv", "relu", "pool", "fc"]
    assert [each.equal for each in found.layers] == [True, True, False, False]
    first = found.first_difference
    assert first is not None
    assert (first.path, first.kind) == ("pool", "MaxPool2d")
    assert "layer.ceil_mode" in first.advice
    assert str(found).startswith("the outputs differ (limit 5e-05 of the spread)\n  output: at most ")
    assert "2 of 4 recorded layers equal\n  first difference: 'pool' (MaxPool2d): at most " in str(found)
    assert "before it, 'relu' is equal" in str(found)


def test_with_the_edit_all_is_equal(net: Net) -> None:
    record = recorded(net)
    net.pool.padding, net.pool.ceil_mode = 0, True
    found = compare_outputs(net, record)
    assert found.equal
    assert found.first_difference is None
    assert "4 of 4 recorded layers equal" in str(found)


def test_the_module_is_afterwards_as_it_was(net: Net) -> None:
    net.train()
    net.pool.eval()
    compare_outputs(net, recorded(net))
    assert (net.training, net.pool.training, net.fc.training) == (True, False, True)
    assert not any(layer._forward_hooks for layer in net.modules())
    assert all(parameter.grad is None for parameter in net.parameters())


def test_recorded_layers_may_have_other_names(net: Net) -> None:
    record = recorded(net)
    record["layer:net.max_pool"] = record.pop("layer:pool")
    record["layer:head"] = record["output"]
    found = compare_outputs(net, record, name_map=ckptload.NameMap({"net.max_pool": "pool"}))
    assert found == compare_outputs(net, record, name_map={"net.max_pool": "pool"})
    assert found.first_difference is not None
    assert (found.first_difference.path, found.first_difference.key) == ("pool", "layer:net.max_pool")
    assert found.unknown == ("head",)
    assert "not compared, because the module did not compute it: 'head'" in str(found)


def test_a_pair_of_an_input_and_an_output(net: Net) -> None:
    record = recorded(net)
    found = compare_outputs(net, (record["input"], torch.from_numpy(record["output"])))
    assert (len(found.outputs), found.layers, found.equal) == (1, (), False)
    assert found.first_difference == found.outputs[0]


def test_inputs_may_be_passed(net: Net) -> None:
    record = recorded(net)
    given = record.pop("input")
    with pytest.raises(ArgumentError, match="no input is recorded"):
        compare_outputs(net, record)
    for inputs in (given, (given,), [torch.from_numpy(given)], {"x": given}):
        assert [each.equal for each in compare_outputs(net, record, inputs=inputs).layers] == [True, True, False, False]
    for wrong in ("x", 3, (1,), {1: given}):
        with pytest.raises(ArgumentTypeError):
            compare_outputs(net, record, inputs=wrong)


def test_other_arrays_are_listed_and_not_compared() -> None:
    found = compare_outputs(nn.Identity(), {"input": np.ones(1), "output": np.ones(1), "labels": np.array(["a"])})
    assert (found.equal, found.unknown) == (True, ("labels",))


def test_only_layers_may_be_recorded(net: Net) -> None:
    record = {key: value for key, value in recorded(net).items() if key in {"input", "layer:conv"}}
    found = compare_outputs(net, record)
    assert found.equal
    assert str(found).startswith("the layers are equal")


class Several(nn.Module):
    """Gives a dictionary of a tensor and a tuple of them, as modules of transformers do."""

    def forward(self, one: Any, other: Any) -> Any:
        return {"sum": one + other, "both": (one, [other])}


def test_several_inputs_and_outputs_are_taken_in_order() -> None:
    one, other = np.array([1, 2], np.float32), np.array([5, 7], np.int32)
    record = {"input_0": one, "input_1": other, "output_0": one + other, "output_1": one, "output_2": other}
    assert compare_outputs(Several(), record).equal
    found = compare_outputs(Several(), {**record, "output_3": other})
    assert [each.equal for each in found.outputs] == [True, True, True, False]
    assert "output_3: it gave no tensor" in str(found)


def test_inputs_get_the_dtype_of_the_module(net: Net) -> None:
    found = compare_outputs(net.to(torch.bfloat16), recorded(net.float()), limit=0.1)
    assert found.layers[0].equal
    half = compare_outputs(
        nn.Linear(1, 1).to(torch.bfloat16), (np.ones((1, 1)), torch.ones(1, 1, dtype=torch.bfloat16))
    )
    assert half.outputs[0].difference < math.inf


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("ours", "theirs", "difference", "relative", "problem"),
    [
        ([1.0, 3.0], [1.0, 3.0], 0.0, 0.0, ""),
        ([1.0, 3.5], [1.0, 3.0], 0.5, 0.25, ""),
        ([2.5], [2.0], 0.5, 0.25, ""),
        ([0.5], [0.0], 0.5, 0.5, ""),
        ([], [], 0.0, 0.0, ""),
        ([NAN, INF, 1.0], [NAN, INF, 1.0], 0.0, 0.0, ""),
        ([NAN], [NAN], 0.0, 0.0, ""),
        ([NAN, 1.0], [1.0, 1.0], INF, INF, "1 of 2 values are infinite or NaN in one of the two alone"),
        ([-INF, 1.0], [INF, 1.0], INF, INF, "1 of 2 values are infinite or NaN in one of the two alone"),
        ([1.0], [1.0, 2.0], INF, INF, "the shape is (1,) here, and (2,) was recorded"),
        ([1j, 3.0], [1j, 2.0], 1.0, 0.5, ""),
        ([True, False], [True, True], 1.0, 1.0, ""),
    ],
)
def test_the_difference_is_measured_by_the_spread(
    ours: list[Any], theirs: list[Any], difference: float, relative: float, problem: str
) -> None:
    (found,) = compare_outputs(nn.Identity(), (np.array(ours), np.array(theirs))).outputs
    assert (found.difference, found.relative, found.problem) == (difference, relative, problem)


def test_a_module_that_fails_is_an_error_of_ours_and_keeps_no_hooks(net: Net) -> None:
    record = {**recorded(net), "input": np.zeros((1, 3, 8, 8), np.float32)}
    with pytest.raises(ckptload.ComputationError, match="the module cannot compute with this input"):
        compare_outputs(net, record)
    assert not any(layer._forward_hooks for layer in net.modules())


def test_a_module_that_fails_behind_a_difference_names_it(net: Net) -> None:
    record = recorded(net)
    net.pool.stride = 1
    with pytest.raises(ckptload.ComputationError, match=r"before that, the first difference: 'pool' .* the shape is"):
        compare_outputs(net, record)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({}, "no output and no layer is recorded, but nothing"),
        ({"input": np.ones(1)}, "no output and no layer is recorded, but 'input'"),
        ({"x": np.ones(1)}, "no output and no layer is recorded, but 'x'"),
        ({"output": np.ones(1), "output_0": np.ones(1)}, "two recorded arrays are output 0"),
        ({1: np.ones(1)}, "a key of recorded must be a str"),
        ({"input": np.ones(1), "output": "x"}, "it must be an array or a tensor"),
        (3, "recorded must be the path of an .npz"),
        ((1, 2), "recorded must be the path of an .npz"),
    ],
)
def test_what_cannot_be_compared_is_refused(record: Any, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        compare_outputs(nn.Identity(), record)


@pytest.mark.parametrize("limit", [True, "1", -1, NAN, INF])
def test_a_limit_is_a_number(limit: Any) -> None:
    with pytest.raises(CheckpointError, match="limit"):
        compare_outputs(nn.Identity(), (np.ones(1), np.ones(1)), limit=limit)


def test_a_module_of_another_kind_is_refused() -> None:
    with pytest.raises(ArgumentTypeError, match=r"module must be a torch\.nn\.Module"):
        compare_outputs(len, (np.ones(1), np.ones(1)))


# -- files ----------------------------------------------------------------------------------------


def npz(save: Callable[..., None] = np.savez, **arrays: Any) -> bytes:
    file = io.BytesIO()
    save(file, **arrays)
    return file.getvalue()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_files_are_read_however_numpy_wrote_them(save: Any, tmp_path: Path) -> None:
    values = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    data = npz(save, input=values, output=values)
    (tmp_path / "io.npz").write_bytes(data)
    for source in (data, io.BytesIO(data), tmp_path / "io.npz", str(tmp_path / "io.npz")):
        assert compare_outputs(nn.Identity(), source).equal


def test_a_file_that_is_not_an_npz_is_told() -> None:
    for data in (b"", b"PK\3\4", b"\x93NUMPY", b"x" * 100):
        with pytest.raises(WrongFormatError, match=r"this is not an \.npz file"):
            compare_outputs(nn.Identity(), data)
    with pytest.raises(ckptload.MissingFileError):
        compare_outputs(nn.Identity(), "nothing.npz")


def test_arrays_of_objects_and_texts_are_not_read() -> None:
    for values in (np.array([{}], object), np.array(["a"]), np.zeros(2, [("a", "f4")])):
        with pytest.raises(CheckpointError, match="not an array of numbers"):
            compare_outputs(nn.Identity(), npz(input=np.ones(1), output=values))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_damaged_file_raises_nothing_but_our_errors(save: Any) -> None:
    """Cut at any byte, or with any byte changed."""
    values = np.arange(40, dtype=np.float32)
    data = npz(save, input=values, output=values)
    module = nn.Identity()
    for at in range(0, len(data), 3):
        for changed in (data[:at], data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]):
            with suppress(CheckpointError):
                compare_outputs(module, changed)
