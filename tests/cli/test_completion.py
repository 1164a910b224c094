"""Completion: what click's protocol offers, and what a person sees in bash, zsh and fish."""

from __future__ import annotations

import contextlib
import os
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("click")

import ckptload
from ckptload.__main__ import main
from cli_program import FIXTURES, PATIENCE, environment, run
from strategies import floats

CAPTURE = pytest.CaptureFixture[str]
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX system")
LENET = FIXTURES / "lenet5.ckpt"


def offered(*words: object) -> list[str]:
    """Return what is offered for the last word, as a shell asks for it: each with its type."""
    done = run(
        _CKPTLOAD_COMPLETE="bash_complete",
        COMP_WORDS=" ".join(map(str, ("ckptload", *words))),
        COMP_CWORD=str(len(words)),
    )
    assert (done.code, done.err) == (0, "")
    return done.out.split()


def plain(*words: object) -> list[str]:
    return [word.removeprefix("plain,") for word in offered(*words) if word.startswith("plain,")]


def is_new_enough(shell: str) -> bool:
    if shutil.which(shell) is None:
        return False
    if shell != "bash":
        return True
    said = subprocess.run([shell, "--version"], capture_output=True, text=True, timeout=PATIENCE, check=False).stdout
    found = re.search(r"version (\d+)\.(\d+)", said)
    return found is not None and (int(found[1]), int(found[2])) >= (4, 4)


# -- the protocol -----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.once
def test_commands_and_files_are_offered_first() -> None:
    assert offered("ver") == ["plain,verify", "plain,version", "file,ver"]


@pytest.mark.slow
@pytest.mark.once
def test_a_file_alone_has_the_options_of_inspect() -> None:
    assert plain("model.ckpt", "--st") == ["--stats", "--strategy"]


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("inspect", "--sort", "s"), ["size"]),
        (("inspect", "--sort", "=", "s"), ["size"]),
        (("inspect", "--sort", "="), ["size", "name", "dtype"]),
        (("inspect", "--sort", "=", "size", "--color", "=", "au"), ["auto"]),
        (("inspect", "--sort", "size,"), ["size,name", "size,dtype"]),
        (("inspect", "--sort", "size,dtype,n"), ["size,dtype,name"]),
        (("reshard", "--format", ""), ["ckpt", "safetensors"]),
        (("convert", "--format", "s"), ["safetensors"]),
        (("convert", "--dtype", "b"), ["bfloat16"]),
        (("map", "--convention", "mindformers-l"), ["mindformers-llama", "mindformers-llama-concat"]),
        (("completion", ""), ["bash", "zsh", "fish"]),
        (("help", "con"), ["convert"]),
    ],
)
def test_values_of_options_are_offered(words: tuple[str, ...], expected: list[str]) -> None:
    assert plain(*words) == expected


@pytest.mark.slow
@pytest.mark.once
def test_maps_are_names_and_files() -> None:
    assert offered("convert", "a", "b", "--map", "mindo") == ["plain,mindone", "file,mindo"]


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize(
    "words",
    [("show", LENET), ("inspect", LENET, "--filter"), (LENET, "--filter"), ("convert", LENET, "x", "--include")],
)
def test_names_of_entries_are_offered(words: tuple[object, ...]) -> None:
    assert plain(*words, "conv") == ["conv1.weight", "conv2.weight"]


@pytest.mark.slow
@pytest.mark.once
def test_many_names_are_offered_step_by_step(tmp_path: Path) -> None:
    names = [f"net.{part}.{number}.weight" for part in ("encoder", "decoder") for number in range(50)]
    ckptload.save_checkpoint({name: np.ones(1, np.float32) for name in names}, tmp_path / "x.ckpt")
    assert plain("show", tmp_path / "x.ckpt", "") == ["net.encoder", "net.decoder"]
    assert plain("show", tmp_path / "x.ckpt", "net.encoder.1") == [
        name for name in names if name.startswith("net.encoder.1")
    ]


@pytest.mark.slow
@pytest.mark.once
def test_nothing_that_a_shell_could_run_is_offered(tmp_path: Path) -> None:
    """A file may come from anywhere, and what is completed is on the command line."""
    hostile = ["a$(touch x)", "a`touch x`", "a;touch", "a b", "a\nb", "a'b", "a\x1b[31m", "a,b"]
    (tmp_path / "x.ckpt").write_bytes(b"".join(floats(name, 1) for name in [*hostile, "a.b"]))
    assert plain("show", tmp_path / "x.ckpt", "a") == ["a.b"]


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize("content", [None, b"", b"no checkpoint", b"\x0a\xff\xff\xff\xff"])
def test_a_file_that_does_not_open_offers_nothing_and_says_nothing(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    if content is not None:
        path.write_bytes(content)
    assert plain("show", path, "") == []
    assert plain("show", FIXTURES / "enc_gcm.ckpt", "") == []
    assert plain("show", tmp_path, "") == []


@pytest.mark.slow
@pytest.mark.once
@POSIX
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert plain("show", tmp_path / "pipe", "") == []
    assert plain("show", "-", "") == []


# -- the scripts ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_command_prints_the_script(shell: str, capsys: CAPTURE) -> None:
    assert main(["completion", shell]) == 0
    out = capsys.readouterr().out
    assert "_CKPTLOAD_COMPLETE" in out
    assert f"{shell}_complete" in out
    assert shell != "fish" or out.count("string split --max 1") == 1, "words with commas are cut"


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize(
    "shell", [shell for shell in ("bash", "zsh", "fish") if is_new_enough(shell) or shell != "bash"]
)
def test_the_variable_of_click_gives_the_same_script(shell: str) -> None:
    by_variable = run(_CKPTLOAD_COMPLETE=f"{shell}_source").out
    assert run("completion", shell).out.strip() == by_variable.strip()


def test_another_shell_is_refused(capsys: CAPTURE) -> None:
    assert main(["completion", "tcsh"]) == 2
    assert "bash" in capsys.readouterr().err


# -- the shells -------------------------------------------------------------------------------------------


class Shell:
    """A shell on a pseudo-terminal, in a folder with `model.ckpt`, and with completion switched on."""

    def __init__(self, name: str, folder: Path) -> None:
        import pty

        (folder / "bin").mkdir()
        (folder / "bin" / "ckptload").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ckptload "$@"\n')
        (folder / "bin" / "ckptload").chmod(0o755)
        shutil.copy(LENET, folder / "model.ckpt")
        inherited = environment(PS1="$ ")
        settings = {
            **inherited,
            "PATH": f"{folder / 'bin'}:{inherited['PATH']}",
            # One that is relative would mean another folder here.
            "PYTHONPATH": str(Path(ckptload.__file__).parents[1]),
            "HOME": str(folder),
            "XDG_CONFIG_HOME": str(folder),
            "XDG_DATA_HOME": str(folder),
            "TERM": "xterm",
        }
        started, ready = _STARTS[name]
        child, self._terminal = pty.fork()
        if child == 0:
            with contextlib.suppress(OSError):
                os.chdir(folder)
                os.execvpe(started[0], started, settings)  # noqa: S606 -- ours
            os._exit(127)
        self._child = child
        self._seen = ""
        os.write(self._terminal, f"{ready} && echo switched-'on'\r".encode())
        self.wait_for("switched-on")

    def wait_for(self, pattern: str) -> str:
        """Return what was shown until a pattern was, and forget it."""
        deadline = time.monotonic() + PATIENCE
        while re.search(pattern, self._seen) is None:
            assert time.monotonic() < deadline, self._seen
            if select.select([self._terminal], [], [], 0.1)[0]:
                piece = os.read(self._terminal, 65536).decode(errors="replace")
                # fish asks what the terminal is before it shows anything.
                if "\x1b[c" in piece or "\x1b[0c" in piece:
                    os.write(self._terminal, b"\x1b[?62;c")
                self._seen += piece
        seen, self._seen = self._seen, ""
        return seen

    def complete(self, typed: str, expected: str) -> str:
        """Type a line and press Tab until a pattern is shown; then clear the line."""
        os.write(self._terminal, typed.encode() + b"\t\t")
        seen = self.wait_for(expected)
        os.write(self._terminal, b"\x15")
        return seen

    def close(self) -> None:
        os.close(self._terminal)
        os.waitpid(self._child, 0)


_STARTS = {
    "bash": (["bash", "--noprofile", "--norc", "-i"], 'eval "$(ckptload completion bash)"'),
    "zsh": (["zsh", "-f", "-i"], 'autoload -Uz compinit; compinit -u; eval "$(ckptload completion zsh)"'),
    "fish": (["fish", "--no-config", "-i"], "ckptload completion fish | source"),
}


@pytest.mark.slow
@pytest.mark.once
@POSIX
@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_a_person_presses_tab(name: str, tmp_path: Path) -> None:
    """Each thing that is completed is written to the line, or listed below it."""
    if not is_new_enough(name):
        pytest.skip(f"there is no {name}, or it is too old")
    shell = Shell(name, tmp_path)
    try:
        shell.complete("ckptload conv", "convert")
        shell.complete("ckptload mod", "model.ckpt")
        shell.complete("ckptload verify mod", "model.ckpt")
        shell.complete("ckptload inspect model.ckpt --sort size,na", "size,name")
        shell.complete("ckptload inspect --color=alw", "always")
        shell.complete("ckptload convert a b --format safe", "safetensors")
        shell.complete("ckptload map x --convention mindon", "mindone")
        shell.complete("ckptload show model.ckpt conv2", r"conv2\.weight")
    finally:
        shell.close()
