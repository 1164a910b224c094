"""`ckptload strategy`: how a training has cut its tensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("click")

import ckptload
from ckptload.__main__ import main
from layouts import protobuf

SCHEMA = json.loads((Path(ckptload.__file__).parent / "cli" / "schemas" / "strategy.schema.json").read_text("utf-8"))
TOLD: dict[str, Any] = {
    "body.w1": ([2, 2, 2], [1, 0], 0),
    "body.w10": ([2, 2, 2], [[1, 0], [-1]], -1),
    "body.w2": ([8], [-1], 0),
    "odd": ([8], [-1], 3),
}
CAPTURE = pytest.CaptureFixture[str]


@pytest.fixture
def one(tmp_path: Path) -> Path:
    """A strategy of one stage with 8 ranks."""
    path = tmp_path / "one.ckpt"
    path.write_bytes(protobuf(TOLD))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of two stages, of 8 and of 2 ranks."""
    path = tmp_path / "strategy"
    path.mkdir()
    (path / "s0.ckpt").write_bytes(protobuf(TOLD))
    (path / "s1.ckpt").write_bytes(protobuf({"head": ([2], [0, -1], 0)}, stage=1))
    return path


def strategy(*arguments: object) -> int:
    return main(["strategy", *map(str, arguments)])


def test_ranks_stages_and_layouts_are_shown(one: Path, capsys: CAPTURE) -> None:
    assert strategy(one) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[:3] == [str(one), "8 ranks, 1 stage, 4 names", ""]
    assert lines[3:8] == [
        "NAME DEVICES MAP PARTS SHARD COPIES",
        "body.w1 2 x 2 x 2 [1, 0] 2 x 2 2",
        "body.w2 8 [-1] 1 8",
        "body.w10 2 x 2 x 2 [[1, 0], -1] 4 x 1 2 1",
        # A shard that does not divide the replicas cuts nothing.
        "odd 8 [-1] 1 1 8",
    ]


def test_a_folder_is_as_good_as_a_merged_file(folder: Path, tmp_path: Path, capsys: CAPTURE) -> None:
    assert strategy(folder) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[1:4] == [
        "  10 ranks, 2 stages, 5 names",
        "  stage 0: ranks 0-7, 4 layouts",
        "  stage 1: ranks 8-9, 1 layout",
    ]
    assert strategy(folder, "--merge", tmp_path / "merged.ckpt") == 0
    capsys.readouterr()
    assert strategy(tmp_path / "merged.ckpt") == 0
    assert capsys.readouterr().out.splitlines()[1:] == shown[1:]


def test_a_picture_shows_who_holds_which_part(one: Path, capsys: CAPTURE) -> None:
    assert strategy(one, "--picture", "body.w1") == 0
    assert capsys.readouterr().out.splitlines()[-6:] == [
        "body.w1: which ranks hold which part",
        "  ┌──────┬──────┐",
        "  │ 0, 4 │ 1, 5 │",
        "  ├──────┼──────┤",
        "  │ 2, 6 │ 3, 7 │",
        "  └──────┴──────┘",
    ]
    assert strategy(one) == 0
    rows = [line.replace("│", "").strip() for line in capsys.readouterr().out.splitlines() if line.startswith("  │")]
    assert rows == ["0", "4", "1", "5", "2", "6", "3", "7"]
    assert strategy(one, "--filter", "body.w2") == 0
    assert "│" not in capsys.readouterr().out
    assert strategy(one, "--picture", "none") == 1
    assert "there is no layout in the strategy" in capsys.readouterr().err


def test_a_picture_that_would_be_too_large_is_refused(tmp_path: Path, capsys: CAPTURE) -> None:
    path = tmp_path / "large.ckpt"
    path.write_bytes(protobuf({"w": ([1024, 1024], [0, 1], 0)}))
    assert strategy(path) == 0
    assert "│" not in capsys.readouterr().out
    assert strategy(path, "--picture", "w") == 2
    assert "too large" in capsys.readouterr().err


def test_a_rank_holds_a_part_that_others_may_hold(folder: Path, capsys: CAPTURE) -> None:
    assert strategy(folder, "--rank", 5) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[4] == "rank 5: stage 0, rank 5 of it"
    assert lines[6:11] == [
        "NAME DEVICES MAP HOLDS SAME ON",
        "body.w1 2 x 2 x 2 [1, 0] 1 of 2 x 2 of 2 1",
        "body.w2 8 [-1] 1 of 1 0-4, 6-7",
        "body.w10 2 x 2 x 2 [[1, 0], -1] 4 of 8 x 1 of 1",
        "odd 8 [-1] 1 of 1 0-4, 6-7",
    ]
    assert strategy(folder, "--rank", 9) == 0
    assert "rank 9: stage 1, rank 1 of it" in capsys.readouterr().out
    assert strategy(folder, "--rank", 10) == 2
    assert "there is no rank 10: the strategy has 10 ranks" in capsys.readouterr().err


def test_names_are_chosen(one: Path, capsys: CAPTURE) -> None:
    assert strategy(one, "--filter", "*.w1*") == 0
    shown = capsys.readouterr().out
    assert "body.w10" in shown
    assert "body.w2" not in shown
    assert strategy(one, "--filter", "nothing") == 1
    assert "no entry matches 'nothing'" in capsys.readouterr().err


def test_stages_are_merged(folder: Path, one: Path, tmp_path: Path, capsys: CAPTURE) -> None:
    target = tmp_path / "merged.ckpt"
    assert strategy(folder, "--merge", target) == 0
    assert f"wrote {target}" in capsys.readouterr().err
    assert ckptload.read_strategy(target) == ckptload.read_strategy(folder)
    assert strategy(one, "--merge", target) == 2
    assert "--force" in capsys.readouterr().err
    assert strategy(one, "--merge", target, "--force") == 0
    assert ckptload.read_strategy(target) == ckptload.read_strategy(one)


def test_json_is_valid(folder: Path, capsys: CAPTURE) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    assert strategy(folder, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    jsonschema.validate(told, SCHEMA)
    assert [stage["first"] for stage in told["stages"]] == [0, 8]
    assert [item["name"] for item in told["layouts"]] == ["body.w1", "body.w2", "body.w10", "odd", "head"]
    assert strategy(folder, "--json", "--rank", 5) == 0
    told = json.loads(capsys.readouterr().out)
    jsonschema.validate(told, SCHEMA)
    assert (told["layouts"][0]["part"], told["layouts"][0]["held_by"]) == ([0, 1], [1, 5])


def test_what_is_no_strategy_is_named(tmp_path: Path, capsys: CAPTURE) -> None:
    (tmp_path / "empty.ckpt").write_bytes(b"")
    assert strategy(tmp_path / "empty.ckpt") == 1
    assert "the strategy file is empty" in capsys.readouterr().err
    assert strategy(tmp_path / "none.ckpt") == 2
