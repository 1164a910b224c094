"""Nets of PyTorch and MindSpore as binding targets; a framework is imported only if the net belongs to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ckptload.errors import ArgumentTypeError

if TYPE_CHECKING:
    from ckptload.nets.mindspore_cell import MindSporeTarget
    from ckptload.nets.pytorch.module import TorchTarget
    from ckptload.tensors.parameter import Parameter

__all__ = ["check_module", "foreign_target", "foreign_tensor", "is_foreign_net", "module_parameters"]


def _is(value: object, framework: str, name: str) -> bool:
    """Tell by the names of its classes what a value is, without importing a framework."""
    return any(cls.__name__ == name and cls.__module__.partition(".")[0] == framework for cls in type(value).__mro__)


def is_foreign_net(net: object) -> bool:
    """Tell whether it is a ``torch.nn.Module`` or a ``mindspore.nn.Cell``."""
    return _is(net, "torch", "Module") or _is(net, "mindspore", "Cell")


def check_module(module: object) -> None:
    """Raise ArgumentTypeError unless it is a ``torch.nn.Module``."""
    if not _is(module, "torch", "Module"):
        raise ArgumentTypeError(f"module must be a torch.nn.Module, not {type(module).__name__}")


def foreign_target(net: object) -> TorchTarget | MindSporeTarget | None:
    """Return a ``torch.nn.Module`` or a ``mindspore.nn.Cell`` as a target, and None for anything else."""
    if _is(net, "torch", "Module"):
        from ckptload.nets.pytorch.module import TorchTarget  # noqa: PLC0415 -- imports torch

        return TorchTarget(net)
    if _is(net, "mindspore", "Cell"):
        from ckptload.nets.mindspore_cell import MindSporeTarget  # noqa: PLC0415 -- imports MindSpore

        return MindSporeTarget(net)
    return None


def module_parameters(net: object) -> dict[str, Parameter] | None:
    """Return the parameters of a ``torch.nn.Module`` to save for MindSpore, and None for anything else.

    Raises:
        CheckpointError: a part of it cannot be saved.
    """
    if not _is(net, "torch", "Module"):
        return None
    from ckptload.nets.pytorch.state import parameters_of  # noqa: PLC0415 -- imports torch

    return parameters_of(net)


def foreign_tensor(value: object) -> Parameter | None:
    """Return a ``mindspore.Tensor`` or ``mindspore.Parameter`` as one of ours, and None for anything else.

    Raises:
        UnsupportedTypeError: its values cannot be read.
    """
    if not _is(value, "mindspore", "Tensor") and not _is(value, "mindspore", "Parameter"):
        return None
    from ckptload.nets.mindspore_cell import parameter_of  # noqa: PLC0415 -- imports MindSpore

    return parameter_of(value)
