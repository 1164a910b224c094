"""`ckptload merge`: what `convert` does, for the files of many ranks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

pytest.importorskip("click")

import ckptload
from ckptload.__main__ import main
from cli_program import check_schema
from rank_sets import arrays, is_whole, source, strategy, values

if TYPE_CHECKING:
    from pathlib import Path

CAPTURE = pytest.CaptureFixture[str]
KEY = b"0123456789abcdef"


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


@pytest.fixture
def old(tmp_path: Path) -> Path:
    source(tmp_path / "run")
    return strategy(tmp_path / "old.json", "dp2tp2")


@pytest.mark.parametrize("name", ["out.ckpt", "out.safetensors"])
def test_the_suffix_says_the_format(tmp_path: Path, old: Path, name: str, capsys: CAPTURE) -> None:
    assert run("merge", tmp_path / "run", tmp_path / name, "--strategy", old) == 0
    assert is_whole(tmp_path / name)
    assert capsys.readouterr().err.endswith(f"{tmp_path / name}: 5 entries, 552 bytes written\n")


def test_entries_are_chosen_renamed_and_converted(tmp_path: Path, old: Path) -> None:
    (tmp_path / "map.json").write_text(json.dumps({"a": "first"}))
    options = ("--include", "*.weight", "--name-map", tmp_path / "map.json", "--dtype", "float16")
    assert run("merge", tmp_path / "run", tmp_path / "out.npz", "--strategy", old, *options) == 0
    with np.load(tmp_path / "out.npz") as found:
        assert found.files == ["first.weight", "b.weight"]
        assert np.array_equal(found["first.weight"], values()["a.weight"].astype(np.float16))


def test_shards_are_written_into_a_folder(tmp_path: Path, old: Path) -> None:
    assert run("merge", tmp_path / "run", tmp_path / "out", "--strategy", old, "--shard-size", "300B") == 0
    assert is_whole(tmp_path / "out" / "model.safetensors.index.json")


def test_a_file_that_exists_is_replaced_only_if_that_is_asked_for(tmp_path: Path, old: Path, capsys: CAPTURE) -> None:
    command = ("merge", tmp_path / "run", tmp_path / "out.ckpt", "--strategy", old)
    assert run(*command) == 0
    assert run(*command) == 2
    assert "--force" in capsys.readouterr().err
    assert run(*command, "--force") == 0


def test_a_dry_run_and_json_say_what_would_be_written(tmp_path: Path, old: Path, capsys: CAPTURE) -> None:
    command = ("merge", tmp_path / "run", tmp_path / "out.ckpt", "--strategy", old)
    assert run(*command, "--dry-run") == 0
    assert capsys.readouterr().out.splitlines()[1].split() == ["a.weight", "Float32", "(8,", "12)", "384"]
    assert run(*command, "--dry-run", "--json", "--include", "b.*") == 0
    told = json.loads(capsys.readouterr().out)
    check_schema(told, "merge")
    assert [entry["name"] for entry in told["entries"]] == ["b.weight", "b.bias"]
    assert (told["dry_run"], told["bytes"], told["written"]) == (True, 144, [str(tmp_path / "out.ckpt")])
    assert not (tmp_path / "out.ckpt").exists()


def test_encrypted_ranks_become_an_encrypted_file(tmp_path: Path, old: Path) -> None:
    source(tmp_path / "secret", enc_key=KEY)
    (tmp_path / "key").write_bytes(KEY)
    command = ("merge", tmp_path / "secret", tmp_path / "out.ckpt", "--strategy", old)
    assert run(*command) == 3
    key = ("--key-file", tmp_path / "key", "--key-format", "raw")
    out_key = ("--out-key-file", tmp_path / "key", "--out-key-format", "raw")
    assert run(*command, *key, *out_key) == 0
    found = ckptload.load_checkpoint(tmp_path / "out.ckpt", dec_key=KEY, parameters="numpy")
    assert np.array_equal(found["a.weight"], values()["a.weight"])


def test_what_was_decided_is_noted(tmp_path: Path, old: Path, capsys: CAPTURE) -> None:
    for rank in range(4):
        path = tmp_path / "run" / f"rank_{rank}" / "net-1_1.ckpt"
        found = arrays(path)
        ckptload.save_checkpoint(found | {"moments.a.weight": found["a.weight"]}, path, mode=0o644)
    assert run("merge", tmp_path / "run", tmp_path / "out.ckpt", "--strategy", old) == 0
    assert "ckptload: note: 1 entry has no layout and got that of the weight" in capsys.readouterr().err
    assert np.array_equal(arrays(tmp_path / "out.ckpt")["moments.a.weight"], values()["a.weight"])


def test_slices_without_their_strategy_are_refused(tmp_path: Path, old: Path, capsys: CAPTURE) -> None:
    del old
    assert run("merge", tmp_path / "run", tmp_path / "out.ckpt") != 0
    assert "slices need their strategy" in capsys.readouterr().err
    assert not (tmp_path / "out.ckpt").exists()


def test_of_several_files_one_is_named_by_its_end(tmp_path: Path, old: Path, capsys: CAPTURE) -> None:
    source(tmp_path / "run", number=2)
    command = ("merge", tmp_path / "run", tmp_path / "out.ckpt", "--strategy", old)
    assert run(*command, "--file-suffix", "1_1", "--copies", "error") == 0
    assert is_whole(tmp_path / "out.ckpt", 1)
    assert run(*command, "--force") == 0
    assert "have several files, of which the last is taken" in capsys.readouterr().err
    assert is_whole(tmp_path / "out.ckpt", 2)
