"""Folders with the files of many ranks on the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("click")

import ckptload
from ckptload.__main__ import main
from ckptload.cli.app import program
from layouts import cut, protobuf

TOLD: dict[str, Any] = {"w": ([2, 2], [0, -1], 0), "v": ([2, 2], [1, 0], 0), "b": ([2, 2], [-1], 0)}
WHOLE = {
    "w": np.arange(16, dtype=np.float32).reshape(8, 2),
    "v": np.arange(8, dtype=np.float32).reshape(2, 4),
    "b": np.arange(3, dtype=np.float32),
}
CAPTURE = pytest.CaptureFixture[str]
FOLDER = Path(ckptload.__file__).parent / "cli" / "schemas"


def run(*arguments: object) -> int:
    return main([*map(str, arguments)])


def slices_of(told: dict[str, Any], rank: int) -> dict[str, Any]:
    cuts = {name: cut(matrix, entries, shard, WHOLE[name]) for name, (matrix, entries, shard) in told.items()}
    return {name: np.ascontiguousarray(held[rank]) for name, held in cuts.items()}


def save(folder: Path, told: dict[str, Any] = TOLD, *, crc: bool = False) -> Path:
    """Write the slices of each rank."""
    for rank in range(4):
        (folder / f"rank_{rank}").mkdir(parents=True)
        values = {**slices_of(told, rank), "step": np.int32(7)}
        ckptload.save_checkpoint(values, folder / f"rank_{rank}" / "net-1_1.ckpt", crc_check=crc)
    return folder


@pytest.fixture
def ranks(tmp_path: Path) -> Path:
    """A set of 4 ranks, and beside it its strategy and the whole tensors."""
    (tmp_path / "strategy.ckpt").write_bytes(protobuf(TOLD))
    ckptload.save_checkpoint({**WHOLE, "step": np.int32(7)}, tmp_path / "whole.ckpt")
    return save(tmp_path / "ranks", crc=True)


@pytest.fixture
def strategy(tmp_path: Path) -> Path:
    return tmp_path / "strategy.ckpt"


def test_whole_tensors_are_listed(ranks: Path, strategy: Path, capsys: CAPTURE) -> None:
    assert run("inspect", ranks, "--strategy", strategy) == 0
    out = capsys.readouterr().out
    assert "(8, 2)" in out
    assert "(2, 4)" in out
    assert "without a strategy" not in out


def test_what_a_folder_is_is_told(ranks: Path, strategy: Path, capsys: CAPTURE) -> None:
    assert run("inspect", ranks, "--strategy", strategy) == 0
    assert "  4 ranks (0-3), files: 4 .ckpt\n" in capsys.readouterr().out
    shutil.rmtree(ranks / "rank_1")
    assert run("inspect", ranks, "--copies", "first") == 0
    out = capsys.readouterr().out
    assert "  3 ranks (0, 2-3), files: 3 .ckpt\n  without a file: 1 rank (1)\n  all ranks have the same names\n" in out
    assert "  without a strategy: if ranks hold slices, these are read as if they were whole\n" in out


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["a", "b", "c", "d"], "redundancy was removed: ranks have different names"),
        (["a", "a", "b", "b"], "ranks have different names by stages"),
        (["a", "a", "a", "a"], "all ranks have the same names"),
        (["a", "", "", "b"], "redundancy was removed: ranks have different names"),
    ],
)
def test_which_names_ranks_have_is_told(tmp_path: Path, names: list[str], said: str, capsys: CAPTURE) -> None:
    for rank, name in enumerate(names):
        path = tmp_path / "ranks" / f"rank_{rank}" / "net.ckpt"
        path.parent.mkdir(parents=True)
        if name:
            ckptload.save_checkpoint({name: np.ones(2, np.float32)}, path)
        else:
            path.write_bytes(b"")
    assert run("inspect", tmp_path / "ranks") == 0
    assert f"  {said}\n" in capsys.readouterr().out


def test_what_looks_like_the_strategy_is_named(ranks: Path, strategy: Path, capsys: CAPTURE) -> None:
    (strategy.parent / "strategy_of_others.ckpt").write_bytes(protobuf({"w": ([2], [0], 0)}))
    (strategy.parent / "strategies").mkdir()
    (strategy.parent / "strategies" / "s0.ckpt").write_bytes(protobuf(TOLD))
    assert run("inspect", ranks, "--copies", "first") == 0
    named = [line for line in capsys.readouterr().out.splitlines() if "looks like its strategy" in line]
    assert named == [
        f"  looks like its strategy: --strategy {strategy.parent / 'strategies'} (4 ranks, 1 stage)",
        f"  looks like its strategy: --strategy {strategy} (4 ranks, 1 stage)",
    ]


def test_a_folder_that_does_not_open_without_its_strategy_is_told_too(tmp_path: Path, capsys: CAPTURE) -> None:
    for rank, rows in enumerate((2, 5)):
        path = tmp_path / "ranks" / f"rank_{rank}" / "net.ckpt"
        path.parent.mkdir(parents=True)
        ckptload.save_checkpoint({"w": np.ones(rows, np.float32)}, path)
    (tmp_path / "strategy.ckpt").write_bytes(protobuf({"w": ([2], [0], 0)}, split={"w": [2, 5]}))
    assert run("inspect", tmp_path / "ranks") == 2
    shown = capsys.readouterr()
    assert "  2 ranks (0-1), files: 2 .ckpt\n" in shown.out
    assert f"looks like its strategy: --strategy {tmp_path / 'strategy.ckpt'}" in shown.out
    assert "slices need their strategy" in shown.err
    assert "pass --copies first" in shown.err
    assert run("inspect", tmp_path / "ranks", "--strategy", tmp_path / "strategy.ckpt") == 0
    assert "(7,)" in capsys.readouterr().out


def test_slices_without_a_strategy_are_one_finding(ranks: Path, capsys: CAPTURE) -> None:
    assert run("verify", ranks) == 2
    assert capsys.readouterr().err.count("slices need their strategy") == 1


def test_json_says_the_same(ranks: Path, strategy: Path, capsys: CAPTURE) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((FOLDER / "inspect.schema.json").read_text("utf-8"))
    for options in ((), ("--strategy", strategy)):
        assert run("inspect", ranks, "--json", "--copies", "first", *options) == 0
        told = json.loads(capsys.readouterr().out)
        jsonschema.validate(told, schema, cls=jsonschema.Draft202012Validator)
        found = told["files"][0]["set"]
        assert (found["kind"], found["ranks"], found["missing"]) == ("rank folders", [0, 1, 2, 3], [])
        assert found["formats"] == {".ckpt": 4}
        assert (found["redundancy"], found["strategies"]) == (("unknown", []) if options else ("kept", [str(strategy)]))


def test_unified_folders_and_folders_of_mindformers_are_sets(tmp_path: Path, capsys: CAPTURE) -> None:
    unified = tmp_path / "unified"
    unified.mkdir()
    ckptload.save_checkpoint(WHOLE, unified / "part0.safetensors", format="safetensors")
    (unified / "param_name_map.json").write_text(json.dumps({"weight_map": dict.fromkeys(WHOLE, "part0.safetensors")}))
    assert run("inspect", unified) == 0
    assert "  unified folder of 1 file (1 .safetensors)\n" in capsys.readouterr().out
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "metadata.json").write_text('{"title": "no checkpoint"}')
    ckptload.save_checkpoint(WHOLE, tmp_path / "other" / "net.ckpt")
    assert run("inspect", tmp_path / "other") == 0
    assert "net.ckpt" in capsys.readouterr().out
    (tmp_path / "other" / "metadata.json").write_text('{"state_dict_metadata": {}, "storage_data": 5}')
    assert run("inspect", tmp_path / "other") != 0
    assert "metadata.json" in capsys.readouterr().err


def test_a_set_is_verified(ranks: Path, strategy: Path, capsys: CAPTURE) -> None:
    assert run("verify", ranks, "--strategy", strategy) == 4
    out = capsys.readouterr().out
    assert "checked: structure, CRC-32, all ranks, copies whole" in out
    assert "not covered: nothing covers which files belong to the set" in out
    path = ranks / "rank_3" / "net-1_1.ckpt"
    path.chmod(0o600)
    data = bytearray(path.read_bytes())
    data[30] ^= 1
    path.write_bytes(data)
    assert run("verify", ranks, "--strategy", strategy) == 1
    assert "CRC" in capsys.readouterr().out


def test_the_file_of_a_rank_is_named(ranks: Path, strategy: Path, capsys: CAPTURE) -> None:
    path = ranks / "rank_2" / "net-1_1.ckpt"
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-20])
    assert run("verify", ranks, "--strategy", strategy) == 1
    assert f"\n  {path}: " in capsys.readouterr().out
    assert run("verify", ranks, "--strategy", strategy, "--json") == 1
    (found,) = json.loads(capsys.readouterr().out)["files"]
    assert found["findings"][0]["problem"].startswith(f"{path}: ")


def test_a_strategy_that_is_wrong_is_named(ranks: Path, strategy: Path, capsys: CAPTURE) -> None:
    strategy.write_bytes(protobuf({"w": ([1 << 31, 1 << 31], [0, -1], 0)}))
    assert run("inspect", ranks, "--strategy", strategy) == 1
    assert f"ckptload: {strategy}: parameter 'w': " in capsys.readouterr().err


def test_what_no_rank_holds_is_listed(ranks: Path, strategy: Path, capsys: CAPTURE) -> None:
    shutil.rmtree(ranks / "rank_1")
    shutil.rmtree(ranks / "rank_3")
    assert run("verify", ranks, "--strategy", strategy) == 1
    out = capsys.readouterr().out
    assert "parameter 'w': 8 of 16 elements are in no file that is here; ranks 1, 3 hold them" in out
    assert "parameter 'v':" in out
    assert "parameter 'b':" not in out


def test_copies_that_differ_are_found(ranks: Path, strategy: Path, capsys: CAPTURE) -> None:
    path = ranks / "rank_3" / "net-1_1.ckpt"
    path.unlink()
    slices = {
        name: np.ascontiguousarray(cut(layout[0], layout[1], layout[2], WHOLE[name])[3])
        for name, layout in TOLD.items()
    }
    ckptload.save_checkpoint({**slices, "b": slices["b"] + 1, "step": np.int32(7)}, path)
    assert run("verify", ranks, "--strategy", strategy) == 1
    assert "parameter 'b':" in capsys.readouterr().out
    whole = ranks.parent / "whole.ckpt"
    assert run("diff", ranks, whole, "--strategy", strategy) == 2
    capsys.readouterr()
    assert run("diff", ranks, whole, "--strategy", strategy, "--copies", "first") == 0


def test_a_set_is_the_same_as_its_whole(ranks: Path, strategy: Path, capsys: CAPTURE) -> None:
    whole = ranks.parent / "whole.ckpt"
    assert run("diff", ranks, whole, "--strategy", strategy) == 0
    assert run("diff", whole, ranks, "--strategy", strategy) == 0
    ckptload.save_checkpoint({**WHOLE, "b": WHOLE["b"] + 1, "step": np.int32(7)}, whole)
    capsys.readouterr()
    assert run("diff", ranks, whole, "--strategy", strategy) == 1
    assert "b" in capsys.readouterr().out


def test_two_sets_with_their_own_strategies(ranks: Path, strategy: Path) -> None:
    told = {"w": ([4], [-1, -1], 0), "v": ([4], [-1, 0], 0), "b": ([4], [-1], 0)}
    other = save(ranks.parent / "other", told)
    (ranks.parent / "b.ckpt").write_bytes(protobuf(told))
    assert run("diff", ranks, other, "--strategy", strategy, "--strategy-b", ranks.parent / "b.ckpt") == 0
    assert run("diff", ranks, other, "--strategy", strategy) != 0


def test_a_set_is_converted(ranks: Path, strategy: Path, tmp_path: Path) -> None:
    target = tmp_path / "merged.safetensors"
    assert run("convert", ranks, target, "--strategy", strategy) == 0
    with ckptload.open_checkpoint(target) as reader:
        assert {name: reader[name].asnumpy().tolist() for name in WHOLE} == {
            name: value.tolist() for name, value in WHOLE.items()
        }


def test_a_report_on_a_set(ranks: Path, strategy: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert run("report", ranks, "--strategy", strategy, "-o", page) == 0
    assert "[8, 2]" in page.read_text("utf-8") or "(8, 2)" in page.read_text("utf-8")
    assert run("report", tmp_path / "whole.ckpt", "--against", ranks, "--against-strategy", strategy, "-o", page) == 0


def test_one_of_several_files_is_chosen(ranks: Path, strategy: Path, capsys: CAPTURE) -> None:
    for rank in range(4):
        path = ranks / f"rank_{rank}" / "net-2_1.ckpt"
        ckptload.save_checkpoint({"other": np.ones(1, np.float32)}, path)
    assert run("inspect", ranks, "--strategy", strategy) == 0
    assert "other" in capsys.readouterr().out
    assert run("inspect", ranks, "--strategy", strategy, "--file-suffix", "1_1") == 0
    assert "(8, 2)" in capsys.readouterr().out


def test_options_about_sets_need_one(ranks: Path, strategy: Path, capsys: CAPTURE) -> None:
    whole = ranks.parent / "whole.ckpt"
    for command in ("inspect", "verify", "report"):
        assert run(command, whole, "--strategy", strategy) == 2
        assert "are for the files of many ranks" in capsys.readouterr().err
    assert run("diff", whole, whole, "--strategy-b", strategy) == 2
    assert run("convert", whole, ranks.parent / "out.ckpt", "--strategy", strategy) == 2


def test_the_options_are_there() -> None:
    import click

    for command in ("inspect", "verify", "diff", "convert", "report"):
        found = program.get_command(click.Context(program), command)
        assert found is not None
        assert {"--strategy", "--file-suffix", "--copies"} <= {option for one in found.params for option in one.opts}
