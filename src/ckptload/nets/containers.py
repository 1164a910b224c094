"""Cells in a list: CellList, which only holds them, and SequentialCell, which runs one after the other.

A child's parameters are named by its place: ``0.weight``. What stands before the place is found in the
names of the children that are there already, as MindSpore does it; a list that is empty when it is assigned
to an attribute therefore gives its children names without a prefix.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice
from typing import TYPE_CHECKING, Any

from ckptload.errors import ArgumentIndexError, ArgumentTypeError
from ckptload.nets.cell import Cell

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class _Children(Cell):
    """What both kinds of list have in common: children in order, under keys that name them."""

    _cells: OrderedDict[str, Cell]  # type: ignore[assignment]

    def __len__(self) -> int:
        return len(self._cells)

    def __bool__(self) -> bool:
        return bool(self._cells)

    def __iter__(self) -> Iterator[Cell]:
        return iter(list(self._cells.values()))

    def append(self, cell: Cell) -> None:
        """Add a cell at the end.

        Raises:
            ArgumentTypeError: it is no Cell.
        """
        self._check(cell)
        self._place(str(len(self)), cell)

    def set_grad(self, requires_grad: bool = True) -> Cell:  # noqa: FBT001, FBT002 -- MindSpore's signature
        """Set ``requires_grad`` here and in the children."""
        for cell in self._cells.values():
            cell.set_grad(requires_grad)
        return super().set_grad(requires_grad)

    def _place(self, key: str, cell: Cell) -> None:
        """Put a cell under a key, its parameters named after it."""
        if self.__dict__["_auto_prefix"]:
            prefix, _ = _naming(self._cells)
            cell.update_parameters_name(f"{prefix}{key}.")
        self._cells[key] = cell

    def _remove(self, index: Any, named: frozenset[str] = frozenset()) -> None:
        """Take cells out; each one left takes its place's number, except under a key of ``named``."""
        for key in self._chosen(index):
            del self._cells[key]
        prefix, depth = _naming(self._cells)
        renewed: OrderedDict[str, Cell] = OrderedDict()
        for place, (key, cell) in enumerate(self._cells.items()):
            if key not in named:
                self._rename(cell, f"{prefix}{place}", depth)
            renewed[key if key in named else str(place)] = cell
        self.__dict__["_cells"] = renewed

    def _rename(self, cell: Cell, place: str, depth: int) -> None:
        """Exchange the first ``depth`` + 1 parts of the parameters' names."""
        if self.__dict__["_auto_prefix"]:
            for parameter in cell.get_parameters():
                parameter.name = f"{place}.{'.'.join(parameter.name.split('.')[depth + 1 :])}"

    def _position(self, index: Any) -> int:
        length = len(self)
        if not isinstance(index, int):
            raise ArgumentTypeError(f"an index into {type(self).__name__} must be an int, not {type(index).__name__}")
        if not -length <= index < length:
            raise ArgumentIndexError(f"index {index} is out of range for a {type(self).__name__} of {length} cells")
        return index % length

    def _chosen(self, index: Any) -> list[str]:
        keys = list(self._cells)
        return keys[index] if isinstance(index, slice) else [keys[self._position(index)]]

    def _check(self, cell: object) -> None:
        if not isinstance(cell, Cell):
            raise ArgumentTypeError(f"{type(self).__name__} holds cells, not {type(cell).__name__}")


class CellList(_Children):
    """Cells in a list, each registered under its place.

    Args:
        args: nothing, or one list of cells.
        auto_prefix: whether parameters are named after their cell's place.

    Raises:
        ArgumentTypeError: something else was given.
    """

    def __init__(self, *args: list[Cell], auto_prefix: bool = True) -> None:
        super().__init__(auto_prefix)
        if len(args) == 1:
            self.extend(args[0])

    def __getitem__(self, index: Any) -> Any:
        keys = self._chosen(index)
        return CellList([self._cells[key] for key in keys]) if isinstance(index, slice) else self._cells[keys[0]]

    def __setitem__(self, index: int, cell: Cell) -> None:
        place = self._position(index)
        self._check(cell)
        self._place(str(place), cell)

    def __delitem__(self, index: Any) -> None:
        self._remove(index)

    def __iadd__(self, cells: list[Cell]) -> CellList:
        return self.extend(cells)

    def insert(self, index: int, cell: Cell) -> None:
        """Add a cell before the one at ``index``; those behind it are named anew.

        Raises:
            ArgumentTypeError: it is no Cell, or ``index`` no int.
            ArgumentIndexError: ``index`` is beyond the end.
        """
        at = len(self) if index == len(self) else self._position(index)
        self._check(cell)
        prefix, depth = _naming(self._cells)
        children = list(self._cells.values())
        for place in reversed(range(at, len(children))):
            self._rename(children[place], f"{prefix}{place + 1}", depth)
        children.insert(at, cell)
        self.__dict__["_cells"] = OrderedDict((str(place), child) for place, child in enumerate(children))
        if self.__dict__["_auto_prefix"]:
            cell.update_parameters_name(f"{prefix}{at}.")

    def extend(self, cells: list[Cell]) -> CellList:
        """Add the cells of a list at the end, and return this list.

        Raises:
            ArgumentTypeError: ``cells`` is no list, or holds something else than cells.
        """
        if not isinstance(cells, list):
            raise ArgumentTypeError(f"{type(self).__name__} is extended by a list, not by {type(cells).__name__}")
        prefix, _ = _naming(self._cells)
        for cell in cells:
            self._check(cell)
            if self.__dict__["_auto_prefix"]:
                cell.update_parameters_name(f"{prefix}{len(self)}.")
            self._cells[str(len(self))] = cell
        return self


class SequentialCell(_Children):
    """Cells that run one after the other: each takes what the one before returned.

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
            raise ArgumentTypeError(
                f"{type(self).__name__} takes cells, a list or an OrderedDict, not {type(given).__name__}"
            )
        # Keys that are no places, and stay when a place changes.
        self.__dict__["_named"] = frozenset(given) if isinstance(given, OrderedDict) else frozenset()
        if not isinstance(given, OrderedDict):
            given = {str(place): cell for place, cell in enumerate(given)}
        for key, cell in given.items():
            self._check(cell)
            self.insert_child_to_cell(key, cell)
            cell.update_parameters_name(f"{key}.")

    @property
    def cell_list(self) -> list[Cell]:
        """The cells in order."""
        return list(self._cells.values())

    def __getitem__(self, index: Any) -> Any:
        keys = self._chosen(index)
        if isinstance(index, slice):
            return type(self)(OrderedDict((key, self._cells[key]) for key in keys))
        return self._cells[keys[0]]

    def __setitem__(self, index: int, cell: Cell) -> None:
        self._check(cell)
        key = self._chosen(self._position(index))[0]
        prefix, _ = _naming(self._cells)
        self._cells[key] = cell
        cell.update_parameters_name(f"{prefix}{key}.")

    def __delitem__(self, index: Any) -> None:
        self._remove(index, self.__dict__["_named"])

    def construct(self, input_data: Any) -> Any:
        """Run the cells in order and return the last one's result."""
        for cell in self.cell_list:
            input_data = cell(input_data)
        return input_data


def _naming(cells: Mapping[str, Cell]) -> tuple[str, int]:
    """Find what stands before the places in the parameters' names, and at which part the place is.

    The first child with parameters decides, at the last part of its first name that equals its key, or at
    the part where the next child's name fits its key, too.
    """
    firsts = ((key, next(cell.get_parameters(), None)) for key, cell in cells.items())
    known = list(islice(((key, first.name.split(".")) for key, first in firsts if first is not None), 2))
    prefix, depth = "", 0
    if not known:
        return prefix, depth
    key, parts = known[0]
    for place, part in enumerate(parts):
        if part == key:
            prefix, depth = "".join(f"{before}." for before in parts[:place]), place
            if len(known) > 1 and known[1][1][place : place + 1] == [known[1][0]]:
                break
    return prefix, depth
