"""The documentation: what the README shows runs, and what the sources cite is there."""

from __future__ import annotations

import importlib.util
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import ckptload
from ckptload import errors
from layouts import write_set
from places import ROOT

DOCS = ROOT / "docs"
README = ROOT / "README.md"
PACKAGE = Path(ckptload.__file__).parent

BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
EXAMPLES = BLOCK.findall(README.read_text("utf-8")) if README.exists() else []
#: For example: docs/format.md, "Strings" and "Random state".
CITED = re.compile(r'docs/(\w+)\.md(?:,((?:\s*(?:and|,)?\s*(?:#:?\s*)?"[^"]+")+))?')
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


@pytest.mark.skipif(not README.exists(), reason="the README is not here")
def test_the_examples_of_the_readme_run_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What an example says in a comment that it prints, it prints."""
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    write_set(tmp_path)
    monkeypatch.chdir(tmp_path)
    variables: dict[str, object] = {}
    assert EXAMPLES
    for example in EXAMPLES:
        needed = re.findall("import (torch|mindspore)", example)
        if any(importlib.util.find_spec(framework) is None for framework in needed):
            continue
        exec(compile(example, str(README), "exec"), variables)  # noqa: S102 -- the README is ours
        printed = capsys.readouterr().out
        for said in re.findall(r"^ *# (.*)$", example, re.MULTILINE):
            assert said in printed


@pytest.mark.skipif(not DOCS.exists(), reason="the documentation is not here")
def test_the_reference_lists_every_public_name() -> None:
    """Errors are listed as a module."""
    listed = set(re.findall(r"\w+", (DOCS / "api.md").read_text("utf-8")))
    assert set(ckptload.__all__) - listed - set(vars(errors)) == {"__version__"}


@pytest.mark.skipif(not DOCS.exists(), reason="the documentation is not here")
@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.stem)
def test_pages_and_headings_that_a_module_cites_exist(path: Path) -> None:
    for page, headings in CITED.findall(path.read_text("utf-8")):
        assert (DOCS / f"{page}.md").exists(), page
        there = HEADING.findall((DOCS / f"{page}.md").read_text("utf-8"))
        assert not set(re.findall(r'"([^"]+)"', headings)) - set(there), page


@pytest.mark.skipif(not DOCS.exists(), reason="the documentation is not here")
def test_every_page_has_one_place_in_the_order_of_the_index() -> None:
    trees = re.findall(r"^```\{toctree\}\n(.*?)^```", (DOCS / "index.md").read_text("utf-8"), re.MULTILINE | re.DOTALL)
    listed = [line for tree in trees for line in tree.splitlines() if line and not line.startswith(":")]
    assert sorted(listed) == sorted(path.stem for path in DOCS.glob("*.md") if path.stem != "index")


#: Names in annotations that are Python's.
STANDARD = {"Any", "None", "Mapping"}


@pytest.mark.skipif(not DOCS.exists(), reason="the documentation is not here")
def test_the_reference_has_every_type_that_a_function_returns() -> None:
    reference = (DOCS / "api.md").read_text("utf-8")
    documented = set(re.findall(r"autoclass:: (?:ckptload\.)?(?:mindspore\.)?(\w+)", reference))
    missing: set[str] = set()
    for name in re.findall(r"autofunction:: (?:ckptload\.)?([\w.]+)", reference):
        function: Any = ckptload
        for part in name.split("."):
            function = getattr(function, part)
        returned = str(inspect.signature(function).return_annotation)
        ours = {word for word in re.findall(r"\w+", returned) if word[0].isupper()} - STANDARD
        missing |= ours - documented
    assert missing == set()
