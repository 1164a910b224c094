"""Elements chosen by places or by a mask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ckptload import dtypes
from ckptload.errors import ArgumentError, ArgumentTypeError
from ckptload.foreign.taking import taken
from ckptload.tensors import arithmetic
from ckptload.tensors.construction import from_python
from ckptload.tensors.operators import Computing, Held, Result
from ckptload.tensors.spelling import integer_of, spelled

if TYPE_CHECKING:
    from ckptload.dtypes import Array


class Selecting(Computing[Result]):
    """Methods that choose elements. A dimension is called ``axis`` or ``dim``."""

    @spelled(dim="axis")
    def index_select(self, axis: int, index: Any) -> Result:
        """Return the rows of a dimension at the places in a vector of integers."""
        places = _places("index_select", index)
        return self._shaped("index_select", lambda array: np.take(array, places, axis))

    def gather(
        self, dim: Any = None, index: Any = None, batch_dims: int = 0, *, input_indices: Any = None, axis: Any = None
    ) -> Result:
        """Return rows, or elements.

        MindSpore has two methods of this name: ``gather(input_indices, axis)`` returns the rows of a dimension at the
        places in a tensor of any shape, ``gather(dim, index)`` is `gather_elements`.
        """
        if isinstance(dim, Held) or taken(dim) is not None:
            dim, input_indices = None, dim
        if input_indices is None:
            return self.gather_elements(dim, index)
        if batch_dims != 0:
            raise ArgumentError("gather takes batch_dims=0 only", hint="use gather_elements(dim, index)")
        places, rows = _places("gather", input_indices), integer_of("gather", index if axis is None else axis)
        return self._shaped("gather", lambda array: np.take(array, places, rows))

    @spelled(axis="dim")
    def gather_elements(self, dim: int, index: Any) -> Result:
        """Return the elements whose place in a dimension stands in a tensor of the result's shape."""
        places, dim = _places("gather_elements", index), integer_of("gather_elements", dim)

        def gathered(array: Array) -> Array:
            if places.ndim != array.ndim or not -array.ndim <= dim < array.ndim:
                raise ArgumentError(f"places of shape {places.shape} do not fit axis {dim} of shape {array.shape}")
            room = [slice(length) for length in places.shape]
            room[dim] = slice(None)
            return np.take_along_axis(array[tuple(room)], places, dim)

        return self._shaped("gather_elements", gathered)

    @spelled(index="indices", dim="axis")
    def take(self, indices: Any, axis: int | None = None) -> Result:
        """Return the elements at places in the flattened tensor, or the rows of a dimension."""
        places = _places("take", indices)
        return self._shaped("take", lambda array: np.take(array, places, axis))

    def masked_select(self, mask: Any) -> Result:
        """Return the elements where a mask of Bool is True, in one dimension."""
        wanted = _mask("masked_select", mask)

        def selected(array: Array) -> Array:
            both = np.broadcast_arrays(array, wanted)
            return np.asarray(both[0][both[1]])

        return self._shaped("masked_select", selected)

    def masked_fill(self, mask: Any, value: Any) -> Result:
        """Return the tensor with a number in place of the elements where a mask of Bool is True."""
        wanted = _mask("masked_fill", mask)
        array, dtype = self._operand(value)
        number: Any = self._plain(array, dtype)
        filler = number.astype(self._dtype).asnumpy()
        return self._shaped("masked_fill", lambda own: np.where(wanted, filler, own))

    def masked_fill_(self, mask: Any, value: Any) -> Any:
        """Set the elements where a mask of Bool is True, and return the tensor itself."""
        own: Any = self
        return own.copy_(self.masked_fill(mask, value))

    @spelled(y="other")
    def where(self, condition: Any, other: Any) -> Result:
        """Return the elements where a condition is True, and those of another tensor or a number elsewhere."""
        mask = _mask("where", condition)
        with arithmetic.translated("where"):
            left, right, dtype = arithmetic.together(self._typed(), self._operand(other))
            return self._plain(np.where(mask, left, right), dtype)

    @spelled(axis="dim")
    def select(self, dim: int, index: int) -> Result:
        """Return one row of a dimension, without the dimension."""
        place = integer_of("select", index)
        return self._shaped("select", lambda array: np.take(array, place, dim))

    def nonzero(self, *, as_tuple: bool = False) -> Any:
        """Return the places of the elements that are not 0 as Int64: a row for each, or a vector for each dimension."""
        places = np.nonzero(np.atleast_1d(self._array.astype(np.bool_)))
        if as_tuple:
            return tuple(self._plain(part.astype(np.int64), dtypes.int64) for part in places)
        return self._plain(np.stack(places, -1).astype(np.int64), dtypes.int64)


def _places(name: str, index: Any) -> Array:
    """Return places, which are given as a tensor, a list or a number, as an array of integers."""
    places = index.asnumpy() if isinstance(index, Held) else from_python(index, None)[0]
    if places.dtype.kind not in "iu":
        raise ArgumentTypeError(f"{name} takes places as integers, not as {places.dtype}")
    return places


def _mask(name: str, mask: Any) -> Array:
    """Return a mask as an array of Bool."""
    array = mask.asnumpy() if isinstance(mask, Held) else from_python(mask, None)[0]
    if array.dtype != np.bool_:
        raise ArgumentTypeError(f"{name} takes a mask of Bool, not of {array.dtype}", hint="compare it first: x != 0")
    return array
