"""Models in messages of protobuf, told by their first fields: MindIR, ONNX, those of TensorFlow, and others.

A .ckpt is such a message, too. Its first field is a record (field 1) that begins with a name (field 1) and a tensor
(field 2), whose first byte is the tag of a field. Each rule here asks for something that a record cannot have, even
if it is damaged: a number or printable text where the record, the name or the tensor would be.
"""

from __future__ import annotations

import re
from typing import Final

from ckptload.formats.kinds.kind import EXPORTED, MINDIR, STRATEGY, TENSORFLOW, Kind

#: A length, and a byte of text.
_LENGTH: Final = rb"(?:[\x80-\xff]{0,4}[\x00-\x7f])"
_NAME: Final = rb"[\w./:^-]"

_ONNX: Final = Kind("an ONNX model", "open it with the onnx package; the weights are its initializers")
_GRAPH: Final = "the graph that ModelCheckpoint saves beside checkpoints (.meta), which holds no parameters"

#: In this order; the first that matches counts.
_RULES: Final[tuple[tuple[re.Pattern[bytes], Kind], ...]] = tuple(
    (re.compile(pattern % {b"n": _LENGTH, b"w": _NAME}, re.DOTALL), kind)
    for pattern, kind in (
        # mind_ir.proto, ModelProto: ir_version, then the name of the producer or the graph.
        (rb"\x0a[\x01-\x10]\d+(?:\.\d+)*[\x12\x1a\x22\x2a\x3a]%(n)s", Kind("a MindIR model", MINDIR)),
        # anf_ir.proto, ModelProto: ir_version, graph (field 4) of nodes.
        (rb"\x08[\x00-\x7f]\x22%(n)s[\x0a\x12]%(n)s[\x0a\x12\x1a]", Kind(_GRAPH, "load the .ckpt beside it")),
        # SavedModel: schema version, graphs (field 2), of which each begins with a MetaInfoDef.
        (
            rb"(?:\x08[\x00-\x7f])?\x12%(n)s\x0a%(n)s(?:\x12%(n)s\x0a%(n)s|\x22[\x01-\x7f]%(w)s|\x2a[\x01-\x7f]\d)",
            Kind("a TensorFlow SavedModel", TENSORFLOW),
        ),
        # MetaGraphDef: a MetaInfoDef with the list of operations, each with a name.
        (
            rb"\x0a%(n)s\x12%(n)s\x0a%(n)s\x0a[\x01-\x7f][A-Z]",
            Kind("the graph of a TensorFlow checkpoint (.meta)", TENSORFLOW),
        ),
        # GraphDef: a node of name and operation, then its inputs, device or attributes.
        (
            rb"\x0a%(n)s\x0a[\x01-\x7f]%(w)s+\x12[\x01-\x7f][A-Z][A-Za-z0-9]+[\x0a\x1a\x22\x2a\x32]",
            Kind("a frozen graph of TensorFlow (GraphDef)", TENSORFLOW),
        ),
        # ParallelStrategyMap (docs/format.md, "Around the file"): a stage, then items that begin with a name.
        (
            rb"\x08[\x00-\x7f]\x12%(n)s\x0a[\x01-\x7f]%(w)s",
            STRATEGY,
        ),
        # Core ML: a version, then a description whose inputs have names.
        (rb"\x08[\x01-\x1f]\x12%(n)s\x0a%(n)s\x0a[\x01-\x7f]%(w)s", Kind("a Core ML model", EXPORTED)),
        # onnx.proto, ModelProto: ir_version, then the producer or a domain as text, the graph or the operator sets.
        (
            rb"\x08[\x01-\x7f](?:[\x12\x1a\x22\x32][\x01-\x7f][ -~]|\x28%(n)s[\x32\x3a\x42]|[\x3a\x42]%(n)s[\x0a\x12])",
            _ONNX,
        ),
        # caffe.proto, NetParameter: a name, then layers (field 100).
        (rb"\x0a[\x01-\x7f][ -~]+\xa2\x06%(n)s\x0a", Kind("a Caffe model", EXPORTED)),
        # ge_ir.proto, ModelDef: a name, a number and text as versions, graphs (field 7).
        (
            rb"\x0a[\x01-\x7f][ -~]+\x10[\x00-\x7f](?:\x1a[\x00-\x7f][ -~]*)?\x3a%(n)s\x0a",
            Kind("an AIR model", EXPORTED),
        ),
    )
)


def by_fields(head: bytes) -> Kind | None:
    """Return the kind of model that begins with these fields, or None."""
    return next((kind for pattern, kind in _RULES if pattern.match(head)), None)
