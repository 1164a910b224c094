"""Tensors of PyTorch that are taken, given, and refused."""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import ckptload
from ckptload import Tensor
from ckptload.errors import UnsupportedTypeError

torch = pytest.importorskip("torch")

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.torch


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
        lambda: torch.eye(2).to_sparse(),
        lambda: torch.ones(2, device="meta"),
    ],
    ids=["nested", "sparse", "meta"],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_tensor_whose_values_cannot_be_read_is_refused(make: Callable[[], Any]) -> None:
    with pytest.raises(UnsupportedTypeError, match=r"torch\.Tensor"):
        Tensor(make())
    with pytest.raises(UnsupportedTypeError, match=r"torch\.Tensor"):
        assert Tensor([1.0]) == make()


def test_a_state_dictionary_is_saved_and_loaded(tmp_path: Path) -> None:
    module = torch.nn.Linear(3, 2).to(torch.bfloat16)
    ckptload.save_checkpoint(module.state_dict(), tmp_path / "x.ckpt")
    found = ckptload.load_checkpoint(tmp_path / "x.ckpt", parameters="torch")
    assert list(found) == ["weight", "bias"]
    assert all(torch.equal(found[name], tensor) for name, tensor in module.state_dict().items())


def test_a_tensor_from_a_mapped_file_does_not_change_with_it(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    ckptload.save_checkpoint({"a": np.zeros(4, np.float32)}, path, format="safetensors", mode=0o600)
    with ckptload.open_checkpoint(path, mmap=True, parameters="torch") as reader:
        tensors = [reader["a"], reader.get_slice("a")[:], reader.get_slice("a").flat(0, 4)]
        at = reader.info("a").offset
    with path.open("r+b") as file:
        file.seek(at)
        file.write(np.ones(4, np.float32).tobytes())
    assert [tensor.tolist() for tensor in tensors] == [[0.0] * 4] * 3


def test_operands_and_dtypes_of_torch_are_taken() -> None:
    ours = Tensor([1.0, 2.0])
    assert (ours + torch.ones(2)).tolist() == [2.0, 3.0]
    assert (ours == torch.tensor([1.0, 0.0])).tolist() == [True, False]
    assert ours.astype(torch.float16).dtype == torch.float16
    assert ckptload.float32 != torch.float16
