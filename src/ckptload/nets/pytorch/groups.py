"""Names of a checkpoint in torch, inferred from the names and shapes beside them; torch is not needed."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    Shape = tuple[int, ...]


class _Layer(NamedTuple):
    """A layer of ``mindspore.nn`` that has no children, known by the last parts of its names.

    Attributes:
        needed: last parts that it always has.
        renamed: torch's names of all its tensors, by MindSpore's.
        beside: other last parts that it may have; they are the same in torch, or torch lacks them.
        dimensions: number of dimensions of each tensor in `renamed`.
    """

    needed: frozenset[str]
    renamed: dict[str, str]
    beside: frozenset[str]
    dimensions: int

    def fits(self, tensors: Mapping[str, Shape | None]) -> bool:
        """Tell whether a group of tensors, shapes by last parts of names, is such a layer."""
        shapes = {shape for last, shape in tensors.items() if last in self.renamed and shape is not None}
        return (
            self.needed <= tensors.keys() <= self.renamed.keys() | self.beside
            and len(shapes) <= 1
            and all(len(shape) == self.dimensions for shape in shapes)
        )


_AFFINE: Final = {"gamma": "weight", "beta": "bias"}
#: The first row that fits is used.
_LAYERS: Final = (
    _Layer(
        frozenset({"moving_mean", "moving_variance"}),
        {**_AFFINE, "moving_mean": "running_mean", "moving_variance": "running_var"},
        frozenset({"num_batches_tracked"}),
        1,
    ),
    # mean and variance: the statistics of MindSpore's InstanceNorm (2.10.0, nn/layer/normalization.py:942).
    _Layer(frozenset(_AFFINE), _AFFINE, frozenset({"mean", "variance"}), 1),
    _Layer(frozenset({"embedding_table"}), {"embedding_table": "weight"}, frozenset(), 2),
)
#: Names that have a meaning only in one of these layers; anywhere else they are ambiguous.
_OPEN: Final = frozenset().union(*(layer.renamed for layer in _LAYERS))


def guess_torch_names(
    names: Iterable[str], *, shapes: Mapping[str, tuple[int, ...]] | None = None, beside: Iterable[str] = ()
) -> tuple[dict[str, str], list[str]]:
    """Map names of a checkpoint to torch's, inferred from names with a common prefix, without a module.

    ``gamma`` and ``beta`` of a norm become ``weight`` and ``bias``, and so on. The names with a prefix are a layer
    only if no other name has a longer prefix that begins with it, if there is no name that the layer does not have,
    and if the shapes are those of the layer: one dimension for a norm, two for an embedding. Anything else
    keeps its names.

    Args:
        names: the names to map.
        shapes: shapes of tensors by name. A tensor without a shape here is taken to have that of the layer.
        beside: further names of the checkpoint, which are not mapped. They may be among `names`, too.

    Returns:
        A map of old names to new names, each new name only once; and the ambiguous names, which only a module can
        tell.
    """
    every = list(names)
    groups: dict[str, dict[str, Shape | None]] = {}
    for name in (*every, *beside):
        stem, last = _parts(name)
        groups.setdefault(stem, {})[last] = None if shapes is None else shapes.get(name)
    layers = {stem: next((one for one in _LAYERS if one.fits(groups[stem])), None) for stem in _leaves(groups)}
    found: dict[str, str] = {}
    unclear: list[str] = []
    for name in every:
        stem, last = _parts(name)
        layer = layers.get(stem)
        found[name] = name if layer is None else stem + layer.renamed.get(last, last)
        if (layer is None and last in _OPEN) or _depends(stem, last, groups):
            unclear.append(name)
    return found, unclear


def _parts(name: str) -> tuple[str, str]:
    """Divide a name behind its last dot."""
    prefix, dot, last = name.rpartition(".")
    return prefix + dot, last


def _leaves(stems: Iterable[str]) -> list[str]:
    """Return the stems that no other stem begins with. In order, the next stem is the first that could."""
    ordered = sorted(stems)
    return [one for one, following in pairwise(ordered) if not following.startswith(one)] + ordered[-1:]


def _depends(stem: str, last: str, groups: Mapping[str, Mapping[str, object]]) -> bool:
    """Tell whether a name changes in torch only if the layer is what it seems to be, which is not certain."""
    parent, own = _parts(stem[:-1])
    if own == "bn2d":
        # MindSpore's BatchNorm3d holds its parameters in a BatchNorm2d of this name.
        return "moving_mean" in groups[stem]
    if own in {"dense1", "dense2"}:
        # A layer of a Transformer; torch calls the two linear1 and linear2.
        return f"{parent}self_attn." in groups
    # The slopes of a PReLU.
    return last == "w" and len(groups[stem]) == 1
