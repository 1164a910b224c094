"""The messages of a .ckpt file, where scripts that take files apart import them from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ckptload.absent import absent
from ckptload.formats.ckpt.schema import message_class

_NAMES: Final = ("Checkpoint", "MapTensorProto", "TensorProto")

if not TYPE_CHECKING:  # otherwise a type checker would accept any name
    # A message is made when it is asked for, so that protobuf is imported only then.
    def __getattr__(name: str) -> Any:
        if name not in _NAMES:
            raise absent(__name__, name)
        return message_class(name)
