"""Writing a checkpoint in several safetensors files, named and indexed as Hugging Face's libraries do it."""

from __future__ import annotations

import json
import re
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from ckptload.errors import ArgumentError, ArgumentTypeError, Hint
from ckptload.formats.safetensors.shards import ENDING
from ckptload.writing.atomic import Replacement
from ckptload.writing.output import write_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from ckptload.converting.jobs import Meter
    from ckptload.formats.item import Item

#: What transformers and huggingface_hub look for in a folder.
STEM: Final = "model"

#: Hugging Face's loaders refuse a file of another ``format``, among them MindSpore's ``ms``.
_METADATA: Final = {"format": "pt"}

_UNITS: Final = {
    "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40,
}  # fmt: skip
_SIZE: Final = re.compile(r"\s*(\d{1,18}(?:\.\d{1,9})?)\s*([KMGT]I?B|B)\s*", re.ASCII | re.IGNORECASE)


def parse_size(value: object) -> int:
    """Return a size in bytes: of an int, or of a str such as ``"5GB"`` (10^9) or ``"5GiB"`` (2^30).

    Raises:
        ArgumentTypeError: it is neither.
        ArgumentError: it is not positive, or the text is not a size.
    """
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ArgumentTypeError(f"max_shard_size must be an int or a str, not {type(value).__name__}", hint=_HINT)
    size = value if isinstance(value, int) else _parsed(value)
    if size < 1:
        raise ArgumentError(f"a shard must have a size of 1 byte or more, not {value!r}", hint=_HINT)
    return size


def _parsed(text: str) -> int:
    found = _SIZE.fullmatch(text)
    if found is None:
        raise ArgumentError(f"{text!r} is not a valid size of a shard", hint=_HINT)
    return int(float(found[1]) * _UNITS[found[2].upper()])


_HINT: Final = Hint("for example {shard_size}'5GB'")


def split(items: Iterable[Item], limit: int) -> list[list[Item]]:
    """Fill shards with items in their order, exactly as huggingface_hub does.

    One that is larger than the limit gets a shard of its own, and the shard before it is filled further.
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
) -> None:
    """Write shards and their index; or, where everything fits into one, a single file without an index.

    All files are complete before the first of them takes its place, and the index takes its place last.

    Args:
        folder: where to.
        items: tensors, in the order in which they fill the shards.
        limit: most bytes of content in a shard that holds more than one tensor.
        metadata: text for the index, or for the file if there is one only.
        meter: copies content, and counts it.
        finish: called when everything is written and nothing has taken its place.
        synced: see `Replacement`.
    """
    from ckptload.formats.safetensors.encoding import safetensors  # noqa: PLC0415 -- it imports the library

    shards = split(items, limit)
    if len(shards) <= 1:
        buffers = safetensors(items, metadata=_METADATA | metadata)
        path = str(folder / f"{STEM}.safetensors")
        write_file(path, buffers, synced=synced, advance=meter.advance, finish=finish)
        return
    files = [f"{STEM}-{number:05}-of-{len(shards):05}.safetensors" for number in range(1, len(shards) + 1)]
    index = {
        "metadata": {**metadata, "total_size": sum(item.nbytes for item in items)},
        "weight_map": {item.name: file for file, shard in zip(files, shards, strict=True) for item in shard},
    }
    # What is entered first leaves last.
    with ExitStack() as stack:
        target = stack.enter_context(Replacement(str(folder / (STEM + ENDING)), synced=synced))
        target.write((json.dumps(index, indent=2, sort_keys=True) + "\n").encode())
        for name, shard in zip(files, shards, strict=True):
            target = stack.enter_context(Replacement(str(folder / name), synced=synced))
            meter.copy(safetensors(shard, metadata=_METADATA), target)
        finish()
