"""The base of decrypting sources, and the source for modes without tags.

AES-CBC, SM4-CBC, and AES-GCM without tags can be decrypted from any 16-byte boundary on, so only
the requested bytes are decrypted. The padding of every CBC block is checked when the file is opened.
"""

from __future__ import annotations

from abc import abstractmethod
from array import array
from bisect import bisect_right
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np

from ckptload.encryption.ciphers import AES_GCM, CIPHER_BLOCK, SPARE, KeyedCipher
from ckptload.errors import DecryptionError, Hint
from ckptload.sources.base import Profile, Source
from ckptload.threads import THREADS

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator

    from ckptload.encryption.chain import Block, Chain
    from ckptload.encryption.ciphers import Stream

    Found = TypeVar("Found")

#: Reads of size `Profile.near` that are decrypted at a time: 512 KiB of a local file stay in the processor's cache
#: until they are copied out; a remote file has larger reads.
_WINDOWS: Final = 8
KEY_HINT: Final = Hint("{check_key}; if all of it is right, the file was changed after it was written")


class DecryptingSource(Source):
    """The decrypted stream of an encrypted file.

    Attributes:
        authenticated: whether tags cover every byte. If not, a wrong key may not be noticed here;
            the plaintext is then not a valid record.
    """

    def __init__(self, inner: Source, chain: Chain, cipher: KeyedCipher) -> None:
        self._inner = inner
        self._chain = chain
        self._cipher = cipher
        self._piece = _WINDOWS * max(inner.profile.near, CIPHER_BLOCK) // CIPHER_BLOCK * CIPHER_BLOCK
        self._rooms: list[Room] = []
        self.label = inner.label
        self.path = inner.path
        self.files = inner.files
        self.profile = Profile(near=inner.profile.near, far=inner.profile.far)
        #: Start of each segment in the decrypted stream: the unencrypted records, then the blocks.
        self._starts = array("Q", [0, chain.start])
        for length in self._lengths():
            self._starts.append(self._starts[-1] + length)
        self.size = self._starts[-1]

    @abstractmethod
    def _lengths(self) -> Iterable[int]:
        """Return the length of each block's plaintext, in bytes."""

    def authenticate(self, *, only_surveyed: bool = False) -> None:
        """Check the tag of every block that was not checked yet; without tags, do nothing.

        Args:
            only_surveyed: check only blocks that a survey has read from.

        Raises:
            DecryptionError: a tag does not match, so the key is wrong or the block was changed.
        """

    def survey(self, look: Callable[[], Found]) -> Found:
        """Call `look`, which reads headers; its result is not authenticated until `authenticate` passes."""
        return look()

    def check_unchanged(self) -> None:
        """Raise ChangedFileError if the file has changed since it was opened."""
        self._inner.check_unchanged()

    def check_near(self, spans: Iterable[tuple[int, int]]) -> None:
        """Raise ChangedFileError if the file has changed where some of the plaintext is."""
        self._inner.check_near(self._encrypted(spans))

    def _encrypted(self, spans: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
        """Yield where the bytes of the file are that are decrypted to some spans."""
        for start, stop in spans:
            end = min(stop, self.size)
            while start < end:
                segment = bisect_right(self._starts, start) - 1
                count = min(end, self._starts[segment + 1]) - start
                place = start - self._starts[segment] + (self._chain[segment - 1].start if segment else 0)
                yield place, place + count
                start += count  # noqa: PLW2901 -- the rest of the span

    @property
    def witnessed(self) -> bool:
        """Return whether the file's own source is."""
        return self._inner.witnessed

    def seal(self) -> None:
        """End the opening of the file."""
        self._inner.seal()

    def statuses(self) -> list[os.stat_result]:
        """Return those of the encrypted file."""
        return self._inner.statuses()

    def close(self) -> None:
        """Close the file."""
        self._inner.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.label!r}: {self._chain.describe()}, {len(self._chain)} blocks>"

    def _split(self, start: int, out: memoryview) -> Iterator[tuple[int, int, memoryview]]:
        """Yield ``(block number, offset in the block, part of out)``; unencrypted records are block -1."""
        self.bounded(start, start + len(out))
        segment = bisect_right(self._starts, start) - 1
        while len(out):
            part = out[: self._starts[segment + 1] - start]
            if len(part):
                yield segment - 1, start - self._starts[segment], part
            start, out, segment = start + len(part), out[len(part) :], segment + 1

    def decrypt(self, block: Block, place: int, out: memoryview) -> None:
        """Fill `out` with a block's plaintext from offset `place` on, without checking a tag."""
        with self._room() as room:
            self._decrypt_range(block, place, out, room)

    def _decrypt_range(self, block: Block, place: int, out: memoryview, room: Room) -> None:
        cipher, plain = room.cipher, room.plain
        at = place - place % CIPHER_BLOCK
        stop = min(-(-(place + len(out)) // CIPHER_BLOCK) * CIPHER_BLOCK, block.stop - block.start)
        stream: Stream | None = None
        while at < stop:
            size = min(self._piece, stop - at)
            self._inner.read_into(block.start + at - CIPHER_BLOCK, cipher[: CIPHER_BLOCK + size])
            if stream is None:
                stream = self._stream(block, at, cipher[:CIPHER_BLOCK])
            ciphertext = cipher[CIPHER_BLOCK : CIPHER_BLOCK + size]
            skip = max(place - at, 0)
            count = min(size - skip, len(out))
            if skip == 0 and len(out) >= size + SPARE:
                # The buffer is longer than this piece, so it has the spare room to decrypt straight into it.
                stream.update_into(ciphertext, out[: size + SPARE])
            else:
                stream.update_into(ciphertext, plain)
                copy(out[:count], plain[skip : skip + count])
            out = out[count:]
            at += size

    @contextmanager
    def _room(self) -> Iterator[Room]:
        """Lend memory to work in, to one call at a time: a signal handler may read from the same source."""
        try:
            room = self._rooms.pop()
        except IndexError:
            room = Room(self._piece)
        yield room
        if len(self._rooms) < THREADS:
            self._rooms.append(room)

    def _stream(self, block: Block, at: int, before: memoryview) -> Stream:
        if self._cipher.mode == AES_GCM:
            return self._cipher.gcm_keystream(block.iv, at // CIPHER_BLOCK)
        return self._cipher.cbc_decryptor(before if at else block.iv)

    def _refusal(self, block: Block, fact: str) -> DecryptionError:
        return DecryptionError(
            f"block {block.number + 1} of {len(self._chain)} {fact}",
            path=self.label,
            offset=block.offset,
            hint=KEY_HINT,
        )


class Room:
    """Two buffers, reused so that they stay in the processor's cache."""

    def __init__(self, piece: int) -> None:
        # If decryption begins inside a block, the cipher block before it is the IV of CBC.
        self.cipher = np.empty(CIPHER_BLOCK + piece, np.uint8).data
        self.plain = np.empty(piece + SPARE, np.uint8).data


def copy(out: memoryview, data: memoryview) -> None:
    """Copy with numpy, which releases the GIL."""
    np.copyto(np.frombuffer(out, np.uint8), np.frombuffer(data, np.uint8))


class UntaggedSource(DecryptingSource):
    """AES-CBC, SM4-CBC, or AES-GCM without tags: readable from any position, never authenticated."""

    def _lengths(self) -> Iterator[int]:
        for block in self._chain:
            yield block.stop - block.start - (self._padding(block) if self._cipher.mode != AES_GCM else 0)

    def _padding(self, block: Block) -> int:
        """Check the padding of a CBC block (PKCS#7) and return its length in bytes."""
        tail = bytes(self._inner.read(max(block.start, block.stop - 2 * CIPHER_BLOCK), block.stop))
        before, last = tail[:-CIPHER_BLOCK] or block.iv, tail[-CIPHER_BLOCK:]
        plain = bytearray(CIPHER_BLOCK + SPARE)
        self._cipher.cbc_decryptor(before).update_into(last, plain)
        count = plain[CIPHER_BLOCK - 1]
        if not 1 <= count <= CIPHER_BLOCK or plain[CIPHER_BLOCK - count : CIPHER_BLOCK] != bytes([count]) * count:
            raise self._refusal(block, f"cannot be decrypted with this key as {self._cipher.mode}")
        return count

    def read_into(self, start: int, out: memoryview) -> None:
        """Decrypt the 16-byte blocks of a range, and no others."""
        for number, place, part in self._split(start, out):
            if number < 0:
                self._inner.read_into(place, part)
            else:
                self.decrypt(self._chain[number], place, part)
