"""What ranks have saved computes the same once merged: in PyTorch, in MindSpore, and by numpy on the known weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pytest

from ckptload import load_param_into_net, merge_checkpoints, open_distributed, save_checkpoint
from layouts import cut, protobuf

if TYPE_CHECKING:
    from pathlib import Path

    from layouts import Told

    Array = np.ndarray[Any, np.dtype[np.float32]]

#: A table, a norm, two layers and a head, over 2 x 2 devices, some with an optimizer shard.
LAYOUTS: Final[dict[str, Told]] = {
    "emb.table": ([2, 2], [-1, 0], 0),
    "body.g": ([2, 2], [-1], 0),
    "body.be": ([2, 2], [-1], -1),
    "body.w1": ([2, 2], [0, -1], -1),
    "body.b1": ([2, 2], [0], -1),
    "body.w2": ([2, 2], [-1, 0], -1),
    "body.b2": ([2, 2], [-1], 0),
    "head.w": ([2, 2], [0, 1], 0),
}
TOKENS: Final = np.arange(24).reshape(4, 6) * 7 % 32
#: Largest error of a result around 1: float32 sums of 48 products in another order.
CLOSE: Final = 2e-6


def weights() -> dict[str, Array]:
    random = np.random.default_rng(18)
    shapes = {"emb.table": (32, 16), "body.g": (16,), "body.be": (16,), "body.w1": (48, 16), "body.b1": (48,)}
    shapes |= {"body.w2": (16, 48), "body.b2": (16,), "head.w": (16, 8)}
    return {name: random.normal(0, 0.25, shape).astype(np.float32) for name, shape in shapes.items()}


def computed(known: dict[str, Array]) -> Array:
    """What the net gives, by numpy in float64."""
    w = {name: value.astype(np.float64) for name, value in known.items()}
    x = w["emb.table"][TOKENS]
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * w["body.g"] + w["body.be"]
    x = np.maximum(x @ w["body.w1"].T + w["body.b1"], 0) @ w["body.w2"].T + w["body.b2"]
    found: Array = (x @ w["head.w"]).astype(np.float32)
    return found


@pytest.fixture
def ranks(tmp_path: Path) -> Path:
    """Save the net as four ranks do."""
    known = weights()
    for rank in range(4):
        place = tmp_path / "ranks" / f"rank_{rank}"
        place.mkdir(parents=True)
        held = {name: np.ascontiguousarray(cut(*LAYOUTS[name], value)[rank]) for name, value in known.items()}
        save_checkpoint(held | {"global_step": np.array([4], np.int32)}, place / "net-1_4.ckpt")
    (tmp_path / "strategy.ckpt").write_bytes(protobuf(LAYOUTS))
    return tmp_path


@pytest.mark.torch
@pytest.mark.parametrize("merged", [False, True], ids=["from the ranks", "from a merged file"])
def test_a_torch_module_computes_what_the_ranks_did(ranks: Path, *, merged: bool) -> None:
    torch = pytest.importorskip("torch")

    def module(**values: Any) -> Any:
        found = torch.nn.Module()
        for name, shape in values.items():
            found.register_parameter(name, torch.nn.Parameter(torch.zeros(shape)))
        return found

    net = torch.nn.Module()
    net.emb, net.head = module(table=(32, 16)), module(w=(16, 8))
    net.body = module(g=16, be=16, w1=(48, 16), b1=48, w2=(16, 48), b2=16)
    if merged:
        merge_checkpoints(ranks / "ranks", ranks / "whole.safetensors", ranks / "strategy.ckpt")
    source = ranks / "whole.safetensors" if merged else ranks / "ranks"
    with open_distributed(source, None if merged else ranks / "strategy.ckpt") as reader:
        left, over = load_param_into_net(net, reader)
    assert (left, over) == ([], ["global_step"])
    with torch.no_grad():
        linear, body = torch.nn.functional.linear, net.body
        x = torch.nn.functional.layer_norm(net.emb.table[torch.tensor(TOKENS)], (16,), body.g, body.be)
        x = linear(torch.relu(linear(x, body.w1, body.b1)), body.w2, body.b2) @ net.head.w
    np.testing.assert_allclose(x.numpy(), computed(weights()), rtol=0, atol=CLOSE)


@pytest.mark.mindspore
def test_a_net_of_mindspore_computes_it_from_the_merged_file(ranks: Path) -> None:
    mindspore = pytest.importorskip("mindspore")
    merge_checkpoints(ranks / "ranks", ranks / "whole.ckpt", ranks / "strategy.ckpt")

    class Held(mindspore.nn.Cell):  # type: ignore[name-defined,misc]
        def __init__(self, **shapes: Any) -> None:
            super().__init__()
            for name, shape in shapes.items():
                setattr(self, name, mindspore.Parameter(np.zeros(shape, np.float32), name=name))

    class Net(mindspore.nn.Cell):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            super().__init__()
            self.emb, self.head = Held(table=(32, 16)), Held(w=(16, 8))
            self.body = Held(g=16, be=16, w1=(48, 16), b1=48, w2=(16, 48), b2=16)

        def construct(self, tokens: Any) -> Any:
            ops, body = mindspore.ops, self.body
            x = self.emb.table[tokens]
            mean = x.mean(-1, keep_dims=True)
            x = (x - mean) / ops.sqrt(((x - mean) ** 2).mean(-1, keep_dims=True) + 1e-5) * body.g + body.be
            x = ops.relu(ops.matmul(x, body.w1.T) + body.b1)
            return ops.matmul(ops.matmul(x, body.w2.T) + body.b2, self.head.w)

    net = Net()
    left, over = mindspore.load_param_into_net(net, mindspore.load_checkpoint(str(ranks / "whole.ckpt")))
    assert (left, over) == ([], ["global_step"])
    found = net(mindspore.Tensor(TOKENS, mindspore.int32)).asnumpy()
    np.testing.assert_allclose(found, computed(weights()), rtol=0, atol=CLOSE)
