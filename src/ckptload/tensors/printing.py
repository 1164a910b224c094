"""Print a tensor with the same text as MindSpore's ``repr``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ckptload import dtypes, markup
from ckptload.shown import human_bytes, human_count

if TYPE_CHECKING:
    from collections.abc import Callable

    from ckptload.dtypes import Array, DType

# Longer vectors, and longer dimensions of other tensors, are shown by their two ends only.
_VECTOR_LIMIT: Final = 1000
_DIMENSION_LIMIT: Final = 6
_SHOWN: Final = 3

# Decimals in scientific notation; other types have the shortest form, aligned to the widest.
_DECIMALS: Final[dict[DType, int]] = {dtypes.float16: 4, dtypes.float32: 8, dtypes.float64: 8}


def describe(array: Array, dtype: DType) -> str:
    """Return MindSpore's ``repr`` of a Tensor: shape, dtype and elements, shortened if there are many."""
    head = f"Tensor(shape={list(array.shape)}, dtype={dtype}, value="
    if array.ndim == 0:
        return f"{head} {_shortest(array[()], dtype)})"
    text = ""
    if array.size:
        edges = [_shown(length, array.ndim) for length in array.shape]
        show = _formatter(array[np.ix_(*edges)], dtype)
        wrap = 12 if dtype in _DECIMALS or dtype is dtypes.bool_ else 24
        text = _block(array, edges, show, wrap, " ")
    return f"{head}{' ' if array.ndim == 1 else chr(10)}{text})"


def html(title: str, array: Array, dtype: DType) -> str:
    """Return HTML for notebooks: what it is, its size, and elements as numpy shows them."""
    facts = f"{title}: {dtype}, shape {array.shape}, {human_count(array.size)} elements, {human_bytes(array.nbytes)}"
    return markup.block(facts, np.array2string(array, threshold=_VECTOR_LIMIT, edgeitems=_SHOWN))


def _shown(length: int, ndim: int) -> list[int]:
    if length <= (_VECTOR_LIMIT if ndim == 1 else _DIMENSION_LIMIT):
        return list(range(length))
    return [*range(_SHOWN), *range(length - _SHOWN, length)]


def _block(array: Array, edges: list[list[int]], show: Callable[[Any], str], wrap: int, indent: str) -> str:
    """Format one dimension, and recursively those inside it."""
    here, inner = edges[0], edges[1:]
    cut = len(here) < len(array)
    if not inner:
        items = [show(array[i]) for i in here]
        if cut:
            return f"[{', '.join(items[:_SHOWN])} ... {', '.join(items[_SHOWN:])}]"
        lines = [", ".join(items[i : i + wrap]) for i in range(0, len(items), wrap)]
        return f"[{f', {chr(10)}{indent}'.join(lines)}]"
    items = [_block(array[i], inner, show, wrap, indent + " ") for i in here]
    between = f",\n{indent}"
    if cut:
        return f"[{between.join(items[:_SHOWN])}{between}...\n{indent}{between.join(items[_SHOWN:])}]"
    return f"[{between.join(items)}]"


def _formatter(visible: Array, dtype: DType) -> Callable[[Any], str]:
    """Choose a format that aligns all visible elements."""
    decimals = _DECIMALS.get(dtype)
    if decimals is not None:
        return lambda value: f"{float(value):{decimals + 7}.{decimals}e}"
    if visible.dtype.kind == "c":
        return lambda value: _shortest(value, dtype)
    width = max(len(_shortest(value, dtype)) for value in visible.flat)
    if dtype is dtypes.bool_:
        width = len("False")
    return lambda value: _shortest(value, dtype).rjust(width)


def _shortest(value: Any, dtype: DType) -> str:
    if dtype.numpy.kind == "c":
        return f"{value.real:g}{value.imag:+g}j"
    if dtype.numpy.kind in "biu":
        return str(value)
    return f"{float(value):g}"
