"""Write a checkpoint as several safetensors files, with the names and the index of Hugging Face's libraries."""

from __future__ import annotations

import json
import re
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from ckptload.errors import ArgumentError, ArgumentTypeError, Hint
from ckptload.formats.safetensors.weight_map import ENDING
from ckptload.messages import shown_value, type_name
from ckptload.writing.atomic import Replacement
from ckptload.writing.output import write_file

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from ckptload.converting.jobs import Meter
    from ckptload.formats.item import Item

#: The file name that transformers and huggingface_hub look for in a folder.
STEM: Final = "model"

#: Hugging Face's loaders refuse some other values of ``format``, such as MindSpore's ``ms``.
_METADATA: Final = {"format": "pt"}

_UNITS: Final = {
    "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40,
}  # fmt: skip
_SIZE: Final = re.compile(r"\s*(\d{1,18}(?:\.\d{1,9})?)\s*([KMGT]I?B|B)\s*", re.ASCII | re.IGNORECASE)


def parse_size(value: object) -> int:
    """Parse a size in bytes: an int, or a str such as ``"5GB"`` (10^9) or ``"5GiB"`` (2^30).

    Raises:
        ArgumentTypeError: the value is neither.
        ArgumentError: the size is below 1, or the text is not a size.
    """
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ArgumentTypeError(f"max_shard_size must be an int or a str, not {type_name(value)}", hint=_HINT)
    size = value if isinstance(value, int) else _parsed(value)
    if size < 1:
        raise ArgumentError(f"the shard size must be 1 byte or more, not {shown_value(value)}", hint=_HINT)
    return size


def _parsed(text: str) -> int:
    found = _SIZE.fullmatch(text)
    if found is None:
        raise ArgumentError(f"{shown_value(text)} is not a valid shard size", hint=_HINT)
    return int(float(found[1]) * _UNITS[found[2].upper()])


_HINT: Final = Hint("for example {shard_size}'5GB'")


def split(items: Iterable[Item], limit: int) -> list[list[Item]]:
    """Distribute items to shards, in their order, exactly as huggingface_hub does.

    An item above the limit gets a shard of its own, and the current shard is filled further after it.

    Args:
        items: tensors to distribute.
        limit: largest shard, in bytes of tensor data.
    """
    shards: list[list[Item]] = []
    current: list[Item] = []
    room = limit
    for item in items:
        if item.nbytes > limit:
            shards.append([item])
            continue
        if item.nbytes > room:
            shards.append(current)
            current, room = [], limit
        current.append(item)
        room -= item.nbytes
    return [*shards, current] if current else shards


def write_shards(
    folder: Path,
    items: Sequence[Item],
    limit: int,
    metadata: dict[str, str],
    meter: Meter,
    finish: Callable[[], None],
    *,
    synced: bool,
    reveals: Sequence[os.stat_result],
) -> None:
    """Write shards and their index, or a single file without an index if everything fits into one.

    All files are complete before the first one is moved into place, and the index is moved last.

    Args:
        folder: folder for the files.
        items: tensors, in the order in which they fill the shards.
        limit: most bytes of tensor data in a shard with more than one tensor.
        metadata: texts for the metadata of the index, or of the single file.
        meter: copies the bytes and reports the progress.
        finish: called after everything is written and before the first file is moved into place.
        synced: see `Replacement`.
        reveals: see `Replacement`.
    """
    from ckptload.formats.safetensors.encoding import safetensors  # noqa: PLC0415 -- it imports the library

    shards = split(items, limit)
    if len(shards) <= 1:
        buffers = safetensors(items, metadata=_METADATA | metadata)
        path = str(folder / f"{STEM}.safetensors")
        write_file(path, buffers, synced=synced, reveals=reveals, advance=meter.advance, finish=finish)
        return
    files = [f"{STEM}-{number:05}-of-{len(shards):05}.safetensors" for number in range(1, len(shards) + 1)]
    index = {
        "metadata": {**metadata, "total_size": sum(item.nbytes for item in items)},
        "weight_map": {item.name: file for file, shard in zip(files, shards, strict=True) for item in shard},
    }
    # An ExitStack exits in reverse order, so the index, entered first, is moved into place last.
    with ExitStack() as stack:
        target = stack.enter_context(Replacement(str(folder / (STEM + ENDING)), synced=synced, reveals=reveals))
        target.write((json.dumps(index, indent=2, sort_keys=True) + "\n").encode())
        for name, shard in zip(files, shards, strict=True):
            target = stack.enter_context(Replacement(str(folder / name), synced=synced, reveals=reveals))
            meter.copy(safetensors(shard, metadata=_METADATA), target)
        finish()
