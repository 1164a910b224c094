"""Scripts that take a file apart get the messages that MindSpore's module has."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ckptload import Parameter, errors, save_checkpoint
from ckptload.train import checkpoint_pb2


def test_a_file_is_taken_apart_and_put_together(tmp_path: Any) -> None:
    path = tmp_path / "a.ckpt"
    save_checkpoint({"w": Parameter(np.ones((2, 3), np.float32), name="w")}, str(path))
    messages: Any = checkpoint_pb2
    checkpoint = messages.Checkpoint()
    checkpoint.ParseFromString(path.read_bytes())
    (value,) = checkpoint.value
    assert (value.tag, value.tensor.tensor_type, list(value.tensor.dims)) == ("w", "Float32", [2, 3])
    assert checkpoint.SerializeToString() == path.read_bytes()
    assert isinstance(value.tensor, messages.TensorProto)


def test_another_message_is_missing() -> None:
    with pytest.raises(errors.MissingAttributeError, match="checkpoint_pb2"):
        checkpoint_pb2.Value  # type: ignore[attr-defined]  # noqa: B018
