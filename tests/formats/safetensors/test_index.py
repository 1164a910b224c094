"""Reading safetensors: the library judges, our sources read, MindSpore's rules hold."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import subprocess
import sys
import tempfile
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest
import safetensors
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save as save_st

from ckptload import dtypes, load_checkpoint, open_checkpoint
from ckptload.errors import (
    ArgumentError,
    ArgumentTypeError,
    ChangedFileError,
    CheckpointError,
    ChecksumError,
    CorruptCheckpointError,
    EmptyCheckpointError,
    OutOfMemoryError,
    ReadError,
    UnsupportedTypeError,
    WrongFormatError,
)
from ckptload.formats.safetensors import index
from places import FIXTURES
from strategies import CountingSource, floats

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def made(header: object, content: bytes = b"", length: int | None = None) -> bytes:
    """Put a file together by hand: any header, which may claim any length."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + content


def of(kind: str, *shape: int, at: tuple[int, int]) -> dict[str, object]:
    return {"dtype": kind, "shape": list(shape), "data_offsets": list(at)}


SMALL = made(
    {
        "__metadata__": {"format": "ms"},
        "b": of("F32", 2, 3, at=(0, 24)),
        "a.10": of("I64", 2, at=(24, 40)),
        "a.2": of("BOOL", at=(40, 41)),
        "\u6743": of("F32", 0, 3, at=(41, 41)),
    },
    np.arange(6, dtype="<f4").tobytes() + np.array([7, -8], "<i8").tobytes() + b"\1",
)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.safetensors"
    path.write_bytes(SMALL)
    return path


def load(data: bytes, **arguments: Any) -> dict[str, Any]:
    return load_checkpoint(io.BytesIO(data), format="safetensors", **arguments)


def accepts(data: bytes) -> bool:
    """Ask the library whether this is a safetensors file."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        try:
            with safetensors.safe_open(file.name, framework="numpy"):
                return True
        except safetensors.SafetensorError:
            return False


def unknown_type(data: bytes) -> bool:
    """Tell whether the library refuses a file because it does not know a type."""
    deserialize: Callable[[bytes], object] = safetensors.deserialize
    try:
        deserialize(data)
    except safetensors.SafetensorError as error:
        return "unknown variant" in str(error)
    return False


# -- values -------------------------------------------------------------------------------------------------


def test_names_are_sorted_by_code_point_and_are_the_names_of_the_parameters(small: Path) -> None:
    found = load_checkpoint(str(small), format="safetensors")
    assert list(found) == ["a.10", "a.2", "b", "\u6743"]
    assert [value.name for value in found.values()] == list(found)


def test_scalars_and_empty_tensors_keep_their_shapes(small: Path) -> None:
    found = load_checkpoint(small, format="safetensors")
    assert found["a.2"].shape == ()
    assert found["a.2"].asnumpy().item() is True
    assert found["\u6743"].shape == (0, 3)
    np.testing.assert_array_equal(found["b"].asnumpy(), np.arange(6, dtype=np.float32).reshape(2, 3))
    np.testing.assert_array_equal(found["a.10"].asnumpy(), np.array([7, -8]))


@pytest.mark.parametrize("dtype", [d for d in dtypes.ALL if d.safetensors], ids=str)
def test_every_type_that_both_worlds_have_is_read_bit_for_bit(dtype: dtypes.DType) -> None:
    content = bytes(range(256))[: 4 * dtype.itemsize] if dtype is not dtypes.bool_ else b"\0\1\1\0"
    assert dtype.safetensors is not None
    data = made({"x": of(dtype.safetensors, 2, 2, at=(0, len(content)))}, content)
    if dtype is dtypes.complex64 and not accepts(data):
        pytest.skip("this version of the library does not know the type")
    assert accepts(data)
    value = load(data)["x"]
    assert value.dtype is dtype
    assert value.asnumpy().dtype == dtype.numpy
    assert value.get_bytes() == content


def test_what_the_library_writes_is_read() -> None:
    arrays = {
        "w": np.arange(12, dtype=np.float16).reshape(3, 4),
        "b": np.array([1.5, -2], ml_dtypes.bfloat16),
        "n": np.array(3, np.uint32),
    }
    found = load(save_st(arrays, metadata={"by": "the library"}))
    assert list(found) == ["b", "n", "w"]
    for name, array in arrays.items():
        assert found[name].asnumpy().dtype == array.dtype
        np.testing.assert_array_equal(found[name].asnumpy(), array)


def test_int4_is_int8_with_a_note_in_the_metadata() -> None:
    header = {"__metadata__": {"q": "Int4", "r": "other"}, "q": of("I8", 2, at=(0, 2)), "r": of("I8", 1, at=(2, 3))}
    found = load(made(header, b"\1\xff\2"))
    assert found["q"].dtype is dtypes.qint4x2
    assert found["r"].dtype is dtypes.int8


def test_tensors_may_have_the_names_of_metadata() -> None:
    names = ("format", "crc_num", "remove_redundancy")
    tensors = {name: of("F32", 1, at=(4 * at, 4 * at + 4)) for at, name in enumerate(names)}
    header = {"__metadata__": {"format": "ms", "remove_redundancy": "False"}, **tensors}
    assert set(load(made(header, bytes(12)))) == set(names)


@pytest.mark.parametrize("spelling", ["F8_E8M0", "F8_E4M3FNUZ", "Q7_NEW"])
def test_a_type_that_mindspore_lacks_blocks_only_itself(spelling: str) -> None:
    """Also one that the library does not know."""
    data = made({"a": of("F32", 1, at=(0, 4)), "s": of(spelling, 2, at=(4, 6))}, bytes(6))
    assert list(load(data, filter_prefix="s")) == ["a"]
    with pytest.raises(UnsupportedTypeError, match=spelling) as caught:
        load(data)
    assert caught.value.name == "s"
    assert "BF16" in str(caught.value.hint)
    with open_checkpoint(data) as reader:
        assert list(reader) == ["a", "s"]
        entry = reader.info("s")
        assert (entry.kind, entry.type_name, entry.shape, entry.nbytes) == ("unsupported", spelling, (2,), 2)


@pytest.mark.parametrize(("spelling", "shape", "size"), [("F4", 8, 4), ("F6_E2M3", 4, 3), ("Q7_NEW", 100, 1)])
def test_a_type_of_less_than_a_byte_is_listed(spelling: str, shape: int, size: int) -> None:
    data = made({"__metadata__": {"dtype": "text"}, "s": of(spelling, shape, at=(0, size))}, bytes(size))
    with open_checkpoint(data) as reader:
        assert (reader.info("s").shape, reader.info("s").nbytes) == ((shape,), size)


@pytest.mark.parametrize(
    ("described", "size"),
    [
        ({"dtype": "Q7", "shape": [1], "data_offsets": [1, 2]}, 2),
        ({"dtype": "Q7", "shape": [1], "data_offsets": [2, 0]}, 2),
        ({"dtype": "Q7", "shape": [1], "data_offsets": [0, 2]}, 3),
        ({"dtype": "Q7", "shape": [-1], "data_offsets": [0, 2]}, 2),
        ({"dtype": "Q7", "shape": [True], "data_offsets": [0, 2]}, 2),
        ({"dtype": "Q7", "shape": "x", "data_offsets": [0, 2]}, 2),
        ({"dtype": "Q7", "data_offsets": [0, 2]}, 2),
        ({"dtype": "Q7", "shape": [1], "data_offsets": [0]}, 2),
        ({"dtype": 7, "shape": [1], "data_offsets": [0, 2]}, 2),
    ],
)
def test_beside_an_unknown_type_the_library_still_decides(described: dict[str, Any], size: int) -> None:
    with pytest.raises(CorruptCheckpointError, match="the safetensors library refuses it"):
        open_checkpoint(made({"s": described}, bytes(size)), format="safetensors")
    also = {"s": of("Q7", 1, at=(0, 1)), "a": of("F32", 2, at=(1, 5))}
    with pytest.raises(CorruptCheckpointError, match="the safetensors library refuses it"):
        open_checkpoint(made(also, bytes(5)), format="safetensors")


def test_of_repeated_keys_the_last_counts() -> None:
    first, last = json.dumps(of("F32", 1, at=(0, 4))), json.dumps(of("I32", 1, at=(0, 4)))
    data = made(f'{{"a":{first},"a":{last}}}'.encode(), struct.pack("<i", 5))
    assert accepts(data)
    assert load(data)["a"].dtype is dtypes.int32


def test_the_order_of_the_header_is_free() -> None:
    data = made({"b": of("F32", 1, at=(4, 8)), "a": of("F32", 1, at=(0, 4))}, struct.pack("<2f", 1, 2))
    assert {name: value.asnumpy().item() for name, value in load(data).items()} == {"a": 1, "b": 2}


def test_values_own_their_memory(small: Path) -> None:
    found = load_checkpoint(str(small), format="safetensors")
    small.unlink()
    for value in found.values():
        flags = value.asnumpy().flags
        assert flags.aligned
        assert flags.writeable
        assert flags.c_contiguous
    found["b"].asnumpy()[:] = 5


# -- the lazy reader ----------------------------------------------------------------------------------------


def test_the_reader_tells_what_is_there_without_reading_it(small: Path) -> None:
    with open_checkpoint(small) as reader:
        assert reader.format == "safetensors"
        assert reader.cipher is None
        assert reader.metadata == {"format": "ms"}
        entry = reader.info("b")
        assert (entry.kind, entry.dtype, entry.shape, entry.nbytes) == ("tensor", dtypes.float32, (2, 3), 24)
        assert SMALL[slice(*entry.spans[0])] == np.arange(6, dtype="<f4").tobytes()
        assert reader.get_slice("b")[1:, ::2].asnumpy().tolist() == [[3, 5]]
        room = np.empty((2, 3), np.float32)
        reader.fill([("b", room)])
        assert room[1, 2] == 5
        assert not reader.verify_crc()
        reader.authenticate()


def test_only_what_is_wanted_is_read() -> None:
    arrays = {f"layer{number}": np.full(1000, number, np.float32) for number in range(20)}
    source = CountingSource(save_st(arrays))
    with open_checkpoint(source, format="safetensors") as reader:
        header = source.total
        # Before the header, its length is read, and the 64 bytes that tell an index of shards.
        assert header == source.size - 20 * 4000 + 8 + 64
        value = reader["layer7"]
    np.testing.assert_array_equal(value.asnumpy(), arrays["layer7"])
    assert source.total - header == 4000


@pytest.mark.parametrize("name", ["x.safetensors", "x.bin", "x"])
def test_the_format_is_found_by_name_or_by_the_first_bytes(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(SMALL)
    assert open_checkpoint(tmp_path / name).format == "safetensors"


def test_a_mapped_file_gives_views(small: Path) -> None:
    with open_checkpoint(small, mmap=True) as reader:
        array = reader["b"].asnumpy()
        assert not array.flags.owndata
        np.testing.assert_array_equal(array, np.arange(6, dtype=np.float32).reshape(2, 3))
    assert array[1, 2] == 5


def test_a_reader_is_pickled_by_its_path(small: Path) -> None:
    with open_checkpoint(small) as reader, pickle.loads(pickle.dumps(reader)) as again:
        assert list(again) == list(reader)
        assert again.format == "safetensors"


def test_a_file_that_changes_is_noticed(small: Path) -> None:
    with open_checkpoint(small) as reader:
        small.write_bytes(SMALL[:-1] + b"\0")
        os.utime(small, ns=(1, 1))
        with pytest.raises(ChangedFileError):
            reader["a.2"]


# -- filters ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "kept"),
    [
        ({"specify_prefix": "a"}, ["a.10", "a.2"]),
        ({"filter_prefix": ["a.1", "b"]}, ["a.2", "\u6743"]),
        ({"specify_prefix": "b", "choice_func": lambda name: name == "a.2"}, ["b"]),
        ({"choice_func": lambda name: name == "a.2"}, ["a.2"]),
    ],
)
def test_filters_work_as_they_do_for_ckpt(arguments: dict[str, Any], kept: list[str]) -> None:
    assert list(load(SMALL, **arguments)) == kept


def test_nothing_left_and_nothing_there_are_told_apart() -> None:
    with pytest.raises(EmptyCheckpointError, match="keeps nothing of the 4"):
        load(SMALL, choice_func=lambda _: False)
    with pytest.raises(EmptyCheckpointError, match="has no tensors"):
        load(made({"__metadata__": {"format": "ms"}}))


def test_an_exception_of_choice_func_is_the_cause() -> None:
    def fails(name: str) -> bool:
        raise LookupError(name)

    with pytest.raises(CheckpointError, match="LookupError") as caught:
        load(SMALL, choice_func=fails)
    assert isinstance(caught.value.__cause__, LookupError)


# -- arguments ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [{"dec_key": bytes(16)}, {"dec_mode": "AES-CBC"}])
def test_a_key_or_a_mode_is_refused(small: Path, arguments: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match="never encrypted"):
        load_checkpoint(small, format="safetensors", **arguments)


def test_a_key_is_refused_by_the_reader(small: Path) -> None:
    with pytest.raises(ArgumentError, match="never encrypted"):
        open_checkpoint(small, dec_key=bytes(16))


def test_a_name_must_fit_the_format(small: Path) -> None:
    with pytest.raises(ArgumentError, match="format='safetensors'"):
        load_checkpoint(small)


@pytest.mark.parametrize("position", [0, 3, len(SMALL)])
def test_a_file_object_is_read_from_its_start(position: int) -> None:
    file = io.BytesIO(SMALL)
    file.seek(position)
    assert len(load_checkpoint(file, format="safetensors")) == 4
    assert file.tell() == position


def test_open_files_and_bytes_are_read(small: Path) -> None:
    with small.open("rb") as file:
        assert load_checkpoint(file, format="safetensors")["b"].shape == (2, 3)
    with open_checkpoint(SMALL) as reader:
        assert reader["b"].shape == (2, 3)
    with pytest.raises(ArgumentTypeError), small.open() as text:
        load_checkpoint(text, format="safetensors")


@pytest.mark.parametrize("argument", [True, False])
@pytest.mark.parametrize("flag", [True, False])
def test_the_flag_of_the_file_wins_over_remove_redundancy(argument: bool, flag: bool) -> None:
    data = made({"__metadata__": {"remove_redundancy": str(flag)}, "a": of("F32", 1, at=(0, 4))}, bytes(4))
    if flag is argument:
        assert list(load(data, remove_redundancy=argument)) == ["a"]
        return
    with pytest.warns(UserWarning, match=f"remove_redundancy={argument} is taken for {flag}") as caught:
        assert list(load(data, remove_redundancy=argument)) == ["a"]
    assert caught[0].filename == __file__


# -- the checksum -------------------------------------------------------------------------------------------


def summed(*, flip: bool = False, crc: str | None = None) -> bytes:
    """Make a file with a sum over names and content, in sorted order."""
    z, b = struct.pack("<f", 1), struct.pack("<2f", 2, 3)
    header = {
        "__metadata__": {"format": "ms", "crc_num": crc or str(zlib.crc32(b"b" + b + b"z" + z))},
        "z": of("F32", 1, at=(0, 4)),
        "b": of("F32", 2, at=(4, 12)),
    }
    return made(header, (b"\0\0\1\0" if flip else z) + b)


@pytest.mark.filterwarnings("ignore::ckptload.errors.PartialChecksumWarning")
def test_a_right_sum_is_found_right() -> None:
    assert list(load(summed(), crc_check=True)) == ["b", "z"]
    with open_checkpoint(summed()) as reader:
        assert reader.verify_crc()


@pytest.mark.parametrize("data", [summed(flip=True), summed(crc="12"), summed(crc="no number")])
def test_a_wrong_sum_is_an_error_even_if_its_tensor_is_not_wanted(data: bytes) -> None:
    assert list(load(data, specify_prefix="b")) == ["b"]
    with pytest.raises(ChecksumError, match="crc_num"):
        load(data, crc_check=True, specify_prefix="b")


def test_a_file_without_a_sum_is_warned_about() -> None:
    with pytest.warns(UserWarning, match="no CRC-32"):
        load(SMALL, crc_check=True)


@pytest.mark.filterwarnings("ignore::ckptload.errors.PartialChecksumWarning")
def test_a_single_integer_is_summed_as_mindspore_does_it() -> None:
    """MindSpore passes each array to bytes(), which makes of a single integer so many zeros."""
    header = {
        "__metadata__": {"crc_num": str(zlib.crc32(b"step" + bytes(70_000)))},
        "step": of("I64", at=(0, 8)),
    }
    assert load(made(header, struct.pack("<q", 70_000)), crc_check=True)["step"].asnumpy() == 70_000


# -- what is refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", range(0, len(SMALL), 7))
def test_a_cut_file_is_refused_with_the_librarys_reason(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "cut.safetensors"
    path.write_bytes(SMALL[:cut])
    for source in (path, io.BytesIO(SMALL[:cut])):
        with pytest.raises(CorruptCheckpointError if cut else EmptyCheckpointError) as caught:
            load_checkpoint(source, format="safetensors")
        assert caught.value.path is not None
        assert caught.value.hint is not None


BROKEN = {
    "a byte too many": SMALL + b"\0",
    "a gap": made({"a": of("F32", 1, at=(4, 8))}, bytes(8)),
    "an overlap": made({"a": of("F32", 1, at=(0, 4)), "b": of("F32", 1, at=(2, 6))}, bytes(6)),
    "a wrong size": made({"a": of("F32", 3, at=(0, 8))}, bytes(8)),
    "more than 64 bits": made({"a": of("F32", 1 << 32, 1 << 32, at=(0, 0))}),
    "a negative dim": made({"a": of("F32", -1, at=(0, 4))}, bytes(4)),
    "a type that is no text": made({"a": {"dtype": 1, "shape": [1], "data_offsets": [0, 4]}}, bytes(4)),
    "a list": made([]),
    "no JSON": made(b"{x"),
    "text that is no text": made({"__metadata__": {"a": 1}}),
    "no shape": made({"a": {"dtype": "F32", "data_offsets": [0, 4]}}, bytes(4)),
    "an endless length": made({}, length=(1 << 64) - 1),
    "a header over the limit": made({}, length=100_000_001),
    "deep nesting": made(b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}"),
    "no UTF-8": made(b'{"\xff":1}'),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_damaged_header_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(BROKEN[name])
    assert not accepts(BROKEN[name])
    for source in (path, io.BytesIO(BROKEN[name])):
        with pytest.raises(CorruptCheckpointError, match="the safetensors library refuses it: "):
            load_checkpoint(source, format="safetensors")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (floats("w", 1, 2), "a MindSpore .ckpt"),
        ((FIXTURES / "encrypted" / "enc_1.10.0_gcm128.ckpt").read_bytes(), "a MindSpore .ckpt"),
        (b"<!DOCTYPE html><html></html>", "an HTML page"),
        (b"PK\3\4" + bytes(100), "a zip archive"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "a Git LFS pointer"),
        (b"see the other folder for the model\n", "a text file"),
    ],
)
def test_another_kind_of_file_is_named(tmp_path: Path, content: bytes, what: str) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(WrongFormatError, match=f"this is not a safetensors file but {what}") as caught:
        load_checkpoint(path, format="safetensors")
    assert caught.value.path == str(path)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_what_is_no_readable_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "d.safetensors").mkdir()
    for name in ("d.safetensors", "missing.safetensors", "nul\0.safetensors"):
        with pytest.raises(ReadError):
            load_checkpoint(f"{tmp_path}/{name}", format="safetensors")


@settings(max_examples=150)
@given(st.data())
def test_a_mutated_file_opens_here_exactly_if_it_opens_in_the_library(data: st.DataObject) -> None:
    content = bytearray(SMALL)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.one_of(st.integers(0, 255), st.sampled_from(b'0129{}[]",:-eE. ')))
    try:
        with open_checkpoint(bytes(content), format="safetensors") as reader:
            opened = True
            reader.load()
    except UnsupportedTypeError:
        opened = True
    except CorruptCheckpointError:
        opened = False
    assert opened == accepts(bytes(content)) or (opened and unknown_type(bytes(content)))


# -- how the library is asked -------------------------------------------------------------------------------


@pytest.mark.parametrize("opened", [False, True])
def test_a_file_of_any_size_is_judged_without_reading_or_mapping_its_content(tmp_path: Path, opened: bool) -> None:
    """64 GiB of hole behind the header are neither read nor mapped."""
    size = 64 << 30
    path = tmp_path / "hole.safetensors"
    with path.open("wb") as file:
        file.write(made({"a": of("U8", size, at=(0, size))}))
        file.truncate(file.tell() + size)
    with path.open("rb") as source, open_checkpoint(source if opened else path) as reader:
        assert reader.info("a").nbytes == size
        assert reader.get_slice("a")[size - 2 :].asnumpy().tolist() == [0, 0]


def test_a_wrong_size_is_told_with_both_sizes() -> None:
    for more, data in ((16, SMALL + bytes(16)), (-1, SMALL[:-1]), (1, made({}) + b"\0")):
        have = len(data)
        with pytest.raises(
            CorruptCheckpointError, match=f"a file of {have - more} bytes, this one has {have}"
        ) as caught:
            load(data)
        assert isinstance(caught.value.__cause__, safetensors.SafetensorError)


def test_numbers_in_the_words_of_the_library_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """A version of the library may say how many bytes are missing."""
    real: Callable[[bytes], object] = safetensors.deserialize

    def counting(content: bytes) -> object:
        try:
            return real(content)
        except safetensors.SafetensorError as error:
            raise safetensors.SafetensorError(f"{error}, {len(content)} bytes") from None

    monkeypatch.setattr(safetensors, "deserialize", counting)
    assert len(load(SMALL)) == 4
    for broken in BROKEN.values():
        with pytest.raises(CorruptCheckpointError):
            load(broken)


def test_the_library_is_imported_only_when_it_is_needed() -> None:
    code = "import ckptload, sys; sys.exit('safetensors' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_too_little_memory_to_judge_is_our_error(monkeypatch: pytest.MonkeyPatch, small: Path) -> None:
    def full(_: bytes) -> None:
        raise MemoryError

    monkeypatch.setattr(safetensors, "deserialize", full)
    # An open file with the same header would have been judged already.
    monkeypatch.setattr("ckptload.formats.safetensors.header._IN_USE", {})
    with pytest.raises(OutOfMemoryError, match="to open the checkpoint") as caught:
        load_checkpoint(str(small), format="safetensors")
    assert caught.value.path == str(small)


# -- what the library and our parser would understand differently --------------------------------------------


@pytest.fixture
def _unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the library accept everything."""
    monkeypatch.setattr(index, "_judge", lambda *_: None)


@pytest.mark.usefixtures("_unseen")
@pytest.mark.parametrize("name", sorted(set(BROKEN) - {"a gap", "an overlap"}))
def test_what_the_library_accepts_is_no_better_trusted(name: str) -> None:
    """Gaps and overlaps do no harm; everything else is noticed."""
    with pytest.raises(CheckpointError):
        load(BROKEN[name])


@pytest.mark.usefixtures("_unseen")
@pytest.mark.parametrize(
    "described",
    [
        {**of("F32", 1, at=(0, 4)), "shape": 4},
        {**of("F32", 1, at=(0, 4)), "shape": [True]},
        {**of("F32", 1, at=(0, 4)), "dtype": ["F32"]},
        {**of("F32", 1, at=(0, 4)), "data_offsets": [0, 4, 4]},
        of("F32", 2, at=(0, 4)),
        of("F32", -1, at=(4, 0)),
    ],
)
def test_a_tensor_that_only_the_library_accepts_is_looked_at(described: object) -> None:
    data = made({"a": of("F32", 1, at=(0, 4)), "b": described}, bytes(4))
    assert list(load(data, specify_prefix="a")) == ["a"]
    with pytest.raises(CorruptCheckpointError, match="only the safetensors library accepts") as caught:
        load(data)
    assert caught.value.name == "b"


@pytest.mark.usefixtures("_unseen")
@pytest.mark.parametrize("described", [{}, [], None, {**of("F32", 1, at=(0, 4)), "data_offsets": [0]}])
def test_a_tensor_without_a_place_is_an_error(described: object) -> None:
    with pytest.raises(CorruptCheckpointError, match="only the safetensors library can read its header"):
        load(made({"a": of("F32", 1, at=(0, 4)), "b": described}, bytes(4)))


@pytest.mark.usefixtures("_unseen")
@settings(max_examples=100)
@given(st.data())
def test_without_any_judge_only_errors_of_ours_leave(data: st.DataObject) -> None:
    content = bytearray(SMALL)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.one_of(st.integers(0, 255), st.sampled_from(b'0129{}[]",:-eE. ')))
    with suppress(CheckpointError), open_checkpoint(bytes(content), format="safetensors") as reader:
        reader.verify_crc()
        reader.load()
