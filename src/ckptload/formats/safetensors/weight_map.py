"""The index of a checkpoint in several files: a JSON that names the file of each tensor. It is known by its content.

Hugging Face calls it ``model.safetensors.index.json``, with variants such as ``fp16`` anywhere in the name, and
MindSpore's unified checkpoints have ``param_name_map.json`` (2.10.0, parallel/transform_safetensors.py:1187).
"""

from __future__ import annotations

import codecs
import json
import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ckptload import shown
from ckptload.errors import CorruptCheckpointError, WrongFormatError
from ckptload.formats.entry import SAFETENSORS
from ckptload.formats.limits import MAX_RECORDS, beyond
from ckptload.formats.safetensors import parts

if TYPE_CHECKING:
    from ckptload.sources.base import Source

#: The end of an index's name, in the first place. A file of this name must be an index.
ENDING: Final = ".safetensors.index.json"
#: Bytes of an index. That of a model of a million tensors is shorter.
MAX_INDEX: Final = 100_000_000
#: Hints about an index whose files do not fit it, and about one that does not lead to its files.
AGAIN: Final = "fetch the whole folder again; an index names files beside it and nothing else"
DOWNLOAD: Final = "download the index and the shards, or open a single shard"

#: Key of the metadata of an index and of its shards for the ID of the set. ckptload writes one, 16 random hexadecimal
#: digits; with it, shards of two sets cannot be taken for one set.
SET: Final = "ckptload.set"
#: JSON values that an index may have for each tensor that is allowed, and as many are allowed anyway.
_VALUES: Final = 4
_LEAST: Final = 100_000

_KEY: Final = "weight_map"
#: How a JSON object begins, after the mark that some editors put before a text in UTF-8.
_START: Final = re.compile(rb"(?:\xef\xbb\xbf)?[ \t\r\n]*\{[ \t\r\n]*[\"}]")
#: Bytes that are compared with it. Indentation is shorter.
_PROBE: Final = 64
#: What other indexes name, by the ends of the files' names, and what to do with it.
_OTHERS: Final = {
    (".bin", ".pt", ".pth"): ("PyTorch", "load its files with torch.load(weights_only=True), or use safetensors files"),
    (".ckpt",): (".ckpt", "open its .ckpt files one at a time"),
    (".h5",): ("Keras", "open its files with Keras or h5py, or use safetensors files"),
    (".msgpack",): ("Flax", "open its files with Flax, or use safetensors files"),
}


class WeightMap(NamedTuple):
    """What an index says.

    Attributes:
        files: the name of the file of each tensor. They are not trusted.
        metadata: texts about the checkpoint.
        total_size: size of all tensors together, in bytes; None if the index does not say it.
    """

    files: dict[str, str]
    metadata: dict[str, str]
    total_size: int | None


def find(source: Source, max_records: int = MAX_RECORDS) -> WeightMap | None:
    """Return what an index says, or None if the file is not an index.

    Raises:
        CorruptCheckpointError: it has a ``weight_map``, or the name of an index, and is not valid.
        WrongFormatError: it is an index of files of another kind.
        LimitError: it has more than `max_records` tensors.
    """
    named = source.label.endswith(ENDING)
    if named and source.size > MAX_INDEX:
        raise _no_index(source, f"{source.size} bytes are too many")
    if not named and (source.size > MAX_INDEX or not _may_be_json(source)):
        return None
    text = bytes(source.read(0, source.size))
    meant = named or f'"{_KEY}"'.encode() in text
    if not meant and f'.{SAFETENSORS}"'.encode() not in text:
        return None
    if _is_too_much(source, text, max_records, meant=meant):
        return None
    try:
        index = json.loads(text.removeprefix(codecs.BOM_UTF8).decode())
        metadata = _metadata(index)
        words = {key: value if isinstance(value, str) else json.dumps(value) for key, value in metadata.items()}
    except (ValueError, RecursionError) as error:
        if meant:
            raise _no_index(source, shown.foreign(error)) from shown.cause(error)
        return None
    files = _files(source, index)
    if files is None:
        if named:
            raise _no_index(source, f"it has no {_KEY} from names to files")
        return None
    if len(files) > max_records:
        raise beyond(f"{max_records} tensors", max_records, source.label)
    _check_kind(source, files)
    return WeightMap(files, words, _total(metadata.get("total_size")))


def _is_too_much(source: Source, text: bytes, max_records: int, *, meant: bool) -> bool:
    """Tell whether a JSON has so many values that it would take too much memory; that of an index is an error."""
    most = max(_VALUES * max_records, _LEAST)
    is_more = parts.more_than(most, text)
    if is_more and meant:
        raise beyond(f"{most} values", max_records, source.label)
    return is_more


def _may_be_json(source: Source) -> bool:
    """Tell from the first bytes. Those of a safetensors file may look alike, but have zeros."""
    head = bytes(source.read(0, min(_PROBE, source.size)))
    return _START.match(head) is not None and b"\0" not in head


def _files(source: Source, index: Any) -> dict[str, str] | None:
    """Return the part of a JSON that names the files, or None.

    Before MindSpore wrote a ``weight_map``, the whole JSON was one; it still reads those (2.10.0,
    parallel/transform_safetensors.py:1533).

    Raises:
        CorruptCheckpointError: the ``weight_map`` does not name files.
    """
    if not isinstance(index, dict):
        return None
    files = index.get(_KEY, index)
    are_names = isinstance(files, dict) and all(isinstance(file, str) for file in files.values())
    if _KEY in index:
        if not are_names:
            raise _no_index(source, f"its {_KEY} is not from names to files")
        return dict(files)
    return index if index and are_names and all(file.endswith("." + SAFETENSORS) for file in index.values()) else None


def _metadata(index: Any) -> dict[str, Any]:
    found = index.get("metadata") if isinstance(index, dict) and _KEY in index else None
    return found if isinstance(found, dict) else {}


def _total(value: object) -> int | None:
    """Return a size; some writers make a float of it."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _check_kind(source: Source, files: dict[str, str]) -> None:
    """Raise WrongFormatError if all files are of another kind, by their names."""
    suffixes = {PurePosixPath(file).suffix.lower() for file in files.values()}
    for endings, (kind, hint) in _OTHERS.items():
        if suffixes and suffixes <= set(endings):
            example = next(iter(files.values()))[:100]
            raise WrongFormatError(
                f"this is an index of {kind} files, such as {example!r}, not of safetensors files",
                path=source.label,
                hint=hint,
            )


def _no_index(source: Source, reason: str) -> CorruptCheckpointError:
    return CorruptCheckpointError(f"this is not an index of shards: {reason}", path=source.label, hint=AGAIN)
