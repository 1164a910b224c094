"""The protobuf wire format over ``(buffer, position)``: numbers, tags, and the one "too short" guard.

Nothing here opens, reads or waits. Positions are indexes into `buffer`; `base` is the place of
``buffer[0]`` in the file, so that an error can name a byte of the file.

Source: https://protobuf.dev/programming-guides/encoding/. Where protobuf's own parser refuses,
so do we; tests/formats/ckpt/test_walk_differential.py holds the two against each other.
"""

from __future__ import annotations

from typing import Final

from ckptload.errors import CorruptCheckpointError

VARINT: Final = 0
FIXED64: Final = 1
LEN: Final = 2
START_GROUP: Final = 3
END_GROUP: Final = 4
FIXED32: Final = 5

#: Bytes that follow a tag of these types.
FIXED_SIZES: Final = {FIXED64: 8, FIXED32: 4}

#: A varint carries 7 bits a byte, so 64 bits fit in 10; what is longer is refused before it can grow.
MAX_VARINT_BYTES: Final = 10
_MAX_UINT64: Final = (1 << 64) - 1
#: protobuf takes tags and lengths of up to 5 bytes; only a length of 32 GiB or more needs a sixth.
_SHORT: Final = 5
#: A tag is a field number below 2**29 with three bits of wire type.
_MAX_TAG: Final = (1 << 32) - 1

CUT_HINT: Final = "the file was cut off or damaged; fetch or save it again"

Buffer = bytes | bytearray | memoryview


def take(pos: int, size: int, stop: int, what: str) -> int:
    """Return ``pos + size`` if that is not beyond `stop`: the guard for everything whose length a file claims.

    Raises:
        CorruptCheckpointError: fewer than `size` bytes are left.
    """
    if size > stop - pos:
        raise CorruptCheckpointError(f"{what} needs {size} bytes, {stop - pos} are left", offset=pos, hint=CUT_HINT)
    return pos + size


def varint(buffer: Buffer, pos: int, stop: int, base: int = 0) -> tuple[int, int]:
    """Return an unsigned number of up to 64 bits and the position behind it.

    Raises:
        CorruptCheckpointError: the number is cut, or longer than 64 bits.
    """
    value = shift = 0
    for at in range(pos, pos + MAX_VARINT_BYTES):
        if at >= stop:
            take(base + at, 1, base + stop, "a number")
        byte = buffer[at]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 -- the eighth bit says that more bytes follow
            if value > _MAX_UINT64:
                break
            return value, at + 1
        shift += 7
    raise CorruptCheckpointError("an integer has more than 64 bits", offset=base + pos, hint=CUT_HINT)


def tag(buffer: Buffer, pos: int, stop: int, base: int = 0) -> tuple[int, int, int]:
    """Return field number, wire type and the position behind a tag.

    Raises:
        CorruptCheckpointError: the tag is cut, its field number is 0 or too large, or its type does not exist.
    """
    value, after = varint(buffer, pos, stop, base)
    number, kind = value >> 3, value & 7
    if number == 0 or value > _MAX_TAG or kind > FIXED32 or after - pos > _SHORT:
        raise CorruptCheckpointError(
            f"this is not a protobuf field: number {number}, wire type {kind}, in {after - pos} bytes",
            offset=base + pos,
            hint=CUT_HINT,
        )
    return number, kind, after


def length(buffer: Buffer, pos: int, stop: int, base: int = 0) -> tuple[int, int]:
    """Return the length that a file claims for what follows, and the position behind it.

    Raises:
        CorruptCheckpointError: the number is cut, or padded to more bytes than protobuf takes.
    """
    value, after = varint(buffer, pos, stop, base)
    if after - pos > _SHORT and buffer[after - 1] == 0:
        raise CorruptCheckpointError(
            f"a length of {value} is encoded in {after - pos} bytes", offset=base + pos, hint=CUT_HINT
        )
    return value, after


def signed(value: int) -> int:
    """Read an unsigned 64-bit number as two's complement, as int64 fields are stored."""
    return value - (1 << 64) if value >> 63 else value
