"""Name maps: JSON files of old and new names."""

from __future__ import annotations

import json
from typing import Final

from ckptload import shown
from ckptload.errors import ArgumentError

#: A map of a million names is shorter; a longer file was probably given by mistake.
_MOST: Final = 200_000_000


def read_map(path: str) -> dict[str, str]:
    """Read a JSON object of old and new names.

    Raises:
        ArgumentError: it cannot be read, or is not such an object.
    """
    try:
        with open(path, "rb") as file:  # noqa: PTH123 -- pathlib cannot read a limited number of bytes
            content = file.read(_MOST + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "this is not a path"
        raise ArgumentError(f"the name map cannot be read: {reason}", path=path) from shown.cause(error)
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
