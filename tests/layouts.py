"""Strategy files for tests, written by protobuf's classes or as JSON, and slices cut by numpy alone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from ckptload import save_checkpoint
from ckptload.ranks import schema

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    #: device matrix, tensor map, and shard size or 0
    Told = tuple[list[int], list[Any], int]


def protobuf(layouts: Mapping[str, Told], stage: int = 0, split: Mapping[str, list[int]] | None = None) -> bytes:
    """A strategy file as MindSpore writes it."""
    out = schema.message_class("ParallelStrategyMap")(current_stage=2)
    item = out.parallel_strategy_item.add(node_name="Default/MatMul-op0")
    item.parallel_strategys.stage = stage
    item.parallel_strategys.parallel_strategy.add(dim=[1, 1])
    for name, (matrix, tensor_map, shard) in layouts.items():
        layout = out.parallel_layout_item.add(param_name=name).parallel_layouts
        layout.dev_matrix.add(dim=matrix)
        if any(isinstance(entry, list) for entry in tensor_map):
            for entry in tensor_map:
                layout.tensor_map.add(dim=entry if isinstance(entry, list) else [entry])
            if len(tensor_map) == 1:
                layout.tensor_map.add()
        else:
            layout.tensor_map.add(dim=tensor_map)
        layout.param_split_shape.add(dim=(split or {}).get(name, []))
        layout.indices_offset.add()
        layout.field, layout.opt_weight_shard_size, layout.opt_weight_shard_step = 0, shard, 1 if shard else 0
    found: bytes = out.SerializeToString()
    return found


def as_json(layouts: Mapping[str, Told], shapes: Mapping[str, list[int]], stage: int = 0) -> bytes:
    """The same as JSON; shapes are those that the file gives."""
    items = {
        name: {
            "dev_matrix": matrix,
            "tensor_map": tensor_map,
            "tensor_shape": shapes[name],
            "field": 0,
            "opt_weight_shard_size": shard,
            "opt_weight_shard_step": 1 if shard else 0,
        }
        for name, (matrix, tensor_map, shard) in layouts.items()
    }
    operators = {"Default/MatMul-op0": {"stage": stage, "parallel_strategy": [[1, 1]]}}
    told = {"current_stage": 2, "parallel_strategy_item": operators, "parallel_layout_item": items}
    return json.dumps(told).encode()


def cut(matrix: list[int], tensor_map: list[Any], shard: int, whole: np.ndarray[Any, Any]) -> list[Any]:
    """The slice of each rank, by cutting the array along one device axis after another."""
    ranks = np.arange(np.prod(matrix)).reshape(matrix)
    held = {int(rank): whole for rank in ranks.flat}
    used = []
    for axis, entry in enumerate(tensor_map):
        for device_axis in entry if isinstance(entry, list) else [entry]:
            if device_axis == -1:
                continue
            used.append(len(matrix) - 1 - device_axis)
            for number, part in enumerate(np.moveaxis(ranks, used[-1], 0)):
                for rank in part.flat:
                    held[int(rank)] = np.split(held[int(rank)], matrix[used[-1]], axis)[number]
    if shard:
        spare = [at for at in range(len(matrix)) if at not in used]
        together = np.transpose(ranks, [*used, *spare]).reshape(int(np.prod([matrix[at] for at in used])), -1)
        for group in together:
            parts = len(group) if shard == -1 else shard
            for at, rank in enumerate(sorted(int(each) for each in group)):
                held[rank] = np.split(held[rank], parts, 0)[at % parts]
    return [held[rank] for rank in sorted(held)]


def write_set(folder: Path) -> None:
    """Write the set that docs/ranks.md describes: ``checkpoints/rank_0`` to ``rank_3``, and ``strategy.ckpt``."""
    layouts: dict[str, Told] = {
        "fc1.weight": ([2, 2], [1, -1], 0),
        "fc2.weight": ([2, 2], [-1, 1], -1),
        "moments.fc1.weight": ([2, 2], [1, -1], 0),
    }
    whole = {
        "fc1.weight": np.arange(48, dtype=np.float32).reshape(8, 6),
        "fc2.weight": np.arange(32, dtype=np.float32).reshape(4, 8),
        "moments.fc1.weight": np.zeros((8, 6), np.float32),
    }
    for rank in range(4):
        held = {name: cut(*layouts[name], value)[rank] for name, value in whole.items()}
        place = folder / "checkpoints" / f"rank_{rank}"
        place.mkdir(parents=True)
        save_checkpoint(held | {"global_step": np.array([10], np.int32)}, place / "net-1_10.ckpt")
    (folder / "strategy.ckpt").write_bytes(protobuf(layouts))
