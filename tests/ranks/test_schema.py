"""The schema: proto/strategy.proto is its single source."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from ckptload.ranks import schema
from places import ROOT

if TYPE_CHECKING:
    from pathlib import Path

PROTO = ROOT / "proto" / "strategy.proto"


def fields(descriptor: Any) -> dict[str, Any]:
    """What a message declares, without what only a later protobuf writes down."""
    return {field.name: (field.number, field.label, field.type, field.type_name) for field in descriptor.field}


def test_the_packaged_descriptor_is_the_proto_file(tmp_path: Path) -> None:
    """protoc, run on the .proto, gives the messages that the package carries."""
    pytest.importorskip("grpc_tools")
    from google.protobuf import descriptor_pb2

    out = tmp_path / "descriptor.bin"
    arguments = [f"-I{PROTO.parent}", f"--descriptor_set_out={out}", str(PROTO)]
    command = [sys.executable, "-m", "grpc_tools.protoc", *arguments]
    subprocess.run(command, check=True)
    compiled = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file[0]
    packaged = descriptor_pb2.FileDescriptorProto.FromString(schema.DESCRIPTOR)
    assert {m.name: fields(m) for m in packaged.message_type} == {m.name: fields(m) for m in compiled.message_type}
    assert (packaged.name, packaged.package, packaged.syntax) == (compiled.name, compiled.package, compiled.syntax)


@pytest.mark.parametrize(
    ("field", "number"),
    [("parallel_strategy_item", schema.STRATEGY_ITEM), ("parallel_layout_item", schema.LAYOUT_ITEM)],
)
def test_field_numbers_are_those_of_the_messages(field: str, number: int) -> None:
    assert schema.message_class("ParallelStrategyMap").DESCRIPTOR.fields_by_name[field].number == number


def test_the_messages_are_not_in_the_default_pool() -> None:
    """MindSpore registers the same names there; a second definition would be an error."""
    from google.protobuf import descriptor_pool

    schema.message_class("ParallelStrategyMap")
    with pytest.raises(KeyError):
        descriptor_pool.Default().FindMessageTypeByName("mindspore.straspb.ParallelStrategyMap")
