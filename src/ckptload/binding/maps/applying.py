"""A supply as the map that a caller passes sees it; ``"auto"`` proposes one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ckptload.binding.maps.choosing import AUTO, recipes_of
from ckptload.binding.maps.mapped import MappedSupply
from ckptload.binding.maps.proposing import propose_name_map
from ckptload.errors import BindingError, Hint

if TYPE_CHECKING:
    from ckptload.binding.maps.choosing import NameMapLike
    from ckptload.binding.maps.name_map import NameMap
    from ckptload.binding.supplies import Supply


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
    proposal = propose_name_map(net, {key: supply.shape(key) for key in supply.keys if supply.is_tensor(key)})
    if not proposal.certain:
        raise BindingError(
            f"the map that was proposed is not certain:\n{proposal}",
            path=supply.label,
            hint=Hint("{rules}"),
        )
    found: NameMap = proposal.map
    return found
