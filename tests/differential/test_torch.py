"""The same layers and networks in MindSpore and in torch, with new random values: they compute the same, both ways.

This needs both frameworks in one environment.
"""

# mypy: allow-subclassing-any
from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest

import ckptload
from places import SHARED

pytest.importorskip("mindspore")
pytest.importorskip("torch")

import mindspore
import mindspore.nn as ms
import torch
import torch.nn as th

from networks import mindspore_side, torch_side

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [
    pytest.mark.mindspore,
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    # What is said of layers is tested in test_differences.py.
    pytest.mark.filterwarnings("ignore::ckptload.LayerDifferenceWarning"),
    # One of torch, about the layout of a mask.
    pytest.mark.filterwarnings("ignore:enable_nested_tensor is True"),
]

CORPUS = SHARED / "corpus"
SEEDS = [101, 102, 103]
#: Tolerance where MindSpore computes tanh, which on the CPU it does to about four digits.
ROUGH = 100.0
#: Networks that have it.
CURVED = {"gated"}


def assert_close(ours: Any, theirs: Any, scale: float = 1.0) -> None:
    """Compare outputs to the precision of float32, times `scale`."""
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=1e-5 * scale, atol=2e-6 * scale * max(1, np.abs(theirs).max()))


def shapes(parameters: Any) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of what either library has."""
    return {parameter.name: tuple(parameter.shape) for parameter in parameters}


# -- networks -------------------------------------------------------------------------------------


def torch_output(module: Any, given: Any) -> Any:
    with torch.no_grad():
        return module(torch.from_numpy(given)).numpy()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", mindspore_side.NETWORKS)
def test_a_network_of_mindspore_computes_the_same_in_torch(name: str, seed: int, tmp_path: Path) -> None:
    net, module = mindspore_side.build(name), torch_side.build(name)
    mindspore_side.randomise(net, seed)
    mindspore.save_checkpoint(net, str(tmp_path / "net.ckpt"))
    with ckptload.open_checkpoint(tmp_path / "net.ckpt") as reader:
        assert ckptload.load_param_into_net(module, reader, strict_load=True) == ([], [])
    given = mindspore_side.inputs(name, seed)
    assert_close(torch_output(module, given), mindspore_side.output(net, given), ROUGH if name in CURVED else 1.0)


@pytest.mark.parametrize("name", mindspore_side.NETWORKS)
def test_a_network_of_torch_computes_the_same_in_mindspore(name: str, tmp_path: Path) -> None:
    """Loaded by MindSpore itself: from memory, from a file, and from a file that was saved of the module."""
    module = torch_side.build(name)
    given = mindspore_side.inputs(name, 7)
    expected = torch_output(module, given)
    weights = ckptload.from_torch(module)
    ckptload.save_checkpoint(weights, tmp_path / "weights.ckpt")
    ckptload.save_checkpoint(module, tmp_path / "module.ckpt")
    for source in (
        ckptload.to_mindspore(weights),
        mindspore.load_checkpoint(str(tmp_path / "weights.ckpt")),
        mindspore.load_checkpoint(str(tmp_path / "module.ckpt")),
    ):
        net = mindspore_side.build(name)
        assert mindspore.load_param_into_net(net, source, strict_load=True) == ([], [])
        assert_close(mindspore_side.output(net, given), expected, ROUGH if name in CURVED else 1.0)
    assert shapes(weights.values()) == shapes(net.get_parameters())


# -- layers ---------------------------------------------------------------------------------------


class Layer(NamedTuple):
    """A layer in both frameworks, and how it is called.

    Attributes:
        theirs: makes MindSpore's.
        ours: makes torch's.
        inputs: shapes of the inputs, or an input itself.
        call: calls either; None with all inputs.
        scale: tolerance.
    """

    theirs: Callable[[], Any]
    ours: Callable[[], Any]
    inputs: tuple[Any, ...]
    call: Callable[..., Any] | None = None
    scale: float = 1.0


NUMBERS = np.array([[0, 1, 4], [2, 2, 10]], np.int32)


def with_state(layer: Any, given: Any, hidden: Any, cell: Any) -> Any:
    return layer(given, (hidden, cell))


def recurrent(name: str, layers: int, **how: Any) -> Layer:
    bias = how.pop("bias", True)
    return Layer(
        lambda: getattr(ms, name)(6, 5, layers, has_bias=bias, **how),
        lambda: getattr(th, name)(6, 5, layers, bias=bias, **how),
        ((7, 2, 6),),
        scale=1.0 if name == "LSTM" else ROUGH,
    )


def attention(**how: Any) -> Layer:
    bias = how.pop("bias", True)
    keys, values = how.get("kdim", 8), how.get("vdim", 8)
    return Layer(
        lambda: ms.MultiheadAttention(8, 2, has_bias=bias, batch_first=True, **how),
        lambda: th.MultiheadAttention(8, 2, bias=bias, batch_first=True, **how),
        ((2, 7, 8), (2, 4, keys), (2, 4, values)),
    )


def transformer(name: str, act: str, norm_first: bool, *inputs: Any) -> Layer:
    def make(library: Any) -> Any:
        return getattr(library, name)(8, 2, 16, 0.0, act, batch_first=True, norm_first=norm_first)

    return Layer(lambda: make(ms), lambda: make(th), inputs)


def convolution(name: str, groups: int, kernel: Any, *given: int) -> Layer:
    transposed = name.endswith("Transpose")
    torch_name = "ConvTranspose" + name[4:6] if transposed else name
    stride = 2 if transposed else 1
    return Layer(
        lambda: getattr(ms, name)(4, 6, kernel, stride=stride, pad_mode="valid", group=groups, has_bias=True),
        lambda: getattr(th, torch_name)(4, 6, kernel, stride=stride, groups=groups),
        ((2, 4, *given),),
    )


LAYERS: dict[str, Layer] = {
    "Dense": Layer(lambda: ms.Dense(4, 3), lambda: th.Linear(4, 3), ((2, 4),)),
    "Dense without bias": Layer(lambda: ms.Dense(4, 3, has_bias=False), lambda: th.Linear(4, 3, bias=False), ((2, 4),)),
    "BiDense": Layer(lambda: ms.BiDense(4, 5, 3), lambda: th.Bilinear(4, 5, 3), ((2, 4), (2, 5))),
    "BatchNorm1d": Layer(lambda: ms.BatchNorm1d(3), lambda: th.BatchNorm1d(3), ((5, 3),)),
    "BatchNorm2d": Layer(lambda: ms.BatchNorm2d(3), lambda: th.BatchNorm2d(3), ((5, 3, 4, 4),)),
    "BatchNorm3d": Layer(lambda: ms.BatchNorm3d(3), lambda: th.BatchNorm3d(3), ((5, 3, 4, 4, 4),)),
    "SyncBatchNorm": Layer(lambda: ms.BatchNorm2d(3), lambda: th.SyncBatchNorm(3), ((5, 3, 4, 4),)),
    "LayerNorm": Layer(lambda: ms.LayerNorm((5,), epsilon=1e-5), lambda: th.LayerNorm(5), ((3, 4, 5),)),
    "LayerNorm of two axes": Layer(
        lambda: ms.LayerNorm((4, 5), begin_norm_axis=1, begin_params_axis=1, epsilon=1e-5),
        lambda: th.LayerNorm((4, 5)),
        ((3, 4, 5),),
    ),
    "GroupNorm": Layer(lambda: ms.GroupNorm(2, 6), lambda: th.GroupNorm(2, 6), ((3, 6, 5, 5),)),
    "PReLU": Layer(lambda: ms.PReLU(6), lambda: th.PReLU(6), ((3, 6, 5, 5),)),
    "PReLU of one slope": Layer(ms.PReLU, th.PReLU, ((3, 6, 5, 5),)),
    "Embedding": Layer(lambda: ms.Embedding(11, 6), lambda: th.Embedding(11, 6), (NUMBERS,)),
    "Embedding with padding": Layer(
        lambda: ms.Embedding(11, 6, padding_idx=0), lambda: th.Embedding(11, 6, padding_idx=0), (NUMBERS,)
    ),
    "EmbeddingLookup": Layer(lambda: ms.EmbeddingLookup(11, 6), lambda: th.Embedding(11, 6), (NUMBERS,)),
    "depthwise Conv2d": Layer(
        lambda: ms.Conv2d(4, 4, 3, pad_mode="pad", padding=1, group=4),
        lambda: th.Conv2d(4, 4, 3, padding=1, groups=4, bias=False),
        ((2, 4, 9, 9),),
    ),
    "dilated Conv1d": Layer(
        lambda: ms.Conv1d(4, 6, 3, pad_mode="pad", padding=2, dilation=2),
        lambda: th.Conv1d(4, 6, 3, padding=2, dilation=2, bias=False),
        ((2, 4, 9),),
    ),
    **{f"Conv1d in {n}": convolution("Conv1d", n, 3, 9) for n in (1, 2)},
    **{f"Conv2d in {n}": convolution("Conv2d", n, (3, 2), 9, 8) for n in (1, 2)},
    **{f"Conv3d in {n}": convolution("Conv3d", n, (3, 2, 1), 5, 6, 7) for n in (1, 2)},
    **{f"Conv1dTranspose in {n}": convolution("Conv1dTranspose", n, 3, 9) for n in (1, 2)},
    **{f"Conv2dTranspose in {n}": convolution("Conv2dTranspose", n, (3, 2), 5, 6) for n in (1, 2)},
    **{f"Conv3dTranspose in {n}": convolution("Conv3dTranspose", n, (3, 2, 2), 5, 4, 3) for n in (1, 2)},
    **{
        f"{name} {layers} {'bias' if bias else ''} {'both ways' if both else ''}": recurrent(
            name, layers, bias=bias, bidirectional=both
        )
        for name in ("LSTM", "GRU", "RNN")
        for layers, bias, both in ((1, True, False), (2, True, True), (3, False, True))
    },
    "LSTMCell": Layer(
        lambda: ms.LSTMCell(6, 5), lambda: th.LSTMCell(6, 5), ((3, 6), (3, 5), (3, 5)), with_state, scale=ROUGH
    ),
    "GRUCell": Layer(lambda: ms.GRUCell(6, 5), lambda: th.GRUCell(6, 5), ((3, 6), (3, 5)), scale=ROUGH),
    "RNNCell": Layer(lambda: ms.RNNCell(6, 5), lambda: th.RNNCell(6, 5), ((3, 6), (3, 5)), scale=ROUGH),
    "RNNCell without bias": Layer(
        lambda: ms.RNNCell(6, 5, has_bias=False, nonlinearity="relu"),
        lambda: th.RNNCell(6, 5, bias=False, nonlinearity="relu"),
        ((3, 6), (3, 5)),
    ),
    "attention": attention(),
    "attention without bias": attention(bias=False),
    "attention of other sizes": attention(kdim=5, vdim=6),
    "attention with more keys": attention(add_bias_kv=True),
    "attention with a zero": attention(add_zero_attn=True),
    **{
        f"{name} {act} {'norm first' if first else ''}": transformer(name, act, first, *inputs)
        for name, inputs in (
            ("TransformerEncoderLayer", ((2, 7, 8),)),
            ("TransformerDecoderLayer", ((2, 7, 8), (2, 4, 8))),
        )
        for act in ("relu", "gelu")
        for first in (False, True)
    },
    "Transformer": Layer(
        lambda: ms.Transformer(8, 2, 2, 2, 16, 0.0, batch_first=True),
        lambda: th.Transformer(8, 2, 2, 2, 16, 0.0, batch_first=True),
        ((2, 7, 8), (2, 4, 8)),
    ),
    "mint Linear": Layer(lambda: mindspore.mint.nn.Linear(4, 3), lambda: th.Linear(4, 3), ((2, 4),)),
    "mint GroupNorm": Layer(lambda: mindspore.mint.nn.GroupNorm(2, 4), lambda: th.GroupNorm(2, 4), ((2, 4, 5),)),
    "mint PReLU": Layer(lambda: mindspore.mint.nn.PReLU(3), lambda: th.PReLU(3), ((2, 3, 5, 5),)),
}

every_layer = pytest.mark.parametrize("name", LAYERS)


class Cell(ms.Cell):
    """A network of one layer, so that names have a path."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = layer

    def construct(self, *given: Any) -> Any:
        return self.layer(*given)


class Module(th.Module):
    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = layer


def layer_output(layer: Layer, made: Any, given: list[Any]) -> Any:
    """Return the first output of either framework's layer as an array."""
    library = torch.from_numpy if isinstance(made, th.Module) else mindspore.Tensor
    with torch.no_grad():
        found = (layer.call or (lambda made, *given: made(*given)))(made, *map(library, given))
        while isinstance(found, tuple):
            found = found[0]
        return found.numpy() if isinstance(made, th.Module) else found.asnumpy()


def given_to(layer: Layer, seed: int) -> list[Any]:
    rng = np.random.default_rng(seed)
    return [rng.normal(0, 1, each).astype(np.float32) if isinstance(each, tuple) else each for each in layer.inputs]


@every_layer
def test_a_layer_of_mindspore_computes_the_same_in_torch(name: str) -> None:
    layer = LAYERS[name]
    net, module = Cell(layer.theirs()).set_train(False), Module(layer.ours()).eval()
    mindspore_side.randomise(net, 11)
    given = given_to(layer, 12)
    expected = layer_output(layer, net.layer, given)
    with pytest.raises(AssertionError):
        assert_close(layer_output(layer, module.layer, given), expected, layer.scale)
    weights = {parameter.name: ckptload.Parameter(parameter.asnumpy()) for parameter in net.get_parameters()}
    assert ckptload.load_param_into_net(module, weights, strict_load=True) == ([], [])
    assert_close(layer_output(layer, module.layer, given), expected, layer.scale)


@pytest.mark.parametrize("name", [name for name in LAYERS if not name.startswith("mint")])
def test_a_layer_of_torch_has_mindspores_names_and_computes_the_same_there(name: str) -> None:
    layer = LAYERS[name]
    net, module = Cell(layer.theirs()).set_train(False), Module(layer.ours()).eval()
    weights = ckptload.from_torch(module)
    assert shapes(weights.values()) == shapes(net.get_parameters())
    assert mindspore.load_param_into_net(net, ckptload.to_mindspore(weights), strict_load=True) == ([], [])
    given = given_to(layer, 13)
    assert_close(layer_output(layer, net.layer, given), layer_output(layer, module.layer, given), layer.scale)


# -- what MindSpore does not compute on the CPU: names and shapes alone ---------------------------

SILENT: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "InstanceNorm1d": (lambda: ms.InstanceNorm1d(3), lambda: th.InstanceNorm1d(3, affine=True)),
    "InstanceNorm2d": (lambda: ms.InstanceNorm2d(3), lambda: th.InstanceNorm2d(3, affine=True)),
    "InstanceNorm3d": (lambda: ms.InstanceNorm3d(3), lambda: th.InstanceNorm3d(3, affine=True)),
    "mint BatchNorm1d": (lambda: mindspore.mint.nn.BatchNorm1d(3), lambda: th.BatchNorm1d(3)),
    "mint BatchNorm2d": (lambda: mindspore.mint.nn.BatchNorm2d(3), lambda: th.BatchNorm2d(3)),
    "mint BatchNorm3d": (lambda: mindspore.mint.nn.BatchNorm3d(3), lambda: th.BatchNorm3d(3)),
    "mint SyncBatchNorm": (lambda: mindspore.mint.nn.SyncBatchNorm(3), lambda: th.SyncBatchNorm(3)),
    "mint LayerNorm": (lambda: mindspore.mint.nn.LayerNorm(3), lambda: th.LayerNorm(3)),
    "mint Embedding": (lambda: mindspore.mint.nn.Embedding(5, 3), lambda: th.Embedding(5, 3)),
    "mint Conv1d": (lambda: mindspore.mint.nn.Conv1d(4, 6, 3), lambda: th.Conv1d(4, 6, 3)),
    "mint Conv2d": (lambda: mindspore.mint.nn.Conv2d(4, 6, 3), lambda: th.Conv2d(4, 6, 3)),
    "mint Conv3d": (lambda: mindspore.mint.nn.Conv3d(4, 6, 3), lambda: th.Conv3d(4, 6, 3)),
    "mint ConvTranspose2d": (
        lambda: mindspore.mint.nn.ConvTranspose2d(4, 6, 3),
        lambda: th.ConvTranspose2d(4, 6, 3),
    ),
}


@pytest.mark.parametrize("name", SILENT)
def test_a_layer_that_cannot_be_computed_here_has_the_same_tensors(name: str) -> None:
    theirs, ours = SILENT[name]
    net, module = Cell(theirs()), Module(ours())
    for number, parameter in enumerate(net.get_parameters()):
        parameter.set_data(mindspore.Tensor(np.full(parameter.shape, number + 1), parameter.dtype))
    values = {p.name: p.asnumpy() for p in net.get_parameters()}
    weights = {name: ckptload.Parameter(value) for name, value in values.items()}
    # An InstanceNorm of MindSpore keeps statistics, but computes with those of its input alone.
    unused = [key for key in values if key.rpartition(".")[2].startswith("moving_")]
    assert ckptload.load_param_into_net(module, weights, strict_load=True) == ([], unused)
    torch_names = {"gamma": "weight", "beta": "bias"}
    found = {key: value.numpy() for key, value in module.state_dict().items()}
    for key in values.keys() - set(unused):
        prefix, _, last = key.rpartition(".")
        np.testing.assert_array_equal(found.pop(f"{prefix}.{torch_names.get(last, last)}"), values[key])
    assert not found


# -- published checkpoints ------------------------------------------------------------------------


def lenet(library: Any) -> Any:
    """LeNet5 for pictures of 28 by 28."""
    convolution = (lambda *sizes: ms.Conv2d(*sizes, pad_mode="valid")) if library is ms else convolution_of_torch
    dense = ms.Dense if library is ms else th.Linear
    return {
        "conv1": convolution(1, 6, 5),
        "conv2": convolution(6, 16, 5),
        "fc1": dense(256, 120),
        "fc2": dense(120, 84),
        "fc3": dense(84, 10),
    }


def convolution_of_torch(*sizes: int) -> Any:
    return th.Conv2d(*sizes, bias=False)


def classifier(library: Any) -> Any:
    """Dense layers with BatchNorm."""
    dense = ms.Dense if library is ms else th.Linear
    return {
        "fc1": dense(768, 100),
        "bn1_fc": library.BatchNorm1d(100),
        "fc2": dense(100, 100),
        "bn2_fc": library.BatchNorm1d(100),
        "fc3": dense(100, 10),
        "bn_fc3": library.BatchNorm1d(10),
    }


PUBLISHED: dict[str, tuple[str, Callable[[Any], Any], tuple[int, ...]]] = {
    "lenet": ("geinitangwanle__Mindspore_LeNet5__lenet5_mnist__cafeb0fe.ckpt", lenet, (2, 1, 28, 28)),
    "classifier": ("K2OKOH__Mindspore_demo__model_Cls1__0879de96.ckpt", classifier, (3, 768)),
}


def run(library: Any, layers: Any, given: Any) -> Any:
    """Compute a chain of layers, with ReLU and pooling as LeNet5 has them."""
    flatten = 4 if given.ndim == 4 else 0
    x = given
    for name, layer in layers:
        if flatten and name.startswith("fc") and x.ndim == flatten:
            x = x.reshape(x.shape[0], -1)
        x = layer(x)
        if name.startswith("conv"):
            x = library.MaxPool2d(2, 2)(library.ReLU()(x))
    return x


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.filterwarnings("ignore:.*after the prefix")
def test_a_published_checkpoint_computes_the_same_in_both(name: str) -> None:
    """The names of the second have a prefix, which both libraries see through."""
    file, make, shape = PUBLISHED[name]
    if not (CORPUS / file).exists():
        pytest.skip("the published checkpoints are not beside the project")
    net = ms.Cell()
    for key, layer in make(ms).items():
        setattr(net, key, layer)
    module = th.ModuleDict(make(th)).eval()
    assert len(mindspore.load_checkpoint(str(CORPUS / file), net.set_train(False))) == len(shapes(net.get_parameters()))
    assert ckptload.load_param_into_net(module, ckptload.load_checkpoint(CORPUS / file)) == ([], [])
    given = np.random.default_rng(5).normal(0, 1, shape).astype(np.float32)
    expected = run(ms, net.name_cells().items(), mindspore.Tensor(given)).asnumpy()
    with torch.no_grad():
        assert_close(run(th, module.items(), torch.from_numpy(given)).numpy(), expected)


# -- what docs/pytorch.md says of layers that differ ----------------------------------------------


def test_layers_differ_as_the_page_says() -> None:
    """With the default of one library given to the other they compute the same."""
    given = np.random.default_rng(8).normal(0, 1, (2, 3, 8, 8)).astype(np.float32)
    tensor = torch.from_numpy(given)
    pairs = [
        (ms.GELU(), th.GELU(approximate="tanh"), th.GELU()),
        (ms.LeakyReLU(), th.LeakyReLU(0.2), th.LeakyReLU()),
        (ms.LayerNorm((8,)), th.LayerNorm(8, eps=1e-7), th.LayerNorm(8, eps=1e-1)),
    ]
    for theirs, alike, other in pairs:
        expected = theirs(mindspore.Tensor(given)).asnumpy()
        with torch.no_grad():
            assert_close(alike(tensor).numpy(), expected, 10)
            assert np.abs(other(tensor).numpy() - expected).max() > 1e-4
    assert ms.LayerNorm((8,)).epsilon == 1e-7
    assert ms.MaxPool2d(2)(mindspore.Tensor(given)).shape == tuple(th.MaxPool2d(2, stride=1)(tensor).shape)
    theirs, ours = ms.BatchNorm2d(3).set_train(True), th.BatchNorm2d(3, momentum=1 - 0.9)
    theirs(mindspore.Tensor(given)).asnumpy()
    ours(tensor)
    assert_close(ours.running_mean.numpy(), theirs.moving_mean.asnumpy())
    assert_close(ours.running_var.numpy(), theirs.moving_variance.asnumpy())


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (2, 2), (4, 1), (5, 3)])
def test_same_padding_has_the_odd_one_at_the_end(kernel: int, stride: int) -> None:
    given = np.random.default_rng(9).normal(0, 1, (2, 3, 8, 8)).astype(np.float32)
    theirs, ours = ms.Conv2d(3, 4, kernel, stride), th.Conv2d(3, 4, kernel, stride, bias=False)
    weights = {parameter.name: ckptload.Parameter(parameter.asnumpy()) for parameter in theirs.get_parameters()}
    assert ckptload.load_param_into_net(ours, weights) == ([], [])
    padding = max((-(-8 // stride) - 1) * stride + kernel - 8, 0)
    first, last = padding // 2, padding - padding // 2
    with torch.no_grad():
        padded = th.functional.pad(torch.from_numpy(given), (first, last, first, last))
        assert_close(ours(padded).numpy(), theirs(mindspore.Tensor(given)).asnumpy())
