"""Checkpoints that come with the package, so that examples can be typed anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ckptload.errors import ArgumentError
from ckptload.messages import shown_value

_NAMES: Final = ("lenet5", "adam")


def sample(name: str = "lenet5") -> str:
    """Return the path of a small checkpoint that comes with the package.

    Both were written by MindSpore 2.10; they are not encrypted and have no CRC-32. Copy a file before you change it.

    Args:
        name: ``"lenet5"`` for the weights of LeNet5: eight Float32 tensors, 241 KiB. ``"adam"`` for a small net with
            the state of its optimizer: 29 entries, 3 KiB.

    Raises:
        ArgumentError: there is no such sample.
    """
    if name not in _NAMES:
        raise ArgumentError(f"there is no sample {shown_value(name)}", hint=f"the samples are {', '.join(_NAMES)}")
    return str(Path(__file__).with_name(f"{name}.ckpt"))
