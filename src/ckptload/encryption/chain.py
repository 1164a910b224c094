"""The structure of an encrypted checkpoint: where its blocks are and which ciphers it can be.

An encrypted file is a chain of blocks up to its end. Each block is encrypted on its own::

    magic 4 | [tag 16] | block_len 4 | iv_len 4 | iv 16 | cipher_len 4 | ciphertext

Numbers are little-endian and unsigned, iv_len is 16, and block_len counts what follows it:
24 bytes and the ciphertext. Only AES-GCM of MindSpore 1.7 and newer has the tag. MindSpore 1.3
to 1.6 wrote AES-GCM and AES-CBC under one magic, both without a tag, so the two readings of that
magic are told apart by following the whole chain: a wrong one agrees by chance once in 2**96.

Some writers put records in clear before the first block, or a CRC trailer of value 0 behind the
last one. Nothing else may stand around the blocks.

No key is needed here, and no ciphertext is read: a few bytes of each block are enough.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple

from ckptload.encryption.ciphers import AES_CBC, AES_GCM, CIPHER_BLOCK
from ckptload.errors import DecryptionError, LimitError
from ckptload.formats.ckpt.schema import CRC_DIGITS, CRC_MARKER, CRC_TRAILER_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ckptload.sources.base import Source

MAGIC_SIZE: Final = 4
TAG_SIZE: Final = 16
IV_SIZE: Final = 16
#: MindSpore's blocks are 64 MiB, so that no file has a thousandth of this; finding so many takes seconds.
MAX_BLOCKS: Final = 1_000_000
#: What block_len counts beside the ciphertext: iv_len, iv and cipher_len.
BLOCK_OVERHEAD: Final = 4 + IV_SIZE + 4

#: block_len, iv_len, iv, cipher_len: what follows the magic and, where there is one, the tag.
HEADER: Final = Struct(f"<II{IV_SIZE}sI")

_GCM_MAGIC: Final = bytes.fromhex("d85e3a7f")
_CBC_MAGIC: Final = bytes.fromhex("d95e3a7f")
_SM4_MAGIC: Final = bytes.fromhex("da5e3a7f")
#: What the first four bytes of a block can be.
MAGICS: Final = frozenset({_GCM_MAGIC, _CBC_MAGIC, _SM4_MAGIC})

#: The only trailer MindSpore puts behind encrypted blocks: its sum never saw the records.
_CLEAR_TRAILER: Final = CRC_MARKER + bytes(CRC_DIGITS)


@dataclass(frozen=True)
class Variant:
    """A layout of blocks.

    Attributes:
        magic: the first four bytes of each block.
        tagged: whether a tag follows the magic.
        modes: the values of ``dec_mode`` it can be.
        description: for messages.
    """

    magic: bytes
    tagged: bool
    modes: tuple[str, ...]
    description: str

    @property
    def header_size(self) -> int:
        """Bytes from the magic to the ciphertext."""
        return MAGIC_SIZE + (TAG_SIZE if self.tagged else 0) + HEADER.size


TAGGED_GCM: Final = Variant(_GCM_MAGIC, tagged=True, modes=(AES_GCM,), description="AES-GCM (MindSpore 1.7 or newer)")
UNTAGGED: Final = Variant(
    _GCM_MAGIC,
    tagged=False,
    modes=(AES_GCM, AES_CBC),
    description="AES-GCM or AES-CBC (MindSpore 1.3 to 1.6)",
)
CBC: Final = Variant(_CBC_MAGIC, tagged=False, modes=("AES-CBC",), description="AES-CBC (MindSpore 1.7 or newer)")
SM4: Final = Variant(_SM4_MAGIC, tagged=False, modes=("SM4-CBC",), description="SM4-CBC (MindSpore 2.0 or newer)")

#: In the order of trial: a chain that fits with and without tags counts as tagged, so that the
#: tags decide and nothing falls back.
_VARIANTS: Final = (TAGGED_GCM, UNTAGGED, CBC, SM4)


class Block(NamedTuple):
    """One block; positions are in bytes from the start of the file.

    Attributes:
        number: counted from 0.
        offset: where its header begins.
        start: where its ciphertext begins.
        stop: where its ciphertext ends.
        iv: the 16 stored bytes; AES-GCM uses the first 12 of them.
        tag: 16 bytes, or none.
    """

    number: int
    offset: int
    start: int
    stop: int
    iv: bytes
    tag: bytes


@dataclass(frozen=True, repr=False)
class Chain:
    """An encrypted file's blocks, which lie back to back.

    Blocks are kept in three flat arrays, since a file may consist of very many small ones.

    Attributes:
        variant: the layout.
        start: where the first block begins; what stands before it are records in clear.
        stop: where the last block ends.
        trailer: whether a clear CRC trailer of value 0 follows.
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
    """Follow the chain of an encrypted file; a file that does not begin with a block gives None.

    Records in clear before the first block are not looked for here: whoever walks the records
    meets the block and asks `chain_at`.

    Raises:
        DecryptionError: the file begins as an encrypted one, but its blocks do not fill it.
        LimitError: it has more than `MAX_BLOCKS` blocks.
    """
    if source.size < MAGIC_SIZE or _magic_at(source, 0) not in MAGICS:
        return None
    found = _follow(source, 0)
    if isinstance(found, DecryptionError):
        raise found
    return found


def chain_at(source: Source, start: int) -> Chain | None:
    """Return the chain that begins at `start` and fills the rest of the file, or None if none does.

    Args:
        source: the file.
        start: where records in clear end, in bytes from the start of the file.
    """
    if source.size - start < MAGIC_SIZE or _magic_at(source, start) not in MAGICS:
        return None
    found = _follow(source, start)
    return found if isinstance(found, Chain) else None


def _magic_at(source: Source, at: int) -> bytes:
    return bytes(source.read(at, at + MAGIC_SIZE))


def _follow(source: Source, start: int) -> Chain | DecryptionError:
    """Try every variant of the magic at `start`; of two failures, return the one that came further."""
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
                hint="MindSpore writes blocks of 64 MiB; save it again with those",
            )
        block = _read_block(source, variant, len(offsets), at)
        gcm_only = gcm_only or (block.stop - block.start) % CIPHER_BLOCK != 0
        offsets.append(at)
        ivs += block.iv
        tags += block.tag
        at = block.stop
    # Padding makes every CBC ciphertext a multiple of 16 bytes.
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
        raise damaged(f"{left} bytes are left, and they do not begin as the first block does", at)
    if left < variant.header_size:
        raise damaged(f"its header needs {variant.header_size} bytes, and {left} are left", at)
    tag = header[MAGIC_SIZE : variant.header_size - HEADER.size]
    block_len, iv_len, iv, cipher_len = HEADER.unpack(header[-HEADER.size :])
    start = at + variant.header_size
    if iv_len != IV_SIZE:
        raise damaged(f"its IV must have {IV_SIZE} bytes, and the header says {iv_len}", start - BLOCK_OVERHEAD)
    if block_len != cipher_len + BLOCK_OVERHEAD:
        raise damaged(f"the header says {block_len} bytes, {cipher_len} of them ciphertext: they disagree", start - 4)
    if cipher_len == 0:
        raise damaged("it holds no ciphertext", start)
    if start + cipher_len > source.size:
        raise damaged(f"it needs {cipher_len} bytes of ciphertext, and {source.size - start} are left", start)
    if variant in (CBC, SM4) and cipher_len % CIPHER_BLOCK:
        raise damaged(f"{cipher_len} bytes of ciphertext are no multiple of {CIPHER_BLOCK}", start)
    return Block(number, at, start, start + cipher_len, iv, tag)
