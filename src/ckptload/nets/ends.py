"""Names of a checkpoint that end with a name of a net: what is in front of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ckptload.dotted import Ends

if TYPE_CHECKING:
    from collections.abc import Iterable


def prefixes_of(names: Iterable[str], keys: Iterable[str]) -> dict[str, list[str]]:
    """Find the entries that end with a dot and a name of a net.

    Args:
        names: names in the net.
        keys: names of the entries, in their order.

    Returns:
        For each name that has any, what is in front of it in those entries, in their order; each ends with a dot.
    """
    found: dict[str, list[str]] = {name: [] for name in names}
    ends = Ends(found)
    for key in keys:
        for name in ends.every(key):
            if len(name) < len(key):
                found[name].append(key[: len(key) - len(name)])
    return {name: prefixes for name, prefixes in found.items() if prefixes}
