"""The structure of an encrypted checkpoint: its blocks, and the ciphers that it may use.

An encrypted file is a chain of blocks (docs/format.md, "Encryption"). Each block is encrypted separately::

    magic 4 | [tag 16] | block_len 4 | iv_len 4 | iv 16 | cipher_len 4 | ciphertext

Numbers are little-endian and unsigned, iv_len is 16, and block_len is the number of bytes after it:
24 bytes and the ciphertext. Only AES-GCM of MindSpore 1.7 and newer has the tag. MindSpore 1.3
to 1.6 wrote AES-GCM and AES-CBC with the same magic, both without a tag. So this magic is read with and
without a tag along the whole chain; the wrong reading fits by chance with a probability of 2**-96.

Some writers leave unencrypted records before the first block, or a CRC trailer of value 0 after the
last one. Nothing else may come before or after the blocks.

This module needs no key and reads only the headers of blocks, not the ciphertext.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple

from ckptload.encryption.ciphers import AES_CBC, AES_GCM, CIPHER_BLOCK, SM4_CBC
from ckptload.errors import DecryptionError, LimitError
from ckptload.formats.ckpt.schema import CRC_DIGITS, CRC_MARKER, CRC_TRAILER_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ckptload.sources.base import Source

MAGIC_SIZE: Final = 4
TAG_SIZE: Final = 16
IV_SIZE: Final = 16
#: MindSpore's blocks are 64 MiB, so this is a file of 64 TB; following so many blocks takes seconds.
MAX_BLOCKS: Final = 1_000_000
#: Plaintext in a block, in bytes (MindSpore 2.10.0, train/serialization.py:106). MindSpore's reader has a fixed
#: buffer of this size, so it cannot read larger blocks (core/utils/crypto.h, DECRYPT_BLOCK_BUF_SIZE).
BLOCK_SIZE: Final = 64 << 20
#: The bytes that block_len includes besides the ciphertext: iv_len, iv and cipher_len.
BLOCK_OVERHEAD: Final = 4 + IV_SIZE + 4

#: block_len, iv_len, iv, cipher_len: the header after the magic and the tag, if there is one.
HEADER: Final = Struct(f"<II{IV_SIZE}sI")

# The magics as stored; MindSpore has them as numbers (core/utils/crypto.h: GCM_MAGIC_NUM, CBC_MAGIC_NUM,
# SM4_CBC_MAGIC_NUM).
_GCM_MAGIC: Final = bytes.fromhex("d85e3a7f")
_CBC_MAGIC: Final = bytes.fromhex("d95e3a7f")
_SM4_MAGIC: Final = bytes.fromhex("da5e3a7f")
#: The possible first four bytes of a block.
MAGICS: Final = frozenset({_GCM_MAGIC, _CBC_MAGIC, _SM4_MAGIC})

#: The only trailer that MindSpore writes after encrypted blocks: its checksum is 0 because it covers no record.
_CLEAR_TRAILER: Final = CRC_MARKER + bytes(CRC_DIGITS)


@dataclass(frozen=True)
class Variant:
    """A layout of blocks.

    Attributes:
        magic: the first four bytes of each block.
        tagged: whether a tag follows the magic.
        modes: the values of ``dec_mode`` that fit it.
        description: for messages.
    """

    magic: bytes
    tagged: bool
    modes: tuple[str, ...]
    description: str

    @property
    def header_size(self) -> int:
        """Return the size of a header in bytes, from the magic to the ciphertext."""
        return MAGIC_SIZE + (TAG_SIZE if self.tagged else 0) + HEADER.size


TAGGED_GCM: Final = Variant(_GCM_MAGIC, tagged=True, modes=(AES_GCM,), description="AES-GCM (MindSpore 1.7 or newer)")
UNTAGGED: Final = Variant(
    _GCM_MAGIC,
    tagged=False,
    modes=(AES_GCM, AES_CBC),
    description="AES-GCM or AES-CBC (MindSpore 1.3 to 1.6)",
)
CBC: Final = Variant(_CBC_MAGIC, tagged=False, modes=(AES_CBC,), description="AES-CBC (MindSpore 1.7 or newer)")
SM4: Final = Variant(_SM4_MAGIC, tagged=False, modes=(SM4_CBC,), description="SM4-CBC (MindSpore 2.0 or newer)")

#: In this order: a chain that fits both with and without tags counts as tagged. Then the tags decide, and
#: an attacker cannot make a reader fall back to the untagged variant.
_VARIANTS: Final = (TAGGED_GCM, UNTAGGED, CBC, SM4)


class Block(NamedTuple):
    """One block; positions are in bytes from the start of the file.

    Attributes:
        number: index of the block, from 0.
        offset: start of its header.
        start: start of its ciphertext.
        stop: end of its ciphertext.
        iv: the 16 stored bytes; AES-GCM uses the first 12 of them.
        tag: 16 bytes, or empty.
    """

    number: int
    offset: int
    start: int
    stop: int
    iv: bytes
    tag: bytes


@dataclass(frozen=True, repr=False)
class Chain:
    """The blocks of an encrypted file, without gaps between them.

    They are stored in three flat arrays, because a file may have very many small blocks.

    Attributes:
        variant: the layout.
        start: start of the first block; the bytes before it are unencrypted records.
        stop: end of the last block.
        trailer: whether an unencrypted CRC trailer of value 0 follows.
        modes: values of ``dec_mode`` under which the file can be read.
    """

    variant: Variant
    start: int
    stop: int
    trailer: bool
    modes: tuple[str, ...]
    _offsets: array[int]
    _ivs: bytes
    _tags: bytes

    def __len__(self) -> int:
        """Return the number of blocks."""
        return len(self._offsets)

    def __getitem__(self, number: int) -> Block:
        """Return a block by its number, counted from 0."""
        offset = self._offsets[number]
        stop = self._offsets[number + 1] if number + 1 < len(self._offsets) else self.stop
        iv = self._ivs[number * IV_SIZE : (number + 1) * IV_SIZE]
        tag = self._tags[number * TAG_SIZE : (number + 1) * TAG_SIZE]
        return Block(number, offset, offset + self.variant.header_size, stop, iv, tag)

    def __iter__(self) -> Iterator[Block]:
        """Yield the blocks in file order."""
        return (self[number] for number in range(len(self)))

    def __repr__(self) -> str:
        return f"<Chain: {len(self)} blocks of {self.describe()}>"

    def describe(self) -> str:
        """Return the cipher and the releases that write it, as in ``AES-GCM (MindSpore 1.7 or newer)``."""
        if self.variant is UNTAGGED and len(self.modes) == 1:
            return "AES-GCM (MindSpore 1.3 to 1.6)"
        return self.variant.description


def find_chain(source: Source) -> Chain | None:
    """Return the chain of an encrypted file, or None if the file does not begin with a block.

    Unencrypted records before the first block are not handled here: the walk over the records finds
    that block, and then `chain_at` is called.

    Raises:
        DecryptionError: the file begins with the magic of a block, but blocks do not fill it exactly.
        LimitError: it has more than `MAX_BLOCKS` blocks.
    """
    if source.size < MAGIC_SIZE or _magic_at(source, 0) not in MAGICS:
        return None
    found = _follow(source, 0)
    if isinstance(found, DecryptionError):
        raise found
    return found


def chain_at(source: Source, start: int) -> Chain | None:
    """Return the chain that begins at `start` and fills the rest of the file, or None if there is none.

    Args:
        source: the file.
        start: end of the unencrypted records, in bytes from the start of the file.

    Raises:
        LimitError: there are more than `MAX_BLOCKS` blocks.
    """
    if source.size - start < MAGIC_SIZE or _magic_at(source, start) not in MAGICS:
        return None
    found = _follow(source, start)
    return found if isinstance(found, Chain) else None


def left_out(chain: Chain) -> Iterator[str]:
    """Say what the tags of a tagged chain do not cover; nothing if they cover the whole file.

    A tag covers a block, and not its place or the number of blocks. Writers fill all blocks but the last, so a block
    that is not full and alone is the last one, and begins a file if it begins with a record.
    """
    if chain.start:
        yield f"no tag covers the first {chain.start} bytes, which are unencrypted records"
    if len(chain) > 1:
        yield f"the tags do not cover how many blocks there are, here {len(chain)}, and in which order"
    elif chain.stop - chain[0].start >= BLOCK_SIZE:
        yield "the only block is full, and the tag does not cover whether other blocks followed it"
    if chain.trailer:
        yield f"no tag covers the last {CRC_TRAILER_SIZE} bytes, a CRC trailer without a sum"


def _magic_at(source: Source, at: int) -> bytes:
    return bytes(source.read(at, at + MAGIC_SIZE))


def _follow(source: Source, start: int) -> Chain | DecryptionError:
    """Try every variant of the magic at `start`; if all fail, return the error with the highest offset."""
    magic = _magic_at(source, start)
    furthest: DecryptionError | None = None
    for variant in _VARIANTS:
        if variant.magic != magic:
            continue
        try:
            return _walk(source, start, variant)
        except DecryptionError as error:
            if furthest is None or (error.offset or 0) > (furthest.offset or 0):
                furthest = error
    return furthest or DecryptionError("this is not the start of an encrypted block", path=source.label, offset=start)


def _walk(source: Source, start: int, variant: Variant) -> Chain:
    """Follow the headers of one variant from `start` to the end of the file."""
    offsets, ivs, tags = array("Q"), bytearray(), bytearray()
    at = start
    gcm_only = False
    while at < source.size and not _is_trailer(source, at):
        if len(offsets) >= MAX_BLOCKS:
            raise LimitError(
                f"the encrypted file has more than {MAX_BLOCKS} blocks",
                path=source.label,
                offset=at,
                hint="MindSpore writes blocks of 64 MiB; save it again with blocks of that size",
            )
        block = _read_block(source, variant, len(offsets), at)
        gcm_only = gcm_only or (block.stop - block.start) % CIPHER_BLOCK != 0
        offsets.append(at)
        ivs += block.iv
        tags += block.tag
        at = block.stop
    # With padding, the length of a CBC ciphertext is a multiple of 16 bytes.
    modes = (AES_GCM,) if variant is UNTAGGED and gcm_only else variant.modes
    return Chain(variant, start, at, at < source.size, modes, offsets, bytes(ivs), bytes(tags))


def _is_trailer(source: Source, at: int) -> bool:
    return source.size - at == CRC_TRAILER_SIZE and bytes(source.read(at, source.size)) == _CLEAR_TRAILER


def _read_block(source: Source, variant: Variant, number: int, at: int) -> Block:
    """Read and check the header at `at`."""

    def damaged(fact: str, offset: int) -> DecryptionError:
        return DecryptionError(
            f"block {number + 1} of the encrypted file is damaged or cut off: {fact}",
            path=source.label,
            offset=offset,
            hint="fetch or copy the file again; its blocks must fill it exactly",
        )

    left = source.size - at
    header = bytes(source.read(at, at + min(variant.header_size, left)))
    if not header.startswith(variant.magic):
        raise damaged(f"{left} bytes are left, and they do not begin with the magic of the first block", at)
    if left < variant.header_size:
        raise damaged(f"its header needs {variant.header_size} bytes, and {left} are left", at)
    tag = header[MAGIC_SIZE : variant.header_size - HEADER.size]
    block_len, iv_len, iv, cipher_len = HEADER.unpack(header[-HEADER.size :])
    start = at + variant.header_size
    if iv_len != IV_SIZE:
        raise damaged(f"its IV must have {IV_SIZE} bytes, but the header says {iv_len}", start - BLOCK_OVERHEAD)
    if block_len != cipher_len + BLOCK_OVERHEAD:
        raise damaged(f"block length {block_len} and cipher length {cipher_len} in the header disagree", start - 4)
    if cipher_len == 0:
        raise damaged("it has no ciphertext", start)
    if start + cipher_len > source.size:
        raise damaged(f"it needs {cipher_len} bytes of ciphertext, and {source.size - start} are left", start)
    if AES_GCM not in variant.modes and cipher_len % CIPHER_BLOCK:
        raise damaged(f"{cipher_len} bytes of ciphertext are not a multiple of {CIPHER_BLOCK}", start)
    return Block(number, at, start, start + cipher_len, iv, tag)
