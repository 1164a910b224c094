"""What the pages promise is tested: a comment after each promise names the test, and the test is there.

A comment reads ``<!-- tested by tests/test_saving.py::test_name -->``, or names a class and its test.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from typing import TYPE_CHECKING

import pytest

from places import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCS = ROOT / "docs"
#: The pages that say what withstands accident and attack.
PAGES = ["security", "saving", "lazy", "cli"]
COMMENT = re.compile(r"<!--(.*?)-->", re.DOTALL)
NAMED = re.compile(r"\s*tested by (tests/[\w/]+\.py)((?:::\w+){1,2})\s*")
#: Sections and bullets, by their first words, that promise nothing: what the reader is asked to do.
ASKING = {
    ("security", "Reporting a problem"),
    ("security", "The limits keep a process alive;"),
    ("security", "`cryptography` ends the process"),
}
FENCE = re.compile(r"^( *)```.*?^\1```$", re.DOTALL | re.MULTILINE)

pytestmark = pytest.mark.skipif(not DOCS.exists(), reason="the documentation is not here")


def page(name: str) -> str:
    return (DOCS / f"{name}.md").read_text("utf-8")


@cache
def found_in(file: str) -> frozenset[str]:
    """Return the tests of a file: ``::test_name`` and ``::TestClass::test_name``."""
    tree = ast.parse((ROOT / file).read_text("utf-8"))
    return frozenset(_tests(tree.body, ""))


def _tests(body: list[ast.stmt], above: str) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield from _tests(node.body, f"{above}::{node.name}")
        elif isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            yield f"{above}::{node.name}"


@pytest.mark.parametrize("name", sorted(path.stem for path in DOCS.glob("*.md")))
def test_every_test_that_a_page_names_exists(name: str) -> None:
    for comment in COMMENT.findall(FENCE.sub("", page(name))):
        if comment.startswith(" not run: "):
            continue
        named = NAMED.fullmatch(comment)
        assert named is not None, f"not the form of a comment about a test: {comment}"
        assert (ROOT / named[1]).is_file(), named[1]
        assert named[2] in found_in(named[1]), comment


@pytest.mark.parametrize("name", PAGES)
def test_every_section_of_these_pages_names_tests(name: str) -> None:
    """Sections that only hold other sections have no text of their own."""
    without_code = FENCE.sub("", page(name))
    for section in re.split(r"^#+ ", without_code, flags=re.MULTILINE)[2:]:
        title, _, text = section.partition("\n")
        if text.strip() and (name, title) not in ASKING:
            assert COMMENT.search(text), f"no test is named in the section {title!r}"


@pytest.mark.parametrize("name", PAGES)
def test_every_bullet_and_table_of_these_pages_names_tests(name: str) -> None:
    """A bullet inside its text, a table right after its last row."""
    without_code = FENCE.sub("", page(name))
    for bullet in re.findall(r"^\* (.*(?:\n {2}.*)*)", without_code, re.MULTILINE):
        if not any(page_of == name and bullet.startswith(words) for page_of, words in ASKING):
            assert COMMENT.search(bullet), f"no test is named for {bullet!r}"
    for table, after in re.findall(r"((?:^\|.*\n)+)\s*(.*)", without_code, re.MULTILINE):
        assert COMMENT.match(after), f"no test is named after the table {table[:80]!r}"
