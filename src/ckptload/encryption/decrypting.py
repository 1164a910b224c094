"""What decrypting sources have in common, and the one that can begin anywhere.

AES-CBC, SM4-CBC, and AES-GCM without tags can be decrypted from any 16-byte boundary on, so only
what is asked for is decrypted. The padding of every CBC block is checked at opening.
"""

from __future__ import annotations

import threading
from abc import abstractmethod
from array import array
from bisect import bisect_right
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np

from ckptload.encryption.ciphers import AES_GCM, CIPHER_BLOCK, SPARE, KeyedCipher
from ckptload.errors import DecryptionError, Hint
from ckptload.sources.base import Profile, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ckptload.encryption.chain import Block, Chain
    from ckptload.encryption.ciphers import Stream

    Found = TypeVar("Found")

#: Windows of the file decrypted at a time: 512 KiB of a local file stay in a processor's cache until they
#: are copied out, and a remote one gives more for each request.
_WINDOWS: Final = 8
KEY_HINT: Final = Hint("{check_key}; if all of it is right, the file was changed after it was written")


class DecryptingSource(Source):
    """The decrypted stream of an encrypted file.

    Attributes:
        authenticated: whether tags vouch for every byte. If not, a wrong key can go unnoticed
            here and show as content that is no record.
    """

    def __init__(self, inner: Source, chain: Chain, cipher: KeyedCipher) -> None:
        self._inner = inner
        self._chain = chain
        self._cipher = cipher
        self._piece = _WINDOWS * max(inner.profile.near, CIPHER_BLOCK) // CIPHER_BLOCK * CIPHER_BLOCK
        self._room = _Room(self._piece)
        self.label = inner.label
        self.path = inner.path
        self.profile = Profile(near=inner.profile.near, far=inner.profile.far)
        #: Where each segment begins in the decrypted stream: the records in clear, then the blocks.
        self._starts = array("Q", [0, chain.start])
        for length in self._lengths():
            self._starts.append(self._starts[-1] + length)
        self.size = self._starts[-1]

    @abstractmethod
    def _lengths(self) -> Iterable[int]:
        """Return the length of each block's plaintext."""

    def authenticate(self, *, only_surveyed: bool = False) -> None:
        """Check the tag of every block that was not checked yet; where there are no tags, do nothing.

        Args:
            only_surveyed: leave out blocks of which a survey saw nothing.

        Raises:
            DecryptionError: a block is not what was encrypted with this key.
        """

    def survey(self, look: Callable[[], Found]) -> Found:
        """Call `look`, which reads little here and there; what it returns is for `authenticate` to vouch for."""
        return look()

    def check_unchanged(self) -> None:
        """Raise ChangedFileError if the file is not the one that was opened any more."""
        self._inner.check_unchanged()

    def close(self) -> None:
        """Close the file."""
        self._inner.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.label!r}: {self._chain.describe()}, {len(self._chain)} blocks>"

    def _split(self, start: int, out: memoryview) -> Iterator[tuple[int, int, memoryview]]:
        """Yield ``(block number, place in the block, part of out)``; records in clear are block -1."""
        self.bounded(start, start + len(out))
        segment = bisect_right(self._starts, start) - 1
        while len(out):
            part = out[: self._starts[segment + 1] - start]
            if len(part):
                yield segment - 1, start - self._starts[segment], part
            start, out, segment = start + len(part), out[len(part) :], segment + 1

    def decrypt(self, block: Block, place: int, out: memoryview) -> None:
        """Fill `out` with a block's plaintext from `place` on, which no tag vouches for."""
        cipher, plain = self._room.cipher, self._room.plain
        at = place - place % CIPHER_BLOCK
        stop = min(-(-(place + len(out)) // CIPHER_BLOCK) * CIPHER_BLOCK, block.stop - block.start)
        stream: Stream | None = None
        while at < stop:
            size = min(self._piece, stop - at)
            self._inner.read_into(block.start + at - CIPHER_BLOCK, cipher[: CIPHER_BLOCK + size])
            if stream is None:
                stream = self._stream(block, at, cipher[:CIPHER_BLOCK])
            sealed = cipher[CIPHER_BLOCK : CIPHER_BLOCK + size]
            skip = max(place - at, 0)
            count = min(size - skip, len(out))
            if skip == 0 and len(out) >= size + SPARE:
                # The buffer goes on beyond this piece, so that there is room to decrypt in place.
                stream.update_into(sealed, out[: size + SPARE])
            else:
                stream.update_into(sealed, plain)
                copy(out[:count], plain[skip : skip + count])
            out = out[count:]
            at += size

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


class _Room(threading.local):
    """Two buffers for each thread, which lie in the cache and are used again and again."""

    def __init__(self, piece: int) -> None:
        # A cipher block before the ciphertext serves as IV where decryption begins inside a block.
        self.cipher = np.empty(CIPHER_BLOCK + piece, np.uint8).data
        self.plain = np.empty(piece + SPARE, np.uint8).data


def copy(out: memoryview, data: memoryview) -> None:
    """Copy by numpy, which lets other threads run meanwhile."""
    np.copyto(np.frombuffer(out, np.uint8), np.frombuffer(data, np.uint8))


class UntaggedSource(DecryptingSource):
    """AES-CBC, SM4-CBC, or AES-GCM without tags: readable from anywhere, authentic nowhere."""

    def _lengths(self) -> Iterator[int]:
        for block in self._chain:
            yield block.stop - block.start - (self._padding(block) if self._cipher.mode != AES_GCM else 0)

    def _padding(self, block: Block) -> int:
        """Return how many bytes of padding a CBC block ends in, after checking them (PKCS#7)."""
        tail = bytes(self._inner.read(max(block.start, block.stop - 2 * CIPHER_BLOCK), block.stop))
        before, last = tail[:-CIPHER_BLOCK] or block.iv, tail[-CIPHER_BLOCK:]
        plain = bytearray(CIPHER_BLOCK + SPARE)
        self._cipher.cbc_decryptor(before).update_into(last, plain)
        count = plain[CIPHER_BLOCK - 1]
        if not 1 <= count <= CIPHER_BLOCK or plain[CIPHER_BLOCK - count : CIPHER_BLOCK] != bytes([count]) * count:
            raise self._refusal(block, f"cannot be decrypted with this key as {self._cipher.mode}")
        return count

    def read_into(self, start: int, out: memoryview) -> None:
        """Decrypt a range, and no more than the 16-byte blocks around it."""
        for number, place, part in self._split(start, out):
            if number < 0:
                self._inner.read_into(place, part)
            else:
                self.decrypt(self._chain[number], place, part)
