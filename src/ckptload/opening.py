"""From a source to an index: plain, encrypted, or of another kind, which is then named."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ckptload import checksum, facts, kinds, names, records, schema
from ckptload.chain import chain_at, find_chain
from ckptload.errors import (
    CheckpointError,
    CorruptCheckpointError,
    DecryptionError,
    EmptyCheckpointError,
    EncryptedCheckpointError,
    WrongFormatError,
)
from ckptload.limits import MAX_RECORDS
from ckptload.walk import Layout, walk

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ckptload.chain import Chain
    from ckptload.records import Entry
    from ckptload.sealed import SealedSource
    from ckptload.sources import Source


class CkptIndex:
    """What a .ckpt holds: runs of records by name, judged when they are asked for."""

    def __init__(self, source: Source, layout: Layout, cipher: str | None = None, *, tagged: bool = False) -> None:
        self.format = "ckpt"
        self.source = source
        self.metadata: dict[str, str] = {}
        self.cipher = cipher
        self._tagged = tagged
        self.trailer = layout.trailer
        self._maps = [(record.offset, record.stop) for record in layout.records if record.is_map]
        self._runs = records.runs(layout.records)

    def names(self) -> Sequence[str]:
        """Return the names in file order; a repeated one keeps its first place."""
        return list(self._runs)

    def public_names(self, chosen: Iterable[str]) -> dict[str, str]:
        """Cut the names of cached parameters as MindSpore does, and put them at the end.

        Raises:
            CheckpointError: two names are the same once they are cut.
        """
        plain: dict[str, str] = {}
        cut: dict[str, str] = {}
        for name in chosen:
            public, mark, _ = name.partition(schema.PARAM_KEY_MARK)
            group = cut if mark else plain
            if public in group:
                raise _collision(public, group[public], name)
            group[public] = name
        for public in plain.keys() & cut.keys():
            raise _collision(public, plain[public], cut[public])
        return plain | cut

    def entry(self, name: str) -> Entry:
        """Judge the records of a name."""
        return records.judge(name, self._runs[name])

    def verify_crc(self) -> bool:
        """Check the trailer, where there is one."""
        if self.trailer is None:
            return False
        checksum.verify_crc(self.source, self.trailer, self._maps)
        return True

    def facts(self) -> facts.Facts:
        """Gather what the records, the trailer and the cipher tell about the file."""
        has_checksum = self.trailer is not None
        found = facts.evidence(self._runs, has_checksum=has_checksum, cipher=self.cipher, tagged=self._tagged)
        authenticated = getattr(self.source, "authenticated", False)
        return facts.Facts(self.source.size, has_checksum, authenticated, facts.written_by(found), found)


def _collision(public: str, first: str, second: str) -> CheckpointError:
    both = f"{names.listed([first])} and {names.listed([second])}"
    return CheckpointError(
        f"{both} have the same name once {schema.PARAM_KEY_MARK!r} is cut off",
        name=public if len(public) <= records.MAX_NAME else f"{public[:60]}...",
        hint="leave one of them out with choice_func, which sees the whole names",
    )


def open_ckpt(
    source: Source,
    key: bytes | None,
    mode: str,
    *,
    allow_unauthenticated: bool,
    max_records: int = MAX_RECORDS,
    authenticates: bool = True,
) -> CkptIndex:
    """Find the index of a .ckpt, plain or encrypted.

    Without `authenticates` the caller has to call ``source.authenticate`` before anything of an encrypted file is
    shown to anyone, an error too; what was read until then need not be decrypted twice.

    Raises:
        LimitError: it holds more than `max_records` records.
        EncryptedCheckpointError: it is encrypted and `key` is None.
        DecryptionError: it cannot be decrypted, or is plain although there is a key.
        EmptyCheckpointError: it holds no record.
        WrongFormatError: it is a file of another kind.
        CorruptCheckpointError: it cannot be walked to its end.
    """
    if source.size == 0:
        raise EmptyCheckpointError(
            "the file is empty", path=source.label, hint="saving or copying it failed; save or fetch it again"
        )
    chain = find_chain(source)
    layout = Layout() if chain is not None else walk(source, max_records)
    if layout.stranger:
        # A writer fault leaves map records in clear before the first encrypted block.
        chain = chain_at(source, layout.stranger)
    if chain is not None:
        if key is None:
            raise _without_key(source, chain)
        from ckptload.sealed import open_sealed  # noqa: PLC0415 -- cryptography is imported only when it is needed

        sealed = open_sealed(source, chain, key, mode, allow_unauthenticated=allow_unauthenticated)
        return _index_sealed(sealed, chain, mode, max_records, authenticates=authenticates)
    if layout.damage is not None:
        raise _explained(source, layout, layout.damage)
    if not layout.records:
        raise _without_records(source, layout)
    if key is not None:
        raise DecryptionError(
            "there is a key, but the file is not encrypted", path=source.label, hint="load it without dec_key"
        )
    return CkptIndex(source, layout)


def _without_key(source: Source, chain: Chain) -> EncryptedCheckpointError:
    return EncryptedCheckpointError(
        f"the file is encrypted with {chain.describe()}",
        path=source.label,
        hint="pass dec_key and dec_mode=" + " or ".join(repr(mode) for mode in chain.modes),
        modes=chain.modes,
    )


def _index_sealed(sealed: SealedSource, chain: Chain, mode: str, max_records: int, *, authenticates: bool) -> CkptIndex:
    layout = sealed.survey(lambda: walk(sealed, max_records))
    if authenticates or layout.damage is not None or not layout.records:
        sealed.authenticate(only_surveyed=True)
    first = layout.records[0] if layout.records else None
    if not sealed.authenticated and (first is None or first.damage is not None or layout.stranger == 0):
        # A wrong key passes the padding check about once in 290 times; then nothing makes sense.
        raise DecryptionError(
            "what decryption gives does not begin with a record",
            path=sealed.label,
            hint="check dec_key and dec_mode; if both are right, the file was changed after it was written",
        )
    if layout.damage is not None:
        layout.damage.path = sealed.label
        raise layout.damage
    if first is None:
        raise _without_records(sealed, layout)
    return CkptIndex(sealed, layout, cipher=mode, tagged=chain.variant.tagged)


def _explained(source: Source, layout: Layout, damage: CorruptCheckpointError) -> CorruptCheckpointError:
    """Name the kind of a file that cannot be walked; else say how far the walk came."""
    kind = None if layout.records else _other_kind(source)
    if kind is None:
        damage.path = source.label
        if layout.records:
            damage.problem += f"; the last whole record before it is that of {layout.records[-1].name[:100]!r}"
        return damage
    error = WrongFormatError(f"this is no .ckpt but {kind.what}", path=source.label, hint=kind.hint)
    error.__cause__ = damage
    return error


def _without_records(source: Source, layout: Layout) -> CheckpointError:
    kind = _other_kind(source)
    if kind is not None:
        return WrongFormatError(f"this is no .ckpt but {kind.what}", path=source.label, hint=kind.hint)
    what = "a CRC trailer and no record" if layout.trailer is not None else "no record of a checkpoint"
    return EmptyCheckpointError(f"the file holds {what}", path=source.label, hint="save it again")


def _other_kind(source: Source) -> kinds.Kind | None:
    head = bytes(source.read(0, min(kinds.HEAD, source.size)))
    tail = bytes(source.read(max(0, source.size - kinds.TAIL), source.size))
    return kinds.recognise(head, tail, source.size)
