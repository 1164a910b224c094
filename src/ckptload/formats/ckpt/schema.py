"""Field numbers, messages and markers of the .ckpt format.

The messages are those of ``proto/checkpoint.proto`` (docs/format.md, "Messages");
tests/formats/ckpt/test_schema.py compiles that file and compares it with this module. The messages have a
descriptor pool of their own: MindSpore registers the same names in protobuf's default pool, which would
refuse a second definition. protobuf is imported by the first call of `message_class`; reading does not need it.
"""

from __future__ import annotations

import base64
import functools
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from google.protobuf.message import Message

#: Checkpoint.value, Value.tag, Value.tensor, Value.maptensor
CHECKPOINT_VALUE: Final = 1
VALUE_TAG: Final = 1
VALUE_TENSOR: Final = 2
VALUE_MAPTENSOR: Final = 3
#: TensorProto.dims, .tensor_type, .tensor_content
TENSOR_DIMS: Final = 1
TENSOR_TYPE: Final = 2
TENSOR_CONTENT: Final = 3
#: MapTensorProto.tensor
MAP_TENSOR: Final = 1

#: The tensor_type of entries that are not tensors (docs/format.md, "Strings" and "Random state").
STRING_TYPE: Final = "str"
RANDOM_OP_TYPE: Final = "random_op"

#: The CRC trailer: this marker, then the CRC-32 as a big-endian number of 10 bytes (docs/format.md, "CRC trailer";
#: MindSpore 2.10.0, train/serialization.py:432 and 1691).
CRC_MARKER: Final = b"crc_num"
CRC_DIGITS: Final = 10
CRC_TRAILER_SIZE: Final = len(CRC_MARKER) + CRC_DIGITS

#: MindSpore appends this and a number to the names of parameters with a cache, and cuts it off again when it loads
#: (docs/format.md, "Names"; MindSpore 2.10.0, train/serialization.py:935).
PARAM_KEY_MARK: Final = ".__param_key__"

#: Contents of a field that files from 0.3.1 until before 1.0.0 have between records; its number is not known
#: (docs/format.md, "History by version").
MODEL_TYPES: Final = frozenset({b"normal", b"fusion", b"quant"})
LONGEST_MODEL_TYPE: Final = max(map(len, MODEL_TYPES))

#: A serialized FileDescriptorProto, made from proto/checkpoint.proto by protoc.
DESCRIPTOR: Final = base64.b64decode(
    b"ChBjaGVja3BvaW50LnByb3RvIrIBCgpDaGVja3BvaW50EicKBXZhbHVlGAEgAygLMhEuQ2hlY2twb2ludC5WYWx1ZVIFdmFsdWUa"
    b"ewoFVmFsdWUSEAoDdGFnGAEgAigJUgN0YWcSJgoGdGVuc29yGAIgASgLMgwuVGVuc29yUHJvdG9IAFIGdGVuc29yEi8KCW1hcHRl"
    b"bnNvchgDIAEoCzIPLk1hcFRlbnNvclByb3RvSABSCW1hcHRlbnNvckIHCgV2YWx1ZSJpCgtUZW5zb3JQcm90bxISCgRkaW1zGAEg"
    b"AygDUgRkaW1zEh8KC3RlbnNvcl90eXBlGAIgAigJUgp0ZW5zb3JUeXBlEiUKDnRlbnNvcl9jb250ZW50GAMgAigMUg10ZW5zb3JD"
    b"b250ZW50IjYKDk1hcFRlbnNvclByb3RvEiQKBnRlbnNvchgBIAMoCzIMLlRlbnNvclByb3RvUgZ0ZW5zb3I="
)


@functools.cache
def message_class(name: str) -> type[Message]:
    """Return the class of a message: ``Checkpoint``, ``Checkpoint.Value``, ``TensorProto`` or ``MapTensorProto``."""
    from google.protobuf import message_factory  # noqa: PLC0415

    found: type[Message] = message_factory.GetMessageClass(_pool().FindMessageTypeByName(name))
    return found


@functools.cache
def _pool() -> Any:
    from google.protobuf import descriptor_pool  # noqa: PLC0415

    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(DESCRIPTOR)
    return pool
