"""Functions of each element as methods, and the same in place: ``sqrt``, ``clamp``, ``add``, ``add_``."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import numpy as np

from ckptload import dtypes
from ckptload.errors import ArgumentError, ArgumentTypeError, ComputationError
from ckptload.foreign.taking import taken
from ckptload.messages import shown_value, type_name
from ckptload.tensors import arithmetic
from ckptload.tensors.operators import Held, Operators, Result
from ckptload.tensors.spelling import integer_of, spelled

if TYPE_CHECKING:
    from collections.abc import Callable

    Method = Callable[..., Any]


def _named(method: Method, name: str, doc: str) -> Method:
    """Return a method under the name that tracebacks and help() show."""
    method.__name__ = name
    method.__qualname__ = f"Elementwise.{name}"
    method.__doc__ = doc
    return method


def _function(name: str, doc: str, key: str = "") -> Method:
    """Return the method for one of `arithmetic.FUNCTIONS`."""

    def method(self: Elementwise[Any]) -> Any:
        return self._plain(*arithmetic.transform(key or name, *self._typed()))

    return _named(method, name, doc)


def _operation(name: str, key: str, doc: str) -> Method:
    """Return the method for one of `arithmetic.OPERATIONS`."""

    @spelled(exponent="other", y="other", x="other", value="other", divisor="other")
    def method(self: Elementwise[Any], other: object) -> Any:
        return self._combine(key, other)

    return _named(method, name, doc)


def _in_place(base: Method) -> Method:
    """Return the method that writes the result of another one into the tensor."""
    name = base.__name__

    def method(self: Elementwise[Any], *given: Any, **named: Any) -> Any:
        result = base(self, *given, **named)
        if not arithmetic.can_hold(self._dtype, result.dtype):
            raise ComputationError(
                f"{name} of {self._dtype} gives {result.dtype}, which this tensor cannot hold",
                hint=f"use {name}(), which returns a new tensor",
            )
        return self.copy_(result)

    vars(method)["__signature__"] = inspect.signature(base)
    return _named(method, f"{name}_", f"Set each element to the result of `{name}`, and return the tensor itself.")


class Elementwise(Operators[Result]):
    """Functions of each element. Bool and integers give Float32 where the result has a fraction."""

    sqrt = _function("sqrt", "Return square roots.")
    rsqrt = _function("rsqrt", "Return reciprocals of square roots.")
    exp = _function("exp", "Return e to the power of each element.")
    expm1 = _function("expm1", "Return e to the power of each element, minus 1.")
    log = _function("log", "Return natural logarithms.")
    log2 = _function("log2", "Return logarithms to the base 2.")
    log10 = _function("log10", "Return logarithms to the base 10.")
    log1p = _function("log1p", "Return natural logarithms of each element plus 1.")
    sin = _function("sin", "Return sines.")
    cos = _function("cos", "Return cosines.")
    tan = _function("tan", "Return tangents.")
    tanh = _function("tanh", "Return hyperbolic tangents.")
    sigmoid = _function("sigmoid", "Return 1 / (1 + exp(-x)).")
    reciprocal = _function("reciprocal", "Return 1 / x.")
    square = _function("square", "Return squares, in the tensor's own dtype.")
    sign = _function("sign", "Return -1, 0 or 1, in the tensor's own dtype.")
    ceil = _function("ceil", "Round up.")
    floor = _function("floor", "Round down.")
    trunc = _function("trunc", "Round toward zero.")
    isnan = _function("isnan", "Return whether each element is not a number, as Bool.")
    isinf = _function("isinf", "Return whether each element is infinite, as Bool.")
    isfinite = _function("isfinite", "Return whether each element is a finite number, as Bool.")
    logical_not = _function("logical_not", "Return whether each element is 0, as Bool.", "logical not")

    mul = _operation("mul", "multiplication", "Multiply by a tensor or a number.")
    multiply = mul
    true_divide = _operation("true_divide", "division", "Divide by a tensor or a number.")
    floor_divide = _operation("floor_divide", "floor division", "Divide, and round down.")
    pow = _operation("pow", "power", "Raise to a power.")
    remainder = _operation("remainder", "modulo", "Return the remainder, which has the sign of the divisor.")
    fmod = _operation("fmod", "remainder of a division", "Return the remainder, which has the sign of the tensor.")
    maximum = _operation("maximum", "maximum", "Return the larger of two elements.")
    minimum = _operation("minimum", "minimum", "Return the smaller of two elements.")
    eq = _operation("eq", "==", "Return whether elements are equal, as Bool.")
    equal = eq
    ne = _operation("ne", "!=", "Return whether elements differ, as Bool.")
    not_equal = ne
    lt = _operation("lt", "<", "Return whether elements are smaller, as Bool.")
    less = lt
    le = _operation("le", "<=", "Return whether elements are smaller or equal, as Bool.")
    less_equal = le
    gt = _operation("gt", ">", "Return whether elements are larger, as Bool.")
    greater = gt
    ge = _operation("ge", ">=", "Return whether elements are larger or equal, as Bool.")
    greater_equal = ge
    logical_and = _operation("logical_and", "logical and", "Return whether both elements are not 0, as Bool.")
    logical_or = _operation("logical_or", "logical or", "Return whether an element is not 0, as Bool.")
    logical_xor = _operation("logical_xor", "logical xor", "Return whether one element alone is not 0, as Bool.")
    bitwise_and = _operation("bitwise_and", "bitwise and", "Combine the bits of integers by `and`.")
    bitwise_or = _operation("bitwise_or", "bitwise or", "Combine the bits of integers by `or`.")
    bitwise_xor = _operation("bitwise_xor", "bitwise xor", "Combine the bits of integers by `xor`.")

    def __invert__(self) -> Result:
        # As in MindSpore, not the bits of integers.
        found: Result = self.logical_not()
        return found

    def neg(self) -> Result:
        """Change the sign."""
        return -self

    negative = neg

    def absolute(self) -> Result:
        """Return absolute values; see `abs`."""
        return abs(self)

    def round(self, decimals: int = 0) -> Result:
        """Round to so many decimals, ties to even."""
        if integer_of("round", decimals) == 0:
            return self._plain(*arithmetic.transform("round", *self._typed()))
        with arithmetic.translated("round"):
            return self._plain(np.round(self._array, decimals), self._dtype)

    @spelled(y="other")
    def add(self, other: object, *, alpha: float = 1) -> Result:
        """Add a tensor or a number, `alpha` times."""
        return self._combine("addition", self._scaled(other, alpha))

    @spelled(y="other")
    def sub(self, other: object, *, alpha: float = 1) -> Result:
        """Subtract a tensor or a number, `alpha` times."""
        return self._combine("subtraction", self._scaled(other, alpha))

    subtract = sub

    def _scaled(self, other: object, alpha: float) -> Any:
        if not isinstance(alpha, (int, float)):
            raise ArgumentTypeError(f"alpha must be a number, not {type_name(alpha)}")
        scaled: Any = self._plain(*self._operand(other))
        return other if alpha == 1 else scaled.mul(alpha)

    @spelled(value="other")
    def div(self, other: object, *, rounding_mode: str | None = None) -> Result:
        """Divide by a tensor or a number.

        Args:
            other: what to divide by.
            rounding_mode: None, ``"floor"`` to round down, or ``"trunc"`` to round toward zero.
        """
        if rounding_mode == "floor":
            return self._combine("floor division", other)
        quotient = self._combine("division", other)
        if rounding_mode is None:
            return quotient
        if rounding_mode != "trunc":
            raise ArgumentError(f"rounding_mode must be None, 'floor' or 'trunc', not {shown_value(rounding_mode)}")
        _, _, dtype = arithmetic.together(self._typed(), self._operand(other))
        cut: Any = quotient
        result: Result = cut.trunc().astype(dtype)
        return result

    divide = div

    def clamp(self, min: Any = None, max: Any = None) -> Result:
        """Limit each element from below and from above; a limit is a number or a tensor.

        Raises:
            ArgumentError: there is no limit.
        """
        if min is None and max is None:
            raise ArgumentError("clamp needs a limit", hint="give min, max or both")
        found: Any = self
        found = found if min is None else found.maximum(min)
        result: Result = found if max is None else found.minimum(max)
        return result

    clip = clamp

    @spelled(x2="other")
    def isclose(self, other: Any, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> Result:
        """Return whether elements are equal up to ``atol + rtol * abs(other)``, as Bool."""
        left, right, dtype = arithmetic.together(self._typed(), self._operand(other))
        if dtype.numpy.kind == "V":
            left, right = left.astype(np.float32), right.astype(np.float32)
        with arithmetic.translated("isclose"):
            found = np.isclose(left, right, rtol, atol, equal_nan)
        return self._plain(np.asarray(found), dtypes.bool_)

    def allclose(self, other: Any, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> bool:
        """Return whether all elements are equal up to ``atol + rtol * abs(other)``."""
        close: Any = self.isclose(other, rtol, atol, equal_nan)
        return bool(close.asnumpy().all())

    # -- in place ---------------------------------------------------------------------------------

    def copy_(self, src: Any, non_blocking: bool = False) -> Any:
        """Set the elements to those of another tensor, which is repeated to this shape and converted to this dtype.

        It may be a tensor of MindSpore, torch or numpy, too.

        Raises:
            ArgumentTypeError: it is not a tensor.
            ComputationError: it has another shape.
        """
        del non_blocking
        found = None if isinstance(src, Held) else taken(src)
        if found is None and not isinstance(src, Held):
            raise ArgumentTypeError(f"elements can be copied from a Tensor, not from {type_name(src)}")
        array = src.asnumpy() if found is None else found.array
        try:
            np.broadcast_to(array, self._array.shape)
        except ValueError as error:
            raise ComputationError(f"elements of shape {array.shape} do not fit {self._array.shape}") from error
        own: Any = self
        own[...] = src
        return self

    def fill_(self, value: Any) -> Any:
        """Set each element to a number or to a tensor of one element, and return the tensor itself."""
        array, dtype = self._operand(value)
        if array.size != 1:
            raise ArgumentError(f"elements can be set to one number, not to {array.size}")
        return self.copy_(self._plain(array.reshape(()), dtype))

    def zero_(self) -> Any:
        """Set each element to 0, and return the tensor itself."""
        return self.fill_(0)

    add_ = _in_place(add)
    sub_ = _in_place(sub)
    mul_ = _in_place(mul)
    div_ = _in_place(div)
    floor_divide_ = _in_place(floor_divide)
    remainder_ = _in_place(remainder)
    clamp_ = _in_place(clamp)
    exp_ = _in_place(exp)
    floor_ = _in_place(floor)
    log_ = _in_place(log)
    sigmoid_ = _in_place(sigmoid)
    sign_ = _in_place(sign)
    tanh_ = _in_place(tanh)
