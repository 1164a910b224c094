"""Names of a checkpoint that end with a name of a net: what stands before it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def prefixes_of(names: Iterable[str], keys: Iterable[str]) -> dict[str, list[str]]:
    """Find the entries that end with a dot and a name of a net.

    Args:
        names: names in the net.
        keys: names of the entries, in their order.

    Returns:
        For each name that has any, what stands before it in those entries, in their order; each ends with a dot.
    """
    found: dict[str, list[str]] = {name: [] for name in names}
    longest = max(map(len, found), default=0)
    for key in keys:
        # A name in the file may have thousands of dots, so ends longer than any name of the net are not tried.
        at = key.find(".", max(0, len(key) - longest - 1))
        while at >= 0:
            prefixes = found.get(key[at + 1 :])
            if prefixes is not None:
                prefixes.append(key[: at + 1])
            at = key.find(".", at + 1)
    return {name: prefixes for name, prefixes in found.items() if prefixes}
