"""Help: words for it, summaries that are whole, lines that fit."""

from __future__ import annotations

import re

import click
import pytest

pytest.importorskip("click")

import ckptload
from ckptload.__main__ import main
from ckptload.cli.app import program

CAPTURE = pytest.CaptureFixture[str]
COMMANDS = program.list_commands(click.Context(program))


def printed(capsys: CAPTURE, *arguments: str) -> str:
    assert main(list(arguments)) == 0
    return capsys.readouterr().out


def test_help_and_version_are_words_too(capsys: CAPTURE) -> None:
    assert printed(capsys, "help") == printed(capsys, "--help")
    for command in COMMANDS:
        assert printed(capsys, "help", command) == printed(capsys, command, "--help")
    assert printed(capsys, "version") == printed(capsys, "--version") == f"ckptload {ckptload.__version__}\n"


def test_help_for_a_word_that_is_no_command_is_refused(capsys: CAPTURE) -> None:
    assert main(["help", "convrt"]) == 2
    assert "'convrt' is not a command" in capsys.readouterr().err


def test_summaries_of_commands_are_whole_sentences(capsys: CAPTURE, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is the first sentence of the help of its command, and fits 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    table = printed(capsys, "help").partition("Commands:\n")[2].partition("\n\n")[0]
    rows = dict(re.findall(r"^  (\w+) +(.*)$", table, re.MULTILINE))
    assert list(rows) == COMMANDS
    assert len(table.splitlines()) == len(COMMANDS)
    for name, summary in rows.items():
        assert re.fullmatch(r"[A-Z][^.]*[^. ]\.?", summary), (name, summary)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_eighty_columns(command: str, capsys: CAPTURE, monkeypatch: pytest.MonkeyPatch) -> None:
    """Examples are written as they are typed, so a few may be longer."""
    monkeypatch.setenv("COLUMNS", "80")
    lines = printed(capsys, command, "--help").splitlines()
    assert [line for line in lines if len(line) > 80 and not line.startswith("    ")] == []
