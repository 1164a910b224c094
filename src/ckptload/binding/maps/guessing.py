"""What layers without a counterpart may be: parts of a joined tensor, transposed ones, ones with a bias of zeros.

None of this is ever certain; it is asked.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ckptload.binding.maps.deciding import Matching
    from ckptload.binding.maps.layers import Layer, Shape

#: How many tensors are looked for in one: query, key and value; gate and up, or key and value.
_PARTS: Final = (3, 2)
_MATRIX: Final = 2


@dataclass
class Guesses:
    """What layers without a counterpart may be.

    Attributes:
        biased: layers of both sides, of which that of the net alone has a bias.
        transposed: layers of both sides whose matrices are transposed.
        joined: layers of the checkpoint that may be joined, and a layer of the net.
        cut: a layer of the checkpoint, and layers of the net that it may be cut into.
    """

    biased: list[tuple[Layer, Layer]] = field(default_factory=list)
    transposed: list[tuple[Layer, Layer]] = field(default_factory=list)
    joined: list[tuple[tuple[Layer, ...], Layer]] = field(default_factory=list)
    cut: list[tuple[Layer, tuple[Layer, ...]]] = field(default_factory=list)


def guesses(found: Matching) -> Guesses:
    """Return what the layers that are left on both sides may be; each is used once."""
    made = Guesses()
    mine, theirs = list(found.left), list(found.lacking)
    made.biased = list(_in_pairs(mine, theirs, _shapes, _without_bias))
    made.transposed = list(_in_pairs(mine, theirs, _turned, _shapes))
    for one, several in _parts(theirs, mine):
        made.joined.append((several, one))
    for one, several in _parts(mine, theirs):
        made.cut.append((one, several))
    return made


def _shapes(layer: Layer) -> dict[str, Shape] | None:
    return {role: spot.shape for role, spot in layer.spots.items()}


def _without_bias(layer: Layer) -> dict[str, Shape] | None:
    shapes = {role: spot.shape for role, spot in layer.spots.items()}
    return shapes if shapes.pop("bias", None) is not None and shapes else None


def _turned(layer: Layer) -> dict[str, Shape] | None:
    weight = layer.spots.get("weight")
    if weight is None or len(weight.shape) != _MATRIX:
        return None
    return {role: spot.shape[::-1] if role == "weight" else spot.shape for role, spot in layer.spots.items()}


def _in_pairs(
    mine: list[Layer],
    theirs: list[Layer],
    of_mine: Callable[[Layer], dict[str, Shape] | None],
    of_theirs: Callable[[Layer], dict[str, Shape] | None],
) -> Iterator[tuple[Layer, Layer]]:
    """Yield layers of equal shapes in their order, and take them out of both lists."""
    waiting: dict[str, list[Layer]] = {}
    for layer in theirs:
        shapes = of_theirs(layer)
        if shapes is not None:
            waiting.setdefault(repr(sorted(shapes.items())), []).append(layer)
    for layers in waiting.values():
        layers.reverse()
    for layer in list(mine):
        shapes = of_mine(layer)
        found = waiting.get(repr(sorted(shapes.items()))) if shapes is not None else None
        if found:
            other = found.pop()
            mine.remove(layer)
            theirs.remove(other)
            yield layer, other


def _parts(ones: list[Layer], others: list[Layer]) -> Iterator[tuple[Layer, tuple[Layer, ...]]]:
    """Yield layers and others that are their parts along the first axis, and take them out of both lists."""
    for count in _PARTS:
        groups: dict[str, list[tuple[Layer, ...]]] = {}
        for several in _neighbours(others, count):
            whole = _joined(several)
            if whole is not None:
                groups.setdefault(repr(sorted(whole.items())), []).append(several)
        taken: set[int] = set()
        for one in list(ones):
            for several in groups.get(repr(sorted((_shapes(one) or {}).items())), ()):
                if taken.isdisjoint(map(id, several)):
                    taken.update(map(id, several))
                    ones.remove(one)
                    yield one, several
                    break
        others[:] = [layer for layer in others if id(layer) not in taken]


def _neighbours(layers: Sequence[Layer], count: int) -> Iterator[tuple[Layer, ...]]:
    """Yield layers that stand together in one block, in their order."""
    for at in range(len(layers) - count + 1):
        several = tuple(layers[at : at + count])
        if len({layer.path.parent for layer in several}) == 1:
            yield several


def _joined(several: Sequence[Layer]) -> dict[str, Shape] | None:
    """Return the shapes of layers that are joined along the first axis; None if they cannot be."""
    roles = [layer.spots.keys() for layer in several]
    if any(each != roles[0] for each in roles):
        return None
    found: dict[str, Shape] = {}
    for role in roles[0]:
        shapes = [layer.spots[role].shape for layer in several]
        if not all(shapes) or len({shape[1:] for shape in shapes}) > 1:
            return None
        found[role] = (sum(shape[0] for shape in shapes), *shapes[0][1:])
    return found
