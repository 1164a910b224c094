"""A decrypting source for AES-GCM with tags: no byte of a block is handed out before its tag was compared.

A tag vouches for a whole block, so every read decrypts blocks from end to end. Two plain blocks are
kept, so that reading along a file decrypts each block once. A failed tag is final: no other reading
of the block is tried.
"""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from ckptload.ciphers import SPARE, tag_error
from ckptload.errors import CheckpointError, ClosedReaderError, OutOfMemoryError
from ckptload.sealed_source import SealedSource, copy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ckptload.chain import Chain
    from ckptload.ciphers import KeyedCipher
    from ckptload.sources import Request, Source

#: Plain blocks kept: that of the last read, and the one that follows it.
_KEPT_BLOCKS: Final = 2
#: Both together, as MindSpore writes blocks. Larger ones are kept one at a time.
_KEPT_BYTES: Final = _KEPT_BLOCKS * (64 << 20)
#: Below this much to decrypt a second thread costs more than it saves.
_PARALLEL_FROM: Final = 1 << 20


class _Job(NamedTuple):
    """A block to decrypt, and where parts of it go: ``(place in the block, buffer)`` in ascending order."""

    number: int
    wanted: list[tuple[int, memoryview]]


class _Kept(NamedTuple):
    """A block's plaintext, authenticated."""

    number: int
    plain: memoryview


class TaggedSource(SealedSource):
    """AES-GCM with tags: no byte of a block is handed out before its tag was compared.

    Two plain blocks are kept, so that reading along a file decrypts each block once.
    """

    def __init__(self, inner: Source, chain: Chain, cipher: KeyedCipher) -> None:
        super().__init__(inner, chain, cipher)
        self.authenticated = chain.start == 0
        self._verified = bytearray(len(chain))
        self._lock = threading.Lock()
        self._kept: list[_Kept] | None = []

    def _lengths(self) -> Iterator[int]:
        return (block.stop - block.start for block in self._chain)

    def _length(self, number: int) -> int:
        return self._starts[number + 2] - self._starts[number + 1]

    def read_into(self, start: int, out: memoryview) -> None:
        """Fill `out` with authenticated bytes; if this raises, what it holds is undefined."""
        self.read_many([(start, out)])

    def read_many(self, requests: Sequence[Request]) -> None:
        """Fill every ``(start, out)``, decrypting each block concerned once.

        If this raises, what the buffers hold is undefined and must not be handed on.
        """
        jobs: list[_Job] = []
        for start, out in requests:
            for number, place, part in self._split(start, out):
                if number < 0:
                    self._inner.read_into(place, part)
                elif jobs and jobs[-1].number == number:
                    jobs[-1].wanted.append((place, part))
                else:
                    jobs.append(_Job(number, [(place, part)]))
        if len(jobs) <= _KEPT_BLOCKS:
            for job in jobs:
                self._read_block(job)
            return
        with self._lock:
            self._open_kept().clear()
        self._run(jobs)

    def authenticate(self) -> None:
        """Check the tag of every block that was not checked yet, and keep no plaintext."""
        self._run([_Job(number, []) for number, done in enumerate(self._verified) if not done])

    def close(self) -> None:
        """Close the file and let go of plaintext."""
        with self._lock:
            self._kept = None
        super().close()

    def _open_kept(self) -> list[_Kept]:
        if self._kept is None:
            raise ClosedReaderError("the checkpoint was closed", path=self.label)
        return self._kept

    def _run(self, jobs: list[_Job]) -> None:
        """Decrypt blocks, two at a time where that pays; the first failure ends it."""
        todo = deque(jobs)

        def work() -> None:
            try:
                while True:
                    try:
                        job = todo.popleft()
                    except IndexError:
                        return
                    self._decrypt(job)
            finally:
                todo.clear()

        if sum(self._length(job.number) for job in jobs) < _PARALLEL_FROM:
            work()
            return
        with ThreadPoolExecutor(1, thread_name_prefix="ckptload-decrypt") as pool:
            other = _started(pool, work)
            work()
        if other is not None:
            other.result()

    def _decrypt(self, job: _Job) -> None:
        """Decrypt one block to its end, give out what is wanted of it, and compare its tag."""
        block = self._chain[job.number]
        cipher, plain = self._room.cipher, self._room.plain
        stream = self._cipher.gcm_decryptor(block.iv, block.tag)
        wanted = deque(job.wanted)
        for begin in range(block.start, block.stop, self._piece):
            size = min(self._piece, block.stop - begin)
            self._inner.read_into(begin, cipher[:size])
            at = begin - block.start
            if wanted and wanted[0][0] == at and len(wanted[0][1]) >= size + SPARE:
                # The buffer goes on beyond this piece, so that there is room to decrypt in place.
                stream.update_into(cipher[:size], wanted[0][1][: size + SPARE])
                wanted[0] = (at + size, wanted[0][1][size:])
            else:
                stream.update_into(cipher[:size], plain)
                _give_out(wanted, at, plain[:size])
        try:
            stream.finalize()
        except tag_error() as error:
            raise self._refusal(block, "does not match its authentication tag under this key") from error
        self._verified[job.number] = 1

    def _read_block(self, job: _Job) -> None:
        """Copy from a kept block, decrypting it first if need be; a block wanted as a whole is not kept."""
        if sum(len(out) for _, out in job.wanted) == self._length(job.number):
            self._decrypt(job)
            return
        with self._lock:
            plain = self._plain(job.number)
            for place, out in job.wanted:
                copy(out, plain[place : place + len(out)])

    def _plain(self, number: int) -> memoryview:
        """Return a block's authenticated plaintext; whoever calls holds the lock."""
        kept = self._open_kept()
        for found in kept:
            if found.number == number:
                return found.plain
        ahead = self._ahead(number, kept)
        # What is dropped gives its buffer: fresh memory costs as much as decrypting does.
        drop = len(kept) if ahead or self._length(number) > _KEPT_BYTES // _KEPT_BLOCKS else len(kept) - 1
        spare = [kept.pop(0).plain for _ in range(drop)]
        fresh = [_Kept(new, self._buffer(self._length(new), spare)) for new in (number, *ahead)]
        self._keep(fresh)
        return fresh[0].plain

    def _ahead(self, number: int, kept: list[_Kept]) -> list[int]:
        """Return the block to decrypt along with `number`: the next one where blocks are read in order."""
        follows = number == 1 + max((found.number for found in kept), default=-1)
        more = follows and number + 1 < len(self._chain)
        return [number + 1] if more and self._length(number) + self._length(number + 1) <= _KEPT_BYTES else []

    def _buffer(self, size: int, spare: list[memoryview]) -> memoryview:
        for index, old in enumerate(spare):
            if len(old) == size:
                return spare.pop(index)
        try:
            return np.empty(size, np.uint8).data
        except MemoryError as error:
            raise OutOfMemoryError(f"not enough memory for a block of {size} bytes", path=self.label) from error

    def _keep(self, fresh: list[_Kept]) -> None:
        """Decrypt one block, and another beside it, and keep what is authentic.

        Raises:
            DecryptionError: the first is not; of the other it is raised when that is read.
        """
        first, *others = [_Job(new.number, [(0, new.plain)]) for new in fresh]
        with ThreadPoolExecutor(1, thread_name_prefix="ckptload-decrypt") as pool:
            ahead = [_started(pool, self._decrypt, job) for job in others]
            self._decrypt(first)
        kept = self._open_kept()
        kept.append(fresh[0])
        for new, done in zip(fresh[1:], ahead, strict=True):
            failed = None if done is None else done.exception()
            if done is not None and failed is None:
                kept.append(new)
            elif failed is not None and not isinstance(failed, CheckpointError):
                raise failed


def _give_out(wanted: deque[tuple[int, memoryview]], at: int, plain: memoryview) -> None:
    """Copy a piece of a block, which begins at `at`, to where it is wanted; what is filled is dropped."""
    stop = at + len(plain)
    while wanted and wanted[0][0] < stop:
        place, out = wanted.popleft()
        count = min(len(out), stop - place)
        copy(out[:count], plain[place - at : place - at + count])
        if count < len(out):
            wanted.appendleft((stop, out[count:]))


def _started(pool: ThreadPoolExecutor, function: Callable[..., None], *arguments: object) -> Future[None] | None:
    """Start something in another thread; return None where the system gives none."""
    try:
        return pool.submit(function, *arguments)
    except RuntimeError:
        return None
