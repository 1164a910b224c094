"""The order of the entries of a .ckpt, kept in the metadata of a safetensors file, whose tensors are sorted by name.

Where several entries match a parameter, the first one is taken (docs/binding.md, "Several entries match"), so a
conversion must not lose the order.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

#: Metadata key of a JSON array: for each entry, in the order that is kept, its place in the order of names.
KEY: Final = "ckptload.order"
#: MindSpore's names of tensors of layers, and PyTorch's: a module takes either.
_SAME: Final = {
    "gamma": "weight",
    "embedding_table": "weight",
    "w": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def restored(names: Collection[str], metadata: Mapping[str, str]) -> list[str]:
    """Return names in the order that the metadata has, or in that of code points if it is not one of these names.

    A tool that adds or removes tensors, and copies the metadata, makes it so.
    """
    ordered = sorted(names)
    text = metadata.get(KEY)
    if text is None:
        return ordered
    if text.count(",") + 1 != len(ordered) or text.count("[") != 1:
        # What is not one list of so many is not parsed, as it may be anything else and very long.
        return ordered
    try:
        places = json.loads(text)
    except (ValueError, RecursionError):
        return ordered
    if not isinstance(places, list) or len(places) != len(ordered) or any(type(each) is not int for each in places):
        return ordered
    return [ordered[each] for each in places] if set(places) == set(range(len(ordered))) else ordered


def entry_for(names: Sequence[str]) -> dict[str, str]:
    """Return the item that keeps an order in metadata, or an empty dictionary if it does not matter.

    It matters if two names that are not in the order of code points are the same after some dot, and so after the last,
    or stand for the same tensor of a layer.
    """
    before: dict[str, str] = {}
    for name in names:
        _, dot, end = name.rpartition(".")
        if not dot:
            continue
        end = _SAME.get(end, end)
        if before.get(end, "") > name:
            places = {each: place for place, each in enumerate(sorted(names))}
            return {KEY: json.dumps([places[each] for each in names], separators=(",", ":"))}
        before[end] = name
    return {}
