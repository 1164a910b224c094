"""A ``torch.nn.Module`` as a binding target."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import torch

from ckptload.dtypes import DType
from ckptload.foreign.torch_tensors import as_array, as_tensor, dtype_of, has_place, refusal_of
from ckptload.nets.ends import prefixes_of
from ckptload.nets.overlaps import Extent
from ckptload.nets.pytorch.differences import differences
from ckptload.nets.pytorch.names import places

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from ckptload.dtypes import Array
    from ckptload.nets.pytorch.difference import LayerDifference
    from ckptload.nets.pytorch.names import Place

#: The last parts of names that ``mindspore.nn`` alone has.
_THEIRS: Final = frozenset({"gamma", "beta", "moving_mean", "moving_variance", "embedding_table"})


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
    """Yield every tensor of a module once, under the name that the checkpoint has.

    Several of its names may have prefixes. Then the prefix counts behind which the most tensors of the module
    are, and of several such prefixes the first in the checkpoint: a norm beside the module, or a net of other layers,
    may have a name that fits, too.
    """
    tied: dict[object, list[Place]] = {}
    for place in places(module):
        tied.setdefault(identity(place.tensor), []).append(place)
    every = [[(name, place) for place in several for name in place.names] for several in tied.values()]
    ranks = _behind_prefixes([[name for name, _ in options] for options in every], keys)
    for several, options in zip(tied.values(), every, strict=True):
        found = next((option for option in options if option[0] in keys), None)
        if found is None:
            # Of equals, min() takes the first.
            known = [option for option in options if option[0] in ranks]
            found = min(known, key=lambda option: ranks[option[0]], default=None)
        if found is not None or not several[0].is_optional:
            name, place = found or options[0]
            yield Chosen(name, place, tuple(place.path for place in several))


def _behind_prefixes(every: Sequence[Sequence[str]], keys: Collection[str]) -> dict[str, tuple[int, int]]:
    """Return the names that entries end with, and for each how well its best prefix does; the smallest is the best.

    Args:
        every: the names of each tensor.
        keys: names of the entries, in their order.
    """
    prefixes = prefixes_of((name for names in every for name in names), keys)
    tensors = Counter(
        prefix for names in every for prefix in {prefix for name in names for prefix in prefixes.get(name, ())}
    )
    numbers = {key: number for number, key in enumerate(keys)} if prefixes else {}
    first: dict[str, int] = {}
    for name, mine in prefixes.items():
        for prefix in mine:
            number = numbers[prefix + name]
            first[prefix] = min(first.get(prefix, number), number)
    return {name: min((-tensors[prefix], first[prefix]) for prefix in mine) for name, mine in prefixes.items()}


class TorchTarget:
    """A module as a target; its parameters and persistent buffers have the names that MindSpore gives them."""

    def __init__(self, module: Any) -> None:
        self.net: torch.nn.Module = module
        self._chosen: list[Chosen] = []

    def slots(self, keys: Collection[str]) -> list[TorchSlot]:
        """Return one slot for each tensor, also if it is tied to several names."""
        self._chosen = list(choose(self.net, keys))
        return [TorchSlot(chosen) for chosen in self._chosen]

    def differences(self, sources: Mapping[str, Sequence[str]], *, is_ckpt: bool) -> tuple[LayerDifference, ...]:
        """Return the kinds of layers that may differ, if the entries come from MindSpore."""
        return differences_of(self.net, self._chosen, sources, is_ckpt=is_ckpt)


def differences_of(
    module: torch.nn.Module, chosen: Iterable[Chosen], sources: Mapping[str, Sequence[str]], *, is_ckpt: bool
) -> tuple[LayerDifference, ...]:
    """Return the kinds of layers of a module that may differ from those of the net that entries come from.

    Nothing is said of entries that may come from torch: they are from no .ckpt, and none of them has a name that only
    ``mindspore.nn`` has for the tensor that it is loaded into.
    """
    if not sources:
        return ()
    is_theirs = is_ckpt or any(
        _is_theirs(source, each.place.path) for each in chosen for source in sources.get(each.name, ())
    )
    return differences(module) if is_theirs else ()


def _is_theirs(source: str, path: str) -> bool:
    """Tell whether an entry has MindSpore's name for a tensor that has another in torch."""
    last = source.rpartition(".")[2]
    return last in _THEIRS and last != path.rpartition(".")[2]


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
        return refusal_of(self._tensor)

    def extent(self) -> Extent | None:
        """Return where its elements are."""
        return _extent(self._tensor)

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


def _extent(tensor: torch.Tensor) -> Extent | None:
    if not has_place(tensor):
        return None
    size = tensor.element_size()
    strides = tuple(stride * size for stride in tensor.stride())
    return Extent(str(tensor.device), tensor.data_ptr(), tuple(tensor.shape), strides, size)


def identity(tensor: torch.Tensor) -> object:
    """Return what is equal for a tensor and another of the same elements, whichever object it is."""
    place = _extent(tensor) if refusal_of(tensor) is None else None
    return (place, tensor.dtype) if place is not None and place.size else id(tensor)


def _note_change(tensor: torch.Tensor) -> None:
    """Tell autograd that the values change, so that it refuses to compute gradients from the old values."""
    note = getattr(torch.autograd.graph, "increment_version", None)  # torch 2.1 does not have it
    if note is not None:
        note(tensor)
