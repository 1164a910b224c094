"""Methods and functions of tensors against MindSpore: tables of expressions, evaluated in both for every dtype.

What MindSpore 2.10.0 gave is in functions.json, so that the comparison runs without it, too. With it,
``python tests/differential/test_functions.py`` records anew. Where MindSpore raises an error, its processor lacks the
function for a dtype, and nothing is compared.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ckptload
import ckptload.numpy

RECORD = Path(__file__).with_name("functions.json")

DTYPES = ["bool_", "int8", "int32", "int64", "uint8", "float16", "bfloat16", "float32", "float64", "complex64"]

#: Elements are moved or compared: the same bytes. `x` and `y` are matrices of 2 rows and 3 columns.
EXACT = r"""
x.split(2)
x.split(2, 1)
x.split([1, 2], 1)
x.split((1, 2), axis=1)
x.split(split_size_or_sections=1, axis=0)
x.split(1, dim=0)
x.chunk(2)
x.chunk(2, 1)
x.chunk(5, 1)
x.chunk(2, dim=1)
x.chunk(chunks=3, axis=1)
x.unbind()
x.unbind(1)
x.unbind(dim=1)
x.narrow(1, 0, 2)
x.narrow(dim=1, start=1, length=2)
x.tile((2, 1))
x.tile(2)
x.tile((2, 1, 1))
x.tile(reps=(1, 2))
x.tile(dims=(1, 2))
x.repeat(2, 1)
x.repeat((1, 2))
x.repeat(1, 1, 2)
x.repeat_interleave(2)
x.repeat_interleave(2, 0)
x.repeat_interleave(2, dim=1)
x.broadcast_to((2, 2, 3))
x.broadcast_to((2, -1, 3))
x.expand(2, 2, 3)
x.expand((2, 2, -1))
x.expand_as(x.reshape(1, 2, 3))
x.view_as(x.T)
x.reshape_as(x.T)
x.reshape(3, 2)
x.reshape((-1,))
x.view(3, 2)
x.view((3, -1))
x.ravel()
x.flatten()
x.t()
x[0].t()
x.T
x.mT
x.transpose()
x.transpose(1, 0)
x.permute((1, 0))
x.permute(1, 0)
x.swapaxes(0, 1)
x.swapaxes(axis0=0, axis1=1)
x.swapdims(0, 1)
x.swapdims(dim0=0, dim1=1)
x.movedim(0, 1)
x.moveaxis(0, 1)
x.squeeze()
x.reshape(1, 2, 1, 3).squeeze(0)
x.reshape(1, 2, 1, 3).squeeze(1)
x.reshape(1, 2, 1, 3).squeeze((0, 2))
x.reshape(1, 2, 1, 3).squeeze(axis=2)
x.expand_dims(0)
x.expand_dims(axis=-1)
x.unsqueeze(0)
x.unsqueeze(dim=1)
x.flip((0,))
x.flip((0, 1))
x.flip(0)
x.tril()
x.tril(-1)
x.triu()
x.triu(1)
x.diagonal()
x[0].diag()
x.index_select(1, Tensor([0, 2]))
x.index_select(axis=0, index=Tensor([1]))
x.index_select(dim=0, index=Tensor([1]))
x.gather(Tensor([0, 1]), 0)
x.gather(Tensor([[0, 1]]), 1)
x.gather(1, Tensor([[0, 1], [2, 0]]))
x.gather(input_indices=Tensor([0]), axis=1)
x.gather_elements(1, Tensor([[0, 1], [2, 0]]))
x.take(Tensor([0, 1]))
x.take(Tensor([0, 1]), 1)
x.masked_fill(x == 1, 5)
x.masked_fill(Tensor([True, False, False]), 1)
x.masked_select(x == y)
x.where(x == 1, y)
x.select(0, 1)
x.nonzero()
x.max()
x.min()
x.max(1)
x.min(0, True)
x.max(dim=1)
x.max(dim=1, keepdim=True)
x.max(axis=1)
x.max(axis=1, keepdims=True)
x.max(axis=1, return_indices=True)
x.amax()
x.amax(1)
x.amin(axis=1, keepdims=True)
x.argmax()
x.argmax(1)
x.argmax(axis=1)
x.argmax(dim=1, keepdim=True)
x.argmin()
x.argmin(1)
x.argmin(axis=1, keepdims=True)
x.argsort()
x.argsort(0)
x.argsort(descending=True)
x.sort()
x.sort(axis=0)
x.sort(descending=True)
x.topk(2)
x.topk(1, dim=0)
x.count_nonzero()
x.count_nonzero(axis=1)
x.isnan()
x.isinf()
x.isfinite()
x.logical_not()
~x
x.logical_and(y)
x.logical_or(y)
x.logical_xor(y)
x & y
x | y
x ^ y
x.bitwise_and(y)
x.eq(y)
x.eq(1)
x.equal(y)
x.ne(y)
x.not_equal(1)
x.lt(y)
x.less(1)
x.le(y)
x.gt(y)
x.greater(y)
x.ge(1)
x.greater_equal(y)
x.isclose(y)
x.allclose(x)
x.allclose(y)
x.maximum(y)
x.minimum(y)
x.maximum(1)
x.clamp(1, 2)
x.clamp(min=1)
x.clamp(max=2)
x.clip(1, 2)
x.clamp(0.5, 1.5)
x.abs()
x.absolute()
x.neg()
x.negative()
x.sign()
x.square()
x.ceil()
x.floor()
x.round()
x.trunc()
x // y
x // 2
x % y
x % 2
x % 2.5
7 % y
7 // y
x.floor_divide(y)
x.fmod(y)
x.remainder(y)
x.div(y, rounding_mode="floor")
x.div(2, rounding_mode="trunc")
x.add(y)
x.add(y, alpha=2)
x.sub(1)
x.sub(y, alpha=2)
x.mul(y)
x.multiply(2)
x.copy_(y)
x.new_zeros((2,))
x.new_zeros(3)
x.new_ones((2,), dtype=float16)
x.new_full((2,), 3)
x.new_empty((2,)).shape
x.type()
x.type(float16)
x.type_as(Tensor(1))
x.int()
x.long()
x.short()
x.byte()
x.bool()
x.device
x.is_contiguous()
x.nelement()
x.ndimension()
x.stride()
x.stride(0)
x.storage_offset()
x.is_floating_point()
x.is_complex()
x.is_signed()
ops.concat((x, y))
ops.concat([x, y], 1)
ops.concat((x, y), axis=-1)
ops.cat((x, y), 1)
ops.stack((x, y))
ops.stack([x, y], axis=-1)
ops.hstack((x, y))
ops.vstack((x, y))
ops.split(x, 1)
ops.split(x, [1, 2], 1)
ops.split(tensor=x, split_size_or_sections=1, axis=0)
ops.chunk(x, 3, 1)
ops.tile(x, (1, 2))
ops.transpose(x, (1, 0))
ops.permute(x, (1, 0))
ops.reshape(x, (3, 2))
ops.squeeze(x.reshape(1, 2, 3))
ops.squeeze(x.reshape(1, 2, 3), 0)
ops.expand_dims(x, 0)
ops.unsqueeze(x, 0)
ops.swapaxes(x, 0, 1)
ops.flatten(x.reshape(1, 2, 3))
ops.flatten(x, start_dim=0)
ops.flatten(x.reshape(1, 2, 3), start_dim=0, end_dim=1)
ops.flatten(x.reshape(1, 2, 3), "F")
ops.flatten(Tensor(1.0))
ops.ravel(x)
ops.t(x)
ops.narrow(x, 1, 0, 2)
ops.unbind(x)
ops.unstack(x, 1)
ops.unstack(x, axis=0)
ops.flip(x, (0,))
ops.tril(x)
ops.triu(x, 1)
ops.repeat_interleave(x, 2, 0)
ops.broadcast_to(x, (2, 2, 3))
ops.index_select(x, 1, Tensor([0]))
ops.gather(x, Tensor([0, 1]), 1)
ops.gather_elements(x, 1, Tensor([[0], [1]]))
ops.masked_fill(x, x == 1, 0)
ops.masked_select(x, x == y)
ops.where(x == 1, x, y)
ops.where(x == 1, x, 0)
ops.where(x == 1, 0, x)
ops.where(x == 1, 1, 0)
ops.where(x == 1, 1.5, 0)
ops.select(x == 1, x, y)
ops.zeros_like(x)
ops.ones_like(x)
ops.ones_like(x, dtype=float16)
ops.full_like(x, 2)
ops.full_like(x, 2, dtype=int8)
ops.cast(x, float16)
ops.cast(x, int32)
ops.abs(x)
ops.neg(x)
ops.square(x)
ops.add(x, y)
ops.add(x, 1)
ops.sub(x, y)
ops.mul(2, x)
ops.maximum(x, 1)
ops.equal(x, y)
ops.ne(x, y)
ops.less(x, 1)
ops.logical_and(x, y)
ops.logical_not(x)
ops.isnan(x)
ops.isfinite(x)
ops.addn([x, y])
ops.relu(x)
ops.max(x)
ops.max(x, 1)
ops.min(x, axis=1, keepdims=True)
ops.argmax(x)
ops.argmin(x, 1)
ops.sort(x)
ops.topk(x, 2)
ops.all(x)
ops.any(x, 1)
ops.shape(x)
ops.size(x)
ops.rank(x)
ops.numel(x)
ops.is_tensor(x)
ops.pad(x, (1, 1))
ops.pad(x, (0, 0, 1, 0))
ops.pad(x, [1, 0], value=3.0)
ops.slice(x, (0, 1), (2, 2))
ops.clamp(x, 1, 2)
ops.clip_by_value(x, 1, 2)
ops.identity(x)
ops.stop_gradient(x)
P.Concat(1)((x, y))
P.Concat()([x, y])
P.Concat(axis=0)((x, y))
P.Split(1, 3)(x)
P.Split(0, 2)(x)
P.Split()(x)
P.Stack(1)((x, y))
P.Pack(0)((x, y))
P.Unstack(1)(x)
P.Unpack(0)(x)
P.Cast()(x, float16)
P.Reshape()(x, (3, 2))
P.Transpose()(x, (1, 0))
P.ExpandDims()(x, 0)
P.Squeeze()(x.reshape(1, 2, 3))
P.Squeeze(0)(x.reshape(1, 2, 3))
P.Tile()(x, (1, 2))
P.Shape()(x)
P.Size()(x)
P.Rank()(x)
P.Flatten()(x.reshape(1, 2, 3))
P.ZerosLike()(x)
P.OnesLike()(x)
P.Add()(x, y)
P.TensorAdd()(x, y)
P.Sub()(x, y)
P.Mul()(x, 2)
P.FloorDiv()(x, 2)
P.FloorMod()(x, 2)
P.Maximum()(x, 1)
P.Minimum()(x, y)
P.Abs()(x)
P.Neg()(x)
P.Sign()(x)
P.Square()(x)
P.Floor()(x)
P.Equal()(x, 1)
P.NotEqual()(x, y)
P.Greater()(x, 1)
P.LessEqual()(x, 1)
P.LogicalAnd()(x, y)
P.LogicalNot()(x)
P.IsNan()(x)
P.Select()(x == 1, x, y)
P.Gather()(x, Tensor([0, 1]), 1)
P.GatherD()(x, 1, Tensor([[0], [1]]))
P.BroadcastTo((2, 2, 3))(x)
P.Argmax()(x)
P.Argmax(axis=0)(x)
P.Argmin()(x)
P.ReduceMax()(x, 1)
P.ReduceMin(True)(x, 0)
P.ReduceMax(keep_dims=True)(x)
P.ReduceAll()(x)
P.Tril()(x)
P.Triu(1)(x)
P.TopK()(x, 2)
P.Sort()(x)
P.Pad(((1, 1), (0, 2)))(x)
P.MaskedFill()(x, x == 1, 0)
P.Identity()(x)
mint.cat([x, y], dim=1)
mint.concat((x, y))
mint.split(x, 2, dim=1)
mint.chunk(x, 3, dim=1)
mint.permute(x, (1, 0))
mint.transpose(x, 0, 1)
mint.reshape(x, (3, 2))
mint.tile(x, (1, 2))
mint.squeeze(x.reshape(1, 2, 3), 0)
mint.unsqueeze(x, 0)
mint.flatten(x)
mint.flatten(x.reshape(1, 2, 3), 1)
mint.narrow(x, 1, 0, 2)
mint.unbind(x)
mint.index_select(x, 1, Tensor([0]))
mint.select(x, 0, 1)
mint.broadcast_to(x, (2, 2, 3))
mint.where(x == 1, x, y)
mint.zeros_like(x)
mint.max(x)
mint.max(x, 1)
mint.max(x, y)
mint.min(x, dim=0)
mint.min(x, y)
mint.eq(x, y)
mnp.concatenate((x, y), 1)
mnp.stack((x, y))
mnp.split(x, 3, 1)
mnp.transpose(x)
mnp.transpose(x, (1, 0))
mnp.reshape(x, (3, 2))
mnp.tile(x, (1, 2))
mnp.expand_dims(x, 0)
mnp.squeeze(x.reshape(1, 2, 3))
mnp.where(x == 1, x, y)
mnp.zeros_like(x)
mnp.ones_like(x)
mnp.asarray(x)
"""

#: Sums and functions that each library computes in its own way: equal up to rounding.
CLOSE = r"""
x.sqrt()
x.rsqrt()
x.exp()
x.expm1()
y.log()
y.log2()
y.log10()
x.log1p()
x.sin()
x.cos()
x.tan()
x.tanh()
x.sigmoid()
y.reciprocal()
x.pow(2)
x.pow(0.5)
x.pow(y)
x ** 2
x ** 2.0
x ** y
2 ** x
x ** 0
x // 2.5
x.div(y)
x.divide(2)
x.true_divide(2)
x.sum(1)
x.sum(1, True)
x.sum(dim=1, keepdim=True)
x.sum(axis=0, keepdims=True)
x.sum(dtype=float64)
x.sum(1, float64)
x.mean(1)
x.mean(1, True)
x.mean(dim=1, keepdim=True)
x.mean((0, 1))
x.prod()
x.prod(1)
x.prod(dim=1, keepdim=True)
x.cumsum(0)
x.cumsum(axis=1)
x.cumsum(dim=1)
x.cumsum()
x.cumsum(1, dtype=float64)
x.std()
x.std(1)
x.std(1, 1)
x.std(ddof=1)
x.std(axis=1, keepdims=True)
x.var()
x.var(1)
x.var(axis=1, ddof=1)
x.norm()
x.norm(1)
x.norm(2)
x.norm("fro")
x.norm("nuc")
x.norm(float("inf"))
x.norm(dim=1)
x.norm(1, 1)
x.norm(3, dim=1)
x.norm(dim=(0, 1))
x.norm(dim=1, keepdim=True)
x.norm(dtype=float64)
x.matmul(y.T)
x @ y.T
ops.matmul(x, y.T)
ops.mm(x, y.T)
ops.bmm(x.reshape(1, 2, 3), y.reshape(1, 3, 2))
ops.dot(x, y.T)
ops.outer(x[0], y[1])
ops.sum(x)
ops.sum(x, 0)
ops.sum(x, dim=(0, 1), keepdim=True)
ops.mean(x)
ops.mean(x, 1)
ops.mean(x, axis=1, keep_dims=True)
ops.reduce_sum(x, 1)
ops.reduce_mean(x)
ops.prod(x)
ops.prod(x, 1, True)
ops.cumsum(x, 0)
ops.std(x)
ops.std(x, 1, 1)
ops.var(x)
ops.norm(x)
ops.norm(x, 2, 1)
ops.norm(x, ord=1, dim=0, keepdim=True)
ops.sqrt(x)
ops.exp(x)
ops.pow(x, 2)
ops.div(x, 2)
ops.sigmoid(x)
ops.softmax(x)
ops.softmax(x, axis=0)
P.MatMul()(x, y.T)
P.MatMul(transpose_b=True)(x, y)
P.MatMul(True)(x, y)
P.BatchMatMul()(x.reshape(1, 2, 3), y.reshape(1, 3, 2))
P.ReduceSum()(x, 1)
P.ReduceSum(keep_dims=True)(x, 1)
P.ReduceMean()(x)
P.ReduceProd()(x)
P.Sqrt()(x)
P.Exp()(x)
P.Pow()(x, 2)
P.Div()(x, 2)
P.RealDiv()(x, 2)
P.CumSum()(x, 0)
mint.sum(x, dim=1)
mint.mean(x, 1, True)
mint.prod(x, 1)
mint.matmul(x, y.T)
mnp.mean(x)
mnp.sum(x)
mnp.matmul(x, y.T)
mnp.dot(x, y.T)
"""

#: No operand has the dtype.
MADE = r"""
ops.zeros((2,))
ops.zeros(3)
ops.zeros((2,), int32)
ops.zeros(Tensor([2, 3]))
ops.ones((2, 2))
ops.ones([2], dtype=float16)
ops.ones((2,), bfloat16)
ops.full((2,), 3)
ops.full((2,), 3, dtype=float16)
ops.full((2,), True)
ops.eye(2)
ops.eye(2, 3)
ops.eye(2, 3, int32)
ops.arange(3)
ops.arange(1, 3)
ops.arange(1.0, 3, 0.5)
ops.arange(0, 10, 3)
ops.arange(3, dtype=float32)
ops.linspace(1, 5, 5)
ops.linspace(Tensor(1.0), Tensor(5.0), 3)
ops.cast(1, float16)
ops.cast(2.5, int32)
ops.add(1, 2)
P.Zeros()((2,), float32)
P.Ones()(2, int32)
P.Fill()(float32, (2,), 3)
P.FillV2()((2,), Tensor(3.0))
P.Eye()(2, 3, float32)
P.LinSpace()(Tensor(1.0), Tensor(2.0), 3)
P.AddN()([Tensor(1.0), Tensor(2.0)])
mint.zeros((2,))
mint.ones((2,), dtype=int32)
mint.full((2,), 3)
mint.arange(3)
mnp.zeros((2, 2))
mnp.zeros((2,), "int32")
mnp.ones(2)
mnp.array([1, 2])
mnp.array([1.0])
mnp.array([1, 2], float32)
mnp.array(np.ones(2))
mnp.arange(3)
mnp.arange(3.0)
mnp.full((2,), 3)
mnp.full((2,), 3.0)
mnp.eye(2)
mnp.linspace(0, 1, 3)
tensor([1, 2])
tensor([1.0], float16)
tensor(np.ones(2))
from_numpy(np.ones((2, 3), np.float16))
(p := Parameter(Tensor([1.0, 2.0]), name="p"), ops.assign(p, Tensor([3.0, 4.0])), p.value())
(p := Parameter(Tensor([1.0, 2.0]), name="p"), ops.assign(p, Tensor(np.ones(2))), p.value())
(p := Parameter(Tensor([1.0, 2.0]), name="p"), ops.assign_add(p, Tensor([3.0, 4.0])), p.value())
(p := Parameter(Tensor([1.0, 2.0]), name="p"), ops.assign_sub(p, Tensor([3.0, 4.0])), p.value())
(p := Parameter(Tensor([1.0, 2.0]), name="p"), P.Assign()(p, Tensor([3.0, 4.0])), p.value())
(z := Tensor([[1.0, 2.0], [3.0, 4.0]]), z.copy_(Tensor([5.0, 6.0])), z)
[np.dtype(dtype_to_nptype(one)).name for one in (float32, int8, bool_, complex64, uint16, float16)]
dtype_to_pytype(float16), dtype_to_pytype(uint8), dtype_to_pytype(bool_), dtype_to_pytype(complex128)
pytype_to_dtype(int), pytype_to_dtype(float), pytype_to_dtype(bool), pytype_to_dtype(np.int8), pytype_to_dtype(str)
float_, int_, half, double, single, uint, byte, short, intc, long, intp, ubyte, ushort, uintc, uintp, cfloat, cdouble
common.dtype.number_type, common.dtype.float_type, common.dtype.int_type, common.dtype.signed_type
common.dtype.uint_type, common.dtype.complex_type, common.dtype.all_types
str(float_), str(int_), str(number), number, string, str(string), tensor_type, list_, tuple_, type_none
isinstance(float32, Type), isinstance(float_, Type), isinstance(3, Type), float_ == float64, int_ == int64
Parameter([1.0], name="p").param_info.name, Parameter([1.0], name="p").device
Initial.initializer("zeros", (2, 3), float32).init_data()
Initial.initializer("ones", [2]).init_data()
Initial.initializer(0.5, [2]).init_data()
Initial.initializer(1.7, [2], int32).init_data()
Initial.initializer(Initial.Constant(3), [2], float16).init_data()
Initial.initializer("identity", [2, 3]).init_data()
Initial.initializer("dirac", [2, 3, 3]).init_data()
Initial.initializer(Initial.Dirac(2), [4, 2, 3, 3]).init_data()
Initial.initializer(Tensor([1.0, 2.0]), [2])
Initial.initializer("ones", 2).init_data()
Initial.initializer("normal", [2, 3]).init_data().shape
Parameter(Initial.initializer("ones", [2], float32), name="p").init_data()
Parameter(Initial.initializer("ones", [2], float32), name="p").asnumpy()
Tensor(shape=(2, 2), dtype=float32, init=Initial.One()).init_data()
"""

#: Both refuse it, with the same class of Python's errors.
REFUSED = r"""
x.split(0)
x.split([1, 1], 1)
x.split("a")
x.split(1, 5)
x.clamp()
x.copy_(1)
x.copy_(Tensor([1.0, 2.0, 3.0, 4.0]))
x.div(2, rounding_mode="up")
x.squeeze(5)
ops.concat(x)
ops.concat(())
ops.concat((x, x[0]))
ops.stack((x, x.astype(int32)))
ops.cast([1, 2], float16)
ops.assign(Parameter(x, name="p"), Tensor([1.0]))
P.Split(1, 2)(x)
Initial.initializer("nonsense", [2])
Initial.initializer(None, [2])
Initial.initializer(Tensor([1.0, 2.0]), [3])
Initial.initializer("ones", (-1, 2))
Initial.initializer("ones", [2], None)
Initial.initializer("xavier_uniform", [3]).init_data()
Initial.initializer("identity", [2, 3, 4]).init_data()
set_context(nonsense=1)
set_context(mode=7)
set_context(mode="graph")
set_context(device_target="TPU")
set_context(device_target=3)
set_context(device_id="5")
set_context(device_id=-1)
set_context(max_call_depth=0)
set_context(deterministic="maybe")
get_context("nonsense")
get_context(3)
set_device("TPU")
set_device(3)
set_device("CPU", "0")
set_seed(1.5)
set_seed(-1)
set_seed(2**32)
set_seed("a")
set_seed(True)
set_deterministic(1)
set_auto_parallel_context(nonsense=1)
set_auto_parallel_context(parallel_mode="x")
set_auto_parallel_context(device_num="8")
set_auto_parallel_context(device_num=0)
set_auto_parallel_context(gradients_mean=1)
get_auto_parallel_context("nonsense")
dtype_to_nptype(hifloat8) if False else pytype_to_dtype("float32")
from_numpy([1])
tensor([1.0], "float16")
Tensor([1.0], float_)
"""


def lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line]


INTEGERS = {"bool_", "int8", "int32", "int64", "uint8"}

#: Where ckptload differs on purpose: dtypes and beginnings of expressions.
DECIDED = [
    # Its mean of integers is rounded before it is used.
    (INTEGERS, ("x.std(", "x.var(")),
    # In ckptload every norm has the dtype of its elements, and integers give Float32.
    ({*DTYPES}, ("x.norm(1)", "x.norm(2)", 'x.norm("nuc")', 'x.norm(float("inf"))')),
    # An integer loses its fraction.
    (INTEGERS, ("P.RealDiv()(x, 2)",)),
    # The result is wrong, or has another dtype than Bool.
    ({*DTYPES}, ("ops.any(x, 1)",)),
    ({"float16"}, ("x.is_signed()",)),
    # Complex numbers are not ordered, and 0 ** 0 is 1.
    ({"complex64"}, ("x //", "7 //", 'x.div(y, rounding_mode="floor")', "x.floor_divide", "x.remainder", "x ** 0")),
    ({"complex64"}, ("P.FloorDiv",)),
    # Bool times a number is Int64, as it is without alpha.
    ({"bool_"}, ("x.add(y, alpha=2)", "x.sub(y, alpha=2)")),
]


def is_decided(dtype: str, source: str) -> bool:
    return any(dtype in dtypes and source.startswith(beginnings) for dtypes, beginnings in DECIDED)


CASES = [*product(DTYPES, lines(EXACT) + lines(CLOSE)), *product(["float32"], lines(MADE))]
#: The expressions, each with its dtypes.
SOURCES: dict[str, list[str]] = {}
for _dtype, _source in CASES:
    SOURCES.setdefault(_source, []).append(_dtype)
TOLERANCES = {"float16": 2e-3, "bfloat16": 2e-2}
ROUNDED = frozenset(lines(CLOSE))


def namespace(library: Any, initializers: Any) -> dict[str, Any]:
    """Return what the expressions see."""
    names = ("Tensor", "Parameter", "ops", "mint", "common", "tensor", "from_numpy", "Type")
    scope = {name: getattr(library, name) for name in names}
    scope |= {"np": np, "mnp": library.numpy, "P": library.ops.operations, "Initial": initializers}
    for name in ckptload.__all__:
        if hasattr(library, name) and name not in scope and name not in ("numpy", "errors"):
            scope[name] = getattr(library, name)
    return scope


def described(value: Any, scope: dict[str, Any]) -> Any:
    """Reduce a result to plain data."""
    if isinstance(value, scope["Tensor"]):
        numbers = value.astype(scope["float32"]) if str(value.dtype) == "BFloat16" else value
        return [
            "Tensor",
            str(value.dtype),
            list(value.shape),
            [repr(one) for one in numbers.asnumpy().ravel().tolist()],
        ]
    if isinstance(value, (list, tuple)):
        return [type(value).__name__, *(described(item, scope) for item in value)]
    return repr(value)


def outcome(case: tuple[str, str], scope: dict[str, Any]) -> Any:
    """Return the value, described, or the names of the exception's classes."""
    dtype, source = case
    try:
        x = scope["Tensor"](np.array([[1, 2, 0], [3, 4, 1]], np.float32)).astype(scope[dtype])
        y = scope["Tensor"](np.array([[2, 2, 1], [3, 2, 5]], np.float32)).astype(scope[dtype])
        return described(eval(source, {**scope, "x": x, "y": y}), scope)  # noqa: S307 -- the tables above
    except Exception as error:  # noqa: BLE001 -- whatever it raises is what is compared
        return {"raises": [cls.__name__ for cls in type(error).__mro__]}


def load_mindspore() -> dict[str, Any]:
    mindspore = pytest.importorskip("mindspore")
    # Or an error of one expression is raised in a later one.
    mindspore.runtime.launch_blocking()
    from mindspore.common import initializer

    return namespace(mindspore, initializer)


@pytest.fixture(scope="module")
def ours() -> dict[str, Any]:
    from ckptload.common import initializer

    return namespace(ckptload, initializer)


@pytest.fixture(scope="module")
def theirs() -> dict[str, Any]:
    return load_mindspore()


@pytest.fixture(scope="module")
def recorded() -> dict[str, Any]:
    outcomes: dict[str, Any] = json.loads(RECORD.read_text("utf-8"))
    return outcomes


def alike(got: Any, expected: Any, tolerance: float) -> bool:
    """Tell whether two descriptions are equal, their numbers up to a tolerance."""
    if isinstance(got, list) and isinstance(expected, list) and got[:1] == expected[:1] != ["Tensor"]:
        return len(got) == len(expected) and all(map(alike, got, expected, [tolerance] * len(got)))
    if not tolerance or not isinstance(got, list):
        return bool(got == expected)
    left, right = ([complex({"True": 1, "False": 0}.get(one, one)) for one in part[3]] for part in (got, expected))
    with np.errstate(all="ignore"):  # infinities
        close = np.allclose(left, right, rtol=tolerance, atol=tolerance, equal_nan=True)
    return bool(got[:3] == expected[:3] and close)


@pytest.mark.parametrize("source", SOURCES)
def test_a_function_gives_what_mindspore_gave(source: str, ours: dict[str, Any], recorded: dict[str, Any]) -> None:
    """The same values, dtype and shape; only our exceptions, whatever the dtype."""
    wrong = {}
    for dtype in SOURCES[source]:
        got = outcome((dtype, source), ours)
        expected = None if is_decided(dtype, source) else recorded.get(source, {}).get(dtype)
        tolerance = TOLERANCES.get(dtype, 2e-5) if source in ROUNDED else 0
        if isinstance(got, dict) and "CheckpointError" not in got["raises"]:
            wrong[dtype] = f"{got} is no error of ours"
        elif expected is not None and not alike(got, expected, tolerance):
            wrong[dtype] = f"{got} is not {expected}"
    assert not wrong


@pytest.mark.parametrize("source", lines(REFUSED))
def test_what_mindspore_refuses_is_refused_with_the_same_class(
    source: str, ours: dict[str, Any], recorded: dict[str, Any]
) -> None:
    got = outcome(("float32", source), ours)
    assert isinstance(got, dict), got
    assert {"CheckpointError", recorded[source]["raises"]} <= set(got["raises"])


@pytest.mark.mindspore
@pytest.mark.parametrize("source", SOURCES)
def test_the_record_is_what_mindspore_gives(source: str, theirs: dict[str, Any], recorded: dict[str, Any]) -> None:
    # In a thread of its own: some kernels leave their thread with subnormal numbers flushed to zero.
    with ThreadPoolExecutor(1) as apart:
        for dtype, expected in recorded.get(source, {}).items():
            got = apart.submit(outcome, (dtype, source), theirs).result()
            assert alike(got, expected, 1e-6), dtype


def record() -> None:
    """Write what MindSpore gives; a case that it refuses is left out."""
    scope = load_mindspore()
    found: dict[str, Any] = {}
    for dtype, source in CASES:
        result = outcome((dtype, source), scope)
        if not isinstance(result, dict):
            found.setdefault(source, {})[dtype] = result
    for source in lines(REFUSED):
        result = outcome(("float32", source), scope)
        assert isinstance(result, dict), f"{source}: {result}"
        builtin = [name for name in result["raises"] if name in ("TypeError", "ValueError", "RuntimeError")]
        found[source] = {"raises": builtin[0]}
    rows = (f"{json.dumps(source)}: {json.dumps(outcomes)}" for source, outcomes in found.items())
    RECORD.write_text("{\n" + ",\n".join(rows) + "\n}\n", "utf-8")


if __name__ == "__main__":
    record()
