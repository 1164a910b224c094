"""How the parameters of a torch module are called, and shaped, in MindSpore.

The type of each module decides, not its name: a ``weight`` is ``gamma`` in a LayerNorm and ``weight`` in a
Linear. Where both frameworks have a layer, tests/differential/test_torch.py compares its outputs with those
of MindSpore 2.10.0 (docs/pytorch.md, "What is mapped").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Iterator

_NORM: Final = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}

#: Names of a module's own tensors. BatchNorm and InstanceNorm share a private base class in every torch.
_TENSORS: Final[tuple[tuple[tuple[type[nn.Module], ...], dict[str, str]], ...]] = (
    ((nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm), _NORM),  # noqa: SLF001
    ((nn.Embedding,), {"weight": "embedding_table"}),
    ((nn.PReLU,), {"weight": "w"}),
)

#: Names of a module's children.
_CHILDREN: Final[tuple[tuple[tuple[type[nn.Module], ...], dict[str, str]], ...]] = (
    ((nn.TransformerEncoderLayer, nn.TransformerDecoderLayer), {"linear1": "dense1", "linear2": "dense2"}),
)

#: MindSpore computes these as 2-d convolutions: the weight has an axis of length 1 before the last.
_FLAT_CONVOLUTIONS: Final = (nn.Conv1d, nn.ConvTranspose1d)

#: State that MindSpore does not keep.
_WITHOUT_COUNTERPART: Final = frozenset({"num_batches_tracked"})


class Place(NamedTuple):
    """A tensor of a module.

    Attributes:
        path: its key in ``state_dict()``.
        name: what MindSpore calls it.
        shape: its shape in MindSpore.
        tensor: the tensor itself.
    """

    path: str
    name: str
    shape: tuple[int, ...]
    tensor: torch.Tensor


def places(module: nn.Module) -> Iterator[Place]:
    """Yield every parameter and persistent buffer that a checkpoint can hold, tied ones under each of their names."""
    yield from _places(module, "", "")


def _places(module: nn.Module, path: str, name: str) -> Iterator[Place]:
    tensors = _rule(module, _TENSORS)
    for own, tensor in _own(module):
        if own not in _WITHOUT_COUNTERPART:
            shape = () if is_lazy(tensor) else tuple(tensor.shape)
            if isinstance(module, _FLAT_CONVOLUTIONS) and own == "weight" and shape:
                shape = (*shape[:-1], 1, shape[-1])
            yield Place(path + own, name + tensors.get(own, own), shape, tensor)
    children = _rule(module, _CHILDREN)
    for own, child in module._modules.items():  # noqa: SLF001 -- named_children() drops what occurs twice
        if child is not None:
            yield from _places(child, f"{path}{own}.", f"{name}{children.get(own, own)}.")


def _own(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield a module's own tensors that its ``state_dict()`` has, in that order."""
    transient: Any = module._non_persistent_buffers_set  # noqa: SLF001 -- torch has no public name for it
    for name, parameter in module._parameters.items():  # noqa: SLF001 -- named_parameters() drops what occurs twice
        if parameter is not None:
            yield name, parameter
    for name, buffer in module._buffers.items():  # noqa: SLF001
        if buffer is not None and name not in transient:
            yield name, buffer


def _rule(module: nn.Module, table: tuple[tuple[tuple[type[nn.Module], ...], dict[str, str]], ...]) -> dict[str, str]:
    return next((names for kinds, names in table if isinstance(module, kinds)), {})


def is_lazy(tensor: torch.Tensor) -> bool:
    """Tell whether a tensor of a lazy module has no shape yet."""
    return isinstance(tensor, (nn.parameter.UninitializedParameter, nn.parameter.UninitializedBuffer))
