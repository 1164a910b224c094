"""What a caller passes as ``name_map``: a dictionary, a function, a `NameMap`, its file, or a convention's name."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ckptload.binding.maps.conventions import convention
from ckptload.binding.maps.mapped import MappedSupply
from ckptload.binding.maps.name_map import NameMap
from ckptload.binding.maps.patterns import has_places
from ckptload.binding.maps.recipes import Recipe
from ckptload.binding.renaming import renamed
from ckptload.errors import ArgumentError, BindingError, Hint
from ckptload.messages import warn

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ckptload.binding.supplies import Supply

    NameMapLike = Mapping[str, str | None] | Callable[[str], str | None] | NameMap | str | os.PathLike[str] | None

#: The map is proposed from both sides, and used only if it is certain.
AUTO = "auto"


def chosen_map(name_map: NameMapLike) -> Mapping[str, str | None] | Callable[[str], str | None] | NameMap | None:
    """Return a map that is given by a path or by the name of a convention as a `NameMap`, and any other as it is.

    Raises:
        ReadError: its file cannot be read.
        ArgumentError: it is no map.
    """
    if isinstance(name_map, os.PathLike) or (isinstance(name_map, str) and name_map.endswith(_ENDING)):
        return NameMap.read(name_map)
    if name_map == AUTO:
        raise ArgumentError(
            "a map can only be proposed for a net", hint="propose_name_map() makes one from the names of the net"
        )
    if isinstance(name_map, str):
        return convention(name_map)
    return name_map


_ENDING = ".json"


def recipes_of(names: Iterable[str], name_map: NameMapLike) -> list[Recipe]:
    """Return how each tensor is made of entries with these names.

    Raises:
        ArgumentTypeError: the map, or a name that it gives, is of the wrong type.
        ArgumentError: two tensors would have the same name, or the map makes no sense.
    """
    chosen: Any = chosen_map(name_map)
    if isinstance(chosen, Mapping) and any(isinstance(old, str) and has_places(old) for old in chosen):
        chosen = NameMap(chosen)
    if isinstance(chosen, NameMap):
        recipes = chosen.recipes(names)
        for caution in dict.fromkeys(each.rule.caution for each in recipes if each.rule is not None):
            if caution:
                warn(caution)
        return recipes
    return [Recipe(new, (old,)) for new, old in renamed(names, chosen).items()]


def turned_round(name_map: NameMapLike) -> NameMap:
    """Return the map that goes back.

    Raises:
        ArgumentError: it cannot be turned round: it is a function, or several entries become the same.
    """
    chosen: Any = chosen_map(name_map)
    if not isinstance(chosen, (NameMap, Mapping)):
        raise ArgumentError("a function of names cannot be turned round", hint="write the map as a dictionary")
    return (chosen if isinstance(chosen, NameMap) else NameMap(chosen)).inverse()


def mapped(supply: Supply, name_map: NameMapLike, net: object = None) -> Supply:
    """Return a supply as a map sees it; the supply itself if the map is None.

    Args:
        supply: the entries.
        name_map: the map.
        net: what the entries are for, if that is known; ``"auto"`` proposes a map for it.

    Raises:
        BindingError: the proposed map is not certain; the message has the questions.
    """
    if name_map is None:
        return supply
    if name_map == AUTO and net is not None:
        name_map = _proposed(supply, net)
    return MappedSupply(supply, recipes_of(supply.keys, name_map))


def _proposed(supply: Supply, net: object) -> NameMap:
    from ckptload.binding.maps.proposing import propose_name_map  # noqa: PLC0415 -- few maps are proposed

    proposal = propose_name_map(net, {key: supply.shape(key) for key in supply.keys if supply.is_tensor(key)})
    if not proposal.certain:
        raise BindingError(
            f"the map that was proposed is not certain:\n{proposal}",
            path=supply.label,
            hint=Hint("{rules}"),
        )
    found: NameMap = proposal.map
    return found
