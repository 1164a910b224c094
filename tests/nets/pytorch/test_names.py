"""Names of tensors of modules: those of MindSpore's layers, and their own."""

from __future__ import annotations

import pytest

from ckptload.formats.safetensors import order

pytest.importorskip("torch")

from torch import nn

from ckptload.nets.pytorch.names import places

pytestmark = pytest.mark.torch

LAYERS = [
    nn.BatchNorm1d(2), nn.BatchNorm2d(2), nn.BatchNorm3d(2), nn.InstanceNorm2d(2, affine=True), nn.LayerNorm(2),
    nn.GroupNorm(1, 2), nn.Embedding(2, 2), nn.PReLU(), nn.Linear(2, 2), nn.Conv1d(2, 2, 1),
]  # fmt: skip


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
def test_a_conversion_keeps_the_order_of_all_names_that_a_tensor_may_have(layer: nn.Module) -> None:
    """A module takes either name, so the first of the two entries may decide what it is filled with."""
    for place in places(layer):
        for one in place.names:
            for other in place.names:
                assert order.entry_for([f"b.{one}", f"a.{other}"]) == {order.KEY: "[1,0]"}
