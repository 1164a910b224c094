"""Cells under the name that MindSpore's scripts import them from. There are no layers here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ckptload.errors import MissingAttributeError
from ckptload.nets.cell import Cell
from ckptload.nets.containers import CellList, SequentialCell

__all__ = ["Cell", "CellList", "SequentialCell"]

if not TYPE_CHECKING:  # or a type checker would take any name for a layer

    def __getattr__(name: str) -> Any:
        raise MissingAttributeError(
            f"ckptload.nn has no {name!r}",
            hint="ckptload has no layers; write a Cell that holds the layer's parameters under the same names",
        )
