"""Where in a header each tensor is described."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ckptload.formats.entry import Span

_SPACE: Final = re.compile(r"[ \t\n\r]*")


def places(head: bytes, begin: int) -> dict[str, Span]:
    """Return the span of the name and description of each thing in a header, in bytes from the start of the file.

    Args:
        head: the start of the file up to the end of the header, which is valid JSON.
        begin: where the header begins in it.

    Returns:
        The spans by name. Names that are written in a way that tells no simple place are left out.
    """
    # A character for each byte, so that positions in the text are those in the file.
    text = head.decode("latin-1")
    decoder = json.JSONDecoder()
    found: dict[str, Span] = {}
    at = text.find("{", begin) + 1
    try:
        while text[at - 1] != "}":
            start = _after_space(text, at)
            key, at = decoder.raw_decode(text, start)
            _, at = decoder.raw_decode(text, _after_space(text, _after_space(text, at) + 1))
            name = _name(key)
            if name is not None:
                found[name] = (start, at)
            at = _after_space(text, at) + 1
    except (ValueError, IndexError, RecursionError):
        # Another parser has accepted it; what was found is right.
        pass
    return found


def _after_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return at if found is None else found.end()


def _name(key: object) -> str | None:
    """Return a key as it would be in a text of characters; None if it mixes bytes and escapes of them."""
    try:
        return key.encode("latin-1").decode() if isinstance(key, str) else None
    except UnicodeError:
        return None
