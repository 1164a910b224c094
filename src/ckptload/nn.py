"""Cells under the module name of MindSpore's scripts. ckptload does not have layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ckptload.errors import MissingAttributeError
from ckptload.nets.cell import Cell
from ckptload.nets.containers import CellList, SequentialCell

__all__ = ["Cell", "CellList", "SequentialCell"]

if not TYPE_CHECKING:  # otherwise a type checker would accept any layer

    def __getattr__(name: str) -> Any:
        raise MissingAttributeError(
            f"ckptload.nn has no {name!r}",
            hint="ckptload has no layers; write a Cell that holds the layer's parameters under the same names",
        )
