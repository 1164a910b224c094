"""Nets of PyTorch and MindSpore as binding targets; a framework is imported only if the net belongs to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ckptload.errors import ArgumentTypeError
from ckptload.foreign.classes import MINDSPORE, TORCH, is_a

if TYPE_CHECKING:
    from ckptload.nets.mindspore_cell import MindSporeTarget
    from ckptload.nets.pytorch.module import TorchTarget
    from ckptload.tensors.parameter import Parameter

__all__ = ["check_module", "foreign_target", "is_foreign_net", "is_module", "module_parameters"]


def is_foreign_net(net: object) -> bool:
    """Tell whether it is a ``torch.nn.Module`` or a ``mindspore.nn.Cell``."""
    return is_module(net) or is_a(net, MINDSPORE, "Cell")


def is_module(net: object) -> bool:
    """Tell whether it is a ``torch.nn.Module``."""
    return is_a(net, TORCH, "Module")


def check_module(module: object) -> None:
    """Raise ArgumentTypeError unless it is a ``torch.nn.Module``."""
    if not is_module(module):
        raise ArgumentTypeError(f"module must be a torch.nn.Module, not {type(module).__name__}")


def foreign_target(net: object) -> TorchTarget | MindSporeTarget | None:
    """Return a ``torch.nn.Module`` or a ``mindspore.nn.Cell`` as a target, and None for anything else."""
    if is_module(net):
        from ckptload.nets.pytorch.module import TorchTarget  # noqa: PLC0415 -- imports torch

        return TorchTarget(net)
    if is_a(net, MINDSPORE, "Cell"):
        from ckptload.nets.mindspore_cell import MindSporeTarget  # noqa: PLC0415 -- imports MindSpore

        return MindSporeTarget(net)
    return None


def module_parameters(net: object) -> dict[str, Parameter] | None:
    """Return the parameters of a ``torch.nn.Module`` to save for MindSpore, and None for anything else.

    Raises:
        CheckpointError: a part of it cannot be saved.
    """
    if not is_module(net):
        return None
    from ckptload.nets.pytorch.state import parameters_of  # noqa: PLC0415 -- imports torch

    return parameters_of(net)
