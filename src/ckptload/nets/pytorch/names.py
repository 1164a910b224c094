"""Names and shapes that the parameters of a torch module have in MindSpore.

They depend on the type of each module, not its name: ``weight`` is ``gamma`` in a LayerNorm and ``weight`` in a
Linear. MindSpore has two families of layers: those of ``mindspore.nn`` have their own names, and those of
``mindspore.mint.nn`` have torch's. A tensor has both names; that of ``mindspore.nn`` is the first.
tests/differential/test_torch.py compares the outputs of both frameworks for each kind of layer
(docs/pytorch.md, "What is mapped").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from torch import nn

from ckptload.foreign.torch_tensors import has_shape

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

    Shape = tuple[int, ...]
    Rules = tuple[tuple[tuple[type[nn.Module], ...], dict[str, str]], ...]

_SCALED: Final = {"weight": "gamma", "bias": "beta"}
_NORM: Final = {**_SCALED, "running_mean": "moving_mean", "running_var": "moving_variance"}

#: Names of a module's own tensors; the first kind that fits is used.
_TENSORS: Final[Rules] = (
    # MindSpore's BatchNorm3d has its parameters in a BatchNorm2d.
    ((nn.BatchNorm3d,), {name: f"bn2d.{theirs}" for name, theirs in _NORM.items()}),
    ((nn.BatchNorm1d, nn.BatchNorm2d, nn.SyncBatchNorm), _NORM),
    # MindSpore's InstanceNorm never computes with its statistics, so torch's cannot use them.
    ((nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d, nn.LayerNorm, nn.GroupNorm), _SCALED),
    ((nn.Embedding,), {"weight": "embedding_table"}),
    ((nn.PReLU,), {"weight": "w"}),
)

#: Names of a module's children. An empty name is left out of the path: MindSpore does not have the wrapper.
_CHILDREN: Final[Rules] = (
    ((nn.TransformerEncoderLayer, nn.TransformerDecoderLayer), {"linear1": "dense1", "linear2": "dense2"}),
    ((nn.DataParallel, nn.parallel.DistributedDataParallel), {"module": ""}),
)
#: The type in which torch.compile() wraps a module; importing it would take seconds.
_COMPILED: Final = ("torch._dynamo.eval_frame", "OptimizedModule")

#: ``mindspore.nn`` computes these as 2-d convolutions: the weight has an axis of length 1 before the last.
_FLAT_CONVOLUTIONS: Final = (nn.Conv1d, nn.ConvTranspose1d)

#: State that layers of ``mindspore.nn`` do not have: loaded if the checkpoint has it, and otherwise not missing.
_OPTIONAL: Final = frozenset({"num_batches_tracked"})


class Place(NamedTuple):
    """A tensor of a module.

    Attributes:
        path: its key in ``state_dict()``.
        names: its names in MindSpore; that of ``mindspore.nn`` is the first, its own path the last.
        tensor: the tensor itself.
        is_flat: whether it is the weight of a 1-d convolution.
        is_optional: whether a checkpoint may lack it.
    """

    path: str
    names: tuple[str, ...]
    tensor: torch.Tensor
    is_flat: bool
    is_optional: bool

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """Return its shapes in MindSpore, with values in the same order; that of ``mindspore.nn`` is the first."""
        if not has_shape(self.tensor):
            return ((),)
        shape = tuple(self.tensor.shape)
        return ((*shape[:-1], 1, *shape[-1:]), shape) if self.is_flat else (shape,)


def places(module: nn.Module) -> Iterator[Place]:
    """Yield every parameter and persistent buffer that a checkpoint can hold, tied ones under each name."""
    yield from _places(module, "", "")


def _places(module: nn.Module, path: str, name: str) -> Iterator[Place]:
    """Yield a module's tensors; `path` and `name` are their prefixes in torch and in MindSpore."""
    tensors = _rule(module, _TENSORS)
    for own, tensor in _own(module):
        theirs = tensors.get(own, own)
        names = dict.fromkeys((name + theirs, name + theirs.rpartition(".")[2], name + own, path + own))
        is_flat = isinstance(module, _FLAT_CONVOLUTIONS) and own == "weight"
        yield Place(path + own, tuple(names), tensor, is_flat, own in _OPTIONAL)
    children = {"_orig_mod": ""} if _is_compiled(module) else _rule(module, _CHILDREN)
    for own, child in module._modules.items():  # noqa: SLF001 -- named_children() drops what occurs twice
        if child is not None:
            theirs = children.get(own, own)
            yield from _places(child, f"{path}{own}.", f"{name}{theirs}." if theirs else name)


def _own(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield a module's own tensors that are in its ``state_dict()``, in the same order."""
    transient: Any = module._non_persistent_buffers_set  # noqa: SLF001 -- torch has no public name for it
    for name, parameter in module._parameters.items():  # noqa: SLF001 -- named_parameters() drops what occurs twice
        if parameter is not None:
            yield name, parameter
    for name, buffer in module._buffers.items():  # noqa: SLF001
        if buffer is not None and name not in transient:
            yield name, buffer


def _rule(module: nn.Module, rules: Rules) -> dict[str, str]:
    return next((names for kinds, names in rules if isinstance(module, kinds)), {})


def _is_compiled(module: nn.Module) -> bool:
    kind = type(module)
    return (kind.__module__, kind.__qualname__) == _COMPILED
