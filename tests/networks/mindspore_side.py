"""Networks in MindSpore. Each has its twin of the same name in `torch_side.py`."""

# mypy: allow-subclassing-any
from __future__ import annotations

from typing import Any

import numpy as np
from mindspore import Tensor, nn, ops


class LeNet5(nn.Cell):
    """The network of fixtures/lenet5.ckpt."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5, pad_mode="valid")
        self.conv2 = nn.Conv2d(6, 16, 5, pad_mode="valid")
        self.fc1 = nn.Dense(16 * 5 * 5, 120)
        self.fc2 = nn.Dense(120, 84)
        self.fc3 = nn.Dense(84, 10)
        self.pool = nn.MaxPool2d(2, 2)

    def construct(self, x: Any) -> Any:
        x = self.pool(ops.relu(self.conv1(x)))
        x = self.pool(ops.relu(self.conv2(x)))
        x = ops.relu(self.fc1(x.reshape(x.shape[0], -1)))
        return self.fc3(ops.relu(self.fc2(x)))


class Cnn(nn.Cell):
    """Convolutions with BatchNorm, pooling, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, pad_mode="pad", padding=1, has_bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, 3, stride=2, pad_mode="pad", padding=1, group=2, has_bias=True)
        self.bn2 = nn.BatchNorm2d(8)
        self.act = nn.PReLU(8)
        self.fc = nn.Dense(8 * 4 * 4, 5)

    def construct(self, x: Any) -> Any:
        x = ops.relu(self.bn1(self.conv1(x)))
        x = self.act(self.bn2(self.conv2(x)))
        return self.fc(x.reshape(x.shape[0], -1))


class Block(nn.Cell):
    """Two convolutions and a way around them."""

    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inner, outer, 3, stride=stride, pad_mode="pad", padding=1)
        self.bn1 = nn.BatchNorm2d(outer)
        self.conv2 = nn.Conv2d(outer, outer, 3, pad_mode="pad", padding=1)
        self.bn2 = nn.BatchNorm2d(outer)
        self.down = None
        if stride != 1:
            self.down = nn.SequentialCell(nn.Conv2d(inner, outer, 1, stride=stride), nn.BatchNorm2d(outer))

    def construct(self, x: Any) -> Any:
        out = ops.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return ops.relu(out + (x if self.down is None else self.down(x)))


class Residual(nn.Cell):
    """A small residual net."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, pad_mode="pad", padding=1)
        self.layer1 = nn.SequentialCell(Block(4, 4, 1), Block(4, 8, 2))
        self.fc = nn.Dense(8, 3)

    def construct(self, x: Any) -> Any:
        return self.fc(self.layer1(self.stem(x)).mean((2, 3)))


class Transformer(nn.Cell):
    """An encoder of two layers with LayerNorm, behind an embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 8)
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.norm = nn.LayerNorm((8,), epsilon=1e-5)

    def construct(self, x: Any) -> Any:
        return self.norm(self.encoder(self.embed(x)))


class Recurrent(nn.Cell):
    """An embedding and an LSTM of two layers in both directions."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 6)
        self.lstm = nn.LSTM(6, 5, num_layers=2, batch_first=True, bidirectional=True)
        self.fc = nn.Dense(10, 4)

    def construct(self, x: Any) -> Any:
        out, _ = self.lstm(self.embed(x))
        return self.fc(out)


class Gated(nn.Cell):
    """A GRU of two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(6, 5, num_layers=2, batch_first=True)

    def construct(self, x: Any) -> Any:
        out, _ = self.gru(x)
        return out


class Elman(nn.Cell):
    """A plain recurrent layer. Its activation is not tanh, which MindSpore computes on the CPU to four digits only."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.RNN(6, 5, nonlinearity="relu", batch_first=True)

    def construct(self, x: Any) -> Any:
        out, _ = self.rnn(x)
        return out


class Attention(nn.Cell):
    """Attention of several heads by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def construct(self, x: Any) -> Any:
        out, _ = self.attention(x, x, x)
        return out


class Groups(nn.Cell):
    """GroupNorm behind a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, pad_mode="pad", padding=1, has_bias=True)
        self.norm = nn.GroupNorm(2, 8)

    def construct(self, x: Any) -> Any:
        return self.norm(self.conv(x))


class Transposed(nn.Cell):
    """Transposed convolutions of one and two dimensions, and a 3-d convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Conv2dTranspose(3, 4, 2, stride=2, pad_mode="valid", has_bias=True)
        self.line = nn.Conv1dTranspose(4, 2, 3, stride=2, pad_mode="valid", has_bias=True)
        self.cube = nn.Conv3d(1, 2, 3, pad_mode="pad", padding=1, has_bias=True)

    def construct(self, x: Any) -> Any:
        x = self.up(x)
        x = self.line(x.reshape(x.shape[0], 4, -1))
        return self.cube(x.reshape(x.shape[0], 1, 1, 2, -1))


class Line(nn.Cell):
    """1-d convolutions with BatchNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(3, 6, 5, pad_mode="pad", padding=2, has_bias=True)
        self.bn = nn.BatchNorm1d(6)
        self.conv2 = nn.Conv1d(6, 4, 3, stride=2, pad_mode="valid", group=2)

    def construct(self, x: Any) -> Any:
        x = self.conv1(x)
        batch, channels, length = x.shape
        x = self.bn(x.transpose(0, 2, 1).reshape(-1, channels)).reshape(batch, length, channels).transpose(0, 2, 1)
        return self.conv2(ops.relu(x))


class Volume(nn.Cell):
    """3-d convolutions both ways, and BatchNorm3d, which has its parameters one level deeper."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv3d(2, 4, 3, stride=2, pad_mode="valid")
        self.bn = nn.BatchNorm3d(4)
        self.up = nn.Conv3dTranspose(4, 2, 3, stride=2, pad_mode="valid", has_bias=True)

    def construct(self, x: Any) -> Any:
        return self.up(ops.relu(self.bn(self.down(x))))


#: Network and the shape of its input; ints are numbers of an embedding.
NETWORKS: dict[str, tuple[Any, tuple[int, ...], type]] = {
    "lenet5": (LeNet5, (2, 1, 32, 32), np.float32),
    "cnn": (Cnn, (2, 3, 8, 8), np.float32),
    "residual": (Residual, (2, 3, 8, 8), np.float32),
    "transformer": (Transformer, (2, 7), np.int32),
    "recurrent": (Recurrent, (2, 7), np.int32),
    "gated": (Gated, (2, 7, 6), np.float32),
    "elman": (Elman, (2, 7, 6), np.float32),
    "attention": (Attention, (2, 7, 8), np.float32),
    "groups": (Groups, (2, 3, 6, 6), np.float32),
    "transposed": (Transposed, (2, 3, 4, 4), np.float32),
    "line": (Line, (2, 3, 16), np.float32),
    "volume": (Volume, (2, 2, 5, 5, 5), np.float32),
}


def build(name: str) -> Any:
    """Return a network in evaluation mode, with the values that MindSpore gives it."""
    net = NETWORKS[name][0]()
    net.set_train(False)
    return net


def randomise(net: Any, seed: int) -> None:
    """Put random values into every parameter, none of which is what a new layer has."""
    rng = np.random.default_rng(seed)
    for parameter in net.get_parameters():
        values = rng.normal(0, 0.5, parameter.shape).astype(np.float32)
        if parameter.name.endswith(("variance", "gamma")):
            values = np.abs(values) + 0.5
        parameter.set_data(Tensor(values))


def inputs(name: str, seed: int) -> Any:
    """Return a random input of a network."""
    _, shape, dtype = NETWORKS[name]
    rng = np.random.default_rng(seed)
    return rng.integers(0, 11, shape).astype(dtype) if dtype is np.int32 else rng.normal(0, 1, shape).astype(dtype)


def output(net: Any, given: Any) -> Any:
    """Return what a network makes of an input."""
    return net(Tensor(given)).asnumpy()
