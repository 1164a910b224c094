"""`propose_name_map`: a map from both sides' names, shapes and types of layers."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from ckptload.binding.maps.deciding import matched
from ckptload.binding.maps.layers import layers_of
from ckptload.binding.maps.proposal import Proposal, Question
from ckptload.binding.maps.sides import spots_of_net, spots_of_source

if TYPE_CHECKING:
    from ckptload.binding.maps.deciding import Matching
    from ckptload.binding.maps.layers import Spot
    from ckptload.binding.maps.structure import Pair


def propose_name_map(module: Any, source: Any, *, rules: Any = None, convention: Any = None) -> Proposal:
    """Propose a map from the names of a checkpoint to those of a net.

    Only names, shapes, their order and types of layers are looked at; no tensor data is read. The proposal is certain
    only if something beside the order decides each tensor of both sides; otherwise it has questions.

    Args:
        module: the net: a ``torch.nn.Module`` (of the meta device, too), a Cell, a dictionary of names and tensors or
            shapes, an open checkpoint, or the path of one.
        source: the checkpoint: an open one, or a dictionary of names and tensors or shapes.

    Returns:
        The proposal. It shares no memory with either side.

    Raises:
        ArgumentTypeError: a side is of another type.
        LimitError: a side has more than 100 000 tensors.
    """
    return proposed(spots_of_source(source), spots_of_net(module))


def proposed(ours: list[Spot], theirs: list[Spot]) -> Proposal:
    """Return the proposal for the tensors of a checkpoint and those of a net."""
    found = matched(layers_of(ours), layers_of(theirs))
    names: dict[str, str] = {}
    reshapes = {}
    for one, other in found.pairs:
        for role, spot in {**one.spots, **one.extra}.items():
            target = other.spots.get(role) or other.extra.get(role)
            if target is not None:
                names[spot.name] = target.name
                if spot.shape != target.shape:
                    reshapes[target.name] = (spot.shape, target.shape)
    taken = set(names.values())
    missing = tuple(spot.name for spot in theirs if spot.name not in taken and not _may_lack(spot))
    unused = tuple(spot.name for spot in ours if spot.name not in names)
    needed = [name for layer in found.left for name in (spot.name for spot in layer.spots.values())]
    return Proposal(
        certain=bool(names) and not (found.open or missing or needed),
        name_map=names,
        questions=_questions(found),
        missing=missing,
        unused=unused,
        reshapes=reshapes,
        entries=(len(ours), len(theirs)),
    )


def _may_lack(spot: Spot) -> bool:
    return spot.is_optional or spot.name.endswith("num_batches_tracked")


def _questions(found: Matching) -> tuple[Question, ...]:
    asked = Counter(_asked(one, other) for one, other in found.open)
    return tuple(Question(text, times) for text, times in asked.items())


def _asked(one: Pair, other: Pair) -> str:
    mine = _apart(one[0].path.text, other[0].path.text)
    theirs = _apart(one[1].path.text, other[1].path.text)
    return f"{theirs[0]} <- {mine[0]} and {theirs[1]} <- {mine[1]}, or the other way round?"


def _apart(one: str, other: str) -> tuple[str, str]:
    """Return two names without the parts with which both begin."""
    mine, theirs = one.split("."), other.split(".")
    start = 0
    while start < min(len(mine), len(theirs)) - 1 and mine[start] == theirs[start]:
        start += 1
    return ".".join(mine[start:]), ".".join(theirs[start:])
