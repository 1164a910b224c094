"""What is said about a kind of file, and the words that several kinds share."""

from __future__ import annotations

from typing import Final, NamedTuple

from ckptload.errors import Hint


class Kind(NamedTuple):
    """A kind of file, and a hint for a person who has one."""

    what: str
    hint: str | Hint


class Glimpse(NamedTuple):
    """What most kinds are recognised by.

    Attributes:
        head: the first bytes, up to `HEAD` of them.
        tail: the last bytes, up to `TAIL` of them.
        size: size of the whole file, in bytes.
    """

    head: bytes
    tail: bytes
    size: int


#: Enough for the first headers of an archive, and for a sample of a text.
HEAD: Final = 16 << 10
#: Enough for most directories of zip archives, which are at the end.
TAIL: Final = 64 << 10

CKPT: Final = Kind("a MindSpore .ckpt", Hint("rename it to end in .ckpt", " and {as_ckpt}"))
SAFETENSORS: Final = Kind("a safetensors file", Hint("rename it to end in .safetensors", " and {as_safetensors}"))
INDEX: Final = Kind("an index of safetensors files (JSON)", Hint("{as_index}"))

_OPEN_TORCH: Final = Hint("{open_torch}")
TORCH: Final = Kind("a PyTorch file, written by torch.save", _OPEN_TORCH)
OLD_TORCH: Final = Kind("a PyTorch file, written by torch.save before PyTorch 1.6 (a Python pickle)", _OPEN_TORCH)
#: Files that torch reads without running code.
OF_TORCH: Final = (TORCH, OLD_TORCH)

DOWNLOAD: Final = "download the checkpoint again; this is not its data"
#: For files that hold neither a model nor an archive.
NO_MODEL: Final = "check the path; parameters are in a .ckpt or a .safetensors file"
TENSORFLOW: Final = "open it with TensorFlow, and save its arrays with save_checkpoint()"
KERAS: Final = "open it with Keras, and save its weights with save_checkpoint()"
MINDIR: Final = "export() writes MindIR; load it with mindspore.load(), or use the .ckpt that save_checkpoint() writes"
EXPORTED: Final = "this is a converted model; use the .ckpt that it was made from"

STRATEGY: Final = Kind(
    "a MindSpore parallel-strategy file, which holds no parameters", "load the checkpoint that was saved beside it"
)
