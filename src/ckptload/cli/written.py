"""The line about what was written, of the same form in every command that writes checkpoints."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ckptload.cli import text
from ckptload.cli.files import INDEX
from ckptload.cli.standard import OUTPUT, WORD
from ckptload.shown import place

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ckptload.cli.terminal import Terminal


def named(target: str, written: Sequence[str]) -> list[str]:
    """Return the files of a conversion under the name that the user gave: OUT, or files in the folder OUT.

    Args:
        target: OUT.
        written: the paths of the files.
    """
    if target == WORD:
        return [OUTPUT]
    if len(written) == 1 and not os.path.isdir(target):  # noqa: PTH112 -- paths are strings here
        return [target]
    folder = os.path.dirname(target) if target.endswith(INDEX) else target  # noqa: PTH120
    return [os.path.join(folder, os.path.basename(path)) for path in written]  # noqa: PTH118, PTH119


def line(paths: Sequence[str], entries: int, nbytes: int, terminal: Terminal, *, dry_run: bool, there: int = 0) -> str:
    """Return the line.

    Args:
        paths: of the files, as the user knows them.
        entries: number of entries in all of them.
        nbytes: bytes of their values.
        terminal: where it is shown.
        dry_run: whether nothing was written.
        there: number of other files that were left as they are.
    """
    indexes = sum(path.endswith(INDEX) for path in paths)
    files = sorted(path for path in paths if not path.endswith(INDEX)) or list(paths)
    facts = [
        text.counted(entries, "entry", "entries"),
        f"{text.bytes_in_units(nbytes)} {'would be written' if dry_run else 'written'}",
    ]
    if there:
        facts.append(f"{text.counted(there, 'is', 'are')} there already")
    if not files:
        return f"nothing is left to write: {text.counted(there, 'file is', 'files are')} there already"
    first = terminal.show(place(files[0]))
    if len(paths) == 1:
        return f"{first}: {', '.join(facts)}"
    count = text.counted(len(files), "file", "files") + (" and the index" if indexes else "")
    return f"{first} ... {', '.join([count, *facts])}"
