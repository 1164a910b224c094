"""Several threads and processes at once: each gets what it would get alone.

Threads begin together behind a barrier and switch every few microseconds, so that what is not safe has its chance.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import io
import json
import os
import subprocess
import sys
import threading
import warnings
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ckptload import Cell, Parameter, Tensor, load_checkpoint, load_param_into_net, open_checkpoint, save_checkpoint
from ckptload.errors import CheckpointError, ClosedReaderError
from ckptload.saving import _saves

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEY = b"0123456789abcdef"
WORKERS = 8
ROUNDS = 20
#: Small ones, one that is worth two threads, a scalar and an empty one.
VALUES: dict[str, np.ndarray[Any, Any]] = {
    **{f"layer.{at}.weight": np.full((at + 1, 7), at, np.float32) for at in range(20)},
    "large": np.arange(3 << 19, dtype=np.int32),
    "scalar": np.array(3, np.int64),
    "empty": np.zeros((0, 4), np.float16),
}
TWO = ("plain", "AES-GCM")
KINDS = ["plain", "mapped", "file object", "bytes", "AES-GCM", "AES-CBC", "safetensors", "shards"]
every_kind = pytest.mark.parametrize("kind", KINDS)
#: Here the kinds of reader are two: what is read in place, and what is decrypted and kept.
slow_but_for_two = pytest.mark.parametrize(
    "kind", [*TWO, *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS if kind not in TWO)]
)


def digest(value: Any) -> str:
    array = value.asnumpy() if isinstance(value, Tensor) else value
    return f"{array.dtype} {array.shape} {hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()}"


WANTED = {name: digest(array) for name, array in VALUES.items()}


def digests(found: Any) -> dict[str, str]:
    return {name: digest(value) for name, value in found.items()}


def make(folder: Path, kind: str) -> tuple[Any, dict[str, Any]]:
    """Save a checkpoint of a kind; return what is opened, and how."""
    if kind in ("safetensors", "shards"):
        path = folder / "x.safetensors"
        save_checkpoint(dict(VALUES), path, format="safetensors")
        if kind == "shards":
            index = folder / "x.safetensors.index.json"
            index.write_text(json.dumps({"weight_map": dict.fromkeys(VALUES, path.name)}))
            return index, {"format": "safetensors"}
        return path, {"format": "safetensors"}
    path = folder / "x.ckpt"
    if kind.startswith("AES"):
        save_checkpoint(dict(VALUES), path, enc_key=KEY, enc_mode=kind)
        return path, {"dec_key": KEY, "dec_mode": kind}
    save_checkpoint(dict(VALUES), path)
    if kind in ("plain", "mapped"):
        return path, {"mmap": True} if kind == "mapped" else {}
    data = path.read_bytes()
    return (data, {"format": "ckpt"}) if kind == "bytes" else (io.BytesIO(data), {})


@pytest.fixture(autouse=True)
def hurried() -> Iterator[None]:
    """Let threads take turns far more often than they do by default."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(5e-6)
    yield
    sys.setswitchinterval(before)


def at_once(work: Callable[[int], Any], workers: int = WORKERS) -> list[Any]:
    """Do something in threads that begin together; return what each gave, or raise what one raised."""
    barrier = threading.Barrier(workers)

    def begin(number: int) -> Any:
        barrier.wait(30)
        return work(number)

    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        return list(pool.map(begin, range(workers)))


# -- one file ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["plain", "AES-GCM", "AES-CBC", "safetensors", "shards"])
def test_eight_threads_load_one_file(kind: str, tmp_path: Path) -> None:
    path, how = make(tmp_path, kind)
    for found in at_once(lambda _: digests(load_checkpoint(str(path), **how))):
        assert found == WANTED


def test_eight_threads_load_one_file_object(tmp_path: Path) -> None:
    """It has a single position, which is everybody's, unless each read is made in one step."""
    path, _ = make(tmp_path, "plain")
    with path.open("rb") as file, open_checkpoint(file) as reader:
        for found in at_once(lambda _: digests(reader.load())):
            assert found == WANTED


def test_threads_share_no_memory(tmp_path: Path) -> None:
    path, _ = make(tmp_path, "plain")
    first, second = at_once(lambda _: load_checkpoint(str(path)), 2)
    for name in VALUES:
        assert not np.shares_memory(first[name].asnumpy(), second[name].asnumpy())


PROGRAM = """
import json, sys
sys.path[:0] = json.loads(sys.argv[1])
from test_concurrency import KEY, WANTED, digests
from ckptload import load_checkpoint
how = {"dec_key": KEY, "dec_mode": sys.argv[3]} if sys.argv[3].startswith("AES") else {"format": sys.argv[3]}
sys.stdin.readline()
for _ in range(3):
    assert digests(load_checkpoint(sys.argv[2], **how)) == WANTED
"""


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize("kind", ["plain", "AES-GCM", "safetensors"])
def test_eight_processes_load_one_file(kind: str, tmp_path: Path) -> None:
    path, how = make(tmp_path, kind)
    last = kind if "dec_key" in how else how.get("format", "ckpt")
    folders = json.dumps([str(Path(__file__).parent), *sys.path])
    command = [sys.executable, "-c", PROGRAM, folders, str(path), last]
    started = [subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(WORKERS)]
    for one in started:
        # They begin when they read the line, not when they were started.
        assert one.stdin is not None
        one.stdin.write(b"go\n")
        one.stdin.flush()
    for one in started:
        _, words = one.communicate(timeout=300)
        assert one.returncode == 0, words.decode()


# -- one reader -------------------------------------------------------------------------------------------------


def use(reader: Any, number: int) -> dict[str, str]:
    """Ask for everything in another order than the other threads do, in several ways."""
    names = list(reader)
    start = number * len(names) // WORKERS
    found = {}
    for name in names[start:] + names[:start]:
        assert reader.info(name).shape == VALUES[name].shape
        found[name] = digest(reader[name])
        if VALUES[name].shape:
            assert digest(reader.get_slice(name)[1:3]) == digest(VALUES[name][1:3])
    assert len(reader.select(specify_prefix="layer.")) == 20
    repr(reader)
    return found


@every_kind
def test_eight_threads_share_a_lazy_reader(kind: str, tmp_path: Path) -> None:
    source, how = make(tmp_path, kind)
    with open_checkpoint(source, **how) as reader:
        for found in at_once(lambda number: use(reader, number)):
            assert found == WANTED


@every_kind
def test_threads_that_load_all_and_that_load_one_share_a_lazy_reader(kind: str, tmp_path: Path) -> None:
    """A tagged block that one thread needs must not be taken away by another that reads on."""
    source, how = make(tmp_path, kind)
    with open_checkpoint(source, **how) as reader:

        def work(number: int) -> dict[str, str]:
            if number % 2:
                return digests(reader.load())
            reader.authenticate()
            return {name: digest(reader[name]) for name in reversed(list(reader))}

        for found in at_once(work):
            assert found == WANTED


@every_kind
def test_a_reader_that_is_closed_while_threads_read_says_so_to_them(kind: str, tmp_path: Path) -> None:
    source, how = make(tmp_path, kind)
    for _ in range(5):
        reader = open_checkpoint(source, **how)

        def work(number: int, reader: Any = reader) -> str:
            if number == 0:
                reader.close()
                return "closed"
            try:
                while True:
                    for name in VALUES:
                        assert digest(reader[name]) == WANTED[name]
            except ClosedReaderError:
                return "told"

        assert at_once(work) == ["closed", *["told"] * (WORKERS - 1)]


@contextmanager
def closed_after(looks: int, thing: Any, attribute: str) -> Iterator[None]:
    """Let a source or a reader be as if another thread closed it after so many looks at an attribute."""
    kind: Any = type(thing)
    left = [looks]

    def look(self: Any, name: str) -> Any:
        if name == attribute:
            left[0] -= 1
            if left[0] < 0:
                return None
        return object.__getattribute__(self, name)

    thing.__class__ = type(kind.__name__, (kind,), {"__getattribute__": look})
    try:
        with suppress(ClosedReaderError):
            yield
    finally:
        thing.__class__ = kind


@pytest.mark.parametrize("looks", range(8))
@pytest.mark.parametrize("kind", ["plain", "mapped"])
def test_a_file_may_be_closed_between_any_two_steps_of_a_read(kind: str, looks: int, tmp_path: Path) -> None:
    path, how = make(tmp_path, kind)
    with open_checkpoint(path, **how) as reader, closed_after(looks, reader._open_index().source, "_file"):
        assert digests(reader.load()) == WANTED


@pytest.mark.parametrize("looks", range(8))
@pytest.mark.parametrize("use", [repr, len, list, digests], ids=["repr", "len", "list", "load"])
def test_a_reader_may_be_closed_between_any_two_steps(use: Callable[[Any], Any], looks: int, tmp_path: Path) -> None:
    path, how = make(tmp_path, "plain")
    with open_checkpoint(path, **how) as reader, closed_after(looks, reader, "_index"):
        use(reader)


@every_kind
def test_threads_fill_their_own_arrays_from_one_reader(kind: str, tmp_path: Path) -> None:
    source, how = make(tmp_path, kind)
    with open_checkpoint(source, **how) as reader:

        def work(_: int) -> dict[str, str]:
            room = {name: np.empty_like(array) for name, array in VALUES.items()}
            reader.fill(room.items())
            return digests(room)

        for found in at_once(work, 4):
            assert found == WANTED


# -- after a fork -----------------------------------------------------------------------------------------------


def forked(work: Callable[[], bool]) -> Callable[[], int]:
    """Do something in a forked process; return what waits for it and gives its exit code."""
    with warnings.catch_warnings():
        # Python 3.12 and later warn of forking beside threads that other tests left to the system.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if work() else 2
        finally:
            os._exit(code)
    return lambda: os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")


@needs_fork
@slow_but_for_two
def test_a_reader_is_used_on_both_sides_of_a_fork(kind: str, tmp_path: Path) -> None:
    """As by the workers of a data loader: four children and their parent read at the same time."""
    source, how = make(tmp_path, kind)
    with open_checkpoint(source, **how) as reader:
        # Half before the fork, so that there is something that is kept.
        assert digest(reader["layer.1.weight"]) == WANTED["layer.1.weight"]
        waits = [forked(lambda: digests(reader.load()) == WANTED and use(reader, 3) == WANTED) for _ in range(4)]
        assert digests(reader.load()) == WANTED
        assert [wait() for wait in waits] == [0] * 4
        assert digests(reader.load()) == WANTED


@needs_fork
def test_a_child_that_closes_its_reader_does_not_close_its_parent_s(tmp_path: Path) -> None:
    path, _ = make(tmp_path, "plain")
    with open_checkpoint(path) as reader:

        def close() -> bool:
            reader.close()
            return reader.closed

        assert forked(close)() == 0
        assert digests(reader.load()) == WANTED


# -- one dictionary ---------------------------------------------------------------------------------------------


class Net(Cell):
    """A net of the parameters that are saved."""

    def __init__(self) -> None:
        super().__init__()
        self.large = Parameter(np.zeros(3 << 19, np.int32), name="large")
        self.scalar = Parameter(np.array(0, np.int64), name="scalar")


def test_a_loaded_dictionary_is_used_by_several_threads(tmp_path: Path) -> None:
    """Each computes with it, prints it, saves it and loads a net of its own from it."""
    path, _ = make(tmp_path, "plain")
    values = load_checkpoint(str(path))

    def work(number: int) -> dict[str, str]:
        net = Net()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            load_param_into_net(net, values)
        assert digest(net.large) == WANTED["large"]
        total = sum((value.asnumpy().sum() for value in values.values()), start=0.0)
        str(values["layer.3.weight"])
        save_checkpoint(values, tmp_path / f"{number}.ckpt")
        assert digests(load_checkpoint(str(tmp_path / f"{number}.ckpt"))) == WANTED
        return {**digests(values), "total": str(total)}

    found = at_once(work, 4)
    assert all(one == found[0] for one in found)
    assert {name: found[0][name] for name in WANTED} == WANTED


def test_several_threads_load_one_net(tmp_path: Path) -> None:
    """The values are the same, so that it does not matter who comes last; the net's memory stays its own."""
    path, _ = make(tmp_path, "plain")
    net = Net()
    memory = net.large.asnumpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        at_once(lambda _: load_checkpoint(str(path), net))
    assert digest(net.large) == WANTED["large"]
    assert np.shares_memory(memory, net.large.asnumpy())


# -- saves ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["thread", pytest.param("process", marks=pytest.mark.slow)])
def test_asynchronous_saves_in_a_row_end_in_the_order_of_their_calls(how: str, tmp_path: Path) -> None:
    """What is changed after a call is not in its file; whoever loads meanwhile finds a whole file."""
    path = tmp_path / "x.ckpt"
    values = {name: np.zeros(10_000, np.int32) for name in "ab"}
    save_checkpoint(values, path)
    for number in range(1, ROUNDS + 1):
        for array in values.values():
            array[:] = number
        save_checkpoint(values, path, async_save=how)
        for array in values.values():
            array[:] = -1
        found = load_checkpoint(str(path))
        (now,) = {int(value.asnumpy().max()) for value in found.values()}
        assert {int(value.asnumpy().min()) for value in found.values()} == {now}
        assert number - 1 <= now <= number
    _saves.wait()
    assert load_checkpoint(str(path))["a"].asnumpy().tolist() == [ROUNDS] * 10_000
    assert [file.name for file in tmp_path.iterdir()] == ["x.ckpt"]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["thread", "process"])
def test_asynchronous_saves_that_threads_begin_are_all_done(how: str, tmp_path: Path) -> None:
    def work(number: int) -> None:
        for at in range(3):
            save_checkpoint({"a": np.array(number)}, tmp_path / f"{number}.{at}.ckpt", async_save=how)

    with warnings.catch_warnings():
        # Python 3.12 and later warn of forking beside threads.
        warnings.simplefilter("ignore", DeprecationWarning)
        at_once(work)
    _saves.wait()
    for number in range(WORKERS):
        for at in range(3):
            assert load_checkpoint(str(tmp_path / f"{number}.{at}.ckpt"))["a"].asnumpy() == number


def test_loads_and_saves_of_one_file_in_threads_see_whole_files_only(tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    save_checkpoint({name: np.zeros(1000, np.int32) for name in "ab"}, path)

    def work(number: int) -> None:
        for at in range(ROUNDS):
            if number % 2:
                save_checkpoint({name: np.full(1000, at, np.int32) for name in "ab"}, path)
            else:
                found = load_checkpoint(str(path))
                values = {int(one) for value in found.values() for one in np.unique(value.asnumpy())}
                assert len(values) == 1

    at_once(work)


def test_an_error_in_one_thread_is_that_thread_s(tmp_path: Path) -> None:
    """Errors carry names and places; they are made anew for each that is raised."""
    path, _ = make(tmp_path, "plain")
    with open_checkpoint(path) as reader:

        def work(number: int) -> str:
            with pytest.raises(CheckpointError) as caught:
                reader.info(f"missing.{number}")
            return str(caught.value.name)

        assert at_once(work) == [f"missing.{number}" for number in range(WORKERS)]
