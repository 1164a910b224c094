"""Name maps: JSON files of old and new names."""

from __future__ import annotations

import json
from typing import Final

from ckptload import shown
from ckptload.cli.small import read_small
from ckptload.errors import ArgumentError

#: A map of a million names is shorter; a longer file was probably given by mistake.
_MOST: Final = 200_000_000


def read_map(path: str) -> dict[str, str]:
    """Read a JSON object of old and new names.

    Raises:
        ArgumentError: it cannot be read, or is not such an object.
    """
    content = read_small(path, _MOST, "the name map", at=path)
    if len(content) > _MOST:
        raise ArgumentError("the name map is too long", path=path)
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ArgumentError(f"the name map is not valid JSON: {shown.foreign(error)}", path=path) from error
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found.values()):
        raise ArgumentError(
            "the name map is not a JSON object of old and new names",
            path=path,
            hint='for example {"old name": "new name"}',
        )
    return found
