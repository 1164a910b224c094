"""Functions on tensors as MindSpore's ``mint`` names their arguments, which is as PyTorch does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ckptload.absent import absent_from
from ckptload.ops.functional import (
    abs,
    add,
    all,
    amax,
    amin,
    any,
    arange,
    argmax,
    argmin,
    argsort,
    bitwise_and,
    bitwise_or,
    bitwise_xor,
    bmm,
    broadcast_to,
    cat,
    ceil,
    chunk,
    clamp,
    concat,
    cos,
    count_nonzero,
    cumsum,
    diag,
    div,
    divide,
    dot,
    dstack,
    eq,
    exp,
    expm1,
    eye,
    flip,
    floor,
    floor_divide,
    fmod,
    full,
    full_like,
    gather,
    ge,
    greater,
    greater_equal,
    gt,
    hstack,
    index_select,
    isclose,
    isfinite,
    isinf,
    isnan,
    le,
    less,
    less_equal,
    linspace,
    log,
    log1p,
    log2,
    log10,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    lt,
    masked_select,
    matmul,
    maximum,
    mean,
    minimum,
    mm,
    mul,
    narrow,
    ne,
    neg,
    negative,
    nonzero,
    norm,
    not_equal,
    ones,
    ones_like,
    outer,
    permute,
    pow,
    prod,
    rand,
    rand_like,
    randn,
    randn_like,
    ravel,
    reciprocal,
    remainder,
    repeat_interleave,
    reshape,
    roll,
    round,
    rsqrt,
    sigmoid,
    sign,
    sin,
    softmax,
    sort,
    split,
    sqrt,
    square,
    squeeze,
    stack,
    sub,
    sum,
    swapaxes,
    t,
    tan,
    tanh,
    tile,
    topk,
    tril,
    triu,
    trunc,
    unbind,
    unsqueeze,
    where,
    zeros,
    zeros_like,
)
from ckptload.ops.functional import flatten as _flatten
from ckptload.ops.operands import method, tensor_of
from ckptload.tensors.tensor import Tensor

__all__ = [
    "abs", "add", "all", "allclose", "amax", "amin", "any", "arange", "argmax", "argmin", "argsort", "bitwise_and",
    "bitwise_or", "bitwise_xor", "bmm", "broadcast_to", "cat", "ceil", "chunk", "clamp", "concat", "cos",
    "count_nonzero", "cumsum", "diag", "div", "divide", "dot", "dstack", "eq", "equal", "exp", "expm1", "eye",
    "flatten", "flip", "floor", "floor_divide", "fmod", "full", "full_like", "gather", "ge", "greater",
    "greater_equal", "gt", "hstack", "index_select", "isclose", "isfinite", "isinf", "isnan", "le", "less",
    "less_equal", "linspace", "log", "log1p", "log2", "log10", "logical_and", "logical_not", "logical_or",
    "logical_xor", "lt", "masked_select", "matmul", "max", "maximum", "mean", "min", "minimum", "mm", "mul", "narrow",
    "ne", "neg", "negative", "nonzero", "norm", "not_equal", "ones", "ones_like", "outer", "permute", "pow", "prod",
    "rand", "rand_like", "randn", "randn_like", "ravel", "reciprocal", "remainder", "repeat_interleave", "reshape",
    "roll", "round", "rsqrt", "select", "sigmoid", "sign", "sin", "softmax", "sort", "split", "sqrt", "square",
    "squeeze", "stack", "std", "sub", "sum", "swapaxes", "t", "tan", "tanh", "tile", "topk", "transpose", "tril",
    "triu", "trunc", "unbind", "unsqueeze", "var", "where", "zeros", "zeros_like",
]  # fmt: skip

allclose = method("allclose")
select = method("select")
transpose = method("swapaxes", called="transpose")


def max(input: Any, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
    """Return the largest elements as `Tensor.max` does, or of two tensors the larger elements."""
    return _extreme("max", maximum, input, dim, keepdim, other)


def min(input: Any, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
    """Return the smallest elements as `Tensor.min` does, or of two tensors the smaller elements."""
    return _extreme("min", minimum, input, dim, keepdim, other)


def _extreme(name: str, of_two: Any, input: Any, dim: Any, keepdim: bool, other: Any) -> Any:
    other = dim if isinstance(dim, Tensor) else other
    return getattr(tensor_of(name, input), name)(dim, keepdim) if other is None else of_two(input, other)


def equal(input: Any, other: Any) -> bool:
    """Return whether two tensors have the same shape and elements."""
    left, right = tensor_of("equal", input), tensor_of("equal", other)
    return left.shape == right.shape and bool((left == right).asnumpy().all())


def flatten(input: Any, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Join dimensions into one: all of them, unless others are given."""
    return _flatten(input, start_dim=start_dim, end_dim=end_dim)


def std(input: Any, dim: Any = None, *, correction: int = 1, keepdim: bool = False) -> Tensor:
    """Return the standard deviation; `correction` is subtracted from the number of elements."""
    return tensor_of("std", input).std(dim, correction, keepdim)


def var(input: Any, dim: Any = None, *, correction: int = 1, keepdim: bool = False) -> Tensor:
    """Return the variance; `correction` is subtracted from the number of elements."""
    return tensor_of("var", input).var(dim, correction, keepdim)


if not TYPE_CHECKING:  # otherwise a type checker would accept any name
    __getattr__ = absent_from(__name__)
