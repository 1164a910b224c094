"""Archives: zip, gzip, tar and LZMA, and what is in them.

Only the names near the start and the end of an archive are looked at, and nothing is unpacked but the first bytes of
a gzip file.
"""

from __future__ import annotations

import re
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from ckptload.formats.kinds.kind import EXPORTED, KERAS, NO_MODEL, TORCH, Kind
from ckptload.messages import quoted

if TYPE_CHECKING:
    from ckptload.formats.kinds.kind import Glimpse

#: Headers in a zip: their mark, where the length of the name is, and where the name is (APPNOTE.TXT, 4.3.7, 4.3.12).
_HEADERS: Final = ((b"PK\x01\x02", 28, 46), (b"PK\x03\x04", 26, 30))
#: Headers that are looked at.
_MOST: Final = 1000
_LISTED: Final = 3
_CHECKPOINT: Final = re.compile(r"\.(ckpt|safetensors)$")

#: What zip archives are told by: a pattern that the path of one entry matches. The first that matches counts.
_BY_ENTRY: Final[tuple[tuple[re.Pattern[str], Kind], ...]] = tuple(
    (re.compile(pattern), kind)
    for pattern, kind in (
        (r"(^|/)constants\.pkl$", Kind("a TorchScript file of PyTorch", "open it with torch.jit.load")),
        (
            r"(^|/)(serialized_exported_program\.json|archive_format)$",
            Kind("a program of torch.export (.pt2) of PyTorch", "open it with torch.export.load"),
        ),
        (r"(^|/)data\.pkl$", TORCH),
        (
            r"^model\.weights\.h5$",
            Kind("a Keras model (.keras)", KERAS),
        ),
        (r"(^|/)saved_model\.pb$", Kind("a zip archive of a TensorFlow SavedModel", "unzip it, and use TensorFlow")),
        (r"\.mlmodel$", Kind("a zip archive of a Core ML model", EXPORTED)),
        (r"^\[Content_Types\]\.xml$", Kind("an Office document", NO_MODEL)),
        (r"^META-INF/MANIFEST\.MF$", Kind("a Java archive", NO_MODEL)),
        (r"\.dist-info/WHEEL$", Kind("a Python wheel", "install it with pip")),
    )
)


def by_archive(seen: Glimpse) -> Kind | None:
    """Return the kind of archive, with what is in it, or None."""
    head = seen.head
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08PK\x03\x04")):
        return _zip(seen)
    if head.startswith(b"\x1f\x8b\x08"):
        return _gzip(head)
    if _is_tar(head):
        first = str(head[:100].partition(b"\0")[0], "utf-8", "replace")
        return Kind(
            f"a tar archive, which begins with {quoted([first])}",
            "unpack it with tar -xf, and open the checkpoint in it",
        )
    if _is_lzma(head):
        return Kind("an LZMA file", "unpack it first, with xz -d; then open the checkpoint in it")
    return None


# -- zip ----------------------------------------------------------------------------------------------------


def _zip(seen: Glimpse) -> Kind:
    names = _entries(seen)
    for pattern, kind in _BY_ENTRY:
        if any(pattern.search(name) for name in names):
            return kind
    if names and all(name.endswith(".npy") for name in names):
        return Kind("a numpy .npz file", "open it with numpy.load, and save its arrays with save_checkpoint()")
    checkpoints = [name for name in names if _CHECKPOINT.search(name)]
    if checkpoints:
        some = quoted(checkpoints[:_LISTED])
        return Kind(f"a zip archive that holds {some}", f"unzip it, and open {quoted(checkpoints[:1])}")
    if not names:
        return Kind("a zip archive", "unzip it first")
    more = ", ..." if names[_LISTED:] else ""
    return Kind(f"a zip archive of {quoted(names[:_LISTED])}{more}", "unzip it; it does not seem to hold a checkpoint")


def _entries(seen: Glimpse) -> list[str]:
    """Return the paths in the directory at the end of a zip and in the headers at its start."""
    found: dict[str, None] = {}
    for data in (seen.tail, seen.head):
        for mark, length_at, name_at in _HEADERS:
            # Names do not overlap, so that together they are no longer than what they are in.
            room = len(data)
            at = data.find(mark)
            while at >= 0 and len(found) < _MOST:
                length = int.from_bytes(data[at + length_at : at + length_at + 2], "little")
                name = data[at + name_at : at + name_at + length] if length <= room else b""
                if name and len(name) == length:
                    room -= length
                    found[str(name, "utf-8", "replace")] = None
                at = data.find(mark, at + len(mark))
    return list(found)


# -- gzip, tar, LZMA ------------------------------------------------------------------------------------------


def _gzip(head: bytes) -> Kind:
    inside = b""
    with suppress(zlib.error):
        # With this number, zlib reads the header of gzip (zlib.h, inflateInit2).
        inside = zlib.decompressobj(31).decompress(head, _TAR_HEADER)
    if _is_tar(inside):
        return Kind("a gzip file of a tar archive (.tar.gz)", "unpack it with tar -xzf, and open the checkpoint in it")
    return Kind("a gzip file", "unpack it first, with gunzip; then open the checkpoint in it")


#: Size of a header, and where its checksum is, in octal digits.
_TAR_HEADER: Final = 512
_TAR_SUM: Final = slice(148, 156)


def _is_tar(head: bytes) -> bool:
    """Return whether the sum of the first header is right; old archives have nothing else to tell them by."""
    digits = re.fullmatch(rb" *([0-7]{1,7})[ \0]*", head[_TAR_SUM])
    if digits is None or len(head) < _TAR_HEADER:
        return False
    rest = head[: _TAR_SUM.start] + b" " * 8 + head[_TAR_SUM.stop : _TAR_HEADER]
    signed = sum(byte - 256 if byte > 127 else byte for byte in rest)  # noqa: PLR2004 -- some programs add up chars
    return head[0] != 0 and int(digits[1], 8) in {sum(rest), signed}


#: The size in the header of LZMA if it was not known.
_UNKNOWN: Final = (1 << 64) - 1


def _is_lzma(head: bytes) -> bool:
    """Return whether this is the header of LZMA alone: properties, dictionary size, size of the data or -1."""
    dictionary = int.from_bytes(head[1:5], "little")
    size = int.from_bytes(head[5:13], "little")
    # Encoders write 2**n or 2**n + 2**(n-1).
    plausible = dictionary >= 4096 and dictionary.bit_count() <= 2 and (size == _UNKNOWN or size < 1 << 40)  # noqa: PLR2004
    return head.startswith(b"\x5d") and plausible
