"""How a checkpoint may be opened: what a caller says about it, checked once at each door and handed on as one."""

from __future__ import annotations

from dataclasses import dataclass, field

from ckptload.encryption.ciphers import AES_GCM
from ckptload.errors import ArgumentError, ArgumentTypeError
from ckptload.formats import limits
from ckptload.formats.entry import CKPT, SAFETENSORS


@dataclass(frozen=True)
class Access:
    """How a checkpoint may be opened. Its repr shows no key.

    Attributes:
        format: ``ckpt`` or ``safetensors``; None tells them apart by the name or the first bytes.
        key: key of an encrypted file. Whether it fits is for the file to say; here only its type is checked.
        mode: cipher of an encrypted file.
        allow_unauthenticated: open encrypted files that nothing protects from changes (docs/security.md).
        max_records: how many records, or tensors of a safetensors file, there may be (docs/security.md).
        mapped: map the file, so that tensors are views of it.
        watches_name: notice that another file has taken the name of the one that was opened.
        authenticates: compare the tags of what the index was read from at once. Without it, whoever opens the
            file must do everything in `Reader.vouched`.

    Raises:
        ArgumentTypeError: a value is of the wrong type.
        ArgumentError: there is no such format, there is a key for a safetensors file, or `max_records` is below 1.
    """

    format: str | None = None
    key: bytes | None = field(default=None, repr=False)
    mode: str = AES_GCM
    allow_unauthenticated: bool = False
    max_records: int = limits.MAX_RECORDS
    mapped: bool = False
    watches_name: bool = True
    authenticates: bool = True

    def __post_init__(self) -> None:
        """Check types and combinations. No message shows a key."""
        if self.key is not None and not isinstance(self.key, bytes):
            raise ArgumentTypeError(
                f"dec_key must be bytes or None, not {type(self.key).__name__}", hint="for example bytes.fromhex('...')"
            )
        if not isinstance(self.mode, str):
            raise ArgumentTypeError(f"dec_mode must be a str, not {type(self.mode).__name__}")
        limits.check(self.max_records)
        if self.format == SAFETENSORS and (self.key is not None or self.mode != AES_GCM):
            raise ArgumentError(
                "safetensors files are never encrypted, so a key and a mode do not apply to them",
                hint="leave both out, or load an encrypted .ckpt",
            )
        if self.format not in (None, CKPT, SAFETENSORS):
            raise ArgumentError(f"format must be 'ckpt' or 'safetensors', not {self.format!r}")
