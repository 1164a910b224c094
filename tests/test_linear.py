"""Work that grows no faster than the file does, whatever stands in it.

It is counted in calls of functions, of Python's and of C's, in bytes read, and in memory held; never in seconds.
"""

from __future__ import annotations

import gc
import io
import json
import sys
import threading
import tracemalloc
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from ckptload import load_checkpoint, open_checkpoint
from ckptload.binding.copies import Look
from ckptload.binding.matching import match
from ckptload.encryption import ciphers
from ckptload.encryption.encrypting import EncryptingWriter
from ckptload.errors import CheckpointError
from ckptload.formats.ckpt import fields, walk
from ckptload.reading import arrays
from ckptload.sources.memory import BufferSource
from strategies import (
    CountingSource,
    block,
    floats,
    group,
    integer,
    mapping,
    number,
    record,
    tag,
    tensor,
    text,
    value,
    with_crc,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ckptload.formats.entry import Entry
    from ckptload.reading.reader import Reader

KEY = b"0123456789abcdef"

# -- counting ---------------------------------------------------------------------------------------------------


@contextmanager
def counting() -> Iterator[list[int]]:
    """Count the calls of functions in this thread and in those that are started meanwhile."""
    counts = [0]

    def count(_frame: object, event: str, _argument: object) -> None:
        if event in ("call", "c_call"):
            counts[0] += 1

    before = sys.getprofile()
    # What the garbage collector calls, and when, is not the work that is counted.
    gc.collect()
    gc.disable()
    threading.setprofile(count)
    sys.setprofile(count)
    try:
        yield counts
    finally:
        sys.setprofile(before)
        threading.setprofile(None)
        gc.enable()


def calls(action: Callable[[Any], object], argument: Any) -> int:
    """Return how many functions are called; what is done once in a process is done before."""
    action(argument)
    with counting() as counts:
        action(argument)
    return counts[0]


def assert_linear(action: Callable[[Any], object], make: Callable[[int], Any], size: int) -> None:
    """Hold the work on twice as much of something against the work on it."""
    one, two = (calls(action, make(size * factor)) for factor in (1, 2))
    assert two < 2.3 * one


def peak(action: Callable[[Any], object], argument: Any) -> int:
    action(argument)
    tracemalloc.start()
    try:
        action(argument)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# -- time is linear ---------------------------------------------------------------------------------------------


def every(reader: Reader) -> None:
    """Ask for all that a reader can tell, entry by entry; one that is damaged says so."""
    repr(reader)
    for name in reader:
        ask(reader, name)
    str(reader.facts)


def ask(reader: Reader, name: str) -> None:
    try:
        reader.info(name)
        reader[name]
    except CheckpointError as error:
        str(error)


def use(data: bytes, **how: Any) -> None:
    """Load, and read one by one, what there is."""
    try:
        with warnings.catch_warnings():
            # Most have no checksum.
            warnings.simplefilter("ignore", UserWarning)
            load_checkpoint(io.BytesIO(data), crc_check=True, **how)
    except CheckpointError as error:
        str(error)
    try:
        with open_checkpoint(data, format="ckpt", **how) as reader:
            every(reader)
    except CheckpointError as error:
        str(error)


def numbered(one: Callable[[str], bytes]) -> Callable[[int], bytes]:
    """Repeat a record under different names."""
    return lambda n: b"".join(one(f"name.{at:06}") for at in range(n))


def repeated(some: bytes) -> Callable[[int], bytes]:
    return lambda n: some * n


def inside(around: Callable[[bytes], bytes], some: bytes) -> Callable[[int], bytes]:
    return lambda n: around(some * n)


TINY = record("a", (1,), "Int8", b"x")
#: What n of something make. Whatever it is, twice as much may take twice as long and no longer.
FILES: dict[str, Callable[[int], bytes]] = {
    "tensors": numbered(lambda name: floats(name, 1.0)),
    "tensors with a trailer": lambda n: with_crc(FILES["tensors"](n)),
    "tensors in another order of fields": numbered(
        lambda name: block(1, block(2, tensor((1,), "Int8", b"x")) + block(1, name.encode()))
    ),
    "scalars of the old kind": numbered(lambda name: record(name, (0,), "Int8", b"x")),
    "strings": numbered(lambda name: text(name, "words")),
    "random states": numbered(lambda name: record(name, (), "random_op", b"state")),
    "maps": numbered(lambda name: mapping(name, *[tensor((1,), "int64", bytes(8))] * 3)),
    "maps among tensors, with a trailer": lambda n: with_crc(
        b"".join(mapping(f"m{at}", tensor((1,), "int8", b"x")) + floats(f"t{at}", 1.0) for at in range(n))
    ),
    "slices of one name": repeated(TINY),
    "empty slices of one name": repeated(record("a", (0,), "Int8", b"")),
    "slices of one string": repeated(text("a", "w")),
    "slices of one map": repeated(mapping("a", tensor((1,), "int8", b"x"))),
    "names that alternate": repeated(TINY + record("b", (1,), "Int8", b"x")),
    "kinds of one name that alternate": repeated(TINY + text("a", "w")),
    "map records of growing length": lambda n: b"".join(
        mapping("a", *[tensor((1,), "int8", b"x")] * (at % 4)) for at in range(n)
    ),
    "one map of tensors": inside(lambda some: value("a", block(3, some)), block(1, tensor((1,), "int8", b"x"))),
    "long names": numbered(lambda name: floats(name.ljust(1000, "."), 1.0)),
    "longest names": numbered(lambda name: floats(name.ljust(fields.MAX_NAME_BYTES - 8, "."), 1.0)),
    "names that are cut": numbered(lambda name: floats(f"{name}.__param_key__.{name}", 1.0)),
    "empty records": repeated(b"\n\0"),
    "records without a tensor": repeated(value("a")),
    "records of cut tensors": repeated(value("a", block(2, b"\x08"))),
    "types that are no text": repeated(value("a", block(2, block(2, b"\xff")))),
    "tensors of one record": inside(lambda some: value("a", some), block(2, tensor((1,), "Int8", b"x"))),
    "names of one record": inside(lambda some: block(1, some + block(2, tensor((), "Int8", b"x"))), block(1, b"a")),
    "types of one tensor": inside(lambda some: value("a", block(2, some)), block(2, b"T" * 300)),
    "dims": lambda n: record("a", (1,) * n, "Int8", b"x"),
    "dims that change nothing": lambda n: value("a", block(2, integer(1, 1) * n)) * 2,
    "dims in packs": inside(lambda some: value("a", block(2, block(1, some))), b"\x01"),
    "packs of dims": inside(lambda some: value("a", block(2, some)), block(1, b"\x01")),
    "tensors of too many dims": repeated(value("a", block(2, integer(1, 1) * 1100))),
    "unknown fields of the file": repeated(integer(9, 1)),
    "unknown fields of a record": inside(lambda some: value("a", some), integer(9, 1)),
    "unknown fields of a tensor": inside(lambda some: value("a", block(2, some)), integer(9, 1)),
    "flat groups": repeated(group(9)),
    "deep groups": repeated(tag(9, 3) * 97 + tag(9, 4) * 97),
    "beginnings of groups": repeated(tag(9, 3)),
    "groups inside a record": inside(lambda some: value("a", some), tag(9, 3) * 90 + tag(9, 4) * 90),
    "ends of groups": repeated(tag(9, 4)),
    "padded lengths": repeated(tag(1, 2) + number(len(TINY) - 2, 5) + TINY[2:]),
    "high bits": repeated(b"\xff"),
    "line breaks": repeated(b"\n"),
}
#: Of these a few do.
LARGE = {"longest names", "tensors of too many dims", "deep groups", "groups inside a record"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ckptload.errors.ForeignFieldWarning")
@pytest.mark.parametrize("kind", FILES)
def test_twice_as_much_of_anything_is_twice_as_much_work(kind: str) -> None:
    assert_linear(use, FILES[kind], 2 if kind in LARGE else 100)


@pytest.mark.parametrize("kind", FILES)
def test_twice_as_much_of_anything_is_read_in_twice_the_bytes_and_kept_in_twice_the_memory(kind: str) -> None:
    size = 4 if kind in LARGE else 300
    small, large = FILES[kind](size), FILES[kind](2 * size)
    totals, peaks = [], []
    for data in (small, large):
        source = CountingSource(data)
        walk.walk(source)
        totals.append(source.total)
        peaks.append(peak(walk.walk, BufferSource(data)))
    # Windows may reach beyond what is looked at, and there is at least one.
    assert totals[1] < 2.3 * totals[0] + (64 << 10)
    assert peaks[1] < 2.3 * peaks[0] + (16 << 10)


def sealed(data: bytes, mode: str, size: int) -> bytes:
    """Encrypt in blocks of a size."""
    file = io.BytesIO()
    writer = EncryptingWriter(file, KEY, mode, block_size=size)
    writer.write(data)
    writer.finish()
    return file.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("mode", ciphers.MODES)
@pytest.mark.parametrize("size", [16, 100])
def test_twice_as_many_encrypted_blocks_are_twice_as_much_work(mode: str, size: int) -> None:
    assert_linear(
        lambda data: use(data, dec_key=KEY, dec_mode=mode), lambda n: sealed(FILES["tensors"](n), mode, size), 100
    )


@pytest.mark.slow
@pytest.mark.parametrize("mode", ciphers.MODES)
def test_a_tensor_in_many_encrypted_blocks_is_read_row_by_row_in_work_that_grows_as_it_does(mode: str) -> None:
    def rows(data: bytes) -> None:
        with open_checkpoint(data, dec_key=KEY, dec_mode=mode) as reader:
            for row in reader.get_slice("a"):
                assert row.shape == ()

    assert_linear(rows, lambda n: sealed(floats("a", *range(n)), mode, 16), 100)


READS: dict[str, Callable[[Reader], object]] = {
    "row by row": lambda reader: [row.asnumpy() for row in reader.get_slice("a")],
    "every other row": lambda reader: reader.get_slice("a")[::2],
    "backwards": lambda reader: reader.get_slice("a")[::-1],
    "in flat pieces": lambda reader: [
        reader.get_slice("a").flat(at, at + 10) for at in range(0, len(reader.get_slice("a")), 10)
    ],
    "at once": lambda reader: reader["a"],
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["Int8", "BFloat16"])
@pytest.mark.parametrize("how", READS)
def test_a_tensor_in_many_slices_is_read_in_work_that_grows_as_it_does(how: str, kind: str) -> None:
    content = b"x" if kind == "Int8" else b"wide"

    def read(data: bytes) -> None:
        with open_checkpoint(data) as reader:
            READS[how](reader)

    def slices(n: int) -> bytes:
        return record("a", (n,), kind, content) * n

    assert load_checkpoint(io.BytesIO(slices(7)))["a"].shape == (7,)
    assert_linear(read, slices, 200)


def test_where_slices_begin_is_added_up_once_for_all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is one call, however many slices there are, so that counting calls does not show it."""
    added = 0
    begins_of = arrays.begins_of

    def counted(entry: Entry) -> list[int]:
        nonlocal added
        added += 1
        return begins_of(entry)

    monkeypatch.setattr(arrays, "begins_of", counted)
    with open_checkpoint(record("a", (50,), "Int8", b"x") * 50) as reader:
        rows = reader.get_slice("a")
        assert [int(row.asnumpy()) for row in rows] == [ord("x")] * 50
        assert [int(reader.get_slice("a")[at].asnumpy()) for at in range(50)] == [ord("x")] * 50
        assert rows[::7].shape == (8,)
        assert rows[::-2].shape == (25,)
    assert added == 1


# -- safetensors ------------------------------------------------------------------------------------------------


def both(path: Path) -> None:
    """Load at once, and read one by one."""
    load_checkpoint(str(path), format="safetensors")
    with open_checkpoint(path) as reader:
        every(reader)


def test_twice_as_many_tensors_of_a_safetensors_file_are_twice_as_much_work(tmp_path: Path) -> None:
    def make(n: int) -> Path:
        path = tmp_path / f"{n}.safetensors"
        save_file({f"name.{at}": np.zeros(1, np.int8) for at in range(n)}, path)
        return path

    assert_linear(both, make, 200)


@pytest.mark.slow
@pytest.mark.parametrize("shards", ["one", "many"])
def test_twice_as_many_tensors_in_shards_are_twice_as_much_work(shards: str, tmp_path: Path) -> None:
    """A lazy reader asks with each tensor whether a file was changed: of the files that it read, not of all."""

    def make(n: int) -> Path:
        names = [f"name.{at}" for at in range(n)]
        files = {name: f"{name if shards == 'many' else 'one'}.safetensors" for name in names}
        for file in set(files.values()):
            save_file({name: np.zeros(1, np.int8) for name in names if files[name] == file}, tmp_path / file)
        index = tmp_path / "x.safetensors.index.json"
        index.write_text(json.dumps({"weight_map": files}))
        return index

    assert_linear(both, make, 150)


# -- names ------------------------------------------------------------------------------------------------------


def steps(names: list[str], keys: list[str]) -> int:
    """Return in how many comparisons of strings names are matched."""
    compared = 0

    class Name(str):
        __slots__ = ()

        def __eq__(self, other: object) -> bool:
            nonlocal compared
            compared += 1
            return str.__eq__(self, other)

        __hash__ = str.__hash__

        def __getitem__(self, key: Any) -> Name:
            nonlocal compared
            part = str.__getitem__(self, key)
            compared += 1 + len(part)
            return Name(part)

    look = Look(lambda _: True, lambda _: (), lambda *_: True)
    found = match(names, dict.fromkeys(map(Name, keys)), look, exact=False)
    assert found.matches or found.ties
    return compared


@pytest.mark.parametrize(
    "keys",
    [
        lambda n: [f"prefix{at}.weight" for at in range(n)],
        lambda n: [f"prefix{at}.weight" for at in range(n)] + [f"prefix{at}.bias" for at in range(n)],
        lambda n: [f"moments.prefix{at}.weight" for at in range(n)],
        lambda n: [f"copy{at}.prefix.weight" for at in range(n)] + ["prefix.weight"],
        lambda n: [f"prefix{n - at}.{name}" for at in range(n) for name in ("weight", "bias")],
        lambda n: ["." * n + "weight"],
        lambda n: ["a." * n + "weight"],
    ],
    ids=["prefixes", "prefixes of two", "optimizer state", "copies", "ties", "dots", "parts"],
)
def test_names_are_matched_in_steps_in_proportion(keys: Callable[[int], list[str]]) -> None:
    """A checkpoint that has a parameter behind thousands of prefixes, or names of thousands of parts."""
    one, two = (steps(["weight", "bias"], keys(200 * factor)) for factor in (1, 2))
    assert two < 2.3 * one + 200


def test_an_unknown_name_is_compared_with_so_many_and_no_more() -> None:
    """Comparing names is slow, so that only the likeliest are compared."""

    def ask_for_it(data: bytes) -> None:
        with open_checkpoint(data) as reader, pytest.raises(CheckpointError):
            reader.info("name.x")

    assert_linear(ask_for_it, FILES["tensors"], 1000)
