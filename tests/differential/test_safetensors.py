"""safetensors and the converters against MindSpore itself: same values, same files, same names, same bytes."""

from __future__ import annotations

import itertools
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ckptload

mindspore = pytest.importorskip("mindspore")

pytestmark = pytest.mark.mindspore

TYPES = [
    *("bool_", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "bfloat16", "qint4x2"),
]
SHAPES: list[tuple[int, ...]] = [(), (1,), (2, 3), (5, 1, 2)]


def parameters(seed: int) -> list[dict[str, Any]]:
    """Make tensors of every type, under names that sort in another order than they come."""
    chosen = np.random.default_rng(seed)
    found = []
    for number, name in enumerate(chosen.permutation(TYPES)):
        shape = SHAPES[chosen.integers(len(SHAPES))]
        values = chosen.integers(0, 2 if name == "bool_" else 7, shape).astype(np.bool_ if name == "bool_" else np.int8)
        # int8 has bytes for every type here; MindSpore converts.
        data = mindspore.Tensor(values, dtype=getattr(mindspore, str(name)))
        found.append({"name": f"{'abXY'[number % 4]}{number}.\u6743{name}", "data": data})
    return found


def described(found: dict[str, Any]) -> list[tuple[Any, ...]]:
    return [(name, str(value.dtype), tuple(value.shape), bytes(value.get_bytes())) for name, value in found.items()]


def theirs(path: Path, **arguments: Any) -> dict[str, Any]:
    found: dict[str, Any] = mindspore.load_checkpoint(str(path), format=path.suffix[1:], **arguments)
    return found


def header(path: Path) -> tuple[dict[str, Any], bytes]:
    """Return a header, of whose metadata MindSpore's library changes the order at random, and the content."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("seed", range(5))
def test_what_mindspore_saves_is_loaded_as_mindspore_loads_it(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "x.safetensors"
    mindspore.save_checkpoint(parameters(seed), str(path), format="safetensors")
    assert described(ckptload.load_checkpoint(path, format="safetensors")) == described(theirs(path))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.filterwarnings("ignore::ckptload.errors.PartialChecksumWarning")
def test_the_sum_that_mindspore_writes_is_right(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "x.safetensors"
    # MindSpore itself fails to sum bfloat16.
    tensors = [entry for entry in parameters(seed) if "bfloat16" not in entry["name"]]
    mindspore.save_checkpoint(tensors, str(path), format="safetensors", crc_check=True)
    ours = ckptload.load_checkpoint(path, format="safetensors", crc_check=True)
    assert described(ours) == described(theirs(path, crc_check=True))


@pytest.mark.parametrize("seed", range(5))
def test_both_convert_to_the_same_files(tmp_path: Path, seed: int) -> None:
    mindspore.save_checkpoint(parameters(seed), str(tmp_path / "x.ckpt"))
    mindspore.ckpt_to_safetensors(str(tmp_path / "x.ckpt"), str(tmp_path / "theirs"))
    ckptload.ckpt_to_safetensors(tmp_path / "x.ckpt", tmp_path / "ours")
    assert header(tmp_path / "ours" / "x.safetensors") == header(tmp_path / "theirs" / "x.safetensors")
    mindspore.safetensors_to_ckpt(str(tmp_path / "theirs" / "x.safetensors"))
    ckptload.safetensors_to_ckpt(tmp_path / "theirs" / "x.safetensors", tmp_path / "ours")
    assert (tmp_path / "ours" / "x.ckpt").read_bytes() == (tmp_path / "theirs" / "x.ckpt").read_bytes()


@pytest.mark.parametrize("seed", range(5))
def test_without_int4_the_bytes_are_the_same(tmp_path: Path, seed: int) -> None:
    tensors = [entry for entry in parameters(seed) if "qint4" not in entry["name"]]
    mindspore.save_checkpoint(tensors, str(tmp_path / "x.ckpt"))
    mindspore.ckpt_to_safetensors(str(tmp_path / "x.ckpt"), str(tmp_path / "theirs"))
    ckptload.ckpt_to_safetensors(tmp_path / "x.ckpt", tmp_path / "ours")
    assert (tmp_path / "ours" / "x.safetensors").read_bytes() == (tmp_path / "theirs" / "x.safetensors").read_bytes()


@pytest.mark.parametrize("limit", [None, 20, "5GB"])
def test_mindspore_loads_what_we_write_and_each_shard_of_it(tmp_path: Path, limit: int | str | None) -> None:
    mindspore.save_checkpoint(parameters(1), str(tmp_path / "x.ckpt"), append_dict={"note": "text"})
    ckptload.ckpt_to_safetensors(tmp_path / "x.ckpt", tmp_path / "out", max_shard_size=limit)
    found = [described(theirs(path)) for path in (tmp_path / "out").glob("*.safetensors")]
    assert (len(found) > 1) == (limit == 20)
    whole = {name: value for name, value in theirs(tmp_path / "x.ckpt").items() if name != "note"}
    assert sorted(itertools.chain.from_iterable(found)) == sorted(described(whole))


def test_mindspore_loads_a_ckpt_made_of_shards(tmp_path: Path) -> None:
    mindspore.save_checkpoint(parameters(2), str(tmp_path / "x.ckpt"), append_dict={"note": "text"})
    ckptload.ckpt_to_safetensors(tmp_path / "x.ckpt", max_shard_size=20)
    ckptload.safetensors_to_ckpt(tmp_path / "model.safetensors.index.json")
    before, after = theirs(tmp_path / "x.ckpt"), theirs(tmp_path / "model.ckpt")
    assert before.pop("note") == after.pop("note") == "text"
    assert sorted(described(before)) == described(after)


#: Arguments after file_path and save_path.
CALLS: list[tuple[str, tuple[Any, ...]]] = [
    ("all", ()),
    ("all/", ()),
    ("all", (None, "m_")),
    ("all", (None, "^m_")),
    ("all", (None, r"_1\.")),
    ("all", (None, "_1$")),
    ("all", (None, "rank0")),
    ("all", ({"x": "z"}, None)),
    ("all", (None, None, 2)),
    ("all/rank0/m_1", ()),
    ("all/rank0/m_1", ({"x": "y", "y": "x", "other": "z"}, None)),
    ("all/rank0/m_1", (None, "rank0")),
    ("all/rank0/m_1", (None, None, 20)),
    ("all/a.ENDb", ()),
]


@pytest.mark.parametrize(("source", "arguments"), CALLS)
@pytest.mark.parametrize("old", ["ckpt", "safetensors"])
@pytest.mark.parametrize("save_path", [None, "", "out", "out/below/"])
def test_both_find_the_same_files_and_give_them_the_same_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, source: str, arguments: tuple[Any, ...], save_path: str
) -> None:
    new = {"ckpt": "safetensors", "safetensors": "ckpt"}[old]
    for library in (mindspore, ckptload):
        for name in ("rank0/m_1", "rank0/am_2", "rank_1/m_1", "rank0/sub/m_1", "ranks/x", "other/m_1", f"a.{old}b"):
            path = tmp_path / library.__name__ / "all" / f"{name}.{old}"
            path.parent.mkdir(parents=True, exist_ok=True)
            values = {key: mindspore.Parameter(mindspore.Tensor([1.0, 2.0]), name=key) for key in "xy"}
            mindspore.save_checkpoint(values, str(path), format=old)
        (tmp_path / library.__name__ / "all" / "rank0" / "notes.txt").write_text("x")
        monkeypatch.chdir(tmp_path / library.__name__)
        given = source.replace("END", old) + ("" if source.strip("/") == "all" else f".{old}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            getattr(library, f"{old}_to_{new}")(given, save_path, *arguments)
    ours, other = tmp_path / "ckptload", tmp_path / "mindspore"
    assert [name for name in tree(ours) if not (ours / name).is_dir()] == [
        name for name in tree(other) if not (other / name).is_dir()
    ]
    for name in tree(ours):
        if (ours / name).is_file():
            assert (ours / name).read_bytes() == (other / name).read_bytes()


@pytest.mark.parametrize(
    "arguments",
    [
        ("missing.ckpt",),
        ("",),
        (None,),
        (".",),
        ("x.txt",),
        ("xckpt",),
        ("X.CKPT",),
        ("x.ckpt", 1),
        ("x.ckpt", "new.safetensors"),
        ("x.ckpt", "new.ckpt"),
        ("x.ckpt", "v1.0"),
        ("x.ckpt", None, [1]),
        ("x.ckpt", None, ""),
        ("x.ckpt", None, None, "qqq"),
        ("x.ckpt", None, None, ["x"]),
        ("all", None, None, None, 0),
        ("all", None, None, None, -1),
        ("all", None, None, None, "2"),
        ("all", None, None, None, 1.5),
    ],
)
def test_what_mindspore_refuses_is_refused_with_the_same_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[Any, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("x.ckpt", "all/rank0/x.ckpt"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        mindspore.save_checkpoint(parameters(0), name)
    for name in ("x.txt", "xckpt", "X.CKPT"):
        Path(name).write_bytes(Path("x.ckpt").read_bytes())
    with pytest.raises((ValueError, TypeError)) as caught:
        mindspore.ckpt_to_safetensors(*arguments)
    with pytest.raises(caught.type):
        ckptload.ckpt_to_safetensors(*arguments)


def test_loading_in_the_background_gives_the_same(tmp_path: Path) -> None:
    for name, kind in (("x.ckpt", "ckpt"), ("x.safetensors", "safetensors")):
        mindspore.save_checkpoint(parameters(3), str(tmp_path / name), format=kind)
        ours = ckptload.load_checkpoint_async(str(tmp_path / name)).result()
        assert described(ours) == described(mindspore.load_checkpoint_async(str(tmp_path / name)).result())
