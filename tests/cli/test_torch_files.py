"""Files of PyTorch on the command line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("click")

from ckptload.__main__ import main
from cli_program import FIXTURES, check_schema

if TYPE_CHECKING:
    from pathlib import Path

CAPTURE = pytest.CaptureFixture[str]
pytestmark = pytest.mark.torch


def ckpt(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch")


@pytest.mark.parametrize(("name", "options"), [("x.pt", ()), ("x.pth", ()), ("x", ("--to", "torch"))])
def test_files_of_torch_are_converted_both_ways(
    torch: Any, name: str, options: tuple[str, ...], tmp_path: Path, capsys: CAPTURE
) -> None:
    target, back = tmp_path / name, tmp_path / "back.ckpt"
    assert ckpt("convert", FIXTURES / "lenet5.ckpt", target, *options) == 0
    found = torch.load(target, weights_only=True)
    assert len(found) == 8
    assert ckpt("convert", FIXTURES / "lenet5.ckpt", target, *options) == 2
    assert "--force" in capsys.readouterr().err
    assert ckpt("convert", target, back) == 0
    assert ckpt("diff", "-q", FIXTURES / "lenet5.ckpt", back) == 0


def test_a_file_of_torch_is_inspected(torch: Any, tmp_path: Path, capsys: CAPTURE) -> None:
    path = tmp_path / "x.bin"
    torch.save({"state_dict": {"w": torch.ones(2, 3)}, "epoch": 3}, path)
    assert ckpt("inspect", path) == 0
    shown = capsys.readouterr()
    assert "PyTorch" in shown.out
    assert "(2, 3)" in shown.out
    assert "those of 'state_dict' in the file" in shown.err
    assert "left out: 'epoch'" in shown.err
    assert ckpt("inspect", "--json", "--stats", path) == 0
    document = json.loads(capsys.readouterr().out)
    check_schema(document, "inspect")
    assert document["files"][0]["format"] == "torch"


@pytest.mark.parametrize("command", ["verify", "report", "encrypt"])
def test_other_commands_name_it_and_the_way(torch: Any, command: str, tmp_path: Path, capsys: CAPTURE) -> None:
    torch.save({"w": torch.ones(2, 3)}, tmp_path / "x.pt")
    (tmp_path / "key").write_text("00" * 16)
    more = {
        "report": ["-o", tmp_path / "x.html"],
        "encrypt": [tmp_path / "y.ckpt", "--key-file", tmp_path / "key", "--key-format", "hex"],
    }
    assert ckpt(command, tmp_path / "x.pt", *more.get(command, [])) == 5
    shown = capsys.readouterr()
    assert "a PyTorch file, written by torch.save" in shown.out + shown.err
    assert "convert writes it as a .ckpt" in shown.out + shown.err


def test_what_holds_more_than_weights_is_of_another_kind(torch: Any, tmp_path: Path, capsys: CAPTURE) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "x.pt")
    assert ckpt("convert", tmp_path / "x.pt", tmp_path / "x.ckpt") == 5
    assert "could run code" in capsys.readouterr().err
    assert not (tmp_path / "x.ckpt").exists()
    (tmp_path / "x.pt").write_bytes((tmp_path / "x.pt").read_bytes()[:500])
    assert ckpt("convert", tmp_path / "x.pt", tmp_path / "x.ckpt") == 1
