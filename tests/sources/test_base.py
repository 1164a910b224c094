"""Any range of bytes, one or many at a time, from every kind of source."""

from __future__ import annotations

import io
import os
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptload.errors import ClosedReaderError, CorruptCheckpointError, ReadError
from ckptload.sources import base
from ckptload.sources.files import FileSource
from ckptload.sources.inputs import open_source
from ckptload.sources.memory import BufferSource, FileObjectSource
from sources.content import CONTENT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ckptload.sources.base import Source

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


# -- one range -----------------------------------------------------------------------------------------


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


# -- many ranges at once -------------------------------------------------------------------------------


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
