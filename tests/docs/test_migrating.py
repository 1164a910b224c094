"""The tables of docs/migrating.md and docs/lazy.md name what there is; tests/differential runs the examples."""

from __future__ import annotations

import inspect
import re
from functools import reduce
from inspect import Parameter

import pytest

import ckptload
from ckptload.foreign.giving import KINDS
from places import ROOT

PAGE = ROOT / "docs" / "migrating.md"
TEXT = PAGE.read_text("utf-8") if PAGE.exists() else ""
SECTIONS = dict(re.findall(r"^### (.*?)\n(.*?)(?=^##)", TEXT, re.MULTILINE | re.DOTALL))
FUNCTIONS = {name: heading for heading in SECTIONS for name in heading.split(", ") if " " not in name}
NAME = re.compile(r"`\**([\w.]+)`")
ROW = re.compile(r"^\| ([^|-][^|]*) \| ?([^|]*?) ?\| ?(.*?) ?\|$", re.MULTILINE)

pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="the documentation is not here")


def test_the_page_is_about_mindspores_functions() -> None:
    assert len(FUNCTIONS) == 6


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_table_of_a_function_has_every_argument(function: str) -> None:
    """Those that ckptload adds are in the rows "only here", and no other is."""
    rows = ROW.findall(SECTIONS[FUNCTIONS[function]])
    parameters = inspect.signature(getattr(ckptload, function)).parameters
    added = {name for name, one in parameters.items() if one.kind is Parameter.KEYWORD_ONLY}
    here = ("only here", "only here, both", f"only here, `{function}`")
    about = [row for row in rows if row[0] in here]
    assert {name for row in about for name in NAME.findall(row[2])} == added
    named = [name for row in rows if not row[0].startswith("only here") for name in NAME.findall(row[0])]
    if any(row[0].startswith("the others") for row in rows):
        named = list(parameters)[: list(parameters).index(named[-1]) + 1]
    assert sorted(named) == sorted(parameters.keys() - added)


@pytest.mark.parametrize("heading", sorted(set(FUNCTIONS.values())))
def test_every_mark_in_a_table_is_explained(heading: str) -> None:
    """A mark may go on after a semicolon. Rows about arguments of another table, or only ckptload's, have none."""
    intro = TEXT.partition("## Function by function")[2].partition("\n### ")[0]
    explained = {mark.lower() for mark in re.findall(r'"(\w+)":', intro)}
    assert len(explained) == 4
    rows = [row for row in ROW.findall(SECTIONS[heading]) if row[0].startswith("`")]
    assert rows
    for _, mark, _ in rows:
        assert {part.partition(" ")[0] for part in mark.split("; ")} <= explained, mark


def test_what_the_page_says_is_not_here_is_not() -> None:
    rows = re.findall(r"^\| (`.*?) \|", SECTIONS["What is not here"], re.MULTILINE)
    names = [name for row in rows for name in NAME.findall(row)]
    assert len(names) > 10
    for name in names:
        with pytest.raises(AttributeError, match="from MindSpore"):
            reduce(getattr, name.split("."), ckptload)


def test_the_table_of_kinds_is_complete() -> None:
    page = (ROOT / "docs" / "lazy.md").read_text("utf-8")
    text = page.partition("## What tensors are loaded as")[2].partition("\n## ")[0]
    assert set(re.findall(r'^\| `"(\w+)"`', text, re.MULTILINE)) == set(KINDS)
