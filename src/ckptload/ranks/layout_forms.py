"""Makes a `SliceLayout` of the other forms in which MindSpore gives a layout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ckptload.errors import ArgumentTypeError
from ckptload.messages import type_name
from ckptload.ranks.layout import SliceLayout

_PAIR: Final = 2


def read_layout(told: Any) -> SliceLayout:
    """Make the layout of one parameter from any form in which MindSpore gives it.

    Args:
        told: a mapping with the fields of a strategy in JSON (``dev_matrix``, ``tensor_map`` and so on); the message
            that MindSpore's `build_searched_strategy` returns for a name; a list or tuple of a device matrix and a
            tensor map; or a `SliceLayout`, which is returned as it is.

    Raises:
        ArgumentTypeError: it is none of these, or a number in it is none.
        ArgumentError: the numbers cannot be a layout.
    """
    if isinstance(told, SliceLayout):
        return told
    if isinstance(told, Mapping):
        return SliceLayout(**of_json(told))
    if isinstance(told, (list, tuple)) and len(told) == _PAIR:
        return SliceLayout(*told)
    if all(hasattr(told, name) for name in ("dev_matrix", "tensor_map", "param_split_shape", "field")):
        return SliceLayout(**of_message(told))
    raise ArgumentTypeError(
        f"a layout is read from a mapping, a pair of device matrix and tensor map, or a message, not from "
        f"{type_name(told)}"
    )


def of_message(message: Any) -> dict[str, Any]:
    """Return the arguments of `SliceLayout` for a message ParallelLayouts.

    An optimizer shard is meant only if its step is not 0 either (docs/format.md, "Strategy files").
    """
    entries = [entry.dim for entry in message.tensor_map]
    return {
        "device_matrix": message.dev_matrix[0].dim if message.dev_matrix else (),
        # A tensor of one axis that several device axes split has a second, empty entry.
        "tensor_map": entries[0] if len(entries) == 1 else [entry for entry in entries if entry],
        "shard": message.opt_weight_shard_size if message.opt_weight_shard_step else 0,
        "split": message.param_split_shape[0].dim if message.param_split_shape else (),
        "field": message.field,
    }


def of_json(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of `SliceLayout` for an object of a strategy in JSON."""
    return {
        "device_matrix": item.get("dev_matrix"),
        "tensor_map": item.get("tensor_map"),
        "shard": item.get("opt_weight_shard_size", 0) if item.get("opt_weight_shard_step", 0) else 0,
        "split": item.get("param_split_shape") or (),
        "field": item.get("field", 0),
        "expanded": item.get("tensor_shape") or (),
    }
