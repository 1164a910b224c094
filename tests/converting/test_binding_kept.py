"""A conversion never changes what a net is filled with, though it may change the order of the entries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptload import (
    Parameter,
    ckpt_to_safetensors,
    convert_checkpoint,
    open_checkpoint,
    plan_binding,
    safetensors_to_ckpt,
    save_checkpoint,
    to_npz,
)
from ckptload.errors import BindingError
from ckptload.nn import Cell

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

KEY = b"0123456789abcdef"
SHAPES = st.sampled_from([(1,), (2,), (3,)])
WORDS = st.sampled_from(["net", "fc", "w", "b", "ema", "moment1", "exp_avg"])
NAMES = st.lists(WORDS, min_size=1, max_size=4).map(".".join)
FILES = st.dictionaries(NAMES, SHAPES, min_size=1, max_size=8)
#: Weights behind a prefix, beside copies of them and state.
TRAINED = st.builds(
    lambda prefixes, names: {prefix + name: (2,) for prefix in prefixes for name in names},
    st.permutations(["net.", "ema.net.", "moment1.net.", "exp_avg.net.", "exp_avg_sq.net.", "a_net.", "other."]),
    st.lists(st.sampled_from(["fc.w", "fc.b", "w"]), min_size=1, max_size=3, unique=True),
)


def net(shapes: dict[str, tuple[int, ...]]) -> Cell:
    cell = Cell()
    for name, shape in shapes.items():
        parameter = Parameter(np.full(shape, -1, np.float32), name=name)
        cell.insert_param_to_cell(name, parameter, check_name_contain_dot=False)
    return cell


def bound(shapes: dict[str, tuple[int, ...]], parameters: Any) -> dict[str, list[float]] | None:
    """Return what a net holds after loading, or None if loading refuses."""
    cell = net(shapes)
    try:
        plan_binding(cell, parameters).apply()
    except BindingError:
        return None
    return {each.name: each.asnumpy().tolist() for each in cell.get_parameters()}


def converted(folder: Path) -> Iterable[Any]:
    """Yield the content of ``x.ckpt`` after each conversion, and after several."""
    path = folder / "x.ckpt"
    ckpt_to_safetensors(path, folder / "a")
    safetensors_to_ckpt(folder / "a" / "x.safetensors", folder / "b")
    ckpt_to_safetensors(path, folder / "c", max_shard_size=12)
    with open_checkpoint(path) as reader:
        convert_checkpoint(reader, folder / "d.ckpt", enc_key=KEY)
        convert_checkpoint(reader, folder / "e.safetensors")
    (shards,) = [*(folder / "c").glob("*.index.json")] or (folder / "c").iterdir()
    for each in (folder / "a" / "x.safetensors", folder / "b" / "x.ckpt", shards, folder / "e.safetensors"):
        with open_checkpoint(each) as reader:
            yield reader
            yield reader.load()
    with open_checkpoint(folder / "d.ckpt", dec_key=KEY) as reader:
        yield reader
    to_npz(path, folder / "f.npz")
    with np.load(folder / "f.npz") as arrays:
        yield dict(arrays)


@pytest.mark.slow
@settings(max_examples=30)
@given(shapes=st.dictionaries(NAMES, SHAPES, max_size=4), file=FILES | TRAINED, seed=st.integers(0, 2**32 - 1))
def test_what_a_net_is_filled_with_stays_the_same(
    tmp_path_factory: pytest.TempPathFactory, shapes: dict[str, Any], file: dict[str, Any], seed: int
) -> None:
    folder = tmp_path_factory.mktemp("x")
    random = np.random.default_rng(seed)
    tails = {name.partition(".")[2] or name: shape for name, shape in file.items()}
    content = {name: Parameter(random.random(shape, np.float32)) for name, shape in file.items()}
    save_checkpoint(content, folder / "x.ckpt")
    before = [bound(each, content) for each in (shapes, tails)]
    for after in converted(folder):
        assert [bound(each, after) for each in (shapes, tails)] == before


@pytest.mark.parametrize("first", ["net.", "exp_avg."])
def test_weights_stay_weights(first: str, tmp_path: Path) -> None:
    weights = {f"net.{name}": Parameter(np.full(2, value, np.float32)) for value, name in enumerate(("w", "b"))}
    state = {f"exp_avg.{name}": Parameter(np.full(2, 9, np.float32)) for name in weights}
    save_checkpoint(weights | state if first == "net." else state | weights, tmp_path / "x.ckpt")
    for after in converted(tmp_path):
        assert bound({"w": (2,), "b": (2,)}, after) == {"w": [0, 0], "b": [1, 1]}
