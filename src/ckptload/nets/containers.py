"""Lists of cells: CellList and SequentialCell, which differ in how they are built and name their children.

A child's parameters are named by its position: ``0.weight``. The prefix before the position is inferred from the
names of the existing children, as in MindSpore (mindspore/nn/layer/container.py, _get_prefix_and_index). So a list
that is empty when it is assigned to an attribute gives its children names without a prefix.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice
from typing import TYPE_CHECKING, Any

from ckptload.errors import ArgumentIndexError, ArgumentTypeError
from ckptload.messages import type_name
from ckptload.nets.cell import Cell

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class _Children(Cell):
    """The common base of both lists: children in order, under keys that name them."""

    _cells: OrderedDict[str, Cell]  # type: ignore[assignment]

    def __len__(self) -> int:
        return len(self._cells)

    def __bool__(self) -> bool:
        return bool(self._cells)

    def __iter__(self) -> Iterator[Cell]:
        return iter(list(self._cells.values()))

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self._part(list(self._cells.items())[index])
        length = len(self)
        if not isinstance(index, int):
            raise ArgumentTypeError(f"a place in {type_name(self)} is an int, not {type_name(index)}")
        if not -length <= index < length:
            raise ArgumentIndexError(f"{index} is not a place in a {type(self).__name__} of {length} cells")
        return list(self._cells.values())[index]

    def _part(self, chosen: list[tuple[str, Cell]]) -> Cell:
        """Make a list of the same kind from chosen cells and their keys."""
        raise NotImplementedError

    def append(self, cell: Cell) -> None:
        """Add a cell at the end.

        Raises:
            ArgumentTypeError: it is not a Cell.
        """
        self._place(_prefix(self._cells), cell)

    def set_grad(self, requires_grad: bool = True) -> Cell:  # noqa: FBT001, FBT002 -- MindSpore's signature
        """Set ``requires_grad`` in this list and its children."""
        for cell in self._cells.values():
            cell.set_grad(requires_grad)
        return super().set_grad(requires_grad)

    def _place(self, prefix: str, cell: Cell) -> None:
        """Add a cell at the end, and name its parameters by its position."""
        self._check(cell)
        key = str(len(self))
        if self.__dict__["_auto_prefix"]:
            cell.update_parameters_name(f"{prefix}{key}.")
        self._cells[key] = cell

    def _check(self, cell: object) -> None:
        if not isinstance(cell, Cell):
            raise ArgumentTypeError(f"{type_name(self)} holds cells, not {type_name(cell)}")


class CellList(_Children):
    """Cells in a list, each registered under its position.

    Args:
        args: nothing, or one list of cells.
        auto_prefix: whether parameters are named by the position of their cell.

    Raises:
        ArgumentTypeError: something else was given.
    """

    def __init__(self, *args: list[Cell], auto_prefix: bool = True) -> None:
        super().__init__(auto_prefix)
        if len(args) == 1:
            self.extend(args[0])

    def _part(self, chosen: list[tuple[str, Cell]]) -> CellList:
        return CellList([cell for _, cell in chosen])

    def extend(self, cells: list[Cell]) -> CellList:
        """Add the cells of a list at the end, and return this list.

        Raises:
            ArgumentTypeError: ``cells`` is not a list of cells.
        """
        if not isinstance(cells, list):
            raise ArgumentTypeError(f"{type(self).__name__} is extended by a list, not by {type_name(cells)}")
        prefix = _prefix(self._cells)
        for cell in cells:
            self._place(prefix, cell)
        return self

    __iadd__ = extend


class SequentialCell(_Children):
    """Cells that run one after the other in MindSpore.

    Args:
        args: the cells, or one list of them, or one OrderedDict whose keys name them.

    Raises:
        ArgumentTypeError: something else was given.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__()
        given = args[0] if len(args) == 1 else list(args)
        if isinstance(given, Cell):
            given = [given]
        if not isinstance(given, (list, OrderedDict)):
            raise ArgumentTypeError(f"{type_name(self)} takes cells, a list or an OrderedDict, not {type_name(given)}")
        if not isinstance(given, OrderedDict):
            given = {str(place): cell for place, cell in enumerate(given)}
        for key, cell in given.items():
            self._check(cell)
            self.insert_child_to_cell(key, cell)
            cell.update_parameters_name(f"{key}.")

    def _part(self, chosen: list[tuple[str, Cell]]) -> SequentialCell:
        return type(self)(OrderedDict(chosen))


def _prefix(cells: Mapping[str, Cell]) -> str:
    """Find the prefix before the positions in the parameters' names, as _get_prefix_and_index of MindSpore does.

    The prefix ends before the last part of the first child's first name that equals its key, or before the part
    at which the next child's name has its key, too. Children without parameters are skipped.
    """
    firsts = ((key, next(cell.get_parameters(), None)) for key, cell in cells.items())
    known = list(islice(((key, first.name.split(".")) for key, first in firsts if first is not None), 2))
    prefix = ""
    if not known:
        return prefix
    key, parts = known[0]
    for place, part in enumerate(parts):
        if part == key:
            prefix = "".join(f"{before}." for before in parts[:place])
            if len(known) > 1 and known[1][1][place : place + 1] == [known[1][0]]:
                break
    return prefix
