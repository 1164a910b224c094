"""Memory is asked for before it is filled, where that helps, and values do not depend on it."""

from __future__ import annotations

import ctypes
import mmap
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ckptload
from ckptload import paging

if TYPE_CHECKING:
    from pathlib import Path

    Array = np.ndarray[Any, np.dtype[Any]]

MIB = 1 << 20
SMALL, POPULATE = 15, 23  # MADV_NOHUGEPAGE, MADV_POPULATE_WRITE


class Recorder:
    """The kernel's calls, recorded; memory is missing, and nothing is done about it.

    It keeps the time, too, in which filling a block takes one second.

    Attributes:
        advice: the advice given, with the addresses from and to.
        costs: the seconds that it takes to supply memory in huge pages, and in small ones.
    """

    def __init__(self, answer: int = 0) -> None:
        self.answer = answer  # -1 is that of a kernel that does not know the advice.
        self.advice: list[tuple[int, int, int]] = []
        self.costs = (1.0, 1.0)
        self.now = 0.0

    def mincore(self, _start: int, _size: int, found: Any) -> int:
        found.raw = b"\0"
        return 0

    def madvise(self, start: int, size: int, advice: int) -> int:
        if advice == POPULATE:
            small = any(number == SMALL and begin <= start < stop for number, begin, stop in self.advice)
            self.now += self.costs[small]
        self.advice.append((advice, start, start + size))
        return self.answer

    def clock(self) -> float:
        self.now += 0.5
        return self.now

    def bytes_of(self, advice: int) -> int:
        """Return for how many bytes an advice was given."""
        return sum(stop - start for number, start, stop in self.advice if number == advice)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr(paging, "_KERNEL", recorder)
    monkeypatch.setattr(paging, "perf_counter", recorder.clock)
    return recorder


def take(size: int) -> int:
    """Take an array's memory in parts, and return how many there were."""
    return sum(1 for _ in paging.Supply().parts(0, np.empty(size, np.uint8).data))


def address(array: Array) -> int:
    return int(array.__array_interface__["data"][0])


def is_present(at: int) -> bool:
    found = ctypes.create_string_buffer(1)
    assert (
        ctypes.CDLL(None).mincore(ctypes.c_void_p(at // mmap.PAGESIZE * mmap.PAGESIZE), ctypes.c_size_t(1), found) == 0
    )
    return found.raw != b"\0"


@given(size=st.integers(0, 9 * MIB), start=st.integers(0, 1 << 40), skip=st.integers(0, 3 * MIB))
def test_parts_are_the_buffer(size: int, start: int, skip: int) -> None:
    """Parts follow each other without a gap, whatever part of an array the buffer is."""
    out = np.zeros(skip + size, np.uint8).data[skip:]
    parts = list(paging.Supply().parts(start, out))
    places = np.cumsum([start, *(len(part) for _, part in parts)]).tolist()
    assert [at for at, _ in parts] == places[:-1]
    assert places[-1] == start + size
    for number, (_, part) in enumerate(parts):
        part[:] = bytes([number % 251]) * len(part)
    joined = b"".join(bytes([number % 251]) * len(part) for number, (_, part) in enumerate(parts))
    assert bytes(out) == joined


def test_small_pages_are_asked_for(kernel: Recorder) -> None:
    """All memory of an array below 4 MiB is asked for, in steps, each before it is filled."""
    array = np.empty(3 * MIB, np.uint8)
    at = address(array)
    asked = []
    for place, part in paging.Supply().parts(0, array.data):
        last = kernel.advice[-1]
        assert last[0] == POPULATE
        assert last[1] <= at + place
        assert last[2] == at + place + len(part)
        asked.append(len(part))
    assert asked == [MIB] * 3


def test_what_is_there_is_not_asked_for(kernel: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory that was written to is filled at once: of a net, or of an array that was freed."""

    def present(_start: int, _size: int, found: Any) -> int:
        found.raw = b"\1"
        return 0

    monkeypatch.setattr(kernel, "mincore", present)
    array = np.empty(8 * MIB, np.uint8)
    assert [len(part) for _, part in paging.Supply().parts(0, array.data)] == [8 * MIB]
    paging.ready([array.data])
    assert kernel.advice == []


def test_huge_pages_are_left_to_numpy(kernel: Recorder) -> None:
    """If memory is at hand, only the ends of a large array are asked for, and a block now and then."""
    assert take(256 * MIB) < 24
    assert kernel.bytes_of(SMALL) == 0
    # Both ends, and a block in 34 MiB.
    assert kernel.bytes_of(POPULATE) <= 2 * paging.BLOCK + 8 * paging.BLOCK + mmap.PAGESIZE


def test_slow_huge_pages_give_way_to_small_ones(kernel: Recorder) -> None:
    """If huge pages come slowly, twice in a row, small ones are tried, and kept while they are faster."""
    kernel.costs = (10.0, 2.0)
    take(256 * MIB)
    assert 200 * MIB < kernel.bytes_of(SMALL) <= 256 * MIB


def test_small_pages_that_are_slower_still_are_given_up(kernel: Recorder) -> None:
    """A machine that was just started has no small pages at hand either."""
    kernel.costs = (10.0, 20.0)
    take(256 * MIB)
    assert 0 < kernel.bytes_of(SMALL) <= 4 * paging.BLOCK


def test_small_pages_that_run_out_are_given_up(kernel: Recorder) -> None:
    """What a load measured is not true forever."""
    supply = paging.Supply()
    kernel.costs = (10.0, 2.0)
    first, second = np.empty(128 * MIB, np.uint8), np.empty(512 * MIB, np.uint8)
    sum(1 for _ in supply.parts(0, first.data))
    before = kernel.bytes_of(SMALL)
    assert before > 64 * MIB
    kernel.costs = (10.0, 20.0)
    sum(1 for _ in supply.parts(0, second.data))
    assert kernel.bytes_of(SMALL) - before < 64 * MIB


def test_one_slow_block_is_no_proof(kernel: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that was interrupted once keeps to huge pages."""
    looks = iter([0.0, 50.0])
    monkeypatch.setattr(paging, "perf_counter", lambda: next(looks, None) or kernel.clock())
    take(256 * MIB)
    assert kernel.bytes_of(SMALL) == 0


def test_pieces_of_one_array_do_not_count_as_its_ends(kernel: Recorder) -> None:
    """The pieces that two threads read of one large array ask for no more than the whole does."""
    view = np.empty(64 * MIB, np.uint8).data
    supply = paging.Supply()
    for at in range(0, 64 * MIB, 8 * MIB):
        list(supply.parts(at, view[at : at + 8 * MIB]))
    # The ends, and the blocks that are measured.
    assert kernel.bytes_of(POPULATE) <= 2 * paging.BLOCK + 3 * paging.BLOCK + 2 * mmap.PAGESIZE


def test_neighbours_are_asked_for_together(kernel: Recorder) -> None:
    """Buffers that follow each other in memory take one call, and what is between others is not asked for."""
    base = np.empty(8 * MIB, np.uint8)
    view = base.data
    near = [view[at : at + 65536 - 16] for at in range(0, MIB, 65536)]
    far = view[6 * MIB : 7 * MIB]
    paging.ready([*near, far])
    at = address(base)
    assert len(kernel.advice) == 2
    assert kernel.bytes_of(POPULATE) < 2 * MIB + 2 * mmap.PAGESIZE
    assert not any(start <= at + 4 * MIB < stop for _, start, stop in kernel.advice)


def test_tiny_buffers_are_not_worth_asking(kernel: Recorder) -> None:
    """Thousands of small tensors would take longer to ask for than to fill."""
    paging.ready([np.empty(4096, np.uint8).data for _ in range(100)])
    assert kernel.advice == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has the advice")
def test_the_kernel_supplies_what_is_asked_for() -> None:
    """On Linux 5.14 and later, a page is there before anything was written to it; its neighbours are not."""
    room = mmap.mmap(-1, 8 * MIB)
    array = np.frombuffer(room, np.uint8)
    at = address(array)
    if ctypes.CDLL(None).madvise(ctypes.c_void_p(at), ctypes.c_size_t(mmap.PAGESIZE), POPULATE):
        pytest.skip("this kernel does not know MADV_POPULATE_WRITE")
    assert not is_present(at + MIB)
    paging.ready([array.data[MIB : 2 * MIB]])
    assert is_present(at + MIB)
    assert is_present(at + 2 * MIB - 1)
    assert not is_present(at + 4 * MIB)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Array]]:
    """A checkpoint with tensors that are read in each of the ways."""
    rng = np.random.default_rng(5)
    sizes = [65_536] * 40 + [1_500_000, 3 * MIB, 9 * MIB, 5 * MIB + 12]
    arrays = {f"w{number}": rng.integers(0, 256, size, np.uint8) for number, size in enumerate(sizes)}
    path = tmp_path_factory.mktemp("paging") / "model.ckpt"
    ckptload.save_checkpoint([{"name": name, "data": ckptload.Tensor(array)} for name, array in arrays.items()], path)
    return path, arrays


@pytest.mark.parametrize("kind", ["this kernel", "no kernel", "an old kernel", "slow memory"])
def test_values_do_not_depend_on_it(
    saved: tuple[Path, dict[str, Array]], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arrays own their memory, are writable and hold the file's values, whatever the kernel knows."""
    path, arrays = saved
    if kind in {"no kernel", "an old kernel"}:
        monkeypatch.setattr(paging, "_KERNEL", None if kind == "no kernel" else Recorder(-1))
    if kind == "slow memory":
        monkeypatch.setattr(paging, "_SLOW", -1)
    loaded = ckptload.load_checkpoint(path)
    assert loaded.keys() == arrays.keys()
    for name, array in arrays.items():
        found = loaded[name].asnumpy()
        assert np.array_equal(found, array)
        assert found.flags.owndata
        assert found.flags.writeable
        assert found.flags.aligned


def test_encrypted_values_do_not_depend_on_it(
    saved: tuple[Path, dict[str, Array]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AES-GCM is decrypted into memory that was asked for."""
    path, arrays = saved
    key = b"k" * 16
    ckptload.save_checkpoint(ckptload.load_checkpoint(path), tmp_path / "x.ckpt", enc_key=key, enc_mode="AES-GCM")
    recorder = Recorder()
    monkeypatch.setattr(paging, "_KERNEL", recorder)
    loaded = ckptload.load_checkpoint(tmp_path / "x.ckpt", dec_key=key, dec_mode="AES-GCM")
    assert all(np.array_equal(loaded[name].asnumpy(), array) for name, array in arrays.items())
    assert recorder.bytes_of(POPULATE) > 9 * MIB
