"""The interface of every format's index: names in order, their entries, and facts about the file."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from ckptload.messages import counted, quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ckptload.errors import CheckpointError, UnsupportedTypeError
    from ckptload.formats.coverage import Coverage
    from ckptload.formats.entry import Entry
    from ckptload.sources.base import Source


class Note(NamedTuple):
    """Something that was decided when a checkpoint was opened, and that its user may want to know.

    Attributes:
        kind: a word for the kind of decision, such as ``files`` or ``copies``.
        names: the entries, ranks or files that it is about.
        text: a sentence.
    """

    kind: str
    names: tuple[str, ...]
    text: str


class Index(Protocol):
    """The names of a checkpoint in order, and the entry of each.

    Attributes:
        format: ``ckpt`` or ``safetensors``.
        source: the source of the data, decrypted if the file is encrypted.
        metadata: texts that the file holds about itself, by key; empty for a .ckpt.
        cipher: mode of an encrypted file, such as ``AES-GCM``, or None.
        foreign: the fields that no version of MindSpore writes; none in a safetensors file.
        notes: what was decided when it was opened.
    """

    format: str
    source: Source
    metadata: dict[str, str]
    cipher: str | None
    foreign: Foreign
    notes: Sequence[Note]

    def names(self) -> Sequence[str]:
        """Return the names as written in the file, in the order of the result."""

    def public_names(self, chosen: Iterable[str]) -> dict[str, str]:
        """Return a dictionary from public names to names in the file, in the order of the result."""

    def entry(self, name: str) -> Entry:
        """Check and return the entry of a name in the file; its type need not be supported.

        Raises:
            CheckpointError: the entry is damaged.
        """

    def unsupported(self, entries: Sequence[Entry]) -> UnsupportedTypeError:
        """Return the error for entries whose values are wanted and whose types are not supported."""

    def facts(self) -> Facts:
        """Return facts about the whole file."""

    def check_index(self) -> list[CheckpointError]:
        """Return what does not fit between an index and its files; nothing for a single file."""

    def verify_crc(self) -> Coverage | None:
        """Return what the file's checksum covers, or None without one; raise ChecksumError if it does not match."""

    def reach(self) -> Coverage:
        """Return the parts of the checkpoint that any check of the file itself, or of its shards, can cover."""


Version = tuple[int, int]


class Evidence(NamedTuple):
    """A trait of a file, and the first and last version that can have written it; None is an open end."""

    trait: str
    since: Version | None = None
    until: Version | None = None


class ForeignField(NamedTuple):
    """A field of a .ckpt that no version of MindSpore writes.

    Attributes:
        offset: its position, in bytes from the start of the (decrypted) file.
        nbytes: its size with its tag, in bytes.
        what: what is odd about it, such as ``field 3 of wire type 2`` or ``a second name``.
        record: name of the entry inside whose record it is; None between records.
    """

    offset: int
    nbytes: int
    what: str
    record: str | None = None


class Foreign(NamedTuple):
    """The fields of a .ckpt that no version of MindSpore writes.

    Attributes:
        number: how many there are.
        nbytes: their bytes together.
        first: the first few of them.
    """

    number: int = 0
    nbytes: int = 0
    first: tuple[ForeignField, ...] = ()

    def __str__(self) -> str:
        """Say how many they are, and where."""
        places = "; ".join(
            f"{one.what} at byte {one.offset}, "
            + ("between records" if one.record is None else f"in the record of {quoted([one.record])}")
            for one in self.first
        )
        more = f"; and {self.number - len(self.first)} more" if self.number > len(self.first) else ""
        return (
            f"{counted(self.number, 'field')} of {counted(self.nbytes, 'byte')} that no version of MindSpore writes: "
            f"{places}{more}"
        )


class Facts(NamedTuple):
    """Facts about a whole file.

    Attributes:
        size: size in bytes; for an encrypted file, that of the decrypted stream.
        has_checksum: whether it has a CRC-32 for `Reader.verify_crc` to compare.
        authenticated: whether every byte is covered by an authentication tag.
        written_by: versions that can have written it, such as ``MindSpore 2.3 or newer``, or None.
        evidence: the traits that `written_by` is inferred from.
        foreign: the fields that no version of MindSpore writes.
    """

    size: int
    has_checksum: bool
    authenticated: bool = False
    written_by: str | None = None
    evidence: tuple[Evidence, ...] = ()
    foreign: Foreign = Foreign()
