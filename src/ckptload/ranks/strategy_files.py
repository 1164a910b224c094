"""Reads strategy files: a `Strategy` of one file, of a merged one, or of a folder of them.

Sources: docs/format.md, "Strategy files"; MindSpore 2.10.0, parallel/_parallel_serialization.py,
_build_searched_strategy. A file is protobuf or JSON, which its first byte tells.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ckptload import shown
from ckptload.errors import (
    ArgumentError,
    ArgumentTypeError,
    CheckpointError,
    CorruptCheckpointError,
    EmptyCheckpointError,
    LimitError,
    ReadError,
    WrongFormatError,
    enough_memory,
)
from ckptload.filters import MAX_NAME
from ckptload.formats.ckpt import wire
from ckptload.formats.kinds.kind import INDEX, STRATEGY
from ckptload.formats.limits import MAX_RECORDS
from ckptload.formats.safetensors.parts import more_than
from ckptload.messages import counted, type_name
from ckptload.ranks import schema
from ckptload.ranks.layout import SliceLayout
from ckptload.ranks.layout_forms import of_json, of_message
from ckptload.ranks.layout_numbers import MAX_DEVICES
from ckptload.ranks.strategy import Strategy
from ckptload.reading.indexing import identified
from ckptload.sources.folders import below, contents, is_folder
from ckptload.sources.inputs import open_source

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ckptload.formats.kinds.kind import Kind
    from ckptload.sources.base import Source

#: Bytes of a strategy file, and of what it says about one parameter. Those of the largest known models have ten
#: million bytes, and about a hundred for each parameter.
MAX_FILE: Final = 100_000_000
MAX_ITEM: Final = 1 << 20
#: Values in a JSON file; each becomes an object.
MAX_VALUES: Final = 5_000_000
#: Files of a folder: one for each rank.
_MAX_FILES: Final = MAX_DEVICES

#: The stage and the dash before each name of a merged file.
_MERGED: Final = re.compile(r"([0-9]{1,7})-")
#: Stages that a message lists.
_SHOWN: Final = 8
_ENDINGS: Final = (".ckpt", ".json")
#: Bytes that tell whether a file is JSON, and what may stand before the rest.
_HEAD: Final = 256
_SPACE: Final = b" \t\r\n"
_JSON: Final = (b"{", b"\xef\xbb\xbf{")

_HINT: Final = "fetch the strategy file again, or save it again with the training"
_WHAT: Final = (
    "a strategy file is what the training writes as strategy_ckpt_config or strategy_ckpt_save_file says, often into a "
    "folder named 'strategy'"
)


class StrategyFile(NamedTuple):
    """What one file says.

    Attributes:
        stage: the stage of the pipeline that it is of; without meaning if it is merged.
        layouts: the layout of each name, as the file has it.
        label: what to call the file in a message.
    """

    stage: int
    layouts: dict[str, SliceLayout]
    label: str

    @property
    def is_merged(self) -> bool:
        """Whether all names begin with the number of a stage and a dash."""
        return all(_MERGED.match(name) for name in self.layouts)


def read_strategy(path: object) -> Strategy:
    """Read how a training has cut its parameters over its ranks.

    Args:
        path: a strategy file (.ckpt or .json, as a path, a URL, bytes or a binary file object), one that
            `merge_pipeline_strategys` wrote, or a folder with the files of all stages; files of one stage must say the
            same. A `Strategy` is returned as it is.

    Returns:
        The strategy. A single file that is not merged is that of the only stage.

    Raises:
        ArgumentTypeError: the argument is none of these.
        WrongFormatError: the file is of another kind, such as a checkpoint.
        CorruptCheckpointError: the file is damaged, or says what cannot be, or files contradict each other.
        EmptyCheckpointError: there is no layout, or no strategy file.
        LimitError: the file is larger than a strategy file can be.
        ReadError: the file cannot be read.
    """
    if isinstance(path, Strategy):
        return path
    if not isinstance(path, (bytes, bytearray, memoryview)) and not hasattr(path, "read"):
        if not isinstance(path, (str, os.PathLike)):
            raise ArgumentTypeError(f"a strategy is read from a path or a Strategy, not from {type_name(path)}")
        folder = os.fspath(path)
        if isinstance(folder, str) and is_folder(folder):
            return _of_folder(folder)
    return file_strategy(read_file(path))


def build_searched_strategy(strategy_filename: str) -> dict[str, SliceLayout]:
    """Return the layout of each name in a strategy file, in the order of the file.

    In a merged file names begin with the stage and a dash. Scripts read ``layout.dev_matrix[0].dim`` and the like of a
    layout, as of MindSpore's message (2.10.0, parallel/checkpoint_transform.py:942).

    Raises:
        ArgumentTypeError: the path is not a str.
        CheckpointError: as `read_strategy`.
    """
    if not isinstance(strategy_filename, str):
        raise ArgumentTypeError(f"strategy_filename must be a str, not {type_name(strategy_filename)}")
    return dict(read_file(strategy_filename).layouts)


def read_file(path: object) -> StrategyFile:
    """Read one strategy file as it is.

    Raises:
        CheckpointError: as `read_strategy`.
    """
    with closing(open_source(path)) as source, enough_memory("to read the strategy file", path=source.label):
        if not source.size:
            raise EmptyCheckpointError("the strategy file is empty", path=source.label, hint=_HINT)
        try:
            if source.size > MAX_FILE:
                raise LimitError(f"the file has {source.size} bytes, a strategy file at most {MAX_FILE}")
            data = bytes(source.read(0, source.size))
            found = (_json if data.lstrip(_SPACE).startswith(_JSON) else _protobuf)(data, source.label)
            if not found.layouts:
                raise EmptyCheckpointError("the strategy file has no layout of a parameter", hint=_WHAT)
        except CheckpointError as error:
            error.path = source.label
            kind = None if isinstance(error, ReadError) or error.name is not None else _other_kind(source)
            if kind is None:
                if error.offset is not None:
                    error.problem = f"the strategy file is damaged: {error.problem}"
                raise
            what = f"this is not a strategy file but {kind.what}"
            raise WrongFormatError(what, path=source.label, hint=_WHAT) from error
        return found


def _other_kind(source: Source) -> Kind | None:
    """Return what a file is by its bytes, or None if it may be a damaged strategy file."""
    kind = identified(source)
    is_json = bytes(source.read(0, min(source.size, _HEAD))).lstrip(_SPACE).startswith(_JSON)
    return None if kind == STRATEGY or (is_json and kind != INDEX) else kind


# -- several stages -------------------------------------------------------------------------------------------


def file_strategy(file: StrategyFile) -> Strategy:
    """Return the strategy that one file says: of all stages if it is merged, and else of the only one."""
    if not file.is_merged:
        return of_stages({0: file.layouts}, file.label)
    stages: dict[int, dict[str, SliceLayout]] = {}
    for name, layout in file.layouts.items():
        stage, _, own = name.partition("-")
        _add(stages.setdefault(int(stage), {}), own, layout, file.label)
    return of_stages(stages, file.label)


def _of_folder(folder: str) -> Strategy:
    merged: list[StrategyFile] = []
    found = stages_of(folder_paths(folder), merged)
    if not found and len(merged) == 1:
        return file_strategy(merged[0])
    if not found:
        what = f"{len(merged)} merged strategy files" if merged else "no strategy file (.ckpt or .json)"
        raise EmptyCheckpointError(f"the folder has {what}", path=folder, hint="name one" if merged else _WHAT)
    return of_stages({stage: file.layouts for stage, file in found.items()}, folder)


def stages_of(paths: Iterable[str], merged: list[StrategyFile] | None = None) -> dict[int, StrategyFile]:
    """Return the first file of each stage after comparing those of one stage. Equal bytes are read once.

    Args:
        paths: the files.
        merged: gets the files that are merged, which are no stage's.

    Raises:
        CorruptCheckpointError: two files of a stage contradict each other.
        CheckpointError: as `read_strategy`.
    """
    found: dict[int, StrategyFile] = {}
    seen = set()
    for path in paths:
        with closing(open_source(path)) as source:
            digest = _digest(source)
        if digest in seen:
            continue
        seen.add(digest)
        file = read_file(path)
        if not file.is_merged:
            _compare(found.setdefault(file.stage, file), file)
        elif merged is not None:
            merged.append(file)
    return found


def folder_paths(folder: str, endings: tuple[str, ...] = _ENDINGS) -> list[str]:
    """Return the paths of the files of a folder with some ends of names, in the natural order of their names.

    Raises:
        ReadError: the folder cannot be read.
        LimitError: it has more files than a training can have ranks.
    """
    names = [name for name, is_dir in contents(folder).items() if name.endswith(endings) and not is_dir]
    if len(names) > _MAX_FILES:
        raise LimitError(f"the folder has {len(names)} files, the most are {_MAX_FILES}", path=folder)
    return [below(folder, name) for name in sorted(names, key=_natural)]


def _natural(name: str) -> list[tuple[bool, int, str]]:
    # The length of a number of any size, and then its digits, compare as the number does.
    parts = re.split(r"([0-9]+)", name)
    return [
        (at % 2 == 0, len(part.lstrip("0")) if at % 2 else 0, part.lstrip("0") if at % 2 else part)
        for at, part in enumerate(parts)
    ]


def _digest(source: Source) -> bytes:
    """Return what tells a file from others, without reading files that are too large for a strategy."""
    if source.size > MAX_FILE:
        return source.label.encode("utf-8", "surrogateescape")
    return hashlib.sha256(source.read(0, source.size)).digest()


def _compare(one: StrategyFile, other: StrategyFile) -> None:
    """Compare two files of one stage by what a tensor's place depends on.

    Raises:
        CorruptCheckpointError: they contradict each other.
    """
    differing = sorted(
        (one.layouts.keys() ^ other.layouts.keys())
        | {name for name, layout in one.layouts.items() if other.layouts.get(name, layout) != layout}
    )
    if differing:
        raise CorruptCheckpointError(
            f"two files of stage {one.stage} contradict each other: {shown.place(one.label)} and "
            f"{shown.place(other.label)} have other layouts for {counted(len(differing), 'name')}",
            name=differing[0],
            path=other.label,
            hint="keep the strategy files of one training in the folder, and no others",
        )


def of_stages(stages: Mapping[int, dict[str, SliceLayout]], label: str) -> Strategy:
    """Return the strategy of some stages after checking that they are 0 to n - 1.

    Raises:
        CorruptCheckpointError: a stage is missing, or layouts of a stage do not fit each other.
    """
    missing = [str(stage) for stage in range(min(max(stages), MAX_DEVICES)) if stage not in stages]
    if missing:
        raise CorruptCheckpointError(
            f"there is no strategy for stage {', '.join(missing[:_SHOWN])}"
            f"{' and others' * (len(missing) > _SHOWN)}, but for stage {max(stages)}",
            path=label,
            hint="put the strategy files of all stages into one folder, and give that",
        )
    try:
        return Strategy([stages[stage] for stage in sorted(stages)], path=label)
    except ArgumentError as error:
        raise CorruptCheckpointError(error.problem, name=error.name, path=label, hint=error.advice) from None


# -- one file -------------------------------------------------------------------------------------------------


def _protobuf(data: bytes, label: str) -> StrategyFile:
    """Read a file of protobuf, one item at a time, so that memory grows with nothing but the layouts."""
    from google.protobuf.message import DecodeError  # noqa: PLC0415

    stage: int | None = None
    layouts: dict[str, SliceLayout] = {}
    known: dict[SliceLayout, SliceLayout] = {}
    for number, item in items(data):
        if number == schema.STRATEGY_ITEM and stage is not None:
            continue
        try:
            if number == schema.STRATEGY_ITEM:
                stage = schema.message_class("ParallelStrategyItem").FromString(item).parallel_strategys.stage
                continue
            message = schema.message_class("ParallelLayoutItem").FromString(item)
            name = message.param_name
        except (DecodeError, UnicodeDecodeError):
            name = None
        if not isinstance(name, str):  # some versions of protobuf return what is no text as bytes
            raise CorruptCheckpointError("what the file says about a parameter is damaged", hint=_HINT)
        layout = _layout(name, label, of_message(message.parallel_layouts))
        _add(layouts, name, known.setdefault(layout, layout), label)
    return StrategyFile(stage or 0, layouts, label)


def items(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the operators and the layouts of a file, as bytes.

    Raises:
        CorruptCheckpointError: the bytes are no protobuf message, or not that of a strategy file.
    """
    at = 0
    while at < len(data):
        number, kind, after = wire.tag(data, at, len(data))
        if kind == wire.VARINT:
            _, stop = wire.varint(data, after, len(data))
        elif kind == wire.LEN:
            size, after = wire.length(data, after, len(data))
            stop = wire.take(after, size, len(data), "a field")
        elif kind in wire.FIXED_SIZES:
            stop = wire.take(after, wire.FIXED_SIZES[kind], len(data), "a field")
        else:
            raise CorruptCheckpointError("the file has a group of fields", offset=at, hint=_HINT)
        if number in (schema.STRATEGY_ITEM, schema.LAYOUT_ITEM):
            if kind != wire.LEN:
                raise CorruptCheckpointError("the file is no strategy file, or damaged", offset=at, hint=_HINT)
            if stop - after > MAX_ITEM:
                raise LimitError(f"what the file says about one name has {stop - after} bytes", offset=at, hint=_HINT)
            yield number, data[after:stop]
        at = stop


def _json(data: bytes, label: str) -> StrategyFile:
    if more_than(MAX_VALUES, data):
        raise LimitError(f"the file has more than {MAX_VALUES} values", hint=_HINT)
    try:
        told = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise CorruptCheckpointError(f"the file is not valid JSON: {shown.foreign(error)}", hint=_HINT) from None
    operators = _mapping(told, "parallel_strategy_item")
    first = next(iter(operators.values()), None)
    stage = first.get("stage", 0) if isinstance(first, Mapping) else 0
    if not isinstance(stage, int) or not 0 <= stage < MAX_DEVICES:
        raise CorruptCheckpointError("the stage of the file is not a number, or too large", hint=_HINT)
    layouts: dict[str, SliceLayout] = {}
    known: dict[SliceLayout, SliceLayout] = {}
    for name, item in _mapping(told, "parallel_layout_item").items():
        if not isinstance(item, Mapping):
            raise CorruptCheckpointError(f"the layout is {type_name(item)}", name=name, hint=_HINT)
        layout = _layout(name, label, of_json(item))
        _add(layouts, name, known.setdefault(layout, layout), label)
    return StrategyFile(int(stage), layouts, label)


def _mapping(told: object, key: str) -> Mapping[str, Any]:
    found = told.get(key) if isinstance(told, Mapping) else None
    if found is not None and not isinstance(found, Mapping):
        raise CorruptCheckpointError(f"{key} in the file is {type_name(found)}", hint=_HINT)
    return found or {}


def _layout(name: str, label: str, told: dict[str, Any]) -> SliceLayout:
    """Return the layout of a parameter.

    Raises:
        LimitError: the name is too long.
        CorruptCheckpointError: the numbers cannot be a layout.
    """
    if len(name) > MAX_NAME + len("9999999-"):
        raise LimitError(f"a name has {len(name)} characters, the most are {MAX_NAME}", path=label, hint=_HINT)
    try:
        return SliceLayout(**told)
    except CheckpointError as error:
        raise CorruptCheckpointError(error.problem, name=name, path=label, hint=_HINT) from None


def _add(layouts: dict[str, SliceLayout], name: str, layout: SliceLayout, label: str) -> None:
    """Note a layout.

    Raises:
        CorruptCheckpointError: the name has another one.
        LimitError: there are too many.
    """
    if layouts.setdefault(name, layout) != layout:
        raise CorruptCheckpointError("the file has two layouts for it", name=name, path=label, hint=_HINT)
    if len(layouts) > MAX_RECORDS:
        raise LimitError(f"the file has more than {MAX_RECORDS} layouts", path=label, hint=_HINT)
