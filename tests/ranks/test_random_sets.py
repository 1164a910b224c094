"""Sets of random layouts give the tensors that they were cut from, whole and on the ranks of other layouts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ckptload import open_distributed, reshard_checkpoints, save_checkpoint
from layouts import cut, protobuf

if TYPE_CHECKING:
    from pathlib import Path

    from layouts import Told

MATRICES = [[1], [4], [2, 2], [2, 1, 2], [2, 2, 2], [3, 2], [2, 4]]
SHAPES = [(), (48,), (24, 48), (48, 24, 2), (24, 0), (1, 24)]
NAMES = ["w", "x-1.w", "moment1.w", "1-2", "scale", "table"]


def layout(random: np.random.Generator, matrix: list[int], shape: tuple[int, ...]) -> Told:
    """A layout that divides a shape, by several device axes or none on each axis, with or without a shard."""
    while True:
        axes = list(random.permutation(len(matrix)))
        entries: list[Any] = [[] for _ in shape]
        for axis in axes:
            if shape and random.random() < 0.6:
                entries[random.integers(len(shape))].append(int(axis))
        parts = [int(np.prod([matrix[-1 - axis] for axis in entry])) for entry in entries]
        if any(length % part for length, part in zip(shape, parts, strict=True)):
            continue
        replicas = int(np.prod(matrix)) // int(np.prod(parts))
        fits = bool(shape) and replicas > 1 and shape[0] // parts[0] % replicas == 0
        shard = -1 if fits and random.random() < 0.5 else 0
        return matrix, [entry or [-1] for entry in entries], shard


@pytest.mark.parametrize("seed", range(8))
def test_a_set_gives_what_it_was_cut_from(tmp_path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    dtypes = [np.float32, np.int8, np.bool_, np.float64, np.uint16]
    whole: dict[str, Any] = {}
    for name in NAMES:
        shape = SHAPES[random.integers(len(SHAPES))]
        whole[name] = random.integers(0, 200, shape).astype(dtypes[random.integers(len(dtypes))])
    told = []
    for side in ("source", "target"):
        matrix = MATRICES[random.integers(len(MATRICES))]
        told.append({name: layout(random, matrix, value.shape) for name, value in whole.items()})
        (tmp_path / f"{side}.ckpt").write_bytes(protobuf(told[-1]))
    source, target = ({name: cut(*one[name], whole[name]) for name in NAMES} for one in told)
    for rank in range(len(source["w"])):
        place = tmp_path / f"set/rank_{rank}"
        place.mkdir(parents=True)
        held = {name: np.array(slices[rank]) for name, slices in source.items()}
        save_checkpoint(held, place / "net.safetensors", format="safetensors")
    with open_distributed(tmp_path / "set", tmp_path / "source.ckpt") as reader:
        same(reader, whole)
    reshard_checkpoints(tmp_path / "set", tmp_path / "out", tmp_path / "target.ckpt", tmp_path / "source.ckpt")
    for rank in range(len(target["w"])):
        with open_distributed({0: tmp_path / f"out/rank_{rank}/{rank}.safetensors"}) as reader:
            same(reader, {name: slices[rank] for name, slices in target.items()})
    with open_distributed(tmp_path / "out", tmp_path / "target.ckpt") as reader:
        same(reader, whole)


def same(found: Any, wanted: dict[str, Any]) -> None:
    assert set(found) == set(wanted)
    for name, array in wanted.items():
        value = found[name].asnumpy()
        assert (value.dtype, value.shape, value.tobytes()) == (array.dtype, array.shape, array.tobytes()), name
