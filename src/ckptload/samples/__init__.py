"""Checkpoints that come with the package, so that examples can be typed anywhere."""

from __future__ import annotations

from pathlib import Path

from ckptload.errors import ArgumentError
from ckptload.messages import shown_value


def sample(name: str = "lenet5.ckpt") -> str:
    """Return the path of a small file that comes with the package.

    MindSpore 2.10 wrote them; the checkpoints are not encrypted and have no CRC-32. Copy a file before you change it.

    Args:
        name: ``"lenet5.ckpt"``, the weights of LeNet5: eight Float32 tensors, 241 KiB. ``"adam.ckpt"``, a small net
            with the state of its optimizer: 29 entries, 3 KiB. ``"lenet5.npz"``, an input of LeNet5 and its output.
            ``"residual.ckpt"``, ``"pooled.ckpt"`` and ``"pooled.npz"`` are the files of docs/pytorch.md.

    Raises:
        ArgumentError: there is no such file.
    """
    folder = Path(__file__).parent
    names = sorted(path.name for path in folder.iterdir() if path.suffix in {".ckpt", ".npz"})
    if name not in names:
        raise ArgumentError(f"there is no sample {shown_value(name)}", hint=f"the samples are {', '.join(names)}")
    return str(folder / name)
