"""Tensor: an array with a MindSpore dtype, computed by numpy on the CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ckptload import dtypes
from ckptload.errors import (
    ArgumentError,
    ArgumentIndexError,
    ArgumentOverflowError,
    ArgumentTypeError,
    CheckpointError,
    MissingAttributeError,
)
from ckptload.foreign.taking import check_array, taken
from ckptload.messages import shown_value, type_name
from ckptload.tensors import arithmetic, printing
from ckptload.tensors.construction import as_dtype, convert, from_python
from ckptload.tensors.elementwise import Elementwise
from ckptload.tensors.initializers import Initializer, initial
from ckptload.tensors.properties import Properties
from ckptload.tensors.reductions import Reductions
from ckptload.tensors.selecting import Selecting
from ckptload.tensors.shaping import Shaping

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ckptload.dtypes import Array, DType


class Tensor(
    Elementwise["Tensor"],
    Shaping["Tensor"],
    Selecting["Tensor"],
    Reductions["Tensor"],
    Properties["Tensor"],
):
    """An array with a MindSpore dtype.

    Without ``dtype``, arrays and numpy scalars keep their type, integers become Int64 and floats Float32.
    An ndarray is copied. A Tensor without ``dtype`` is not: the new one shares its memory, as in MindSpore.

    Args:
        input_data: number, nested list or tuple, numpy scalar, Tensor, or a tensor of numpy, MindSpore or torch,
            which is copied.
        dtype: dtype of the elements, one of ours, of MindSpore, torch or numpy; values that do not fit wrap around.
        shape: shape of a tensor of zeros, instead of ``input_data``.
        init: name of an initializer, or one of `common.initializer`, for a tensor made from ``shape``.
        const_arg: accepted, without effect.
        device: ``"CPU"`` or None.

    Raises:
        ArgumentTypeError: the value cannot become a tensor.
        ArgumentError: arguments contradict each other.
    """

    _array: Array
    _dtype: DType
    #: The tensor and the index that this one comes from, so that ``t[0][1] = x`` changes ``t``.
    _origin: tuple[Tensor, Any] | None = None

    def __init__(
        self,
        input_data: Any = None,
        dtype: Any = None,
        shape: Any = None,
        init: Any = None,
        const_arg: bool = False,
        device: str | None = None,
    ) -> None:
        if dtype is not None and dtypes.like(dtype) is None:
            raise ArgumentTypeError(f"dtype must be a dtype, not {shown_value(dtype)}", hint="such as ckptload.float32")
        dtype = dtypes.like(dtype)
        if not isinstance(const_arg, bool):
            raise ArgumentTypeError(f"const_arg must be a bool, not {type_name(const_arg)}")
        if device not in {None, "CPU"}:
            raise ArgumentError(f"device {shown_value(device)} is not available: tensors are in CPU memory")
        if init is not None or shape is not None:
            self._array, self._dtype = _initial(input_data, dtype, shape, init)
        elif isinstance(input_data, Tensor):
            source = input_data.dtype
            self._dtype = source if dtype is None else dtype
            given = input_data.asnumpy()
            self._array = given if self._dtype is source else convert(given, source, self._dtype)
        else:
            self._array, self._dtype = from_python(input_data, dtype)

    @classmethod
    def adopt(cls, array: Array, dtype: DType) -> Tensor:
        """Wrap an array without a copy and without a check; for internal use.

        The caller must ensure that ``array.dtype == dtype.numpy`` and that the array is C-contiguous.
        """
        self = object.__new__(cls)
        self._array = array
        self._dtype = dtype
        return self

    @classmethod
    def _part(cls, array: Array, dtype: DType, origin: tuple[Tensor, Any]) -> Tensor:
        """Wrap elements that were taken from another tensor by an index."""
        self = cls.adopt(array, dtype)
        self._origin = origin
        return self

    @staticmethod
    def from_numpy(array: Array) -> Tensor:
        """Wrap an ndarray, without a copy if it is C-contiguous and little-endian.

        Raises:
            ArgumentTypeError: it is not an ndarray, or MindSpore does not have its type.
        """
        if not isinstance(array, np.ndarray):
            raise ArgumentTypeError(f"from_numpy takes a numpy.ndarray, not {type_name(array)}")
        check_array(array)
        dtype = dtypes.from_numpy(array.dtype)
        return Tensor.adopt(np.asarray(array, dtype.numpy, order="C"), dtype)

    def _plain(self, array: Array, dtype: DType) -> Tensor:
        return Tensor.adopt(np.asarray(array, dtype.numpy, order="C"), dtype)

    # -- what it is -------------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each dimension."""
        return tuple(self._array.shape)

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return self._array.ndim

    @property
    def size(self) -> int:
        """Number of elements."""
        return self._array.size

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return self._dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self._array.nbytes

    @property
    def strides(self) -> tuple[int, ...]:
        """Bytes from one element to the next, for each dimension."""
        return tuple(self._array.strides)

    @property
    def has_init(self) -> bool:
        """Whether an initializer has yet to set the values; always False here."""
        return False

    @property
    def data(self) -> Tensor:
        """The values as another Tensor that shares memory with this one."""
        return self._plain(self._array, self._dtype)

    def init_data(self) -> Tensor:
        """Return the tensor itself, because its values always exist."""
        return self

    def dim(self) -> int:
        """Return the number of dimensions."""
        return self._array.ndim

    def numel(self) -> int:
        """Return the number of elements."""
        return self._array.size

    # -- conversion to Python and numpy -----------------------------------------------------------

    def get_bytes(self) -> bytes:
        """Return a copy of the elements' bytes, in C order and little-endian."""
        return self._array.tobytes()

    def item(self) -> Any:
        """Return the only element as a Python number.

        Raises:
            ArgumentError: there is not exactly one element.
            ArgumentTypeError: the elements are HiFloat8, which Python cannot represent.
        """
        self._countable()
        if self._array.size != 1:
            raise ArgumentError(f"only a tensor with one element converts to a number; this one has {self._array.size}")
        return self._array.item()

    def tolist(self) -> Any:
        """Return the elements as nested lists of Python numbers, or as one number for shape ``()``."""
        self._countable()
        return self._array.tolist()

    def _countable(self) -> None:
        if self._dtype is dtypes.hifloat8:
            raise ArgumentTypeError("numpy has no HiFloat8 dtype", hint="get_bytes() gives the elements' bytes")

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        if dtype is not None and np.dtype(dtype) != self._array.dtype:
            if copy is False:
                raise ArgumentError(f"{self._dtype} cannot become an array of {np.dtype(dtype)} without a copy")
            return self._array.astype(dtype)
        return self._array.copy() if copy else self._array

    def __bool__(self) -> bool:
        return bool(self.item())

    def __float__(self) -> float:
        return float(self._real())

    def __int__(self) -> int:
        try:
            return int(self._real())
        except CheckpointError:
            raise
        except OverflowError as error:
            raise ArgumentOverflowError(f"{self.item()} is not an integer") from error
        except ValueError as error:
            raise ArgumentError(f"{self.item()} is not an integer") from error

    def _real(self) -> Any:
        value = self.item()
        if isinstance(value, complex):
            raise ArgumentTypeError(f"{value} is not a real number", hint="item() gives it as a complex number")
        return value

    # -- copies -----------------------------------------------------------------------------------

    def value(self) -> Tensor:
        """Return the tensor itself."""
        return self

    def __pos__(self) -> Tensor:
        return self

    def copy(self) -> Tensor:
        """Copy the elements into a new Tensor that owns its memory."""
        return self._plain(self._array.copy(), self._dtype)

    # A Parameter inherits these, with a `copy` of its own.
    def __copy__(self) -> Tensor:
        return self.copy()

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        return self.copy()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_origin"}

    def astype(self, dtype: Any, copy: bool = True) -> Tensor:
        """Convert the elements, rounding as MindSpore does.

        Args:
            dtype: a dtype, or the name, Python type or numpy type of one.
            copy: False to return the tensor itself if it has that dtype already.

        Returns:
            A Tensor that owns its memory.

        Raises:
            ArgumentTypeError: the dtype is not known, or the conversion is not supported.
        """
        target = as_dtype(dtype)
        if target is self._dtype and not copy:
            return self
        return self._plain(convert(self._array, self._dtype, target), target)

    def to(self, dtype: Any) -> Tensor:
        """Convert the elements; see `astype`."""
        return self.astype(dtype)

    def set_dtype(self, dtype: Any) -> DType:
        """Convert this tensor in place, and return its new dtype."""
        target = as_dtype(dtype)
        self._array, self._dtype = convert(self._array, self._dtype, target), target
        return target

    def assign_value(self, value: Any) -> Tensor:
        """Take the values, shape and dtype of another Tensor, and share its memory; others' tensors are copied.

        Raises:
            ArgumentTypeError: ``value`` is not a tensor.
        """
        if isinstance(value, Tensor):
            self._array, self._dtype = value.asnumpy(), value.dtype
            return self
        found = taken(value)
        if found is None:
            raise ArgumentTypeError(f"values can be taken from a Tensor, not from {type_name(value)}")
        self._array, self._dtype = found.array.copy(), found.dtype
        return self

    # -- printing and attributes ------------------------------------------------------------------

    def __repr__(self) -> str:
        return printing.describe(self._array, self._dtype)

    def __str__(self) -> str:
        return str(self._array)

    def _repr_html_(self) -> str:
        return printing.html(type(self).__name__, self._array, self._dtype)

    if not TYPE_CHECKING:  # otherwise a type checker would accept any attribute

        def __getattr__(self, name: str) -> Any:
            raise MissingAttributeError(
                f"ckptload's {type_name(self)} has no attribute {name!r}",
                hint=None if name.startswith("_") else "asnumpy() gives the elements as a numpy array to compute with",
            )

    # -- elements ---------------------------------------------------------------------------------

    def __len__(self) -> int:
        if not self._array.ndim:
            raise ArgumentTypeError("a tensor of shape () has no length")
        return len(self._array)

    def __iter__(self) -> Iterator[Tensor]:
        if not self._array.ndim:
            raise ArgumentTypeError("a tensor of shape () cannot be iterated over")
        for position in range(len(self._array)):
            yield self[position]

    def __contains__(self, element: object) -> bool:
        equal = self == element
        return equal is not False and bool(equal.asnumpy().any())

    def __getitem__(self, index: Any) -> Tensor:
        with arithmetic.translated("indexing"):
            return Tensor._part(np.array(self._array[_index(index)]), self._dtype, (self, index))

    def __setitem__(self, index: Any, value: Any) -> None:
        found = taken(value)
        if found is None and not isinstance(value, (Tensor, int, float, complex, np.number, np.bool_, list, tuple)):
            raise ArgumentTypeError(
                f"an element cannot be set to {type_name(value)}", hint="give a number, a list, a tuple or a Tensor"
            )
        array, dtype = (value.asnumpy(), value.dtype) if isinstance(value, Tensor) else from_python(value, None)
        with arithmetic.translated("setting elements"):
            self._array[_index(index)] = convert(array, dtype, self._dtype)
        if self._origin is not None:
            parent, place = self._origin
            parent[place] = self


def is_tensor(obj: Any) -> bool:
    """Return whether it is a Tensor."""
    return isinstance(obj, Tensor)


def _initial(
    input_data: object, dtype: DType | None, shape: Any, init: str | float | Initializer | None
) -> tuple[Array, DType]:
    if input_data is not None:
        raise ArgumentError("input_data has a shape of its own", hint="use Tensor(...).reshape(shape)")
    if dtype is None or shape is None:
        raise ArgumentTypeError("a tensor made from an initializer or a shape needs a shape and a dtype")
    return initial("zeros" if init is None else init, shape, dtype), dtype


def _index(index: Any) -> Any:
    """Convert an index to numpy's: tensors and lists select elements, Bool is a mask.

    Raises:
        ArgumentIndexError: the index is of a type that is not supported.
    """
    if index is None or index is Ellipsis or isinstance(index, (bool, int, slice, np.integer)):
        return index
    # An array of numpy is refused, as in MindSpore.
    found = None if isinstance(index, (Tensor, np.ndarray)) else taken(index)
    if isinstance(index, Tensor) or found is not None:
        return index.asnumpy() if found is None else found.array
    if isinstance(index, list):
        picked = from_python(index, None)[0]
        return picked if picked.size else picked.astype(np.int64)
    if isinstance(index, tuple):
        return tuple(_index(part) for part in index)
    raise ArgumentIndexError(
        f"{type_name(index)} cannot index a tensor",
        hint="use integers, slices, ..., None, lists, tuples or Tensors",
    )
