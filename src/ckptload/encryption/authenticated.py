"""A decrypting source for AES-GCM with tags: no byte of a block is returned before its tag is checked.

A tag authenticates a whole block, so the first read of a block decrypts all of it. Blocks are large, so their
plaintext is not kept. Instead, each piece of the ciphertext gets a mark (`ciphers.Marker`). A later read decrypts
only the pieces that it needs, after checking by their marks that they have not changed since the tag was checked.
A block of one piece has no mark: it is decrypted again and its tag is checked again. A failed tag is final: the
block is not tried in another mode.

To decrypt tensors directly into their arrays, their positions must be known. So headers are read first, without
checking tags (a survey). What a survey read is compared with the plaintext when the block's tag is checked.
"""

from __future__ import annotations

import threading
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from ckptload import paging, threads
from ckptload.encryption.cache import Kept, Seen
from ckptload.encryption.chain import left_out
from ckptload.encryption.ciphers import CIPHER_BLOCK, SPARE, Marker, tag_error
from ckptload.encryption.decrypting import DecryptingSource, copy
from ckptload.errors import ChangedFileError, CheckpointError, OutOfMemoryError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from ckptload.encryption.chain import Chain
    from ckptload.encryption.ciphers import KeyedCipher, Stream
    from ckptload.encryption.decrypting import Found, Room
    from ckptload.sources.base import Request, Source

#: Pieces of plaintext in the cache: 8 MiB, or 128 MiB of a remote file, which is slower to read again.
_KEPT_PIECES: Final = 16
#: A survey reads at most this many bytes, and at most an eighth of the file; then all tags are checked.
_SURVEYED: Final = 8 << 20
#: Below this many bytes to decrypt, in total or on average per job, a second thread costs more than it saves.
_PARALLEL_FROM: Final = 1 << 20
_WORTH_SHARING: Final = 64 << 10
#: Jobs in memory at a time, because a file may have a million blocks.
_BATCH: Final = 1024


class _Job(NamedTuple):
    """A block, and buffers for parts of it: ``(offset in the block, buffer)`` in ascending order."""

    number: int
    wanted: list[tuple[int, memoryview]]

    @property
    def end(self) -> int:
        """Return the offset in the block at which the last wanted part ends."""
        place, out = self.wanted[-1]
        return place + len(out)

    @property
    def amount(self) -> int:
        """Return the number of wanted bytes."""
        return sum(len(out) for _, out in self.wanted)


class TaggedSource(DecryptingSource):
    """AES-GCM with tags: no byte of a block is returned before its tag is checked."""

    def __init__(self, inner: Source, chain: Chain, cipher: KeyedCipher) -> None:
        super().__init__(inner, chain, cipher)
        self.authenticated = chain.start == 0
        self.unsealed = tuple(left_out(chain))
        self._marker = Marker()
        #: Whether each block has passed its tag check; for blocks of several pieces, the marks of the pieces.
        self._verified = bytearray(len(chain))
        self._marks: dict[int, list[bytes]] = {}
        #: The number of bytes that the current survey may still read, else 0; what surveys have read of each block.
        self._surveys = 0
        self._seen: dict[int, list[tuple[int, bytes]]] = {}
        self._kept = Kept(_KEPT_PIECES, self.label)
        #: A lock for each block that is being checked, so that two threads do not decrypt the same block. (A signal
        #: handler in the thread that holds it does: the locks are reentrant, and all that is noted of a block is the
        #: same each time.)
        self._locks: dict[int, AbstractContextManager[Any]] = {}

    def _lengths(self) -> Iterator[int]:
        return (block.stop - block.start for block in self._chain)

    def _length(self, number: int) -> int:
        return self._starts[number + 2] - self._starts[number + 1]

    def read_into(self, start: int, out: memoryview) -> None:
        """Fill `out` with authenticated bytes; if this raises, the contents of `out` are undefined."""
        self.read_many([(start, out)])

    def read_many(self, requests: Sequence[Request]) -> None:
        """Fill every ``(start, out)``; if this raises, the contents of the buffers are undefined.

        A block that is not checked yet is decrypted into the buffers before its tag is compared. If the caller
        can see the buffers after an error, call `authenticate` first.
        """
        self._run(self._jobs(requests))

    def _jobs(self, requests: Iterable[Request]) -> Iterator[_Job]:
        """Yield a job for each block, or several if requests are not in order; read unencrypted records at once."""
        job: _Job | None = None
        for start, out in requests:
            for number, place, part in self._split(start, out):
                if number < 0:
                    self._inner.read_into(place, part)
                elif self._surveys and not self._verified[number]:
                    self._look(number, place, part)
                elif job is not None and job.number == number and job.end <= place:
                    job.wanted.append((place, part))
                else:
                    if job is not None:
                        yield job
                    job = _Job(number, [(place, part)])
        if job is not None:
            yield job

    def authenticate(self, *, only_surveyed: bool = False) -> None:
        """Check the tag of every block that was not checked yet, or only of those that a survey has read from."""
        numbers = sorted(self._seen) if only_surveyed else range(len(self._chain))
        self._run(_Job(number, []) for number in numbers if not self._verified[number])

    def survey(self, look: Callable[[], Found]) -> Found:
        """Call `look`, which reads headers before tags are checked.

        If `look` raises, the tags of the blocks that it read from are checked first, so that an error about
        unauthenticated data is not raised. Its result must not reach the user before `authenticate` has passed.
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

    def check_unchanged(self) -> None:
        """Raise ChangedFileError if the file has changed; where tags cover every byte, they tell, too."""
        if self.authenticated:
            self._inner.check_near(())
        else:
            self._inner.check_unchanged()

    def check_near(self, spans: Iterable[tuple[int, int]]) -> None:
        """Raise ChangedFileError if the file has changed where some of the plaintext is; see `check_unchanged`."""
        if self.authenticated:
            self._inner.check_near(())
        else:
            super().check_near(spans)

    def _look(self, number: int, place: int, out: memoryview) -> None:
        """Decrypt part of a block that is not checked yet, and remember what was read."""
        self.decrypt(self._chain[number], place, out)
        self._seen.setdefault(number, []).append((place, bytes(out)))
        self._surveys = max(self._surveys - len(out), 0)
        if not self._surveys:
            # So many headers are likely to be in every block.
            self.authenticate()

    def close(self) -> None:
        """Close the file and discard cached plaintext."""
        self._kept.close()
        super().close()

    def _run(self, jobs: Iterable[_Job]) -> None:
        """Run jobs, in two threads if that is faster, until the first failure."""
        jobs = iter(jobs)
        while batch := list(islice(jobs, _BATCH)):
            total = sum(job.amount if self._verified[job.number] else self._length(job.number) for job in batch)
            if len(batch) > 1 and total >= max(_PARALLEL_FROM, _WORTH_SHARING * len(batch)):
                threads.share(self._serve, batch)
            else:
                for job in batch:
                    self._serve(job)

    def _serve(self, job: _Job) -> None:
        if self._length(job.number) <= self._piece:
            _give_out(deque(job.wanted), 0, self._plain(job.number, 0))
            return
        if not self._verified[job.number]:
            with threads.HELD, self._locks.setdefault(job.number, threading.RLock()):
                # Another thread may have decrypted it meanwhile.
                if not self._verified[job.number]:
                    with self._room() as room:
                        self._decrypt(job, room)
                    return
        for place, out in job.wanted:
            done = 0
            while done < len(out):
                piece, skip = divmod(place + done, self._piece)
                done += self._give_piece(job.number, piece, skip, out[done:])

    def _decrypt(self, job: _Job, room: Room) -> None:
        """Decrypt one whole block, copy the wanted parts out, and check its tag."""
        number, block = job.number, self._chain[job.number]
        keeps = 2 * self._length(number) <= self._kept.most * self._piece
        stream = self._cipher.gcm_decryptor(block.iv, block.tag)
        wanted, seen = deque(job.wanted), Seen(self._seen.get(number, ()))
        marks: list[bytes] = []
        kept: list[tuple[tuple[int, int], memoryview]] = []
        for at in range(0, self._length(number), self._piece):
            size = self._size(number, len(marks))
            ciphertext, plain = room.cipher[:size], room.plain
            self._inner.read_into(block.start + at, ciphertext)
            marks.append(self._marker.mark(ciphertext))
            if wanted and wanted[0][0] == at and len(wanted[0][1]) >= size + SPARE:
                # The buffer is longer than this piece, so it has the spare room to decrypt straight into it.
                out = wanted[0][1]
                paging.ready([out[:size]])
                stream.update_into(ciphertext, out[: size + SPARE])
                wanted[0] = (at + size, out[size:])
                seen.compare(at, out[:size])
                continue
            if keeps:
                plain = self._fresh(size)
                kept.append(((number, len(marks) - 1), plain[:size]))
            stream.update_into(ciphertext, plain)
            seen.compare(at, plain[:size])
            _give_out(wanted, at, plain[:size])
        self._finish(number, stream, seen)
        self._marks[number] = marks
        self._verified[number] = 1
        self._locks.pop(number, None)
        self._kept.put(kept)

    def _finish(self, number: int, stream: Stream, seen: Seen) -> None:
        """Check a block's tag.

        Raises:
            DecryptionError: the tag does not match, so the key is wrong or the block was changed.
            ChangedFileError: a survey read other bytes of this block.
        """
        block = self._chain[number]
        try:
            stream.finalize()
        except tag_error() as error:
            # If the file was closed or changed meanwhile, that error is the right one.
            self._inner.check_unchanged()
            raise self._refusal(block, "does not match its authentication tag under this key") from error
        if not seen.was_true:
            raise self._changed(number, block.start)
        self._seen.pop(number, None)

    def _size(self, number: int, piece: int) -> int:
        return min(self._piece, self._length(number) - piece * self._piece)

    def _give_piece(self, number: int, piece: int, skip: int, out: memoryview) -> int:
        """Copy a piece of a checked block, from its byte `skip` on, into `out`; return the number of bytes copied."""
        size = self._size(number, piece)
        if skip == 0 and len(out) >= size + SPARE:
            paging.ready([out[:size]])
            self._decrypt_piece(number, piece, out[: size + SPARE])
            return size
        plain = self._plain(number, piece)
        count = min(size - skip, len(out))
        copy(out[:count], plain[skip : skip + count])
        return count

    def _plain(self, number: int, piece: int) -> memoryview:
        """Return the authenticated plaintext of a piece, and cache it."""
        found = self._kept.get((number, piece))
        if found is not None:
            return found
        size = self._size(number, piece)
        fresh = self._fresh(size)
        if self._length(number) <= self._piece:
            self._decrypt_small(number, fresh)
        else:
            self._decrypt_piece(number, piece, fresh)
        self._kept.put([((number, piece), fresh[:size])])
        return fresh[:size]

    def _decrypt_small(self, number: int, out: memoryview) -> None:
        """Decrypt a block of one piece and check its tag."""
        block, size = self._chain[number], self._length(number)
        stream = self._cipher.gcm_decryptor(block.iv, block.tag)
        with self._room() as room:
            ciphertext = room.cipher[:size]
            self._inner.read_into(block.start, ciphertext)
            stream.update_into(ciphertext, out)
        seen = Seen(self._seen.get(number, ()))
        seen.compare(0, out[:size])
        self._finish(number, stream, seen)
        self._verified[number] = 1

    def _decrypt_piece(self, number: int, piece: int, out: memoryview) -> None:
        """Decrypt one piece of a checked block into `out`, which is `SPARE` bytes longer than the piece.

        Raises:
            ChangedFileError: the piece has changed since the block's tag was checked.
        """
        block, at = self._chain[number], piece * self._piece
        with self._room() as room:
            ciphertext = room.cipher[: len(out) - SPARE]
            self._inner.read_into(block.start + at, ciphertext)
            if self._marker.mark(ciphertext) != self._marks[number][piece]:
                raise self._changed(number, block.start + at)
            self._cipher.gcm_keystream(block.iv, at // CIPHER_BLOCK).update_into(ciphertext, out)

    def _changed(self, number: int, offset: int) -> ChangedFileError:
        # If its stamp tells that the file is another one, that error is the right one.
        self._inner.check_near(())
        return ChangedFileError(
            f"block {number + 1} of {len(self._chain)} has changed since it was first read",
            path=self.label,
            offset=offset,
            hint="another program is writing this file; load it when it is complete",
        )

    def _fresh(self, size: int) -> memoryview:
        try:
            return np.empty(size + SPARE, np.uint8).data
        except MemoryError as error:
            raise OutOfMemoryError(f"not enough memory for {size} bytes of plaintext", path=self.label) from error


def _give_out(wanted: deque[tuple[int, memoryview]], at: int, plain: memoryview) -> None:
    """Copy a piece of a block, which begins at `at`, into the wanted buffers; drop those that are full."""
    stop = at + len(plain)
    while wanted and wanted[0][0] < stop:
        place, out = wanted.popleft()
        count = min(len(out), stop - place)
        copy(out[:count], plain[place - at : place - at + count])
        if count < len(out):
            wanted.appendleft((stop, out[count:]))
