"""The two sides of a map: names, shapes and types of layers, without a byte of tensor data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ckptload.binding.copies import STATE_PREFIXES
from ckptload.binding.maps.layers import Spot
from ckptload.binding.supplies import supply_of
from ckptload.errors import ArgumentTypeError, LimitError
from ckptload.messages import shown_value, type_name
from ckptload.nets.cell import Cell
from ckptload.nets.foreign import is_foreign_net, is_module
from ckptload.nets.slots import target_of
from ckptload.reading.given import open_while
from ckptload.reading.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from ckptload.nets.pytorch.names import Place

#: Tensors of a side. The nets that people write maps for have far fewer.
MAX_TENSORS: Final = 100_000
#: What training writes beside the weights.
_COUNTERS: Final = frozenset(
    (
        *("global_step", "learning_rate", "step_num", "epoch_num", "momentum", "weight_decay", "lr", "batch_num"),
        *("current_iterator_step", "last_overflow_iterator_step", "scale_sense", "loss_scale"),
        *("beta1_power", "beta2_power"),
    )
)


def spots_of_source(source: object) -> list[Spot]:
    """Return the tensors of a checkpoint, without optimizer state and counters.

    Raises:
        ArgumentTypeError: it is no checkpoint.
        LimitError: it has too many tensors.
    """
    spots = _named(source, "source")
    return [spot for spot in spots if not is_state(spot.name)]


def is_state(name: str) -> bool:
    """Tell whether an entry is optimizer state or a counter."""
    return name.startswith(STATE_PREFIXES) or name in _COUNTERS


def spots_of_net(net: object, names: AbstractSet[str] = frozenset()) -> list[Spot]:
    """Return the tensors of a net; one that is tied to several names once, by that which the checkpoint has.

    Args:
        net: the net.
        names: names of the checkpoint.

    Raises:
        ArgumentTypeError: it is no net.
        LimitError: it has too many tensors.
    """
    if is_module(net):
        return _limited(_of_module(net, names), "module")
    if isinstance(net, Cell) or is_foreign_net(net):
        return _limited([Spot(slot.name, tuple(slot.shape)) for slot in target_of(net).slots(())], "module")
    return _named(net, "module")


def _of_module(module: Any, names: AbstractSet[str]) -> list[Spot]:
    from ckptload.nets.pytorch.module import identity  # noqa: PLC0415 -- imports torch
    from ckptload.nets.pytorch.names import places  # noqa: PLC0415 -- imports torch

    kinds = {path: type(layer) for path, layer in module.named_modules(remove_duplicate=False)}
    tied: dict[object, list[Place]] = {}
    for place in places(module):
        tied.setdefault(identity(place.tensor), []).append(place)
    found = []
    for several in tied.values():
        place = next((place for place in several if not names.isdisjoint(place.names)), several[0])
        kind = kinds.get(place.path.rpartition(".")[0])
        name = "" if kind is None else f"{kind.__module__}.{kind.__qualname__}"
        *others, shape = place.shapes
        found.append(Spot(place.path, shape, name, place.is_optional, place.names, tuple(others)))
    return found


def _named(side: object, argument: str) -> list[Spot]:
    with open_while(side) as source:
        if isinstance(source, dict):
            _check_count(len(source), argument)
            found = ((name, _shape(name, value, argument)) for name, value in source.items())
            return [Spot(name, shape) for name, shape in found if shape is not None]
        if not isinstance(source, Reader):
            wanted = (
                "a net, names with shapes, a path or an open checkpoint"
                if argument == "module"
                else "a path, an open checkpoint or a dict"
            )
            raise ArgumentTypeError(f"{argument} must be {wanted}, not {type_name(source)}")
        supply = supply_of(source, argument)
        _check_count(len(supply.keys), argument)
        return [Spot(key, tuple(supply.shape(key))) for key in supply.keys if supply.is_tensor(key)]


def _shape(name: object, value: object, argument: str) -> tuple[int, ...] | None:
    """Return the shape of a value in a dictionary; None if it is no tensor."""
    if not isinstance(name, str):
        raise ArgumentTypeError(f"a key of {argument} must be a str, not {type_name(name)}: {shown_value(name)}")
    if isinstance(value, (tuple, list)) and all(isinstance(n, int) and n >= 0 for n in value):
        return tuple(value)
    if isinstance(value, (str, bytes, list)):
        return None
    shape: Any = getattr(value, "shape", None)
    try:
        return tuple(int(n) for n in shape)
    except (TypeError, ValueError):
        raise ArgumentTypeError(f"the value must be a tensor or a shape, not {type_name(value)}", name=name) from None


def _limited(spots: list[Spot], argument: str) -> list[Spot]:
    _check_count(len(spots), argument)
    return spots


def _check_count(count: int, argument: str) -> None:
    if count > MAX_TENSORS:
        raise LimitError(
            f"{argument} has {count} tensors, and a map is proposed for at most {MAX_TENSORS}",
            hint="write the map as rules with places for numbers",
        )
