"""Files of records that are told by numbers at their start or end: MindRecord, TFRecord, TensorFlow's checkpoints."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from ckptload.formats.kinds.kind import NO_MODEL, SAFETENSORS, TENSORFLOW, Kind

if TYPE_CHECKING:
    from ckptload.formats.kinds.kind import Glimpse

#: The last bytes of a LevelDB table, which TensorFlow's checkpoints use.
_TABLE: Final = b"\x57\xfb\x80\x8b\x24\x75\x47\xdb"
#: The length of a header, which MindRecord and safetensors begin with.
_LENGTH: Final = 8
#: The library of safetensors refuses a longer header; MindRecord's has up to 16 MiB.
_MOST: Final = 100_000_000

MINDRECORD: Final = Kind("a MindRecord data set", "mindspore.dataset.MindDataset reads it; it holds no parameters")
#: A header that was not written: such a file may also be a damaged safetensors file.
BLANK: Final = Kind("a file with a blank header, as an unfinished MindRecord data set has", NO_MODEL)


def by_records(seen: Glimpse) -> Kind | None:
    """Return the kind of a file of records, or None."""
    if seen.tail.endswith(_TABLE):
        return _table(seen.head)
    return _headed(seen) or _tfrecord(seen.head)


def _table(head: bytes) -> Kind:
    """Tell the versions of TensorFlow's checkpoints by the value of their first, empty key.

    The key is two zeros (nothing shared, nothing of its own), then comes the length of the value. That is a message:
    a BundleHeaderProto, which begins with a number, or a SavedTensorSlices, which begins with a message.
    """
    if re.match(rb"\0\0[\x80-\xff]{0,4}[\0-\x7f]\x08", head):
        return Kind(
            "the index of a TensorFlow checkpoint", "open the model with TensorFlow, by the name without .index"
        )
    if re.match(rb"\0\0[\x80-\xff]{0,4}[\0-\x7f]\x0a", head):
        return Kind("a TensorFlow checkpoint (of version 1)", TENSORFLOW)
    return Kind("a TensorFlow checkpoint, or its index", TENSORFLOW)


def _headed(seen: Glimpse) -> Kind | None:
    """Recognise files that begin with the length of a header: JSON, or zeros that were to become JSON."""
    head, length = seen.head, int.from_bytes(seen.head[:_LENGTH], "little")
    header = head[_LENGTH : _LENGTH + min(length, len(head))]
    if not 0 < length <= _MOST or not header:
        return None
    if header.lstrip(b" \t\r\n").startswith(b"{"):
        if re.search(rb'"(shard_addresses|header_size|index_fields)"', header):
            return MINDRECORD
        return SAFETENSORS if re.match(rb'\s*\{\s*["}]', header) else None
    return BLANK if length <= seen.size - _LENGTH and not any(header) else None


def _tfrecord(head: bytes) -> Kind | None:
    """Recognise a record by the checksum of its length (tensorflow/core/lib/io/record_writer.h)."""
    sum_ = _crc32c(head[:8])
    masked = ((sum_ >> 15 | sum_ << 17) + 0xA282EAD8) & 0xFFFFFFFF
    if len(head) < 16 or int.from_bytes(head[8:12], "little") != masked:  # noqa: PLR2004 -- an empty record
        return None
    if b"MindSpore.Event" in head[:64] or b"brain.Event" in head[:64]:
        return Kind("a file of events (summary) for MindInsight or TensorBoard", NO_MODEL)
    return Kind("a TFRecord data set", "mindspore.dataset.TFRecordDataset reads it; it holds no parameters")


def _crc32c(data: bytes) -> int:
    """Return the CRC-32C (Castagnoli) of a few bytes, bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF
