"""Writes strategy files: those of several stages as one, and a `Strategy` that was made by hand.

MindSpore reads what is written here: each file has an operator of every stage, and each layout all fields
(docs/format.md, "Strategy files").
"""

from __future__ import annotations

import json
import os
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ckptload.errors import ArgumentError, ArgumentTypeError, EmptyCheckpointError
from ckptload.messages import type_name
from ckptload.ranks import schema, strategy_files
from ckptload.ranks.strategy import Strategy
from ckptload.sources.inputs import open_source
from ckptload.writing.output import write_file
from ckptload.writing.targets import failure, place

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ckptload.ranks.layout import SliceLayout

_CKPT, _JSON = ".ckpt", ".json"
#: The name of the only operator of a stage, which stands for all.
_OPERATOR: Final = "ckptload"
#: A number of what MindSpore calls the current stage of a merged file, which is not the stage.
_MERGED: Final = 1


def merge_pipeline_strategys(src_strategy_dirs: str, dst_strategy_file: str) -> None:
    """Write one strategy file for those of all stages of a pipeline in a folder.

    Names get the number of their stage and a dash in front. The first file of each stage counts, and the others must
    say the same. Files that are merged already are left out, the target among them if it is in the folder
    (MindSpore 2.10.0, parallel/checkpoint_transform.py:51).

    Args:
        src_strategy_dirs: a folder with .ckpt files or with .json files.
        dst_strategy_file: the file to write, in the format of those; its folder is made if there is none.

    Raises:
        ArgumentTypeError: a path is not a str.
        ArgumentError: the folder has files of both formats.
        CorruptCheckpointError: a stage is missing, files contradict each other, or one is damaged.
        EmptyCheckpointError: the folder has no strategy file, or only merged ones.
        ReadError: a file cannot be read.
        WriteError: the file cannot be written.
    """
    for name, value in (("src_strategy_dirs", src_strategy_dirs), ("dst_strategy_file", dst_strategy_file)):
        if not isinstance(value, str):
            raise ArgumentTypeError(f"{name} must be a str, not {type_name(value)}")
    target = place(dst_strategy_file)
    try:
        Path(target).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise failure(error, target) from error
    paths = [path for path in strategy_files.folder_paths(src_strategy_dirs) if os.path.realpath(path) != target]
    if len({path.endswith(_JSON) for path in paths}) > 1:
        raise ArgumentError(
            "the folder has .ckpt files and .json files", path=src_strategy_dirs, hint="keep one of the formats there"
        )
    stages = strategy_files.stages_of(paths)
    if not stages:
        raise EmptyCheckpointError("the folder has no strategy file of one stage", path=src_strategy_dirs)
    strategy_files.of_stages({stage: file.layouts for stage, file in stages.items()}, src_strategy_dirs)
    sources = {stage: stages[stage].label for stage in sorted(stages)}
    merged = _merged_json(sources) if paths[0].endswith(_JSON) else _merged_protobuf(sources)
    _write(target, merged, sources.values())


def save_strategy(strategy: Strategy, path: str | os.PathLike[str]) -> None:
    """Write a strategy to a file that MindSpore and ckptload read.

    A strategy of several stages becomes a merged file.

    Args:
        strategy: the strategy.
        path: the file to write; its name ends in .ckpt or .json.

    Raises:
        ArgumentTypeError: the arguments are of other types.
        ArgumentError: the name has another end, or the format cannot say how a tensor is cut: JSON has no word for an
            axis that several device axes split unless the strategy was read from JSON, and .ckpt none for the
            shapes in JSON.
        WriteError: the file cannot be written.
    """
    if not isinstance(strategy, Strategy):
        raise ArgumentTypeError(f"strategy must be a Strategy, not {type_name(strategy)}")
    if not isinstance(path, (str, os.PathLike)):
        raise ArgumentTypeError(f"path must be a path, not {type_name(path)}")
    target = os.fspath(path)
    if not target.endswith((_CKPT, _JSON)):
        raise ArgumentError("the name of a strategy file ends in .ckpt or .json", path=target)
    named = _named(strategy)
    stages = range(strategy.stages)
    found = _as_json(named, stages) if target.endswith(_JSON) else _as_protobuf(named, stages)
    _write(place(target), found, ())


def _write(target: str, data: bytes, sources: Iterable[str]) -> None:
    # The new file is no more readable than those whose content it shows.
    write_file(target, [data], reveals=[os.stat(path) for path in sources])  # noqa: PTH116 -- paths are strings here


# -- files of several stages ----------------------------------------------------------------------------------


def _merged_protobuf(sources: Mapping[int, str]) -> bytes:
    """Return the merged file of one file for each stage, written item by item."""
    operators, layouts = [], []
    for stage, path in sources.items():
        for number, item in strategy_files.items(_read(path)):
            if number == schema.STRATEGY_ITEM:
                operators.append(_field(number, item))
                continue
            message = schema.message_class("ParallelLayoutItem").FromString(item)
            message.param_name = f"{stage}-{message.param_name}"
            _complete(message.parallel_layouts)
            layouts.append(_field(number, message.SerializeToString()))
    return b"".join([_head(), *operators, *layouts])


def _merged_json(sources: Mapping[int, str]) -> bytes:
    merged: dict[str, Any] = {"current_stage": _MERGED, "parallel_strategy_item": {}, "parallel_layout_item": {}}
    for stage, path in sources.items():
        told = json.loads(_read(path).decode("utf-8-sig"))
        merged["parallel_strategy_item"].update(told.get("parallel_strategy_item") or {})
        layouts = told["parallel_layout_item"]
        merged["parallel_layout_item"].update({f"{stage}-{name}": item for name, item in layouts.items()})
    return json.dumps(merged).encode()


def _read(path: str) -> bytes:
    with closing(open_source(path)) as source:
        return bytes(source.read(0, source.size))


# -- a strategy -----------------------------------------------------------------------------------------------


def _named(strategy: Strategy) -> dict[str, SliceLayout]:
    """Return the layouts by the names in the file: with the stage if there are several, or if all names look so."""
    stages = [strategy.layouts(stage) for stage in range(strategy.stages)]
    if len(stages) == 1 and not strategy_files.StrategyFile(0, dict(stages[0]), "").is_merged:
        return dict(stages[0])
    return {f"{stage}-{name}": layout for stage, layouts in enumerate(stages) for name, layout in layouts.items()}


def _as_protobuf(named: Mapping[str, SliceLayout], stages: Sequence[int]) -> bytes:
    parts = [_head()]
    for stage in stages:
        operator = schema.message_class("ParallelStrategyItem")(node_name=_OPERATOR)
        operator.parallel_strategys.stage = stage
        parts.append(_field(schema.STRATEGY_ITEM, operator.SerializeToString()))
    for name, layout in named.items():
        if _may_be_joined(layout):
            raise ArgumentError(
                "JSON gives this tensor by more axes than it may have, which .ckpt cannot say",
                name=name,
                hint="let the name of the file end in .json",
            )
        item = schema.message_class("ParallelLayoutItem")(param_name=name)
        _fill(item.parallel_layouts, layout)
        parts.append(_field(schema.LAYOUT_ITEM, item.SerializeToString()))
    return b"".join(parts)


def _fill(message: Any, layout: SliceLayout) -> None:
    """Put a layout into a message ParallelLayouts."""
    message.dev_matrix.add(dim=layout.device_matrix)
    if all(len(entry) < 2 for entry in layout.tensor_map):  # noqa: PLR2004 -- one device axis or none
        message.tensor_map.add(dim=_flat(layout))
    else:
        for entry in layout.tensor_map:
            message.tensor_map.add(dim=entry or (-1,))
        if len(layout.tensor_map) == 1:
            # One entry alone would be that of all axes.
            message.tensor_map.add()
    message.param_split_shape.add(dim=layout.split)
    message.indices_offset.add(dim=layout.indices_offset[0].dim)
    message.field = layout.field
    message.opt_weight_shard_size, message.opt_weight_shard_step = layout.shard, layout.opt_weight_shard_step


def _as_json(named: Mapping[str, SliceLayout], stages: Sequence[int]) -> bytes:
    items = {}
    for name, layout in named.items():
        if any(len(entry) > 1 for entry in layout.tensor_map):
            raise ArgumentError(
                "several device axes split an axis of this tensor, which JSON cannot say without its shape",
                name=name,
                hint="let the name of the file end in .ckpt",
            )
        items[name] = {
            "dev_matrix": layout.device_matrix,
            "tensor_map": _flat(layout),
            "tensor_shape": layout.expanded,
            "field": layout.field,
            "opt_weight_shard_size": layout.shard,
            "opt_weight_shard_step": layout.opt_weight_shard_step,
            "param_split_shape": layout.split,
            "indices_offset": layout.indices_offset[0].dim,
        }
    operators = {f"{_OPERATOR}-{stage}": {"stage": stage, "parallel_strategy": []} for stage in stages}
    told = {"current_stage": _MERGED, "parallel_strategy_item": operators, "parallel_layout_item": items}
    return json.dumps(told).encode()


def _flat(layout: SliceLayout) -> list[int]:
    return [entry[0] if entry else -1 for entry in layout.tensor_map]


def _may_be_joined(layout: SliceLayout) -> bool:
    """Tell whether the shape of a JSON strategy leaves open that axes were written out for device axes."""
    return any(size == parts > 1 for size, parts in list(zip(layout.expanded, layout.parts, strict=False))[:-1])


# -- messages -------------------------------------------------------------------------------------------------


def _head() -> bytes:
    found: bytes = schema.message_class("ParallelStrategyMap")(current_stage=_MERGED).SerializeToString()
    return found


def _field(number: int, item: bytes) -> bytes:
    """Return a repeated field of ParallelStrategyMap with one serialized item."""
    length, left = b"", len(item)
    while left >= 0x80:  # noqa: PLR2004 -- the eighth bit says that more bytes follow
        length, left = length + bytes([left & 0x7F | 0x80]), left >> 7
    return bytes([number << 3 | 2]) + length + bytes([left]) + item


def _complete(message: Any) -> None:
    """Write the fields down that files of MindSpore 1.0 lack, and that its later versions require."""
    for name in ("field", "opt_weight_shard_step", "opt_weight_shard_size"):
        setattr(message, name, getattr(message, name))
