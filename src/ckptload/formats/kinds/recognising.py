"""Recognise a file of another kind, so that an error can name it.

The rule:

1. A .ckpt, as every MindSpore writes it, begins with byte 0x0A, the tag of a record, or with the magic of an encrypted
   block. `recognise` is asked only about a file that does not begin with a record that can be read. So a .ckpt whose
   data looks like another file is never asked about, and a file of another kind never passes for a .ckpt because
   some of its bytes happen to be fields of protobuf.
2. What is asked for decides in this order: fixed bytes at the start; numbers that only fit one kind (checksums,
   lengths); archives and pickles; zeros; fields of protobuf that no record has, whole or damaged; text. The earlier
   ones are the ones that cannot be mistaken.
3. A damaged checkpoint must not be called something else. Therefore each rule asks for more than a .ckpt or a
   safetensors file has after one changed byte, or after a cut. What no rule knows is None, and the caller then says
   what is damaged.

Files are hostile: at most `HEAD`, `TAIL` and `_SAMPLES` bytes are looked at, whatever the file says about itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ckptload.formats.kinds.archives import by_archive
from ckptload.formats.kinds.kind import DOWNLOAD, HEAD, TAIL, Glimpse, Kind
from ckptload.formats.kinds.magics import by_magic
from ckptload.formats.kinds.pickles import by_pickle
from ckptload.formats.kinds.protobufs import by_fields
from ckptload.formats.kinds.records import by_records
from ckptload.formats.kinds.texts import by_text

if TYPE_CHECKING:
    from ckptload.sources.base import Source

_ZEROS: Final = Kind("a file of zero bytes, as a failed or unfinished download leaves", DOWNLOAD)
#: A file that begins and ends with zeros is looked at in so many more places, this many bytes each.
_SAMPLES: Final = 64
_SAMPLE: Final = 4 << 10


def recognise(source: Source) -> Kind | None:
    """Return the kind of a file that is neither a .ckpt nor encrypted, or None if it is not recognised.

    Raises:
        ReadError: the source cannot be read.
    """
    size = source.size
    if size == 0:
        return None
    head = bytes(source.read(0, min(HEAD, size)))
    tail = head[-TAIL:] if size <= len(head) else bytes(source.read(max(0, size - TAIL), size))
    seen = Glimpse(head, tail, size)
    found = by_magic(seen) or by_archive(seen) or by_records(seen) or by_pickle(seen)
    if found is not None:
        return found
    if not any(head) and not any(tail):
        return _ZEROS if _is_zero(source) else None
    return by_fields(head) or by_text(head)


def _is_zero(source: Source) -> bool:
    """Return whether samples from the whole file are zeros."""
    step = max(source.size // _SAMPLES, _SAMPLE)
    return not any(any(bytes(source.read(at, min(at + _SAMPLE, source.size)))) for at in range(0, source.size, step))
