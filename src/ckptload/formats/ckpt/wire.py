"""The protobuf wire format over ``(buffer, position)``: numbers, tags, and the check for truncated fields.

Nothing here opens, reads or waits. Positions are indexes into `buffer`; `base` is the position of
``buffer[0]`` in the file, so that an error can name a byte of the file.

Source: https://protobuf.dev/programming-guides/encoding/. Whatever protobuf's own parser refuses is refused
here, too; tests/formats/ckpt/test_walk_differential.py compares the two.
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

#: Sizes of the payload of these types, in bytes.
FIXED_SIZES: Final = {FIXED64: 8, FIXED32: 4}

#: A varint has 7 bits per byte, so 10 bytes hold 64 bits; a longer one is refused without reading on.
MAX_VARINT_BYTES: Final = 10
_MAX_UINT64: Final = (1 << 64) - 1
#: protobuf accepts tags and lengths of up to 5 bytes; only a length of 32 GiB or more needs a sixth.
_SHORT: Final = 5
#: A tag is a field number below 2**29, followed by three bits of wire type.
_MAX_TAG: Final = (1 << 32) - 1

CUT_HINT: Final = "the file was cut off or damaged; fetch or save it again"

Buffer = bytes | bytearray | memoryview


def take(pos: int, size: int, stop: int, what: str) -> int:
    """Return ``pos + size`` after checking that it is not beyond `stop`.

    Every error about a length that exceeds the file is raised here. Positions are in bytes from the start of the file.

    Args:
        pos: start of the bytes.
        size: number of bytes.
        stop: end of the message, or of the file, that contains them.
        what: what the bytes are, for the error.

    Raises:
        CorruptCheckpointError: fewer than `size` bytes are left.
    """
    if size > stop - pos:
        raise CorruptCheckpointError(f"{what} needs {size} bytes, {stop - pos} are left", offset=pos, hint=CUT_HINT)
    return pos + size


def varint(buffer: Buffer, pos: int, stop: int, base: int = 0) -> tuple[int, int]:
    """Decode an unsigned number of up to 64 bits; return it and the position after it.

    Raises:
        CorruptCheckpointError: the number is truncated, or longer than 64 bits.
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
    """Decode a tag; return its field number, its wire type and the position after it.

    Raises:
        CorruptCheckpointError: the tag is truncated, its field number is 0 or too large, or its type does not exist.
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


def is_padded(buffer: Buffer, pos: int, after: int) -> bool:
    """Tell whether the number from `pos` to `after` is encoded in more bytes than it needs."""
    return after - pos > 1 and buffer[after - 1] == 0


def length(buffer: Buffer, pos: int, stop: int, base: int = 0) -> tuple[int, int]:
    """Decode the length of a field; return it, not yet checked by `take`, and the position after it.

    Raises:
        CorruptCheckpointError: the number is truncated, or padded to more bytes than protobuf accepts.
    """
    value, after = varint(buffer, pos, stop, base)
    if after - pos > _SHORT and is_padded(buffer, pos, after):
        raise CorruptCheckpointError(
            f"a length of {value} is encoded in {after - pos} bytes", offset=base + pos, hint=CUT_HINT
        )
    return value, after


def signed(value: int) -> int:
    """Convert an unsigned 64-bit number to the int64 that it encodes in two's complement."""
    return value - (1 << 64) if value >> 63 else value
