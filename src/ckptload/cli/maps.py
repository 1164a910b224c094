"""Name maps: files with rules, JSON objects of old and new names, and maps that ckptload knows by name."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from ckptload import NameMap
from ckptload.binding.maps.conventions import convention
from ckptload.cli.small import read_small
from ckptload.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterable

#: A map of a million names is shorter; a longer file was probably given by mistake.
_MOST: Final = 200_000_000


def read_map(given: str) -> NameMap:
    """Read a map.

    Args:
        given: the path of its file, which may be a pipe; or the name of a convention.

    Raises:
        ArgumentError: it cannot be read, or is not a map; or there is neither a file nor a map of this name.
    """
    if is_convention(given):
        return convention(given)
    content = read_small(given, _MOST, "the name map", at=given)
    if len(content) > _MOST:
        raise ArgumentError("the name map is too long", path=given)
    return NameMap.parse(content, given)


def is_convention(given: str) -> bool:
    """Return whether a word is the name of a convention: of a file, it is a path that exists or looks like one."""
    return not {".", "/", os.sep}.intersection(given) and not os.path.lexists(given)


def new_names(name_map: NameMap, names: Iterable[str]) -> dict[str, str]:
    """Return the names by their new names, where the map does nothing but rename.

    Raises:
        ArgumentError: it does more.
    """
    found: dict[str, str] = {}
    for recipe in name_map.recipes(names):
        if recipe.rule is not None:
            raise ArgumentError(
                "the map changes values, and here only names can be mapped",
                name=recipe.name,
                hint="convert the checkpoint with this map first",
            )
        found[recipe.name] = recipe.sources[0]
    return found
