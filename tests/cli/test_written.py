"""What commands that write do alike: folders that are missing, choices that keep nothing, the last line."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("click")

from ckptload.__main__ import main
from cli_program import FIXTURES, KEY
from rank_sets import source, strategy

if TYPE_CHECKING:
    from pathlib import Path

CAPTURE = pytest.CaptureFixture[str]
LENET = str(FIXTURES / "lenet5.ckpt")
WITH_KEY = ("--key-env", "MODEL_KEY", "--key-format", "raw")


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_KEY", KEY)


@pytest.mark.parametrize(
    "words",
    [
        ("convert", LENET, "{}/x.safetensors"),
        ("convert", LENET, "{}/x.npz"),
        ("convert", LENET, "{}/shards", "--shard-size", "100KB"),
        ("convert", LENET, "{}/shards/model.safetensors.index.json", "--shard-size", "100KB"),
        ("encrypt", LENET, "{}/x.ckpt", *WITH_KEY),
        ("decrypt", str(FIXTURES / "enc_gcm.ckpt"), "{}/x.ckpt", *WITH_KEY),
        ("map", LENET, "--target", LENET, "-o", "{}/map.json"),
        ("merge", "run", "{}/x.ckpt", "--strategy", "old.json"),
        ("reshard", "run", "{}/out", "--strategy", "old.json", "--to", "old.json"),
        ("strategy", "old.json", "--merge", "{}/x.ckpt"),
    ],
)
def test_a_folder_that_is_missing_is_not_made(
    words: tuple[str, ...], tmp_path: Path, capsys: CAPTURE, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `save_checkpoint` does it; with the folder there, the same command writes."""
    monkeypatch.chdir(tmp_path)
    source(tmp_path / "run")
    strategy(tmp_path / "old.json", "dp2tp2")
    folder = "a folder"
    command = [word.format(folder) for word in words]
    assert main(command) == 2
    err = capsys.readouterr().err
    assert f"mkdir -p {shlex.quote(folder)}" in err
    assert not (tmp_path / folder).exists()
    deepest = next(word for word in command if word.startswith(folder))
    (tmp_path / folder).mkdir()
    assert main(command) == 0, deepest
    assert (tmp_path / deepest).exists()


@pytest.mark.parametrize(
    "words",
    [
        ("convert", LENET, "x.ckpt"),
        ("encrypt", LENET, "x.ckpt", *WITH_KEY),
        ("decrypt", str(FIXTURES / "enc_gcm.ckpt"), "x.ckpt", *WITH_KEY),
        ("merge", "run", "x.ckpt", "--strategy", "old.json"),
    ],
)
def test_a_choice_that_keeps_nothing_is_no_match(
    words: tuple[str, ...], tmp_path: Path, capsys: CAPTURE, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source(tmp_path / "run")
    strategy(tmp_path / "old.json", "dp2tp2")
    assert main([*words, "--include", "Weight"]) == 1
    err = capsys.readouterr().err
    assert "no entry matches 'Weight'" in err
    assert main([*words, "--exclude", "*"]) == 1
    assert "--exclude leaves no entry" in capsys.readouterr().err
    assert not (tmp_path / "x.ckpt").exists()


def test_the_nearest_names_are_named(tmp_path: Path, capsys: CAPTURE) -> None:
    assert main(["convert", LENET, str(tmp_path / "x.ckpt"), "--include", "conv"]) == 1
    assert "the nearest names are 'conv1.weight', 'conv2.weight'" in capsys.readouterr().err


def test_the_last_line_counts_the_files(tmp_path: Path, capsys: CAPTURE, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    total = "8 entries, 241.0 KiB (246,736 bytes)"

    def last(*words: str) -> str:
        assert main(list(words)) == 0
        return capsys.readouterr().err.splitlines()[-1]

    assert last("convert", LENET, "x.ckpt") == f"x.ckpt: {total} written"
    assert last("convert", LENET, "y.ckpt", "--dry-run") == f"y.ckpt: {total} would be written"
    first = "shards/model-00001-of-00002.safetensors"
    sharded = ("convert", LENET, "shards", "--shard-size", "100KB")
    assert last(*sharded) == f"{first} ... 2 files and the index, {total} written"
    index = ("convert", LENET, "shards/model.safetensors.index.json", "--shard-size", "100KB", "--force")
    assert last(*index) == f"{first} ... 2 files and the index, {total} written"
    source(tmp_path / "run")
    strategy(tmp_path / "old.json", "dp2tp2")
    cut = ("reshard", "run", "out", "--strategy", "old.json", "--to", "old.json", "--existing", "skip")
    assert last(*cut).startswith("out/rank_0/0.ckpt ... 4 files, 20 entries, 1.2 KiB (")
    assert last(*cut) == "nothing is left to write: 4 files are there already"
