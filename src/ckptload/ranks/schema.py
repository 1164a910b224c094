"""The messages of strategy files and of the group file.

They are those of ``proto/strategy.proto`` (docs/format.md, "Strategy files"); tests/ranks/test_schema.py compiles that
file and compares it with this module. The messages have a descriptor pool of their own, since MindSpore registers the
same names in protobuf's default pool. protobuf is imported by the first call of `message_class`.
"""

from __future__ import annotations

import base64
import functools
from typing import Any, Final

#: ParallelStrategyMap.parallel_strategy_item, .parallel_layout_item
STRATEGY_ITEM: Final = 2
LAYOUT_ITEM: Final = 3

_PACKAGE: Final = "mindspore.straspb"

#: A serialized FileDescriptorProto, made from proto/strategy.proto by protoc.
DESCRIPTOR: Final = base64.b64decode(
    b"Cg5zdHJhdGVneS5wcm90bxIRbWluZHNwb3JlLnN0cmFzcGIi8gEKE1BhcmFsbGVsU3RyYXRlZ3lNYXASIwoNY3VycmVudF9zdGFnZRgBIAEoDVIM"
    b"Y3VycmVudFN0YWdlEl0KFnBhcmFsbGVsX3N0cmF0ZWd5X2l0ZW0YAiADKAsyJy5taW5kc3BvcmUuc3RyYXNwYi5QYXJhbGxlbFN0cmF0ZWd5SXRl"
    b"bVIUcGFyYWxsZWxTdHJhdGVneUl0ZW0SVwoUcGFyYWxsZWxfbGF5b3V0X2l0ZW0YAyADKAsyJS5taW5kc3BvcmUuc3RyYXNwYi5QYXJhbGxlbExh"
    b"eW91dEl0ZW1SEnBhcmFsbGVsTGF5b3V0SXRlbSKIAQoUUGFyYWxsZWxTdHJhdGVneUl0ZW0SGwoJbm9kZV9uYW1lGAEgASgJUghub2RlTmFtZRJT"
    b"ChJwYXJhbGxlbF9zdHJhdGVneXMYAiABKAsyJC5taW5kc3BvcmUuc3RyYXNwYi5QYXJhbGxlbFN0cmF0ZWd5c1IRcGFyYWxsZWxTdHJhdGVneXMi"
    b"ewoRUGFyYWxsZWxTdHJhdGVneXMSFAoFc3RhZ2UYASABKA1SBXN0YWdlElAKEXBhcmFsbGVsX3N0cmF0ZWd5GAIgAygLMiMubWluZHNwb3JlLnN0"
    b"cmFzcGIuUGFyYWxsZWxTdHJhdGVneVIQcGFyYWxsZWxTdHJhdGVneSIkChBQYXJhbGxlbFN0cmF0ZWd5EhAKA2RpbRgBIAMoDVIDZGltIoIBChJQ"
    b"YXJhbGxlbExheW91dEl0ZW0SHQoKcGFyYW1fbmFtZRgBIAEoCVIJcGFyYW1OYW1lEk0KEHBhcmFsbGVsX2xheW91dHMYAiABKAsyIi5taW5kc3Bv"
    b"cmUuc3RyYXNwYi5QYXJhbGxlbExheW91dHNSD3BhcmFsbGVsTGF5b3V0cyKgAwoPUGFyYWxsZWxMYXlvdXRzEjsKCmRldl9tYXRyaXgYASADKAsy"
    b"HC5taW5kc3BvcmUuc3RyYXNwYi5EZXZNYXRyaXhSCWRldk1hdHJpeBI7Cgp0ZW5zb3JfbWFwGAIgAygLMhwubWluZHNwb3JlLnN0cmFzcGIuVGVu"
    b"c29yTWFwUgl0ZW5zb3JNYXASTgoRcGFyYW1fc3BsaXRfc2hhcGUYAyADKAsyIi5taW5kc3BvcmUuc3RyYXNwYi5QYXJhbVNwbGl0U2hhcGVSD3Bh"
    b"cmFtU3BsaXRTaGFwZRJHCg5pbmRpY2VzX29mZnNldBgEIAMoCzIgLm1pbmRzcG9yZS5zdHJhc3BiLkluZGljZXNPZmZzZXRSDWluZGljZXNPZmZz"
    b"ZXQSFAoFZmllbGQYBSABKAVSBWZpZWxkEjEKFW9wdF93ZWlnaHRfc2hhcmRfc3RlcBgGIAEoBVISb3B0V2VpZ2h0U2hhcmRTdGVwEjEKFW9wdF93"
    b"ZWlnaHRfc2hhcmRfc2l6ZRgHIAEoBVISb3B0V2VpZ2h0U2hhcmRTaXplIh0KCURldk1hdHJpeBIQCgNkaW0YASADKA1SA2RpbSIdCglUZW5zb3JN"
    b"YXASEAoDZGltGAEgAygFUgNkaW0iIwoPUGFyYW1TcGxpdFNoYXBlEhAKA2RpbRgBIAMoA1IDZGltIiEKDUluZGljZXNPZmZzZXQSEAoDZGltGAEg"
    b"AygDUgNkaW0ixAEKEFBhcmFsbGVsR3JvdXBNYXASVAoTcGFyYWxsZWxfZ3JvdXBfaXRlbRgBIAMoCzIkLm1pbmRzcG9yZS5zdHJhc3BiLlBhcmFs"
    b"bGVsR3JvdXBJdGVtUhFwYXJhbGxlbEdyb3VwSXRlbRJaChZja3B0X3Jlc3RvcmVfcmFua19saXN0GAIgASgLMiUubWluZHNwb3JlLnN0cmFzcGIu"
    b"UGFyYWxsZWxHcm91cFJhbmtzUhNja3B0UmVzdG9yZVJhbmtMaXN0IosBChFQYXJhbGxlbEdyb3VwSXRlbRIdCgpncm91cF9uYW1lGAEgASgJUgln"
    b"cm91cE5hbWUSVwoUcGFyYWxsZWxfZ3JvdXBfcmFua3MYAiABKAsyJS5taW5kc3BvcmUuc3RyYXNwYi5QYXJhbGxlbEdyb3VwUmFua3NSEnBhcmFs"
    b"bGVsR3JvdXBSYW5rcyImChJQYXJhbGxlbEdyb3VwUmFua3MSEAoDZGltGAEgAygNUgNkaW0="
)


@functools.cache
def message_class(name: str) -> Any:
    """Return the class of a message, such as ``ParallelLayoutItem``.

    Its fields are attributes that no type checker knows.
    """
    from google.protobuf import message_factory  # noqa: PLC0415

    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(f"{_PACKAGE}.{name}"))


@functools.cache
def _pool() -> Any:
    from google.protobuf import descriptor_pool  # noqa: PLC0415

    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(DESCRIPTOR)
    return pool
