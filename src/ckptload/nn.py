"""Cells under the name that MindSpore's scripts import them from. There are no layers here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ckptload.cell import Cell
from ckptload.containers import CellList, SequentialCell
from ckptload.errors import MissingAttributeError

__all__ = ["Cell", "CellList", "SequentialCell"]

if not TYPE_CHECKING:  # or a type checker would take any name for a layer

    def __getattr__(name: str) -> Any:
        raise MissingAttributeError(
            f"ckptload.nn has no {name!r}",
            hint="ckptload has no layers; write a Cell that holds the layer's parameters under the same names",
        )
