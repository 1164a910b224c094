"""A net as a list of slots to be filled, one for each parameter.

Binding uses nothing else of a net, so it can load into any kind of net that provides slots.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from ckptload.errors import ArgumentTypeError
from ckptload.messages import type_name
from ckptload.nets.cell import Cell
from ckptload.nets.foreign import foreign_target
from ckptload.nets.overlaps import extent_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from ckptload.dtypes import Array, DType
    from ckptload.nets.overlaps import Extent
    from ckptload.nets.pytorch.difference import LayerDifference
    from ckptload.tensors.parameter import Parameter


class Slot(Protocol):
    """A parameter of a net, to be filled."""

    @property
    def name(self) -> str:
        """Return its name in a checkpoint."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Return its shape, which loading does not change."""

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Return the shapes that fit, with elements in the same order; `shape` is the first."""

    @property
    def dtype(self) -> DType:
        """Return its dtype, which loading does not change."""

    def refusal(self) -> str | None:
        """Return why nothing can be written into it, or None."""

    def extent(self) -> Extent | None:
        """Return where its elements are, without a change to the net; None if they do not have a place of their own."""

    def memory(self) -> Array | None:
        """View the net's own memory as a writable array of its shape and ``dtype.numpy``.

        None if numpy cannot access it, such as on another device: `write` is called instead.
        """

    def write(self, array: Array) -> None:
        """Copy values of its shape and ``dtype.numpy`` into the net."""


class Target(Protocol):
    """A net to load into.

    Attributes:
        net: the net.
    """

    net: Any

    def slots(self, keys: Collection[str]) -> Sequence[Slot]:
        """Return its parameters in the net's own order; `keys` are the names of the entries to load."""

    def differences(self, sources: Mapping[str, Sequence[str]], *, is_ckpt: bool) -> Sequence[LayerDifference]:
        """Return the kinds of layers that may compute something else than the net that the entries come from.

        Args:
            sources: names of the entries in the checkpoint that each parameter is loaded from, by the parameter's name.
            is_ckpt: whether they come from a .ckpt, and so from MindSpore.
        """


def target_of(net: object) -> Target:
    """Return a net as a target.

    Raises:
        ArgumentTypeError: it is not a net that can be loaded into.
    """
    if isinstance(net, Cell):
        return CellTarget(net)
    target = foreign_target(net)
    if target is not None:
        return target
    raise ArgumentTypeError(
        f"net must be a Cell, a mindspore.nn.Cell or a torch.nn.Module, not {type_name(net)}",
        hint="derive the network's class from ckptload.nn.Cell",
    )


class CellTarget:
    """A Cell of this package as a target."""

    def __init__(self, cell: Cell) -> None:
        self.net = cell

    def slots(self, keys: Collection[str]) -> Sequence[Slot]:  # noqa: ARG002 -- its parameters have one name each
        """Return its parameters in the order of `Cell.parameters_and_names`."""
        return [CellSlot(parameter) for _, parameter in self.net.parameters_and_names()]

    def differences(self, sources: Mapping[str, Sequence[str]], *, is_ckpt: bool) -> tuple[LayerDifference, ...]:  # noqa: ARG002
        """Return nothing: a Cell computes nothing."""
        return ()


class CellSlot:
    """A Parameter of a Cell as a slot. It is matched by its name, which can differ from its path in the net."""

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
        """Return the parameter's shape, the only one that fits."""
        return (self._parameter.shape,)

    @property
    def dtype(self) -> DType:
        """Return the parameter's dtype."""
        return self._parameter.dtype

    def refusal(self) -> str | None:
        """Return why nothing can be written into it, or None."""
        return None if self._parameter.asnumpy().flags.writeable else "the net's memory is read-only"

    def extent(self) -> Extent:
        """Return where its elements are."""
        return extent_of(self._parameter.asnumpy())

    def memory(self) -> Array:
        """View the parameter's own memory."""
        return self._parameter.asnumpy()

    def write(self, array: Array) -> None:
        """Copy values into the parameter's own memory."""
        self._parameter.asnumpy()[...] = array
