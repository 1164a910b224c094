"""Strings of a .ckpt in the metadata of a safetensors file, which has no other place for them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from ckptload.errors import CorruptCheckpointError

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Metadata key of a JSON object of names and texts.
KEY: Final = "ckptload.strings"


def kept(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the strings that metadata keep, by name.

    Raises:
        CorruptCheckpointError: they are not as `entry_for` writes them.
    """
    text = metadata.get(KEY)
    try:
        strings = {} if text is None else json.loads(text)
    except (ValueError, RecursionError):
        strings = None
    if not isinstance(strings, dict) or not all(isinstance(value, str) for value in strings.values()):
        raise CorruptCheckpointError(
            f"{KEY} in the metadata is not a JSON object of names and strings", hint="convert the .ckpt again"
        )
    return strings


def entry_for(strings: Mapping[str, str]) -> dict[str, str]:
    """Return what is to be added to metadata so that they keep strings: nothing for none."""
    # JSON in ASCII, since a string of a .ckpt may hold what no UTF-8 can.
    return {KEY: json.dumps(dict(strings))} if strings else {}
