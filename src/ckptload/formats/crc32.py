"""CRC-32 of large spans, computed in pieces by several threads, and the arithmetic that joins the sums."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from ckptload import threads

try:
    from zlib_ng.zlib_ng import crc32
except ImportError:
    from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ckptload.sources.base import Source

__all__ = ["add_zeros", "combine", "crc32", "crc32_of", "multiply", "shift"]

#: The polynomial of zlib's CRC-32, reflected (docs/format.md, "CRC trailer").
_POLYNOMIAL: Final = 0xEDB88320
_TOP: Final = 1 << 31
_ALL_ONES: Final = 0xFFFFFFFF

#: Bytes read at a time: few enough to stay in the processor's cache between the copy and the sum.
_CHUNK: Final = 256 << 10
#: Bytes that one thread sums at a time.
_PIECE: Final = 16 << 20


def crc32_of(source: Source, spans: Iterable[tuple[int, int]]) -> int:
    """Return the CRC-32 of the bytes in ascending spans; large spans are shared among threads.

    Raises:
        ReadError: the source cannot be read.
        CorruptCheckpointError: a span ends beyond the end of the source.
    """

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
        sums = threads.share(one, pieces) if len(pieces) > 1 else map(one, pieces)
        for (begin, end), found in zip(pieces, sums, strict=True):
            value = combine(value, found, end - begin)
    return value


def combine(first: int, second: int, size: int) -> int:
    """Return the CRC-32 of two adjacent blocks of bytes, given that of each.

    Args:
        first: CRC-32 of the first block.
        second: CRC-32 of the second block.
        size: length of the second block, in bytes.
    """
    return multiply(first, shift(size)) ^ second


def add_zeros(value: int, count: int) -> int:
    """Continue the CRC-32 `value` by `count` zero bytes, in logarithmic time."""
    return multiply(value ^ _ALL_ONES, shift(count)) ^ _ALL_ONES


@lru_cache(maxsize=8)
def shift(size: int) -> int:
    """Return the factor by which `size` zero bytes multiply the register of a CRC-32.

    The register is a polynomial whose constant term is bit 31; each zero bit multiplies it by x.
    """
    power, square, left = _TOP, _TOP >> 1, 8 * size
    while left:
        if left & 1:
            power = multiply(power, square)
        square = multiply(square, square)
        left >>= 1
    return power


def multiply(a: int, b: int) -> int:
    """Multiply two polynomials modulo the polynomial of CRC-32."""
    product = 0
    while a:
        if a & _TOP:
            product ^= b
        a = a << 1 & _ALL_ONES
        b = b >> 1 ^ (_POLYNOMIAL if b & 1 else 0)
    return product
