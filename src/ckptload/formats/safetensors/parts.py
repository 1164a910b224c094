"""How many values a JSON text has, counted before it is parsed.

A file may hold JSON that nobody needs: fields that the library passes over, or metadata. Each value becomes an object
when it is parsed, which takes up to thirty times the memory of its text.
"""

from __future__ import annotations

from typing import Final

#: What each value but the first one begins with, or follows.
VALUES: Final = (b",", b"[", b"{")
#: How objects begin.
OBJECTS: Final = (b"{",)
#: Bytes that are looked at together.
_PIECE: Final = 1 << 20


def more_than(most: int, text: bytes, signs: tuple[bytes, ...] = VALUES) -> bool:
    """Tell whether some signs occur more than `most` times in a JSON text, not counting those inside strings."""
    return _number(text, signs) > most and _outside(text, signs, most) > most


def _number(text: bytes, signs: tuple[bytes, ...]) -> int:
    return sum(map(text.count, signs))


def _outside(text: bytes, signs: tuple[bytes, ...], most: int) -> int:
    """Return the number of signs outside strings, or some number beyond `most`."""
    # What is escaped is inside a string, and does not end it.
    text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    found, inside = 0, False
    for at in range(0, len(text), _PIECE):
        pieces = text[at : at + _PIECE].split(b'"')
        found += _number(b"".join(pieces[inside::2]), signs)
        if found > most:
            break
        inside ^= len(pieces) % 2 == 0
    return found
