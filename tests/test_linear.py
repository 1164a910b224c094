"""Work that grows no faster than the file does, whatever stands in it.

It is counted in calls of functions, of Python's and of C's, in bytes read, and in memory held; never in seconds.
"""

from __future__ import annotations

import gc
import io
import json
import os
import signal
import sys
import threading
import tracemalloc
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
from safetensors.numpy import save_file

from ckptload import (
    Parameter,
    Tensor,
    convert_checkpoint,
    guess_torch_names,
    load_checkpoint,
    load_param_into_net,
    nn,
    open_checkpoint,
    plan_binding,
    renamed,
)
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

    from ckptload.formats.entry import Entry
    from ckptload.reading.reader import Reader

KEY = b"0123456789abcdef"

# -- counting ---------------------------------------------------------------------------------------------------


@contextmanager
def counting() -> Iterator[list[int]]:
    """Count the calls of functions in this thread and in those that are started meanwhile."""
    counts = [0]
    events = 0

    def count(_frame: object, _event: str, _argument: object) -> None:
        # Which event it is costs as much to ask as all else: a call and its end are two.
        nonlocal events
        events += 1

    before = sys.getprofile()
    # What the garbage collector calls, and when, is not the work that is counted.
    gc.disable()
    threading.setprofile(count)
    sys.setprofile(count)
    try:
        yield counts
    finally:
        sys.setprofile(before)
        threading.setprofile(None)
        gc.enable()
        counts[0] = events // 2


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
    """Return how much memory is held at most; what is done once in a process has to be done before."""
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
@pytest.mark.once
@pytest.mark.filterwarnings("ignore::ckptload.errors.ForeignFieldWarning")
@pytest.mark.parametrize("kind", FILES)
def test_twice_as_much_of_anything_is_twice_as_much_work(kind: str) -> None:
    assert_linear(use, FILES[kind], 2 if kind in LARGE else 100)


@pytest.mark.slow
@pytest.mark.parametrize("kind", FILES)
def test_twice_as_much_of_anything_is_read_in_twice_the_bytes_and_kept_in_twice_the_memory(kind: str) -> None:
    size = 4 if kind in LARGE else 300
    small, large = FILES[kind](size), FILES[kind](2 * size)
    totals, peaks = [], []
    for data in (small, large):
        source = CountingSource(data)
        walk.walk(source)
        totals.append(source.total)
        # The walk above did what is done once in a process.
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
@pytest.mark.once
@pytest.mark.parametrize("mode", ciphers.MODES)
@pytest.mark.parametrize("size", [16, 100])
def test_twice_as_many_encrypted_blocks_are_twice_as_much_work(mode: str, size: int) -> None:
    assert_linear(
        lambda data: use(data, dec_key=KEY, dec_mode=mode), lambda n: sealed(FILES["tensors"](n), mode, size), 100
    )


@pytest.mark.slow
@pytest.mark.once
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
@pytest.mark.once
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


@pytest.mark.slow
def test_twice_as_many_tensors_of_a_safetensors_file_are_twice_as_much_work(tmp_path: Path) -> None:
    def make(n: int) -> Path:
        path = tmp_path / f"{n}.safetensors"
        save_file({f"name.{at}": np.zeros(1, np.int8) for at in range(n)}, path)
        return path

    assert_linear(both, make, 200)


@pytest.mark.slow
@pytest.mark.once
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


@pytest.mark.slow
def test_an_unknown_name_is_compared_with_so_many_and_no_more() -> None:
    """Comparing names is slow, so that only the likeliest are compared."""

    def ask_for_it(data: bytes) -> None:
        with open_checkpoint(data) as reader, pytest.raises(CheckpointError):
            reader.info("name.x")

    assert_linear(ask_for_it, FILES["tensors"], 1000)


class Counted(str):
    """A name that counts the letters that are taken from it: a slice of a long name is one call, and a long copy."""

    __slots__ = ()
    letters = 0

    def __getitem__(self, key: Any) -> Counted:
        part = str.__getitem__(self, key)
        Counted.letters += 1 + len(part)
        return Counted(part)

    def __hash__(self) -> int:
        return str.__hash__(self)

    def __eq__(self, other: object) -> bool:
        Counted.letters += 1
        return str.__eq__(self, other)


def letters(action: Callable[[list[str]], object], names: list[str]) -> int:
    Counted.letters = 0
    action([Counted(name) for name in names])
    return Counted.letters


#: What names of a file, a map or a net may be, for n of something.
NAMES: dict[str, Callable[[int], list[str]]] = {
    "many": lambda n: [f"layer.{at}.weight" for at in range(n)],
    "near": lambda n: [f"{'abba' * 20}{at:06}" for at in range(n)],
    "long": lambda n: ["n" * 900 + f"{at:06}" for at in range(n)],
    "of many dots": lambda n: [f"{'.' * 100}{at:06}.weight" for at in range(n)],
    "of many parts": lambda n: [f"{at:06}.{'a.' * 50}weight" for at in range(n)],
    "one of dots": lambda n: ["." * (50 * n) + "weight"],
    "one of parts": lambda n: ["a." * (25 * n) + "weight"],
    "one that is long": lambda n: ["n" * (50 * n)],
    "with something in front": lambda n: [f"{at}.prefix.weight" for at in range(n)] + ["prefix.weight"],
}


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize(
    "name_map", [{"a": "b"}, {"weight": "w"}, {"a" * 20: None}, {"a." * 500 + "a": "b"}], ids=["a", "w", "out", "deep"]
)
def test_names_are_renamed_in_letters_in_proportion(kind: str, name_map: dict[str, str | None]) -> None:
    """A name of a million dots took half a minute: every beginning of it was looked up."""
    one, two = (letters(lambda names: renamed(names, name_map), NAMES[kind](50 * factor)) for factor in (1, 2))
    assert two < 2.3 * one + 1000


@pytest.mark.parametrize("kind", NAMES)
def test_torch_names_are_guessed_in_letters_in_proportion(kind: str) -> None:
    one, two = (letters(guess_torch_names, NAMES[kind](50 * factor)) for factor in (1, 2))
    assert two < 2.3 * one + 1000


# -- every public function, for everything that a file can have much of --------------------------------------------


class Case(NamedTuple):
    """A file, its names, and a net of the same number of parameters, of which none fits."""

    path: Path
    names: list[str]
    net: nn.Cell


class Net(nn.Cell):
    def __init__(self, names: list[str]) -> None:
        super().__init__()
        for at, name in enumerate(names):
            setattr(self, f"p{at}", Parameter(Tensor(np.zeros(3, np.float32)), name=name[:1000]))


def named(names: Callable[[int], list[str]]) -> Callable[[Path, int], Case]:
    def make(folder: Path, n: int) -> Case:
        found = names(n)
        path = folder / f"{n}.ckpt"
        path.write_bytes(b"".join(floats(name, 1.0) for name in found))
        return Case(path, found, Net(found))

    return make


def filed(data: Callable[[int], bytes]) -> Callable[[Path, int], Case]:
    def make(folder: Path, n: int) -> Case:
        path = folder / f"{n}.ckpt"
        path.write_bytes(data(n))
        return Case(path, [f"name.{at:06}" for at in range(n)], Net(["weight", "bias"]))

    return make


def headed(fields: Callable[[int], dict[str, object]], metadata: Callable[[int], dict[str, str]]) -> Any:
    """Make safetensors files of one tensor, which has further fields, and of some metadata."""

    def make(folder: Path, n: int) -> Case:
        path = folder / f"{n}.safetensors"
        one = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], **fields(n)}
        header = json.dumps({"__metadata__": metadata(n), "a": one}).encode()
        path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
        return Case(path, ["a"], Net(["a"]))

    return make


def nothing(_: int) -> dict[str, Any]:
    return {}


CASES: dict[str, Callable[[Path, int], Case]] = {
    **{f"names {kind}": named(names) for kind, names in NAMES.items()},
    "names that differ from the net's": named(lambda n: [f"layer.{at}.wieght" for at in range(n)]),
    "damaged entries": filed(numbered(lambda name: record(name, (2,), "Float32", b"")[:-2] + b"\x1a\0")),
    "dims": filed(lambda n: b"".join(record(f"{at}", (1,) * 30 + (at + 1,), "Int8", b"x") for at in range(n))),
    "packed dims": filed(lambda n: value("a", block(2, block(1, b"\x81\x01" * 10 * n)))),
    "slices": filed(lambda n: TINY * n),
    "unknown types": filed(numbered(lambda name: record(name, (1,), f"T{name[-6:]}", b"x"))),
    "strings": filed(numbered(lambda name: text(name, "words"))),
    "values that nobody needs": headed(lambda n: {"x": [[[]]] * 10 * n}, nothing),
    "texts in the metadata": headed(nothing, lambda n: {f"key {at}": "text" for at in range(n)}),
    "a long text in the metadata": headed(nothing, lambda n: {"key": "text" * 100 * n}),
    "an order that is none": headed(nothing, lambda n: {"ckptload.order": json.dumps([[[]]] * 10 * n)}),
    "strings in the metadata": headed(
        nothing, lambda n: {"ckptload.strings": json.dumps({f"string {at}": "x" for at in range(n)})}
    ),
}


def tried(action: Callable[[], object]) -> None:
    """Do something; an error is said in full."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            action()
        except CheckpointError as error:
            str(error)


def opened(case: Case, action: Callable[[Reader], object]) -> None:
    with open_checkpoint(case.path) as reader:
        action(reader)


def loaded(case: Case, **how: Any) -> object:
    return load_checkpoint(str(case.path), format=case.path.suffix[1:], **how)


def command(case: Case, *arguments: str) -> None:
    """Run a command of the command line, whose output is thrown away."""
    from ckptload.__main__ import main

    target = case.path.with_suffix(".out.safetensors")
    names = case.path.with_suffix(".json")
    names.write_text(json.dumps({name: f"x{name}" for name in case.names} if "--name-map" in arguments else {}))
    every = {"FILE": str(case.path), "OUT": str(target), "NAMES": str(names)}
    before = sys.stdout, sys.stderr
    handler = signal.getsignal(signal.SIGTERM)
    with Path(os.devnull).open("w", encoding="utf-8") as sink:
        sys.stdout = sys.stderr = sink
        try:
            main([every.get(word, word) for word in arguments])
        finally:
            sys.stdout, sys.stderr = before
            signal.signal(signal.SIGTERM, handler)
    target.unlink(missing_ok=True)


ACTIONS: dict[str, Callable[[Case], object]] = {
    "load": loaded,
    "open": lambda case: opened(case, every),
    "an unknown name": lambda case: opened(case, lambda reader: reader[case.names[0][:1000] + "x"]),
    "prefixes": lambda case: loaded(case, specify_prefix=case.names),
    "prefixes that nothing has": lambda case: loaded(case, specify_prefix=[f"x{name}" for name in case.names]),
    "prefixes to leave out": lambda case: loaded(case, filter_prefix=case.names),
    "plan": lambda case: opened(case, lambda reader: str(plan_binding(case.net, reader))),
    "plan by names": lambda case: opened(
        case, lambda reader: str(plan_binding(case.net, reader, name_map={name: f"x{name}" for name in case.names}))
    ),
    "into a net": lambda case: opened(case, lambda reader: load_param_into_net(case.net, reader)),
    "rename": lambda case: renamed(case.names, {name: f"x{name}" for name in case.names}),
    "torch's names": lambda case: guess_torch_names(case.names),
    "convert": lambda case: opened(
        case, lambda reader: convert_checkpoint(reader, case.path.with_suffix(".out.safetensors"))
    ),
    "inspect": lambda case: command(case, "inspect", "FILE"),
    "inspect --tree": lambda case: command(case, "inspect", "--tree", "--sort", "name", "FILE"),
    "inspect --json": lambda case: command(case, "inspect", "--json", "--tree", "FILE"),
    "inspect --filter": lambda case: command(
        case, "inspect", *(word for name in case.names for word in ("--filter", name)), "FILE"
    ),
    "verify": lambda case: command(case, "verify", "FILE"),
    "diff": lambda case: command(case, "diff", "FILE", "FILE"),
    "diff --name-map": lambda case: command(case, "diff", "--name-map", "NAMES", "FILE", "FILE"),
    "convert --name-map": lambda case: command(case, "convert", "--force", "--name-map", "NAMES", "FILE", "OUT"),
    "report": lambda case: command(case, "report", "FILE", "-o", "OUT"),
}
#: What n of something is, where a hundred would take long.
FEW = 40


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.filterwarnings("ignore::ckptload.errors.ForeignFieldWarning")
@pytest.mark.parametrize("kind", CASES)
@pytest.mark.parametrize("how", ACTIONS)
def test_whatever_is_done_with_twice_as_much_takes_twice_the_calls_and_the_memory(
    how: str, kind: str, tmp_path: Path
) -> None:
    if how.partition(" ")[0] in {"inspect", "verify", "diff", "report"} or how == "convert --name-map":
        pytest.importorskip("click")

    def action(case: Case) -> None:
        tried(lambda: ACTIONS[how](case))

    found = []
    for factor in (1, 2):
        case = CASES[kind](tmp_path, FEW * factor)
        found.append((calls(action, case), peak(action, case)))
    (few, small), (many, large) = found
    assert many < 2.3 * few + 500
    assert large < 2.3 * small + (64 << 10)
