"""PyTorch modules as nets: what keeps its place, what each layer is called, what is refused; state dictionaries."""

# mypy: allow-subclassing-any
from __future__ import annotations

import gc
import subprocess
import sys
import warnings
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import ckptload
from ckptload import dtypes
from ckptload.errors import ArgumentError, ArgumentTypeError, BindingError, CheckpointError, UnsupportedTypeError
from ckptload.tensors import casting
from ckptload.tensors.parameter import Parameter
from ckptload.tensors.tensor import Tensor
from strategies import record

pytest.importorskip("torch")

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ckptload.dtypes import DType

    Supplied = Callable[[dict[str, Any]], Any]

pytestmark = [
    pytest.mark.torch,
    # What is said of layers is tested in tests/nets/pytorch/test_differences.py.
    pytest.mark.filterwarnings("ignore::ckptload.LayerDifferenceWarning"),
]
quiet = pytest.mark.filterwarnings("ignore::UserWarning")

F32 = dtypes.float32


def param(values: Any, dtype: DType = F32, name: str | None = None) -> Parameter:
    return Parameter(Tensor(np.array(values), dtype), name=name)


def numbers(*shape: int, dtype: DType = F32, seed: int = 0) -> Parameter:
    """Return numbers that no new layer has, all of which a 16-bit float would round."""
    return param(np.random.default_rng(seed).uniform(1, 2, shape), dtype)


def for_linear(inner: int = 3, outer: int = 2, dtype: DType = F32, prefix: str = "") -> dict[str, Parameter]:
    return {
        f"{prefix}weight": numbers(outer, inner, dtype=dtype),
        f"{prefix}bias": numbers(outer, dtype=dtype, seed=1),
    }


def encoded(parameters: dict[str, Any]) -> bytes:
    return b"".join(
        record(name, value.shape, str(value.dtype), value.get_bytes()) for name, value in parameters.items()
    )


@pytest.fixture(params=["dictionary", "reader", "mapped"])
def supplied(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Supplied]:
    """Hand over a dictionary as it is, or as an open checkpoint with the same content, mapped or not."""
    with ExitStack() as readers:

        def opened(parameters: dict[str, Any]) -> Any:
            (tmp_path / "stored.ckpt").write_bytes(encoded(parameters))
            mapped = request.param == "mapped"
            return readers.enter_context(ckptload.open_checkpoint(tmp_path / "stored.ckpt", mmap=mapped))

        yield opened if request.param != "dictionary" else lambda parameters: parameters


def raw(tensor: Any) -> bytes:
    """Return a tensor's values as bytes, whatever its dtype and memory."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return bytes(flat.view(torch.uint8).numpy()) if flat.numel() else b""


def state(module: Any) -> dict[str, tuple[Any, ...]]:
    """Return all that loading could change, transient buffers included."""
    every = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
    return {
        name: (id(t), t.dtype, t.device, tuple(t.shape), t.stride(), t.requires_grad, raw(t))
        for name, t in every
        if not t.is_meta
    }


def load(module: Any, parameters: Any, **how: Any) -> Any:
    """Load and refuse to be warned, but of layers that may differ."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ckptload.LayerDifferenceWarning)
        return ckptload.load_param_into_net(module, parameters, **how)


# -- the module keeps what it has -----------------------------------------------------------------


def test_values_go_into_the_tensors_that_are_there(supplied: Supplied) -> None:
    """Their identity, memory, dtype and requires_grad stay, so that optimizers and other modules see the values."""
    module = nn.Linear(3, 2)
    module.bias.requires_grad_(False)
    checkpoint = for_linear()
    weight, pointer = module.weight, module.weight.data_ptr()
    assert load(module, supplied(checkpoint)) == ([], [])
    assert module.weight is weight
    assert weight.data_ptr() == pointer
    assert raw(weight) == checkpoint["weight"].get_bytes()
    assert (weight.requires_grad, module.bias.requires_grad) == (True, False)


def test_module_and_dictionary_share_no_memory() -> None:
    module, checkpoint = nn.Linear(3, 2), for_linear()
    load(module, checkpoint)
    with torch.no_grad():
        module.weight.fill_(9)
    assert 9 not in checkpoint["weight"].asnumpy()
    checkpoint["bias"].asnumpy()[...] = 7
    assert 7 not in module.bias


@pytest.mark.parametrize(
    ("dtype", "torch_dtype"),
    [
        (dtypes.bool_, torch.bool),
        (dtypes.int8, torch.int8),
        (dtypes.int16, torch.int16),
        (dtypes.int32, torch.int32),
        (dtypes.int64, torch.int64),
        (dtypes.uint8, torch.uint8),
        (dtypes.uint16, torch.uint16),
        (dtypes.uint32, torch.uint32),
        (dtypes.uint64, torch.uint64),
        (dtypes.float16, torch.float16),
        (dtypes.float32, torch.float32),
        (dtypes.float64, torch.float64),
        (dtypes.bfloat16, torch.bfloat16),
        (dtypes.complex64, torch.complex64),
        (dtypes.complex128, torch.complex128),
        (dtypes.float8_e4m3fn, torch.float8_e4m3fn),
        (dtypes.float8_e5m2, torch.float8_e5m2),
    ],
    ids=str,
)
@pytest.mark.parametrize("shape", [(), (3,), (2, 0), (2, 3)])
def test_every_dtype_that_both_have_is_loaded_bit_for_bit(
    dtype: DType, torch_dtype: Any, shape: tuple[int, ...], supplied: Supplied
) -> None:
    bits = np.random.default_rng(3).integers(0, 2 if dtype is dtypes.bool_ else 256, (*shape, dtype.itemsize), np.uint8)
    value = Parameter.adopt(bits.view(dtype.numpy).reshape(shape), dtype, "table")
    module = nn.Module()
    module.register_buffer("table", torch.zeros(shape, dtype=torch_dtype))
    assert load(module, supplied({"table": value})) == ([], [])
    assert module.table.dtype is torch_dtype
    assert raw(module.table) == value.get_bytes()
    new = ckptload.to_torch_state_dict({"table": value}, module)["table"]
    assert (new.dtype, tuple(new.shape), raw(new)) == (torch_dtype, shape, value.get_bytes())
    assert ckptload.from_torch(module)["table"].get_bytes() == value.get_bytes()
    assert ckptload.from_torch(module)["table"].dtype is dtype


@quiet
@pytest.mark.parametrize(
    ("torch_dtype", "dtype"), [(torch.float16, dtypes.float16), (torch.bfloat16, dtypes.bfloat16)], ids=str
)
def test_a_half_module_is_rounded_as_mindspore_rounds(torch_dtype: Any, dtype: DType, supplied: Supplied) -> None:
    module, checkpoint = nn.Linear(64, 64).to(torch_dtype), for_linear(64, 64)
    assert ckptload.load_param_into_net(module, supplied(checkpoint)) == ([], [])
    assert module.weight.dtype is torch_dtype
    expected = casting.cast(checkpoint["weight"].asnumpy(), F32, dtype)
    assert raw(module.weight) == expected.tobytes()
    assert (expected.astype(np.float32) != checkpoint["weight"].asnumpy()).any()


def test_a_conversion_is_warned_of_and_strict_loading_refuses_it() -> None:
    module, checkpoint = nn.Linear(3, 2).half(), for_linear()
    before = state(module)
    with pytest.raises(BindingError, match="strict_load=True does not convert dtypes"):
        ckptload.load_param_into_net(module, checkpoint, strict_load=True)
    assert state(module) == before
    with pytest.warns(UserWarning, match=r"2 parameters are converted to the net's dtype: Float32 to Float16 \(2\)"):
        ckptload.load_param_into_net(module, checkpoint)


def test_integers_are_not_made_of_floats() -> None:
    module = nn.Module()
    module.register_buffer("steps", torch.zeros(2, dtype=torch.int64))
    with pytest.raises(BindingError, match="no conversion between these dtypes"):
        ckptload.load_param_into_net(module, {"steps": numbers(2)})
    with pytest.warns(UserWarning, match="converted"):
        ckptload.load_param_into_net(module, {"steps": param([1, -2], dtypes.int8)})
    assert module.steps.tolist() == [1, -2]


@pytest.mark.parametrize("torch_dtype", [torch.float32, torch.bfloat16, torch.float8_e5m2], ids=str)
@quiet
def test_memory_in_another_order_stays_in_that_order(torch_dtype: Any, supplied: Supplied) -> None:
    """For example channels_last, and parameters that are slices of others."""
    module = nn.Conv2d(4, 6, 3).to(memory_format=torch.channels_last)
    module.weight.data = module.weight.data.to(torch_dtype)
    module.bias = nn.Parameter(torch.zeros(12, dtype=torch_dtype)[::2], requires_grad=False)
    strides = module.weight.stride(), module.bias.stride()
    dtype = {torch.float32: F32, torch.bfloat16: dtypes.bfloat16}.get(torch_dtype, dtypes.float8_e5m2)
    checkpoint = {"weight": numbers(6, 4, 3, 3, dtype=dtype), "bias": numbers(6, dtype=dtype)}
    assert load(module, supplied(checkpoint)) == ([], [])
    assert (module.weight.stride(), module.bias.stride()) == strides
    assert raw(module.weight) == checkpoint["weight"].get_bytes()
    assert raw(module.bias) == checkpoint["bias"].get_bytes()


def test_conjugated_and_negated_views_take_the_values_that_they_show(supplied: Supplied) -> None:
    module = nn.Module()
    module.register_buffer("conjugated", torch.zeros(2, dtype=torch.complex64).conj())
    module.register_buffer("negated", torch.zeros(2, dtype=torch.complex64).conj().imag)
    checkpoint = {"conjugated": param([1 + 2j, 3 - 4j], dtypes.complex64), "negated": param([5.0, 6.0])}
    assert load(module, supplied(checkpoint)) == ([], [])
    assert module.conjugated.tolist() == [1 + 2j, 3 - 4j]
    assert module.negated.tolist() == [5.0, 6.0]
    back = ckptload.from_torch(module)
    assert back["conjugated"].asnumpy().tolist() == [1 + 2j, 3 - 4j]
    assert back["negated"].asnumpy().tolist() == [5.0, 6.0]


def test_training_goes_on_and_stale_gradients_are_noticed(supplied: Supplied) -> None:
    """A graph that was recorded before the values changed is refused by autograd, as after any change in place."""
    module = nn.Linear(3, 2)
    given = torch.ones(1, 3, requires_grad=True)
    loss = module(given).sum()
    load(module, supplied(for_linear()))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
    optimizer = torch.optim.Adam(module.parameters())
    before = raw(module.weight)
    module(given).sum().backward()
    optimizer.step()
    assert raw(module.weight) != before


def test_modules_made_for_inference_are_loaded(supplied: Supplied) -> None:
    with torch.inference_mode():
        module = nn.Conv2d(2, 3, 1).to(memory_format=torch.channels_last)
    checkpoint = {"weight": numbers(3, 2, 1, 1), "bias": numbers(3)}
    assert load(module, supplied(checkpoint)) == ([], [])
    assert raw(module.weight) == checkpoint["weight"].get_bytes()


# -- what is looked for ---------------------------------------------------------------------------


def test_persistent_buffers_are_loaded_and_others_left_alone() -> None:
    module = nn.Module()
    module.register_buffer("kept", torch.zeros(2))
    module.register_buffer("transient", torch.zeros(2), persistent=False)
    module.register_buffer("none", None)
    module.register_parameter("missing", None)
    assert load(module, {"kept": numbers(2), "transient": numbers(2)}) == ([], ["transient"])
    assert module.kept.min() >= 1
    assert module.transient.tolist() == [0, 0]
    assert list(ckptload.from_torch(module)) == ["kept"]


def bn(prefix: str = "", size: int = 3) -> dict[str, Parameter]:
    names = ("gamma", "beta", "moving_mean", "moving_variance")
    return {prefix + name: numbers(size, seed=seed) for seed, name in enumerate(names)}


def test_the_count_of_batches_is_left_alone_and_not_missed() -> None:
    """MindSpore keeps none."""
    module = nn.BatchNorm2d(3)
    module.num_batches_tracked.fill_(5)
    assert load(module, bn()) == ([], [])
    assert int(module.num_batches_tracked) == 5
    assert "num_batches_tracked" not in ckptload.to_torch_state_dict(bn(), module)


LAYERS = [
    pytest.param(lambda: nn.BatchNorm1d(3), bn(), id="BatchNorm1d"),
    pytest.param(lambda: nn.BatchNorm2d(3), bn(), id="BatchNorm2d"),
    pytest.param(lambda: nn.BatchNorm3d(3), bn("bn2d."), id="BatchNorm3d"),
    pytest.param(lambda: nn.SyncBatchNorm(3), bn(), id="SyncBatchNorm"),
    pytest.param(lambda: nn.LayerNorm((2, 3)), {"gamma": numbers(2, 3), "beta": numbers(2, 3)}, id="LayerNorm"),
    pytest.param(lambda: nn.GroupNorm(1, 4), {"gamma": numbers(4), "beta": numbers(4)}, id="GroupNorm"),
    pytest.param(
        lambda: nn.InstanceNorm2d(3, affine=True), {"gamma": numbers(3), "beta": numbers(3)}, id="InstanceNorm2d"
    ),
    pytest.param(lambda: nn.RMSNorm(3), {"weight": numbers(3)}, id="RMSNorm"),
    pytest.param(lambda: nn.Embedding(5, 3), {"embedding_table": numbers(5, 3)}, id="Embedding"),
    pytest.param(lambda: nn.EmbeddingBag(5, 3), {"weight": numbers(5, 3)}, id="EmbeddingBag"),
    pytest.param(lambda: nn.PReLU(3), {"w": numbers(3)}, id="PReLU"),
    pytest.param(lambda: nn.Conv1d(4, 6, 3), {"weight": numbers(6, 4, 1, 3), "bias": numbers(6)}, id="Conv1d"),
    pytest.param(
        lambda: nn.ConvTranspose1d(4, 6, 3), {"weight": numbers(4, 6, 1, 3), "bias": numbers(6)}, id="ConvTranspose1d"
    ),
    pytest.param(lambda: nn.Bilinear(4, 5, 3), {"weight": numbers(3, 4, 5), "bias": numbers(3)}, id="Bilinear"),
]

#: The same layers in mindspore.mint.nn have torch's names, and in torch's own files.
SPELLINGS = {"w": "weight", "embedding_table": "weight", "gamma": "weight", "beta": "bias"}
SPELLINGS |= {"moving_mean": "running_mean", "moving_variance": "running_var"}


@pytest.mark.parametrize(("make", "checkpoint"), LAYERS)
@pytest.mark.parametrize("deep", [False, True])
def test_the_type_of_a_layer_says_what_its_tensors_are_called(
    make: Callable[[], Any], checkpoint: dict[str, Parameter], deep: bool
) -> None:
    module = nn.ModuleDict({"gamma": nn.Sequential(make())}) if deep else make()
    prefix = "gamma.0." if deep else ""
    stored = {prefix + name: value for name, value in checkpoint.items()}
    assert load(module, stored, strict_load=True) == ([], [])
    back = ckptload.from_torch(module)
    assert {name: (p.shape, p.get_bytes()) for name, p in back.items()} == {
        name: (p.shape, p.get_bytes()) for name, p in stored.items()
    }


@pytest.mark.parametrize(("make", "checkpoint"), LAYERS)
def test_a_layer_goes_by_torchs_own_names_as_well(make: Callable[[], Any], checkpoint: dict[str, Parameter]) -> None:
    """mindspore.mint.nn uses them, and so do safetensors files that torch wrote; the shapes are then torch's, too."""
    module = nn.Sequential(make())
    own = {key: tuple(value.shape) for key, value in module.state_dict().items()}
    stored: dict[str, Parameter] = {}
    for name, value in checkpoint.items():
        last = name.rpartition(".")[2]
        key = f"0.{SPELLINGS.get(last, last)}"
        stored[key] = param(value.asnumpy().reshape(own[key]))
    assert load(module, stored, strict_load=True) == ([], [])
    assert {key: raw(module.state_dict()[key]) for key in stored} == {k: p.get_bytes() for k, p in stored.items()}


def test_of_two_names_that_the_checkpoint_has_that_of_the_layer_counts() -> None:
    module = nn.Sequential(nn.LayerNorm(2))
    checkpoint = {"0.weight": numbers(2), "0.gamma": numbers(2, seed=1), "0.beta": numbers(2)}
    assert load(module, checkpoint) == ([], ["0.weight"])
    assert raw(module[0].weight) == checkpoint["0.gamma"].get_bytes()


def test_an_exact_name_comes_before_one_behind_a_prefix() -> None:
    module = nn.Sequential(nn.LayerNorm(2, bias=False))
    assert load(module, {"net.0.gamma": numbers(2), "0.weight": numbers(2, seed=1)}) == ([], ["net.0.gamma"])
    assert raw(module[0].weight) == numbers(2, seed=1).get_bytes()


def test_a_count_of_batches_that_the_checkpoint_has_is_loaded() -> None:
    """A BatchNorm of mindspore.mint.nn keeps one."""
    module = nn.Sequential(nn.BatchNorm1d(1))
    checkpoint = {
        **{f"0.{name}": numbers(1) for name in ("weight", "bias", "running_mean", "running_var")},
        "0.num_batches_tracked": param(7, dtypes.int64),
    }
    assert load(module, checkpoint) == ([], [])
    assert int(module[0].num_batches_tracked) == 7


@pytest.mark.parametrize("kind", [nn.TransformerEncoderLayer, nn.TransformerDecoderLayer])
def test_the_dense_layers_of_a_transformer_are_called_dense(kind: Any) -> None:
    module = kind(4, 2, 8, batch_first=True)
    names = set(ckptload.from_torch(module))
    assert {"dense1.weight", "dense2.bias", "self_attn.in_proj_weight", "norm1.gamma"} <= names
    assert not {name for name in names if name.startswith("linear")}


def test_a_module_of_an_unknown_type_keeps_its_own_names() -> None:
    """What looks like another layer by its names alone is not taken for one."""

    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(3))
            self.register_buffer("running_mean", torch.zeros(3))

    module = nn.Sequential(Scale())
    with pytest.raises(BindingError, match=r"the net has 2 parameters: .*running_mean"):
        ckptload.load_param_into_net(module, bn("0."))
    assert load(module, {"0.weight": numbers(3), "0.running_mean": numbers(3)}) == ([], [])


def test_a_subclass_of_a_layer_is_that_layer() -> None:
    class Wide(nn.LayerNorm):
        pass

    assert list(ckptload.from_torch(Wide(3))) == ["gamma", "beta"]


def test_running_statistics_of_an_instance_norm_have_no_counterpart() -> None:
    """MindSpore normalises by the instance alone, whatever statistics it keeps; torch would normalise by them."""
    module = nn.Sequential(nn.InstanceNorm1d(2, affine=True, track_running_stats=True))
    with pytest.warns(UserWarning, match="'0.running_mean', '0.running_var'"):
        result = ckptload.load_param_into_net(module, bn("0.", 2))
    assert result == (["0.running_mean", "0.running_var"], ["0.moving_mean", "0.moving_variance"])


def test_a_projected_lstm_is_refused() -> None:
    """No layer of MindSpore has the projection; the shapes tell."""
    source = ckptload.from_torch(nn.LSTM(4, 6))
    with pytest.raises(BindingError, match=r"'weight_hh_l0'.*the shapes differ"):
        ckptload.load_param_into_net(nn.LSTM(4, 6, proj_size=3), source)


@pytest.mark.parametrize("wrap", ["weight_norm", "parametrize"])
def test_a_weight_that_is_computed_is_reported(wrap: str) -> None:
    module = nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))
    if wrap == "parametrize":
        module = nn.utils.parametrizations.spectral_norm(nn.Linear(3, 2))
    with pytest.warns(UserWarning, match="'parametrizations.weight"):
        missing, unused = ckptload.load_param_into_net(module, for_linear())
    assert unused == ["weight"]
    assert all(name.startswith("parametrizations.weight") for name in missing)


# -- prefixes, wrappers, tied parameters ----------------------------------------------------------


def test_what_stands_before_the_names_of_the_checkpoint_is_found_and_told(supplied: Supplied) -> None:
    """For example a net that was saved inside a training cell."""
    module = nn.Sequential(nn.Conv1d(2, 2, 3, bias=False), nn.BatchNorm1d(2))
    checkpoint = {"network.backbone.0.weight": numbers(2, 2, 1, 3), **bn("network.backbone.1.", 2)}
    with pytest.warns(UserWarning, match=r"after the prefix 'network.backbone.' \(5 parameters\)"):
        assert ckptload.load_param_into_net(module, supplied(checkpoint)) == ([], [])
    assert raw(module[1].running_var) == checkpoint["network.backbone.1.moving_variance"].get_bytes()


@pytest.mark.parametrize("other", ["head.", "moment1.old."])
@pytest.mark.parametrize("weights_first", [True, False])
def test_the_norm_of_another_net_does_not_give_a_tensor_its_name(
    other: str, weights_first: bool, supplied: Supplied
) -> None:
    """A tensor has several names, and that of the layer may stand behind the prefix of another net only."""
    module = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
    weights = {"net.0.weight": numbers(2, 2), "net.0.bias": numbers(2), "net.1.weight": numbers(2, seed=1)}
    weights["net.1.bias"] = numbers(2, seed=2)
    others = {f"{other}1.gamma": numbers(2, seed=3), f"{other}1.beta": numbers(2, seed=4)}
    with pytest.warns(UserWarning, match=r"after the prefix 'net.' \(4 parameters\)"):
        unused = ckptload.load_param_into_net(module, supplied(weights | others if weights_first else others | weights))
    assert unused == ([], list(others))
    assert raw(module[1].weight) == weights["net.1.weight"].get_bytes()


def test_of_two_nets_that_fit_as_well_the_first_in_the_file_counts() -> None:
    checkpoint = {"a.0.weight": numbers(2), "a.0.bias": numbers(2), "b.0.gamma": numbers(2, seed=1)}
    checkpoint["b.0.beta"] = numbers(2, seed=1)
    for order, first in ((list(checkpoint), "a.0.weight"), (list(checkpoint)[::-1], "b.0.gamma")):
        module = nn.Sequential(nn.LayerNorm(2))
        with pytest.warns(UserWarning, match="matched by the end"):
            ckptload.load_param_into_net(module, {key: checkpoint[key] for key in order})
        assert raw(module[0].weight) == checkpoint[first].get_bytes()


def compiled(module: Any) -> Any:
    return torch.compile(module, backend="eager")


WRAPPERS = [
    pytest.param(nn.DataParallel, "module", id="DataParallel"),
    pytest.param(compiled, "_orig_mod", id="compile"),
    pytest.param(lambda module: compiled(nn.DataParallel(module)), "_orig_mod.module", id="both"),
]


@pytest.mark.parametrize(("wrap", "path"), WRAPPERS)
def test_wrappers_that_mindspore_has_not_are_looked_through(wrap: Callable[[Any], Any], path: str) -> None:
    inner = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2))
    module = wrap(inner)
    checkpoint = {**bn("0."), **for_linear(prefix="1.")}
    assert load(module, checkpoint, strict_load=True) == ([], [])
    assert raw(inner[0].running_mean) == checkpoint["0.moving_mean"].get_bytes()
    assert list(ckptload.to_torch_state_dict(checkpoint, module)) == [
        f"{path}.{name}" for name in ("0.weight", "0.bias", "0.running_mean", "0.running_var", "1.weight", "1.bias")
    ]
    assert list(ckptload.from_torch(module)) == list(checkpoint)


class Tied(nn.Module):
    """An embedding that is the head's weight, too."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 3)
        self.head = nn.Linear(3, 5, bias=False)
        self.head.weight = self.embed.weight


@pytest.mark.parametrize(
    ("names", "used"),
    [
        (["embed.embedding_table", "head.weight"], "embed.embedding_table"),
        (["embed.embedding_table"], "embed.embedding_table"),
        (["head.weight"], "head.weight"),
        (["embed.weight"], "embed.weight"),
        (["x.head.weight"], "x.head.weight"),
        (["x.embed.embedding_table", "head.weight"], "head.weight"),
    ],
)
@quiet
def test_a_tied_tensor_is_loaded_once_by_any_of_its_names(names: list[str], used: str, supplied: Supplied) -> None:
    module = Tied()
    checkpoint = {name: numbers(5, 3, seed=seed) for seed, name in enumerate(names)}
    unused = [name for name in names if name != used]
    assert ckptload.load_param_into_net(module, supplied(checkpoint)) == ([], unused)
    assert module.head.weight is module.embed.weight
    assert raw(module.head.weight) == checkpoint[used].get_bytes()
    new = ckptload.to_torch_state_dict(checkpoint, module)
    assert list(new) == ["embed.weight", "head.weight"]
    assert new["embed.weight"] is new["head.weight"]
    Tied().load_state_dict(new, strict=True)


def test_a_tied_tensor_goes_back_under_both_names() -> None:
    back = ckptload.from_torch(Tied())
    assert list(back) == ["embed.embedding_table", "head.weight"]
    assert back["head.weight"].get_bytes() == back["embed.embedding_table"].get_bytes()


def test_a_layer_used_twice_is_loaded_once() -> None:
    layer = nn.Linear(3, 3)
    module = nn.Sequential(layer, nn.ReLU(), layer)
    assert load(module, for_linear(3, 3, prefix="2.")) == ([], [])
    assert raw(layer.weight) == for_linear(3, 3)["weight"].get_bytes()


# -- renaming -------------------------------------------------------------------------------------


def test_a_map_renames_to_mindspores_names_or_to_torchs() -> None:
    module = nn.ModuleDict({"norm": nn.LayerNorm(3), "out": nn.Linear(3, 2), "skip": nn.Linear(1, 1)})
    checkpoint = {
        "ln.gamma": numbers(3),
        "ln.beta": numbers(3, seed=1),
        **for_linear(prefix="fc."),
        "ln2.x": numbers(1),
    }
    by_parts = {"ln": "norm", "fc": "out"}
    to_torch = {"ln.gamma": "norm.weight", "ln.beta": "norm.bias", "fc": "out"}
    for name_map in (by_parts, to_torch, lambda name: name.replace("ln.", "norm.").replace("fc", "out")):
        module["norm"].reset_parameters()
        with pytest.warns(UserWarning, match="'skip.weight', 'skip.bias'"):
            _, unused = ckptload.load_param_into_net(module, checkpoint, name_map=name_map)
        assert unused == ["ln2.x"]
        assert raw(module["norm"].weight) == checkpoint["ln.gamma"].get_bytes()


@quiet
def test_a_function_leaves_entries_out_by_returning_none() -> None:
    module, checkpoint = nn.Linear(3, 2), for_linear()
    bias = raw(module.bias)
    result = ckptload.load_param_into_net(module, checkpoint, name_map=lambda n: None if n == "bias" else n)
    assert result == (["bias"], [])
    assert raw(module.bias) == bias


def test_two_entries_of_one_name_are_refused() -> None:
    module = nn.Linear(3, 2)
    before = state(module)
    with pytest.raises(ArgumentError, match="'weight' and 'bias' would both have this name"):
        ckptload.load_param_into_net(module, for_linear(), name_map=lambda _: "x")
    assert state(module) == before


# -- all or nothing -------------------------------------------------------------------------------


def test_a_misfit_leaves_a_module_byte_for_byte_as_it_was(supplied: Supplied) -> None:
    """The message lists every misfit by MindSpore's names."""
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Conv1d(2, 2, 3))
    checkpoint = {
        **for_linear(prefix="0."),
        **bn("1."),
        "2.weight": numbers(2, 2, 1, 5),
        "2.bias": param([1, 2], dtypes.int32),
    }
    before = state(module)
    with pytest.raises(BindingError) as caught:
        ckptload.load_param_into_net(module, supplied(checkpoint))
    assert state(module) == before
    message = str(caught.value)
    assert "6 of 8 parameters cannot be loaded, and nothing was written" in message
    for line in (
        "'1.gamma': the net has Float32 (2,), the checkpoint Float32 (3,); the shapes differ",
        "'2.weight': the net has Float32 (2, 2, 1, 3), the checkpoint Float32 (2, 2, 1, 5); the shapes differ",
        "'2.bias': the net has Float32 (2,), the checkpoint Int32 (2,); there is no conversion between these dtypes",
    ):
        assert line in message
    with pytest.raises(BindingError):
        ckptload.to_torch_state_dict(supplied(checkpoint), module)
    assert state(module) == before


class Strange(torch.Tensor):
    """A tensor that may keep its values anywhere."""


def expanded() -> Any:
    return nn.Parameter(torch.zeros(1).expand(3), requires_grad=False)


class Clever(torch.Tensor):
    """A tensor that gives something else when it is asked for its values."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = super().__torch_function__(func, types, args, kwargs or {})
        return found.as_subclass(torch.Tensor).clone() if func is torch.Tensor.detach else found


def emptied(size: int) -> Any:
    """Return three numbers whose memory was given back but for so many bytes, as sharded nets do."""
    tensor = torch.zeros(3)
    tensor.untyped_storage().resize_(size)
    return tensor


def inside(transform: Any) -> Any:
    """Return a tensor that has left the function of a transform."""
    caught = []

    def function(tensor: Any) -> Any:
        caught.append(tensor)
        return tensor.sum()

    transform(function)(torch.zeros(2, 3) if transform is torch.func.vmap else torch.zeros(3))
    return caught[0]


def sparse() -> Any:
    return nn.Parameter(torch.zeros(3).to_sparse(), requires_grad=False)


REFUSED = [
    pytest.param(lambda: nn.Parameter(torch.zeros(3, device="meta")), "meta device.*to_empty", id="meta"),
    pytest.param(expanded, "several of its elements share memory, as in an expanded", id="expanded"),
    pytest.param(lambda: torch.zeros(5).as_strided((3,), (0,)), "elements share memory, .*expanded", id="strided"),
    pytest.param(lambda: emptied(0), "its storage was freed, and it needs 12 bytes", id="freed"),
    pytest.param(lambda: emptied(8), "its storage has 8 bytes, and it needs 12 bytes", id="short"),
    pytest.param(lambda: FakeTensorMode().from_tensor(torch.zeros(3)), "how a .*FakeTensor keeps", id="fake"),
    pytest.param(lambda: torch.zeros(3).as_subclass(Clever), r"how a \S*Clever keeps", id="with torch function"),
    pytest.param(lambda: inside(torch.func.vmap), "no memory of its own, as inside a transform", id="vmap"),
    pytest.param(lambda: inside(torch.func.grad), "no memory of its own, as inside a transform", id="grad"),
    pytest.param(lambda: torch._to_functional_tensor(torch.zeros(3)), "no memory of its own", id="functional"),
    pytest.param(lambda: torch._efficientzerotensor(3), "no memory of its own", id="zero tensor"),
    pytest.param(lambda: torch.nested.nested_tensor([torch.zeros(3)]), "nested tensor", id="nested"),
    pytest.param(lambda: torch.zeros(3).to_mkldnn(), r"layout is torch\._mkldnn", id="mkldnn"),
    pytest.param(
        lambda: torch.quantize_per_tensor(torch.zeros(3), 1.0, 0, torch.quint8), "no counterpart", id="quantized"
    ),
    pytest.param(sparse, "layout is torch.sparse_coo", id="sparse"),
    pytest.param(nn.parameter.UninitializedParameter, "lazy module.*run it once", id="lazy"),
    pytest.param(
        lambda: nn.Parameter(torch.zeros(3, dtype=torch.float8_e4m3fnuz), requires_grad=False),
        "net has torch.float8_e4m3fnuz.*no counterpart of torch.float8_e4m3fnuz",
        id="dtype",
    ),
    pytest.param(lambda: nn.Parameter(torch.zeros(3).as_subclass(Strange)), r"how a \S*Strange keeps", id="subclass"),
]


@pytest.mark.parametrize(("make", "reason"), REFUSED)
@quiet  # of torch, about kinds of tensors that it will drop
def test_what_cannot_be_written_is_refused_before_anything_is(
    make: Callable[[], Any], reason: str, tmp_path: Path
) -> None:
    module = nn.Module()
    module.first = nn.Parameter(torch.zeros(3))
    put(module, make())
    with pytest.raises(BindingError, match=reason):
        ckptload.load_param_into_net(module, {"first": numbers(3), "second": numbers(3)})
    assert module.first.tolist() == [0, 0, 0]
    if "expanded" not in reason:
        with pytest.raises(BindingError, match="1 tensor cannot be saved:\n    'second': "):
            ckptload.from_torch(module)
        with pytest.raises(CheckpointError, match=r"parameter 'second': a torch\.Tensor cannot be taken"):
            ckptload.save_checkpoint({"second": module.second}, str(tmp_path / "a.ckpt"))
        assert not list(tmp_path.iterdir())
    else:
        assert ckptload.from_torch(module)["second"].asnumpy().tolist() == [0, 0, 0]


@pytest.mark.parametrize(("make", "reason"), REFUSED)
@quiet
def test_what_cannot_be_written_is_no_misfit_if_nothing_is_to_be_written(make: Callable[[], Any], reason: str) -> None:
    module = nn.Module()
    module.first = nn.Parameter(torch.zeros(3))
    put(module, make())
    assert reason
    with pytest.warns(UserWarning, match="'second'"):
        assert ckptload.load_param_into_net(module, {"first": numbers(3)}) == (["second"], [])


def put(module: Any, tensor: Any) -> None:
    if isinstance(tensor, (nn.Parameter, nn.parameter.UninitializedParameter)):
        module.second = tensor
    else:
        module.register_buffer("second", tensor)


def with_buffers(**tensors: Any) -> Any:
    module = nn.Module()
    for name, tensor in tensors.items():
        module.register_buffer(name, tensor)
    return module


def test_tensors_that_overlap_each_other_are_refused(supplied: Supplied) -> None:
    """One would overwrite the other; where only one of them is loaded, it is."""
    base = torch.zeros(6)
    module = with_buffers(a=base[:4], b=base[2:], c=torch.zeros(2))
    with pytest.raises(BindingError, match=r"'a': .*it shares memory with 'b'"):
        ckptload.load_param_into_net(module, supplied({"a": numbers(4), "b": numbers(4), "c": numbers(2)}))
    assert not base.any()
    assert not module.c.any()
    module.b = torch.zeros(4)
    assert ckptload.load_param_into_net(module, supplied({"a": numbers(4), "b": numbers(4), "c": numbers(2)}))


def test_tensors_side_by_side_in_one_memory_are_loaded(supplied: Supplied) -> None:
    base = torch.zeros(4, 2)
    module = with_buffers(a=base[:, 0], b=base[:, 1])
    values = {"a": numbers(4), "b": numbers(4)}
    assert ckptload.load_param_into_net(module, supplied(values)) == ([], [])
    assert module.a.tolist() == module.b.tolist() == values["a"].asnumpy().tolist()


@quiet
def test_two_objects_of_the_same_memory_are_a_tied_tensor(supplied: Supplied) -> None:
    """As `a.weight.data = b.weight.data` makes them."""
    first, second = nn.Linear(3, 2, bias=False), nn.Linear(3, 2, bias=False)
    second.weight.data = first.weight.data
    module = nn.Sequential(first, second)
    assert ckptload.load_param_into_net(module, supplied({"1.weight": numbers(2, 3)})) == ([], [])
    assert torch.equal(first.weight, torch.from_numpy(numbers(2, 3).asnumpy()))


def test_a_state_dictionary_is_made_for_tensors_that_could_not_be_written() -> None:
    base = torch.zeros(6)
    module = with_buffers(a=base[:4], b=base[2:], c=emptied(0), d=torch.zeros(1).expand(2))
    values = {name: numbers(*module.get_buffer(name).shape) for name in "abcd"}
    state = ckptload.to_torch_state_dict(values, module)
    assert {name: tensor.tolist() for name, tensor in state.items()} == {
        name: value.asnumpy().tolist() for name, value in values.items()
    }


@pytest.mark.parametrize("change", ["dtype", "shape"])
def test_a_module_that_was_changed_after_planning_is_not_written(change: str) -> None:
    module = nn.Sequential(nn.Linear(3, 2), nn.Linear(3, 2))
    plan = ckptload.plan_binding(module, {**for_linear(prefix="0."), **for_linear(prefix="1.")})
    if change == "dtype":
        module[1].half()
    else:
        module[1].weight.data = module[1].weight.data[:1]
    before = state(module)
    with pytest.raises(BindingError, match="was changed after the plan was made"):
        plan.apply()
    assert state(module) == before


def test_a_plan_reads_well() -> None:
    module = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2).half())
    checkpoint = {**bn("0."), "1.weight": numbers(2, 3), "epoch": "7"}
    assert str(ckptload.plan_binding(module, checkpoint)) == (
        "5 of 6 parameters can be loaded from 6 entries\n"
        "  5 matched by name: '0.gamma', '0.beta', '0.moving_mean', '0.moving_variance', '1.weight'\n"
        "  1 converted from Float32 to Float16: '1.weight'\n"
        "  1 parameter of the net not in the checkpoint:\n"
        "    '1.bias'\n"
        "  1 entry of the checkpoint not used: 'epoch'"
    )


def test_strings_and_maps_never_reach_a_tensor() -> None:
    module = nn.Linear(3, 2)
    before = state(module)
    checkpoint = {"weight": "text", "bias": [np.zeros(2, np.float32)] * 3, "seed": b"1"}
    with pytest.raises(BindingError, match="'weight' is not a tensor in the checkpoint"):
        ckptload.load_param_into_net(module, checkpoint)
    with pytest.warns(UserWarning, match="2 of 2 parameters"):
        result = ckptload.load_param_into_net(module, checkpoint, strict_load=True)
    assert result == (["weight", "bias"], ["weight", "bias", "seed"])
    assert state(module) == before


def test_two_tensors_of_one_name_are_refused() -> None:
    class Scaled(nn.LayerNorm):
        def __init__(self) -> None:
            super().__init__(3)
            self.gamma = nn.Parameter(torch.zeros(3))

    with pytest.raises(ArgumentError, match="several parameters of the net have the same name: 'gamma'"):
        ckptload.load_param_into_net(Scaled(), {"gamma": numbers(3)})
    with pytest.raises(ArgumentError, match="'weight' and 'gamma' would have the same name in MindSpore"):
        ckptload.from_torch(Scaled())


def test_scripted_modules_have_no_types_and_keep_their_own_names() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = torch.jit.trace(nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2)), torch.zeros(1, 3))
    assert set(ckptload.from_torch(module)) == {"0.weight", "0.bias", "1.weight", "1.bias"}
    checkpoint = {**for_linear(prefix="0."), "1.weight": numbers(2), "1.bias": numbers(2)}
    assert load(module, checkpoint) == ([], [])
    assert raw(module.state_dict()["1.weight"]) == checkpoint["1.weight"].get_bytes()


# -- state dictionaries ---------------------------------------------------------------------------


def test_a_state_dictionary_owns_its_memory(supplied: Supplied) -> None:
    checkpoint = for_linear()
    module = nn.Linear(3, 2)
    for given in (module, None):
        new = ckptload.to_torch_state_dict(supplied(checkpoint), given)
        gc.collect()
        assert {key: raw(value) for key, value in new.items()} == {k: p.get_bytes() for k, p in checkpoint.items()}
        assert not {value.data_ptr() for value in new.values()} & {
            module.weight.data_ptr(),
            module.bias.data_ptr(),
            checkpoint["weight"].asnumpy().ctypes.data,
            checkpoint["bias"].asnumpy().ctypes.data,
        }
        for value in new.values():
            value.fill_(9)
        assert 9 not in checkpoint["weight"].asnumpy()
        assert 9 not in module.weight


def test_a_state_dictionary_has_the_modules_dtypes_and_lies_on_the_cpu() -> None:
    module = nn.Linear(3, 2, device="meta", dtype=torch.float64)
    with pytest.warns(UserWarning, match="converted"):
        new = ckptload.to_torch_state_dict(for_linear(), module)
    assert {(value.dtype, value.device.type) for value in new.values()} == {(torch.float64, "cpu")}
    module = nn.Linear(3, 2, dtype=torch.float64)
    module.load_state_dict(new, strict=True)


def test_what_a_state_dictionary_lacks_and_leaves_is_told() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        new = ckptload.to_torch_state_dict({**bn(), "weight": numbers(2, 3)}, nn.Linear(3, 2))
    assert list(new) == ["weight"]
    assert [warning.filename for warning in caught] == [__file__] * 2
    assert "no tensor of that name: 'bias'" in str(caught[0].message)
    assert "the module has no tensor for 4 entries: 'gamma', 'beta'" in str(caught[1].message)


def test_a_module_in_which_nothing_matches_is_refused(supplied: Supplied) -> None:
    module = nn.Linear(3, 2)
    before = state(module)
    for convert in (
        ckptload.load_param_into_net,
        lambda net, parameters: ckptload.to_torch_state_dict(parameters, net),
    ):
        with pytest.raises(BindingError, match="the net has 2 parameters: 'weight', 'bias'"):
            convert(module, supplied({**bn(), "global_step": param(3, dtypes.int32)}))
    assert state(module) == before


def test_a_module_and_its_state_dictionary_are_filled_with_what_fits(supplied: Supplied) -> None:
    module, checkpoint = nn.Linear(3, 2), {**for_linear(outer=2), "bias": numbers(7), "moment1.bias": numbers(2)}
    before = state(module)
    with pytest.warns(UserWarning, match="1 of 2 parameters keeps its values, because its entry does not fit:"):
        lists = ckptload.load_param_into_net(module, supplied(checkpoint), skip_misfits=True)
    assert lists == (["bias"], ["bias", "moment1.bias"])
    assert raw(module.weight) == checkpoint["weight"].get_bytes()
    assert state(module)["bias"] == before["bias"]
    with pytest.raises(BindingError, match="skip_misfits=True"):
        ckptload.to_torch_state_dict(supplied(checkpoint), module)
    with pytest.warns(UserWarning, match=r"does not fit:|no tensor for 2 entries: 'bias', 'moment1.bias'"):
        assert list(ckptload.to_torch_state_dict(supplied(checkpoint), module, skip_misfits=True)) == ["weight"]


@pytest.mark.parametrize("module", [None, nn.Linear(3, 2)], ids=["without", "with"])
def test_skip_misfits_is_true_or_false(module: Any) -> None:
    with pytest.raises(ArgumentTypeError, match="skip_misfits must be True or False, not 1"):
        ckptload.to_torch_state_dict(for_linear(), module, skip_misfits=1)  # type: ignore[arg-type]


def test_groups_of_names_say_what_they_are() -> None:
    """Statistics make a BatchNorm; gamma and beta alone are a LayerNorm or a GroupNorm, which torch calls alike."""
    checkpoint = {
        **bn("bn."),
        "norm.gamma": numbers(2),
        "norm.beta": numbers(2),
        "embed.embedding_table": numbers(2, 2),
        "head.weight": numbers(2, 2),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        new = ckptload.to_torch_state_dict(checkpoint)
    assert list(new) == [
        *("bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"),
        *("norm.weight", "norm.bias", "embed.weight", "head.weight"),
    ]


def test_names_that_could_be_several_things_are_kept_and_listed() -> None:
    checkpoint = {"scale.gamma": numbers(2), "act.w": numbers(1), "conv.weight": numbers(2, 2, 1, 3), "note": "text"}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        new = ckptload.to_torch_state_dict(checkpoint)
    assert list(new) == ["scale.gamma", "act.w", "conv.weight"]
    assert [warning.filename for warning in caught] == [__file__] * 2
    assert "3 names of the checkpoint may have another name or shape in torch" in str(caught[0].message)
    assert "'scale.gamma', 'act.w', 'conv.weight'" in str(caught[0].message)
    assert "1 entry is not a tensor and left out: 'note'" in str(caught[1].message)


def test_a_norm_is_told_by_shapes_and_by_every_name_beside_it() -> None:
    checkpoint = {
        **{f"grn.{last}": Parameter(np.ones((1, 1, 1, 4), np.float32)) for last in ("gamma", "beta")},
        **{f"b.{last}": numbers(2) for last in ("gamma", "beta", "norm.gamma", "norm.beta")},
        **{f"noted.{last}": numbers(2) for last in ("gamma", "beta")},
        "noted.layer.kind": "text",
    }
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        new = ckptload.to_torch_state_dict(checkpoint)
    left = ["grn.gamma", "grn.beta", "b.gamma", "b.beta", "noted.gamma", "noted.beta"]
    assert sorted(new) == sorted([*left, "b.norm.weight", "b.norm.bias"])
    assert "6 names of the checkpoint may have another name" in str(caught[0].message)
    assert ", ".join(map(repr, left)) in str(caught[0].message)


def test_a_map_comes_before_the_groups() -> None:
    checkpoint = {"ln.gamma": numbers(2), "ln.beta": numbers(2)}
    assert list(ckptload.to_torch_state_dict(checkpoint, name_map={"ln": "blocks.0.norm"})) == [
        "blocks.0.norm.weight",
        "blocks.0.norm.bias",
    ]


def test_a_type_that_torch_has_not_is_named() -> None:
    value = Parameter.adopt(np.zeros(2, np.uint8), dtypes.hifloat8, "w")
    with pytest.raises(UnsupportedTypeError, match=r"'odd.weight': torch .* has no dtype for HiFloat8"):
        ckptload.to_torch_state_dict({"odd.weight": value}, name_map={"odd": "even"})


def test_what_comes_from_torch_owns_its_memory() -> None:
    module = nn.Linear(3, 2)
    back = ckptload.from_torch(module)
    before = raw(module.weight)
    back["weight"].asnumpy()[...] = 9
    assert raw(module.weight) == before
    with torch.no_grad():
        module.bias.fill_(7)
    assert 7 not in back["bias"].asnumpy()
    assert back["weight"].asnumpy().flags.writeable
    assert back["weight"].asnumpy().flags.c_contiguous


def test_what_comes_from_torch_says_what_is_trained() -> None:
    back = ckptload.from_torch(nn.BatchNorm1d(2))
    assert [name for name, value in back.items() if value.requires_grad] == ["gamma", "beta"]
    assert [value.name for value in back.values()] == list(back)


def test_expanded_tensors_are_saved_in_full() -> None:
    module = nn.Module()
    module.register_buffer("ids", torch.arange(2).expand(3, 2))
    assert ckptload.from_torch(module)["ids"].asnumpy().tolist() == [[0, 1]] * 3


@pytest.mark.parametrize("call", [ckptload.from_torch, lambda net: ckptload.to_torch_state_dict({}, net)])
@pytest.mark.parametrize("net", [{}, torch.zeros(1), ckptload.Cell()], ids=lambda net: type(net).__name__)
def test_only_modules_are_taken_for_modules(call: Callable[[Any], Any], net: Any) -> None:
    with pytest.raises(ArgumentTypeError, match=r"module must be a torch.nn.Module, not "):
        call(net)


def test_torch_is_imported_by_who_uses_it_alone(tmp_path: Path) -> None:
    """Neither importing the package nor loading into its own cells needs a framework."""
    code = """
import sys, ckptload
cell = ckptload.Cell()
cell.w = ckptload.Parameter([1.0], name="w")
ckptload.load_param_into_net(cell, {"w": cell.w})
ckptload.save_checkpoint(cell, sys.argv[1])
try:
    ckptload.load_param_into_net(object(), {})
except ckptload.ArgumentTypeError:
    print(*sorted({"torch", "mindspore"} & set(sys.modules)))
"""
    command = [sys.executable, "-c", code, str(tmp_path / "x.ckpt")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == ""
