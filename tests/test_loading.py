"""load_checkpoint: its arguments, its filters, what it reads, and what it returns."""

from __future__ import annotations

import bz2
import errno
import gzip
import inspect
import io
import lzma
import os
import pickle
import tempfile
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest

import ckptload
from ckptload import load_checkpoint, open_checkpoint
from ckptload.encryption.encrypting import EncryptingWriter
from ckptload.errors import (
    ArgumentError,
    ArgumentTypeError,
    CheckpointError,
    ChecksumError,
    CorruptCheckpointError,
    DecryptionError,
    EmptyCheckpointError,
    EncryptedCheckpointError,
    LimitError,
    MissingFileError,
    ReadError,
    UnsupportedTypeError,
    WrongFormatError,
)
from ckptload.tensors.parameter import Parameter
from places import FIXTURES
from strategies import CountingSource, floats, mapping, record, sparse, tensor, text, with_crc

if TYPE_CHECKING:
    from collections.abc import Callable

NAMES = ["conv1.weight", "conv1.bias", "conv2.weight", "fc.weight"]
DATA = b"".join(floats(name, at, at + 0.5) for at, name in enumerate(NAMES))
KEY = b"0123456789abcdef"


@pytest.fixture
def path(tmp_path: Path) -> str:
    made = tmp_path.resolve() / "model.ckpt"
    made.write_bytes(DATA)
    return str(made)


def plain(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value.asnumpy().tolist() for name, value in values.items()}


EXPECTED = {name: [at, at + 0.5] for at, name in enumerate(NAMES)}

# -- the signature --------------------------------------------------------------------------------


def test_the_signature_is_the_given_one_and_what_is_added_is_by_keyword() -> None:
    parameters = inspect.signature(load_checkpoint).parameters
    given = {name: each.default for name, each in parameters.items() if each.kind is each.POSITIONAL_OR_KEYWORD}
    assert list(given.items()) == [
        ("ckpt_file_name", inspect.Parameter.empty),
        ("net", None),
        ("strict_load", False),
        ("filter_prefix", None),
        ("dec_key", None),
        ("dec_mode", "AES-GCM"),
        ("specify_prefix", None),
        ("choice_func", None),
        ("crc_check", False),
        ("remove_redundancy", False),
        ("format", "ckpt"),
    ]
    assert {each.kind for name, each in parameters.items() if name not in given} == {inspect.Parameter.KEYWORD_ONLY}


def test_arguments_may_be_given_by_position(path: str) -> None:
    got = load_checkpoint(path, None, False, "conv2", None, "AES-GCM", "conv", None, False, False, "ckpt")
    assert list(got) == ["conv1.weight", "conv1.bias"]


# -- arguments of the wrong type or value ---------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"specify_prefix": b"conv"}, ArgumentTypeError, "specify_prefix must be a str"),
        ({"filter_prefix": {"conv"}}, ArgumentTypeError, "filter_prefix must be a str"),
        ({"specify_prefix": [1]}, ArgumentTypeError, r"specify_prefix\[0\] must be a str"),
        ({"specify_prefix": []}, ArgumentError, "is empty"),
        ({"filter_prefix": ""}, ArgumentError, "has an empty prefix"),
        ({"dec_key": "a" * 16}, ArgumentTypeError, "dec_key must be bytes or None, not str"),
        ({"dec_key": bytearray(KEY)}, ArgumentTypeError, "dec_key must be bytes or None, not bytearray"),
        ({"dec_key": True}, ArgumentTypeError, "dec_key must be bytes or None, not bool"),
        ({"dec_mode": None}, ArgumentTypeError, "dec_mode must be a string"),
        ({"dec_mode": b"AES-GCM"}, ArgumentTypeError, "dec_mode must be a string"),
        ({"crc_check": 1}, ArgumentTypeError, "crc_check must be True or False"),
        ({"crc_check": None}, ArgumentTypeError, "crc_check must be True or False"),
        ({"crc_check": np.bool_(True)}, ArgumentTypeError, "crc_check must be True or False"),
        ({"remove_redundancy": 0}, ArgumentTypeError, "remove_redundancy must be True or False"),
        ({"format": "CKPT"}, ArgumentError, "format must be 'ckpt' or 'safetensors'"),
        ({"format": None}, ArgumentError, "format must be 'ckpt' or 'safetensors'"),
        ({"format": "safetensors", "dec_key": KEY}, ArgumentError, "safetensors files are never encrypted"),
        ({"format": "safetensors", "dec_mode": "AES-CBC"}, ArgumentError, "safetensors files are never encrypted"),
    ],
)
def test_an_argument_that_cannot_be_is_refused(
    path: str, arguments: dict[str, Any], error: type[CheckpointError], words: str
) -> None:
    with pytest.raises(error, match=words) as caught:
        load_checkpoint(path, **arguments)
    assert isinstance(caught.value, TypeError) is (error is ArgumentTypeError)
    # No message ever holds a key.
    for secret in ("a" * 16, KEY.decode()):
        assert secret not in str(caught.value)
        assert secret not in repr(caught.value)


def test_arguments_are_checked_before_the_file_is_looked_for() -> None:
    with pytest.raises(ArgumentTypeError, match="crc_check"):
        load_checkpoint("absent.ckpt", crc_check=cast("Any", 1))


def test_a_mode_counts_only_where_there_is_a_key(path: str) -> None:
    assert plain(load_checkpoint(path, dec_mode="nonsense")) == EXPECTED


@pytest.mark.parametrize("name", [5, None, ["model.ckpt"], object()], ids=repr)
def test_a_name_of_another_type_is_a_type_error(name: Any) -> None:
    with pytest.raises(ArgumentTypeError, match="from a path, bytes or a binary file object"):
        load_checkpoint(name)


@pytest.mark.parametrize("name", [b"model.ckpt", bytearray(DATA), memoryview(DATA)])
def test_bytes_are_neither_a_name_nor_content(name: Any) -> None:
    """A path in bytes would be taken for content."""
    with pytest.raises(ArgumentTypeError, match=r"not from (bytes|bytearray|memoryview)") as caught:
        load_checkpoint(name)
    assert "io.BytesIO" in (caught.value.hint or "")


# -- names of files -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["model.ckpt", "modelckpt", "ckpt", "größe.ckpt", "a b.ckpt"])
def test_a_name_must_end_in_the_format_with_or_without_a_dot(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(DATA)
    assert plain(load_checkpoint(str(tmp_path / name))) == EXPECTED
    assert plain(load_checkpoint(tmp_path / name)) == EXPECTED


@pytest.mark.parametrize("name", ["model.CKPT", "model.ckpt.bak", "model", "model.safetensors", "model.ckpt "])
@pytest.mark.parametrize("kind", [str, Path])
def test_another_ending_is_refused(tmp_path: Path, name: str, kind: Any) -> None:
    (tmp_path / name).write_bytes(DATA)
    with pytest.raises(ArgumentError, match="the name does not end in 'ckpt'") as caught:
        load_checkpoint(kind(tmp_path / name))
    assert caught.value.path == str(tmp_path / name)
    assert caught.value.hint


def test_the_ending_is_that_of_the_given_name_and_the_path_that_of_the_file(tmp_path: Path) -> None:
    target = tmp_path.resolve() / "target.bin"
    target.write_bytes(DATA[:-1])
    link = tmp_path / "link.ckpt"
    try:
        link.symlink_to(target)
    except OSError:
        pytest.skip("no symbolic links here")
    with pytest.raises(CorruptCheckpointError) as caught:
        load_checkpoint(str(link))
    assert caught.value.path == str(target)


def test_a_home_folder_is_not_expanded() -> None:
    with pytest.raises(MissingFileError, match="No such file"):
        load_checkpoint("~/absent/model.ckpt")


@pytest.mark.parametrize("door", [load_checkpoint, open_checkpoint, lambda path: open_checkpoint(path, mmap=True)])
def test_a_file_that_is_not_there_is_missing_as_it_is_to_python(door: Callable[[str], Any], tmp_path: Path) -> None:
    with pytest.raises(MissingFileError) as caught:
        door(str(tmp_path / "absent.ckpt"))
    assert isinstance(caught.value, FileNotFoundError)
    assert caught.value.errno == pickle.loads(pickle.dumps(caught.value)).errno == errno.ENOENT


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda _: None, "No such file"),
        (lambda path: path.mkdir(), "Is a directory|Permission denied"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(tmp_path: Path, make: Callable[[Path], None], reason: str) -> None:
    path = tmp_path.resolve() / "model.ckpt"
    make(path)
    with pytest.raises(ReadError, match=reason) as caught:
        load_checkpoint(str(path))
    assert isinstance(caught.value, OSError)
    assert isinstance(caught.value, ValueError)
    assert caught.value.path == str(path)
    assert caught.value.hint


def test_a_name_with_a_nul_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="NUL character"):
        load_checkpoint(str(tmp_path / "a\0.ckpt"))


# -- file objects ---------------------------------------------------------------------------------


def test_a_file_object_is_read_from_its_start_and_left_where_it_was(path: str) -> None:
    for position in (0, 5, len(DATA)):
        file = io.BytesIO(DATA)
        file.seek(position)
        assert plain(load_checkpoint(file)) == EXPECTED
        assert file.tell() == position
        assert not file.closed
    with Path(path).open("rb") as buffered:
        assert plain(load_checkpoint(buffered)) == EXPECTED
    with Path(path).open("rb", buffering=0) as unbuffered:
        assert plain(load_checkpoint(unbuffered)) == EXPECTED
    with tempfile.TemporaryFile() as temporary:
        temporary.write(DATA)
        assert plain(load_checkpoint(temporary)) == EXPECTED
    with tempfile.SpooledTemporaryFile() as spooled:
        spooled.write(DATA)
        assert plain(load_checkpoint(spooled)) == EXPECTED


@pytest.mark.parametrize("module", [gzip, bz2, lzma])
def test_a_compressed_file_may_be_read_through_its_module(path: str, module: Any) -> None:
    packed = Path(path + ".packed")
    with module.open(packed, "wb") as file:
        file.write(DATA)
    with module.open(packed, "rb") as file:
        assert plain(load_checkpoint(file)) == EXPECTED


@pytest.mark.parametrize("text_file", [io.StringIO("text"), io.TextIOWrapper(io.BytesIO(DATA))])
def test_a_text_file_is_a_type_error(text_file: Any) -> None:
    with pytest.raises(ArgumentTypeError) as caught:
        load_checkpoint(text_file)
    assert "'rb'" in (caught.value.hint or "")


def test_a_file_object_that_cannot_seek_is_refused() -> None:
    read, write = os.pipe()
    with open(read, "rb") as source, open(write, "wb") as sink:  # noqa: PTH123 -- they are descriptors
        sink.write(DATA)
        sink.flush()
        with pytest.raises(ReadError, match="is not seekable") as caught:
            load_checkpoint(source)
        assert caught.value.hint


def test_a_closed_file_object_is_refused() -> None:
    file = io.BytesIO(DATA)
    file.close()
    with pytest.raises(ReadError, match="closed"):
        load_checkpoint(file)


# -- filters --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"specify_prefix": "conv1"}, NAMES[:2]),
        ({"specify_prefix": ["fc", "conv2"]}, NAMES[2:]),
        ({"filter_prefix": ("conv1.b", "fc")}, [NAMES[0], NAMES[2]]),
        ({"specify_prefix": "conv", "filter_prefix": "conv1"}, [NAMES[2]]),
        ({"choice_func": lambda name: name.endswith("weight")}, [NAMES[0], *NAMES[2:]]),
        ({"choice_func": lambda _: 1 // 0, "specify_prefix": "fc"}, [NAMES[3]]),
    ],
)
def test_filters_keep_what_is_wanted_in_file_order(path: str, arguments: dict[str, Any], expected: list[str]) -> None:
    assert plain(load_checkpoint(path, **arguments)) == {name: EXPECTED[name] for name in expected}


def test_only_wanted_content_is_read() -> None:
    """Not a byte of the others, beyond the pages with their headers."""
    size = 1 << 20
    source = CountingSource(b"".join(record(name, (size,), "UInt8", bytes(size)) for name in "abcd"))
    asked = []

    def choose(name: str) -> bool:
        asked.append((name, source.total < 40_000))
        return name == "c"

    assert list(load_checkpoint(source, choice_func=choose)) == ["c"]
    assert asked == [(name, True) for name in "abcd"]
    spans = [(each * (source.size // 4) + 8192, (each + 1) * (source.size // 4)) for each in range(4)]
    assert [source.touched(*span) for span in spans] == [False, False, True, False]


@pytest.mark.filterwarnings("ignore::ckptload.errors.ForeignFieldWarning")
def test_choice_func_is_asked_once_for_each_name_however_many_slices() -> None:
    asked: list[str] = []
    data = floats("a", 1.0) * 3 + floats("b", 1.0) + floats("a", 1.0)
    data = data.replace(floats("a", 1.0), record("a", (3,), "Float32", b"1234"), 3)

    def choose(name: str) -> bool:
        asked.append(name)
        return True

    load_checkpoint(io.BytesIO(data), choice_func=choose)
    assert asked == ["a", "b"]


def test_what_choice_func_raises_is_the_cause(path: str) -> None:
    with pytest.raises(ValueError, match="the filter raised KeyError") as caught:
        load_checkpoint(path, choice_func=dict[str, bool]().__getitem__)
    assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_passes_through(path: str, interrupt: type[BaseException]) -> None:
    def choose(_: str) -> bool:
        raise interrupt

    with pytest.raises(interrupt):
        load_checkpoint(path, choice_func=choose)


def test_a_filter_that_keeps_nothing_says_what_there_was(path: str) -> None:
    with pytest.raises(EmptyCheckpointError, match="no name with these prefixes of the 4 entries") as caught:
        load_checkpoint(path, specify_prefix="conv3.weight")
    assert caught.value.path == path
    assert "'conv2.weight'" in (caught.value.hint or "")
    with pytest.raises(EmptyCheckpointError, match="the filter keeps nothing of the 4 entries"):
        load_checkpoint(path, choice_func=lambda _: False)


def test_names_are_not_printed_at_any_length() -> None:
    data = floats("n" * 60_000, 1.0)
    with pytest.raises(EmptyCheckpointError) as caught:
        load_checkpoint(io.BytesIO(data), choice_func=lambda _: False)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "the file is empty"),
        (with_crc(b""), "a CRC trailer but no record"),
        (DATA, "the filter keeps nothing"),
    ],
)
def test_the_three_ways_to_nothing_are_told_apart(data: bytes, problem: str) -> None:
    with pytest.raises(EmptyCheckpointError, match=problem):
        load_checkpoint(io.BytesIO(data), choice_func=lambda _: False)


# -- the checksum ---------------------------------------------------------------------------------


def test_a_right_sum_is_silent(path: str) -> None:
    Path(path).write_bytes(with_crc(DATA))
    assert plain(load_checkpoint(path, crc_check=True)) == EXPECTED
    assert plain(load_checkpoint(path)) == EXPECTED


def test_a_wrong_sum_is_an_error_only_where_it_is_asked_for(path: str) -> None:
    Path(path).write_bytes(with_crc(DATA, 1))
    assert plain(load_checkpoint(path)) == EXPECTED
    with pytest.raises(ChecksumError, match="the CRC-32 in the file is 0x00000001") as caught:
        load_checkpoint(path, crc_check=True, specify_prefix="fc")
    assert (caught.value.path, caught.value.offset) == (path, len(DATA))


def test_a_file_without_a_sum_is_warned_about_where_it_was_asked_for(path: str) -> None:
    with pytest.warns(UserWarning, match=r"model\.ckpt has no CRC-32") as caught:
        assert plain(load_checkpoint(path, crc_check=True)) == EXPECTED
    assert caught[0].filename == __file__


# -- what is returned -----------------------------------------------------------------------------


def test_the_result_is_a_plain_dict_of_parameters_strings_lists_and_bytes() -> None:
    data = (
        floats("w", 1.0)
        + text("s", "words")
        + mapping("m", tensor((1,), "int8", b"x"))
        + record("r", (), "random_op", b"state")
    )
    got = load_checkpoint(io.BytesIO(data))
    assert type(got) is dict
    assert list(got) == ["w", "s", "m", "r"]
    assert type(got["w"]) is Parameter is ckptload.Parameter
    assert repr(got["w"]) == "Parameter (name=w, shape=(1,), dtype=Float32, requires_grad=True)"
    assert (got["s"], got["r"]) == ("words", b"state")
    assert [part.tolist() for part in got["m"]] == [[120]]


@pytest.mark.parametrize("source", ["path", "Path", "file", "BytesIO"])
def test_arrays_are_the_callers_own(path: str, source: str) -> None:
    """Aligned, writable, C-contiguous, sharing nothing, and independent of the file once the call returns."""
    data = b"".join(
        record(f"{kind}{at}", (3, 5), kind, bytes(range(at, at + 15)) * size)
        for at in range(3)
        for kind, size in (("Int8", 1), ("Float16", 2), ("Float32", 4), ("Complex128", 16), ("BFloat16", 2))
    )
    Path(path).write_bytes(data)
    if source == "BytesIO":
        memory = io.BytesIO(data)
        got = load_checkpoint(memory)
        with memory.getbuffer() as inside:
            inside[:] = bytes(len(data))
    elif source == "file":
        with Path(path).open("rb") as file:
            got = load_checkpoint(file)
    else:
        got = load_checkpoint(path if source == "path" else Path(path))
    Path(path).write_bytes(bytes(len(data)))
    os.unlink(path)  # noqa: PTH108
    arrays = [value.asnumpy() for value in got.values()]
    for name, array in zip(got, arrays, strict=True):
        at = int(name[-1])
        assert array.tobytes() == bytes(range(at, at + 15)) * array.itemsize
        assert array.flags.aligned
        assert array.flags.writeable
        assert array.flags.c_contiguous
        assert array.flags.owndata
    assert not any(np.shares_memory(a, b) for at, a in enumerate(arrays) for b in arrays[:at])
    arrays[0][:] = 0
    assert not got["Int80"].asnumpy().any()


def test_values_are_not_judged() -> None:
    """Whatever the numbers are, they load without a word."""
    odd = (float("nan"), float("inf"), -float("inf"), 1e38, -0.0, 0.0)
    data = floats("odd", *odd) + floats("dead", *[0.0] * 8) + record("flag", (2,), "Bool", b"\x02\xff")
    found = load_checkpoint(io.BytesIO(data))
    assert found["odd"].get_bytes() == np.array(odd, np.float32).tobytes()
    assert found["flag"].get_bytes() == b"\x02\xff"


def test_a_large_file_is_read_by_threads_and_comes_out_the_same(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    values = {f"w{at}": rng.integers(0, 255, 1_500_000 + at, np.uint8) for at in range(8)}
    path = tmp_path / "large.ckpt"
    path.write_bytes(b"".join(record(name, each.shape, "UInt8", each.tobytes()) for name, each in values.items()))
    for source in (path, io.BytesIO(path.read_bytes())):
        got = load_checkpoint(source)
        assert all(np.array_equal(got[name].asnumpy(), each) for name, each in values.items())


@pytest.mark.skipif(os.name != "posix", reason="needs sparse files")
def test_one_small_tensor_of_a_file_beyond_2_gib(tmp_path: Path) -> None:
    path = sparse(tmp_path / "big.ckpt", [("a", (600 << 20,)), ("b", (3,)), ("c", (600 << 20,))])
    assert path.stat().st_size > 4 << 30
    assert plain(load_checkpoint(str(path), specify_prefix="b")) == {"b": [0, 0, 0]}


# -- what goes wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "error", "name"),
    [
        (DATA[:-1], CorruptCheckpointError, None),
        (DATA + record("bad", (3,), "Float32", b"1234"), CorruptCheckpointError, "bad"),
        (DATA + record("bad", (1,), "Foo", b"1234"), UnsupportedTypeError, "bad"),
        (DATA + record(b"\xff"), CorruptCheckpointError, None),
        (DATA + record("bad", (0,), "str", b"\xff\xff\xff\xff"), CorruptCheckpointError, "bad"),
        (b"<html>404</html>", WrongFormatError, None),
    ],
)
def test_an_error_names_file_parameter_place_and_next_step(
    path: str, data: bytes, error: type[CheckpointError], name: str | None
) -> None:
    Path(path).write_bytes(data)
    with pytest.raises(error) as caught:
        load_checkpoint(path)
    assert (caught.value.path, caught.value.name) == (path, name)
    assert caught.value.hint
    assert (caught.value.offset is not None) is (error is not WrongFormatError)
    assert f"in file {path}" in str(caught.value)
    assert "hint: " in str(caught.value)


def test_nothing_is_returned_where_one_wanted_entry_is_damaged(path: str) -> None:
    Path(path).write_bytes(record("bad", (3,), "Float32", b"1234") + DATA)
    with pytest.raises(CorruptCheckpointError):
        load_checkpoint(path)
    assert plain(load_checkpoint(path, filter_prefix="bad")) == EXPECTED


@pytest.mark.parametrize("crc_check", [False, True])
def test_an_encrypted_file_without_a_key_says_so(crc_check: bool) -> None:
    with pytest.raises(EncryptedCheckpointError, match="AES-GCM"):
        load_checkpoint(FIXTURES / "enc_gcm.ckpt", crc_check=crc_check)


class CountedFile(io.FileIO):
    """A file object that counts what is read from it."""

    total = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.total += len(data)
        return data


def sealed_by_us(data: bytes) -> bytes:
    """Encrypt a plain checkpoint."""
    out = io.BytesIO()
    writer = EncryptingWriter(out, KEY, "AES-GCM")
    writer.write(data)
    writer.finish()
    return out.getvalue()


def test_all_of_an_aes_gcm_file_is_decrypted_once(tmp_path: Path) -> None:
    values = {f"w{at}": np.full(1 << 18, at, np.float32) for at in range(6)}
    path = tmp_path / "x.ckpt"
    path.write_bytes(
        sealed_by_us(b"".join(record(name, v.shape, "Float32", v.tobytes()) for name, v in values.items()))
    )
    with CountedFile(path) as file:
        got = load_checkpoint(file, dec_key=KEY)
        total = file.total
    assert all(np.array_equal(got[name].asnumpy(), each) for name, each in values.items())
    assert path.stat().st_size <= total < 1.1 * path.stat().st_size


def shown(error: BaseException | None) -> str:
    """Return all that an error says, whatever it came from included."""
    if error is None:
        return ""
    return "".join(traceback.format_exception(error)) + shown(error.__context__) + shown(error.__cause__)


@pytest.mark.parametrize("size", [120, 300_000])
@pytest.mark.parametrize("field", ["second", "Float32", "third"])
def test_nothing_that_no_tag_vouches_for_is_shown(field: str, size: int) -> None:
    """Neither names to `choice_func`, nor in errors: whatever was changed, it is the tag that is wrong."""
    numbers = np.arange(size, dtype=np.float32).tobytes()
    data = floats("first", 1, 2, 3) + record("second", (size,), "Float32", numbers) + floats("third", 4, 5, 6)
    good = sealed_by_us(data)
    changed = bytearray(good)
    changed[48 + data.index(field.encode())] ^= 1
    wrong = chr(ord(field[0]) ^ 1) + field[1:]
    asked: list[str] = []

    def ask(name: str) -> bool:
        asked.append(name)
        return True

    arguments: list[dict[str, Any]] = [
        {"choice_func": ask},
        {},
        {"specify_prefix": "nothing has it"},
        {"filter_prefix": "second"},
        {"max_records": 2},
        {"crc_check": True},
    ]
    for how in arguments:
        with pytest.raises(DecryptionError, match="block 1 of 1 does not match its authentication tag") as caught:
            load_checkpoint(io.BytesIO(changed), dec_key=KEY, **how)
        assert caught.value.name is None
        assert wrong not in shown(caught.value)
    assert asked == []
    with pytest.raises(LimitError):
        load_checkpoint(io.BytesIO(good), dec_key=KEY, max_records=2)
    with pytest.raises(EmptyCheckpointError):
        load_checkpoint(io.BytesIO(good), dec_key=KEY, specify_prefix="nothing has it")


def test_a_name_that_is_asked_for_twice_is_read_as_well() -> None:
    data = b"".join(
        record(name, (size,), "UInt8", np.arange(size, dtype=np.int64).astype(np.uint8).tobytes())
        for name, size in (("a", 200_000), ("b", 524_289), ("c", 600_000))
    )
    for source, key in ((data, None), (sealed_by_us(data), KEY)):
        with open_checkpoint(source, dec_key=key) as reader:
            got = reader.load(["b", "c", "b"])
            assert list(got) == ["b", "c"]
            twice = [np.zeros(524_289, np.uint8) for _ in range(2)]
            reader.fill([("b", array) for array in twice])
            for array in (got["b"].asnumpy(), *twice):
                assert np.array_equal(array, np.arange(524_289) % 256)


def test_a_file_that_is_deleted_while_it_is_loaded_is_loaded(path: str) -> None:
    def choose(_: str) -> bool:
        Path(path).unlink(missing_ok=True)
        return True

    if os.name == "posix":
        assert plain(load_checkpoint(path, choice_func=choose)) == EXPECTED


def test_an_encrypted_file_with_a_brace_in_its_tag_is_no_safetensors_file() -> None:
    """The first character of a JSON header counts only behind a length that fits: one tag in 256 has it, too."""
    sealed = bytearray((FIXTURES / "enc_gcm.ckpt").read_bytes())
    sealed[8:9] = b"{"
    with pytest.raises(EncryptedCheckpointError):
        open_checkpoint(bytes(sealed))
