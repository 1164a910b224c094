"""Strings of a .ckpt, kept in the metadata of a safetensors file, which cannot store them as entries."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from ckptload.errors import CorruptCheckpointError
from ckptload.formats.limits import MAX_RECORDS
from ckptload.formats.safetensors import parts

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Metadata key of a JSON object from names to strings.
KEY: Final = "ckptload.strings"


def kept(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the strings in metadata, by name.

    Raises:
        CorruptCheckpointError: they are not in the form that `entry_for` writes.
    """
    text = metadata.get(KEY, "{}")
    try:
        too_many = parts.more_than(MAX_RECORDS, text.encode("utf-8", "surrogatepass"))
        strings = None if too_many else json.loads(text)
    except (ValueError, RecursionError):
        strings = None
    if not isinstance(strings, dict) or not all(isinstance(value, str) for value in strings.values()):
        raise CorruptCheckpointError(
            f"{KEY} in the metadata is not a JSON object of names and strings", hint="convert the .ckpt again"
        )
    return strings


def entry_for(strings: Mapping[str, str]) -> dict[str, str]:
    """Return the item that keeps strings in metadata, or an empty dictionary if there are none."""
    # JSON in ASCII, because a string of a .ckpt may have lone surrogates, which UTF-8 cannot encode.
    return {KEY: json.dumps(dict(strings))} if strings else {}
