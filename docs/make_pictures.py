"""Make the pictures of the README and of docs/cli.md anew: ``python docs/make_pictures.py``.

It needs the extras ``cli`` and ``test``, a POSIX system, and Chromium for the picture of the page.
"""

from __future__ import annotations

import io
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import ckptload
from ckptload.__main__ import main

DOCS = Path(__file__).parent
PICTURES = DOCS / "pictures"
sys.path.insert(0, str(DOCS.parent / "tests"))

import browser  # noqa: E402 -- lies beside the tests
import cli_program  # noqa: E402


def network(epoch: int) -> dict[str, Any]:
    """Return the parameters of a small encoder; later epochs have moved, and the last one has a NaN."""
    start, step = np.random.default_rng(1), np.random.default_rng(epoch)
    values: dict[str, Any] = {}

    def add(name: str, *shape: int, scale: float = 0.02) -> None:
        moved = start.normal(0, scale, shape) + (epoch - 1) * step.normal(0, scale / 30, shape)
        values[name] = moved.astype(np.float32)

    values["backbone.embedding.embedding_table"] = start.normal(0, 0.02, (6000, 256)).astype(np.float16)
    for layer in range(4):
        at = f"backbone.encoder.{layer}"
        for part in ("query", "key", "value", "output"):
            add(f"{at}.attention.{part}.weight", 256, 256)
            values[f"{at}.attention.{part}.bias"] = np.zeros(256, np.float32)
        add(f"{at}.mlp.up.weight", 1024, 256)
        add(f"{at}.mlp.down.weight", 256, 1024)
        values[f"{at}.norm.gamma"] = np.ones(256, np.float32)
        add(f"{at}.norm.beta", 256)
    add("head.weight", 1000, 256, scale=0.05)
    add("head.bias", 1000)
    values["epoch_num"] = np.array(epoch, np.int64)
    values["note"] = "fine-tuned"
    if epoch > 1:
        values["head.weight"][3, 7] = np.nan
    return values


def terminal(path: Path, *arguments: str, title: str, columns: int = 108) -> None:
    """Draw what a command shows on a terminal."""
    from rich.console import Console  # noqa: PLC0415 -- only this picture needs it
    from rich.text import Text  # noqa: PLC0415

    shown = cli_program.on_terminal(*arguments, columns=columns, LC_ALL="C.UTF-8").out
    console = Console(record=True, width=columns, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(shown.rstrip("\n")))
    drawn = console.export_svg(title=title)
    # No font from anywhere: whoever looks at the picture has a monospaced one.
    drawn = re.sub(r"@font-face\s*{.*?}", "", drawn, flags=re.DOTALL).replace("Fira Code, ", "")
    path.write_text("\n".join(line.rstrip() for line in drawn.splitlines()) + "\n", "utf-8")


def page(path: Path, *arguments: str) -> None:
    """Take a picture of a report."""
    with tempfile.TemporaryDirectory() as folder, browser.Page(1400, 860) as shown:
        report = Path(folder) / "page.html"
        main(["report", "-q", *arguments, "-o", str(report)])
        shown.open(report)
        shown.run("document.querySelectorAll('.row')[1].click()")
        shown.picture(path)


def make() -> None:
    """Make all pictures."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for epoch in (1, 9):
            ckptload.save_checkpoint(network(epoch), f"epoch_{epoch}.ckpt", crc_check=True)
        terminal(
            PICTURES / "inspect.svg",
            *("inspect", "--tree", "--depth", "4", "--sort", "size", "epoch_9.ckpt"),
            title="ckptload inspect --tree --depth 4 --sort size epoch_9.ckpt",
        )
        page(PICTURES / "report.png", "epoch_9.ckpt", "--against", "epoch_1.ckpt")


if __name__ == "__main__":
    make()
