"""The options for opening a checkpoint, checked once and passed on as one object."""

from __future__ import annotations

from dataclasses import dataclass, field

from ckptload.encryption.ciphers import AES_GCM, check_types
from ckptload.encryption.keys import Key, hidden
from ckptload.errors import ArgumentError
from ckptload.foreign.giving import OURS
from ckptload.formats import limits
from ckptload.formats.entry import SAFETENSORS, check_format


@dataclass(frozen=True)
class Access:
    """Options for opening a checkpoint. The repr does not show the key.

    Attributes:
        format: ``ckpt`` or ``safetensors``; None decides by the name or the first bytes.
        key: key of an encrypted file, which is then hidden in a `Key`. Only its type is checked here; opening the
            file checks the rest.
        mode: cipher of an encrypted file.
        allow_unauthenticated: open AES-GCM files with data that no tag covers (docs/security.md).
        max_records: the largest number of records, or of tensors in a safetensors file (docs/security.md).
        mapped: map the file, so that tensors are views of it.
        gives: kind of the Parameters that are read (`giving.KINDS`), without ``auto``.
        watches_name: raise an error if the path names another file than the one that was opened.
        authenticates: check the tags of the blocks with headers at opening. If False, the caller must do
            all reading inside `Reader.vouched`.

    Raises:
        ArgumentTypeError: a value is of the wrong type.
        ArgumentError: the format is unknown, a key or mode is given for a safetensors file, or `max_records` is
            below 1.
    """

    format: str | None = None
    key: Key | bytes | None = field(default=None, repr=False)
    mode: str = AES_GCM
    allow_unauthenticated: bool = False
    max_records: int = limits.MAX_RECORDS
    mapped: bool = False
    gives: str = OURS
    watches_name: bool = True
    authenticates: bool = True

    def __post_init__(self) -> None:
        """Check types and combinations. Messages do not show the key."""
        object.__setattr__(self, "key", hidden(self.key))
        check_types(self.key, self.mode)
        limits.check(self.max_records)
        if self.format == SAFETENSORS and (self.key is not None or self.mode != AES_GCM):
            raise ArgumentError(
                "safetensors files are never encrypted, so a key and a mode do not apply to them",
                hint="leave both out, or load an encrypted .ckpt",
            )
        if self.format is not None:
            check_format(self.format)
