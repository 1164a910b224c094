"""Write a file of PyTorch: a state dict of tensors, which is put together in memory, since torch writes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ckptload.errors import Hint, UnsupportedTypeError
from ckptload.foreign.giving import need, step
from ckptload.formats.entry import TENSOR, TORCH
from ckptload.writing.atomic import Replacement

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from ckptload.converting.jobs import Meter
    from ckptload.dtypes import Array, DType
    from ckptload.formats.item import Item


def check(items: Iterable[Item]) -> None:
    """Check that torch is installed, and that a state dict can hold all items.

    Raises:
        MissingPackageError: torch is not installed.
        UnsupportedTypeError: an item is no tensor, or torch does not have its dtype.
    """
    instead = Hint("{install}, or write a .safetensors file, which needs no torch", install=step(TORCH))
    need(TORCH, "a file of PyTorch", hint=instead)
    from ckptload.foreign import torch_tensors  # noqa: PLC0415 -- torch is optional, and slow to import

    for item in items:
        if item.kind != TENSOR or item.dtype is None:
            raise UnsupportedTypeError(
                f"a state dict of PyTorch holds tensors only, and this is a {item.kind}",
                name=item.name,
                hint=Hint("leave the entry out", " with {exclude}"),
            )
        torch_tensors.check(item.dtype, item.name)


def write(
    target: Path,
    items: Iterable[Item],
    meter: Meter,
    finish: Callable[[], object],
    *,
    synced: bool,
    reveals: Sequence[os.stat_result],
) -> None:
    """Write items that `check` accepts; `finish` is called before the file is replaced."""
    from ckptload.foreign import torch_files  # noqa: PLC0415 -- torch is there by now

    with Replacement(str(target), synced=synced, reveals=reveals) as file:
        torch_files.write(_arrays(items, meter), file)
        finish()


def _arrays(items: Iterable[Item], meter: Meter) -> Iterator[tuple[str, Array, DType]]:
    for item in items:
        if item.dtype is None:
            continue
        array = np.empty(item.shape, item.dtype.numpy)
        out = array.reshape(-1).view(np.uint8).data
        done = 0
        for piece in item.pieces():
            out[done : done + len(piece)] = piece
            done += len(piece)
            meter.advance(len(piece))
        yield item.name, array, item.dtype
