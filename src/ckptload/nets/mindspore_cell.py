"""A ``mindspore.nn.Cell`` as a binding target."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import mindspore
import numpy as np

from ckptload import dtypes
from ckptload.dtypes import DType
from ckptload.foreign.mindspore_tensors import as_tensor, gives_arrays, refusal
from ckptload.nets.overlaps import extent_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from ckptload.dtypes import Array
    from ckptload.nets.overlaps import Extent
    from ckptload.nets.pytorch.difference import LayerDifference


#: From this release on, a net on the CPU computes with values that are written into the array of a tensor, in both
#: modes and between steps of training (tests/differential/test_mindspore_cells.py).
_SHARES_MEMORY: Final = (2, 10)
_RELEASE: Final = tuple(int(number) for number in mindspore.__version__.split(".")[:2])


class MindSporeTarget:
    """A ``mindspore.nn.Cell`` as a target."""

    def __init__(self, cell: Any) -> None:
        self.net = cell

    def slots(self, keys: Collection[str] = ()) -> list[MindSporeSlot]:  # noqa: ARG002 -- one name each
        """Return its parameters in the order of ``parameters_and_names``."""
        return [MindSporeSlot(parameter) for _, parameter in self.net.parameters_and_names()]

    def differences(self, sources: Mapping[str, Sequence[str]], *, is_ckpt: bool) -> tuple[LayerDifference, ...]:  # noqa: ARG002
        """Return nothing: its layers are MindSpore's own."""
        return ()


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
        return refusal(self._parameter)

    def extent(self) -> Extent | None:
        """Return where its elements are; None if it has no values yet, or gets new data."""
        if self._parameter.has_init or not self._is_shared():
            return None
        array = self._parameter.asnumpy()
        return extent_of(array) if array.flags.writeable and self._parameter.is_contiguous() else None

    def _is_shared(self) -> bool:
        """Tell whether the parameter takes values that are written into its array."""
        on_cpu = mindspore.get_context("device_target") == "CPU"
        return on_cpu and _RELEASE >= _SHARES_MEMORY and gives_arrays(self.dtype)

    def memory(self) -> Array | None:
        """View the parameter's memory if numpy can write to it, or return None."""
        if not self._is_shared():
            return None
        if self._parameter.has_init:
            # Its initial values have not been made yet, and are no longer needed.
            self._parameter.set_data(as_tensor(np.empty(self.shape, self.dtype.numpy), self.dtype))
        array: Array = self._parameter.asnumpy()
        # For a view of another tensor, asnumpy() may return a copy.
        return array.view(self.dtype.numpy) if array.flags.writeable and self._parameter.is_contiguous() else None

    def write(self, array: Array) -> None:
        """Set new data in the parameter."""
        self._parameter.set_data(as_tensor(np.array(array, order="C"), self.dtype))
