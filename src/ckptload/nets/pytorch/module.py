"""A ``torch.nn.Module`` as a binding target."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from ckptload.dtypes import DType
from ckptload.foreign.torch_tensors import as_array, as_tensor, dtype_of, refusal_of
from ckptload.nets.pytorch.names import places

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from ckptload.dtypes import Array
    from ckptload.nets.pytorch.names import Place


class Chosen(NamedTuple):
    """A tensor and its name in the checkpoint.

    Attributes:
        name: the name to look for.
        place: its place in the module, under one of its names if it is tied.
        paths: all its keys in ``state_dict()``.
    """

    name: str
    place: Place
    paths: tuple[str, ...]


def choose(module: Any, keys: Collection[str]) -> Iterator[Chosen]:
    """Yield every tensor of a module once, under the name that the checkpoint has."""
    ends = _ends(keys)
    tied: dict[int, list[Place]] = {}
    for place in places(module):
        tied.setdefault(id(place.tensor), []).append(place)
    for several in tied.values():
        options = [(name, place) for place in several for name in place.names]
        found = _known(options, keys) or _known(options, ends)
        if found is not None or not several[0].is_optional:
            name, place = found or options[0]
            yield Chosen(name, place, tuple(place.path for place in several))


def _known(options: Iterable[tuple[str, Place]], names: Collection[str]) -> tuple[str, Place] | None:
    return next((option for option in options if option[0] in names), None)


def _ends(keys: Iterable[str]) -> set[str]:
    """Return the rest of each key after each of its dots: the names that fit after a prefix."""
    ends: set[str] = set()
    for key in keys:
        at = key.find(".")
        while at >= 0:
            ends.add(key[at + 1 :])
            at = key.find(".", at + 1)
    return ends


class TorchTarget:
    """A module as a target; its parameters and persistent buffers have the names that MindSpore gives them."""

    def __init__(self, module: Any) -> None:
        self._module: torch.nn.Module = module

    def slots(self, keys: Collection[str]) -> list[TorchSlot]:
        """Return one slot for each tensor, also if it is tied to several names."""
        return [TorchSlot(chosen) for chosen in choose(self._module, keys)]


class TorchSlot:
    """A tensor of a module as a slot; its memory, dtype and device do not change."""

    def __init__(self, chosen: Chosen, tensor: torch.Tensor | None = None) -> None:
        self._chosen = chosen
        self._tensor = chosen.place.tensor if tensor is None else tensor

    @property
    def name(self) -> str:
        """Return its name in MindSpore."""
        return self._chosen.name

    @property
    def shape(self) -> tuple[int, ...]:
        """Return its shape in ``mindspore.nn``."""
        return self._chosen.place.shapes[0]

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Return every shape that it can have in MindSpore."""
        return self._chosen.place.shapes

    @property
    def dtype(self) -> DType:
        """Return its dtype; for one that MindSpore lacks, a placeholder with its name in torch."""
        return dtype_of(self._tensor) or DType(str(self._tensor.dtype), "", np.uint8, None, "")

    def refusal(self) -> str | None:
        """Return why nothing can be written into it, or None."""
        refusal = refusal_of(self._tensor)
        if refusal is None and _is_expanded(self._tensor):
            return "the tensor is expanded: several of its elements share memory"
        return refusal

    def memory(self) -> Array | None:
        """View its memory if it is one writable numpy array, or return None."""
        tensor = self._tensor
        if tensor.device.type != "cpu" or not tensor.is_contiguous() or tensor.is_neg() or tensor.is_conj():
            return None
        _note_change(tensor)
        return as_array(tensor, self.dtype).reshape(self.shape)

    def write(self, array: Array) -> None:
        """Copy values into it, on any device."""
        # Views of a mapped file are read-only and may be unaligned; torch accepts neither.
        source = as_tensor(np.require(array, requirements=("C", "A", "W")), self.dtype, self.name).reshape(
            self._tensor.shape
        )
        with torch.inference_mode(self._tensor.is_inference()), torch.no_grad():
            self._tensor.copy_(source)


def _is_expanded(tensor: torch.Tensor) -> bool:
    return any(stride == 0 and size > 1 for size, stride in zip(tensor.shape, tensor.stride(), strict=True))


def _note_change(tensor: torch.Tensor) -> None:
    """Tell autograd that the values change, so that it refuses to compute gradients from the old values."""
    note = getattr(torch.autograd.graph, "increment_version", None)  # torch 2.1 does not have it
    if note is not None:
        note(tensor)
