"""Torch tensors as numpy arrays that share memory, and back, for every dtype that both have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch

from ckptload import dtypes, shown
from ckptload.errors import Hint, UnsupportedTypeError
from ckptload.foreign.taken import Taken
from ckptload.messages import type_name

if TYPE_CHECKING:
    from ckptload.dtypes import Array, DType


_TORCH: Final[dict[DType, torch.dtype]] = {
    dtypes.bool_: torch.bool,
    dtypes.int8: torch.int8,
    dtypes.int16: torch.int16,
    dtypes.int32: torch.int32,
    dtypes.int64: torch.int64,
    dtypes.uint8: torch.uint8,
    dtypes.float16: torch.float16,
    dtypes.float32: torch.float32,
    dtypes.float64: torch.float64,
    dtypes.bfloat16: torch.bfloat16,
    dtypes.complex64: torch.complex64,
    dtypes.complex128: torch.complex128,
    dtypes.qint4x2: torch.int8,
    # Newer releases of torch have more dtypes; one that is missing is not supported.
    **{
        dtype: getattr(torch, name)
        for dtype, name in (
            (dtypes.uint16, "uint16"),
            (dtypes.uint32, "uint32"),
            (dtypes.uint64, "uint64"),
            (dtypes.float8_e4m3fn, "float8_e4m3fn"),
            (dtypes.float8_e5m2, "float8_e5m2"),
        )
        if hasattr(torch, name)
    },
}
_MINDSPORE: Final = {torch_dtype: dtype for dtype, torch_dtype in _TORCH.items() if dtype is not dtypes.qint4x2}

#: Why a tensor that looks plain cannot be read or written.
_TRANSFORMED: Final = (
    "it has no memory of its own, as inside a transform of torch (vmap, grad); use a tensor outside of it"
)

#: torch does not convert these to numpy, so numpy gets their memory as integers of the same size.
_AS_INTEGERS: Final = {1: torch.uint8, 2: torch.int16}


def dtype_of(tensor: torch.Tensor) -> DType | None:
    """Return a tensor's dtype in MindSpore, or None if MindSpore does not have it."""
    return _MINDSPORE.get(tensor.dtype)


def type_names() -> list[str]:
    """Return torch's names of the dtypes that MindSpore has, too."""
    return [str(dtype) for dtype in _MINDSPORE]


def as_array(tensor: torch.Tensor, dtype: DType) -> Array:
    """View a contiguous CPU tensor as an array; both share memory."""
    tensor = tensor.detach()
    if dtype.numpy.kind == "V" or dtype in (dtypes.bfloat16, dtypes.float8_e4m3fn, dtypes.float8_e5m2):
        array: Array = tensor.view(_AS_INTEGERS[dtype.itemsize]).numpy()
        return array.view(dtype.numpy)
    found: Array = tensor.numpy()
    return found


def check(dtype: DType, name: str) -> None:
    """Raise UnsupportedTypeError unless this version of torch has a dtype."""
    if dtype not in _TORCH:
        raise UnsupportedTypeError(
            f"torch {torch.__version__} has no dtype for {dtype}",
            name=name,
            hint=Hint("leave the entry out", " with {exclude}"),
        )


def as_tensor(array: Array, dtype: DType, name: str) -> torch.Tensor:
    """View an array as a tensor; both share memory.

    Raises:
        UnsupportedTypeError: this version of torch does not have the dtype.
    """
    check(dtype, name)
    if dtype in (dtypes.bfloat16, dtypes.float8_e4m3fn, dtypes.float8_e5m2):
        integers = array.view("u1" if dtype.itemsize == 1 else "<i2")
        return torch.from_numpy(integers).view(_TORCH[dtype])
    return torch.from_numpy(array)


# -- from torch -------------------------------------------------------------------------------------------


def has_shape(tensor: torch.Tensor) -> bool:
    """Tell whether a tensor has one shape: that of a lazy module has none yet, a nested one has several."""
    return not _is_lazy(tensor) and not tensor.is_nested


def _is_lazy(tensor: torch.Tensor) -> bool:
    return isinstance(tensor, (torch.nn.parameter.UninitializedParameter, torch.nn.parameter.UninitializedBuffer))


def refusal_of(tensor: torch.Tensor) -> str | None:
    """Return why the values of a tensor cannot be read or written, or None."""
    if _is_lazy(tensor):
        return "the lazy module has no parameters yet; run it once on an input"
    if dtype_of(tensor) is None:
        return f"MindSpore has no counterpart of {tensor.dtype}"
    if tensor.is_meta:
        return "it is on the meta device, which holds no values; call to_empty(device='cpu') on the module first"
    if tensor.layout is not torch.strided:
        return f"the tensor's layout is {tensor.layout}, not torch.strided"
    if not _is_plain(tensor):
        return f"how a {type_name(tensor)} keeps its values is not known; use a plain tensor"
    return _without_memory(tensor)


def _is_plain(tensor: torch.Tensor) -> bool:
    """Tell whether a tensor is one of torch itself, or of a class that leaves all operations to torch."""
    kind = type(tensor)
    functions = (torch.Tensor.__torch_function__, torch.nn.Parameter.__torch_function__)
    known = {getattr(function, "__func__", function) for function in functions}
    if getattr(kind.__torch_function__, "__func__", kind.__torch_function__) not in known:
        return False
    if kind.__torch_dispatch__ is not torch.Tensor.__torch_dispatch__:
        return False
    if kind in (torch.Tensor, torch.nn.Parameter):
        return True
    return type(tensor.detach()) is torch.Tensor


def has_place(tensor: torch.Tensor) -> bool:
    """Tell whether the elements of a tensor are at addresses of their own."""
    try:
        return tensor.layout is torch.strided and not tensor.is_nested and tensor.data_ptr() != 0
    except RuntimeError:
        return False


def _without_memory(tensor: torch.Tensor) -> str | None:
    """Return why a plain tensor has no memory for its elements, or None."""
    if tensor.is_nested:
        return "it is a nested tensor, whose parts have several shapes; use its parts"
    if not tensor.numel():
        return None
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    need = (tensor.storage_offset() + sum((size - 1) * step for size, step in steps) + 1) * tensor.element_size()
    try:
        have = tensor.untyped_storage().nbytes()
    except RuntimeError:
        # Tensors of some devices have no storage, and give their values by copying.
        return _TRANSFORMED if tensor.device.type == "cpu" else None
    if have < need:
        state = f"has {have} bytes" if have else "was freed"
        return f"its storage {state}, and it needs {need} bytes; give it memory, or gather a sharded net first"
    return _TRANSFORMED if tensor.device.type == "cpu" and not has_place(tensor) else None


def taken(tensor: torch.Tensor, *, copy: bool = False) -> Taken:
    """Return a tensor on any device as an array, which shares its memory if that is possible.

    Args:
        tensor: the tensor; its gradient is not followed.
        copy: whether the array must own its memory.

    Raises:
        UnsupportedTypeError: its values cannot be read.
    """
    refusal, dtype = refusal_of(tensor), dtype_of(tensor)
    if refusal is not None or dtype is None:
        raise UnsupportedTypeError(f"a torch.Tensor cannot be taken: {refusal}")
    try:
        values = tensor.detach().resolve_conj().resolve_neg()
        values = values.to("cpu", copy=copy, memory_format=torch.contiguous_format).contiguous()
        return Taken(as_array(values, dtype), dtype, requires_grad=tensor.requires_grad)
    except (TypeError, ValueError, RuntimeError) as error:  # nested tensors, those of torch.func, and other kinds
        raise UnsupportedTypeError(f"torch cannot give the values of a torch.Tensor: {shown.foreign(error)}") from error
