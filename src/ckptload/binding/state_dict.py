"""Make a state dictionary of PyTorch without a module: each name is mapped according to its group of names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from ckptload.binding.supplies import Transfer
from ckptload.foreign.torch_tensors import as_tensor
from ckptload.messages import counted, listed, warn
from ckptload.nets.pytorch.groups import guess_torch_names

if TYPE_CHECKING:
    import torch

    from ckptload.binding.supplies import Supply


#: Number of dimensions of a convolution's weight in MindSpore, both 1-d and 2-d.
_CONVOLUTION: Final = 4


def state_without_module(supply: Supply) -> dict[str, torch.Tensor]:
    """Convert every tensor of a checkpoint, under the name that its group of names suggests.

    Returns:
        New tensors by name; they do not share memory with the checkpoint.

    Raises:
        CheckpointError: an entry is damaged, or an encrypted file is not authentic.

    Warns:
        UserWarning: names or shapes are ambiguous without a module, or entries are not tensors.
    """
    tensors = [key for key in supply.keys if supply.is_tensor(key)]
    others = [key for key in supply.keys if not supply.is_tensor(key)]
    mapped, unclear = guess_torch_names(tensors, shapes={key: supply.spec(key).shape for key in tensors}, beside=others)
    unclear += [key for key in tensors if _may_be_flat(key, supply.spec(key).shape)]
    if unclear:
        warn(
            f"{counted(len(unclear), 'name')} of the checkpoint may have another name or shape in torch, which "
            f"depends on the module; pass module= to be sure of {listed(unclear)}"
        )
    if others:
        warn(
            f"{counted(len(others), 'entry is not a tensor', 'entries are not tensors')} and left out: {listed(others)}"
        )
    supply.authenticate()
    state: dict[str, torch.Tensor] = {}
    transfers = []
    for key in tensors:
        spec = supply.spec(key)
        array = np.empty(spec.shape, spec.dtype.numpy)
        state[mapped[key]] = as_tensor(array, spec.dtype, " + ".join(supply.originals(key)) or key)
        transfers.append(Transfer(key, spec, spec.dtype, array))
    supply.transfer(transfers)
    return state


def _may_be_flat(name: str, shape: tuple[int, ...]) -> bool:
    """Tell whether a weight may be that of a 1-d convolution, or of a 2-d one whose kernel has one row.

    MindSpore stores both with the same number of dimensions, PyTorch does not.
    """
    return name.rpartition(".")[2] == "weight" and len(shape) == _CONVOLUTION and shape[2] == 1 < shape[3]
