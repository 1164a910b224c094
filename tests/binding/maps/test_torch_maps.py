"""Maps between checkpoints and modules of torch, and back."""
# mypy: allow-subclassing-any

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ckptload
from ckptload import NameMap
from ckptload.errors import ArgumentError, BindingError

pytest.importorskip("torch")

import torch
from torch import nn

pytestmark = [
    pytest.mark.torch,
    # What is said of layers is tested in tests/nets/pytorch/test_differences.py.
    pytest.mark.filterwarnings("ignore::ckptload.LayerDifferenceWarning"),
]

RULES = NameMap(
    [
        {"from": ["blocks.{i}.q.weight", "blocks.{i}.k.weight"], "to": "h.{i}.qk.weight", "axis": 1, "transpose": True},
        {"from": "blocks.{i}.norm", "to": "h.{i}.ln"},
        {"to": "h.{i}.qk.bias", "zeros": [6], "beside": "blocks.{i}.norm.gamma"},
        {"from": "proj.weight", "to": "conv.weight", "reshape": "... -> ... 1 1"},
        {"from": "emb.embedding_table", "to": "head.weight"},
        {"from": "step", "to": None},
    ]
)


class QK(nn.Module):
    """A matrix that is stored transposed, as in GPT-2."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.zeros(4, 6)), nn.Parameter(torch.zeros(6))


def module() -> Any:
    block = nn.ModuleDict({"qk": QK(), "ln": nn.LayerNorm(4)})
    conv = nn.Conv2d(2, 3, 1, bias=False)
    head = nn.Linear(4, 5, bias=False)
    made = nn.ModuleDict({"h": nn.ModuleList([block]), "conv": conv, "head": head})
    made["tied"] = nn.Linear(4, 5, bias=False)
    made["tied"].weight = head.weight
    return made


def checkpoint() -> dict[str, Any]:
    shapes = {
        "blocks.0.q.weight": (3, 4),
        "blocks.0.k.weight": (3, 4),
        "blocks.0.norm.gamma": (4,),
        "blocks.0.norm.beta": (4,),
        "proj.weight": (3, 2),
        "emb.embedding_table": (5, 4),
    }
    rng = np.random.default_rng(1)
    return {n: ckptload.Parameter(rng.normal(size=s).astype(np.float32), name=n) for n, s in shapes.items()}


def test_a_module_is_loaded_and_goes_back() -> None:
    weights = checkpoint()
    weights["step"] = ckptload.Parameter(np.array(3, np.int32), name="step")
    net = module()
    assert ckptload.load_param_into_net(net, weights, name_map=RULES) == ([], [])
    q, k = (weights[f"blocks.0.{each}.weight"].asnumpy() for each in "qk")
    assert np.array_equal(net["h"][0]["qk"].weight.detach().numpy(), np.concatenate([q.T, k.T], 1))
    back = ckptload.from_torch(net, name_map=RULES)
    assert set(back) == set(weights) - {"step"}
    for name, value in back.items():
        assert np.array_equal(value.asnumpy(), weights[name].asnumpy()), name
        assert value.requires_grad


def test_a_state_dictionary_is_made_by_a_map() -> None:
    state = ckptload.to_torch_state_dict(checkpoint(), module(), RULES)
    assert module().load_state_dict(state).missing_keys == []


def test_a_bias_that_is_not_zero_does_not_go_back() -> None:
    net = module()
    ckptload.load_param_into_net(net, checkpoint(), name_map=RULES)
    with torch.no_grad():
        net["h"][0]["qk"].bias[2] = 1
    with pytest.raises(BindingError, match=r"the map has zeros there: 'h.0.qk.bias'"):
        ckptload.from_torch(net, name_map=RULES)


def test_a_function_does_not_go_back() -> None:
    with pytest.raises(ArgumentError, match="turned round"):
        ckptload.from_torch(module(), name_map=str.upper)
