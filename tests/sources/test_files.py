"""Sources: any range of bytes, from anything that holds bytes, and a clear error for all that does not."""

from __future__ import annotations

import gzip
import io
import multiprocessing
import os
import socket
import sys
import tempfile
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptload.errors import (
    ArgumentError,
    ArgumentTypeError,
    ChangedFileError,
    ClosedReaderError,
    CorruptCheckpointError,
    ReadError,
)
from ckptload.sources import base
from ckptload.sources.files import FileSource, MappedSource
from ckptload.sources.inputs import open_source
from ckptload.sources.memory import BufferSource, FileObjectSource
from descriptors import open_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ckptload.sources.base import Source

CONTENT = bytes(range(256)) * 40
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="counts descriptors in /proc")
posix_only = pytest.mark.skipif(os.name != "posix", reason="needs a POSIX system")


class Trickle(io.RawIOBase):
    """A seekable binary file that gives a few bytes a call, as a file object may."""

    def __init__(self, content: bytes, most: int = 7) -> None:
        self._inner = io.BytesIO(content)
        self._most = most

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._inner.seek(offset, whence)

    def tell(self) -> int:
        return self._inner.tell()

    def readinto(self, buffer: Any) -> int:
        data = self._inner.read(min(self._most, len(buffer)))
        buffer[: len(data)] = data
        return len(data)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "content.ckpt"
    made.write_bytes(CONTENT)
    return made


def _without_preadv(path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    monkeypatch.delattr(os, "preadv", raising=False)
    return FileSource(str(path))


def _without_pread(path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    monkeypatch.delattr(os, "preadv", raising=False)
    monkeypatch.delattr(os, "pread", raising=False)
    return FileSource(str(path))


def _short_reads(path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    """The system may always return less than it was asked for."""
    if not hasattr(os, "preadv"):
        pytest.skip("the system has no preadv")
    preadv = os.preadv
    monkeypatch.setattr(os, "preadv", lambda fd, outs, at: preadv(fd, [outs[0][:5]], at))
    return FileSource(str(path))


MAKERS: dict[str, Callable[[Path, pytest.MonkeyPatch], Source]] = {
    "path": lambda path, _: open_source(str(path)),
    "pathlib": lambda path, _: open_source(path),
    "mapped": lambda path, _: open_source(path, mapped=True),
    "preadv missing": _without_preadv,
    "pread missing": _without_pread,
    "short reads": _short_reads,
    "bytes": lambda path, _: open_source(path.read_bytes()),
    "bytearray": lambda path, _: open_source(bytearray(path.read_bytes())),
    "memoryview": lambda path, _: open_source(memoryview(path.read_bytes())),
    "memoryview of words": lambda path, _: open_source(memoryview(path.read_bytes()).cast("I")),
    "memoryview with gaps": lambda path, _: open_source(
        memoryview(bytes(b for byte in path.read_bytes() for b in (byte, 0)))[::2]
    ),
    "BytesIO": lambda path, _: open_source(io.BytesIO(path.read_bytes())),
    "open file": lambda path, _: open_source(path.open("rb")),
    "unbuffered file": lambda path, _: open_source(path.open("rb", buffering=0)),
    "trickling file": lambda path, _: open_source(Trickle(path.read_bytes())),
}


@pytest.fixture(params=MAKERS)
def source(request: pytest.FixtureRequest, path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Source]:
    made = MAKERS[request.param](path, monkeypatch)
    yield made
    file = getattr(made, "_file", None)
    made.close()
    if file is not None:
        file.close()


# -- every source -------------------------------------------------------------------------------------


def test_a_source_knows_its_size(source: Source) -> None:
    assert source.size == len(CONTENT)


@pytest.mark.parametrize(("start", "stop"), [(0, 0), (0, 1), (3, 300), (0, len(CONTENT)), (len(CONTENT),) * 2])
def test_any_range_can_be_read(source: Source, start: int, stop: int) -> None:
    assert bytes(source.read(start, stop)) == CONTENT[start:stop]
    out = bytearray(b"\xff" * (stop - start))
    source.read_into(start, memoryview(out))
    assert out == CONTENT[start:stop]


@pytest.mark.parametrize(("start", "stop"), [(0, len(CONTENT) + 1), (-1, 3), (9, 8), (2**62, 2**62 + 1)])
def test_a_range_outside_is_a_cut_file_and_allocates_nothing(source: Source, start: int, stop: int) -> None:
    with pytest.raises(CorruptCheckpointError, match="were requested"):
        source.read(start, stop)


def test_a_closed_source_says_so_for_every_read(source: Source) -> None:
    file = getattr(source, "_file", None)
    source.close()
    source.close()
    with pytest.raises(ClosedReaderError):
        source.read(0, 1)
    with pytest.raises(ClosedReaderError):
        source.read_into(0, memoryview(bytearray(1)))
    with pytest.raises(ClosedReaderError):
        source.read_many([(0, memoryview(bytearray(1)))])
    if file is not None:
        file.close()


def test_threads_do_not_disturb_each_other(source: Source) -> None:
    def check(at: int) -> bool:
        return bytes(source.read(at, at + 100)) == CONTENT[at : at + 100]

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(check, list(range(0, 10_000, 37)) * 3))


# -- many ranges at once ------------------------------------------------------------------------------


@st.composite
def requests(draw: st.DrawFn) -> list[tuple[int, int]]:
    """Ascending ranges that do not overlap, with gaps and sizes around the limits of grouping."""
    sizes = st.one_of(st.integers(0, 40), st.sampled_from([4095, 4096, 4097, 65_535, 65_536, 65_537, 200_000]))
    found, at = [], 0
    for gap, size in draw(st.lists(st.tuples(sizes, sizes), max_size=12)):
        at += gap
        found.append((at, at + size))
        at += size
    return found


def _giving(most: int) -> Callable[..., int]:
    """Return a `preadv` that gives fewer bytes than it could, as the system may; none at all is an interrupt."""
    preadv = os.preadv

    def call(fd: int, outs: list[memoryview], at: int) -> int:
        if len(outs) > 1 and not most:
            raise InterruptedError
        given, room = [], max(most, 1000)
        while outs and room:
            given.append(outs[0][:room])
            room -= len(given[-1])
            outs = outs[1:]
        return preadv(fd, given, at)

    return call


@settings(max_examples=60)
@given(
    spans=requests(),
    piece=st.sampled_from([1 << 10, 100_000, 32 << 20]),
    parallel=st.booleans(),
    most=st.sampled_from([0, 1, 5000, 70_000, 1 << 30]),
)
def test_read_many_gives_what_single_reads_give(
    spans: list[tuple[int, int]], piece: int, parallel: bool, most: int
) -> None:
    """However ranges are grouped, cut, spread over threads and given, each buffer holds its own range."""
    size = max((stop for _, stop in spans), default=0)
    content = (b"0123456789abcdef!" * (size // 17 + 1))[:size]
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, "PIECE", piece)
        if hasattr(os, "preadv"):
            patch.setattr(os, "preadv", _giving(most))
        patch.setattr(base, "_PARALLEL_FROM", 0 if parallel else 1 << 40)
        name = Path(folder) / "content"
        name.write_bytes(content)
        for source in (FileSource(str(name)), BufferSource(content), FileObjectSource(io.BytesIO(content))):
            outs = [bytearray(stop - start) for start, stop in spans]
            source.read_many([(start, memoryview(out)) for (start, _), out in zip(spans, outs, strict=True)])
            assert [bytes(out) for out in outs] == [bytes(source.read(*span)) for span in spans]
            source.close()


class Counting(BufferSource):
    """A buffer that notes each read of it."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.calls: list[tuple[int, int]] = []

    def read(self, start: int, stop: int) -> memoryview:
        self.calls.append((start, stop))
        return super().read(start, stop)


def test_small_neighbours_share_one_read() -> None:
    source = Counting(bytes(100_000))
    source.read_many([(at, memoryview(bytearray(10))) for at in range(0, 50_000, 100)])
    assert source.calls == [(0, 49_910)]


@pytest.mark.skipif(not hasattr(os, "preadv"), reason="the system has no preadv")
def test_one_call_fills_as_many_buffers_as_the_system_takes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With more than 1024 it would do nothing."""
    calls: list[int] = []
    preadv = os.preadv

    def counting(fd: int, outs: list[memoryview], at: int) -> int:
        calls.append(len(outs))
        return preadv(fd, outs, at)

    monkeypatch.setattr(os, "preadv", counting)
    spans = [(at, at + 1) for at in range(0, len(CONTENT), 3)]
    outs = [bytearray(1) for _ in spans]
    source = FileSource(str(path))
    source.read_many([(start, memoryview(out)) for (start, _), out in zip(spans, outs, strict=True)])
    source.close()
    assert b"".join(outs) == CONTENT[::3]
    assert len(calls) == 1 + len(spans) // 500


def test_a_small_range_far_away_is_read_alone() -> None:
    """No more than a page is read in vain between two ranges."""
    source = Counting(bytes(100_000))
    source.read_many([(0, memoryview(bytearray(10))), (50_000, memoryview(bytearray(10)))])
    assert source.calls == [(0, 10), (50_000, 50_010)]


def test_a_large_range_is_cut_so_that_both_threads_share_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "PIECE", 1 << 20)
    source = Counting(bytes(5 << 20))
    source.read_many([(0, memoryview(bytearray(5 << 20)))])
    assert sorted(source.calls) == [(at << 20, at + 1 << 20) for at in range(5)]


def test_after_a_failed_read_the_rest_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "PIECE", 1 << 16)

    class Failing(Counting):
        def read(self, start: int, stop: int) -> memoryview:
            super().read(start, stop)
            time.sleep(0.01)  # Long enough for the caller to see the first failure before the last read begins.
            raise ReadError("gone", path=self.label)

    source = Failing(bytes(16 << 20))
    with pytest.raises(ReadError, match="gone"):
        source.read_many([(0, memoryview(bytearray(16 << 20)))])
    assert len(source.calls) < 256


@posix_only
def test_a_system_that_gives_no_threads_still_reads() -> None:
    """A thread's stack that fits no address space makes the system refuse, as a limit on processes does."""
    content = os.urandom(5 << 20)
    before = threading.stack_size(1 << 46)
    try:
        out = bytearray(len(content))
        BufferSource(content).read_many([(0, memoryview(out))])
    finally:
        threading.stack_size(before)
    assert out == content


# -- files --------------------------------------------------------------------------------------------


def test_a_file_is_known_by_its_path(path: Path) -> None:
    source = open_source(path)
    assert (source.path, source.label) == (str(path.resolve()),) * 2
    source.close()


@posix_only
def test_a_link_is_followed_to_the_file_it_names(path: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(path)
    source = open_source(tmp_path / "link")
    assert source.path == str(path.resolve())
    source.close()


def _missing(folder: Path) -> str:
    return str(folder / "missing.ckpt")


def _below_a_file(folder: Path) -> str:
    (folder / "file").write_bytes(b"")
    return str(folder / "file" / "x.ckpt")


def _loop(folder: Path) -> str:
    (folder / "loop").symlink_to(folder / "loop")
    return str(folder / "loop")


BAD_PATHS: dict[str, tuple[Callable[[Path], str], str]] = {
    "missing": (_missing, "check the path"),
    "directory": (str, "name a file in that folder"),
    "below a file": (_below_a_file, "Not a directory"),
    "link to itself": (_loop, "symbolic link"),
    "too long": (lambda folder: str(folder / ("x" * 300)), "too long"),
    "far too long": (lambda folder: str(folder) + "/x" * 5000, "too long"),
    "with NUL": (lambda folder: str(folder / "a\0b"), "NUL character"),
    "that cannot be encoded": (lambda folder: str(folder / "\ud800"), "surrogates"),
    "empty": (lambda _: "", "directory"),
    "a device": (lambda _: "/dev/zero", "pipe or a device"),
}


@linux_only
@pytest.mark.parametrize("kind", BAD_PATHS)
@pytest.mark.parametrize("mapped", [False, True])
def test_a_path_that_cannot_be_read_is_a_read_error_with_the_reason(tmp_path: Path, kind: str, mapped: bool) -> None:
    make, words = BAD_PATHS[kind]
    name = make(tmp_path)
    before = open_files()
    with pytest.raises(ReadError, match=words) as caught:
        open_source(name, mapped=mapped)
    assert isinstance(caught.value, OSError)
    assert caught.value.path
    assert open_files() == before


@posix_only
def test_a_named_pipe_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.ckpt")
    with pytest.raises(ReadError, match="pipe or a device"):
        open_source(tmp_path / "pipe.ckpt")


@posix_only
def test_a_socket_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # The path of a socket is short on some systems.
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket.ckpt")
        with pytest.raises(ReadError):
            open_source("socket.ckpt")


@posix_only
def test_a_file_without_permission_says_who_may_change_that(path: Path) -> None:
    """As another user where the tests run as root, for whom nothing is forbidden."""
    path.chmod(0)
    root = os.geteuid() == 0
    if root:
        for folder in list(path.parents)[:3]:
            folder.chmod(0o755)
        os.seteuid(65534)
    try:
        with pytest.raises(ReadError, match="may not read it"):
            open_source(path)
    finally:
        if root:
            os.seteuid(0)


@posix_only
def test_a_relative_path_in_a_folder_that_is_gone_is_a_read_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(ReadError):
        open_source("x.ckpt")


def test_an_empty_file_is_a_source_of_no_bytes(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    for mapped in (False, True):
        source = open_source(tmp_path / "empty", mapped=mapped)
        assert source.size == 0
        assert bytes(source.read(0, 0)) == b""
        source.close()


def test_a_file_that_shrinks_is_changed_and_not_filled_with_anything(path: Path) -> None:
    source = open_source(path)
    os.truncate(path, 100)
    with pytest.raises(ChangedFileError, match="ends at byte 100") as caught:
        source.read(50, 200)
    assert caught.value.offset == 100
    source.close()


def _grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"x")


def _replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    status = path.stat()
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(path)


def _rewrite(path: Path) -> None:
    path.write_bytes(bytes(len(CONTENT)))
    os.utime(path, ns=(0, 0))


@pytest.mark.parametrize("change", [_grow, _replace, _rewrite])
def test_a_changed_or_replaced_file_is_noticed(path: Path, change: Callable[[Path], None]) -> None:
    source = open_source(path)
    source.check_unchanged()
    change(path)
    with pytest.raises(ChangedFileError, match="changed or replaced"):
        source.check_unchanged()
    source.close()


@posix_only
def test_a_deleted_file_can_be_read_on(path: Path) -> None:
    source = open_source(path)
    path.unlink()
    source.check_unchanged()
    assert bytes(source.read(1, 4)) == CONTENT[1:4]
    source.close()


def _closed(source: FileSource, number: int) -> int:
    """Close a source between two steps of what it does, as another thread may."""
    source.close()
    return number


def _reused(path: Path) -> Callable[[FileSource, int], int]:
    """The same, and another file is opened meanwhile, which the system gives the number that became free."""

    def close(source: FileSource, number: int) -> int:
        source.close()
        other = os.open(path, os.O_RDONLY)
        assert other == number
        return number

    return close


@posix_only
@pytest.mark.parametrize("reused", [False, True])
@pytest.mark.parametrize("step", ["fstat", "pread", "preadv"])
def test_a_file_that_another_thread_closes_in_the_middle_of_a_step_is_closed(
    step: str, reused: bool, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not changed and not unreadable, whatever stands behind its number by then; and no byte of another file."""
    if not hasattr(os, step):
        pytest.skip(f"the system has no {step}")
    (tmp_path / "other").write_bytes(b"")
    meanwhile = _reused(tmp_path / "other") if reused else _closed
    source = FileSource(str(path))
    number = source._open_file().fileno()
    call: Callable[..., Any] = getattr(os, step)
    monkeypatch.setattr(os, step, lambda fd, *more: call(meanwhile(source, fd), *more))
    steps: dict[str, Callable[[], object]] = {
        "fstat": source.check_unchanged,
        "pread": lambda: source.read(0, 10),
        "preadv": lambda: source.read_into(0, memoryview(bytearray(10))),
    }
    try:
        with pytest.raises(ClosedReaderError):
            steps[step]()
    finally:
        monkeypatch.undo()
        if reused:
            os.close(number)


def test_a_file_that_another_thread_closes_before_its_number_is_asked_for_is_closed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = FileSource(str(path))
    open_file = source._open_file

    def closing() -> Any:
        file = open_file()
        source.close()
        return file

    monkeypatch.setattr(source, "_open_file", closing)
    with pytest.raises(ClosedReaderError):
        source.check_unchanged()


@linux_only
def test_no_descriptor_is_leaked(path: Path) -> None:
    before = open_files()
    for mapped in (False, True):
        for _ in range(20):
            source = open_source(path, mapped=mapped)
            source.read(0, 10)
            source.close()
    assert open_files() == before


@posix_only
def test_a_forked_process_and_its_parent_do_not_move_each_other(path: Path) -> None:
    source = open_source(path)
    context = multiprocessing.get_context("fork")
    child = context.Process(target=source.read, args=(500, 600))
    with warnings.catch_warnings():
        # Python 3.12 and later warn of forking beside threads that other tests left to the system.
        warnings.simplefilter("ignore", DeprecationWarning)
        child.start()
    assert bytes(source.read(10, 20)) == CONTENT[10:20]
    child.join()
    assert child.exitcode == 0
    assert bytes(source.read(20, 30)) == CONTENT[20:30]
    source.close()


def test_a_mapped_file_gives_writable_views_that_outlive_it_and_change_nothing(path: Path) -> None:
    source = MappedSource(str(path))
    view = source.read(0, 4)
    assert source.views
    source.close()
    view[0] = 77
    assert bytes(view) == b"\x4d\x01\x02\x03"
    assert path.read_bytes() == CONTENT


# -- buffers ------------------------------------------------------------------------------------------


def test_a_buffer_is_viewed_and_not_copied() -> None:
    content = bytearray(CONTENT)
    source = BufferSource(content)
    content[0] = 200
    assert source.read(0, 1)[0] == 200


def test_a_closed_buffer_can_be_resized_by_its_owner() -> None:
    content = bytearray(CONTENT)
    source = BufferSource(content)
    with pytest.raises(BufferError):
        content.clear()
    source.close()
    content.clear()


def test_a_released_buffer_is_an_argument_error() -> None:
    view = memoryview(b"abc")
    view.release()
    with pytest.raises(ArgumentError, match="cannot be read"):
        open_source(view)


@pytest.mark.parametrize("empty", [b"", bytearray(), memoryview(b""), memoryview(b"").cast("I")])
def test_an_empty_buffer_is_a_source_of_no_bytes(empty: Any) -> None:
    assert BufferSource(empty).size == 0


# -- file objects -------------------------------------------------------------------------------------


def test_a_file_object_is_read_from_its_start_and_left_where_it_was() -> None:
    file = io.BytesIO(CONTENT)
    file.seek(123)
    source = open_source(file)
    assert bytes(source.read(0, 3)) == CONTENT[:3]
    assert file.tell() == 123
    source.close()
    assert not file.closed


def test_a_file_object_is_left_where_it_was_by_a_failed_read() -> None:
    file = io.BytesIO(CONTENT)
    source = open_source(file)
    file.truncate(50)
    file.seek(7)
    with pytest.raises(ChangedFileError, match="ends at byte 50"):
        source.read(40, 60)
    assert file.tell() == 7


def test_a_file_object_that_its_owner_closed_is_a_read_error(path: Path) -> None:
    file = path.open("rb")
    source = open_source(file)
    file.close()
    with pytest.raises(ReadError, match="closed file"):
        source.read(0, 1)


def test_a_closed_file_object_is_a_read_error() -> None:
    file = io.BytesIO(CONTENT)
    file.close()
    with pytest.raises(ReadError, match="closed file"):
        open_source(file)


@posix_only
def test_a_pipe_is_a_read_error_with_a_way_out() -> None:
    read_end, write_end = os.pipe()
    with os.fdopen(read_end, "rb") as file, pytest.raises(ReadError, match="BytesIO"):
        open_source(file)
    os.close(write_end)


def test_a_file_opened_for_writing_is_a_read_error(tmp_path: Path) -> None:
    with (tmp_path / "new").open("wb") as file, pytest.raises(ReadError):
        open_source(file)


def test_a_damaged_archive_behind_a_file_object_is_a_read_error() -> None:
    """Whatever a foreign file object raises comes as one of our errors, with the original as its cause."""
    packed = bytearray(gzip.compress(os.urandom(100_000)))
    packed[500:600] = bytes(100)
    with gzip.open(io.BytesIO(packed)) as file, pytest.raises(ReadError) as caught:
        open_source(file).read(0, 50_000)
    assert caught.value.__cause__ is not None


def test_an_archive_behind_a_file_object_is_read_like_a_file() -> None:
    with gzip.open(io.BytesIO(gzip.compress(CONTENT))) as file:
        assert bytes(open_source(file).read(300, 310)) == CONTENT[300:310]


def test_a_spooled_file_is_read_like_a_file() -> None:
    with tempfile.SpooledTemporaryFile() as file:
        file.write(CONTENT)
        assert bytes(open_source(file).read(300, 310)) == CONTENT[300:310]


@pytest.mark.parametrize("name", [None, 3, b"bytes", ""])
def test_a_file_object_without_a_path_is_called_by_its_type(name: object) -> None:
    class Named(io.BytesIO):
        pass

    file = Named(CONTENT)
    file.name = name
    assert open_source(file).label == "<Named>"


# -- what is no source --------------------------------------------------------------------------------


class BytesPath:
    def __fspath__(self) -> bytes:
        return b"x.ckpt"


@pytest.mark.parametrize("thing", [None, 3, 1.5, [], {}, object(), BytesPath(), io.StringIO("text"), "text file"])
def test_what_holds_no_bytes_is_an_argument_type_error(thing: object, path: Path) -> None:
    file = path.open(encoding="latin-1") if thing == "text file" else thing
    with pytest.raises(ArgumentTypeError) as caught:
        open_source(file)
    assert isinstance(caught.value, TypeError)
    if isinstance(file, io.TextIOBase):
        file.close()


def test_an_object_that_reads_text_is_an_argument_type_error(path: Path) -> None:
    """A wrapper that is no TextIOBase is told by what it reads."""

    class Text:
        def __init__(self) -> None:
            self._file = path.open(encoding="latin-1")

        def __getattr__(self, name: str) -> Any:
            return getattr(self._file, name)

    file = Text()
    with pytest.raises(ArgumentTypeError, match="mode 'rb'"):
        open_source(file)
    file.close()


def test_a_source_is_taken_as_it_is() -> None:
    source = BufferSource(CONTENT)
    assert open_source(source) is source
