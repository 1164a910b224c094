"""State dictionaries of torch: made from a checkpoint, and from a module for `save_checkpoint`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from ckptload.errors import ArgumentError, BindingError
from ckptload.foreign.torch_tensors import dtype_of, has_shape, refusal_of, taken
from ckptload.messages import counted
from ckptload.nets.pytorch.module import TorchSlot, choose, differences_of, identity
from ckptload.nets.pytorch.names import places
from ckptload.tensors.parameter import Parameter

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from ckptload.nets.pytorch.difference import LayerDifference
    from ckptload.nets.pytorch.module import Chosen
    from ckptload.nets.pytorch.names import Place


class StateTarget:
    """New tensors on the CPU for those of a module: they are filled, and the module is not changed."""

    def __init__(self, module: Any) -> None:
        self.net = module
        self._chosen: list[Chosen] = []
        self._new: dict[str, tuple[Chosen, torch.Tensor]] = {}

    def slots(self, keys: Collection[str]) -> list[TorchSlot]:
        """Return a slot for each new tensor."""
        slots = []
        self._chosen = list(choose(self.net, keys))
        for chosen in self._chosen:
            tensor = chosen.place.tensor
            if has_shape(tensor) and dtype_of(tensor) is not None:
                tensor = torch.empty(tensor.shape, dtype=tensor.dtype)
                self._new[chosen.name] = chosen, tensor
            slots.append(TorchSlot(chosen, tensor))
        return slots

    def differences(self, sources: Mapping[str, Sequence[str]], *, is_ckpt: bool) -> tuple[LayerDifference, ...]:
        """Return the kinds of layers that may differ, if the entries come from MindSpore."""
        return differences_of(self.net, self._chosen, sources, is_ckpt=is_ckpt)

    def state(self, loaded: Iterable[str]) -> dict[str, torch.Tensor]:
        """Return the loaded tensors in the order of ``state_dict()``; the names of a tied tensor share it."""
        by_path = {path: tensor for chosen, tensor in map(self._new.__getitem__, loaded) for path in chosen.paths}
        return {place.path: by_path[place.path] for place in places(self.net) if place.path in by_path}


def parameters_of(module: Any, named: Callable[[str], str | None] | None = None) -> dict[str, Parameter]:
    """Return a module's tensors with the names and shapes of ``mindspore.nn``.

    Args:
        module: the module.
        named: returns what of a name the caller knows: all of it, its beginning, or None. A tensor whose whole key in
            ``state_dict()`` is known keeps that as its name. Of the names of a tied tensor, those are left out that are
            not known, if another is.

    Raises:
        BindingError: a tensor does not exist in MindSpore; the message lists all of them.
        ArgumentError: two tensors would have the same name.
    """
    found: dict[str, Parameter] = {}
    paths: dict[str, str] = {}
    refused: list[str] = []
    for place, name in _named(module, named):
        shape = place.shapes[0]
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


def _named(module: Any, named: Callable[[str], str | None] | None) -> Iterator[tuple[Place, str]]:
    """Yield the tensors of a module that are saved, each with its name; see `parameters_of`."""
    kept = [place for place in places(module) if not place.is_optional]
    if named is None:
        yield from ((place, place.names[0]) for place in kept)
        return
    names = [place.path if named(place.path) == place.path else place.names[0] for place in kept]
    known = {identity(place.tensor) for place, name in zip(kept, names, strict=True) if named(name) is not None}
    for place, name in zip(kept, names, strict=True):
        if named(name) is not None or identity(place.tensor) not in known:
            yield place, name
