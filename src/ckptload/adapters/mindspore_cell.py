"""A ``mindspore.nn.Cell`` as a binding target, and parameters for MindSpore itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mindspore
import numpy as np

from ckptload import dtypes
from ckptload.errors import UnsupportedTypeError
from ckptload.parameter import Parameter

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import numpy.typing as npt

    from ckptload.dtypes import DType

    Array = npt.NDArray[Any]


class MindSporeTarget:
    """A real cell."""

    def __init__(self, cell: Any) -> None:
        self._cell = cell

    def slots(self, keys: Collection[str]) -> list[MindSporeSlot]:  # noqa: ARG002 -- one name each
        """Return its parameters in the order of ``parameters_and_names``."""
        return [MindSporeSlot(parameter) for _, parameter in self._cell.parameters_and_names()]

    def aliases(self) -> dict[str, str]:
        """Return nothing: its parameters have one name each."""
        return {}


class MindSporeSlot:
    """A real Parameter. On the CPU its memory is filled where it is; elsewhere its data are replaced."""

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
    def dtype(self) -> DType:
        """Return the parameter's dtype; where it is not known here, `refusal` says so."""
        return dtypes.BY_NAME.get(str(self._parameter.dtype), dtypes.uint8)

    def refusal(self) -> str | None:
        """Return why nothing can be written into it, or None."""
        if str(self._parameter.dtype) not in dtypes.BY_NAME:
            return f"the dtype {self._parameter.dtype} is not known"
        if self.dtype is dtypes.bfloat16 and int(np.__version__.partition(".")[0]) > 1:
            return "MindSpore 2.10 has bfloat16 under numpy 1 only"
        return None

    def memory(self) -> Array | None:
        """View the parameter's memory, where that is numpy's."""
        if mindspore.get_context("device_target") != "CPU":
            return None
        if self._parameter.has_init:
            # A net whose initialisation was put off has no memory yet.
            self._parameter.init_data()
        array: Array = self._parameter.asnumpy()
        return array.view(self.dtype.numpy) if array.flags.writeable else None

    def content(self) -> tuple[Array, DType]:
        """Return the values as an array, which may be the net's own memory, and their dtype."""
        refusal = self.refusal()
        if refusal is not None:
            raise UnsupportedTypeError(refusal, name=self.name)
        memory = self.memory()
        array = self._parameter.asnumpy() if memory is None else memory
        return array.view(self.dtype.numpy), self.dtype

    def write(self, array: Array) -> None:
        """Give the parameter new data."""
        self._parameter.set_data(mindspore.Tensor.from_numpy(np.array(array)))


def parameters_for(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return a checkpoint's entries with real Parameters in place of ours; all else stays as it is."""
    return {
        name: _parameter(name, value) if isinstance(value, Parameter) else value for name, value in parameters.items()
    }


def _parameter(name: str, value: Parameter) -> Any:
    slot = MindSporeSlot(value)
    refusal = slot.refusal()
    if refusal is not None:
        raise UnsupportedTypeError(refusal, name=name, hint="leave the entry out")
    try:
        array = value.asnumpy().copy()
        if value.dtype is dtypes.qint4x2:
            tensor = mindspore.Tensor(array, mindspore.qint4x2)
        else:
            tensor = mindspore.Tensor.from_numpy(array)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UnsupportedTypeError(
            f"MindSpore {mindspore.__version__} makes no tensor of {value.dtype}: {error}",
            name=name,
            hint="leave the entry out",
        ) from error
    return mindspore.Parameter(tensor, name=name, requires_grad=value.requires_grad)


def arrays_of(cell: Any) -> list[tuple[str, Array, DType]]:
    """Return name, content and dtype of every parameter of a real cell, as they are at this moment.

    The arrays may be the net's own memory.
    """
    found = []
    for slot in MindSporeTarget(cell).slots(()):
        array, dtype = slot.content()
        found.append((slot.name, array, dtype))
    return found
