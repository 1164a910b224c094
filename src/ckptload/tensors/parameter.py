"""Parameter: a named tensor of a net or a checkpoint."""

from __future__ import annotations

import re
from itertools import count
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np

from ckptload import dtypes
from ckptload.errors import ArgumentError, ArgumentTypeError
from ckptload.filters import MAX_NAME
from ckptload.foreign.taking import taken
from ckptload.messages import shown_value, type_name
from ckptload.tensors.construction import convert, from_python, integer
from ckptload.tensors.printing import html
from ckptload.tensors.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ckptload.dtypes import Array, DType

#: Prefix of automatic names; a cell replaces such a name by the name of the attribute.
AUTOMATIC_PREFIX: Final = "Parameter#"

_numbers = count()
_NAMESPACE: Final = re.compile(r"^\w+[0-9a-zA-Z_.]*$", re.ASCII)


def _automatic_name() -> str:
    return f"{AUTOMATIC_PREFIX}{next(_numbers)}"


class _Flag:
    """A bool attribute. A parameter stores it only if it was changed, so that creating one is fast."""

    def __init__(self, doc: str, *, default: bool = False) -> None:
        self.__doc__ = doc
        self._default = default

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, parameter: Parameter | None, owner: type | None = None) -> bool:
        if parameter is None:
            return cast("bool", self)  # read from the class, for its docstring
        return bool(parameter.__dict__.get(f"_{self._name}", self._default))

    def __set__(self, parameter: Parameter, value: bool) -> None:
        if not isinstance(value, bool):
            raise ArgumentTypeError(f"{self._name} must be a bool, not {type_name(value)}")
        if value is not self.__get__(parameter):
            parameter.__dict__[f"_{self._name}"] = value


class Parameter(Tensor):
    """A tensor with a name, as nets hold it.

    Args:
        default_input: a tensor of this package, MindSpore, torch or numpy, or a list, whose dtype is that of `Tensor`;
            an int, which becomes Int32; or a float, which becomes Float32. The values are copied.
        name: name in nets and checkpoints; None for an automatic one.
        requires_grad: whether training changes the parameter.
        layerwise_parallel: stored as an attribute, without effect.
        parallel_optimizer: stored as an attribute, without effect.
        storage_format: accepted, without effect.
        device: ``"CPU"``, ``"Remote"`` or None, without effect.

    Raises:
        ArgumentTypeError: ``default_input`` is of another type, or a flag is not a bool.
        ArgumentError: ``default_input`` is a bool, or the name or ``device`` is not valid.
        ArgumentOverflowError: an int does not fit Int32.
    """

    _name: str
    # Defaults are attributes of the class, so that creating a parameter is fast.
    _comm_fusion: int = 1
    sliced: Any = False
    unique: Any = False
    is_init: Any = False
    init_flag: Any = False
    init: Any = None
    init_mode: Any = None
    requires_aggr: Any = True
    is_in_parallel: Any = False
    inited_param: Any = None
    _key: int = -1

    requires_grad = _Flag("Whether training changes the parameter.", default=True)
    layerwise_parallel = _Flag("Whether devices keep their own values of it.")
    parallel_optimizer = _Flag("Whether its optimizer state may be split over devices.", default=True)
    parallel_optimizer_comm_recompute = _Flag("Whether the backward pass gathers it over devices once more.")
    cache_enable = _Flag("Whether it is in an embedding cache.")

    def __init__(
        self,
        default_input: Any,
        name: str | None = None,
        requires_grad: bool = True,
        layerwise_parallel: bool = False,
        parallel_optimizer: bool = True,
        storage_format: str = "",
        device: str | None = None,
    ) -> None:
        del storage_format
        self._array, self._dtype = _values(default_input)
        self.name = name
        self.requires_grad = requires_grad
        self.layerwise_parallel = layerwise_parallel
        self.parallel_optimizer = parallel_optimizer
        if device not in {None, "CPU", "Remote"}:
            raise ArgumentError(f"device must be 'CPU' or 'Remote', not {shown_value(device)}")

    @classmethod
    def adopt(cls, array: Array, dtype: DType, name: str = "") -> Parameter:
        """Wrap an array as `Tensor.adopt` does. The name is not changed; an empty one becomes an automatic name."""
        self = object.__new__(cls)
        self._array = array
        self._dtype = dtype
        self._name = name or _automatic_name()
        return self

    # -- attributes -------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Name of the parameter in nets and checkpoints.

        White space around a new name is removed; None or an empty string gives an automatic name.
        """
        return self._name

    @name.setter
    def name(self, name: str | None) -> None:
        if name is not None and not isinstance(name, str):
            raise ArgumentError(f"a parameter's name must be a str or None, not {type_name(name)}")
        name = (name or "").strip()
        if len(name) > MAX_NAME:
            raise ArgumentError(f"a parameter's name has {len(name)} characters; {MAX_NAME} are allowed")
        self._name = name or _automatic_name()

    @property
    def comm_fusion(self) -> int:
        """Group of parameters that are exchanged between devices together."""
        return self._comm_fusion

    @comm_fusion.setter
    def comm_fusion(self, value: int) -> None:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ArgumentTypeError(f"comm_fusion must be an int, not {type_name(value)}")
        if value < 0:
            raise ArgumentError(f"comm_fusion must not be negative, and {value} is")
        self._comm_fusion = value

    @property
    def key(self) -> int:
        """Number in an embedding cache."""
        return self._key

    @key.setter
    def key(self, value: int) -> None:
        if not isinstance(value, int):
            raise ArgumentTypeError(f"key must be an int, not {type_name(value)}")
        self._key = value

    @property
    def param_info(self) -> Parameter:
        """The parameter itself, which has the attributes that MindSpore keeps in an object of their own."""
        return self

    # -- values -----------------------------------------------------------------------------------

    @property
    def data(self) -> Tensor:
        """The values as a plain Tensor that shares memory with the parameter.

        Only a Tensor can be assigned; the parameter then shares its memory and has its shape and dtype.
        """
        return self._plain(self._array, self._dtype)

    @data.setter
    def data(self, value: Any) -> None:
        self.assign_value(value)

    def value(self) -> Tensor:
        """Return a copy of the values as a plain Tensor."""
        return self._plain(self._array.copy(), self._dtype)

    def set_data(self, data: Any, slice_shape: bool = False) -> Parameter:
        """Set new values, converted to the parameter's dtype.

        The shape is not checked: it becomes that of ``data``, and ``()`` for a number, as in MindSpore
        (mindspore/common/parameter.py, Parameter.set_data).

        Args:
            data: a tensor of this package, MindSpore, torch or numpy, whose values are copied; or an int or a float.
            slice_shape: new value of ``sliced``.

        Returns:
            The parameter itself.

        Raises:
            ArgumentTypeError: ``data`` is of another type, or is a float and the parameter has integers.
            ArgumentOverflowError: an int does not fit the parameter's dtype.
        """
        found = taken(data)
        if isinstance(data, Tensor):
            self._array = convert(data.asnumpy(), data.dtype, self._dtype)
        elif found is not None:
            self._array = convert(found.array, found.dtype, self._dtype)
        elif isinstance(data, (int, float)):
            self._array = self._number(data)
        else:
            raise ArgumentTypeError(
                f"a parameter's data must be a Tensor, an int or a float, not {type_name(data)}",
                hint="make a Tensor of it first",
            )
        self.sliced = slice_shape
        return self

    def _number(self, value: float) -> Array:
        if isinstance(value, float) and self._dtype in dtypes.INTEGERS:
            raise ArgumentTypeError(
                f"a float cannot be set into {self._dtype}", name=self._name, hint="convert it with int() first"
            )
        if isinstance(value, int) and self._dtype.numpy.kind in "iu":
            return integer(int(value), self._dtype)
        return from_python(value, self._dtype)[0]

    def init_data(self, layout: Any = None, set_sliced: bool = False) -> Parameter:
        """Return the parameter itself, because its values always exist."""
        del layout, set_sliced
        return self

    # -- copies -----------------------------------------------------------------------------------

    def clone(self, init: Any = "same") -> Parameter:
        """Copy the parameter under the same name.

        Args:
            init: ``"same"`` for the same values, ``"zeros"``, ``"ones"``, or a number for all elements.

        Returns:
            A Parameter that owns its memory.

        Raises:
            ArgumentError: ``init`` is something else.
        """
        twin = Parameter.adopt(self._filled(init), self._dtype, self._name)
        # The twin's attributes come last, so that it keeps its own array.
        twin.__dict__.update({**self.__getstate__(), **twin.__dict__})
        return twin

    def copy(self) -> Parameter:
        """Copy the parameter under the same name; see `clone`."""
        return self.clone()

    def _filled(self, init: Any) -> Array:
        """Return an array of the parameter's shape and dtype with the values that ``init`` asks for."""
        if isinstance(init, str):
            if init == "same":
                return self._array.copy()
            init = {"zeros": 0, "ones": 1}.get(init)
        if not isinstance(init, (int, float)):
            raise ArgumentError(
                "init must be 'same', 'zeros', 'ones' or a number",
                name=self._name,
                hint="ckptload has no other initializers; set_data() takes a Tensor of values",
            )
        array, _ = from_python(init, self._dtype)
        return np.full(self.shape, array, self._dtype.numpy)

    # -- printing ---------------------------------------------------------------------------------

    def __repr__(self) -> str:
        return (
            f"Parameter (name={self._name}, shape={self.shape}, dtype={self._dtype}, "
            f"requires_grad={self.requires_grad})"
        )

    __str__ = __repr__

    def _repr_html_(self) -> str:
        return html(f"Parameter {self._name}", self.asnumpy(), self._dtype)


def _values(default_input: Any) -> tuple[Array, DType]:
    """Return an array for a new parameter, with MindSpore's choice of dtype."""
    if isinstance(default_input, Tensor):
        return default_input.asnumpy().copy(), default_input.dtype
    if isinstance(default_input, bool):
        raise ArgumentError("a parameter cannot be made from a bool", hint="use Tensor(True)")
    if isinstance(default_input, int):
        return integer(default_input, dtypes.int32), dtypes.int32
    if isinstance(default_input, float):
        return from_python(float(default_input), dtypes.float32)
    if isinstance(default_input, list) or taken(default_input) is not None:
        return from_python(default_input, None)
    raise ArgumentTypeError(
        f"a parameter cannot be made from {type_name(default_input)}",
        hint="give a Tensor, a numpy.ndarray, a list, an int or a float",
    )


def as_ours(value: object) -> object:
    """Return a tensor of MindSpore, torch or numpy as a Parameter, which shares its memory if that is possible.

    Anything else is returned unchanged.

    Raises:
        UnsupportedTypeError: its values cannot be read.
        ArgumentTypeError: MindSpore does not have the type of a numpy array.
    """
    found = None if isinstance(value, Tensor) else taken(value)
    if found is None:
        return value
    parameter = Parameter.adopt(found.array, found.dtype, found.name)
    parameter.requires_grad = found.requires_grad
    return parameter


class ParameterTuple(tuple[Parameter, ...]):
    """A tuple of parameters with different names; the same parameter may occur more than once.

    Args:
        iterable: the parameters.

    Raises:
        ArgumentTypeError: an item is not a Parameter.
        ArgumentError: two parameters have the same name.
    """

    __slots__ = ()

    def __new__(cls, iterable: Iterable[Parameter]) -> ParameterTuple:
        """Check the parameters and make the tuple."""
        try:
            parameters: tuple[Any, ...] = tuple(map(as_ours, iterable))
        except TypeError as error:
            raise ArgumentTypeError(f"ParameterTuple takes parameters, not {type_name(iterable)}") from error
        known: dict[str, Parameter] = {}
        for parameter in parameters:
            if not isinstance(parameter, Parameter):
                raise ArgumentTypeError(f"ParameterTuple takes parameters, not {type_name(parameter)}")
            if known.setdefault(parameter.name, parameter) is not parameter:
                raise ArgumentError(
                    "two parameters have this name", name=parameter.name, hint="give each parameter a name of its own"
                )
        return super().__new__(cls, parameters)

    def clone(self, prefix: str, init: Any = "same") -> ParameterTuple:
        """Copy every parameter, and put ``prefix`` and a dot before its name.

        Args:
            prefix: letters, digits, underscores and dots.
            init: as for `Parameter.clone`.

        Raises:
            ArgumentError: the prefix has other characters.
        """
        if not isinstance(prefix, str):
            raise ArgumentTypeError(f"prefix must be a str, not {type_name(prefix)}")
        if _NAMESPACE.match(prefix) is None:
            raise ArgumentError(
                f"{shown_value(prefix)} cannot be a prefix", hint="use letters, digits, underscores and dots"
            )
        clones = []
        for parameter in self:
            twin = parameter.clone(init)
            twin.name = f"{prefix}.{parameter.name}"
            clones.append(twin)
        return ParameterTuple(clones)
