"""Pickles of every protocol, recognised by their opcodes. Nothing is unpickled."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from ckptload.errors import importable
from ckptload.formats.kinds.kind import OLD_TORCH, Kind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ckptload.formats.kinds.kind import Glimpse

#: What torch.save wrote before the zip format: its magic number as a pickle of its own (torch/serialization.py).
_TORCH: Final = re.compile(rb"\x80[\x02-\x05]\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19\.")
#: A name that paddle.save adds to every dictionary of parameters.
_PADDLE: Final = b"StructuredToParameterName@@"

_PROTO: Final = b"\x80"
#: The opcodes that protocols 0 and 1 begin with: they need nothing on the stack.
_BEGINS: Final = frozenset(b"(]})cSUVXIJKMLFGNT")
_STOP: Final = ord(".")
#: So many opcodes before a long argument, in a file that ends with STOP, are not chance.
_ENOUGH: Final = 4
#: Opcodes that are looked at.
_MOST: Final = 1000

#: Arguments that end with a newline, by their names in pickletools.
_LINES: Final = {
    "decimalnl_short": rb"-?\d+",
    "decimalnl_long": rb"-?\d+L?",
    "floatnl": rb"[-+.\dainfe]+",
    "stringnl": rb"'.*'|\".*\"",
    "stringnl_noescape": rb".*",
    "stringnl_noescape_pair": rb"[\w.]+\n[\w.]+",
    "unicodestringnl": rb".*",
}
#: Arguments that begin with their length: the number in pickletools, and the size of the length in bytes.
_LENGTHS: Final = {-2: 1, -3: 4, -4: 4, -5: 8}


def by_pickle(seen: Glimpse) -> Kind | None:
    """Return a pickle's kind, with the program that wrote it, or None."""
    if not _is_pickle(seen):
        return None
    head = seen.head
    if _TORCH.match(head):
        return OLD_TORCH
    if _PADDLE in head or _PADDLE in seen.tail:
        return Kind("a file of paddle.save (a Python pickle)", "open it with paddle.load")
    what = "a Python pickle" + (" of PyTorch" if b"torch" in head else "")
    return Kind(
        what, "if you trust it, load it in the program that wrote it, and save its arrays with save_checkpoint()"
    )


def _is_pickle(seen: Glimpse) -> bool:
    head, at = seen.head, 0
    proto = head.startswith(_PROTO) and len(head) > 1 and head[1] <= 5  # noqa: PLR2004 -- the highest protocol
    if not proto and (head[0] not in _BEGINS or not seen.tail.endswith(b".")):
        return False
    sizes = _opcodes()
    for count in range(_MOST):
        code = head[at : at + 1]
        if not code:
            return count >= _ENOUGH or proto
        if code not in sizes:
            # What follows the first pickle of torch.save may be anything.
            return False
        if code[0] == _STOP:
            return proto or (count > 1 and at + 1 == seen.size)
        stop = _after(head, at + 1, *sizes[code])
        if stop is None:
            return False
        if stop > len(head):
            return count >= _ENOUGH or proto
        at = stop
    return True


@lru_cache(maxsize=1)
def _opcodes() -> Mapping[bytes, tuple[int, str]]:
    """Return each opcode with its argument's size, or a negative number that says how it is found, and its name."""
    with importable("pickletools"):
        import pickletools  # noqa: PLC0415 -- needed only for errors

    return {bytes([ord(op.code)]): (0, "") if op.arg is None else (op.arg.n, op.arg.name) for op in pickletools.opcodes}


def _after(head: bytes, at: int, size: int, name: str) -> int | None:
    """Return the position after an argument, beyond the end if it is cut off; None if it is not such an argument."""
    if size >= 0:
        return at + size
    if size in _LENGTHS:
        length = _LENGTHS[size]
        return at + length + int.from_bytes(head[at : at + length], "little")
    found = re.compile(b"(?:" + _LINES[name] + rb")\n").match(head, at)
    if found is None:
        # A long line may be cut off.
        return None if b"\n" in head[at:] else len(head) + 1
    return found.end()
