"""Changes of shape: parts of a tensor, repetitions, and orders of elements. Every result has memory of its own."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ckptload.errors import ArgumentError, ArgumentTypeError
from ckptload.messages import shown_value, type_name
from ckptload.tensors import arithmetic
from ckptload.tensors.operators import Computing, Held, Result
from ckptload.tensors.spelling import dimensions, integer_of, integers, spelled


class Shaping(Computing[Result]):
    """Methods that move elements and compute nothing.

    A dimension is called ``axis`` or ``dim``; negative ones count from the last.
    """

    # -- parts ------------------------------------------------------------------------------------

    @spelled(dim="axis", split_size="split_size_or_sections")
    def split(self, split_size_or_sections: Any, axis: int = 0) -> tuple[Result, ...]:
        """Cut the tensor into parts.

        Args:
            split_size_or_sections: length of every part, of which the last may be shorter, or a list of lengths.
            axis: the dimension that is cut.

        Raises:
            ArgumentError: the lengths are not positive, or do not add up.
            ArgumentTypeError: they are not integers.
        """
        with arithmetic.translated("split"):
            whole = self._length(axis)
            if isinstance(split_size_or_sections, (list, tuple)):
                lengths = integers("split", tuple(split_size_or_sections))
            else:
                size = integer_of("split", split_size_or_sections)
                if size <= 0:
                    raise ArgumentError(f"the length of a part must be positive, not {size}")
                lengths = tuple(min(size, whole - start) for start in range(0, whole, size)) or (0,)
            if sum(lengths) != whole or min(lengths, default=0) < 0:
                raise ArgumentError(f"parts of {list(lengths)} do not add up to {whole}, the length of axis {axis}")
            return self._cut(lengths, axis)

    @spelled(dim="axis")
    def chunk(self, chunks: int, axis: int = 0) -> tuple[Result, ...]:
        """Cut the tensor into at most `chunks` parts of the same length; the last may be shorter."""
        number = integer_of("chunk", chunks)
        if number <= 0:
            raise ArgumentError(f"the number of parts must be positive, not {number}")
        with arithmetic.translated("chunk"):
            return self.split(max(1, math.ceil(self._length(axis) / number)), axis)

    @spelled(axis="dim")
    def unbind(self, dim: int = 0) -> tuple[Result, ...]:
        """Return the parts of length 1, without the dimension."""
        with arithmetic.translated("unbind"):
            return tuple(
                self._shaped("unbind", lambda array, i=i: np.take(array, i, dim))  # type: ignore[misc]
                for i in range(self._length(dim))
            )

    @spelled(dim="axis")
    def narrow(self, axis: int, start: int, length: int) -> Result:
        """Return `length` elements of a dimension, from `start` on."""
        first, number = integer_of("narrow", start), integer_of("narrow", length)
        with arithmetic.translated("narrow"):
            whole = self._length(axis)
            first += whole if first < 0 else 0
            if not 0 <= first <= first + number <= whole:
                raise ArgumentError(
                    f"{shown_value(number)} elements from {shown_value(first)} on are not in axis {axis}, "
                    f"whose length is {whole}"
                )
            return self._shaped("narrow", lambda array: np.take(array, range(first, first + number), axis))

    def _length(self, axis: int) -> int:
        return int(self._array.shape[integer_of("a dimension", axis)])

    def _cut(self, lengths: tuple[int, ...], axis: int) -> tuple[Result, ...]:
        places = np.cumsum(lengths)[:-1]
        return tuple(self._shaped("split", lambda _, part=part: part) for part in np.split(self._array, places, axis))  # type: ignore[misc]

    # -- repetitions ------------------------------------------------------------------------------

    @spelled(dims="reps")
    def tile(self, reps: Any) -> Result:
        """Repeat the whole tensor, so often along each dimension; missing numbers at the front are 1."""
        return self._shaped("tile", lambda array: np.tile(array, integers("tile", (reps,))))

    def repeat(self, *repeats: Any) -> Result:
        """Repeat the whole tensor, so often along each dimension; there is one number for every dimension at least.

        Raises:
            ArgumentError: there are fewer numbers than dimensions.
        """
        numbers = integers("repeat", repeats)
        if len(numbers) < self._array.ndim:
            raise ArgumentError(
                f"repeat needs {self._array.ndim} numbers, one for each dimension, not {len(numbers)}",
                hint="repeat_interleave() repeats each element, as numpy's repeat does",
            )
        return self.tile(numbers)

    @spelled(dim="axis")
    def repeat_interleave(self, repeats: Any, axis: int | None = None) -> Result:
        """Repeat each element, or each row of a dimension; without `axis`, the elements in one dimension."""
        numbers = repeats.asnumpy() if isinstance(repeats, Held) else repeats
        return self._shaped("repeat_interleave", lambda array: np.repeat(array, numbers, axis))

    def broadcast_to(self, *shape: Any) -> Result:
        """Repeat the tensor along new dimensions and along those of length 1; -1 keeps a length."""
        wanted = integers("broadcast_to", shape)
        kept = (*(1,) * (len(wanted) - self._array.ndim), *self._array.shape)
        lengths = tuple(old if new == -1 else new for new, old in zip(wanted, kept, strict=False))
        return self._shaped("broadcast_to", lambda array: np.broadcast_to(array, lengths))

    def expand(self, *size: Any) -> Result:
        """Repeat the tensor along dimensions of length 1; see `broadcast_to`."""
        return self.broadcast_to(*size)

    @spelled(x="other")
    def expand_as(self, other: Held[Any]) -> Result:
        """Repeat the tensor so that it has the shape of another one."""
        return self.broadcast_to(_shape_of("expand_as", other))

    # -- dimensions -------------------------------------------------------------------------------

    def view_as(self, other: Held[Any]) -> Result:
        """Return the elements in the shape of another tensor."""
        return self.reshape(_shape_of("view_as", other))

    reshape_as = view_as

    def ravel(self) -> Result:
        """Return the elements in one dimension."""
        return self.flatten()

    def t(self) -> Result:
        """Return a matrix with rows and columns exchanged; a vector or a scalar stays as it is."""
        if self._array.ndim > 2:  # noqa: PLR2004 -- a matrix
            raise ArgumentError(f"t() is for at most two dimensions, and there are {self._array.ndim}")
        return self.transpose() if self._array.ndim else self._shaped("t", lambda array: array)

    @property
    def mT(self) -> Result:  # noqa: N802 -- MindSpore's name
        """The tensor with its last two dimensions exchanged."""
        return self.swapaxes(-1, -2)

    @spelled(dim0="axis0", dim1="axis1")
    def swapaxes(self, axis0: int, axis1: int) -> Result:
        """Return the tensor with two dimensions exchanged."""
        return self._shaped("swapaxes", lambda array: array.swapaxes(axis0, axis1))

    swapdims = swapaxes

    def movedim(self, source: Any, destination: Any) -> Result:
        """Return the tensor with dimensions moved to other places."""
        return self._shaped("movedim", lambda array: np.moveaxis(array, source, destination))

    moveaxis = movedim

    @spelled(dim="axis")
    def squeeze(self, axis: Any = None) -> Result:
        """Drop dimensions of length 1: all of them, or those given; one whose length is not 1 stays."""
        if axis is None:
            return self._shaped("squeeze", np.squeeze)
        given = integers("squeeze", (axis,))
        with arithmetic.translated("squeeze"):
            ones = tuple(one for one in given if self._array.shape[one] == 1)
            return self._shaped("squeeze", lambda array: array.squeeze(ones))

    @spelled(dim="axis")
    def expand_dims(self, axis: int) -> Result:
        """Insert a dimension of length 1."""
        return self._shaped("expand_dims", lambda array: np.expand_dims(array, axis))

    unsqueeze = expand_dims

    # -- order ------------------------------------------------------------------------------------

    def flip(self, dims: Any) -> Result:
        """Reverse the order of elements along dimensions."""
        return self._shaped("flip", lambda array: np.flip(array, integers("flip", (dims,))))

    def roll(self, shifts: Any, dims: Any = None) -> Result:
        """Move elements along dimensions; those that leave come in again at the other end."""
        steps, axes = dimensions("roll", shifts), dimensions("roll", dims)
        if steps is None:
            raise ArgumentTypeError("roll needs a number of places")
        return self._shaped("roll", lambda array: np.roll(array, steps, axes))

    def tril(self, diagonal: int = 0) -> Result:
        """Set the elements above a diagonal to 0."""
        return self._shaped("tril", lambda array: np.tril(array, integer_of("tril", diagonal)))

    def triu(self, diagonal: int = 0) -> Result:
        """Set the elements below a diagonal to 0."""
        return self._shaped("triu", lambda array: np.triu(array, integer_of("triu", diagonal)))

    @spelled(dim1="axis1", dim2="axis2")
    def diagonal(self, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Result:
        """Return the diagonal of two dimensions."""
        return self._shaped("diagonal", lambda array: np.diagonal(array, offset, axis1, axis2))

    def diag(self, diagonal: int = 0) -> Result:
        """Return the matrix with a vector on its diagonal, or the diagonal of a matrix."""
        return self._shaped("diag", lambda array: np.diag(array, diagonal))


def _shape_of(name: str, other: object) -> tuple[int, ...]:
    if not isinstance(other, Held):
        raise ArgumentTypeError(f"{name} takes a Tensor, not {type_name(other)}")
    return tuple(other.asnumpy().shape)
