"""Values of new tensors: constants and random numbers of the distributions that MindSpore's scripts name.

Random numbers come from numpy's global generator, which `set_seed` seeds; they are not MindSpore's numbers.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ckptload import dtypes
from ckptload.errors import ArgumentError, ArgumentTypeError
from ckptload.messages import closest, shown_value, type_name
from ckptload.tensors import arithmetic
from ckptload.tensors.construction import convert
from ckptload.tensors.spelling import integers

if TYPE_CHECKING:
    from ckptload.dtypes import Array, DType

# The generator that scripts use and seed.
# ruff: noqa: NPY002


class Initializer:
    """Base of initializers. One of your own has a method ``_initialize(arr)``, which fills a Float32 array.

    Args:
        kwargs: accepted, without effect.
    """

    def __init__(self, **kwargs: Any) -> None:
        del kwargs

    def __call__(self, arr: Array) -> None:
        """Fill an array with values."""
        self._initialize(arr)

    def _initialize(self, arr: Array) -> None:
        raise ArgumentTypeError(f"{type_name(self)} has no _initialize(arr), which would fill {arr.shape}")


class Zero(Initializer):
    """Zeros."""

    def _initialize(self, arr: Array) -> None:
        arr[...] = 0


class One(Initializer):
    """Ones."""

    def _initialize(self, arr: Array) -> None:
        arr[...] = 1


class Constant(Initializer):
    """One number for all elements."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def _initialize(self, arr: Array) -> None:
        arr[...] = self.value


class Normal(Initializer):
    """A normal distribution of a standard deviation and a mean."""

    def __init__(self, sigma: float = 0.01, mean: float = 0.0) -> None:
        self.sigma = sigma
        self.mean = mean

    def _initialize(self, arr: Array) -> None:
        arr[...] = np.random.normal(self.mean, self.sigma, arr.shape)


class TruncatedNormal(Initializer):
    """A normal distribution between two limits, which are numbers of standard deviations."""

    def __init__(self, sigma: float = 0.01, mean: float = 0.0, a: float = -2.0, b: float = 2.0) -> None:
        self.sigma = sigma
        self.mean = mean
        self.a = a
        self.b = b

    def _initialize(self, arr: Array) -> None:
        if not self.a < self.b:
            raise ArgumentError(f"a must be smaller than b, and {self.a} is not smaller than {self.b}")
        # Limits that leave out nearly everything are reached by clipping what is still outside.
        drawn = np.random.normal(size=arr.size)
        for _ in range(100):
            outside = (drawn < self.a) | (drawn > self.b)
            if not outside.any():
                break
            drawn[outside] = np.random.normal(size=int(outside.sum()))
        arr[...] = (np.clip(drawn, self.a, self.b) * self.sigma + self.mean).reshape(arr.shape)


class Uniform(Initializer):
    """A uniform distribution from ``-scale`` to ``scale``."""

    def __init__(self, scale: float = 0.07) -> None:
        self.scale = scale

    def _initialize(self, arr: Array) -> None:
        arr[...] = np.random.uniform(-self.scale, self.scale, arr.shape)


def _fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return how many inputs and outputs an element of a layer's weight has."""
    if len(shape) < 2:  # noqa: PLR2004 -- outputs and inputs
        raise ArgumentError(f"a weight of shape {shape} has no inputs and outputs: it needs two dimensions at least")
    field = math.prod(shape[2:])
    return shape[1] * field, shape[0] * field


class XavierUniform(Initializer):
    """A uniform distribution, the wider the fewer inputs and outputs there are (Glorot and Bengio, 2010)."""

    def __init__(self, gain: float = 1) -> None:
        self.gain = gain

    def _initialize(self, arr: Array) -> None:
        Uniform(self.gain * math.sqrt(6 / sum(_fans(arr.shape))))(arr)


class XavierNormal(Initializer):
    """A normal distribution, the wider the fewer inputs and outputs there are (Glorot and Bengio, 2010)."""

    def __init__(self, gain: float = 1) -> None:
        self.gain = gain

    def _initialize(self, arr: Array) -> None:
        Normal(self.gain * math.sqrt(2 / sum(_fans(arr.shape))))(arr)


#: How much each activation widens the distribution.
_GAINS: Final = {"tanh": 5 / 3, "relu": math.sqrt(2), "sigmoid": 1.0, "linear": 1.0}


class _He(Initializer):
    """What `HeUniform` and `HeNormal` share: the standard deviation (He and others, 2015)."""

    def __init__(self, negative_slope: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> None:
        self.negative_slope = negative_slope
        self.mode = mode
        self.nonlinearity = nonlinearity

    def _deviation(self, shape: tuple[int, ...]) -> float:
        if self.mode not in {"fan_in", "fan_out"}:
            raise ArgumentError(f"mode must be 'fan_in' or 'fan_out', not {shown_value(self.mode)}")
        if self.nonlinearity == "leaky_relu":
            gain = math.sqrt(2 / (1 + self.negative_slope**2))
        elif self.nonlinearity in _GAINS:
            gain = _GAINS[self.nonlinearity]
        else:
            raise ArgumentError(
                f"nonlinearity must be 'leaky_relu' or one of {', '.join(map(repr, _GAINS))}, "
                f"not {shown_value(self.nonlinearity)}"
            )
        return gain / math.sqrt(_fans(shape)[self.mode == "fan_out"])


class HeUniform(_He):
    """A uniform distribution, the wider the fewer inputs or outputs there are (He and others, 2015)."""

    def _initialize(self, arr: Array) -> None:
        Uniform(math.sqrt(3) * self._deviation(arr.shape))(arr)


class HeNormal(_He):
    """A normal distribution, the wider the fewer inputs or outputs there are (He and others, 2015)."""

    def _initialize(self, arr: Array) -> None:
        Normal(self._deviation(arr.shape))(arr)


class VarianceScaling(Initializer):
    """A distribution of a variance of ``scale`` over the number of inputs, outputs, or their mean."""

    def __init__(self, scale: float = 1.0, mode: str = "fan_in", distribution: str = "truncated_normal") -> None:
        self.scale = scale
        self.mode = mode
        self.distribution = distribution

    def _initialize(self, arr: Array) -> None:
        inputs, outputs = _fans(arr.shape)
        counts = {"fan_in": inputs, "fan_out": outputs, "fan_avg": (inputs + outputs) / 2}
        if self.mode not in counts:
            raise ArgumentError(f"mode must be one of {', '.join(map(repr, counts))}, not {shown_value(self.mode)}")
        sigma = math.sqrt(self.scale / max(1, counts[self.mode]))
        kinds: dict[str, Initializer] = {
            # Cut at two standard deviations, the variance of a normal distribution is smaller by this factor.
            "truncated_normal": TruncatedNormal(sigma / 0.87962566103423978),
            "untruncated_normal": Normal(sigma),
            "uniform": Uniform(math.sqrt(3) * sigma),
        }
        if self.distribution not in kinds:
            raise ArgumentError(
                f"distribution must be one of {', '.join(map(repr, kinds))}, not {shown_value(self.distribution)}"
            )
        kinds[self.distribution](arr)


class Identity(Initializer):
    """A matrix with ones on its diagonal."""

    def _initialize(self, arr: Array) -> None:
        if arr.ndim != 2:  # noqa: PLR2004 -- a matrix
            raise ArgumentError(f"an identity has two dimensions, not {arr.ndim}")
        arr[...] = np.eye(*arr.shape)


class Dirac(Initializer):
    """A convolution that returns its input: a one in the middle of each kernel on the diagonal."""

    def __init__(self, groups: int = 1) -> None:
        self.groups = groups

    def _initialize(self, arr: Array) -> None:
        if not 3 <= arr.ndim <= 5:  # noqa: PLR2004 -- convolutions
            raise ArgumentError(f"a convolution's weight has three to five dimensions, not {arr.ndim}")
        if self.groups < 1 or arr.shape[0] % self.groups:
            raise ArgumentError(f"{arr.shape[0]} outputs cannot be divided into {self.groups} groups")
        each = arr.shape[0] // self.groups
        middle = tuple(length // 2 for length in arr.shape[2:])
        arr[...] = 0
        for group in range(self.groups):
            for place in range(min(each, arr.shape[1])):
                arr[(group * each + place, place, *middle)] = 1


class Orthogonal(Initializer):
    """A matrix whose rows or columns are orthogonal; dimensions behind the first are taken as one."""

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = gain

    def _initialize(self, arr: Array) -> None:
        if arr.ndim < 2:  # noqa: PLR2004 -- a matrix at least
            raise ArgumentError(f"an orthogonal matrix has two dimensions at least, not {arr.ndim}")
        rows, columns = arr.shape[0], math.prod(arr.shape[1:])
        tall, triangle = np.linalg.qr(np.random.normal(size=(max(rows, columns), min(rows, columns))))
        tall = tall * np.sign(np.diag(triangle))
        arr[...] = self.gain * (tall if rows >= columns else tall.T).reshape(arr.shape)


class Sparse(Initializer):
    """A normal distribution in which a fraction of each column is zero."""

    def __init__(self, sparsity: float, sigma: float = 0.01) -> None:
        self.sparsity = sparsity
        self.sigma = sigma

    def _initialize(self, arr: Array) -> None:
        if arr.ndim != 2:  # noqa: PLR2004 -- a matrix
            raise ArgumentError(f"a sparse matrix has two dimensions, not {arr.ndim}")
        Normal(self.sigma)(arr)
        zeros = math.ceil(self.sparsity * arr.shape[0])
        for column in range(arr.shape[1]):
            arr[np.random.permutation(arr.shape[0])[:zeros], column] = 0


#: Initializers by the names that scripts give as a str.
NAMED: Final[dict[str, type[Initializer]]] = {
    **dict.fromkeys(("zero", "zeros"), Zero),
    **dict.fromkeys(("one", "ones"), One),
    **{cls.__name__.lower(): cls for cls in (Normal, TruncatedNormal, Uniform, Identity, Dirac, Orthogonal)},
    **dict.fromkeys(("xavier_uniform", "xavieruniform"), XavierUniform),
    **dict.fromkeys(("xavier_normal", "xaviernormal"), XavierNormal),
    **dict.fromkeys(("he_uniform", "heuniform"), HeUniform),
    **dict.fromkeys(("he_normal", "henormal"), HeNormal),
    **dict.fromkeys(("variance_scaling", "variancescaling"), VarianceScaling),
}


def initial(init: str | float | Initializer, shape: Any, dtype: DType) -> Array:
    """Make an array with the values of an initializer.

    Args:
        init: an initializer, the name of one, or a number for all elements.
        shape: lengths of the dimensions; a number is one of them.
        dtype: dtype of the elements.

    Returns:
        A new C-contiguous array of type ``dtype.numpy``.

    Raises:
        ArgumentTypeError: ``init`` is of another type.
        ArgumentError: there is no such initializer, or it cannot have this shape.
    """
    if isinstance(init, str):
        if init.lower() not in NAMED:
            near = closest(init, NAMED, 1)
            raise ArgumentError(
                f"there is no initializer {shown_value(init)}", hint=f"did you mean {near[0]!r}?" if near else None
            )
        init = NAMED[init.lower()]()
    elif isinstance(init, (int, float)):
        init = Constant(init)
    if not isinstance(init, Initializer):
        raise ArgumentTypeError(f"init must be an initializer, its name or a number, not {type_name(init)}")
    lengths = integers("an initializer", (shape,))
    with arithmetic.translated("an initializer"):
        if isinstance(init, Zero):  # no second array, for any dtype
            return np.zeros(lengths, dtype.numpy)
        wide = np.empty(lengths, np.float32)
        init(wide)
    return convert(wide, dtypes.float32, dtype)
