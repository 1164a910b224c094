"""From checkpoints to what PyTorch and MindSpore themselves work with, and back.

Neither framework is imported before one of these functions is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ckptload.binding.loading import plan_target
from ckptload.binding.renaming import RenamedSupply
from ckptload.binding.supplies import supply_of
from ckptload.errors import ArgumentTypeError
from ckptload.messages import counted, listed, warn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ckptload.binding.renaming import NameMap
    from ckptload.reading.reader import Reader
    from ckptload.tensors.parameter import Parameter

    Parameters = Mapping[str, Any] | Reader


def to_torch_state_dict(parameters: Parameters, module: Any = None, name_map: NameMap = None) -> dict[str, Any]:
    """Return a checkpoint as a state dictionary of torch.

    Args:
        parameters: what `load_checkpoint` returned, or an open reader.
        module: the ``torch.nn.Module`` it is for, which is only looked at. Its types say how each parameter is
            called, and its dtypes are those of the tensors. Without it the names are mapped by the groups that
            they stand in, and a warning lists those that leave open what they are.
        name_map: renames entries first: a dictionary of names, or of what stands before a dot in them, or a
            function of a name.

    Returns:
        Name to ``torch.Tensor`` on the CPU; the tensors own their memory. Parameters of `module` that the
        checkpoint lacks are not in it.

    Raises:
        BindingError: something does not fit `module`; every misfit is listed (also a RuntimeError).
        ArgumentTypeError: an argument is of the wrong type (also a TypeError).
    """
    from ckptload.binding import state_dict  # noqa: PLC0415 -- imports torch
    from ckptload.nets.pytorch import state  # noqa: PLC0415 -- imports torch

    supply = supply_of(parameters, "parameters")
    if module is None:
        return state_dict.state_without_module(supply if name_map is None else RenamedSupply(supply, name_map))
    target = state.StateTarget(_module(module, "module"))
    plan = plan_target(target, supply, strict=False, name_map=name_map)
    plan.check()
    plan.warn()
    if plan.ckpt_not_load:
        unused = counted(len(plan.ckpt_not_load), "entry", "entries")
        warn(f"the module has no tensor for {unused}: {listed(plan.ckpt_not_load)}")
    plan.apply()
    return target.state(load.name for load in plan.loads)


def from_torch(module: Any) -> dict[str, Parameter]:
    """Return the parameters and buffers of a torch module as MindSpore names and shapes them.

    Args:
        module: a ``torch.nn.Module``, on any device.

    Returns:
        What `save_checkpoint` writes and MindSpore loads; the values own their memory.

    Raises:
        BindingError: a tensor has no counterpart in MindSpore; the message lists them all.
    """
    from ckptload.nets.pytorch import state  # noqa: PLC0415 -- imports torch

    return state.parameters_of(_module(module, "module"))


def to_mindspore(parameters: Parameters) -> dict[str, Any]:
    """Return a checkpoint with MindSpore's own Parameters, as ``mindspore.load_param_into_net`` takes it.

    Args:
        parameters: what `load_checkpoint` returned, or an open reader.

    Returns:
        Name to ``mindspore.Parameter``, which owns its memory; strings and maps stay as they are.

    Raises:
        UnsupportedTypeError: MindSpore makes no tensor of a dtype.
    """
    from ckptload.nets import mindspore_cell  # noqa: PLC0415 -- imports MindSpore

    supply_of(parameters, "parameters")
    return mindspore_cell.parameters_for(parameters)


def _module(module: Any, argument: str) -> Any:
    import torch  # noqa: PLC0415 -- only a caller who has a module comes here

    if not isinstance(module, torch.nn.Module):
        raise ArgumentTypeError(f"{argument} must be a torch.nn.Module, not {type(module).__name__}")
    return module
