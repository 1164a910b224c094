"""The order of the entries, kept in the metadata of a safetensors file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptload import (
    Parameter,
    ckpt_to_safetensors,
    load_checkpoint,
    open_checkpoint,
    safetensors_to_ckpt,
    save_checkpoint,
)
from ckptload.formats.safetensors import order

if TYPE_CHECKING:
    from pathlib import Path

NAMES = st.lists(st.text("ab.", min_size=1, max_size=5), unique=True, max_size=8)


@given(NAMES)
def test_an_order_comes_back(names: list[str]) -> None:
    kept = order.restored(sorted(names), order.entry_for(names))
    ends = {name.rpartition(".")[2] for name in names}
    assert sorted(kept) == sorted(names)
    for end in ends:
        alike = [name for name in names if name.endswith("." + end)]
        assert [name for name in kept if name.endswith("." + end)] == alike


def test_an_order_that_cannot_matter_is_not_kept() -> None:
    assert order.entry_for(["z", "b", "a.w", "a.b", "b.w", "b.b"]) == {}
    assert order.entry_for(["b.w", "a.w"]) == {order.KEY: "[1,0]"}
    assert order.entry_for(["b.gamma", "a.weight"]) == {order.KEY: "[1,0]"}


@pytest.mark.parametrize(
    "text", ["", "[", "[" * 100_000, "{}", "null", "[0]", "[0,0]", "[0,2]", "[-1,0]", "[true,0]", '["1",0]', "[1.0,0]"]
)
def test_an_order_of_other_names_counts_for_nothing(text: str) -> None:
    assert order.restored(["b", "a"], {order.KEY: text}) == ["a", "b"]


def test_a_ckpt_comes_back_byte_for_byte(tmp_path: Path) -> None:
    names = ["net.b.w", "net.a.w", "moments.net.b.w", "z", "moments.net.a.w"]
    save_checkpoint({name: Parameter(np.full(2, at, np.float32)) for at, name in enumerate(names)}, tmp_path / "x.ckpt")
    ckpt_to_safetensors(tmp_path / "x.ckpt")
    assert list(load_checkpoint(tmp_path / "x.safetensors", format="safetensors")) == names
    safetensors_to_ckpt(tmp_path / "x.safetensors", tmp_path / "back")
    assert (tmp_path / "back" / "x.ckpt").read_bytes() == (tmp_path / "x.ckpt").read_bytes()


def test_shards_have_one_order_for_all(tmp_path: Path) -> None:
    names = ["c.w", "b.w", "a.w"]
    save_checkpoint({name: Parameter(np.zeros(2, np.float32)) for name in names}, tmp_path / "x.ckpt")
    ckpt_to_safetensors(tmp_path / "x.ckpt", tmp_path / "out", max_shard_size=8)
    with open_checkpoint(tmp_path / "out" / "model.safetensors.index.json") as reader:
        assert list(reader) == names
