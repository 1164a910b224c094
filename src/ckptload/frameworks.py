"""Convert between checkpoints and the objects of PyTorch and MindSpore.

A framework is imported only when one of these functions is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ckptload.binding.loading import check_flags, is_ckpt, plan_target
from ckptload.binding.maps.applying import mapped
from ckptload.binding.maps.choosing import turned_round
from ckptload.binding.maps.mapped import MappedSupply
from ckptload.binding.supplies import supply_of
from ckptload.errors import BindingError, enough_memory
from ckptload.foreign.classes import MINDSPORE, TORCH
from ckptload.foreign.giving import chosen, need
from ckptload.messages import counted, listed, warn
from ckptload.nets.foreign import check_module
from ckptload.reading.given import open_while
from ckptload.reading.reader import Reader
from ckptload.reading.values import given
from ckptload.tensors.parameter import Parameter, as_ours
from ckptload.tensors.tensor import Tensor

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from ckptload.binding.maps.choosing import NameMapLike
    from ckptload.binding.maps.name_map import NameMap

    Parameters = Mapping[str, Any] | Reader | str | os.PathLike[str]


def to_torch_state_dict(
    parameters: Parameters, module: Any = None, name_map: NameMapLike = None, *, skip_misfits: bool = False
) -> dict[str, Any]:
    """Convert a checkpoint to a PyTorch state dictionary.

    Args:
        parameters: what `load_checkpoint` returned, an open reader, or the path of a file that needs no key.
        module: the ``torch.nn.Module`` to convert for; it is not changed. The types of its layers determine the
            names, and its dtypes those of the tensors. Without it, each name is guessed from the names beside
            it, and a warning lists the ambiguous ones.
        name_map: new names: a dictionary whose keys are names or their leading parts up to a dot (the longest
            counts), or a function of a name. None as a new name leaves the entry out.
        skip_misfits: with `module`: convert what fits, if anything does, and warn of the rest.

    Returns:
        Name to ``torch.Tensor`` on the CPU; the tensors own their memory. Parameters of `module` that the
        checkpoint lacks, or that do not fit, are not included.

    Raises:
        BindingError: something does not fit `module`; the message lists every misfit. Or nothing matches, although
            there are entries (also a RuntimeError).
        ArgumentTypeError: an argument is of the wrong type (also a TypeError).
        MissingPackageError: torch is not installed (also an ImportError).

    Warns:
        UserWarning: names are ambiguous without a module; or tensors of the module, or entries, are left out.
        LayerDifferenceWarning: the module has layers that may compute something else than MindSpore's.
    """
    need(TORCH, "a state dictionary of PyTorch")
    from ckptload.binding import state_dict  # noqa: PLC0415 -- imports torch
    from ckptload.nets.pytorch import state  # noqa: PLC0415 -- imports torch

    check_flags(skip_misfits=skip_misfits)
    with open_while(parameters) as entries:
        supply = supply_of(entries, "parameters")
        if module is None:
            with enough_memory("for the state dictionary"):
                return state_dict.state_without_module(mapped(supply, name_map))
        check_module(module)
        target = state.StateTarget(module)
        plan = plan_target(
            target, supply, strict=False, name_map=name_map, skip_misfits=skip_misfits, is_ckpt=is_ckpt(entries)
        )
        plan.check()
        plan.warn()
        if plan.ckpt_not_load:
            unused = counted(len(plan.ckpt_not_load), "entry", "entries")
            warn(f"the module has no tensor for {unused}: {listed(plan.ckpt_not_load)}")
        plan.apply()
        return target.state(load.name for load in plan.loads)


def from_torch(module: Any, *, name_map: NameMapLike = None) -> dict[str, Parameter]:
    """Convert the parameters and buffers of a PyTorch module to MindSpore's names and shapes.

    Args:
        module: a ``torch.nn.Module``, on any device.
        name_map: the map by which a checkpoint is loaded into the module; it is turned round, so that the result has
            the names and shapes of that checkpoint (docs/binding.md, "Maps").

    Returns:
        Name to Parameter, as `save_checkpoint` takes it; the values own their memory.

    Raises:
        BindingError: a tensor has no counterpart in MindSpore; the message lists them all. Or the map has zeros where
            the module has other values.
        ArgumentError: the map cannot be turned round.
    """
    check_module(module)
    from ckptload.nets.pytorch import state  # noqa: PLC0415 -- imports torch

    with enough_memory("to copy the module"):
        if name_map is None:
            return state.parameters_of(module)
        back = turned_round(name_map)
        return _given_back(state.parameters_of(module, back.names), back)


def _given_back(found: dict[str, Parameter], back: NameMap) -> dict[str, Parameter]:
    """Return the parameters of a module as a map makes them."""
    recipes = back.recipes(found)
    used = {name for recipe in recipes for name in recipe.sources}
    wrong = [name for name in found if name not in used and found[name].asnumpy().any()]
    if wrong:
        raise BindingError(
            f"{counted(len(wrong), 'tensor')} of the module cannot go back, since the map has zeros there: "
            f"{listed(wrong)}",
            hint="the net of the checkpoint has no such bias",
        )
    supply = MappedSupply(supply_of(found, "module"), recipes)
    made = {}
    for recipe in recipes:
        array, dtype = supply.array(recipe.name), supply.spec(recipe.name).dtype
        made[recipe.name] = Parameter.adopt(np.ascontiguousarray(array).reshape(array.shape), dtype, recipe.name)
        made[recipe.name].requires_grad = any(found[name].requires_grad for name in recipe.sources)
    return made


def to_mindspore(parameters: Parameters) -> dict[str, Any]:
    """Convert a checkpoint to MindSpore's own Parameters, for ``mindspore.load_param_into_net``.

    Args:
        parameters: what `load_checkpoint` returned, a dictionary of tensors of torch or numpy, an open reader, or the
            path of a file that needs no key.

    Returns:
        Name to ``mindspore.Parameter``, which owns its memory; strings and maps are unchanged.

    Raises:
        UnsupportedTypeError: MindSpore cannot make a tensor of a dtype.
        MissingPackageError: MindSpore is not installed.
    """
    kind = chosen(MINDSPORE)
    with open_while(parameters) as entries:
        if isinstance(entries, Reader):
            return entries.giving(kind).load()
    supply_of(entries, "parameters")
    with enough_memory("to copy the parameters"):
        ours = {name: as_ours(value) for name, value in entries.items()}
        # A copy: the caller goes on with the values that were passed.
        copies = {name: value.copy() if isinstance(value, Tensor) else value for name, value in ours.items()}
    return given(copies, kind)
