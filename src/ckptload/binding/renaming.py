"""Rename entries: a `name_map` maps the names of a checkpoint to the names in the net."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from ckptload.dotted import renamer
from ckptload.errors import ArgumentError, ArgumentTypeError, Hint
from ckptload.messages import type_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    Renaming = Mapping[str, str | None] | Callable[[str], str | None] | None

_HINT: Final = "for example {'backbone': 'features'}, or a function that takes a name and returns one"


def renamed(names: Iterable[str], name_map: Renaming) -> dict[str, str]:
    """Rename the names of a checkpoint.

    Args:
        names: names of a checkpoint.
        name_map: a dictionary of names, or of their beginnings up to a dot; the longest matching key is used,
            and a name without a matching key is kept. Or a function that takes a name and returns one. A new
            name of None leaves the entry out. If `name_map` itself is None, all names are kept.

    Returns:
        A dictionary from new name to old name, in the order of `names`.

    Raises:
        ArgumentTypeError: `name_map`, or a name that it returns, is of the wrong type.
        ArgumentError: two entries would have the same name.
    """
    if name_map is None:
        return {name: name for name in names}
    if not isinstance(name_map, Mapping) and not callable(name_map):
        raise ArgumentTypeError(f"name_map must be a dict or a function, not {type_name(name_map)}", hint=_HINT)
    rename = renamer(name_map) if isinstance(name_map, Mapping) else name_map
    found: dict[str, str] = {}
    for name in names:
        new = rename(name)
        if new is None:
            continue
        if not isinstance(new, str):
            raise ArgumentTypeError(f"name_map gave {type_name(new)}, not a str", name=name, hint=_HINT)
        if new in found:
            raise ArgumentError(
                f"{found[new]!r} and {name!r} would both have this name",
                name=new,
                hint=Hint("change {name_map} so that each entry has a different name"),
            )
        found[new] = name
    return found
