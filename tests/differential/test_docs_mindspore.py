"""The examples of the pages and of the README that need MindSpore run as they stand."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from pages import run_page
from places import ROOT

if TYPE_CHECKING:
    from pathlib import Path

DOCS = ROOT / "docs"
README = ROOT / "README.md"

pytestmark = pytest.mark.mindspore


@pytest.mark.skipif(not DOCS.exists(), reason="the documentation is not here")
@pytest.mark.parametrize("page", ["mindspore", "migrating"])
def test_the_page_shows_what_happens(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mindspore")
    monkeypatch.chdir(tmp_path)
    assert run_page(DOCS / f"{page}.md", shown=UserWarning) > 12


@pytest.mark.skipif(not README.exists(), reason="the README is not here")
def test_the_example_of_the_readme_with_mindspore_prints_what_it_says(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("mindspore")
    monkeypatch.chdir(ROOT)
    blocks = re.findall(r"^```python\n(.*?)^```$", README.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    (example,) = (block for block in blocks if "import mindspore" in block)
    exec(compile(example, str(README), "exec"), {})  # noqa: S102 -- the README is ours
    assert example.splitlines()[-1] == "# " + capsys.readouterr().out.strip()
