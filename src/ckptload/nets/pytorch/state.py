"""State dictionaries of torch: made from a checkpoint, and from a module for `save_checkpoint`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from ckptload.errors import ArgumentError, BindingError
from ckptload.foreign.torch_tensors import dtype_of, has_shape, refusal_of, taken
from ckptload.messages import counted
from ckptload.nets.pytorch.module import TorchSlot, choose, differences_of
from ckptload.nets.pytorch.names import places
from ckptload.tensors.parameter import Parameter

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from ckptload.nets.pytorch.difference import LayerDifference
    from ckptload.nets.pytorch.module import Chosen


class StateTarget:
    """New tensors on the CPU for those of a module: they are filled, and the module is not changed."""

    def __init__(self, module: Any) -> None:
        self._module = module
        self._chosen: list[Chosen] = []
        self._new: dict[str, tuple[Chosen, torch.Tensor]] = {}

    def slots(self, keys: Collection[str]) -> list[TorchSlot]:
        """Return a slot for each new tensor."""
        slots = []
        self._chosen = list(choose(self._module, keys))
        for chosen in self._chosen:
            tensor = chosen.place.tensor
            if has_shape(tensor) and dtype_of(tensor) is not None:
                tensor = torch.empty(tensor.shape, dtype=tensor.dtype)
                self._new[chosen.name] = chosen, tensor
            slots.append(TorchSlot(chosen, tensor))
        return slots

    def differences(self, sources: Mapping[str, str], *, is_ckpt: bool) -> tuple[LayerDifference, ...]:
        """Return the kinds of layers that may differ, if the entries come from MindSpore."""
        return differences_of(self._module, self._chosen, sources, is_ckpt=is_ckpt)

    def state(self, loaded: Iterable[str]) -> dict[str, torch.Tensor]:
        """Return the loaded tensors in the order of ``state_dict()``; the names of a tied tensor share it."""
        by_path = {path: tensor for chosen, tensor in map(self._new.__getitem__, loaded) for path in chosen.paths}
        return {place.path: by_path[place.path] for place in places(self._module) if place.path in by_path}


def parameters_of(module: Any) -> dict[str, Parameter]:
    """Return a module's tensors with the names and shapes of ``mindspore.nn``.

    Raises:
        BindingError: a tensor does not exist in MindSpore; the message lists all of them.
        ArgumentError: two tensors would have the same name.
    """
    found: dict[str, Parameter] = {}
    paths: dict[str, str] = {}
    refused: list[str] = []
    for place in places(module):
        if place.is_optional:
            continue
        name, shape = place.names[0], place.shapes[0]
        refusal = refusal_of(place.tensor)
        if refusal is not None:
            refused.append(f"{place.path!r}: {refusal}")
            continue
        if name in found:
            raise ArgumentError(f"{paths[name]!r} and {place.path!r} would have the same name in MindSpore", name=name)
        array, dtype, *_ = taken(place.tensor, copy=True)
        found[name] = Parameter.adopt(array.reshape(shape), dtype, name)
        found[name].requires_grad = place.tensor.requires_grad
        paths[name] = place.path
    if refused:
        raise BindingError(f"{counted(len(refused), 'tensor')} cannot be saved:\n    " + "\n    ".join(refused))
    return found
