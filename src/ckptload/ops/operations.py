"""Operations as classes, under the module name of older scripts: ``from mindspore.ops import operations as P``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ckptload import dtypes
from ckptload.absent import absent_from
from ckptload.errors import ArgumentError, ArgumentTypeError
from ckptload.messages import type_name
from ckptload.ops import functional
from ckptload.ops.operands import tensor_of
from ckptload.ops.primitives import primitive
from ckptload.tensors.spelling import integer_of, integers

if TYPE_CHECKING:
    from ckptload.tensors.tensor import Tensor

__all__ = [
    "Abs", "Add", "AddN", "Argmax", "Argmin", "Assign", "AssignAdd", "AssignSub", "BatchMatMul", "BroadcastTo",
    "Cast", "Ceil", "Concat", "Cos", "CumSum", "Div", "Equal", "Exp", "ExpandDims", "Eye", "Fill", "FillV2",
    "Flatten", "Floor", "FloorDiv", "FloorMod", "Gather", "GatherD", "GatherV2", "Greater", "GreaterEqual",
    "Identity", "Inv", "IsFinite", "IsInf", "IsNan", "Less", "LessEqual", "LinSpace", "Log", "LogicalAnd",
    "LogicalNot", "LogicalOr", "MaskedFill", "MatMul", "Maximum", "Minimum", "Mod", "Mul", "Neg", "NotEqual", "Ones",
    "OnesLike", "Pack", "Pad", "Pow", "Range", "Rank", "ReLU", "RealDiv", "Reciprocal", "ReduceAll", "ReduceAny",
    "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "Reshape", "Round", "Rsqrt", "Select", "Shape",
    "Sigmoid", "Sign", "Sin", "Size", "Slice", "Sort", "Split", "Sqrt", "Square", "Squeeze", "Stack", "Sub", "Tanh",
    "TensorAdd", "Tile", "TopK", "Transpose", "Tril", "Triu", "Unpack", "Unstack", "Zeros", "ZerosLike",
]  # fmt: skip


def _broadcast(x: Any, *, shape: Any) -> Tensor:
    return tensor_of("BroadcastTo", x).broadcast_to(shape)


def _fill(type: Any, shape: Any, value: Any) -> Tensor:
    return functional.full(shape, value, dtype=type)


def _gather(x: Any, indices: Any, axis: int) -> Tensor:
    return tensor_of("Gather", x).gather(indices, axis)


def _matmul(x: Any, y: Any, *, transpose_a: bool, transpose_b: bool) -> Tensor:
    for name, flag in (("transpose_a", transpose_a), ("transpose_b", transpose_b)):
        if not isinstance(flag, bool):
            raise ArgumentTypeError(f"{name} must be True or False, not {type_name(flag)}")
    left, right = tensor_of("MatMul", x), tensor_of("MatMul", y)
    return (left.mT if transpose_a else left) @ (right.mT if transpose_b else right)


def _argmax(x: Any, *, axis: int, output_type: Any) -> Tensor:
    return tensor_of("Argmax", x).argmax(axis).astype(output_type)


def _argmin(x: Any, *, axis: int, output_type: Any) -> Tensor:
    return tensor_of("Argmin", x).argmin(axis).astype(output_type)


def _pad(x: Any, *, paddings: Any) -> Tensor:
    pairs = [integers("Pad", (pair,)) for pair in paddings] if isinstance(paddings, (tuple, list)) else []
    return functional.pad(x, [number for pair in reversed(pairs) for number in pair])


def _split(x: Any, *, axis: int, output_num: int) -> tuple[Tensor, ...]:
    tensor, axis, output_num = tensor_of("Split", x), integer_of("Split", axis), integer_of("Split", output_num)
    if not -tensor.ndim <= axis < tensor.ndim or output_num < 1 or tensor.shape[axis] % output_num:
        raise ArgumentError(f"a tensor of shape {tensor.shape} cannot be cut into {output_num} parts along axis {axis}")
    return tensor.split(max(1, tensor.shape[axis] // output_num), axis)


def _unstack(x: Any, *, axis: int, num: int | None) -> tuple[Tensor, ...]:
    del num
    return tensor_of("Unstack", x).unbind(axis)


Abs = primitive("Abs", functional.abs)
Add = primitive("Add", functional.add)
AddN = primitive("AddN", functional.addn)
Argmax = primitive("Argmax", _argmax, axis=-1, output_type=dtypes.int32)
Argmin = primitive("Argmin", _argmin, axis=-1, output_type=dtypes.int32)
Assign = primitive("Assign", functional.assign)
AssignAdd = primitive("AssignAdd", functional.assign_add)
AssignSub = primitive("AssignSub", functional.assign_sub)
BatchMatMul = primitive("BatchMatMul", _matmul, transpose_a=False, transpose_b=False)
BroadcastTo = primitive("BroadcastTo", _broadcast, shape=None)
Cast = primitive("Cast", functional.cast)
Ceil = primitive("Ceil", functional.ceil)
Concat = primitive("Concat", functional.concat, axis=0)
Cos = primitive("Cos", functional.cos)
CumSum = primitive("CumSum", functional.cumsum)
Div = primitive("Div", functional.div)
Equal = primitive("Equal", functional.equal)
Exp = primitive("Exp", functional.exp)
ExpandDims = primitive("ExpandDims", functional.expand_dims)
Eye = primitive("Eye", functional.eye)
Fill = primitive("Fill", _fill)
FillV2 = primitive("FillV2", functional.full)
Flatten = primitive("Flatten", functional.flatten)
Floor = primitive("Floor", functional.floor)
FloorDiv = primitive("FloorDiv", functional.floor_divide)
FloorMod = primitive("FloorMod", functional.remainder)
Gather = primitive("Gather", _gather)
GatherD = primitive("GatherD", functional.gather_elements)
Greater = primitive("Greater", functional.greater)
GreaterEqual = primitive("GreaterEqual", functional.greater_equal)
Identity = primitive("Identity", functional.identity)
IsFinite = primitive("IsFinite", functional.isfinite)
IsInf = primitive("IsInf", functional.isinf)
IsNan = primitive("IsNan", functional.isnan)
Less = primitive("Less", functional.less)
LessEqual = primitive("LessEqual", functional.less_equal)
LinSpace = primitive("LinSpace", functional.linspace)
Log = primitive("Log", functional.log)
LogicalAnd = primitive("LogicalAnd", functional.logical_and)
LogicalNot = primitive("LogicalNot", functional.logical_not)
LogicalOr = primitive("LogicalOr", functional.logical_or)
MaskedFill = primitive("MaskedFill", functional.masked_fill)
MatMul = primitive("MatMul", _matmul, transpose_a=False, transpose_b=False)
Maximum = primitive("Maximum", functional.maximum)
Minimum = primitive("Minimum", functional.minimum)
Mod = primitive("Mod", functional.fmod)
Mul = primitive("Mul", functional.mul)
Neg = primitive("Neg", functional.neg)
NotEqual = primitive("NotEqual", functional.not_equal)
Ones = primitive("Ones", functional.ones)
OnesLike = primitive("OnesLike", functional.ones_like)
Pad = primitive("Pad", _pad, paddings=())
Pow = primitive("Pow", functional.pow)
Range = primitive("Range", functional.arange)
Rank = primitive("Rank", functional.rank)
ReLU = primitive("ReLU", functional.relu)
RealDiv = primitive("RealDiv", functional.div)
Reciprocal = primitive("Reciprocal", functional.reciprocal)
ReduceAll = primitive("ReduceAll", functional.all, keep_dims=False)
ReduceAny = primitive("ReduceAny", functional.any, keep_dims=False)
ReduceMax = primitive("ReduceMax", functional.amax, keep_dims=False)
ReduceMean = primitive("ReduceMean", functional.mean, keep_dims=False)
ReduceMin = primitive("ReduceMin", functional.amin, keep_dims=False)
ReduceProd = primitive("ReduceProd", functional.reduce_prod, keep_dims=False)
ReduceSum = primitive("ReduceSum", functional.reduce_sum, keep_dims=False)
Reshape = primitive("Reshape", functional.reshape)
Round = primitive("Round", functional.round)
Rsqrt = primitive("Rsqrt", functional.rsqrt)
Select = primitive("Select", functional.select)
Shape = primitive("Shape", functional.shape)
Sigmoid = primitive("Sigmoid", functional.sigmoid)
Sign = primitive("Sign", functional.sign)
Sin = primitive("Sin", functional.sin)
Size = primitive("Size", functional.size)
Slice = primitive("Slice", functional.slice)
Sort = primitive("Sort", functional.sort, axis=-1, descending=False)
Split = primitive("Split", _split, axis=0, output_num=1)
Sqrt = primitive("Sqrt", functional.sqrt)
Square = primitive("Square", functional.square)
Squeeze = primitive("Squeeze", functional.squeeze, axis=None)
Stack = primitive("Stack", functional.stack, axis=0)
Sub = primitive("Sub", functional.sub)
Tanh = primitive("Tanh", functional.tanh)
Tile = primitive("Tile", functional.tile)
TopK = primitive("TopK", functional.topk)
Transpose = primitive("Transpose", functional.transpose)
Tril = primitive("Tril", functional.tril, diagonal=0)
Triu = primitive("Triu", functional.triu, diagonal=0)
Unstack = primitive("Unstack", _unstack, axis=0, num=None)
Zeros = primitive("Zeros", functional.zeros)
ZerosLike = primitive("ZerosLike", functional.zeros_like)
# Names of older versions.
Pack = Stack
Unpack = Unstack
TensorAdd = Add
GatherV2 = Gather
Inv = Reciprocal

if not TYPE_CHECKING:  # otherwise a type checker would accept any name
    __getattr__ = absent_from(__name__)
