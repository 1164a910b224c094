"""Functions on tensors, most of which call the tensor's method of the same name."""

from __future__ import annotations

import builtins
import math
from typing import TYPE_CHECKING, Any

from ckptload.absent import absent_from
from ckptload.errors import ArgumentError, ArgumentTypeError
from ckptload.messages import shown_value, type_name
from ckptload.ops.assigning import assign, assign_add, assign_sub
from ckptload.ops.creation import (
    arange,
    eye,
    full,
    full_like,
    linspace,
    normal,
    ones,
    ones_like,
    rand,
    rand_like,
    randn,
    randn_like,
    standard_normal,
    zeros,
    zeros_like,
)
from ckptload.ops.joining import addn, cat, concat, dstack, hstack, pad, stack, vstack
from ckptload.ops.operands import kept, method, tensor_of
from ckptload.tensors.parameter import as_ours
from ckptload.tensors.spelling import integers, spelled
from ckptload.tensors.tensor import Tensor, is_tensor

__all__ = [
    "abs", "absolute", "add", "addn", "all", "amax", "amin", "any", "arange", "argmax", "argmin", "argsort", "assign",
    "assign_add", "assign_sub", "bitwise_and", "bitwise_or", "bitwise_xor", "bmm", "broadcast_to", "cast", "cat",
    "ceil", "chunk", "clamp", "clip", "clip_by_value", "concat", "cos", "count_nonzero", "cumsum", "deepcopy", "diag",
    "diagonal", "div", "divide", "dot", "dstack", "eq", "equal", "exp", "expand", "expand_as", "expand_dims", "expm1",
    "eye", "flatten", "flip", "floor", "floor_div", "floor_divide", "floor_mod", "fmod", "full", "full_like",
    "gather", "gather_d", "gather_elements", "ge", "greater", "greater_equal", "gt", "hstack", "identity",
    "index_select", "is_tensor", "isclose", "isfinite", "isinf", "isnan", "le", "less", "less_equal", "linspace",
    "log", "log1p", "log2", "log10", "logical_and", "logical_not", "logical_or", "logical_xor", "lt", "masked_fill",
    "masked_select", "matmul", "max", "maximum", "mean", "min", "minimum", "mm", "moveaxis", "movedim", "mul",
    "multiply", "narrow", "ne", "neg", "negative", "nonzero", "norm", "normal", "not_equal", "numel", "ones",
    "ones_like", "outer", "pad", "permute", "pow", "prod", "rand", "rand_like", "randn", "randn_like", "rank",
    "ravel", "reciprocal", "reduce_max", "reduce_mean", "reduce_min", "reduce_prod", "reduce_sum", "relu",
    "remainder", "repeat_interleave", "reshape", "roll", "round", "rsqrt", "select", "shape", "sigmoid", "sign",
    "sin", "size", "slice", "softmax", "sort", "split", "sqrt", "square", "squeeze", "stack", "standard_normal",
    "std", "stop_gradient", "sub", "subtract", "sum", "swapaxes", "swapdims", "t", "tan", "tanh", "tensor_add",
    "tensor_div", "tensor_mul", "tensor_sub", "tile", "topk", "transpose", "tril", "triu", "true_divide", "trunc",
    "type_as", "unbind", "unsqueeze", "unstack", "var", "view_as", "vstack", "where", "zeros", "zeros_like",
]  # fmt: skip

abs = method("abs")
absolute = method("absolute")
add = method("add")
sub = method("sub")
subtract = method("subtract")
mul = method("mul")
multiply = method("multiply")
div = method("div")
divide = method("divide")
true_divide = method("true_divide")
floor_divide = method("floor_divide")
pow = method("pow")
remainder = method("remainder")
fmod = method("fmod")
maximum = method("maximum")
minimum = method("minimum")
equal = method("equal")
eq = method("eq")
ne = method("ne")
not_equal = method("not_equal")
lt = method("lt")
less = method("less")
le = method("le")
less_equal = method("less_equal")
gt = method("gt")
greater = method("greater")
ge = method("ge")
greater_equal = method("greater_equal")
logical_and = method("logical_and")
logical_or = method("logical_or")
logical_xor = method("logical_xor")
logical_not = method("logical_not")
bitwise_and = method("bitwise_and")
bitwise_or = method("bitwise_or")
bitwise_xor = method("bitwise_xor")
sqrt = method("sqrt")
rsqrt = method("rsqrt")
square = method("square")
exp = method("exp")
expm1 = method("expm1")
log = method("log")
log2 = method("log2")
log10 = method("log10")
log1p = method("log1p")
sin = method("sin")
cos = method("cos")
tan = method("tan")
tanh = method("tanh")
sigmoid = method("sigmoid")
reciprocal = method("reciprocal")
sign = method("sign")
ceil = method("ceil")
floor = method("floor")
round = method("round")
trunc = method("trunc")
neg = method("neg")
negative = method("negative")
isnan = method("isnan")
isinf = method("isinf")
isfinite = method("isfinite")
isclose = method("isclose")
clamp = method("clamp")
clip = method("clip")
split = method("split")
chunk = method("chunk")
tile = method("tile")
t = method("t")
narrow = method("narrow")
unbind = method("unbind")
flip = method("flip")
roll = method("roll")
broadcast_to = method("broadcast_to")
repeat_interleave = method("repeat_interleave")
reshape = method("reshape")
permute = method("permute")
swapaxes = method("swapaxes")
swapdims = method("swapdims")
movedim = method("movedim")
moveaxis = method("moveaxis")
ravel = method("ravel")
squeeze = method("squeeze")
expand_dims = method("expand_dims")
unsqueeze = method("unsqueeze")
tril = method("tril")
triu = method("triu")
diag = method("diag")
diagonal = method("diagonal")
index_select = method("index_select")
gather = method("gather")
gather_elements = method("gather_elements")
masked_select = method("masked_select")
masked_fill = method("masked_fill")
sum = method("sum")
mean = method("mean")
prod = method("prod")
all = method("all")
any = method("any")
amax = method("amax")
amin = method("amin")
argmax = method("argmax")
argmin = method("argmin")
cumsum = kept("cumsum", "cumsum")
std = method("std")
var = method("var")
norm = method("norm")
count_nonzero = method("count_nonzero")
nonzero = method("nonzero")
sort = method("sort")
argsort = method("argsort")
topk = method("topk")
matmul = method("matmul")
transpose = method("transpose")
view_as = method("view_as")
expand = method("expand")
expand_as = method("expand_as")
type_as = method("type_as")
mm = method("matmul", called="mm")
bmm = method("matmul", called="bmm")
dot = method("matmul", called="dot")
tensor_add = add
tensor_sub = sub
tensor_mul = mul
tensor_div = div
floor_div = floor_divide
floor_mod = remainder
gather_d = gather_elements
reduce_sum = kept("reduce_sum", "sum")
reduce_prod = kept("reduce_prod", "prod")
reduce_mean = mean
reduce_max = amax
reduce_min = amin
unstack = method("unbind", called="unstack")
numel = method("numel")
size = numel
rank = method("dim", called="rank")
identity = method("value", called="identity")
stop_gradient = identity
deepcopy = method("copy", called="deepcopy")


def shape(input: Any) -> tuple[int, ...]:
    """Return the lengths of a tensor's dimensions."""
    return tensor_of("shape", input).shape


@spelled(x="input", input_x="input")
def cast(input: Any, dtype: Any) -> Tensor:
    """Convert a tensor or a number to a dtype."""
    if isinstance(input, (list, tuple)):
        raise ArgumentTypeError(f"cast takes a Tensor or a number, not {type_name(input)}")
    return tensor_of("cast", input).astype(dtype)


def max(input: Any, axis: int | None = None, keepdims: bool = False) -> tuple[Tensor, Tensor]:
    """Return the largest elements of a dimension and their places; without one, the largest of all and 0."""
    return _extreme("max", input, axis, keepdims)


def min(input: Any, axis: int | None = None, keepdims: bool = False) -> tuple[Tensor, Tensor]:
    """Return the smallest elements of a dimension and their places; without one, the smallest of all and 0."""
    return _extreme("min", input, axis, keepdims)


def _extreme(name: str, input: Any, axis: int | None, keepdims: bool) -> tuple[Tensor, Tensor]:
    tensor = tensor_of(name, input)
    if axis is None:
        # As in MindSpore, the place is of no use here.
        return getattr(tensor, name)(), Tensor(0)
    found: tuple[Tensor, Tensor] = getattr(tensor, name)(axis, keepdims)
    return found


def where(condition: Any, input: Any, other: Any) -> Tensor:
    """Return elements of one tensor or number where a condition is True, and of another one elsewhere."""
    input, other = as_ours(input), as_ours(other)
    if isinstance(input, Tensor) or not isinstance(other, Tensor):
        return tensor_of("where", input).where(condition, other)
    # A number takes the dtype that it has beside a tensor, whichever comes first.
    return other.where(tensor_of("where", condition).logical_not(), input)


@spelled(x="input", y="other", cond="condition")
def select(condition: Any, input: Any, other: Any) -> Tensor:
    """Return elements as `where` does."""
    return where(condition, input, other)


@spelled(x="input")
def flatten(input: Any, order: str = "C", *, start_dim: int = 1, end_dim: int = -1) -> Tensor:
    """Join dimensions into one: all behind the first, unless others are given.

    Raises:
        ArgumentTypeError: ``order`` is neither ``"C"`` nor ``"F"``.
    """
    tensor = tensor_of("flatten", input)
    if not isinstance(order, str) or order not in {"C", "F"}:
        raise ArgumentTypeError(f"order must be 'C' or 'F', not {shown_value(order)}")
    if order == "F":
        tensor = tensor.transpose()
    if tensor.ndim <= 1:
        return tensor.reshape(-1)
    first, last = integers("flatten", (start_dim, end_dim))
    if not (-tensor.ndim <= first < tensor.ndim and -tensor.ndim <= last < tensor.ndim):
        raise ArgumentError(f"a tensor of {tensor.ndim} dimensions has not both {first} and {last}")
    first, last = first % tensor.ndim, last % tensor.ndim
    lengths = tensor.shape
    return tensor.reshape((*lengths[:first], math.prod(lengths[first : last + 1]), *lengths[last + 1 :]))


def outer(input: Any, vec2: Any) -> Tensor:
    """Return the products of all pairs of elements of two vectors."""
    return tensor_of("outer", input).reshape(-1, 1) * tensor_of("outer", vec2).reshape(1, -1)


@spelled(x="input")
def relu(input: Any) -> Tensor:
    """Return the elements with 0 in place of negative ones."""
    tensor = tensor_of("relu", input)
    found: Tensor = tensor.maximum(tensor.new_zeros(()))
    return found


@spelled(x="input")
def softmax(input: Any, axis: int = -1) -> Tensor:
    """Return exp(x) of each element over the sum of a dimension."""
    tensor = tensor_of("softmax", input)
    powers: Tensor = (tensor - tensor.amax(axis, keepdims=True)).exp()
    return powers / powers.sum(axis, keepdims=True)


def clip_by_value(x: Any, clip_value_min: Any = None, clip_value_max: Any = None) -> Tensor:
    """Limit each element from below and from above."""
    return tensor_of("clip_by_value", x).clamp(clip_value_min, clip_value_max)


@spelled(x="input")
def slice(input: Any, begin: Any, size: Any) -> Tensor:
    """Return a block of elements: where it begins and how long it is, for each dimension."""
    firsts, lengths = integers("slice", (begin,)), integers("slice", (size,))
    # As in MindSpore, a length of -1 means the rest.
    ends = (None if length == -1 else first + length for first, length in zip(firsts, lengths, strict=False))
    return tensor_of("slice", input)[tuple(map(builtins.slice, firsts, ends))]


if not TYPE_CHECKING:  # otherwise a type checker would accept any name
    __getattr__ = absent_from(__name__)
