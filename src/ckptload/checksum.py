"""CRC-32, and the trailer that carries it (docs/format.md, "CRC trailer")."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ckptload import schema
from ckptload.errors import ChecksumError

try:
    from zlib_ng.zlib_ng import crc32
except ImportError:
    from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ckptload.sources import Source

__all__ = ["crc32", "trailer", "verify_crc"]

#: Read at a time: it stays in the processor's cache between the copy and the sum.
_CHUNK = 256 << 10


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
    have = _sum(source, [(0, stop)])
    if want == have:
        return
    skipped = list(maps)
    if skipped and want == _sum(source, _between(skipped, stop)):
        return
    raise ChecksumError(
        f"the CRC-32 in the file is {want:#010x}, that of its {stop} bytes is {have:#010x}",
        path=source.label,
        offset=stop,
        hint="the file was damaged after it was saved; fetch it again, or load it with crc_check=False at your risk",
    )


def _between(spans: list[tuple[int, int]], stop: int) -> list[tuple[int, int]]:
    """Return what lies outside of ascending spans."""
    starts = [0, *(b for _, b in spans)]
    stops = [*(a for a, _ in spans), stop]
    return list(zip(starts, stops, strict=True))


def _sum(source: Source, spans: list[tuple[int, int]]) -> int:
    value = 0
    scratch = memoryview(bytearray(_CHUNK))
    for start, stop in spans:
        for pos in range(start, stop, _CHUNK):
            piece = scratch[: min(_CHUNK, stop - pos)]
            source.read_into(pos, piece)
            value = crc32(piece, value)
    return value
