"""Damaged, cut and hostile files: a result or one of our errors, in memory and time that fit the file."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptload import load_checkpoint, open_checkpoint
from ckptload.errors import (
    CheckpointError,
    CorruptCheckpointError,
    EmptyCheckpointError,
    ForeignFieldWarning,
    UnsupportedTypeError,
    WrongFormatError,
)
from ckptload.formats.ckpt import wire
from ckptload.formats.ckpt.walk import walk
from ckptload.sources.memory import BufferSource
from measured import peak
from places import FIXTURES
from strategies import (
    CountingSource,
    block,
    changes,
    files,
    floats,
    group,
    integer,
    mapping,
    mutated,
    number,
    record,
    tag,
    tensor,
    value,
    with_crc,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ckptload.reading.reader import Reader

#: Files made here have fields that no MindSpore writes; what is told about them is tested where it is told.
pytestmark = pytest.mark.filterwarnings("ignore::ckptload.errors.ForeignFieldWarning")

SMALL = [
    "cell.ckpt",
    "append.ckpt",
    "crc.ckpt",
    "empty.ckpt",
    "plain_1.3.0_append.ckpt",
    "plain_2.0.0_maptensor.ckpt",
    "plain_2.0.0_random_op.ckpt",
    "plain_2.10.0_maptensor_crc.ckpt",
    "plain_2.10.0_othertypes.ckpt",
    "rc_bf16_as_fp32.ckpt",
    "rc_uint_old_names.ckpt",
]


def checked(error: CheckpointError, path: str) -> CheckpointError:
    """Hold an error against the promises about every error: it names the file, and says what to do."""
    assert error.path == path
    assert error.hint
    assert error.offset is not None or not isinstance(error, CorruptCheckpointError)
    assert str(error)
    return error


def load(source: Any, path: str) -> dict[str, Any] | CheckpointError:
    """Load everything, or return the error."""
    try:
        return load_checkpoint(source)
    except CheckpointError as error:
        return checked(error, path)


def read_all(source: Any, path: str) -> dict[str, Any] | CheckpointError:
    """Open, and use every entry in every way; an entry's error stands in its place."""
    try:
        reader = open_checkpoint(source, format="ckpt")
    except CheckpointError as error:
        return checked(error, path)
    with reader:
        assert repr(reader)
        return {name: read(reader, name, path) for name in reader}


def read(reader: Reader, name: str, path: str) -> Any:
    """Return an entry's value, or its error, which is the same however it is asked for."""
    info, got = attempt(reader.info, name, path), attempt(reader.__getitem__, name, path)
    if isinstance(info, CheckpointError):
        assert str(info) == str(got)
    elif info.kind == "tensor" and not isinstance(got, CheckpointError):
        assert (info.shape, info.dtype, info.nbytes) == (got.shape, got.dtype, got.nbytes)
        assert reader.get_slice(name)[...].get_bytes() == got.get_bytes()
    return got


def attempt(ask: Callable[[str], Any], name: str, path: str) -> Any:
    """Ask for a name; return the value or the error, which names the entry."""
    try:
        return ask(name)
    except CheckpointError as error:
        found = checked(error, path)
    assert found.name is not None
    return found


def same(first: Any, second: Any) -> bool:
    """Compare what two ways of reading gave."""
    if isinstance(first, CheckpointError) or isinstance(second, CheckpointError):
        return type(first) is type(second)
    return list(first) == list(second) and all(content(first[name]) == content(second[name]) for name in first)


def content(value: Any) -> Any:
    if isinstance(value, CheckpointError):
        return type(value), value.problem, value.name
    if isinstance(value, list):
        return [(part.dtype, part.shape, part.tobytes()) for part in value]
    return value if isinstance(value, (str, bytes)) else (value.dtype, value.shape, value.get_bytes())


def both(data: bytes, path: Path | None = None) -> dict[str, Any] | CheckpointError:
    """Try bytes in several ways; they must agree.

    Returns:
        what `load_checkpoint` gives.
    """
    loaded = load(io.BytesIO(data), "<BytesIO>")
    lazily = read_all(data, "<bytes>")
    if isinstance(lazily, CheckpointError):
        assert type(loaded) is type(lazily)
    elif any(isinstance(one, CheckpointError) for one in lazily.values()):
        assert isinstance(loaded, CheckpointError)
        # Of several types that are not supported, one error names all.
        errors = [one for one in lazily.values() if isinstance(one, CheckpointError)]
        assert any(loaded.problem.startswith(one.problem) for one in errors)
    else:
        assert same(loaded, lazily)
    if path is not None:
        path.write_bytes(data)
        assert same(load(str(path), str(path)), loaded)
        assert same(read_all(path, str(path)), lazily)
    return loaded


@pytest.mark.parametrize("name", SMALL)
def test_a_file_cut_at_any_byte_is_a_shorter_checkpoint_or_an_error(name: str, tmp_path: Path) -> None:
    """The format has no count, so that a cut between two records cannot be told from a smaller checkpoint."""
    data = (FIXTURES / name).read_bytes()
    whole = load_checkpoint(io.BytesIO(data))
    for cut in range(len(data)):
        got = both(data[:cut], tmp_path.resolve() / "cut.ckpt" if cut % 8 == 0 else None)
        if isinstance(got, CheckpointError):
            # Its first bytes alone may be those of a text.
            assert isinstance(got, (CorruptCheckpointError, EmptyCheckpointError, WrongFormatError))
            assert cut < 16 or not isinstance(got, WrongFormatError)
        else:
            assert list(got) == list(whole)[: len(got)]


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_a_flip_of_any_bit_of_a_header_is_a_result_or_an_error(name: str) -> None:
    data = (FIXTURES / name).read_bytes()
    inside = {
        at for one in walk(BufferSource(data)).records for piece in one.pieces for at in range(piece.start, piece.stop)
    }
    for at in range(len(data)):
        if at not in inside:
            for bit in range(8) if len(data) < 300 else (0, 3, 7):
                both(data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :])


@pytest.mark.slow
@pytest.mark.parametrize("byte", [0x00, 0x7F, 0x80, 0xFF])
@pytest.mark.parametrize("name", SMALL)
def test_a_telling_value_in_any_byte_is_a_result_or_an_error(name: str, byte: int) -> None:
    data = (FIXTURES / name).read_bytes()
    for at in range(min(len(data), 200)):
        both(data[:at] + bytes([byte]) + data[at + 1 :])


@settings(max_examples=200)
@given(st.sampled_from(SMALL), changes)
def test_damaged_files_of_mindspore_are_a_result_or_an_error(name: str, damage: list[tuple[str, float, int]]) -> None:
    both(mutated((FIXTURES / name).read_bytes(), damage))


@pytest.mark.slow
@settings(max_examples=200)
@given(files, st.one_of(st.just([]), changes))
def test_generated_files_are_a_result_or_an_error(data: bytes, damage: list[tuple[str, float, int]]) -> None:
    both(mutated(data, damage))


@settings(max_examples=200)
@given(st.binary(max_size=80))
def test_bytes_of_no_meaning_are_a_result_or_an_error(data: bytes) -> None:
    both(data)


# -- a single bit ---------------------------------------------------------------------------------

#: A record of each kind that MindSpore writes, small, with shapes from which a dim can be lost.
KINDS = {
    "scalar": record("scalar", (), "Float32", b"\0\0\x80?"),
    "old": record("old", (0,), "Float32", b"\0\0\x80?"),
    "one": record("one", (1,), "Int8", b"\5"),
    "row": record("row", (1, 3), "Float32", bytes(range(12))),
    "ones": record("ones", (1, 1, 1, 1), "Float8E5M2", b"z"),
    "long": record("long", (3, 50), "UInt8", bytes(150)),
    "empty": record("empty", (0, 3), "Float32", b""),
    "half": record("half", (2, 2), "BFloat16", bytes(range(8))),
    "pair": record("pair", (2,), "BFloat16", b"abcd"),
    "complex": record("complex", (1, 2), "Complex64", bytes(range(16))),
    "text": record("text", (0,), "str", "hi".encode("utf-32-le")),
    "slices": record("slices", (3, 1), "Int16", b"abc") + record("slices", (3, 1), "Int16", b"def"),
    "random_op": record("random_op", (), "random_op", b"xyz"),
    "map": mapping(
        "map", tensor((2,), "int32", bytes(8)), tensor((2, 1), "float32", bytes(8)), tensor((2,), "int32", bytes(8))
    ),
}  # fmt: skip
#: What a changed bit turns a shape into without a trace, as all bytes of the file fit both: a dim of an empty tensor;
#: and dims [0], which are a scalar in files of old versions (docs/format.md, "Shapes and scalars").
UNTOLD: dict[str, set[tuple[tuple[int, ...], tuple[int, ...]]]] = {
    "one": {((1,), ())},
    "old": {((), (1,))},
    "empty": {((0, 3), (0, dim)) for dim in (1, 2, 7, 11, 19, 35, 67)},
    # Two bytes for each of two elements are four for a single one (docs/format.md, "Tensor types").
    "pair": {((2,), ())},
}


def told(data: bytes) -> dict[str, Any] | None:
    """Load; None if there is an error or a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return load_checkpoint(io.BytesIO(data))
        except (CheckpointError, ForeignFieldWarning):
            return None


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("trailer", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_no_single_bit_changes_an_entry_without_a_word(name: str, trailer: bool) -> None:
    """Outside names and data: a changed letter or number is another one, which only a CRC-32 or a tag can tell."""
    before, after = floats("before", 1.0, 2.0), floats("after", 3.0, 4.0)
    data = before + KINDS[name] + after
    data = with_crc(data) if trailer else data
    records = walk(BufferSource(data)).records
    free = {at for one in records for piece in one.pieces for at in range(piece.start, piece.stop)}
    for one in records:
        start = data.index(one.name.encode(), one.offset)
        free.update(range(start, start + len(one.name)))
    whole = told(data)
    assert whole is not None
    untold: set[Any] = set()
    for at in set(range(len(data))) - free:
        for bit in range(8):
            got = told(data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :])
            if got is not None and not same(got, whole):
                assert list(got) == list(whole), (at, bit)
                untold.add((whole[name].shape, got[name].shape))
                del got[name]
                assert all(content(got[key]) == content(whole[key]) for key in got), (at, bit)
    assert untold == UNTOLD.get(name, set())


# -- memory ---------------------------------------------------------------------------------------

HUGE = 1 << 62
CLAIMS = {
    "record": tag(1, 2) + number(HUGE) + b"\n\x01a",
    "record, all bits": tag(1, 2) + number((1 << 64) - 1) + b"\n\x01a",
    "name": block(1, block(1, b"a", claim=HUGE) + block(2, tensor())),
    "tensor": value("a", block(2, tensor((), "Int8", b"x"), claim=HUGE)),
    "map": value("a", block(3, block(1, tensor()), claim=HUGE)),
    "tensor of a map": value("a", block(3, block(1, tensor(), claim=HUGE))),
    "type": value("a", block(2, block(2, b"Int8", claim=HUGE))),
    "content": value("a", block(2, block(2, b"Int8") + block(3, b"x", claim=HUGE))),
    "packed dims": value("a", block(2, block(1, b"\x01", claim=HUGE))),
    "unknown field": value("a", block(9, b"x", claim=HUGE)),
    "unknown field of the file": block(9, b"x", claim=HUGE),
    "unknown field of a group": group(9, block(9, b"x", claim=HUGE)),
    "dim": record("a", (HUGE,), "Int8", b"x"),
    "dims": record("a", (1 << 31, 1 << 31), "Float32", b"xxxx"),
    "dims beyond 64 bits": record("a", [(1 << 62)] * 60, "Complex128", b"xxxx"),
    "dims that multiply to 2**64": record("a", (1 << 32, 1 << 32), "Int8", b""),
    "dims with a zero": record("a", (HUGE, 0), "Float32", b""),
    "dims with a zero behind": record("a", (HUGE, HUGE, 0), "Float32", b""),
    "dims of a map": mapping("a", tensor((HUGE, 8), "int64", b"x" * 8)),
    "dims of no rows": mapping("a", tensor((0, HUGE, HUGE), "int64", b"")),
    "dims of a bfloat16": record("a", (HUGE,), "BFloat16", b"xx"),
}


@pytest.mark.parametrize("data", CLAIMS.values(), ids=CLAIMS)
def test_a_header_that_claims_exabytes_allocates_nothing(data: bytes) -> None:
    """In the last record and before others, of a plain file and of one with a trailer."""
    for around in (data, floats("before", 1.0) + data + floats("after", 1.0), with_crc(data)):
        assert peak(lambda around=around: both(around)) < 1 << 18  # type: ignore[misc]


@pytest.mark.parametrize("data", CLAIMS.values(), ids=CLAIMS)
def test_a_header_that_claims_exabytes_is_an_error_unless_nothing_is_missing(data: bytes) -> None:
    got = both(data)
    assert isinstance(got, (CorruptCheckpointError, UnsupportedTypeError))


@settings(max_examples=60)
@given(st.one_of(st.binary(max_size=1024), st.tuples(files, changes).map(lambda both: mutated(*both)[:1024])))
def test_a_small_file_takes_little_memory_whatever_stands_in_it(data: bytes) -> None:
    assert peak(lambda: both(data)) < 1 << 20


SIZE = 1 << 20
#: A megabyte of tensor data of each kind, and how many times its size a load holds at most.
CONTENT = {
    "tensor": (record("a", (SIZE,), "Int8", bytes(SIZE)), 1.0),
    "rows": (record("a", (SIZE // 16, 2), "Float64", bytes(SIZE)), 1.0),
    "slices": (record("a", (SIZE,), "Int8", bytes(SIZE // 4)) * 4, 1.0),
    "map": (mapping("a", tensor((SIZE // 8,), "int64", bytes(SIZE)), tensor((0,), "int64", b"")), 1.0),
    # Two bytes of each four are dropped, once all are read.
    "wide": (record("a", (SIZE // 4,), "BFloat16", bytes(SIZE)), 1.5),
}


@pytest.mark.parametrize("kind", CONTENT)
def test_tensor_data_takes_no_more_memory_than_the_file(kind: str, tmp_path: Path) -> None:
    data, times = CONTENT[kind]
    path = tmp_path / "x.ckpt"
    path.write_bytes(data)
    assert peak(lambda: load_checkpoint(str(path))) < times * SIZE + (64 << 10)


#: The smallest things that a file can be filled with.
FILLINGS = {
    "empty records": b"\n\x00",
    "records without a tensor": value("a"),
    "records of cut tensors": value("a", block(2, b"\x08")),
    "types that are not UTF-8": value("a", block(2, block(2, b"\xff"))),
    "slices of one name": record("a", (1,), "Int8", b"x"),
    "empty slices": record("a", (0,), "Int8", b""),
    "maps": mapping("a", tensor((1,), "int8", b"x")),
    "map records of different lengths": mapping("a") + mapping("a", tensor((1,), "int8", b"x")),
    "unknown fields": integer(9, 1),
    "groups": b"\x4b" * 97 + b"\x4c" * 97,
    "ends of groups": b"\x4c",
    "beginnings of groups": b"\x4b",
    "high bits": b"\xff",
    "values that alternate": floats("a", 1.0) + floats("b", 1.0),
}
INSIDE: dict[str, Callable[[bytes], bytes]] = {
    "dims": lambda some: value("a", block(2, some)),
    "names": lambda some: value("a", some),
    "tensors of a map": lambda some: value("a", block(3, some)),
    "a type": lambda some: record("a", (), some, b""),
    "a name": lambda some: record(some, (), "Int8", b"x"),
    "content": lambda some: record("a", (len(some),), "Int8", some),
}


def hostile(size: int) -> dict[str, bytes]:
    """Files of about `size` bytes filled with one thing."""
    made = {name: some * (size // len(some)) for name, some in FILLINGS.items()}
    for name, wrap in INSIDE.items():
        for some in (b"\x08\x01", block(1, b""), block(2, b""), block(1, b"\x01"), b"\xff", b"A"):
            made[f"{some!r} in {name}"] = wrap(some * (size // len(some)))
    return made


@pytest.mark.slow
@pytest.mark.parametrize("name", hostile(64))
def test_a_hostile_file_takes_memory_in_proportion(name: str) -> None:
    """No more than 300 bytes for each of theirs, so that a hostile 1 KB stays far below 64 MB."""
    data = hostile(6 << 10)[name]
    assert peak(lambda: both(data)) < 300 * len(data) + (64 << 10)


@pytest.mark.parametrize("name", hostile(64))
def test_a_hostile_file_takes_steps_in_proportion(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted in numbers decoded and bytes read."""
    steps = 0
    decode = wire.varint

    def counted(*args: Any) -> tuple[int, int]:
        nonlocal steps
        steps += 1
        return decode(*args)

    monkeypatch.setattr(wire, "varint", counted)
    data = hostile(16 << 10)[name]
    source = CountingSource(data)
    walk(source)
    assert steps <= 3 * len(data)
    assert source.total <= 4 * len(data)
