"""``-``: checkpoints through standard input and standard output."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("click")

import ckptload
from cli_program import FIXTURES, PATIENCE, PROGRAM, Result, environment, on_terminal

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.slow,
    pytest.mark.once,
    pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX system"),
]
LENET = FIXTURES / "lenet5.ckpt"


def piped(content: bytes, *arguments: object) -> Result:
    """Run the command with something in a pipe to its standard input."""
    done = subprocess.run(
        [*PROGRAM, *map(str, arguments)], input=content, capture_output=True, check=False, env=environment(),
        timeout=PATIENCE,
    )  # fmt: skip
    return Result(done.returncode, done.stdout.decode("latin-1"), done.stderr.decode())


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (("-",), 0, "8 entries"),
        (("inspect", "-", "--stats"), 0, "8 entries"),
        (("verify", "-"), 4, "standard input: nothing to verify against"),
        (("diff", "-", LENET), 0, "--- standard input"),
        (("diff", LENET, "-"), 0, "+++ standard input"),
        (("show", "-", "fc3.bias"), 0, "fc3.bias  Float32"),
    ],
)
def test_a_checkpoint_comes_through_a_pipe(arguments: tuple[object, ...], code: int, expected: str) -> None:
    done = piped(LENET.read_bytes(), *arguments)
    assert (done.code, done.err) == (code, "")
    assert expected in done.out


def test_it_is_called_standard_input() -> None:
    assert piped(LENET.read_bytes(), "-").out.splitlines()[0] == "standard input"
    assert json.loads(piped(LENET.read_bytes(), "inspect", "--json", "-").out)["files"][0]["path"] == "standard input"
    done = piped(b"\x0a\xff", "-")
    assert done.err.startswith("ckptload: standard input: ")


def test_a_file_behind_it_is_read_where_it_is() -> None:
    with LENET.open("rb") as file:
        file.seek(100)
        done = subprocess.run(
            [*PROGRAM, "show", "-", "fc3.bias"], stdin=file, capture_output=True, check=True, timeout=PATIENCE,
            env=environment(TMPDIR="/no such folder"),
        )  # fmt: skip
    assert b"fc3.bias" in done.stdout


def test_a_checkpoint_is_converted_on_its_way(tmp_path: Path) -> None:
    done = piped(LENET.read_bytes(), "convert", "-", "-", "--format", "safetensors")
    assert (done.code, done.err) == (0, "standard output: 8 entries, 241.0 KiB (246,736 bytes) written\n")
    (tmp_path / "x.safetensors").write_bytes(done.out.encode("latin-1"))
    assert len(ckptload.load_checkpoint(tmp_path / "x.safetensors", format="safetensors")) == 8


def test_it_is_read_once() -> None:
    for arguments in (("diff", "-", "-"), ("inspect", "-", "-"), ("map", "-", "--target", "-")):
        done = piped(LENET.read_bytes(), *arguments)
        assert done.code == 2
        assert "only once" in done.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("merge", "-", "x.ckpt"),
        ("reshard", "-", "x", "--to", "y"),
        ("strategy", "-"),
        ("map", LENET, "--target", LENET, "-o", "-"),
        ("convert", LENET, "-"),
        ("convert", LENET, "-", "--shard-size", "1KB"),
    ],
)
def test_where_it_cannot_be_a_message_says_so(arguments: tuple[object, ...]) -> None:
    done = piped(b"", *arguments)
    assert (done.code, done.out) == (2, "")
    assert len(done.err.splitlines()) == 2


def test_a_terminal_is_no_checkpoint() -> None:
    assert "standard input is a terminal" in on_terminal("inspect", "-").out
    assert "standard output is a terminal" in on_terminal("convert", LENET, "-", "--to", "ckpt").out


def test_a_disk_without_room_is_told(tmp_path: Path) -> None:
    (tmp_path / "no folder").write_bytes(b"")
    limited = ["sh", "-c", 'ulimit -f 100; trap "" XFSZ; exec "$@"', "sh", *PROGRAM, "inspect", "-"]
    done = subprocess.run(
        limited, input=LENET.read_bytes() * 4, capture_output=True, check=False, env=environment(), timeout=PATIENCE
    )
    assert done.returncode == 2
    assert b"standard input could not be copied to" in done.stderr
    assert b"TMPDIR" in done.stderr
