"""What the opener of every format finds: names in order, what each is, and what the file says about itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ckptload.formats.entry import Entry
    from ckptload.sources.base import Source


class Index(Protocol):
    """What a format's opener finds: names in order, and what stands behind each.

    Attributes:
        format: ``ckpt`` or ``safetensors``.
        source: where content is read from; it decrypts where that is needed.
        metadata: text that the file carries about itself.
        cipher: how the file is encrypted, or None.
    """

    format: str
    source: Source
    metadata: dict[str, str]
    cipher: str | None

    def names(self) -> Sequence[str]:
        """Return the names as they stand in the file, in the order in which they are returned."""

    def public_names(self, chosen: Iterable[str]) -> dict[str, str]:
        """Return public name to name in the file, in order."""

    def entry(self, name: str) -> Entry:
        """Judge and return what stands behind a name of the file."""

    def facts(self) -> Facts:
        """Gather what the file says about itself."""

    def verify_crc(self) -> bool:
        """Raise ChecksumError for a wrong sum; return whether there was a sum at all."""


Version = tuple[int, int]


class Evidence(NamedTuple):
    """One trait of a file and the versions that can have written it; None is an open end."""

    trait: str
    since: Version | None = None
    until: Version | None = None


class Facts(NamedTuple):
    """What a file tells about itself.

    Attributes:
        size: of the content as it is read, in bytes: of the decrypted stream where the file is encrypted.
        has_checksum: whether it carries a CRC-32 that `Reader.verify_crc` compares.
        authenticated: whether tags vouch for every byte of an encrypted file.
        written_by: versions that can have written it, such as ``MindSpore 2.3 or newer``, or None.
        evidence: what that rests on.
    """

    size: int
    has_checksum: bool
    authenticated: bool = False
    written_by: str | None = None
    evidence: tuple[Evidence, ...] = ()
