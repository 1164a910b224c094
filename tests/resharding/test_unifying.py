"""`unified_safetensors`: parts, a map of names, and hyper parameters."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import ckptload
from ckptload import open_distributed, unified_safetensors
from ckptload.errors import ArgumentError, ArgumentTypeError, CheckpointError
from ckptload.resharding import unifying
from rank_sets import arrays, same, source, strategy, values

if TYPE_CHECKING:
    from pathlib import Path

MAP, HYPER = "param_name_map.json", "hyper_param.safetensors"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    source(tmp_path / "run")
    return strategy(tmp_path / "old.json", "dp2tp2")


def unified(tmp_path: Path, old: Any, out: str = "out", **options: Any) -> dict[str, Any]:
    """Merge, and return the content of the map."""
    unified_safetensors(tmp_path / "run", old, tmp_path / out, **options)
    path = tmp_path / out / MAP
    return dict(json.loads(path.read_text())) if path.exists() else {}


def test_tensors_are_in_parts_and_what_has_no_layout_beside_them(tmp_path: Path, old: Path) -> None:
    told = unified(tmp_path, old)
    names = ["a.weight", "b.weight", "b.bias"]
    assert told == {"metadata": {"total_size": 528}, "weight_map": dict.fromkeys(names, "part0.safetensors")}
    assert same(arrays(tmp_path / "out" / "part0.safetensors"), {name: values()[name] for name in names})
    wanted = {name: value for name, value in values().items() if name not in names}
    assert same(arrays(tmp_path / "out" / HYPER), wanted)
    with open_distributed(tmp_path / "out", parameters="numpy") as reader:
        assert np.array_equal(reader["a.weight"], values()["a.weight"])
        assert np.array_equal(reader["global_step"], values()["global_step"])


@pytest.mark.parametrize("executor", [False, True])
def test_parts_have_a_size(tmp_path: Path, old: Path, monkeypatch: pytest.MonkeyPatch, executor: bool) -> None:
    monkeypatch.setattr(unifying, "_PART", 300)
    seen: list[tuple[int, int]] = []
    pool = ThreadPoolExecutor(2) if executor else None
    told = unified(tmp_path, old, executor=pool, progress=lambda *at: seen.append(at))
    assert told["weight_map"] == {
        "a.weight": "part0.safetensors", "b.weight": "part1.safetensors", "b.bias": "part1.safetensors",
    }  # fmt: skip
    assert arrays(tmp_path / "out" / "part1.safetensors").keys() == {"b.weight", "b.bias"}
    assert seen[-1][0] == seen[-1][1]


def test_machines_share_the_parts(tmp_path: Path, old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unifying, "_PART", 100)
    whole = unified(tmp_path, old)
    found = set()
    for turn in range(1, 6):
        unified(tmp_path, old, f"share{turn}", split_dst_file=(turn, 5))
        folder = tmp_path / f"share{turn}"
        mine = {path.name for path in folder.iterdir()} if folder.exists() else set()
        assert ({MAP, HYPER} <= mine) == (turn == 1)
        found |= mine
    assert found == {path.name for path in (tmp_path / "out").iterdir()}
    assert len(set(whole["weight_map"].values())) == 3
    assert json.loads((tmp_path / "share1" / MAP).read_text()) == whole


def test_gradients_are_left_out_and_states_have_the_layout_of_their_weight(tmp_path: Path, old: Path) -> None:
    for rank in range(4):
        path = tmp_path / "run" / f"rank_{rank}" / "net-1_1.ckpt"
        run = arrays(path)
        run |= {"moments.a.weight": run["a.weight"], "accu_grads.a.weight": run["a.weight"]}
        ckptload.save_checkpoint(run, path, mode=0o644)
    told = unified(tmp_path, old)
    assert told["weight_map"].keys() == {"a.weight", "b.weight", "b.bias", "moments.a.weight"}
    assert "accu_grads.a.weight" not in arrays(tmp_path / "out" / HYPER)


def test_names_are_left_out_and_renamed(tmp_path: Path, old: Path) -> None:
    told = unified(tmp_path, old, choice_func=lambda name: {"a.weight": "first", "b.bias": False}.get(name, True))
    assert told["weight_map"].keys() == {"first", "b.weight"}
    found = arrays(tmp_path / "out" / "part0.safetensors")
    assert np.array_equal(found["first"], values()["a.weight"])
    assert "b.bias" not in arrays(tmp_path / "out" / HYPER)


def test_without_a_strategy_every_tensor_is_in_a_part(tmp_path: Path) -> None:
    for rank in range(2):
        path = tmp_path / "run" / f"rank_{rank}" / "net-1_1.safetensors"
        path.parent.mkdir(parents=True)
        ckptload.save_checkpoint({"w": np.ones(3), "global_step": np.ones(1)}, path, format="safetensors")
    assert unified(tmp_path, None)["weight_map"].keys() == {"w", "global_step"}


def refuse(_: str) -> bool:
    raise KeyError("no")


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"split_dst_file": (0, 2)}, ArgumentError, "i from 1 to n"),
        ({"split_dst_file": (3, 2)}, ArgumentError, "i from 1 to n"),
        ({"split_dst_file": (1,)}, ArgumentTypeError, "split_dst_file must be a tuple"),
        ({"split_dst_file": (1, "2")}, ArgumentTypeError, "two ints"),
        ({"max_process_num": None}, ArgumentTypeError, "max_process_num"),
        ({"choice_func": 3}, ArgumentTypeError, "choice_func must be a function"),
        ({"choice_func": lambda _: None}, ArgumentTypeError, "must return a bool or a str"),
        ({"choice_func": lambda _: "same"}, ArgumentError, "would both become 'same'"),
        ({"choice_func": refuse}, CheckpointError, "choice_func raised KeyError"),
        ({"executor": 3}, ArgumentTypeError, "submit"),
    ],
)
def test_wrong_arguments(tmp_path: Path, old: Path, options: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        unified(tmp_path, old, **options)
    assert not (tmp_path / "out").exists()
