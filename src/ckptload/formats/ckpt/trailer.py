"""The CRC trailer of a .ckpt (docs/format.md, "CRC trailer")."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ckptload.errors import ChecksumError, Hint
from ckptload.formats.ckpt import schema
from ckptload.formats.crc32 import crc32_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ckptload.sources.base import Source


def trailer(value: int) -> bytes:
    """Return the trailer of 17 bytes for a CRC-32."""
    return schema.CRC_MARKER + value.to_bytes(schema.CRC_DIGITS, "big")


def verify_crc(source: Source, stop: int, maps: Iterable[tuple[int, int]] = ()) -> bool:
    """Compare the CRC-32 in the trailer at `stop` with that of the bytes before it.

    MindSpore's writer leaves map records out of its sum (docs/format.md, "Faults of MindSpore's writer"), so
    the sum without them is accepted, too.

    Args:
        source: the plain or decrypted file.
        stop: start of the trailer, in bytes from the start of `source`.
        maps: the ``(start, stop)`` of each map record, in ascending order.

    Returns:
        Whether it is the sum of all bytes; False if it leaves the map records out.

    Raises:
        ChecksumError: the trailer has neither sum.
    """
    found = source.read(stop + len(schema.CRC_MARKER), stop + schema.CRC_TRAILER_SIZE)
    want = int.from_bytes(found, "big")
    have = crc32_of(source, [(0, stop)])
    if want == have:
        return True
    skipped = list(maps)
    if skipped and want == crc32_of(source, _between(skipped, stop)):
        return False
    raise ChecksumError(
        f"the CRC-32 in the file is {want:#010x}, but its {stop} bytes have {have:#010x}",
        path=source.label,
        offset=stop,
        hint=Hint("the file was damaged after it was saved; fetch it again", ", or {skip_crc}"),
    )


def _between(spans: list[tuple[int, int]], stop: int) -> list[tuple[int, int]]:
    """Return the spans before, between and after ascending spans, up to `stop`."""
    starts = [0, *(b for _, b in spans)]
    stops = [*(a for a, _ in spans), stop]
    return list(zip(starts, stops, strict=True))
