"""Cells under the module name of MindSpore's scripts. ckptload does not have layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ckptload.absent import absent_from
from ckptload.nets.cell import Cell
from ckptload.nets.containers import CellList, SequentialCell

__all__ = ["Cell", "CellList", "SequentialCell"]

if not TYPE_CHECKING:  # otherwise a type checker would accept any name
    __getattr__ = absent_from(
        __name__, "write a Cell that holds the layer's parameters under the same names; ckptload has no layers"
    )
