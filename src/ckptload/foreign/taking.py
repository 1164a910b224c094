"""The one function that takes values from tensors of MindSpore, PyTorch and numpy."""

from __future__ import annotations

import numpy as np

from ckptload import dtypes
from ckptload.errors import ArgumentTypeError
from ckptload.foreign.classes import MINDSPORE, TORCH, is_a
from ckptload.foreign.taken import Taken


def check_array(array: object) -> None:
    """Raise ArgumentTypeError for a masked array, whose hidden elements would become weights."""
    if is_a(array, "numpy", "MaskedArray"):  # by name, or numpy.ma would be imported for every array
        raise ArgumentTypeError(
            "the array is masked: some of its elements have no value",
            hint="give each a value first: array.filled(value)",
        )


def is_foreign(value: object) -> bool:
    """Tell whether `taken` takes a value, without reading it."""
    return isinstance(value, np.ndarray) or any(
        is_a(value, framework, name)
        for framework, name in ((TORCH, "Tensor"), (MINDSPORE, "Tensor"), (MINDSPORE, "Parameter"))
    )


def taken(value: object) -> Taken | None:
    """Return a tensor of MindSpore, PyTorch or numpy as an array with its dtype, and None for anything else.

    Raises:
        UnsupportedTypeError: its values cannot be read.
        ArgumentTypeError: MindSpore does not have the type of a numpy array, or it is masked.
    """
    if isinstance(value, np.ndarray):
        check_array(value)
        dtype = dtypes.from_numpy(value.dtype)
        return Taken(np.asarray(value, dtype.numpy, order="C"), dtype)
    if is_a(value, TORCH, "Tensor"):
        from ckptload.foreign import torch_tensors  # noqa: PLC0415 -- imports torch, which the value comes from

        return torch_tensors.taken(value)
    if is_a(value, MINDSPORE, "Tensor") or is_a(value, MINDSPORE, "Parameter"):
        from ckptload.foreign import mindspore_tensors  # noqa: PLC0415 -- imports MindSpore, likewise

        return mindspore_tensors.taken(value)
    return None
