"""Tensors grouped into layers, and layers into classes that only their names tell apart."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from ckptload.binding.maps.paths import Path, path_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    Shape = tuple[int, ...]
    #: Roles and shapes.
    Key = tuple[tuple[str, str, Shape], ...]

_COUNT: Final = "num_batches_tracked"
_ROLES: Final = {
    **dict.fromkeys(("weight", "gamma", "embedding_table"), "weight"),
    **dict.fromkeys(("bias", "beta"), "bias"),
    **dict.fromkeys(("moving_mean", "running_mean"), "mean"),
    **dict.fromkeys(("moving_variance", "running_var"), "variance"),
    _COUNT: "count",
}
#: The role of a tensor that is a layer by itself, too.
_WEIGHT: Final = "weight"
#: Ends of the names of matrices and convolutions.
_DENSE: Final = ("weight", "embedding_table")
_SUFFIXES: Final = ("_weight", "_bias")
_LAYERS: Final = "torch.nn.modules."
_NORM: Final = frozenset(("gamma", "beta", "moving_mean", "moving_variance"))
_MATRIX: Final = 2


class Spot(NamedTuple):
    """A tensor of one side.

    Attributes:
        name: its name.
        shape: its shape.
        kind: name of the class of its layer; empty if not known.
        is_optional: whether nothing is missing without it.
        aliases: other names that it has in a checkpoint.
        others: other shapes that it has in a checkpoint, with elements in the same order.
    """

    name: str
    shape: Shape
    kind: str = ""
    is_optional: bool = False
    aliases: tuple[str, ...] = ()
    others: tuple[Shape, ...] = ()

    @property
    def may_lack(self) -> bool:
        """Whether nothing is missing without it: counters of PyTorch, which MindSpore does not have."""
        return self.is_optional or self.name.rpartition(".")[2] == _COUNT

    def fits(self, shape: Shape) -> bool:
        """Tell whether an entry of a shape fits, as binding sees it: axes of length 1 may follow."""
        return any(shape[: len(own)] == own and math.prod(shape[len(own) :]) == 1 for own in (self.shape, *self.others))


@dataclass(eq=False)
class Layer:
    """Tensors that belong together.

    Attributes:
        path: name of the layer.
        order: its place among the layers of its side.
        spots: its tensors, by role.
        extra: those that may be missing, by role.
    """

    path: Path
    order: int
    spots: dict[str, Spot] = field(default_factory=dict)
    extra: dict[str, Spot] = field(default_factory=dict)

    @property
    def key(self) -> Key:
        """What layers must have in common to be taken for each other."""
        found = []
        for role, spot in sorted(self.spots.items()):
            is_dense = len(spot.shape) >= _MATRIX and spot.name.endswith(_DENSE)
            found.append((role, "dense" if is_dense else "", canonical(spot.shape, dense=is_dense)))
        return tuple(found)

    @property
    def is_norm(self) -> bool:
        """Whether its names are those of a norm of MindSpore."""
        return any(spot.name.rpartition(".")[2] in _NORM for spot in self.spots.values())

    @property
    def is_plain(self) -> bool:
        """Whether its names are those of a layer with weights, which no norm of MindSpore has."""
        return {spot.name.rpartition(".")[2] for spot in self.spots.values()} >= {"weight", "bias"}

    @property
    def kind(self) -> str:
        """Name of its class, without the package; empty if that is no layer of PyTorch or a norm of somebody."""
        full = next((spot.kind for spot in self.spots.values()), "")
        name = full.rpartition(".")[2]
        return name if "Norm" in name or (full.startswith(_LAYERS) and name != "Module") else ""


def canonical(shape: Shape, *, dense: bool) -> Shape:
    """Return a shape without axes of length 1; of a matrix or convolution, the first two stay."""
    return (*shape[:2], *(n for n in shape[2:] if n != 1)) if dense else tuple(n for n in shape if n != 1)


def layers_of(spots: Iterable[Spot]) -> list[Layer]:
    """Return the layers that tensors belong to, in their order.

    A tensor of a module that has others below it, such as the scale of a block, is a layer of its own.
    """
    spots = list(spots)
    blocks = {_parted(spot.name)[0].rpartition(".")[0] for spot in spots}
    found: dict[str, Layer] = {}
    for spot in spots:
        path, role = _parted(spot.name)
        if path in blocks or role in (found[path].spots if path in found else ()):
            path, role = spot.name, _WEIGHT
        layer = found.get(path)
        if layer is None:
            layer = found[path] = Layer(path_of(path), len(found))
        (layer.extra if spot.may_lack else layer.spots)[role] = spot
    return list(found.values())


def _parted(name: str) -> tuple[str, str]:
    """Return the name of a tensor's layer and the tensor's role in it."""
    path, _, own = name.rpartition(".")
    role = _ROLES.get(own)
    if role is not None:
        return path, role
    for suffix in _SUFFIXES:
        if own.endswith(suffix):
            return name[: -len(suffix)], suffix[1:]
    return name, _WEIGHT


def classes_of(layers: Iterable[Layer]) -> dict[Key, list[Layer]]:
    """Return layers by their roles and shapes; those without tensors are left out."""
    found: dict[Key, list[Layer]] = {}
    for layer in layers:
        if layer.spots:
            found.setdefault(layer.key, []).append(layer)
    return found
