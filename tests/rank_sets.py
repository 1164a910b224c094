"""Sets of rank files, cut from whole arrays by plain numpy, for two ways to lie on devices."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from ckptload import open_checkpoint, save_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

#: Device matrix of a set, and for each name by which device axis (from the right) each axis of the tensor is cut.
LAYOUTS: dict[str, tuple[list[int], dict[str, list[int]]]] = {
    "dp2tp2": ([2, 2], {"a.weight": [0, -1], "b.weight": [-1, 0], "b.bias": [-1]}),
    "tp4": ([4], {"a.weight": [-1, 0], "b.weight": [0, -1], "b.bias": [0]}),
    "more": ([2], {"a.weight": [0, -1], "b.weight": [-1, 0], "b.bias": [-1], "c.weight": [-1]}),
}


def values(number: int = 1) -> dict[str, Any]:
    """Return the whole tensors of a run, and two entries that nobody cuts."""
    chance = np.random.default_rng(number)
    return {
        "a.weight": chance.standard_normal((8, 12)).astype(np.float32),
        "b.weight": chance.standard_normal((4, 8)).astype(np.float32),
        "b.bias": chance.standard_normal(4).astype(np.float32),
        "global_step": np.array([number], np.int32),
        "note": f"run {number}",
    }


def ranks(layout: str) -> range:
    return range(int(np.prod(LAYOUTS[layout][0])))


def slice_of(layout: str, name: str, whole: Any, rank: int) -> Any:
    """Return what a rank holds of an array."""
    matrix, maps = LAYOUTS[layout]
    part = whole
    for axis, device_axis in enumerate(maps.get(name, [])):
        if device_axis >= 0:
            size = matrix[-1 - device_axis]
            at = rank // int(np.prod(matrix[len(matrix) - device_axis :])) % size
            part = np.split(part, size, axis)[at]
    return np.ascontiguousarray(part)


def strategy(path: Path, layout: str) -> Path:
    """Write the strategy file of a layout, as JSON."""
    matrix, maps = LAYOUTS[layout]
    items = {
        name: {"dev_matrix": matrix, "tensor_map": axes, "field": 0, "opt_weight_shard_step": 0}
        for name, axes in maps.items()
    }
    told = {
        "current_stage": 2,
        "parallel_strategy_item": {"MatMul": {"stage": 0, "parallel_strategy": [[1]]}},
        "parallel_layout_item": items,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(told))
    return path


def source(folder: Path, layout: str = "dp2tp2", number: int = 1, *, kind: str = "ckpt", **options: Any) -> Path:
    """Write the rank files of a run, and return their folder."""
    run = values(number)
    if kind == "safetensors":
        del run["note"]
    for rank in ranks(layout):
        mine = {n: v if isinstance(v, str) else slice_of(layout, n, v, rank) for n, v in run.items()}
        path = folder / f"rank_{rank}" / f"net-1_{number}.{kind}"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_checkpoint(mine, path, format=kind, mode=0o644, **options)
    return folder


def arrays(path: Path) -> dict[str, Any]:
    """Return what a file holds, as arrays and texts."""
    with open_checkpoint(path, parameters="numpy") as reader:
        return {**reader.load(), **reader.kept_strings()}


def is_whole(path: Path, number: int = 1) -> bool:
    """Tell whether a file holds just the whole tensors of a run."""
    return same(arrays(path), values(number))


def is_slice(path: Path, layout: str, rank: int, number: int = 1) -> bool:
    """Tell whether a file holds just what a rank holds of a run."""
    wanted = {n: v if isinstance(v, str) else slice_of(layout, n, v, rank) for n, v in values(number).items()}
    return same(arrays(path), wanted)


def same(found: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Compare names, and every array to the bit. A text may be missing where a format has none."""
    assert found.keys() == wanted.keys(), (sorted(found), sorted(wanted))
    return all(np.array_equal(found[name], value) for name, value in wanted.items())
