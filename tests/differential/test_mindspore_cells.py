"""Real cells of MindSpore: loaded as MindSpore loads them, byte for byte; then computed with, trained, and saved."""

# mypy: allow-subclassing-any
from __future__ import annotations

import multiprocessing
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings

import ckptload
from ckptload import dtypes, saving
from ckptload.errors import BindingError, UnsupportedTypeError
from ckptload.tensors.parameter import Parameter

pytest.importorskip("mindspore")

import mindspore
from mindspore import nn, ops

from differential.test_binding import Case, Entry, cases, dictionary, guesses_differ, network, reshapes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = [
    pytest.mark.mindspore,
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

MODES = [mindspore.PYNATIVE_MODE, mindspore.GRAPH_MODE]

several = settings(max_examples=60)


def content(cell: Any) -> list[tuple[Any, ...]]:
    """Return all that loading could change."""
    return [(p.name, str(p.dtype), p.shape, p.requires_grad, p.get_bytes()) for p in cell.get_parameters()]


def address(parameter: Any) -> int:
    return int(parameter.asnumpy().__array_interface__["data"][0])


@pytest.fixture(params=MODES, ids=["pynative", "graph"])
def mode(request: pytest.FixtureRequest) -> Iterator[int]:
    """Let MindSpore compute step by step, or compile whole networks."""
    before = mindspore.get_context("mode")
    mindspore.set_context(mode=request.param)
    yield request.param
    mindspore.set_context(mode=before)


# -- loading --------------------------------------------------------------------------------------


@several
@given(case=cases())
def test_random_cells_hold_what_mindspore_loads_into_them(case: Case, tmp_path: Path) -> None:
    """From MindSpore's own files: by load_checkpoint, and by an open reader that fills the cell directly."""
    unreadable = any(isinstance(entry, Entry) and entry.dtype == "Complex64" for entry in case.checkpoint.values())
    planned = ckptload.plan_binding(network(mindspore, case), dictionary(mindspore, case), case.strict)
    if not case.checkpoint or guesses_differ(case, planned) or unreadable:
        return
    path = tmp_path / "case.ckpt"
    path.unlink(missing_ok=True)
    items = dictionary(mindspore, case)
    texts = {key: value for key, value in items.items() if isinstance(value, str)}
    tensors = [{"name": key, "data": value} for key, value in items.items() if key not in texts]
    mindspore.save_checkpoint(tensors, str(path), append_dict=texts or None)
    theirs, ours, direct = (network(mindspore, case) for _ in range(3))
    before = content(ours)
    with ckptload.open_checkpoint(path) as reader:
        plan = ckptload.plan_binding(direct, reader, case.strict)
        if plan.unmatched:
            with pytest.raises(BindingError):
                plan.apply()
            assert content(direct) == before
            return
        if plan.misfits:
            if not reshapes(plan):
                with pytest.raises((RuntimeError, ValueError)):
                    mindspore.load_checkpoint(str(path), theirs, case.strict)
            with pytest.raises(BindingError):
                ckptload.load_checkpoint(path, ours, case.strict)
            assert content(ours) == before
            return
        addresses = list(map(address, direct.get_parameters()))
        plan.apply()
    mindspore.load_checkpoint(str(path), theirs, case.strict)
    ckptload.load_checkpoint(path, ours, case.strict)
    # MindSpore takes over shapes that have 1s at their end.
    expected = [(*one[:2], entry.shape, *one[3:]) for one, entry in zip(content(theirs), case.net, strict=True)]
    assert content(ours) == content(direct) == expected
    assert list(map(address, direct.get_parameters())) == addresses


class Net(nn.Cell):
    """A convolution with BatchNorm, and a dense layer."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3)
        self.bn = nn.BatchNorm2d(3)
        self.fc = nn.Dense(3, classes)

    def construct(self, x: Any) -> Any:
        return self.fc(ops.relu(self.bn(self.conv(x))).mean((2, 3)))


def parameters(seed: int) -> dict[str, Parameter]:
    """Return values for a Net, as load_checkpoint returns them."""
    rng = np.random.default_rng(seed)
    return {
        parameter.name: Parameter(rng.uniform(0.5, 1.5, parameter.shape).astype(np.float32), name=parameter.name)
        for parameter in Net().get_parameters()
    }


def given_input() -> Any:
    return mindspore.Tensor(np.random.default_rng(0).normal(0, 1, (2, 2, 5, 5)).astype(np.float32))


def loaded_by_mindspore(values: dict[str, Parameter]) -> Any:
    net = Net()
    mindspore.load_param_into_net(net, ckptload.to_mindspore(values), strict_load=True)
    return net


def output(net: Any) -> Any:
    net.set_train(False)
    return net(given_input()).asnumpy()


def trained(net: Any, steps: int) -> list[float]:
    """Train a network, and return the losses."""
    step = nn.TrainOneStepCell(nn.WithLossCell(net, nn.MSELoss()), nn.Momentum(net.trainable_params(), 0.01, 0.9))
    step.set_train(True)
    wanted = mindspore.Tensor(np.ones((2, 4), np.float32))
    return [float(step(given_input(), wanted).asnumpy()) for _ in range(steps)]


@pytest.mark.usefixtures("mode")
@pytest.mark.parametrize("earlier", ["new", "computed", "trained"])
def test_a_loaded_net_computes_and_trains_with_the_new_values(earlier: str) -> None:
    """Whatever was done with it before: compiled graphs and gradients work on the same memory."""
    net = Net()
    if earlier != "new":
        output(net)
    if earlier == "trained":
        trained(net, 2)
    for seed in (1, 2):
        values = parameters(seed)
        assert ckptload.load_param_into_net(net, values) == ([], [])
        theirs = loaded_by_mindspore(values)
        np.testing.assert_array_equal(output(net), output(theirs))
        np.testing.assert_allclose(trained(net, 3), trained(theirs, 3), rtol=1e-6)
        np.testing.assert_allclose(output(net), output(theirs), rtol=1e-6)


@pytest.mark.usefixtures("mode")
def test_training_changes_the_net_and_not_the_dictionary() -> None:
    net, values = Net(), parameters(1)
    before = {name: value.get_bytes() for name, value in values.items()}
    ckptload.load_param_into_net(net, values)
    trained(net, 2)
    assert {name: value.get_bytes() for name, value in values.items()} == before
    assert net.fc.weight.get_bytes() != before["fc.weight"]


def test_training_goes_on_from_a_checkpoint_of_the_optimizer(tmp_path: Path) -> None:
    """A TrainOneStepCell is a cell like any other."""

    def step_of(seed: int) -> Any:
        net = loaded_by_mindspore(parameters(seed))
        step = nn.TrainOneStepCell(nn.WithLossCell(net, nn.MSELoss()), nn.Adam(net.trainable_params(), 0.1))
        step.set_train(True)
        return step

    given_, wanted = given_input(), mindspore.Tensor(np.ones((2, 4), np.float32))
    one = step_of(1)
    for _ in range(3):
        one(given_, wanted)
    mindspore.save_checkpoint(one, str(tmp_path / "step.ckpt"))
    other = step_of(2)
    assert ckptload.load_param_into_net(other, ckptload.load_checkpoint(tmp_path / "step.ckpt")) == ([], [])
    assert content(other) == content(one)
    # The first loss is that of the values, the second shows that the moments were right, too.
    for _ in range(2):
        np.testing.assert_allclose(other(given_, wanted).asnumpy(), one(given_, wanted).asnumpy(), rtol=1e-6)


def test_a_misfit_leaves_a_cell_as_it_was() -> None:
    net = Net(classes=7)
    before, addresses = content(net), list(map(address, net.get_parameters()))
    with pytest.raises(BindingError, match=r"2 of 7 parameters cannot be loaded"):
        ckptload.load_param_into_net(net, parameters(1))
    assert content(net) == before
    assert list(map(address, net.get_parameters())) == addresses


def test_a_cell_is_filled_with_what_fits_as_mindspore_fills_it() -> None:
    """MindSpore itself has no way to skip misfits, so it is given what fits."""
    values = parameters(1)
    values["moment1.fc.weight"] = Parameter(np.zeros(Net(7).fc.weight.shape, np.float32), name="moment1.fc.weight")
    ours = Net(classes=7)
    before = dict(zip((p.name for p in ours.get_parameters()), content(ours), strict=True))
    fitting = {name: value for name, value in values.items() if "fc" not in name}
    theirs = Net(classes=7)
    mindspore.load_param_into_net(theirs, ckptload.to_mindspore(fitting))
    with pytest.warns(UserWarning, match="2 of 7 parameters keep their values, because their entries do not fit:"):
        lists = ckptload.load_param_into_net(ours, values, skip_misfits=True)
    assert lists == (["fc.weight", "fc.bias"], ["fc.weight", "fc.bias", "moment1.fc.weight"])
    after = dict(zip((p.name for p in ours.get_parameters()), content(ours), strict=True))
    for one in content(theirs):
        assert after[one[0]] == (before[one[0]] if one[0].startswith("fc") else one)


def test_a_cell_in_which_nothing_matches_is_left_alone() -> None:
    net = Net()
    before = content(net)
    values = {"other." + name + ".x": value for name, value in parameters(1).items()}
    with pytest.warns(UserWarning, match="no entry of the checkpoint matches a parameter of the net"):
        ckptload.load_param_into_net(net, values)
    with pytest.raises(BindingError, match="no entry of the checkpoint matches a parameter of the net"):
        ckptload.plan_binding(net, values).apply()
    assert content(net) == before


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64", "float32"])
def test_a_cell_of_another_dtype_is_rounded_as_mindspore_rounds(dtype: str, tmp_path: Path) -> None:
    mindspore.save_checkpoint(loaded_by_mindspore(parameters(3)), str(tmp_path / "net.ckpt"))
    ours, theirs = (Net().to_float(mindspore.float32) for _ in range(2))
    for net in (ours, theirs):
        for parameter in net.get_parameters():
            parameter.set_dtype(getattr(mindspore, dtype))
    mindspore.load_checkpoint(str(tmp_path / "net.ckpt"), theirs)
    with ckptload.open_checkpoint(tmp_path / "net.ckpt") as reader:
        assert ckptload.load_param_into_net(ours, reader) == ([], [])
    assert content(ours) == content(theirs)
    assert str(ours.fc.weight.dtype).lower() == dtype


@pytest.mark.parametrize(
    "dtype", [dtypes.bool_, dtypes.qint4x2, dtypes.bfloat16, dtypes.float16, dtypes.uint64, dtypes.complex64], ids=str
)
def test_every_dtype_is_loaded_bit_for_bit(dtype: Any) -> None:
    bits = np.random.default_rng(4).integers(0, 2 if dtype is dtypes.bool_ else 256, (2, 3, dtype.itemsize), np.uint8)
    value = Parameter.adopt(bits.view(dtype.numpy).reshape(2, 3), dtype, "w")
    cell = nn.Cell()
    zeros = mindspore.Tensor(np.zeros((2, 3), dtype.numpy), getattr(mindspore, dtype.attribute))
    cell.insert_param_to_cell("w", mindspore.Parameter(zeros, name="w"))
    assert ckptload.load_param_into_net(cell, {"w": value}) == ([], [])
    assert (str(cell.w.dtype), cell.w.get_bytes()) == (str(dtype), value.get_bytes())


# -- cells whose memory is special ----------------------------------------------------------------


def delayed() -> Any:
    with nn.utils.no_init_parameters():
        return Net()


def waiting(net: Any) -> list[bool]:
    return [parameter.has_init for parameter in net.get_parameters()]


def test_a_net_that_waits_for_its_values_gets_them_without_making_others() -> None:
    """What is loaded needs no initial values; what is not keeps waiting for them."""
    net, values = delayed(), parameters(1)
    assert all(waiting(net))
    left = values.pop("fc.bias")
    assert ckptload.load_param_into_net(net, values) == (["fc.bias"], [])
    assert waiting(net) == [parameter.name == "fc.bias" for parameter in net.get_parameters()]
    net.init_parameters_data()
    assert {p.name: p.get_bytes() for p in net.get_parameters() if p.name in values} == {
        name: value.get_bytes() for name, value in values.items()
    }
    values["fc.bias"] = left
    assert ckptload.load_param_into_net(net, values) == ([], [])
    np.testing.assert_array_equal(output(net), output(loaded_by_mindspore(values)))


def test_a_misfit_leaves_a_net_waiting() -> None:
    net, values = delayed(), parameters(1)
    values["fc.bias"] = Parameter(np.zeros(9, np.float32))
    with pytest.raises(BindingError):
        ckptload.load_param_into_net(net, values)
    assert all(waiting(net))


def test_a_parameter_that_is_a_view_takes_the_values() -> None:
    table = mindspore.Tensor(np.arange(6, dtype=np.float32).reshape(2, 3))
    cell = nn.Cell()
    cell.insert_param_to_cell("w", mindspore.Parameter(table.T, name="w"))
    wanted = np.arange(10, 16, dtype=np.float32).reshape(3, 2)
    assert ckptload.load_param_into_net(cell, {"w": Parameter(wanted)}) == ([], [])
    assert cell.w.asnumpy().tolist() == wanted.tolist()


def test_a_map_is_refused() -> None:
    experimental = pytest.importorskip("mindspore.experimental")
    cell = nn.Cell()
    name = {"key_dtype": mindspore.int32, "value_dtype": mindspore.float32, "value_shape": (2,), "name": "m"}
    cell.m = experimental.MapParameter(**name)
    with pytest.raises(BindingError, match="it is a map, which MindSpore fills by itself"):
        ckptload.load_param_into_net(cell, {"m": Parameter(np.zeros(2, np.float32))})
    with pytest.raises(UnsupportedTypeError, match="parameter 'm': it is a map"):
        ckptload.save_checkpoint(cell, "never.ckpt")


def test_other_devices_and_releases_are_given_new_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """There the array of a tensor may be a copy."""
    from ckptload.nets import mindspore_cell

    monkeypatch.setattr(mindspore_cell, "_RELEASE", (2, 5))
    for net in (Net(), delayed()):
        values = parameters(5)
        assert ckptload.load_param_into_net(net, values) == ([], [])
        np.testing.assert_array_equal(output(net), output(loaded_by_mindspore(values)))
        values["fc.bias"].asnumpy()[...] = 9
        assert 9 not in net.fc.bias.asnumpy()
    cell = nn.Cell()
    int4 = mindspore.Tensor(np.zeros(2, np.int8), mindspore.qint4x2)
    cell.insert_param_to_cell("w", mindspore.Parameter(int4, name="w"))
    ckptload.load_param_into_net(cell, {"w": Parameter.adopt(np.array([1, -3], np.int8), dtypes.qint4x2, "w")})
    assert (str(cell.w.dtype), cell.w.asnumpy().tolist()) == ("Int4", [1, -3])


# -- to MindSpore ---------------------------------------------------------------------------------


@several
@given(case=cases())
def test_mindspore_takes_what_is_made_for_it(case: Case) -> None:
    """Parameters of every dtype; strings and maps stay as they are."""
    ours = dictionary(ckptload, case)
    theirs = ckptload.to_mindspore(ours)
    expected = dictionary(mindspore, case)
    assert list(theirs) == list(expected)
    for name, value in expected.items():
        if isinstance(value, str):
            assert theirs[name] == value
        else:
            assert isinstance(theirs[name], mindspore.Parameter)
            assert content_of(theirs[name]) == content_of(value)
            assert address(theirs[name]) != ours[name].asnumpy().ctypes.data


def content_of(parameter: Any) -> tuple[Any, ...]:
    return parameter.name, str(parameter.dtype), parameter.shape, parameter.get_bytes()


def test_an_open_file_is_made_for_mindspore(tmp_path: Path) -> None:
    mindspore.save_checkpoint(loaded_by_mindspore(parameters(3)), str(tmp_path / "net.ckpt"))
    with ckptload.open_checkpoint(tmp_path / "net.ckpt", mmap=True) as reader:
        values = ckptload.to_mindspore(reader)
    net = Net()
    assert mindspore.load_param_into_net(net, values) == ([], [])
    np.testing.assert_array_equal(output(net), output(loaded_by_mindspore(parameters(3))))


def test_whether_a_parameter_is_trained_is_kept() -> None:
    value = Parameter(np.zeros(2, np.float32), requires_grad=False)
    assert not ckptload.to_mindspore({"w": value})["w"].requires_grad


@pytest.mark.parametrize("dtype", [dtypes.float8_e4m3fn, dtypes.hifloat8], ids=str)
def test_a_dtype_that_mindspore_makes_no_tensor_of_is_named(dtype: Any) -> None:
    value = Parameter.adopt(np.zeros(2, dtype.numpy), dtype, "w")
    with pytest.raises(UnsupportedTypeError, match=f"parameter 'w': MindSpore 2.* cannot make a tensor of {dtype}\\b"):
        ckptload.to_mindspore({"w": value})


# -- saving ---------------------------------------------------------------------------------------


def both(folder: Path, saved: Any, **how: Any) -> tuple[bytes, bytes]:
    """Save with MindSpore and with ckptload, and return the bytes of both."""
    ending = how.get("format", "ckpt")
    mindspore.save_checkpoint(saved, str(folder / f"theirs.{ending}"), **how)
    ckptload.save_checkpoint(saved, folder / f"ours.{ending}", **how)
    mindspore.train.serialization._async_save_close()
    for child in multiprocessing.active_children():
        child.join()
    saving._saves.wait()
    return (folder / f"theirs.{ending}").read_bytes(), (folder / f"ours.{ending}").read_bytes()


HOW: list[dict[str, Any]] = [
    {},
    {"crc_check": True},
    {"choice_func": lambda name: name.startswith("fc")},
    {"append_dict": {"epoch": 3, "rate": 0.5, "note": "text", "tensor": mindspore.Tensor([1.5, 2.5])}},
    {"append_dict": {"fc.bias": mindspore.Parameter(mindspore.Tensor([1, 2]), name="other")}},
    {"async_save": True},
    {"async_save": "process"},
    {"format": "safetensors"},
]


@pytest.mark.parametrize("how", HOW, ids=lambda how: "-".join(map(str, how)) or "plain")
@pytest.mark.parametrize(
    "what",
    [
        pytest.param(lambda net: net, id="cell"),
        pytest.param(lambda net: net.trainable_params(), id="list"),
        pytest.param(lambda net: [{"name": f"x.{p.name}", "data": p} for p in net.get_parameters()], id="named"),
        pytest.param(lambda net: dict(net.parameters_dict()), id="dictionary"),
        pytest.param(lambda net: [{"name": "t", "data": mindspore.Tensor([[1, 2]])}] if net else [], id="tensor"),
    ],
)
def test_what_mindspore_saves_is_saved_with_the_same_bytes(
    what: Callable[[Any], Any], how: dict[str, Any], tmp_path: Path
) -> None:
    theirs, ours = both(tmp_path, what(loaded_by_mindspore(parameters(1))), **how)
    if how.get("format") == "safetensors":
        # The order of the metadata is left to chance.
        assert len(ours) == len(theirs)
        assert sorted(ours) == sorted(theirs)
    else:
        assert ours == theirs


@several
@given(case=cases())
def test_random_cells_are_saved_with_the_same_bytes(case: Case, tmp_path: Path) -> None:
    for path in tmp_path.iterdir():
        path.unlink()
    theirs, ours = both(tmp_path, network(mindspore, case))
    assert ours == theirs


def test_a_net_that_waits_for_its_values_is_given_them_to_be_saved(tmp_path: Path) -> None:
    net = delayed()
    ckptload.save_checkpoint(net, tmp_path / "net.ckpt")
    assert not any(waiting(net))
    assert {name: value.get_bytes() for name, value in ckptload.load_checkpoint(tmp_path / "net.ckpt").items()} == {
        parameter.name: parameter.get_bytes() for parameter in net.get_parameters()
    }


def test_a_parameter_with_a_cache_carries_its_key_in_the_name(tmp_path: Path) -> None:
    net = Net()
    net.fc.weight.cache_enable = True
    net.fc.weight.key = 7
    theirs, ours = both(tmp_path, net)
    assert b"fc.weight.__param_key__7" in ours
    assert ours == theirs


def test_a_trained_net_is_saved_as_it_is_at_that_moment(tmp_path: Path) -> None:
    net = loaded_by_mindspore(parameters(1))
    trained(net, 2)
    theirs, ours = both(tmp_path, net)
    assert ours == theirs
