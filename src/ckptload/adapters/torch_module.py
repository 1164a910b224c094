"""A ``torch.nn.Module`` as a binding target."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from ckptload import dtypes
from ckptload.adapters.torch_names import places
from ckptload.adapters.torch_tensors import as_array, as_tensor, dtype_of

if TYPE_CHECKING:
    from collections.abc import Collection

    import numpy.typing as npt

    from ckptload.adapters.torch_names import Place
    from ckptload.dtypes import DType

    Array = npt.NDArray[Any]


class TorchTarget:
    """A module, whose parameters and persistent buffers have the names that MindSpore would give them."""

    def __init__(self, module: Any) -> None:
        self._module: torch.nn.Module = module

    def slots(self, keys: Collection[str] = ()) -> list[TorchSlot]:
        """Return a slot for each tensor; one that is tied to several names gets the one that `keys` has."""
        tied: dict[int, list[Place]] = {}
        for place in places(self._module):
            tied.setdefault(id(place.tensor), []).append(place)
        return [TorchSlot(_wanted(several, keys)) for several in tied.values()]

    def aliases(self) -> dict[str, str]:
        """Return the name in MindSpore for every key of ``state_dict()``, by which a `name_map` may call it."""
        return {place.path: place.name for place in places(self._module)}


def _wanted(several: list[Place], keys: Collection[str]) -> Place:
    """Choose among the names of a tied tensor the one that the checkpoint has, be it behind a prefix."""
    if len(several) > 1:
        for place in several:
            if place.name in keys:
                return place
        for place in several:
            if any(key.endswith("." + place.name) for key in keys):
                return place
    return several[0]


class TorchSlot:
    """A tensor of a module: its memory stays where it is, and so do its dtype and device."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._tensor = place.tensor

    @property
    def name(self) -> str:
        """Return its name in MindSpore."""
        return self._place.name

    @property
    def shape(self) -> tuple[int, ...]:
        """Return its shape in MindSpore."""
        return self._place.shape

    @property
    def dtype(self) -> DType:
        """Return its dtype; where MindSpore has none such, `refusal` says so."""
        return dtype_of(self._tensor) or dtypes.uint8

    def refusal(self) -> str | None:
        """Return why nothing can be written into it, or None."""
        if isinstance(
            self._tensor, (torch.nn.parameter.UninitializedParameter, torch.nn.parameter.UninitializedBuffer)
        ):
            return "the lazy module has no parameters yet; run it once on an input"
        if dtype_of(self._tensor) is None:
            return f"MindSpore has no counterpart of {self._tensor.dtype}"
        if self._tensor.is_meta:
            return "the module is on the meta device, which holds no values; call to_empty(device='cpu') first"
        if self._tensor.layout is not torch.strided:
            return f"the tensor's layout is {self._tensor.layout}"
        if any(
            stride == 0 and size > 1 for size, stride in zip(self._tensor.shape, self._tensor.stride(), strict=True)
        ):
            return "the tensor is expanded: several of its elements share memory"
        return None

    def memory(self) -> Array | None:
        """View its memory, where numpy can see it as a whole."""
        tensor = self._tensor
        if tensor.device.type != "cpu" or not tensor.is_contiguous() or tensor.is_neg() or tensor.is_conj():
            return None
        return as_array(tensor, self.dtype).reshape(self.shape)

    def write(self, array: Array) -> None:
        """Copy values into it, on whatever device it is."""
        source = as_tensor(array, self.dtype, self.name).reshape(self._tensor.shape)
        with torch.no_grad():
            self._tensor.copy_(source)
