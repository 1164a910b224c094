"""The one function that takes values from tensors of MindSpore, PyTorch and numpy."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from ckptload import dtypes
from ckptload.errors import ArgumentTypeError
from ckptload.foreign.classes import MINDSPORE, TORCH, is_a
from ckptload.foreign.taken import Taken

_MAY_HOLD: Final = (list, tuple, np.ndarray)


def check_array(array: object) -> None:
    """Raise ArgumentTypeError for an array with masked elements, which would become weights.

    numpy takes a mask away without a word. A masked array that masks nothing is like any other.
    """
    # By name, or numpy.ma would be imported for every array.
    if is_a(array, "numpy", "MaskedArray") and _masks(array):
        raise ArgumentTypeError(
            "the array is masked: some of its elements have no value",
            hint="give each a value first: array.filled(value), or array.data for those below the mask",
        )


def check_elements(elements: object) -> None:
    """Raise ArgumentTypeError if a list or tuple holds an array with masked elements, at any depth."""
    left, seen = [elements], {id(elements)}
    while left:
        some = left.pop()
        # Even a long list of numbers has few types, and they are found fast.
        if isinstance(some, (list, tuple)) and any(issubclass(kind, _MAY_HOLD) for kind in {*map(type, some)}):
            new = [one for one in some if isinstance(one, _MAY_HOLD) and id(one) not in seen]
            seen.update(map(id, new))
            left += new
        else:
            check_array(some)


def _masks(array: Any) -> bool:
    mask = np.asarray(array.mask)
    # That of a record has a field for each of its fields.
    return mask.dtype.names is not None or bool(mask.any())


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
