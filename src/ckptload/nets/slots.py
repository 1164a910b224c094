"""What is loaded into: a net seen as a list of slots, one for each parameter.

Binding knows nothing else of a net, so that any kind of net that can give slots can be loaded into.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ckptload.errors import ArgumentTypeError
from ckptload.nets.cell import Cell
from ckptload.nets.foreign import foreign_target

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from ckptload.dtypes import Array, DType
    from ckptload.tensors.parameter import Parameter


class Slot(Protocol):
    """A parameter of a net, to be filled."""

    @property
    def name(self) -> str:
        """Return the name under which a checkpoint has its values."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape that it has and keeps."""

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Return the shapes in which a checkpoint may have its values in the same order; `shape` comes first."""

    @property
    def dtype(self) -> DType:
        """Return the dtype that it has and keeps."""

    def refusal(self) -> str | None:
        """Return why nothing can be written into it, or None."""

    def memory(self) -> Array | None:
        """View the net's own memory as a writable array of its shape and ``dtype.numpy``.

        None where numpy cannot see it, as on another device: `write` is then called instead.
        """

    def write(self, array: Array) -> None:
        """Copy values, of its shape and ``dtype.numpy``, into the net."""


class Target(Protocol):
    """A net."""

    def slots(self, keys: Collection[str]) -> Sequence[Slot]:
        """Return its parameters, in the net's own order; `keys` are the entries there are to load."""


def target_of(net: object) -> Target:
    """Return a net as a target.

    Raises:
        ArgumentTypeError: it is no net that can be loaded into.
    """
    if isinstance(net, Cell):
        return CellTarget(net)
    target = foreign_target(net)
    if target is not None:
        return target
    raise ArgumentTypeError(
        f"net must be a Cell, a mindspore.nn.Cell or a torch.nn.Module, not {type(net).__name__}",
        hint="derive the network's class from ckptload.nn.Cell",
    )


class CellTarget:
    """A Cell of this package."""

    def __init__(self, cell: Cell) -> None:
        self._cell = cell

    def slots(self, keys: Collection[str]) -> Sequence[Slot]:  # noqa: ARG002 -- its parameters have one name each
        """Return its parameters in the order of `Cell.parameters_and_names`."""
        return [CellSlot(parameter) for _, parameter in self._cell.parameters_and_names()]


class CellSlot:
    """A Parameter of a Cell. It is filled by its name, which need not be its path in the net."""

    def __init__(self, parameter: Parameter) -> None:
        self._parameter = parameter

    @property
    def name(self) -> str:
        """Return the parameter's name."""
        return self._parameter.name

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the parameter's shape."""
        return self._parameter.shape

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Return the parameter's shape alone."""
        return (self._parameter.shape,)

    @property
    def dtype(self) -> DType:
        """Return the parameter's dtype."""
        return self._parameter.dtype

    def refusal(self) -> str | None:
        """Return why nothing can be written into it, or None."""
        return None if self._parameter.asnumpy().flags.writeable else "the net's memory is read-only"

    def memory(self) -> Array:
        """View the parameter's own memory."""
        return self._parameter.asnumpy()

    def write(self, array: Array) -> None:
        """Copy values into the parameter's own memory."""
        self._parameter.asnumpy()[...] = array
