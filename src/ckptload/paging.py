"""Memory that the kernel supplies before it is written to (Linux).

A new array has no memory yet. The kernel supplies it page by page, at the first write to each, which interrupts a copy
every 4096 bytes; asked for many pages at once, it needs less time. From 4 MiB on, numpy asks for huge pages of 2 MiB,
and interruptions no longer matter. But a virtual machine that gives free memory back to its host has to get such a
page from there again, while small pages may still be at hand. Which of the two is faster is measured while reading.

Nothing here changes a value, and no failure matters: what the kernel does not supply now, it supplies at the first
write.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: The size of a huge page, in bytes. Where it is another one, only the speed suffers.
BLOCK: Final = 2 << 20
#: numpy asks for huge pages for arrays of at least this many bytes.
_ADVISED: Final = 4 << 20
#: For buffers of fewer bytes, asking costs as much as it saves.
_WORTH: Final = 32 << 10
#: Small pages are supplied for this many bytes at a time, which are then still in the processor's cache.
_STEP: Final = 1 << 20
#: After this many bytes in huge pages, or instead of them, time is measured again.
_VALID: Final = 32 << 20
#: By this factor, each measurement lowers what the other way is thought to take, so that it is tried again.
_FADING: Final = 0.9

#: Memory that is at hand is supplied in about the time that it takes to fill it; other memory takes more than this many
#: times as long.
_SLOW: Final = 3

# Advice of madvise(2).
_SMALL_PAGES: Final = 15  # MADV_NOHUGEPAGE, Linux 2.6.38
_POPULATE_WRITE: Final = 23  # MADV_POPULATE_WRITE, Linux 5.14


def _kernel() -> Any:
    """Return the C library with the system calls needed here, or None."""
    if sys.platform != "linux":
        return None
    try:
        library = ctypes.CDLL(None)
        library.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        library.mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p)
    except (OSError, AttributeError):
        return None
    return library


_KERNEL: Final = _kernel()


class Supply:
    """Supplies the memory of the buffers that one call fills. Threads may share it.

    Each call measures for itself, because what is at hand changes within seconds.
    """

    def __init__(self) -> None:
        self._huge = True
        # How many bytes may be filled in this way before time is measured again.
        self._left = 0
        # Seconds for a block, by whether it is a huge page; zero before that has been tried.
        self._seconds = {True: 0.0, False: 0.0}
        self._suspicion = False

    def parts(self, start: int, out: memoryview) -> Iterator[tuple[int, memoryview]]:
        """Yield a buffer in parts that have their memory, or get it in huge pages; the caller fills each at once.

        Args:
            start: the position that belongs to the buffer's first byte.
            out: the buffer: flat, writable, of bytes.

        Returns:
            Positions and parts, in order.
        """
        begin = _address(out) if len(out) >= _WORTH else 0
        stop = begin + len(out)
        if not _lacks_memory(begin, stop):
            yield start, out
            return
        first, last = _huge_range(begin, stop, out)
        for ranges in (_in_steps(begin, first), self._in_blocks(first, last), _in_steps(last, stop)):
            for low, high in ranges:
                yield start + low - begin, out[low - begin : high - begin]

    def _in_blocks(self, at: int, stop: int) -> Iterator[tuple[int, int]]:
        """Yield ranges of memory for which numpy has asked for huge pages."""
        while at < stop:
            if at % BLOCK:
                # The rest of a block of which another thread may fill the first part.
                end = min(_above(at), stop)
                yield at, end
            elif self._left <= 0:
                end = min(at + BLOCK, stop)
                yield from self._measured(at, end)
            else:
                end = min(at + _above(self._left), stop)
                self._left -= end - at
                if self._huge:
                    yield at, end
                else:
                    _advise(at, end, _SMALL_PAGES)
                    yield from _in_steps(at, end)
            at = end

    def _measured(self, begin: int, stop: int) -> Iterator[tuple[int, int]]:
        """Supply a block, yield it, and draw conclusions from the time that both took."""
        huge = self._huge
        if not huge:
            _advise(begin, stop, _SMALL_PAGES)
        before = perf_counter()
        _advise(begin, stop, _POPULATE_WRITE)
        supplied = perf_counter()
        yield begin, stop
        self._judge(supplied - before, perf_counter() - supplied, huge=huge)

    def _judge(self, supplying: float, filling: float, *, huge: bool) -> None:
        """Choose between huge and small pages.

        Args:
            supplying: the seconds that it took to supply a block.
            filling: the seconds that it took to fill it.
            huge: whether the block is a huge page.
        """
        if huge:
            if supplying <= _SLOW * filling:
                self._suspicion, self._left = False, _VALID
                return
            # A thread that was interrupted measures too much, but hardly twice.
            self._suspicion = not self._suspicion
            if self._suspicion:
                return
        self._seconds[huge] = supplying
        self._seconds[not huge] *= _FADING
        self._huge = self._seconds[True] <= self._seconds[False]
        self._left = _VALID if self._seconds[not huge] else 0


def _in_steps(at: int, stop: int) -> Iterator[tuple[int, int]]:
    """Supply memory in small pages, a few at a time, and yield it."""
    while at < stop:
        end = min(at + _STEP, stop)
        _advise(at, end, _POPULATE_WRITE)
        yield at, end
        at = end


def ready(outs: Sequence[memoryview]) -> None:
    """Supply the memory of buffers that are filled together; most are neighbours in memory."""
    if sum(map(len, outs)) < _WORTH * len(outs):
        return
    begin = stop = 0
    for out in outs:
        at = _address(out)
        if not begin <= at < stop + mmap.PAGESIZE:
            _supply_missing(begin, stop)
            begin = at
        stop = at + len(out)
    _supply_missing(begin, stop)


def _huge_range(begin: int, stop: int, out: memoryview) -> tuple[int, int]:
    """Return which part of a buffer's memory may lie in huge pages: what its owner has of whole blocks."""
    whole = out if out.obj is None else memoryview(out.obj)
    if whole.nbytes < _ADVISED or not whole.c_contiguous:
        return stop, stop
    start = _address(whole)
    first = min(max(begin, _above(start)), stop)
    return first, max(first, min(stop, (start + whole.nbytes) // BLOCK * BLOCK))


def _above(address: int) -> int:
    return -(-address // BLOCK) * BLOCK


def _supply_missing(begin: int, stop: int) -> None:
    if _lacks_memory(begin, stop):
        _advise(begin, stop, _POPULATE_WRITE)


def _lacks_memory(begin: int, stop: int) -> bool:
    """Tell whether it is worth it to ask for the memory of a range: most of it has never been written to."""
    if _KERNEL is None or stop - begin < _WORTH:
        return False
    found = ctypes.create_string_buffer(1)
    middle = (begin + stop) // 2 // mmap.PAGESIZE * mmap.PAGESIZE
    return _KERNEL.mincore(middle, mmap.PAGESIZE, found) == 0 and found.raw == b"\0"


def _advise(begin: int, stop: int, advice: int) -> None:
    begin = begin // mmap.PAGESIZE * mmap.PAGESIZE
    _KERNEL.madvise(begin, stop - begin, advice)


def _address(out: memoryview) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(out))
