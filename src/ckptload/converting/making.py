"""The entries of a result that a map makes of several entries, or of parts of one: made piece by piece when written."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ckptload.binding.maps.layouts import PIECE, blocks, copy_rows, layout_of, shape_of
from ckptload.binding.maps.mapped import common_dtype
from ckptload.errors import ArgumentTypeError, UnsupportedTypeError
from ckptload.foreign.giving import OURS
from ckptload.formats.entry import TENSOR
from ckptload.formats.item import Item, as_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ckptload.binding.maps.layouts import Layout
    from ckptload.binding.maps.recipes import Recipe
    from ckptload.dtypes import Array, DType
    from ckptload.reading.reader import Reader


def made(recipe: Recipe, found: Mapping[str, Item], reader: Reader) -> Item:
    """Return the item that a recipe makes.

    Args:
        recipe: the recipe.
        found: the items of the entries.
        reader: the entries, whose data is read when the item is written.

    Raises:
        ArgumentTypeError: an entry is no tensor, and would not only be renamed.
        BindingError: the rule does not fit the shapes or dtypes of its entries.
    """
    items = [found[name] for name in recipe.sources]
    if recipe.rule is None:
        return items[0]._replace(name=recipe.name)
    for item in items:
        if item.dtype is None or item.kind != TENSOR:
            raise ArgumentTypeError(f"the map changes its values, and it is a {item.kind}", name=item.name)

    def shape(name: str) -> tuple[int, ...]:
        return found[name].shape if name in found else reader.info(name).shape

    if not recipe.is_moved:
        return items[0]._replace(name=recipe.name, shape=shape_of(recipe, shape))
    beside = found.get(recipe.beside or "")
    alike = [beside] if beside is not None and not items else items
    dtype = common_dtype(recipe, [item.dtype for item in alike if item.dtype is not None])
    layout = layout_of(recipe, shape)
    if sum(item.nbytes for item in items) != sum(math.prod(item.shape) for item in items) * dtype.itemsize:
        raise UnsupportedTypeError(f"elements of {dtype} cannot be moved one by one", name=recipe.sources[0])
    size = math.prod(layout.shape) * dtype.itemsize
    ours = reader.giving(OURS)
    return Item(recipe.name, TENSOR, dtype, layout.shape, size, partial(_pieces, layout, dtype, ours, recipe.sources))


def _pieces(layout: Layout, dtype: DType, reader: Reader, sources: tuple[str, ...]) -> Iterator[memoryview]:
    """Yield the data of a tensor, assembled in blocks of rows."""
    slices: list[Any] = [reader.get_slice(name) for name in sources]

    def read(source: int, first: int, last: int) -> Array:
        array: Array = slices[source].flat(first, last).asnumpy()
        return array

    if not layout.runs:
        left = math.prod(layout.shape) * dtype.itemsize
        nothing = bytes(min(left, PIECE))
        while left:
            yield memoryview(nothing)[:left]
            left -= min(left, len(nothing))
        return
    for start, stop in blocks(layout, dtype.itemsize):
        out = np.empty((stop - start, *layout.shape[1:]), dtype.numpy)
        copy_rows(layout, out, start, read)
        yield as_bytes(out)
