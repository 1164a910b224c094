"""A decrypting source for AES-GCM with tags: no byte of a block is handed out before its tag was compared.

A tag vouches for a whole block, so that a block is decrypted from end to end before any of it is handed out. What
passes by then is not kept, for blocks are large, but marked piece by piece; a later read decrypts the pieces it
needs and no more, and their marks tell that they are still what the tag vouched for. A failed tag is final: no
other reading of the block is tried.

Where tensors lie must be known to decrypt them to where they belong, in one go. So headers are surveyed first,
without their tags; what was seen of a block is compared with its plaintext when its tag is.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from ckptload import threads
from ckptload.ciphers import CIPHER_BLOCK, SPARE, Marker, tag_error
from ckptload.errors import ChangedFileError, CheckpointError, ClosedReaderError, OutOfMemoryError
from ckptload.sealed_source import SealedSource, copy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ckptload.chain import Chain
    from ckptload.ciphers import KeyedCipher
    from ckptload.sealed_source import Found
    from ckptload.sources import Request, Source

#: How many bytes of plaintext are kept of a local file, and of one whose bytes cost more than memory does.
_KEPT_LOCAL: Final = 8 << 20
_KEPT_REMOTE: Final = 128 << 20
#: A survey sees at most this much, and at most an eighth of the file: more than headers, and tags are compared first.
_SURVEYED: Final = 8 << 20
#: Below this much to decrypt a second thread costs more than it saves.
_PARALLEL_FROM: Final = 1 << 20


class _Job(NamedTuple):
    """A block, and where parts of it go: ``(place in the block, buffer)`` in ascending order."""

    number: int
    wanted: list[tuple[int, memoryview]]

    @property
    def amount(self) -> int:
        """Return how many bytes are wanted."""
        return sum(len(out) for _, out in self.wanted)


class _Seen:
    """What was seen of a block before its tag was compared: ``(place in the block, bytes)``."""

    def __init__(self, spans: list[tuple[int, bytes]]) -> None:
        self._spans = deque(sorted(spans))
        self.was_true = True

    def compare(self, at: int, plain: memoryview) -> None:
        """Hold it against the next piece of the block's plaintext, which begins at `at`."""
        stop, rest = at + len(plain), []
        while self._spans and self._spans[0][0] < stop:
            place, data = self._spans.popleft()
            here = data[: stop - place]
            self.was_true &= plain[place - at : place - at + len(here)] == here
            if len(here) < len(data):
                rest.append((stop, data[len(here) :]))
        self._spans.extendleft(reversed(rest))


class TaggedSource(SealedSource):
    """AES-GCM with tags: no byte of a block is handed out before its tag was compared."""

    def __init__(self, inner: Source, chain: Chain, cipher: KeyedCipher) -> None:
        super().__init__(inner, chain, cipher)
        self.authenticated = chain.start == 0
        self._marker = Marker()
        #: The blocks whose tags were right, and the marks of the pieces of those that were not read as a whole.
        self._verified: set[int] = set()
        self._marks: dict[int, list[bytes]] = {}
        #: While a survey goes on, how much more it may see; what it saw of each block.
        self._surveys = 0
        self._seen: dict[int, list[tuple[int, bytes]]] = {}
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[int, int], memoryview] | None = OrderedDict()
        self._most_kept = max((_KEPT_LOCAL if inner.local else _KEPT_REMOTE) // self._piece, 1)

    def _lengths(self) -> Iterator[int]:
        return (block.stop - block.start for block in self._chain)

    def _length(self, number: int) -> int:
        return self._starts[number + 2] - self._starts[number + 1]

    def read_into(self, start: int, out: memoryview) -> None:
        """Fill `out` with authenticated bytes; if this raises, what it holds is undefined."""
        self.read_many([(start, out)])

    def read_many(self, requests: Sequence[Request]) -> None:
        """Fill every ``(start, out)``, decrypting no block twice.

        If this raises, what the buffers hold is undefined and must not be handed on.
        """
        jobs: list[_Job] = []
        for start, out in requests:
            for number, place, part in self._split(start, out):
                if number < 0:
                    self._inner.read_into(place, part)
                elif self._surveys and number not in self._verified:
                    self._look(number, place, part)
                elif jobs and jobs[-1].number == number:
                    jobs[-1].wanted.append((place, part))
                else:
                    jobs.append(_Job(number, [(place, part)]))
        self._run(jobs)

    def authenticate(self, *, only_surveyed: bool = False) -> None:
        """Check the tag of every block that was not checked yet, or of those that a survey saw something of."""
        numbers = sorted(self._seen) if only_surveyed else range(len(self._chain))
        self._run([_Job(number, []) for number in numbers if number not in self._verified])

    def survey(self, look: Callable[[], Found]) -> Found:
        """Let `look` read headers before tags are compared; what it raises waits until they are.

        What it returns must not be handed out before `authenticate` has passed.
        """
        self._surveys = min(_SURVEYED, self.size // 8)
        try:
            return look()
        except CheckpointError as error:
            failure = error
        finally:
            self._surveys = 0
        self.authenticate(only_surveyed=True)
        raise failure

    def _look(self, number: int, place: int, out: memoryview) -> None:
        """Decrypt part of a block whose tag was not compared yet, and note what was seen."""
        self.decrypt(self._chain[number], place, out)
        self._seen.setdefault(number, []).append((place, bytes(out)))
        self._surveys = max(self._surveys - len(out), 0)
        if not self._surveys:
            # So many headers will be in every block.
            self.authenticate()

    def close(self) -> None:
        """Close the file and let go of plaintext."""
        with self._lock:
            self._kept = None
        super().close()

    def _run(self, jobs: list[_Job]) -> None:
        """Do jobs, two at a time where that pays; the first failure ends it."""
        if len(jobs) > 1 and sum(map(self._cost, jobs)) >= _PARALLEL_FROM:
            threads.share(self._serve, jobs, "decrypt")
            return
        for job in jobs:
            self._serve(job)

    def _cost(self, job: _Job) -> int:
        """Return how much of a block is decrypted for a job: what is wanted, or all."""
        length = self._length(job.number)
        # A tag is checked by decrypting all, so that marks save nothing where most is wanted.
        return job.amount if job.number in self._marks and 2 * job.amount <= length else length

    def _serve(self, job: _Job) -> None:
        if self._cost(job) < self._length(job.number):
            self._reread(job)
        else:
            self._decrypt(job)

    def _decrypt(self, job: _Job) -> None:
        """Decrypt one block to its end, give out what is wanted of it, and compare its tag."""
        number, block = job.number, self._chain[job.number]
        # A block that is read as a whole is hardly read again.
        marks: list[bytes] | None = [] if 2 * job.amount <= self._length(number) else None
        keeps = marks is not None and 2 * self._length(number) <= self._most_kept * self._piece
        cipher, plain = self._room.cipher, self._room.plain
        stream = self._cipher.gcm_decryptor(block.iv, block.tag)
        wanted, seen = deque(job.wanted), _Seen(self._seen.get(number, []))
        kept: dict[int, memoryview] = {}
        for begin in range(block.start, block.stop, self._piece):
            at, size = begin - block.start, min(self._piece, block.stop - begin)
            sealed = cipher[:size]
            self._inner.read_into(begin, sealed)
            if marks is not None:
                marks.append(self._marker.mark(sealed))
            if wanted and wanted[0][0] == at and len(wanted[0][1]) >= size + SPARE:
                # The buffer goes on beyond this piece, so that there is room to decrypt in place.
                out = wanted[0][1]
                stream.update_into(sealed, out[: size + SPARE])
                wanted[0] = (at + size, out[size:])
                seen.compare(at, out[:size])
                continue
            if keeps:
                plain = kept[at // self._piece] = self._fresh(size)
            stream.update_into(sealed, plain)
            seen.compare(at, plain[:size])
            _give_out(wanted, at, plain[:size])
        try:
            stream.finalize()
        except tag_error() as error:
            raise self._refusal(block, "does not match its authentication tag under this key") from error
        if not seen.was_true:
            raise self._changed(number, block.start)
        self._passed(number, marks, kept)

    def _passed(self, number: int, marks: list[bytes] | None, kept: dict[int, memoryview]) -> None:
        if marks is not None:
            self._marks[number] = marks
        self._seen.pop(number, None)
        self._verified.add(number)
        self._keep(number, kept)

    def _reread(self, job: _Job) -> None:
        """Decrypt only those pieces of an authentic block that are wanted."""
        for place, out in job.wanted:
            done = 0
            while done < len(out):
                piece, skip = divmod(place + done, self._piece)
                done += self._give_piece(job.number, piece, skip, out[done:])

    def _give_piece(self, number: int, piece: int, skip: int, out: memoryview) -> int:
        """Put what a piece of a block has from `skip` on into `out`, and return how much that was."""
        size = min(self._piece, self._length(number) - piece * self._piece)
        if skip == 0 and len(out) >= size + SPARE:
            self._decrypt_piece(number, piece, out[: size + SPARE])
            return size
        plain = self._plain(number, piece, size)
        count = min(size - skip, len(out))
        copy(out[:count], plain[skip : skip + count])
        return count

    def _decrypt_piece(self, number: int, piece: int, out: memoryview) -> None:
        """Decrypt a piece of a block into `out`, which has `SPARE` bytes more, if its mark is right.

        Raises:
            ChangedFileError: it is not what the block's tag vouched for.
        """
        block, at = self._chain[number], piece * self._piece
        sealed = self._room.cipher[: len(out) - SPARE]
        self._inner.read_into(block.start + at, sealed)
        if self._marker.mark(sealed) != self._marks[number][piece]:
            raise self._changed(number, block.start + at)
        self._cipher.gcm_keystream(block.iv, at // CIPHER_BLOCK).update_into(sealed, out)

    def _changed(self, number: int, offset: int) -> ChangedFileError:
        self._inner.check_unchanged()
        return ChangedFileError(
            f"block {number + 1} of {len(self._chain)} is not what it was when it was read before",
            path=self.label,
            offset=offset,
            hint="another program is writing this file; load it when it is complete",
        )

    def _plain(self, number: int, piece: int, size: int) -> memoryview:
        """Return the authentic plaintext of a piece, which is kept for the next read."""
        with self._lock:
            kept = self._open_kept()
            found = kept.get((number, piece))
            if found is not None:
                kept.move_to_end((number, piece))
                return found
        fresh = self._fresh(size)
        self._decrypt_piece(number, piece, fresh)
        self._keep(number, {piece: fresh})
        return fresh

    def _keep(self, number: int, pieces: dict[int, memoryview]) -> None:
        """Keep authentic pieces in place of those that nobody asked for lately."""
        with self._lock:
            kept = self._open_kept()
            for piece, plain in pieces.items():
                kept[number, piece] = plain
            while len(kept) > self._most_kept:
                kept.popitem(last=False)

    def _open_kept(self) -> OrderedDict[tuple[int, int], memoryview]:
        if self._kept is None:
            raise ClosedReaderError("the checkpoint was closed", path=self.label)
        return self._kept

    def _fresh(self, size: int) -> memoryview:
        try:
            return np.empty(size + SPARE, np.uint8).data
        except MemoryError as error:
            raise OutOfMemoryError(f"not enough memory for {size} bytes of plaintext", path=self.label) from error


def _give_out(wanted: deque[tuple[int, memoryview]], at: int, plain: memoryview) -> None:
    """Copy a piece of a block, which begins at `at`, to where it is wanted; what is filled is dropped."""
    stop = at + len(plain)
    while wanted and wanted[0][0] < stop:
        place, out = wanted.popleft()
        count = min(len(out), stop - place)
        copy(out[:count], plain[place - at : place - at + count])
        if count < len(out):
            wanted.appendleft((stop, out[count:]))
