"""From a source to an index: the only module that knows every format, and names other kinds of file in errors."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from ckptload.encryption.chain import MAGIC_SIZE, MAGICS, chain_at, find_chain
from ckptload.encryption.ciphers import load_library
from ckptload.errors import (
    CheckpointError,
    CorruptCheckpointError,
    DecryptionError,
    EmptyCheckpointError,
    EncryptedCheckpointError,
    Hint,
    LimitError,
    WrongFormatError,
    importable,
)
from ckptload.formats.ckpt.index import CkptIndex
from ckptload.formats.ckpt.walk import Layout, first, walk
from ckptload.formats.entry import CKPT, SAFETENSORS
from ckptload.formats.kinds import kind as kinds
from ckptload.formats.kinds.names import by_name, encrypted_by_name, unfinished
from ckptload.formats.kinds.recognising import recognise
from ckptload.formats.kinds.records import BLANK
from ckptload.formats.safetensors.index import library, open_safetensors
from ckptload.formats.safetensors.sharded_index import ShardedIndex
from ckptload.formats.safetensors.shards import ShardedSource
from ckptload.formats.safetensors.weight_map import DOWNLOAD, find

if TYPE_CHECKING:
    from ckptload.encryption.chain import Chain
    from ckptload.formats.ckpt.fields import Record
    from ckptload.formats.index import Index
    from ckptload.formats.safetensors.index import SafetensorsIndex
    from ckptload.reading.access import Access
    from ckptload.sources.base import Source


#: Nothing in the decrypted data may be said if no tag covers it, so this is all that is known of any such file.
_NO_RECORD: Final = Hint(
    "{check_key}; if all of it is right, this is not a .ckpt (export() encrypts MindIR in the same way), or the file "
    "was changed after it was written"
)


def import_first(access: Access) -> None:
    """Import the libraries that a file may need before it is opened, while there are descriptors and memory for that.

    If one is not installed, the file that needs it is refused later.
    """
    with suppress(ImportError):
        if access.format == SAFETENSORS:
            library()
        if access.key is not None:
            with importable("cryptography"):
                from ckptload.encryption import opening  # noqa: F401, PLC0415
            load_library()


#: Bytes that tell a format: white space may stand before the header of a safetensors file.
_HEAD: Final = 64


def guess_format(source: Source) -> str:
    """Return ``ckpt`` or ``safetensors``, decided by the name, then by the first bytes."""
    if source.label.endswith("." + SAFETENSORS) or isinstance(source, ShardedSource):
        return SAFETENSORS
    # A safetensors file begins with the length of a JSON header and "{". The length is checked, too, because an
    # encrypted file may have "{" there by chance.
    head = bytes(source.read(0, min(_HEAD, source.size)))
    is_header = head[8:].lstrip(b" \t\r\n").startswith(b"{") and int.from_bytes(head[:8], "little") <= source.size - 8
    return SAFETENSORS if is_header and not source.label.endswith("." + CKPT) else CKPT


def open_index(source: Source, access: Access) -> Index:
    """Return the index of a file whose format is known.

    Without `Access.authenticates`, the caller must call ``source.authenticate`` before any data of an encrypted file,
    or an error about it, reaches the user. This saves decrypting the blocks with headers twice.

    Raises:
        LimitError: it has more records or tensors than `Access.max_records`.
        EncryptedCheckpointError: it is encrypted, and a key was not given.
        DecryptionError: it cannot be decrypted, or it is not encrypted although a key was given.
        EmptyCheckpointError: it has no records.
        WrongFormatError: it is another kind of file.
        CorruptCheckpointError: its records cannot be read to the end, or the safetensors library refuses it.
    """
    if source.size == 0 and not isinstance(source, ShardedSource):
        raise EmptyCheckpointError(
            "the file is empty", path=source.label, hint="saving or copying it failed; save or fetch it again"
        )
    if access.format == SAFETENSORS:
        return _open_safetensors(source, access)
    return _open_ckpt(source, access)


def _open_safetensors(source: Source, access: Access) -> Index:
    if isinstance(source, ShardedSource):
        return ShardedIndex(source, lambda shard: _open_file(shard, access))
    return _open_file(source, access)


def _open_file(source: Source, access: Access) -> SafetensorsIndex:
    try:
        return open_safetensors(source, access.max_records)
    except CorruptCheckpointError as error:
        kind = identified(source)
        if kind in {None, kinds.SAFETENSORS, BLANK}:
            error.advice = unfinished(source.label) or error.advice
            raise
        raise wrong(source.label, SAFETENSORS, kind) from None


def _open_ckpt(source: Source, access: Access) -> CkptIndex:
    chain = find_chain(source)
    layout = Layout() if chain is not None else _walked(source, access.max_records)
    if layout.first_foreign:
        # A fault of MindSpore's writer leaves map records unencrypted before the first block (docs/format.md,
        # "Faults of MindSpore's writer").
        chain = chain_at(source, layout.first_foreign)
    if chain is not None:
        return _open_encrypted(source, chain, access)
    kind = _other_kind(source, layout)
    if kind is not None:
        raise wrong(source.label, CKPT, kind)
    if layout.damage is not None:
        raise _explained(source, layout, layout.damage)
    if not layout.records:
        raise _without_records(source, layout)
    if access.key is not None:
        raise DecryptionError(
            "a key was given, but the file is not encrypted", path=source.label, hint="open it without a key"
        )
    return CkptIndex(source, layout)


def _walked(source: Source, max_records: int) -> Layout:
    try:
        return walk(source, max_records)
    except LimitError:
        # What is not a record may be very many fields.
        kind = identified(source)
        if kind in {None, kinds.CKPT}:
            raise
        raise wrong(source.label, CKPT, kind) from None


def _open_encrypted(source: Source, chain: Chain, access: Access) -> CkptIndex:
    if access.key is None:
        kind = encrypted_by_name(source.label)
        if kind is not None:
            raise wrong(source.label, CKPT, kind)
        raise EncryptedCheckpointError(
            f"the file is encrypted with {chain.describe()}",
            path=source.label,
            hint=Hint(
                "{give_key}",
                " and {mode}{modes}" if len(chain.modes) > 1 else " and {mode_of_the_file}{modes}",
                modes=" or ".join(repr(mode) for mode in chain.modes),
            ),
            modes=chain.modes,
        )
    with importable("cryptography"):
        from ckptload.encryption.opening import open_encrypted  # noqa: PLC0415 -- imported only when it is needed

    opened = open_encrypted(source, chain, access.key, access.mode, allow_unauthenticated=access.allow_unauthenticated)
    layout = opened.survey(lambda: walk(opened, access.max_records))
    # What is authenticated from here on need not be compared in another way.
    opened.seal()
    if access.authenticates or layout.damage is not None or not layout.records:
        opened.authenticate(only_surveyed=True)
    record = layout.records[0] if layout.records else None
    if not opened.authenticated and (record is None or record.damage is not None or layout.first_foreign == 0):
        # A wrong key passes the padding check with a probability of about 1/256; then the plaintext is random bytes.
        raise DecryptionError(
            "the decrypted data does not begin with a record",
            path=opened.label,
            hint=_NO_RECORD,
        )
    kind = _other_kind(opened, layout) if opened.authenticated else None
    if kind is not None:
        raise wrong(opened.label, CKPT, kind)
    if layout.damage is not None:
        layout.damage.path = opened.label
        raise layout.damage
    if record is None:
        raise _without_records(opened, layout)
    return CkptIndex(opened, layout, cipher=access.mode, tagged=chain.variant.tagged)


# -- files of other kinds -----------------------------------------------------------------------------------

_INDEX_AT_URL: Final = kinds.INDEX._replace(hint=DOWNLOAD)


def identified(source: Source) -> kinds.Kind | None:
    """Return what a file is by its bytes: one of the two formats or another kind, or None if it is not recognised."""
    head = bytes(source.read(0, min(MAGIC_SIZE, source.size)))
    if head in MAGICS:
        return encrypted_by_name(source.label) or kinds.CKPT
    if head.startswith(b"\n") and _can_be_read(first(source)):
        return kinds.CKPT
    return _recognised(source) or by_name(source.label)


def wrong(path: str, wanted: str, kind: kinds.Kind) -> WrongFormatError:
    """Return the error for a file of another kind than the format that was asked for."""
    asked = "a .ckpt" if wanted == CKPT else "a safetensors file"
    return WrongFormatError(f"this is not {asked} but {kind.what}", path=path, hint=kind.hint)


def _other_kind(source: Source, layout: Layout) -> kinds.Kind | None:
    """Return the kind of a file that does not begin with a record that can be read, or None if it is a .ckpt."""
    if layout.first_foreign != 0 and layout.records and _can_be_read(layout.records[0]):
        return None
    return _recognised(source) or (None if layout.records else by_name(source.label))


def _recognised(source: Source) -> kinds.Kind | None:
    """Return the kind of a file, an index of shards among them.

    Raises:
        CorruptCheckpointError: it is an index that is not valid.
        WrongFormatError: it is an index of files of another kind.
    """
    if find(source) is None:
        return recognise(source)
    return _INDEX_AT_URL if source.path is not None and "://" in source.path else kinds.INDEX


def _can_be_read(record: Record | None) -> bool:
    """Return whether this is a record as a .ckpt has; some nodes of TensorFlow's graphs are records without a type."""
    return record is not None and record.damage is None and any(piece.type is not None for piece in record.pieces)


def _explained(source: Source, layout: Layout, damage: CorruptCheckpointError) -> CorruptCheckpointError:
    """Return the damage, with the last complete record before it."""
    damage.path = source.label
    damage.advice = unfinished(source.label) or damage.advice
    if layout.records:
        damage.problem += f"; the last complete record before it is {layout.records[-1].name[:100]!r}"
    return damage


def _without_records(source: Source, layout: Layout) -> CheckpointError:
    what = "a CRC trailer but no record" if layout.trailer is not None else "no record of a checkpoint"
    return EmptyCheckpointError(f"the file has {what}", path=source.label, hint="save it again")
