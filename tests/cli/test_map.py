"""`ckptload map`: how sure a proposed map is, what it is proposed for, and what is done with it."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("click")

import ckptload
from ckptload.__main__ import main
from cli_program import FIXTURES, check_schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

CAPTURE = pytest.CaptureFixture[str]
LENET = FIXTURES / "lenet5.ckpt"


def ckpt(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


@pytest.fixture(autouse=True)
def _no_bytecode(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of one name change within the second by which Python tells whether bytecode is old."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the current folder; what is imported from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    sys.modules.pop("nets_here", None)


def saved(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Path:
    chance = np.random.default_rng(1)
    ckptload.save_checkpoint({name: chance.random(shape, np.float32) for name, shape in shapes.items()}, path)
    return path


#: Two layers that nothing tells apart, once with words that mean nothing.
TWINS = {"one.weight": (3, 3), "two.weight": (3, 3), "head.weight": (2, 3), "head.bias": (2,)}
OTHER = {"xa.weight": (3, 3), "xb.weight": (3, 3), "head.weight": (2, 3), "head.bias": (2,)}


@pytest.mark.parametrize(
    ("net", "code", "verdict"),
    [
        (TWINS, 0, "certain"),
        (OTHER, 1, "unsure"),
        ({**TWINS, "more.weight": (7, 9)}, 2, "misfit"),
    ],
)
def test_the_exit_code_says_how_sure_the_map_is(
    net: dict[str, tuple[int, ...]], code: int, verdict: str, tmp_path: Path, capsys: CAPTURE
) -> None:
    source, target = saved(tmp_path / "a.ckpt", TWINS), saved(tmp_path / "b.ckpt", net)
    assert ckpt("map", source, "--target", target) == code
    assert capsys.readouterr().out.strip()
    assert ckpt("map", source, "--target", target, "--json") == code
    document = json.loads(capsys.readouterr().out)
    assert document["verdict"] == verdict
    assert document["certain"] is (code == 0)
    assert bool(document["questions"]) or code != 1


def test_json_is_valid(tmp_path: Path, capsys: CAPTURE) -> None:
    source = saved(tmp_path / "a.ckpt", TWINS)
    for net in (TWINS, OTHER, {"head.weight": (2, 3, 1, 1), "none": (4,)}):
        target = saved(tmp_path / "b.ckpt", net)
        ckpt("map", source, "--target", target, "--json")
        check_schema(json.loads(capsys.readouterr().out), "map")


@pytest.mark.parametrize(("content", "code"), [(b"\x0a\x05damaged", 1), (b"<html></html>", 5), (None, 2)])
def test_a_file_that_does_not_open_has_its_usual_code(content: bytes | None, code: int, tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    if content is not None:
        path.write_bytes(content)
    assert ckpt("map", path, "--target", LENET) == code
    assert ckpt("map", LENET, "--target", path) == code


@pytest.mark.parametrize("suffix", ["ckpt", "safetensors"])
def test_a_checkpoint_of_the_net_will_do(suffix: str, tmp_path: Path, capsys: CAPTURE) -> None:
    target = tmp_path / f"x.{suffix}"
    assert ckpt("convert", "-q", LENET, target) == 0
    assert ckpt("map", LENET, "--target", target) == 0
    assert not capsys.readouterr().err


def test_a_module_is_imported_from_the_current_folder_and_called(here: Path, capsys: CAPTURE) -> None:
    (here / "nets_here.py").write_text(
        "print('imported')\n"
        "class Nets:\n"
        "    @staticmethod\n"
        "    def make(rows=1, name=''):\n"
        "        assert name in ('', 'x=y')\n"
        "        return {'head.weight': (rows, 3)}\n"
        "SHAPES = {'head.weight': (2, 3)}\n"
    )
    source = saved(here / "a.ckpt", {"head.weight": (2, 3)})
    assert ckpt("map", source, "--module", "nets_here:Nets.make", "--argument", "rows=2", "--argument", "name=x=y") == 0
    shown = capsys.readouterr()
    assert "runs the code of 'nets_here'" in shown.err
    assert "imported" in shown.err
    assert "imported" not in shown.out
    assert ckpt("map", source, "--module", "nets_here:Nets.make") == 2
    assert ckpt("map", source, "--module", "nets_here:SHAPES") == 0


@pytest.mark.parametrize(
    ("code", "name", "said"),
    [
        ("raise SystemExit(0)", "net", "cannot be imported: SystemExit"),
        ("x = 1 / 0", "net", "cannot be imported: ZeroDivisionError"),
        ("x = 1", "net", "cannot be imported: AttributeError"),
        ("def net(a): return a", "net", "cannot be called: TypeError"),
        ("net = 3", "net", "int"),
        ("net = {}", "", "does not name anything"),
    ],
)
def test_code_that_fails_is_one_sentence(code: str, name: str, said: str, here: Path, capsys: CAPTURE) -> None:
    (here / "nets_here.py").write_text(code)
    assert ckpt("map", LENET, "--module", f"nets_here:{name}") == 2
    shown = capsys.readouterr().err
    assert said in shown
    assert "Traceback" not in shown
    assert "a bug" not in shown


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--target", LENET, "--module", "x:y"),
        ("--target", LENET, "--argument", "a=b"),
        ("--target", LENET, "--rule", "ab"),
        ("--target", LENET, "--rule", "a=b", "--rule", "a=c"),
        ("--module", "json:loads", "--argument", "3"),
        ("--target", LENET, "--convention", "nobodys"),
    ],
)
def test_wrong_use_is_told(options: tuple[object, ...], capsys: CAPTURE) -> None:
    assert ckpt("map", LENET, *options) == 2
    shown = capsys.readouterr()
    assert shown.err
    assert "bug" not in shown.err
    assert not shown.out


def test_a_rule_answers_a_question(tmp_path: Path, capsys: CAPTURE) -> None:
    source, target = saved(tmp_path / "a.ckpt", TWINS), saved(tmp_path / "b.ckpt", OTHER)
    assert ckpt("map", source, "--target", target, "--rule", "one=xb", "--rule", "two=xa", "--json") == 0
    names = json.loads(capsys.readouterr().out)["name_map"]
    assert (names["one.weight"], names["two.weight"]) == ("xb.weight", "xa.weight")


def test_a_map_is_written_and_converts(tmp_path: Path, capsys: CAPTURE) -> None:
    shapes = {f"net.blocks.{i}.fc.weight": (4, 5 + i) for i in range(3)}
    source = saved(tmp_path / "a.ckpt", shapes)
    target = saved(tmp_path / "b.ckpt", {name.replace("net.blocks", "layers"): shape for name, shape in shapes.items()})
    output, result = tmp_path / "map.json", tmp_path / "c.ckpt"
    assert ckpt("map", source, "--target", target, "-o", output) == 0
    assert "map.json: written" in capsys.readouterr().err
    assert ckpt("convert", source, result, "--map", output) == 0
    assert set(ckptload.load_checkpoint(result)) == set(ckptload.load_checkpoint(target))
    assert ckpt("map", source, "--target", target, "-o", output) == 2
    assert "--force" in capsys.readouterr().err
    assert ckpt("map", source, "--target", target, "-o", output, "--force") == 0


def test_the_map_of_an_unsure_proposal_is_refused_until_it_is_edited(tmp_path: Path, capsys: CAPTURE) -> None:
    source, target = saved(tmp_path / "a.ckpt", TWINS), saved(tmp_path / "b.ckpt", OTHER)
    output = tmp_path / "map.json"
    assert ckpt("map", source, "--target", target, "-o", output) == 1
    assert "with its questions" in capsys.readouterr().err
    assert ckpt("convert", source, tmp_path / "c.ckpt", "--map", output) == 2
    assert "open questions" in capsys.readouterr().err
    written: dict[str, Any] = json.loads(output.read_text())
    assert written["questions"]
    del written["certain"]
    written["rules"] = [{"from": "one", "to": "xa"}, {"from": "two", "to": "xb"}]
    output.write_text(json.dumps(written))
    assert ckpt("convert", source, tmp_path / "c.ckpt", "--map", output) == 0
    assert set(ckptload.load_checkpoint(tmp_path / "c.ckpt")) == set(OTHER)


def test_an_encrypted_checkpoint_and_a_folder_of_ranks_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CKPTLOAD_KEY", "00" * 16)
    key = ("--key-env", "CKPTLOAD_KEY", "--key-format", "hex")
    assert ckpt("encrypt", "-q", LENET, tmp_path / "x.ckpt", *key) == 0
    assert ckpt("map", tmp_path / "x.ckpt", "--target", LENET) == 3
    assert ckpt("map", tmp_path / "x.ckpt", "--target", LENET, *key) == 0
    (tmp_path / "set" / "rank_0").mkdir(parents=True)
    (tmp_path / "set" / "rank_0" / "x.ckpt").write_bytes(LENET.read_bytes())
    assert ckpt("map", tmp_path / "set", "--target", LENET) == 0


@pytest.mark.torch
def test_a_module_of_torch_is_made_without_memory(here: Path, capsys: CAPTURE) -> None:
    """On the meta device, unless it computes with its values when it is made."""
    torch = pytest.importorskip("torch")
    (here / "nets_here.py").write_text(
        "import torch\n"
        "class Large(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.fc = torch.nn.Linear(1 << 22, 1 << 22)\n"
        "class Small(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.fc = torch.nn.Linear(3, 2)\n"
        "        self.fc.weight.sum().item()\n"
        "small = Small()\n"
    )
    source = saved(here / "a.ckpt", {"fc.weight": (2, 3), "fc.bias": (2,)})
    assert ckpt("map", source, "--module", "nets_here:Small") == 0
    assert ckpt("map", source, "--module", "nets_here:small") == 0
    assert ckpt("map", source, "--module", "nets_here:Large") == 2
    assert "fc.weight" in capsys.readouterr().out
    torch.save({"fc.weight": torch.ones(2, 3), "fc.bias": torch.ones(2)}, here / "x.pt")
    assert ckpt("map", source, "--target", here / "x.pt") == 0
    assert ckpt("map", here / "x.pt", "--target", source) == 0
