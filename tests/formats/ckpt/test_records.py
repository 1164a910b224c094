"""From records to values: every rule of what a name stands for, on bytes made by hand."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptload import dtypes, open_checkpoint
from ckptload.errors import CheckpointError, CorruptCheckpointError, UnsupportedTypeError
from ckptload.formats.ckpt import records
from ckptload.formats.ckpt.walk import walk
from ckptload.reading.reader import Reader
from ckptload.sources.memory import BufferSource
from ckptload.tensors.parameter import Parameter
from strategies import (
    block,
    files,
    floats,
    integer,
    mapping,
    plain_tensors,
    record,
    tensor,
    text,
    value,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from ckptload.formats.entry import Entry

#: Most files here are made by hand and have fields that no MindSpore writes.
pytestmark = pytest.mark.filterwarnings("ignore::ckptload.errors.ForeignFieldWarning")

FLOAT = np.array([1, 2, 3, 4, 5, 6], "<f4").tobytes()


def loaded(data: bytes, name: str = "w") -> Any:
    """The value of one name."""
    with open_checkpoint(data, format="ckpt") as reader:
        return reader[name]


def info(data: bytes, name: str = "w") -> Entry:
    with open_checkpoint(data, format="ckpt") as reader:
        return reader.info(name)


def refused(data: bytes, problem: str, offset: int = 0, name: str = "w") -> CheckpointError:
    """Hold an entry to be an error that names it, the file and a place."""
    with pytest.raises(CheckpointError) as caught:
        loaded(data, name)
    error = caught.value
    assert re.search(problem, error.problem)
    assert (error.name, error.path, error.offset) == (name, "<bytes>", offset)
    assert error.hint
    return error


# -- length of content, and fields that are missing ------------------------------------------------


@pytest.mark.parametrize("size", [0, 4, 23, 25, 28, 48])
def test_content_must_be_what_dims_and_type_ask_for(size: int) -> None:
    """MindSpore fills short content with zeros, and copies long content past the end of its buffer."""
    data = record("w", (2, 3), "Float32", bytes(size))
    error = refused(data, rf"^Float32 of shape \(2, 3\) needs 24 bytes, {size} are present$", len(data) - size)
    assert isinstance(error, CorruptCheckpointError)


def test_content_of_the_right_size_is_taken() -> None:
    got = loaded(record("w", (2, 3), "Float32", FLOAT))
    assert got.asnumpy().tolist() == [[1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize(
    ("data", "missing"),
    [
        (value("w", block(2, tensor((), None, b"1234"))), "type"),
        (value("w", block(2, tensor((), "Float32", None))), "content"),
        (value("w", block(2, b"")), "type"),
        (value("w"), "tensor and no map"),
        (value("w", block(3, b"")), "tensor and no map"),
        (value("w", block(3, block(1, b""))), "type"),
        (value("w", block(3, block(1, tensor((1,), "int32", None)))), "content"),
        (value("w", block(2, b"") + integer(2, 5)), "type"),
        (record("w", (0,), "str", None), "content"),
        (record("w", (), "random_op", None), "content"),
    ],
)
@pytest.mark.parametrize("place", ["alone", "before", "after", "slice"])
def test_a_record_must_be_complete(data: bytes, missing: str, place: str) -> None:
    """Also one that a later record of the same name replaces."""
    good, other = floats("w", 1.0), floats("other", 1.0)
    whole = {"alone": data, "before": data + other + good, "after": good + other + data, "slice": data + data}[place]
    refused(whole, f"^the record has no {missing}$", whole.index(data))
    assert loaded(whole + floats("x", 2.0), "x").asnumpy().tolist() == [2]


def test_a_record_must_have_a_name() -> None:
    data = value(None, block(2, tensor((), "Float32", b"1234")))
    refused(data, "^the record has no name$", 0, name="")


def test_an_empty_name_is_a_name() -> None:
    """The parameter then gets a name of its own, as in MindSpore."""
    got = loaded(record("", (), "Float32", b"1234"), "")
    assert got.name.startswith("Parameter#")


# -- dims [0] --------------------------------------------------------------------------------------


def test_dims_zero_with_one_element_are_a_scalar() -> None:
    """Up to 2.0.0 a scalar was written so."""
    got = loaded(record("w", (0,), "Int64", (-7).to_bytes(8, "little", signed=True)))
    assert (got.shape, int(got.asnumpy())) == ((), -7)
    assert info(record("w", (0,), "Int64", bytes(8))).shape == ()


def test_dims_zero_without_content_are_an_empty_tensor() -> None:
    got = loaded(record("w", (0,), "Int64", b""))
    assert (got.shape, got.dtype) == ((0,), dtypes.int64)


def test_dims_zero_with_empty_slices_are_an_empty_tensor() -> None:
    assert loaded(record("w", (0,), "Int64", b"") * 3).shape == (0,)


@pytest.mark.parametrize("size", [1, 7, 9, 16])
def test_dims_zero_with_anything_else_are_corrupt(size: int) -> None:
    data = record("w", (0,), "Int64", bytes(size))
    refused(data, r"^Int64 of shape \(0,\) needs 8 bytes", len(data) - size)


@pytest.mark.parametrize("dims", [(0, 3), (2, 0), (0, 0)])
def test_other_empty_shapes_stay_as_they_are(dims: tuple[int, ...]) -> None:
    assert loaded(record("w", dims, "Float32", b"")).shape == dims
    refused(record("w", dims, "Float32", b"1234"), "needs 0 bytes, 4 are present", 22)


# -- types -----------------------------------------------------------------------------------------

TYPES = [dtype for dtype in dtypes.ALL if dtype is not dtypes.bool_]


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_every_type_loads(dtype: dtypes.DType) -> None:
    raw = bytes(range(6 * dtype.itemsize))
    got = loaded(record("w", (2, 3), dtype.name, raw))
    assert (got.dtype, got.shape, got.get_bytes()) == (dtype, (2, 3), raw)
    assert got.asnumpy().dtype == dtype.numpy


def test_a_bool_keeps_its_byte() -> None:
    """Any byte but 0 is true."""
    got = loaded(record("w", (3,), "Bool", b"\x00\x01\x07"))
    assert got.get_bytes() == b"\x00\x01\x07"
    assert [bool(each) for each in got.asnumpy()] == [False, True, True]


@pytest.mark.parametrize(
    ("dtype", "numpy"),
    [
        (dtypes.complex64, np.complex64),
        (dtypes.complex128, np.complex128),
        (dtypes.float8_e4m3fn, ml_dtypes.float8_e4m3fn),
        (dtypes.float8_e5m2, ml_dtypes.float8_e5m2),
        (dtypes.bfloat16, ml_dtypes.bfloat16),
        (dtypes.hifloat8, np.uint8),
        (dtypes.qint4x2, np.int8),
    ],
    ids=str,
)
def test_types_that_mindspore_writes_and_cannot_read_come_as_numpy_types(dtype: dtypes.DType, numpy: Any) -> None:
    assert loaded(record("w", (2,), dtype.name, bytes(2 * dtype.itemsize))).asnumpy().dtype == numpy


@pytest.mark.parametrize("bits", [8, 16, 32, 64])
def test_the_spelling_of_old_versions_is_the_same_type(bits: int) -> None:
    got = loaded(record("w", (), f"Uint{bits}", bytes(bits // 8)))
    assert got.dtype is getattr(dtypes, f"uint{bits}")


@pytest.mark.parametrize("kind", ["Foo", "float31", "FLOAT", "Float32 ", "int7", "Str", "torch.float32", "<f4", "重"])
def test_an_unknown_type_stops_only_its_own_entry(kind: str) -> None:
    data = record("w", (2, 1), kind, b"123") + floats("good", 1.0)
    with pytest.raises(UnsupportedTypeError, match=f"^parameter 'w': the type {kind!r} is not supported") as caught:
        loaded(data)
    assert "Float32, Float64" in (caught.value.hint or "")
    assert loaded(data, "good").asnumpy().tolist() == [1]


def test_an_entry_of_an_unknown_type_is_listed_as_far_as_the_type_does_not_matter() -> None:
    slices = record("w", (2, 1), "Foo", b"12") + record("w", (2, 1), "Foo", b"3") + record("s", (0,), "Foo", b"1")
    with open_checkpoint(slices) as reader:
        entry = reader.info("w")
        assert (entry.kind, entry.dtype, entry.type_name) == ("unsupported", None, "Foo")
        assert (entry.shape, entry.nbytes, entry.slices) == ((2, 1), 3, 2)
        assert b"".join(map(bytes, reader.pieces(entry))) == b"123"
        assert reader.info("s").shape == ()


@pytest.mark.parametrize("read", [Reader.get_tensor, Reader.get_slice, Reader.readable, Reader.__getitem__])
def test_every_way_to_read_an_unknown_type_is_refused(read: Callable[[Reader, str], Any]) -> None:
    with open_checkpoint(record("w", (1,), "Foo", b"1")) as reader, pytest.raises(UnsupportedTypeError):
        read(reader, "w")


@pytest.mark.parametrize("read", [Reader.load, Reader.check_types, Reader.check_dtypes])
def test_one_error_names_all_entries_whose_types_are_not_supported(read: Callable[[Reader], Any]) -> None:
    data = b"".join(record(f"w{number}", (1,), "Foo", b"1") for number in range(100)) + floats("good", 1.0)
    with open_checkpoint(data) as reader, pytest.raises(UnsupportedTypeError) as caught:
        read(reader)
    assert caught.value.name == "w0"
    assert "nor are the types of 99 other entries: 'w1', " in caught.value.problem


@pytest.mark.parametrize("kind", ["", " ", "Int\x18", "Int8\n", b"Int8\0"])
def test_a_type_without_a_printable_name_is_damage(kind: str | bytes) -> None:
    refused(record("w", (1,), kind, b"1"), "is not the name of a type")


@pytest.mark.parametrize("dims", [(-1,), (1,) * 65])
def test_a_bad_shape_of_an_unknown_type_is_damage(dims: tuple[int, ...]) -> None:
    refused(record("w", dims, "Foo", b"1"), "not a valid shape")


# -- bfloat16 -------------------------------------------------------------------------------------


def test_bfloat16_with_four_bytes_an_element_is_float32() -> None:
    """The upper halves are the values."""
    wide = np.array([1.0, -2.5, 3.14159274, np.inf], "<f4")
    got = loaded(record("w", (2, 2), "BFloat16", wide.tobytes()))
    assert (got.shape, got.dtype, got.nbytes) == ((2, 2), dtypes.bfloat16, 8)
    assert got.get_bytes() == (wide.view("<u4") >> 16).astype("<u2").tobytes()
    entry = info(record("w", (2, 2), "BFloat16", wide.tobytes()))
    assert (entry.nbytes, entry.stored) == (8, 16)


def test_a_wide_bfloat16_may_be_cut_anywhere() -> None:
    wide = np.array([1.0, -2.5, 3.0], "<f4").tobytes()
    data = record("w", (3,), "BFloat16", wide[:5]) + record("w", (3,), "BFloat16", wide[5:])
    assert [float(each) for each in loaded(data).asnumpy()] == [1.0, -2.5, 3.0]


@pytest.mark.parametrize("size", [2, 4])
def test_a_bfloat16_scalar_of_old_versions_may_be_wide(size: int) -> None:
    content = np.array([-2.5], "<f4").tobytes()[-size:]
    got = loaded(record("w", (0,), "BFloat16", content))
    assert (got.shape, float(got.asnumpy())) == ((), -2.5)


def test_bfloat16_of_another_size_is_corrupt() -> None:
    refused(record("w", (2,), "BFloat16", bytes(6)), r"BFloat16 of shape \(2,\) needs 4 bytes, 6 are present", 21)


# -- slices ---------------------------------------------------------------------------------------


@settings(max_examples=150)
@given(st.data())
def test_a_tensor_cut_anyhow_comes_back_whole(data: st.DataObject) -> None:
    """Even inside an element, with empty slices, with other names around it."""
    dtype = data.draw(st.sampled_from(dtypes.ALL))
    shape = data.draw(st.lists(st.integers(0, 4), max_size=3).map(tuple))
    raw = data.draw(st.binary(min_size=math.prod(shape) * dtype.itemsize, max_size=math.prod(shape) * dtype.itemsize))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=4)))
    slices = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    made = floats("a", 1.0) + b"".join(record("w", shape, dtype.name, each) for each in slices) + floats("b", 1.0)
    got = loaded(made)
    assert (got.shape, got.dtype, got.get_bytes()) == (shape, dtype, raw)
    assert info(made).slices == len(slices)


def test_dims_and_type_are_those_of_the_last_slice() -> None:
    data = record("w", (9,), "Int8", FLOAT[:12]) + record("w", (2, 3), "Float32", FLOAT[12:])
    assert (loaded(data).shape, loaded(data).dtype) == ((2, 3), dtypes.float32)


def test_slices_of_another_sum_are_corrupt() -> None:
    data = record("w", (6,), "Float32", FLOAT[:12]) * 3
    refused(data, "needs 24 bytes, 36 are present", data.index(FLOAT[:12]))


def test_a_name_that_comes_again_later_replaces_the_value_and_keeps_its_place() -> None:
    data = floats("w", 1.0) + floats("x", 2.0) + floats("w", 3.0, 4.0)
    with open_checkpoint(data) as reader:
        assert list(reader) == ["w", "x"]
        assert reader["w"].asnumpy().tolist() == [3, 4]
        assert reader.info("w").offset == len(floats("w", 1.0) + floats("x", 2.0))


def test_a_value_that_is_replaced_is_judged_too() -> None:
    data = record("w", (5,), "Float32", b"1234") + floats("x", 2.0) + floats("w", 3.0)
    refused(data, r"shape \(5,\) needs 20 bytes, 4 are present", data.index(b"1234"))


def test_neighbours_of_different_kinds_are_no_slices() -> None:
    data = text("w", "hi") + floats("w", 1.0) + mapping("w", tensor((1,), "int8", b"x"))
    assert loaded(text("w", "hi") + floats("w", 1.0)).asnumpy().tolist() == [1]
    assert [part.tolist() for part in loaded(data)] == [[120]]


# -- strings ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", ["", "a", "two words", "größe", "重み 😀", "in\0side", "\ud800"])
def test_a_string_comes_back(words: str) -> None:
    """A lone surrogate is a character, since MindSpore takes it for one."""
    content = words.encode("utf-32-le", "surrogatepass") or bytes(4)
    got = loaded(record("w", (0,), "str", content))
    assert got == words
    assert type(got) is str


def test_trailing_nuls_of_a_string_are_dropped() -> None:
    assert loaded(text("w", "ab\0\0")) == "ab"


def test_slices_of_a_string_are_joined_whole() -> None:
    """MindSpore returns the beginning alone; a cut inside a character is no reason either."""
    content = "hello world!".encode("utf-32-le")
    data = b"".join(record("w", (0,), "str", content[a : a + 18]) for a in range(0, len(content), 18))
    assert loaded(data) == "hello world!"
    assert info(data).slices == 3


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_a_string_has_four_bytes_a_character(size: int) -> None:
    data = record("w", (0,), "str", bytes(size))
    refused(data, f"4 bytes per character, but {size} bytes are present", len(data) - size)


@pytest.mark.parametrize("dims", [(), (5,), (2, 2), (-1,)])
def test_dims_of_a_string_mean_nothing(dims: tuple[int, ...]) -> None:
    assert loaded(record("w", dims, "str", "hi".encode("utf-32-le"))) == "hi"


def test_a_character_beyond_unicode_is_corrupt_and_says_where() -> None:
    data = record("w", (0,), "str", b"a\0\0\0" + b"\x00\x00\x11\x00")
    refused(data, r"the string has a code point above U\+10FFFF", len(data) - 4)


# -- maps ------------------------------------------------------------------------------------------

KEYS = np.array([10, 20], "<i8")


def whole_map(first: int, kind: str = "int64") -> bytes:
    """A map record of three tensors with two rows."""
    keys = tensor((2,), kind, (KEYS + first).tobytes())
    values = tensor((2, 2), "float32", np.full((2, 2), first, "<f4").tobytes())
    return mapping("m", keys, values, tensor((2,), "int32", np.full(2, first, "<i4").tobytes()))


def test_a_map_is_a_list_of_read_only_arrays_of_its_types() -> None:
    got = loaded(whole_map(1), "m")
    assert [(part.dtype, part.tolist()) for part in got] == [
        (np.int64, [11, 21]),
        (np.float32, [[1, 1], [1, 1]]),
        (np.int32, [1, 1]),
    ]
    assert not any(part.flags.writeable for part in got)
    assert [part.flags.c_contiguous and part.flags.aligned for part in got] == [True] * 3


def test_slices_of_a_map_are_joined_by_rows() -> None:
    got = loaded(whole_map(1) + whole_map(2) + whole_map(3), "m")
    assert [part.shape for part in got] == [(6,), (6, 2), (6,)]
    assert got[0].tolist() == [11, 21, 12, 22, 13, 23]
    entry = info(whole_map(1) + whole_map(2), "m")
    assert (entry.kind, entry.slices, entry.nbytes) == ("map", 2, 2 * (16 + 16 + 8))
    assert [part.shape for part in entry.parts] == [(4,), (4, 2), (4,)]


def test_slices_of_a_map_may_have_different_numbers_of_rows() -> None:
    data = mapping("m", tensor((1, 2), "int8", b"ab")) + mapping("m", tensor((2, 2), "int8", b"cdef"))
    assert loaded(data, "m")[0].tobytes() == b"abcdef"
    assert loaded(data, "m")[0].shape == (3, 2)


def test_the_growing_records_of_2_0_0_count_once() -> None:
    """Records of 1, 2 and 3 tensors: only the last is whole."""
    keys, values = tensor((2,), "Int32", bytes(8)), tensor((2, 2), "Float32", bytes(16))
    status = tensor((2,), "Int32", b"\1\0\0\0\2\0\0\0")
    data = mapping("m", keys) + mapping("m", keys, values) + mapping("m", keys, values, status)
    got = loaded(data, "m")
    assert [part.shape for part in got] == [(2,), (2, 2), (2,)]
    assert got[2].tolist() == [1, 2]


def test_a_map_of_no_rows_is_empty() -> None:
    got = loaded(mapping("m", tensor((0,), "int32", b""), tensor((0, 4), "float32", b"")), "m")
    assert [part.shape for part in got] == [(0,), (0, 4)]


def test_a_map_of_no_rows_has_no_content() -> None:
    """Dims [0] are no scalar here."""
    refused(mapping("m", tensor((0,), "int32", b"1234")), "a map without rows has 4 bytes", 20, name="m")


@pytest.mark.parametrize("kind", ["int64", "Int64", "INT64"])
def test_map_types_are_known_under_the_names_of_numpy_and_of_mindspore(kind: str) -> None:
    assert loaded(whole_map(1, kind), "m")[0].dtype == np.int64


@pytest.mark.parametrize("kind", ["foo", "<i8", "str"])
def test_an_unknown_map_type_is_refused(kind: str) -> None:
    """MindSpore takes it for float64."""
    with pytest.raises(UnsupportedTypeError, match=f"parameter 'm': the type 'map of {kind}' is not supported"):
        loaded(whole_map(1, kind), "m")


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (whole_map(1, "int64") + whole_map(1, "uint64"), "differs between slices"),
        (mapping("m", *[tensor((1,), "int8", b"x")] * 4), "a map has at most 3 tensors, the record has 4"),
        (mapping("m", tensor((), "int8", b"x")), "a tensor of a map has no dims"),
        (mapping("m", tensor((3,), "int8", b"x")), r"Int8 of shape \(3,\) needs 3 bytes, 1 are present"),
        (mapping("m", *[tensor((1,), "int8", b"x")] * 2) + whole_map(1), "have 2 to 3 tensors each"),
        (whole_map(1) + mapping("m", tensor((1,), "int8", b"x")), "have 1 to 3 tensors each"),
        (mapping("m", tensor((-1,), "int8", b"")), r"not a valid shape: \(-1,\)"),
        (
            mapping("m", tensor((-1,), "int8", b"")) + mapping("m", tensor((2,), "int8", b"x")),
            r"not a valid shape: \(-1,\)",
        ),
    ],
)
def test_a_map_that_makes_no_sense_is_refused(data: bytes, problem: str) -> None:
    with pytest.raises(CheckpointError, match=problem):
        loaded(data, "m")
    assert loaded(data + floats("w", 1.0)).asnumpy().tolist() == [1]


def test_bfloat16_in_a_map_may_be_wide() -> None:
    wide = np.array([1.0, -2.5], "<f4").tobytes()
    (got,) = loaded(mapping("m", tensor((2,), "bfloat16", wide)), "m")
    assert [float(each) for each in got] == [1.0, -2.5]


def test_random_op_records_come_back_as_bytes() -> None:
    data = record("w", (), "random_op", b"\x00state\xff")
    assert loaded(data) == b"\x00state\xff"
    assert (info(data).kind, info(data).nbytes, info(data).dtype) == ("bytes", 7, None)


def test_slices_of_a_random_state_are_joined() -> None:
    assert loaded(record("w", (), "random_op", b"ab") + record("w", (), "random_op", b"c")) == b"abc"


# -- dims ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dims", [(-1,), (2, -3), (-2, -3), (-(1 << 63),)])
def test_negative_dims_are_corrupt(dims: tuple[int, ...]) -> None:
    refused(record("w", dims, "Int8", b"abcdef"), "not a valid shape:")


def test_negative_dims_are_corrupt_in_a_slice_too() -> None:
    data = record("w", (-6,), "Int8", b"abc") + record("w", (6,), "Int8", b"def")
    refused(data, r"not a valid shape: \(-6,\)")


def test_large_dims_are_fine_where_the_content_fits() -> None:
    """MindSpore takes no dim above 2**31."""
    assert loaded(record("w", (1 << 40, 0), "Int8", b"")).shape == (1 << 40, 0)


def test_a_number_of_a_thousand_digits_is_not_printed() -> None:
    refused(record("w", (1 << 62,) * 60, "Int8", b""), r"needs over 2\*\*63 bytes, 0 are present", 617)


@pytest.mark.parametrize("dims", [(1 << 62, 0), (0, 1 << 62), (1 << 32, 1 << 32, 0)])
def test_an_empty_shape_that_numpy_cannot_make_is_corrupt(dims: tuple[int, ...]) -> None:
    refused(record("w", dims, "Float32", b""), "not a valid shape:")


@pytest.mark.parametrize("rank", [65, 100, 128])
def test_too_many_dims_are_corrupt(rank: int) -> None:
    refused(record("w", (1,) * rank, "Int8", b"x"), rf"not a valid shape: \(1, 1, .* \({rank} dims\)")


def test_many_dims_load_if_numpy_has_them() -> None:
    assert loaded(record("w", (1,) * 32, "Int8", b"x")).shape == (1,) * 32


# -- names ----------------------------------------------------------------------------------------


def test_blanks_around_a_name_belong_to_it() -> None:
    """Key and `.name` agree."""
    with open_checkpoint(floats(" w ", 1.0)) as reader:
        assert list(reader) == [" w "]
        assert reader[" w "].name == " w "


def test_names_of_caches_are_cut_and_come_last() -> None:
    """Key and `.name` agree."""
    data = floats("emb.__param_key__3", 1.0) + floats("b", 2.0)
    with open_checkpoint(data) as reader:
        assert list(reader) == ["b", "emb"]
        assert reader["emb"].name == "emb"
        assert reader.info("emb").name == "emb"


@pytest.mark.parametrize("other", ["emb", "emb.__param_key__4"])
def test_names_that_collide_once_they_are_cut_are_an_error(other: str) -> None:
    data = floats("emb.__param_key__3", 1.0) + floats(other, 2.0)
    with open_checkpoint(data) as reader, pytest.raises(CheckpointError, match="have the same name without") as caught:
        list(reader)
    assert (caught.value.name, caught.value.path) == ("emb", "<bytes>")
    with open_checkpoint(data) as reader:
        assert list(reader.select(choice_func=lambda name: name == other)) == ["emb"]


@pytest.mark.parametrize("length", [1024, 1025])
def test_a_name_has_1024_characters_at_most(length: int) -> None:
    """It can be filtered out; the message does not print all of it."""
    name = "n" * length
    data = floats(name, 1.0) + floats("w", 2.0)
    assert loaded(data).asnumpy().tolist() == [2]
    if length == 1024:
        assert isinstance(loaded(data, name), Parameter)
    else:
        with pytest.raises(CheckpointError, match="the name has 1025 characters") as caught:
            loaded(data, name)
        assert len(str(caught.value)) < 400


def test_characters_are_counted_not_bytes() -> None:
    name = "重" * 1024
    assert loaded(floats(name, 1.0), name).asnumpy().tolist() == [1]


# -- what is not wanted ---------------------------------------------------------------------------

DAMAGED = [
    value("bad", block(2, b"\x08")),
    value("bad", block(2, tensor((), "Float32", b"1234"), claim=90)),
    value("bad", block(2, b"\x0b")),
    value("bad", b"\x07"),
    value("bad", block(9, b"", claim=5)),
    record("bad", (2,), "Float32", b"1234"),
    record("bad", (), "Foo", b"1234"),
    record("bad", (), b"\xff", b"1234"),
    record("bad", (-1,), "Float32", b"1234"),
    record("bad", (1,) * 1025, "Int8", b"1"),
    value("bad"),
    record("bad", (0,), "str", b"12345"),
    mapping("bad", tensor((3,), "int8", b"x")),
]


@pytest.mark.parametrize("data", DAMAGED)
def test_a_record_that_nobody_wants_is_not_judged(data: bytes) -> None:
    """Whatever is wrong with it, if it has a name and an end."""
    whole = floats("a", 1.0) + data + floats("b", 2.0)
    with open_checkpoint(whole) as reader:
        wanted = reader.select(filter_prefix="bad")
        assert {name: each.asnumpy().tolist() for name, each in wanted.items()} == {"a": [1], "b": [2]}
        with pytest.raises(CheckpointError) as caught:
            reader["bad"]
        assert caught.value.name == "bad"
        assert caught.value.offset is not None


# -- the fast twin --------------------------------------------------------------------------------


def judged(name: str, found: Any) -> Any:
    """What the general twin says."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "_ordinary", lambda *_: None)
        return outcome(name, found)


def outcome(name: str, found: Any) -> Any:
    try:
        return records.judge(name, found)
    except CheckpointError as error:
        return type(error), error.problem, error.name, error.offset


sound = st.builds(
    lambda name, dtype, shape: record(name, shape, dtype.name, bytes(math.prod(shape) * dtype.itemsize)),
    st.sampled_from("abc"),
    st.sampled_from(dtypes.ALL),
    st.lists(st.integers(0, 3), max_size=3),
)


@settings(max_examples=200)
@given(
    st.one_of(
        files,
        st.lists(sound, max_size=4).map(b"".join),
        st.lists(plain_tensors().map(lambda each: value("a", block(2, each))), max_size=2).map(b"".join),
    )
)
def test_the_fast_twin_judges_as_the_general_one(data: bytes) -> None:
    for name, found in records.grouped(walk(BufferSource(data)).records).items():
        assert outcome(name, found) == judged(name, found)


@pytest.mark.parametrize(
    "data",
    [
        record("w", (2, 3), "Float32", FLOAT),
        record("w", (), "Float32", b"1234"),
        record("w", (1,), "Uint8", b"1"),
        value("w", block(2, tensor((1,), "Int8", b"1", packed=True)), integer(9, 1)),
    ],
)
def test_the_fast_twin_takes_ordinary_tensors(data: bytes) -> None:
    """Otherwise it would be right, and useless."""
    (found,) = walk(BufferSource(data)).records
    assert records._ordinary("w", found) is not None


def test_two_bfloat16_values_of_one_name_are_not_one_of_twice_the_width() -> None:
    """Half of each value would come from each."""
    one = record("w", (2,), "BFloat16", bytes(4))
    with open_checkpoint(one + one) as reader, pytest.raises(CorruptCheckpointError, match="needs 4 bytes, 8 are"):
        reader.info("w")
    with open_checkpoint(record("w", (2,), "BFloat16", bytes(6)) + record("w", (2,), "BFloat16", bytes(2))) as reader:
        assert reader.info("w").shape == (2,)
