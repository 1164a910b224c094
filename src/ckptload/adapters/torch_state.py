"""State dictionaries of torch: from a checkpoint, and from a module to what `save_checkpoint` writes."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from ckptload.adapters.torch_groups import guess_names
from ckptload.adapters.torch_module import TorchSlot, choose, refusal_of
from ckptload.adapters.torch_names import is_lazy, places
from ckptload.adapters.torch_tensors import as_array, as_tensor, dtype_of
from ckptload.errors import ArgumentError, BindingError
from ckptload.parameter import Parameter
from ckptload.report import counted, listed
from ckptload.supplies import Delivery

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from ckptload.adapters.torch_module import Chosen
    from ckptload.supplies import Supply

#: Dimensions of a 1-d convolution's weight in MindSpore, and of a 2-d one's.
_CONVOLUTION: Final = 4


class StateTarget:
    """New tensors on the CPU, as those of a module: they are filled while the module stays as it is."""

    def __init__(self, module: Any) -> None:
        self._module = module
        self._new: dict[str, tuple[Chosen, torch.Tensor]] = {}

    def slots(self, keys: Collection[str]) -> list[TorchSlot]:
        """Return a slot for each new tensor."""
        slots = []
        for chosen in choose(self._module, keys):
            tensor = chosen.place.tensor
            if not is_lazy(tensor) and dtype_of(tensor) is not None:
                tensor = torch.empty(tensor.shape, dtype=tensor.dtype)
                self._new[chosen.name] = chosen, tensor
            slots.append(TorchSlot(chosen, tensor))
        return slots

    def state(self, loaded: Iterable[str]) -> dict[str, torch.Tensor]:
        """Return what was loaded, in the order of ``state_dict()``; the names of a tied tensor share it."""
        by_path = {path: tensor for chosen, tensor in map(self._new.__getitem__, loaded) for path in chosen.paths}
        return {place.path: by_path[place.path] for place in places(self._module) if place.path in by_path}


def state_without_module(supply: Supply) -> dict[str, torch.Tensor]:
    """Convert every tensor of a checkpoint under the name that its group suggests."""
    tensors = [key for key in supply.keys if supply.is_tensor(key)]
    others = [key for key in supply.keys if not supply.is_tensor(key)]
    mapped, unclear = guess_names(tensors)
    _check_distinct(mapped)
    unclear += [key for key in tensors if _may_be_flat(key, supply.offer(key).shape)]
    if unclear:
        warnings.warn(
            f"{counted(len(unclear), 'name')} of the checkpoint may be another in torch, or the tensor of another "
            f"shape, which only a module can tell; pass module= to be sure of {listed(unclear)}",
            stacklevel=3,
        )
    if others:
        warnings.warn(
            f"{counted(len(others), 'entry is no tensor', 'entries are no tensors')} and left out: {listed(others)}",
            stacklevel=3,
        )
    supply.authenticate()
    state: dict[str, torch.Tensor] = {}
    deliveries = []
    for key in tensors:
        offer = supply.offer(key)
        array = np.empty(offer.shape, offer.dtype.numpy)
        state[mapped[key]] = as_tensor(array, offer.dtype, supply.original(key))
        deliveries.append(Delivery(key, offer, offer.dtype, array))
    supply.deliver(deliveries)
    return state


def _may_be_flat(name: str, shape: tuple[int, ...]) -> bool:
    """Tell whether a weight may be that of a 1-d convolution, or of a 2-d one whose kernel has one row."""
    return name.rpartition(".")[2] == "weight" and len(shape) == _CONVOLUTION and shape[2] == 1 < shape[3]


def _check_distinct(mapped: dict[str, str]) -> None:
    before: dict[str, str] = {}
    for name, torch_name in mapped.items():
        if torch_name in before:
            raise BindingError(
                f"{before[torch_name]!r} and {name!r} would both be {torch_name!r}",
                name=name,
                hint="pass module= or rename one of them with name_map",
            )
        before[torch_name] = name


def parameters_of(module: Any) -> dict[str, Parameter]:
    """Return a module's tensors under the names and in the shapes that ``mindspore.nn`` has for them.

    Raises:
        BindingError: a tensor has no counterpart in MindSpore; the message lists them all.
        ArgumentError: two tensors would have the same name.
    """
    found: dict[str, Parameter] = {}
    paths: dict[str, str] = {}
    refused: list[str] = []
    for place in places(module):
        if place.is_optional:
            continue
        name, shape = place.names[0], place.shapes[0]
        refusal, dtype = refusal_of(place.tensor), dtype_of(place.tensor)
        if refusal is not None or dtype is None:
            refused.append(f"{place.path!r}: {refusal}")
            continue
        if name in found:
            raise ArgumentError(f"{paths[name]!r} and {place.path!r} would have the same name in MindSpore", name=name)
        tensor = place.tensor.detach().resolve_conj().resolve_neg()
        tensor = tensor.to("cpu", copy=True, memory_format=torch.contiguous_format)
        found[name] = Parameter._adopt(as_array(tensor, dtype).reshape(shape), dtype, name)  # noqa: SLF001 -- own memory
        found[name].requires_grad = place.tensor.requires_grad
        paths[name] = place.path
    if refused:
        raise BindingError(f"{counted(len(refused), 'tensor')} cannot be saved:\n    " + "\n    ".join(refused))
    return found
