"""docs/cli.md: its examples run, and its tables list what there is."""

from __future__ import annotations

import json
import re
import secrets
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")

import click

import ckptload
from ckptload.cli import text
from ckptload.cli.app import program
from cli_program import PATIENCE, environment
from places import DOCS, FIXTURES

PAGE = DOCS / "cli.md"
TEXT = PAGE.read_text("utf-8") if PAGE.exists() else ""
SCHEMAS = Path(ckptload.__file__).parent / "cli" / "schemas"
#: In the order of the page.
EXAMPLES = re.findall(r"^```sh\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)

pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="the documentation is not here")


def section(title: str) -> str:
    return TEXT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def options_of(command: str) -> set[str]:
    found = program.get_command(click.Context(program), command)
    assert found is not None
    return {option for one in found.params for option in (*one.opts, *one.secondary_opts)}


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.skipif(sys.platform == "win32" or shutil.which("sh") is None, reason="needs a shell")
def test_the_examples_run(tmp_path: Path) -> None:
    """From the first to the last, in one folder, as they stand; without openssl, its line is done here."""
    (tmp_path / "bin").mkdir()
    for name, words in (("ckptload", f"{sys.executable} -m ckptload"), ("python", sys.executable)):
        (tmp_path / "bin" / name).write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        (tmp_path / "bin" / name).chmod(0o755)
    inherited = environment(PYTHONPATH=str(Path(ckptload.__file__).parents[1]))
    if shutil.which("openssl") is None:
        (tmp_path / "bin" / "openssl").write_text(f"#!/bin/sh\necho {secrets.token_hex(32)}\n")
        (tmp_path / "bin" / "openssl").chmod(0o755)
    folder = tmp_path / "here"
    folder.mkdir()
    printed = []
    for block in EXAMPLES:
        done = subprocess.run(
            ["sh", "-ec", block], cwd=folder, env={**inherited, "PATH": f"{tmp_path / 'bin'}:{inherited['PATH']}"},
            capture_output=True, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (block, done.stderr)
        printed.append(done.stdout)
    assert "8\n" in "".join(printed)
    assert (folder / "plain.ckpt").read_bytes() == (FIXTURES / "lenet5.ckpt").read_bytes()
    assert (folder / "out" / "rank_3").is_dir()


def test_there_are_examples() -> None:
    """Whoever reads the page from its top finds how each file is made, before it is used."""
    assert len(EXAMPLES) >= 10
    assert EXAMPLES[0].startswith("cp ")
    assert sum("ckptload " in block for block in EXAMPLES) == len(EXAMPLES)


def test_the_table_of_commands_is_complete() -> None:
    table = TEXT.partition("| command | does |")[2].partition("\n\n")[0]
    assert {
        word for row in re.findall(r"^\| (.*?) \|", table, re.MULTILINE) for word in re.findall(r"`(\w+)[ `]", row)
    } == set(program.list_commands(click.Context(program)))


@pytest.mark.parametrize("command", ["inspect", "show", "diff", "convert", "map"])
def test_options_in_a_section_about_a_command_exist(command: str) -> None:
    named = set(re.findall(r"`(--[a-z-]+)\b(?!` of `inspect`)", section(command)))
    assert len(named) > 3
    assert {name for name in named if not name.startswith("--out-key")} <= options_of(command)
    assert {"--out-key-file", "--out-key-env", "--out-key-prompt", "--out-key-format"} <= options_of("convert")


def test_the_other_options_that_the_page_names_exist() -> None:
    every = {option for name in program.list_commands(click.Context(program)) for option in options_of(name)}
    assert set(re.findall(r"`(--[a-z-]+)", TEXT)) <= every | {"--help", "--version", "--out-key"}


def test_the_table_of_exit_codes_is_complete() -> None:
    codes = {int(code) for code in re.findall(r"^\| (\d) \|", section("Exit codes"), re.MULTILINE)}
    assert codes == {text.SOUND, *text.KINDS, text.UNCHECKED}
    (order,) = re.findall(r"in the order ([\d, ]+)\.", section("Exit codes"))
    worse = [int(code) for code in order.split(", ")]
    assert set(worse) == codes
    assert all(text.worst([better, one]) == one for at, one in enumerate(worse) for better in worse[at:])


def test_the_table_of_kinds_is_complete() -> None:
    rows = re.findall(r"^\| `([\w ]+)` \| .* \| (\d)[^|]*\|$", section("JSON"), re.MULTILINE)
    assert {int(code): kind for kind, code in rows if kind != text.FOREIGN} == text.KINDS
    assert (text.FOREIGN, "1") in rows


def test_the_list_of_verdicts_is_complete() -> None:
    schema = json.loads((SCHEMAS / "verify.schema.json").read_text("utf-8"))
    verdicts = schema["properties"]["files"]["items"]["properties"]["verdict"]["enum"]
    sentence = section("JSON").partition("The `verdict` of a file is ")[2].partition("(exit codes 2 and 3)")[0]
    assert re.findall(r"`([\w ]+)`", " ".join(sentence.split())) == verdicts


def test_the_schemas_that_the_page_names_are_there() -> None:
    (number,) = re.findall(r"^In schema (\d) every", section("JSON"), re.MULTILINE)
    assert json.loads("".join(text.document()))["schema"] == int(number)
    assert set(re.findall(r"(\w+\.schema\.json)`", section("JSON"))) == {path.name for path in SCHEMAS.iterdir()}
