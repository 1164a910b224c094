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
    """Return the 17 bytes that MindSpore appends for a CRC-32."""
    return schema.CRC_MARKER + value.to_bytes(schema.CRC_DIGITS, "big")


def verify_crc(source: Source, stop: int, maps: Iterable[tuple[int, int]] = ()) -> None:
    """Compare the CRC-32 in the trailer at `stop` with that of the bytes before it.

    MindSpore's writer leaves map records out of its sum, so that the sum without the spans in
    `maps` is accepted, too.

    Raises:
        ChecksumError: neither sum is the one in the trailer.
    """
    found = source.read(stop + len(schema.CRC_MARKER), stop + schema.CRC_TRAILER_SIZE)
    want = int.from_bytes(found, "big")
    have = crc32_of(source, [(0, stop)])
    if want == have:
        return
    skipped = list(maps)
    if skipped and want == crc32_of(source, _between(skipped, stop)):
        return
    raise ChecksumError(
        f"the CRC-32 in the file is {want:#010x}, but its {stop} bytes have {have:#010x}",
        path=source.label,
        offset=stop,
        hint=Hint("the file was damaged after it was saved; fetch it again", ", or {skip_crc}"),
    )


def _between(spans: list[tuple[int, int]], stop: int) -> list[tuple[int, int]]:
    """Return what lies outside of ascending spans."""
    starts = [0, *(b for _, b in spans)]
    stops = [*(a for a, _ in spans), stop]
    return list(zip(starts, stops, strict=True))
