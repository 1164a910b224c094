"""Write a checkpoint as several safetensors files, with the names and the index of Hugging Face's libraries."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from ckptload.errors import ArgumentError, ArgumentTypeError, Hint
from ckptload.formats.safetensors.weight_map import SET
from ckptload.messages import shown_value, type_name
from ckptload.writing.atomic import Replacement
from ckptload.writing.shard_names import plain_names

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from ckptload.converting.jobs import Meter
    from ckptload.formats.item import Item
    from ckptload.writing.together import Together

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
    """Distribute items to shards, in their order, exactly as huggingface_hub does; there is always one.

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
    return [*shards, current] if current or not shards else shards


class Shard(NamedTuple):
    """One file of a set.

    Attributes:
        target: where it shall be.
        staged: the temporary path that it is written to.
        items: its tensors.
        metadata: texts for its metadata.
    """

    target: Path
    staged: Path
    items: Sequence[Item]
    metadata: dict[str, str]

    def write(self, meter: Meter, *, synced: bool, reveals: Sequence[os.stat_result]) -> None:
        """Write the file under its temporary path; see `Replacement`."""
        from ckptload.formats.safetensors.encoding import safetensors  # noqa: PLC0415 -- it imports the library

        with Replacement(str(self.target), synced=synced, reveals=reveals, staged=self.staged) as file:
            meter.copy(safetensors(self.items, metadata=self.metadata), file)


def write_shards(
    folder: Path,
    shards: Sequence[Sequence[Item]],
    metadata: dict[str, str],
    write: Callable[[Sequence[Shard]], object],
    finish: Callable[[], None],
    together: Together,
    *,
    keeps_index: bool,
    reveals: Sequence[os.stat_result],
    spared: Sequence[str],
) -> None:
    """Write complete shards, which get their names with the other files of `together`.

    Args:
        folder: folder for the files.
        shards: the tensors of each shard.
        metadata: texts for the metadata of the index; if there is a single shard, also for that of the shard.
        write: writes the files under their temporary paths.
        finish: called after everything is written.
        together: files that appear together.
        keeps_index: whether to write an index; a single shard needs none.
        reveals: see `Replacement`.
        spared: names of files of an old set that are not removed.
    """
    # Without an index nothing needs to tell one set from another, and equal entries give equal files.
    which = {SET: together.id} if keeps_index else {}
    names = plain_names(len(shards))
    texts = _METADATA | (metadata if len(shards) == 1 else {}) | which
    files = [
        Shard(folder / name, together.stage(folder / name), shard, texts)
        for name, shard in zip(names, shards, strict=True)
    ]
    write(files)
    finish()

    def index(given: Mapping[str, str]) -> bytes:
        total = sum(item.nbytes for shard in shards for item in shard)
        found = {
            "metadata": {**metadata, **which, "total_size": total},
            "weight_map": {item.name: given[name] for name, shard in zip(names, shards, strict=True) for item in shard},
        }
        return (json.dumps(found, indent=2, sort_keys=True) + "\n").encode()

    staged = [file.staged for file in files]
    together.add_set(folder, staged, index, keeps_index=keeps_index, reveals=reveals, spared=spared)
