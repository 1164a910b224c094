"""Field numbers, messages and markers of the .ckpt format.

The messages are those of ``proto/checkpoint.proto``; tests/formats/ckpt/test_schema.py compiles that file
and compares it with what stands here. They live in a descriptor pool of their own: MindSpore
registers the same names in protobuf's default pool, which would refuse a second definition.
protobuf is imported when a message class is first asked for, since reading needs none.
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

#: What stands in tensor_type for entries that are no tensors (docs/format.md, "Strings" and "Random state").
STRING_TYPE: Final = "str"
RANDOM_OP_TYPE: Final = "random_op"

#: The CRC trailer: this marker, then the CRC-32 as a big-endian number of 10 bytes (docs/format.md, "CRC trailer").
CRC_MARKER: Final = b"crc_num"
CRC_DIGITS: Final = 10
CRC_TRAILER_SIZE: Final = len(CRC_MARKER) + CRC_DIGITS

#: Tags of parameters with a cache carry this; MindSpore cuts the name there (docs/format.md, "Names").
PARAM_KEY_MARK: Final = ".__param_key__"

#: A FileDescriptorProto, serialized; made from proto/checkpoint.proto by protoc.
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
