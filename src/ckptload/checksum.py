"""CRC-32, and the trailer that carries it (docs/format.md, "CRC trailer")."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from ckptload import schema, threads
from ckptload.errors import ChecksumError

try:
    from zlib_ng.zlib_ng import crc32
except ImportError:
    from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ckptload.sources import Source

__all__ = ["combine", "crc32", "multiply", "shift", "trailer", "verify_crc"]

_POLYNOMIAL: Final = 0xEDB88320
_TOP: Final = 1 << 31
_ALL_ONES: Final = 0xFFFFFFFF

#: Read at a time: it stays in the processor's cache between the copy and the sum.
_CHUNK: Final = 256 << 10
#: What one thread sums at a time.
_PIECE: Final = 16 << 20


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


def _sum(source: Source, spans: Iterable[tuple[int, int]]) -> int:
    """Return the CRC-32 of what stands in ascending spans, each in pieces that threads share."""

    def one(span: tuple[int, int]) -> int:
        start, stop = span
        value = 0
        scratch = memoryview(bytearray(min(_CHUNK, stop - start)))
        for pos in range(start, stop, _CHUNK):
            piece = scratch[: stop - pos]
            source.read_into(pos, piece)
            value = crc32(piece, value)
        return value

    value = 0
    for start, stop in spans:
        pieces = [(at, min(at + _PIECE, stop)) for at in range(start, stop, _PIECE)]
        sums = threads.share(one, pieces, "sum") if len(pieces) > 1 else map(one, pieces)
        for (begin, end), found in zip(pieces, sums, strict=True):
            value = combine(value, found, end - begin)
    return value


def combine(first: int, second: int, size: int) -> int:
    """Return the CRC-32 of two stretches of bytes, one after the other, from that of each.

    Args:
        first: the sum of the first.
        second: the sum of the second.
        size: how many bytes the second has.
    """
    return multiply(first, shift(size)) ^ second


@lru_cache(maxsize=8)
def shift(size: int) -> int:
    """Return what `size` zero bytes multiply the register of a CRC-32 by.

    The register is a polynomial, bit 31 its constant term, and a zero bit multiplies it by x.
    """
    power, square, left = _TOP, _TOP >> 1, 8 * size
    while left:
        if left & 1:
            power = multiply(power, square)
        square = multiply(square, square)
        left >>= 1
    return power


def multiply(a: int, b: int) -> int:
    """Multiply two polynomials modulo that of CRC-32."""
    product = 0
    while a:
        if a & _TOP:
            product ^= b
        a = a << 1 & _ALL_ONES
        b = b >> 1 ^ (_POLYNOMIAL if b & 1 else 0)
    return product
