"""A ``mindspore.nn.Cell`` as a binding target, and tensors for MindSpore itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import mindspore
import numpy as np

from ckptload import dtypes
from ckptload.dtypes import DType
from ckptload.errors import UnsupportedTypeError
from ckptload.tensors.parameter import Parameter

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from ckptload.dtypes import Array


#: From this release on, a net on the CPU computes with values that are written into the array of a tensor, in both
#: modes and between steps of training (tests/differential/test_mindspore_cells.py).
_SHARES_MEMORY: Final = (2, 10)
_RELEASE: Final = tuple(int(number) for number in mindspore.__version__.split(".")[:2])


class MindSporeTarget:
    """A ``mindspore.nn.Cell`` as a target."""

    def __init__(self, cell: Any) -> None:
        self._cell = cell

    def slots(self, keys: Collection[str] = ()) -> list[MindSporeSlot]:  # noqa: ARG002 -- one name each
        """Return its parameters in the order of ``parameters_and_names``."""
        return [MindSporeSlot(parameter) for _, parameter in self._cell.parameters_and_names()]


class MindSporeSlot:
    """A ``mindspore.Parameter`` as a slot. On the CPU it is filled in place; elsewhere it gets new data."""

    def __init__(self, parameter: Any) -> None:
        self._parameter = parameter

    @property
    def name(self) -> str:
        """Return the parameter's name."""
        name: str = self._parameter.name
        return name

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the parameter's shape."""
        return tuple(self._parameter.shape)

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Return the parameter's shape, the only one that fits."""
        return (self.shape,)

    @property
    def dtype(self) -> DType:
        """Return the parameter's dtype; for an unknown one, a placeholder with its name."""
        name = str(self._parameter.dtype)
        return dtypes.BY_NAME.get(name) or DType(name, "", np.uint8, None, "")

    def refusal(self) -> str | None:
        """Return why nothing can be written into it, or None."""
        return _refusal(self._parameter)

    def memory(self) -> Array | None:
        """View the parameter's memory if numpy can write to it, or return None."""
        if _RELEASE < _SHARES_MEMORY or mindspore.get_context("device_target") != "CPU":
            return None
        if self._parameter.has_init:
            # Its initial values have not been made yet, and are no longer needed.
            self._parameter.set_data(_tensor(np.empty(self.shape, self.dtype.numpy), self.dtype))
        array: Array = self._parameter.asnumpy()
        # For a view of another tensor, asnumpy() may return a copy.
        return array.view(self.dtype.numpy) if array.flags.writeable and self._parameter.is_contiguous() else None

    def write(self, array: Array) -> None:
        """Set new data in the parameter."""
        self._parameter.set_data(_tensor(np.array(array, order="C"), self.dtype))


def _refusal(tensor: Any) -> str | None:
    if type(tensor).__name__ == "MapParameter":
        return "it is a map, which MindSpore fills by itself"
    if str(tensor.dtype) not in dtypes.BY_NAME:
        return f"the dtype {tensor.dtype} is not known"
    if str(tensor.dtype) == dtypes.bfloat16.name and int(np.__version__.partition(".")[0]) > 1:
        return "MindSpore 2.10 has bfloat16 under numpy 1 only"
    return None


def _tensor(array: Array, dtype: DType) -> Any:
    """Return a tensor that shares an array's memory; Int4 is copied."""
    if dtype is dtypes.qint4x2:
        return mindspore.Tensor(array, mindspore.qint4x2)
    return mindspore.Tensor.from_numpy(array)


# -- to MindSpore -----------------------------------------------------------------------------------------


def parameters_for(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return a checkpoint's entries with MindSpore's Parameters instead of ours; other entries are unchanged.

    Raises:
        UnsupportedTypeError: MindSpore cannot make a tensor of a dtype.
    """
    return {
        name: _parameter(name, value) if isinstance(value, Parameter) else value for name, value in parameters.items()
    }


def _parameter(name: str, value: Parameter) -> Any:
    refusal = _refusal(value)
    if refusal is not None:
        raise UnsupportedTypeError(refusal, name=name, hint="leave the entry out")
    cause: Exception | None = None
    try:
        tensor = _tensor(value.asnumpy().copy(), value.dtype)
        if str(tensor.dtype) == value.dtype.name:
            return mindspore.Parameter(tensor, name=name, requires_grad=value.requires_grad)
    except (TypeError, ValueError, RuntimeError) as error:
        cause = error
    raise UnsupportedTypeError(
        f"MindSpore {mindspore.__version__} cannot make a tensor of {value.dtype} from numpy",
        name=name,
        hint="leave it out",
    ) from cause


# -- from MindSpore ---------------------------------------------------------------------------------------


def parameter_of(tensor: Any) -> Parameter:
    """Return MindSpore's Tensor or Parameter as one of ours, which may share its memory.

    Raises:
        UnsupportedTypeError: its values cannot be read.
    """
    name = getattr(tensor, "name", None) or ""
    refusal = _refusal(tensor)
    if refusal is not None:
        raise UnsupportedTypeError(refusal, name=name or None)
    if tensor.has_init:
        tensor.init_data()
    dtype = dtypes.BY_NAME[str(tensor.dtype)]
    # Not ascontiguousarray, which changes shape () to (1,).
    return Parameter.adopt(np.asarray(tensor.asnumpy(), order="C").view(dtype.numpy), dtype, name)
