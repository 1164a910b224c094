"""The lazy reader: a mapping that reads what is asked for, and says clearly when it cannot."""

from __future__ import annotations

import gc
import io
import os
import pickle
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptload import dtypes, open_checkpoint, save_checkpoint
from ckptload.encryption.ciphers import MODES
from ckptload.errors import (
    ArgumentError,
    ArgumentIndexError,
    ArgumentTypeError,
    ChangedFileError,
    CheckpointError,
    ClosedReaderError,
    CorruptCheckpointError,
    NothingSelectedError,
    OutOfMemoryError,
    ReadError,
    UnknownNameError,
    UnsupportedTypeError,
)
from ckptload.reading import arrays
from ckptload.tensors.parameter import Parameter
from ckptload.tensors.tensor import Tensor
from descriptors import open_files
from places import FIXTURES
from strategies import CountingSource, floats, mapping, record, sparse, tensor, text, value, with_crc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ckptload.reading.reader import Reader

MATRIX = np.arange(24, dtype="<f4").reshape(4, 3, 2)
DATA = (
    record("w", (4, 3, 2), "Float32", MATRIX.tobytes())
    + floats("b", 1.0, 2.0)
    + text("note", "hello")
    + mapping("m", tensor((2,), "int64", bytes(16)), tensor((2, 1), "float32", bytes(8)))
    + record("state", (), "random_op", b"\x01\x02")
    + record("scalar", (), "Int64", (5).to_bytes(8, "little"))
)
TENSORS = ["w", "b", "scalar"]
NAMES = ["w", "b", "note", "m", "state", "scalar"]
posix_only = pytest.mark.skipif(os.name != "posix", reason="needs a POSIX system")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path.resolve() / "model.ckpt"
    made.write_bytes(DATA)
    return made


@pytest.fixture
def reader(path: Path) -> Iterator[Reader]:
    with open_checkpoint(path) as opened:
        yield opened


# -- a mapping ------------------------------------------------------------------------------------


def test_it_is_a_mapping_in_file_order(reader: Reader) -> None:
    assert list(reader) == list(reader.keys()) == NAMES
    assert len(reader) == 6
    assert "w" in reader
    assert "x" not in reader
    assert [name for name, _ in reader.items()] == NAMES
    assert [type(value).__name__ for value in reader.values()] == [
        "Parameter",
        "Parameter",
        "str",
        "list",
        "bytes",
        "Parameter",
    ]
    assert reader.get("x") is None
    assert reader.get("x", 5) == 5
    assert reader.keys() & {"w", "x"} == {"w"}


def test_values_are_what_the_file_holds(reader: Reader) -> None:
    assert np.array_equal(reader["w"].asnumpy(), MATRIX)
    assert (reader["w"].name, reader["w"].dtype) == ("w", dtypes.float32)
    assert reader["note"] == "hello"
    assert reader["state"] == b"\x01\x02"
    assert [part.shape for part in reader["m"]] == [(2,), (2, 1)]
    assert int(reader["scalar"].asnumpy()) == 5


def test_each_value_owns_its_memory(reader: Reader) -> None:
    first, second = reader["w"].asnumpy(), reader["w"].asnumpy()
    assert not np.shares_memory(first, second)
    assert first.flags.owndata
    assert first.flags.writeable


def test_two_readers_are_equal_only_if_they_are_one(path: Path) -> None:
    """Comparing contents would read both files."""
    with open_checkpoint(path) as first, open_checkpoint(path) as second:
        assert first == first  # noqa: PLR0124
        assert first != second
        assert len({first, second}) == 2


def test_info_tells_without_reading() -> None:
    source = CountingSource(record("a", (1 << 20,), "UInt8", bytes(1 << 20)) + DATA)
    with open_checkpoint(source, format="ckpt") as reader:
        opened = source.total
        info = reader.info("w")
        assert (info.name, info.kind, info.dtype, info.shape) == ("w", "tensor", dtypes.float32, (4, 3, 2))
        assert (info.nbytes, info.slices) == (96, 1)
        assert info.offset == source.size - len(DATA)
        assert [reader.info(name).kind for name in NAMES] == ["tensor", "tensor", "string", "map", "bytes", "tensor"]
        assert [reader.info(name).dtype for name in ("note", "m", "state")] == [None, None, None]
        assert source.total == opened < 20_000


def test_it_says_what_it_is(path: Path) -> None:
    reader = open_checkpoint(path)
    assert repr(reader) == f"<ckpt checkpoint {path}: 6 entries, 27 elements, 158 B>"
    assert repr(reader.select(specify_prefix="w")) == f"<ckpt checkpoint {path}: 1 entry, 24 elements, 96 B>"
    assert (reader.format, reader.metadata, reader.cipher, reader.path) == ("ckpt", {}, None, str(path))
    assert repr(reader.get_slice("w")) == "<slices of 'w': shape (4, 3, 2), Float32>"
    reader.close()
    assert repr(reader) == f"<closed checkpoint {path}>"


def test_printing_does_not_raise_where_names_collide() -> None:
    reader = open_checkpoint(floats("a.__param_key__1", 1.0) + floats("a", 1.0))
    assert "2 entries" in repr(reader)
    with pytest.raises(CheckpointError, match="same name"):
        len(reader)


# -- names that are not there ---------------------------------------------------------------------


@pytest.mark.parametrize("ask", ["__getitem__", "info", "get_tensor", "get_slice"])
def test_an_unknown_name_lists_the_nearest(reader: Reader, ask: str) -> None:
    with pytest.raises(UnknownNameError, match="none of the 6 entries has this name") as caught:
        getattr(reader, ask)("scaler")
    assert isinstance(caught.value, KeyError)
    assert (caught.value.name, caught.value.path) == ("scaler", reader.path)
    assert "'scalar'" in str(caught.value)


@pytest.mark.parametrize("name", [5, None, ("w",), ["w"], b"w"], ids=repr)
def test_what_is_no_name_is_an_unknown_name(reader: Reader, name: Any) -> None:
    with pytest.raises(UnknownNameError):
        reader[name]


def test_get_tensor_and_get_slice_are_for_tensors(reader: Reader) -> None:
    for name in TENSORS:
        assert type(reader.get_tensor(name)) is Parameter
    for name, kind in (("note", "string"), ("m", "map"), ("state", "bytes")):
        for ask in (reader.get_tensor, reader.get_slice):
            with pytest.raises(UnsupportedTypeError, match=f"the entry is a {kind}, not a tensor") as caught:
                ask(name)
            assert (caught.value.name, caught.value.path) == (name, reader.path)


# -- selections -----------------------------------------------------------------------------------


def test_a_selection_is_a_reader_of_some_names(reader: Reader) -> None:
    chosen = reader.select(choice_func=lambda name: name in ("scalar", "w"))
    assert list(chosen) == ["w", "scalar"]
    assert np.array_equal(chosen["w"].asnumpy(), MATRIX)
    with pytest.raises(UnknownNameError, match="none of the 2 entries"):
        chosen["b"]
    assert list(chosen.select(filter_prefix="w")) == ["scalar"]
    assert list(reader.select(specify_prefix=["s", "b"], filter_prefix="st")) == ["b", "scalar"]
    assert list(reader.select()) == NAMES


def test_a_selection_of_nothing_warns_raises_or_is_allowed(reader: Reader) -> None:
    said = r"the filter keeps no name with these prefixes of the 6 entries; .* 'w', 'b', 'note'"
    with pytest.warns(UserWarning, match=said):
        assert list(reader.select(specify_prefix="nothing")) == []
    with pytest.warns(UserWarning, match="the filter keeps nothing of the 6 entries"):
        reader.select(choice_func=lambda _: False)
    with pytest.raises(NothingSelectedError, match="keeps no name"):
        reader.select(specify_prefix="nothing", if_empty="raise")
    nothing = reader.select(specify_prefix="nothing", if_empty="allow")
    assert not nothing
    assert not nothing.select(specify_prefix="w")
    with pytest.raises(ArgumentError, match="if_empty must be one of warn, raise, allow"):
        reader.select(if_empty="ignore")


def test_what_choice_func_raises_names_the_file(reader: Reader) -> None:
    with pytest.raises(CheckpointError, match="the filter raised ZeroDivisionError") as caught:
        reader.select(choice_func=lambda _: 1 // 0)
    assert (caught.value.name, caught.value.path) == ("w", reader.path)


def test_a_selection_keeps_the_file_open_and_closing_it_does_not_close_the_file(path: Path) -> None:
    chosen = open_checkpoint(path).select(specify_prefix="b").select()
    gc.collect()
    assert chosen["b"].asnumpy().tolist() == [1, 2]
    with open_checkpoint(path) as reader:
        reader.select(specify_prefix="b").close()
        assert reader["b"].asnumpy().tolist() == [1, 2]


def test_a_selection_is_closed_with_its_reader(path: Path) -> None:
    reader = open_checkpoint(path)
    chosen = reader.select().select()
    reader.close()
    assert chosen.closed
    assert repr(chosen) == f"<closed checkpoint {path}>"
    with pytest.raises(ClosedReaderError):
        len(chosen)


# -- slices ---------------------------------------------------------------------------------------

basic = st.one_of(
    st.integers(-5, 5),
    st.slices(4),
    st.slices(9),
    st.just(...),
    st.none(),
    st.builds(np.int64, st.integers(-4, 3)),
    st.booleans(),
)
indexes = st.one_of(basic, st.lists(basic, max_size=5).map(tuple))
fancy = st.one_of(
    st.lists(st.integers(-4, 3), max_size=3),
    st.builds(np.array, st.lists(st.booleans(), min_size=4, max_size=4)),
    st.tuples(st.slices(4), st.lists(st.integers(-3, 2), max_size=3)),
    st.sampled_from(["w", 1.5, b"", object(), [[0], [1]], np.zeros((4, 3, 2), bool)]),
)


WHOLE = {"w": MATRIX, "b": np.array([1, 2], "<f4"), "scalar": np.array(5, "<i8")}


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Reader]]:
    """One that reads and one that maps, for all examples of the property below."""
    made = tmp_path_factory.mktemp("readers") / "model.ckpt"
    made.write_bytes(DATA)
    with open_checkpoint(made) as reading, open_checkpoint(made, mmap=True) as mapping:
        yield [reading, mapping]


@settings(max_examples=400)
@given(st.sampled_from(TENSORS), st.one_of(indexes, fancy), st.sampled_from([0, 1]))
def test_a_slice_is_indexed_as_a_numpy_array_is(readers: list[Reader], name: str, index: Any, which: int) -> None:
    """Whatever numpy refuses is refused, too."""
    whole = WHOLE[name]
    part = readers[which].get_slice(name)
    try:
        expected = whole[index]
    except (IndexError, TypeError, ValueError):
        expected = None
    if expected is None:
        with pytest.raises(ArgumentIndexError, match="does not fit shape") as caught:
            part[index]
        assert isinstance(caught.value, IndexError)
        assert (caught.value.name, caught.value.path is not None) == (name, True)
        return
    got = part[index]
    assert type(got) is Tensor
    array = got.asnumpy()
    assert (array.shape, array.dtype, array.tobytes()) == (np.shape(expected), whole.dtype, expected.tobytes())
    assert array.flags.owndata
    assert array.flags.c_contiguous
    assert array.flags.writeable


def test_a_slice_of_bfloat16_has_its_numbers() -> None:
    wide = np.array([1.0, -2.5, 3.0], "<f4")
    reader = open_checkpoint(record("w", (3,), "BFloat16", wide.tobytes()))
    assert [float(each) for each in reader.get_slice("w")[::2].asnumpy()] == [1.0, 3.0]
    assert float(reader.get_slice("w")[1].asnumpy()) == -2.5
    assert reader.get_slice("w")[1].dtype is dtypes.bfloat16


def test_a_slice_knows_its_tensor(reader: Reader) -> None:
    part = reader.get_slice("w")
    assert (part.shape, part.dtype, len(part)) == ((4, 3, 2), dtypes.float32, 4)
    with pytest.raises(ArgumentTypeError, match="a scalar has no length"):
        len(reader.get_slice("scalar"))


def test_a_slice_can_be_iterated_over(reader: Reader) -> None:
    assert [row.shape for row in reader.get_slice("w")] == [(3, 2)] * 4


def test_flat_reads_a_range_of_elements(reader: Reader) -> None:
    part = reader.get_slice("w")
    assert part.flat(5, 9).asnumpy().tolist() == [5, 6, 7, 8]
    assert part.flat(20, 99).asnumpy().tolist() == [20, 21, 22, 23]
    assert reader.get_slice("scalar").flat(0, 1).asnumpy().tolist() == [5]


@posix_only
def test_a_few_rows_of_a_huge_tensor_cost_a_few_rows(tmp_path: Path) -> None:
    """Rows 0 to 10 of 1 GiB: less than a megabyte, counted at the source."""
    source = CountingSource(sparse(tmp_path / "huge.ckpt", [("w", (1 << 18, 1 << 10))]))
    with open_checkpoint(source) as reader:
        part = reader.get_slice("w")
        assert part[0:10].shape == (10, 1 << 10)
        assert part[-1].shape == (1 << 10,)
        assert part[100:200:50, 3].shape == (2,)
        assert source.total < 1 << 20


@posix_only
@pytest.mark.parametrize(
    ("index", "rows"),
    [
        (slice(10, 20), 10),
        (-1, 1),
        (np.int64(5), 1),
        ((5, ...), 1),
        ((slice(10, 14), [1, 2]), 4),
        (slice(0, 20, 2), 19),
        (slice(0, 50_000, 10_000), 5),
        ([1, 2], 50_000),
        (np.arange(50_000) == 5, 50_000),
        ((..., 5), 50_000),
        (None, 50_000),
    ],
    ids=str,
)
def test_an_index_reads_the_rows_of_the_first_axis_or_all(tmp_path: Path, index: Any, rows: int) -> None:
    """Rows that lie close together are read with what is between them: here 19 for every second of 20."""
    source = CountingSource(sparse(tmp_path / "embedding.ckpt", [("w", (50_000, 16))]))
    with open_checkpoint(source) as reader:
        part = reader.get_slice("w")
        before = source.total
        part[index]
        assert source.total - before == rows * 64
        before = source.total
        part.flat(5, 15)
        assert source.total - before == 40


# -- filling arrays -------------------------------------------------------------------------------


def test_fill_reads_into_the_callers_arrays(reader: Reader) -> None:
    w, b = np.zeros((4, 3, 2), "<f4"), np.zeros(2, "<f4")
    reader.fill([("b", b), ("w", w)])
    assert np.array_equal(w, MATRIX)
    assert b.tolist() == [1, 2]
    reader.fill([])


def test_pieces_are_little_endian_bytes_of_an_entry(reader: Reader) -> None:
    assert b"".join(reader.pieces(reader.info("w"))) == MATRIX.tobytes()
    assert b"".join(reader.pieces(reader.info("state"))) == b"\x01\x02"
    assert [b"".join(reader.pieces(part)) for part in reader.info("m").parts] == [bytes(16), bytes(8)]


def test_fill_looks_at_bytes_and_not_at_dtypes(reader: Reader) -> None:
    """What has the entry's bytes takes them as they are, so that a caller may read them as what they want."""
    room = np.zeros(8, np.uint8)
    reader.fill([("b", room)])
    assert room.view("<f4").tolist() == [1, 2]


@pytest.mark.parametrize("encryption", [{}, *({"key": bytes(16), "mode": mode} for mode in MODES)], ids=str)
def test_fill_reads_an_entry_into_several_arrays(encryption: dict[str, Any], tmp_path: Path) -> None:
    values = {f"p{at}": np.arange(size, dtype="<f4") for at, size in enumerate([3, 1000, 70_000])}
    save_checkpoint(
        {name: Parameter(array) for name, array in values.items()},
        tmp_path / "x.ckpt",
        **{f"enc_{option}": value for option, value in encryption.items()},
    )
    names = [*values, *reversed(values), *values]
    arrays_of_mine = [np.zeros_like(values[name]) for name in names]
    with open_checkpoint(
        tmp_path / "x.ckpt", **{f"dec_{option}": value for option, value in encryption.items()}
    ) as opened:
        opened.fill(zip(names, arrays_of_mine, strict=True))
    for name, array in zip(names, arrays_of_mine, strict=True):
        assert np.array_equal(array, values[name])


@pytest.mark.parametrize(
    ("name", "array", "error"),
    [
        ("b", np.zeros(3, "<f4"), "the array has 12 bytes, the entry 8"),
        ("w", np.zeros((2, 3, 4), "<f4").T, "must be C-contiguous and writable"),
        ("b", np.zeros(4, "<f4")[::2], "must be C-contiguous and writable"),
        ("b", np.frombuffer(bytes(8), "<f4"), "must be C-contiguous and writable"),
        ("note", np.zeros(5, "<u4"), "not a tensor"),
        ("x", np.zeros(2, "<f4"), "has this name"),
    ],
)
def test_fill_checks_every_array_before_it_reads(reader: Reader, name: str, array: Any, error: str) -> None:
    first = np.full(2, 7, "<f4")
    with pytest.raises(CheckpointError, match=error) as caught:
        reader.fill([("b", first), (name, array)])
    assert (caught.value.name, caught.value.path) == (name, reader.path)
    assert first.tolist() == [7, 7]


def test_fill_refuses_arrays_that_share_memory(reader: Reader) -> None:
    """One value would overwrite the other. Arrays side by side in one are fine."""
    whole = np.zeros(26, "<f4")
    with pytest.raises(CheckpointError, match="shares memory with that of 'b'") as caught:
        reader.fill([("w", whole[1:25].reshape(4, 3, 2)), ("b", whole[:2])])
    assert (caught.value.name, caught.value.path) == ("w", reader.path)
    assert not whole.any()
    with pytest.raises(CheckpointError, match="C-contiguous"):
        reader.fill([("b", np.lib.stride_tricks.as_strided(whole, (2,), (0,)))])
    reader.fill([("w", whole[2:].reshape(4, 3, 2)), ("b", whole[:2])])
    assert whole.tolist() == [1, 2, *MATRIX.ravel().tolist()]


# -- loading --------------------------------------------------------------------------------------


def test_load_reads_names_in_the_order_asked_for(reader: Reader) -> None:
    assert list(reader.load(["scalar", "w"])) == ["scalar", "w"]
    assert list(reader.load()) == NAMES
    assert reader.load([]) == {}


def test_load_gives_nothing_where_one_entry_is_damaged() -> None:
    reader = open_checkpoint(DATA + value("bad"))
    with pytest.raises(CorruptCheckpointError, match="no tensor and no map"):
        reader.load()
    assert list(reader.load(NAMES)) == NAMES


def test_only_what_is_asked_for_is_read() -> None:
    big = bytes(1 << 20)
    source = CountingSource(b"".join(record(name, (1 << 20,), "UInt8", big) for name in "abc"))
    with open_checkpoint(source) as reader:
        reader["b"]
        starts = [reader.info(name).spans[0] for name in "abc"]
        assert [source.touched(start + 8192, stop) for start, stop in starts] == [False, True, False]


def test_memory_that_is_not_there_is_an_error_of_ours(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever in reading it is noticed."""

    def full(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(arrays, "fill", full)
    with pytest.raises(OutOfMemoryError, match="not enough memory") as caught:
        reader["w"]
    assert isinstance(caught.value, MemoryError)
    assert caught.value.path == reader.path


# -- the checksum ---------------------------------------------------------------------------------


def test_verify_crc_and_authenticate(path: Path) -> None:
    with open_checkpoint(path) as reader:
        assert not reader.verify_crc()
        reader.authenticate()
    path.write_bytes(with_crc(DATA))
    with open_checkpoint(path) as reader:
        assert reader.verify_crc()
        assert list(reader) == NAMES


# -- life -----------------------------------------------------------------------------------------

USES: dict[str, Callable[[Reader], Any]] = {
    "list": list,
    "len": len,
    "in": lambda reader: "w" in reader,
    "[]": lambda reader: reader["w"],
    "info": lambda reader: reader.info("w"),
    "get_tensor": lambda reader: reader.get_tensor("w"),
    "get_slice": lambda reader: reader.get_slice("w"),
    "load": lambda reader: reader.load(),
    "select": lambda reader: reader.select(),
    "fill": lambda reader: reader.fill([("w", np.zeros((4, 3, 2), "<f4"))]),
    "pieces": lambda reader: list(reader.pieces(open_checkpoint(DATA).info("w"))),
    "verify_crc": lambda reader: reader.verify_crc(),
    "authenticate": lambda reader: reader.authenticate(),
    "metadata": lambda reader: reader.metadata,
    "format": lambda reader: reader.format,
    "cipher": lambda reader: reader.cipher,
    "with": lambda reader: reader.__enter__(),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
@pytest.mark.parametrize("used_before", [False, True])
def test_a_closed_reader_says_so(path: Path, use: Callable[[Reader], Any], used_before: bool) -> None:
    reader = open_checkpoint(path)
    if used_before:
        use(reader)
    reader.close()
    reader.close()
    assert reader.closed
    with pytest.raises(ClosedReaderError, match="the reader was closed") as caught:
        use(reader)
    assert caught.value.path == str(path)
    assert caught.value.hint == "open the checkpoint again"


def test_values_outlive_their_reader(path: Path) -> None:
    with open_checkpoint(path) as reader:
        values = reader.load()
        part = reader.get_slice("w")
    path.unlink()
    assert np.array_equal(values["w"].asnumpy(), MATRIX)
    with pytest.raises(ClosedReaderError):
        part[0]


@pytest.mark.slow
@posix_only
def test_no_descriptor_is_left_behind(path: Path, tmp_path: Path) -> None:
    """By readers closed or forgotten, nor where opening fails."""
    bad = tmp_path / "bad.ckpt"
    damaged = [DATA[:-1], b"<html>", b"", b"\x0a\xff", with_crc(b"")]

    def failing() -> None:
        for data in damaged:
            bad.write_bytes(data)
            arguments: dict[str, Any]
            for arguments in ({}, {"mmap": True}, {"format": "nonsense"}, {"format": "safetensors"}):
                with pytest.raises(CheckpointError):
                    open_checkpoint(bad, **arguments)
        with pytest.raises(CheckpointError):
            open_checkpoint(path, dec_key=b"0123456789abcdef")

    failing()
    gc.collect()
    before = open_files()
    failing()
    with open_checkpoint(path) as reader:
        reader.load()
    open_checkpoint(path)
    open_checkpoint(path, mmap=True).select()
    gc.collect()
    assert open_files() == before


def test_a_file_object_is_not_closed() -> None:
    file = io.BytesIO(DATA)
    file.seek(7)
    with open_checkpoint(file) as reader:
        reader.load()
    assert not file.closed
    assert file.tell() == 7


# -- a file that changes --------------------------------------------------------------------------


def appended(path: Path) -> None:
    with path.open("ab") as file:
        file.write(floats("more", 1.0))


def touched(path: Path) -> None:
    os.utime(path, ns=(1, 1))


def replaced(path: Path) -> None:
    """By a file of the same size and time, as a careful writer does."""
    status = path.stat()
    other = path.with_name("other")
    other.write_bytes(DATA[:-1] + b"\x01")
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(path)


def cut(path: Path) -> None:
    os.truncate(path, 20)


@posix_only
@pytest.mark.parametrize("change", [appended, touched, replaced, cut])
@pytest.mark.parametrize(
    "use",
    [
        lambda reader: reader["w"],
        lambda reader: reader.get_slice("w")[0],
        lambda reader: reader.load(),
        lambda reader: reader.fill([("w", np.zeros((4, 3, 2), "<f4"))]),
        lambda reader: reader.get_slice("w").flat(0, 3),
        lambda reader: list(reader.pieces(reader.info("w"))),
    ],
)
def test_a_file_that_was_changed_is_noticed_at_each_read(
    path: Path, change: Callable[[Path], None], use: Callable[[Reader], Any]
) -> None:
    with open_checkpoint(path) as reader:
        use(reader)
        change(path)
        with pytest.raises(ChangedFileError) as caught:
            use(reader)
        assert caught.value.path == str(path)
        assert caught.value.hint
        assert reader.info("w").shape == (4, 3, 2)


# -- threads, processes ---------------------------------------------------------------------------


def test_threads_may_read_at_once(path: Path) -> None:
    with open_checkpoint(path) as reader, ThreadPoolExecutor(8) as pool:
        barrier = threading.Barrier(8)

        def read(number: int) -> bool:
            barrier.wait()
            return all(
                np.array_equal(reader["w"].asnumpy(), MATRIX)
                and reader["note"] == "hello"
                and np.array_equal(reader.get_slice("w")[number % 4].asnumpy(), MATRIX[number % 4])
                for _ in range(40)
            )

        assert all(pool.map(read, range(8)))


def test_threads_may_share_a_file_object() -> None:
    with open_checkpoint(io.BytesIO(DATA)) as reader, ThreadPoolExecutor(4) as pool:
        assert all(pool.map(lambda _: np.array_equal(reader["w"].asnumpy(), MATRIX), range(100)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_process_may_read_while_its_parent_does(path: Path) -> None:
    with open_checkpoint(path) as reader:
        assert reader["b"].asnumpy().tolist() == [1, 2]
        child = os.fork()
        if child == 0:  # pragma: no cover -- the child is not measured
            good = all(np.array_equal(reader["w"].asnumpy(), MATRIX) for _ in range(50))
            reader.close()
            os._exit(0 if good else 1)
        here = all(np.array_equal(reader["w"].asnumpy(), MATRIX) for _ in range(50))
        _, status = os.waitpid(child, 0)
        assert here
        assert os.waitstatus_to_exitcode(status) == 0
        assert np.array_equal(reader["w"].asnumpy(), MATRIX)


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_reader_by_path_is_pickled_as_its_path(path: Path, protocol: int, mapped: bool) -> None:
    with open_checkpoint(path, mmap=mapped) as reader:
        data = pickle.dumps(reader, protocol)
        assert len(data) < 500
    with pickle.loads(data) as again:
        assert list(again) == NAMES
        assert np.array_equal(again["w"].asnumpy(), MATRIX)
        assert again["w"].asnumpy().flags.owndata is not mapped
    path.unlink()
    with pytest.raises(ReadError):
        pickle.loads(data)


def test_what_cannot_be_opened_again_is_not_pickled(path: Path) -> None:
    closed = open_checkpoint(path)
    closed.close()
    with open_checkpoint(DATA) as first, open_checkpoint(io.BytesIO(DATA)) as second, open_checkpoint(path) as third:
        for reader in (first, second, third.select(), closed):
            with pytest.raises(CheckpointError, match="can be pickled") as caught:
                pickle.dumps(reader)
            assert caught.value.hint


def test_an_encrypted_reader_is_not_pickled_since_that_would_write_its_key() -> None:
    with (
        open_checkpoint(FIXTURES / "enc_gcm.ckpt", dec_key=b"0123456789abcdef") as reader,
        pytest.raises(CheckpointError, match="can be pickled"),
    ):
        pickle.dumps(reader)


# -- mmap -----------------------------------------------------------------------------------------


def test_mapped_tensors_are_views_that_outlive_the_reader(path: Path) -> None:
    """Writing to one changes what the same reader gives later, but not the file."""
    with open_checkpoint(path, mmap=True) as reader:
        view = reader["w"].asnumpy()
        assert not view.flags.owndata
        assert np.array_equal(view, MATRIX)
        view[0] += 1
        assert np.array_equal(reader["w"].asnumpy(), view)
        with open_checkpoint(path, mmap=True) as again:
            assert np.array_equal(again["w"].asnumpy(), MATRIX)
        assert reader["note"] == "hello"
        assert [part.tolist() for part in reader["m"]] == [[0, 0], [[0], [0]]]
        assert reader.get_slice("w")[1].asnumpy().flags.owndata
    view[:] = 0
    assert not view.any()
    assert path.read_bytes() == DATA


@pytest.mark.parametrize("kind", ["ckpt", "safetensors"])
def test_some_tensors_of_a_mapped_file_are_copies(kind: str, tmp_path: Path) -> None:
    """A scalar is a view like any other tensor."""
    path = tmp_path / f"x.{kind}"
    values = {"w": np.ones((2, 3), np.float32), "scalar": np.array(5), "empty": np.zeros((0, 3))}
    save_checkpoint(values, path, format=kind)
    with open_checkpoint(path, mmap=True) as reader:
        copies = {name for name in reader if reader[name].asnumpy().base is None}
        reader["scalar"].asnumpy()[...] = 6
        assert reader["scalar"].asnumpy() == 6
        part = reader.get_slice("w")
        assert all(one.asnumpy().flags.owndata for one in (part[...], part[:], part[0], part.flat(0, 6)))
    assert copies == {"empty"}


def test_slices_and_wide_bfloat16_of_a_mapped_file_are_copies(tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    slices = record("slices", (2,), "Int8", b"a") + record("slices", (2,), "Int8", b"b")
    path.write_bytes(floats("w", 1.0) + slices + record("wide", (2,), "BFloat16", bytes(8)))
    with open_checkpoint(path, mmap=True) as reader:
        assert {name for name in reader if reader[name].asnumpy().flags.owndata} == {"slices", "wide"}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc what is mapped")
def test_a_view_keeps_the_mapping_and_no_longer(path: Path) -> None:
    def mapped() -> bool:
        gc.collect()
        with open("/proc/self/maps") as maps:  # noqa: PTH123
            return str(path) in maps.read()

    reader = open_checkpoint(path, mmap=True)
    values = [reader["w"].asnumpy(), reader["b"].asnumpy()]
    reader.close()
    path.unlink()
    assert mapped()
    values.pop()
    assert mapped()
    assert np.array_equal(values[0], MATRIX)
    values.clear()
    assert not mapped()


@pytest.mark.skipif(sys.platform != "linux", reason="systems may show a change or not; Linux does")
def test_a_view_may_change_with_the_file_and_a_copy_does_not(path: Path) -> None:
    with open_checkpoint(path, mmap=True) as mapping, open_checkpoint(path) as reading:
        view, copy = mapping["w"].asnumpy(), reading["w"].asnumpy()
        with path.open("r+b") as file:
            file.seek(mapping.info("w").spans[0][0])
            file.write(np.full_like(MATRIX, 7).tobytes())
        assert np.array_equal(copy, MATRIX)
        assert np.array_equal(view, np.full_like(MATRIX, 7))


def test_mapping_means_nothing_for_what_is_no_file() -> None:
    with open_checkpoint(DATA, mmap=True) as reader:
        assert reader["w"].asnumpy().flags.owndata


# -- arguments ------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", [None, 5, ["model.ckpt"], io.StringIO("text"), object()], ids=repr)
def test_what_cannot_be_opened_is_a_type_error(source: Any) -> None:
    with pytest.raises(ArgumentTypeError) as caught:
        open_checkpoint(source)
    assert isinstance(caught.value, TypeError)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"format": "CKPT"}, ArgumentError),
        ({"format": 5}, ArgumentError),
        ({"dec_key": "0123456789abcdef"}, ArgumentTypeError),
        ({"dec_key": bytearray(16)}, ArgumentTypeError),
        ({"dec_mode": None}, ArgumentTypeError),
    ],
)
def test_arguments_are_checked(path: Path, arguments: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        open_checkpoint(path, **arguments)
    assert "0123456789abcdef" not in str(caught.value)


@pytest.mark.parametrize("name", ["model.ckpt", "model.bin", "model"])
def test_any_name_opens_as_a_ckpt_by_its_first_bytes(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(DATA)
    for source in (path, str(path)):
        with open_checkpoint(source) as reader:
            assert reader.format == "ckpt"
            assert list(reader) == NAMES


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_of_any_kind_are_opened(kind: Any) -> None:
    with open_checkpoint(kind(DATA)) as reader:
        assert np.array_equal(reader["w"].asnumpy(), MATRIX)


# -- files larger than memory ---------------------------------------------------------------------


@posix_only
def test_a_tensor_beyond_2_gib_is_indexed_and_sliced(tmp_path: Path) -> None:
    path = sparse(tmp_path / "big.ckpt", [("a", (3, 1 << 28)), ("b", (700 << 20,)), ("c", (2,))])
    offset = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(offset - 8)
        file.write(np.array([1, 2], "<f4").tobytes())
    source = CountingSource(path)
    with open_checkpoint(source) as reader:
        assert {name: reader.info(name).shape for name in reader} == {
            "a": (3, 1 << 28),
            "b": (700 << 20,),
            "c": (2,),
        }
        assert reader["c"].asnumpy().tolist() == [1, 2]
        assert reader.get_slice("b")[-3:].shape == (3,)
        assert reader.get_slice("a").flat((3 << 28) - 5, 3 << 28).shape == (5,)
        assert reader.get_slice("b")[600 << 20].asnumpy() == 0
        assert source.total < 40_000


@posix_only
def test_a_file_of_40_gib_is_listed(tmp_path: Path) -> None:
    """At one read of a page for each entry."""
    entries = [(f"layers.{number}.weight", (4096, 4096)) for number in range(640)]
    source = CountingSource(sparse(tmp_path / "huge.ckpt", entries))
    assert source.size > 40 << 30
    with open_checkpoint(source) as reader:
        assert list(reader) == [name for name, _ in entries]
        assert sum(reader.info(name).nbytes for name in reader) == 40 << 30
    assert len(source.reads) <= 645
    assert source.total < 3 << 20
