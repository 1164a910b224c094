"""Recognise files of other kinds by their first and last bytes, so that an error can name them.

The magic numbers come from the documentation of each format.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from ckptload.errors import Hint

#: Bytes that `recognise` needs from the start and from the end of a file.
HEAD: Final = 512
TAIL: Final = 8


class Kind(NamedTuple):
    """Another kind of file, and a hint for a person who has one."""

    what: str
    hint: str | Hint


_DOWNLOAD: Final = "download the checkpoint again; this is not its data"

CKPT: Final = Kind("a MindSpore .ckpt", Hint("{as_ckpt}"))
SAFETENSORS: Final = Kind("a safetensors file", Hint("{as_safetensors}"))

_BY_MAGIC: Final[tuple[tuple[bytes, Kind], ...]] = (
    (
        b"version https://git-lfs",
        Kind("a Git LFS pointer to the real file", "fetch the real file with: git lfs pull"),
    ),
    (
        b"PK\x03\x04",
        Kind("a zip archive, probably from torch.save or numpy.savez", "open it with torch.load or numpy.load"),
    ),
    (b"\x89HDF\r\n\x1a\n", Kind("an HDF5 file", "open it with h5py or Keras")),
    (b"\x1f\x8b", Kind("a gzip archive", "unpack it first, with gunzip or tar")),
    (
        b"\x80\x02",
        Kind("a Python pickle, probably from an old torch.save", "open it with torch.load(weights_only=True)"),
    ),
    (b"\x93NUMPY", Kind("a numpy .npy file", "open it with numpy.load")),
    (b"GGUF", Kind("a GGUF model", "open it with the gguf package")),
    (b"model_checkpoint_path:", Kind("a TensorFlow checkpoint's state file", "open the model with TensorFlow")),
    (b"ustar", Kind("a tar archive", "unpack it first, with tar")),
)
#: The last bytes of a TensorFlow checkpoint's index, which is a LevelDB table.
_TABLE_MAGIC: Final = b"\x57\xfb\x80\x8b\x24\x75\x47\xdb"
#: The UTF-8 of U+FFFD, with which a decoder replaces bytes that are not valid UTF-8.
_REPLACEMENT: Final = "\ufffd".encode()
_MANY: Final = 3
_TEXT: Final = re.compile(rb"[\t\r\n\x20-\x7e]+")


def recognise(head: bytes, tail: bytes, size: int) -> Kind | None:
    """Return the kind of a file that is not a .ckpt, or None if it is not recognised.

    Args:
        head: the first bytes, up to `HEAD` of them.
        tail: the last bytes, up to `TAIL` of them.
        size: size of the whole file, in bytes.
    """
    for magic, kind in _BY_MAGIC:
        if head.startswith(magic):
            return kind
    if head[257:262] == b"ustar":
        return Kind("a tar archive", "unpack it first, with tar")
    if re.match(rb"\s*<(!doctype|html|\?xml|head)", head, re.IGNORECASE):
        return Kind("an HTML page, probably from a failed download", _DOWNLOAD)
    if tail == _TABLE_MAGIC:
        return Kind("a TensorFlow checkpoint's index", "open the model with TensorFlow")
    if head[8:9] == b"{" and 0 < int.from_bytes(head[:8], "little") <= size - 8:
        return SAFETENSORS
    if _is_strategy(head):
        return Kind(
            "a MindSpore parallel-strategy file, which holds no parameters",
            "load the checkpoint that was saved beside it",
        )
    if head.count(_REPLACEMENT) >= _MANY:
        return Kind("a binary file that was destroyed by reading it as text and writing it again", _DOWNLOAD)
    if _TEXT.fullmatch(head):
        return Kind("a text file, perhaps a link to the checkpoint", _DOWNLOAD)
    return None


def _is_strategy(head: bytes) -> bool:
    """Return whether this is a ParallelStrategyMap (docs/format.md, "Around the file").

    Field 1 is a small number; field 2 is a message that begins with a name.
    """
    return re.match(rb"\x08[\x00-\x7f]\x12[\x02-\xff]{1,3}\n[\x01-\x7f][\w./-]", head) is not None
