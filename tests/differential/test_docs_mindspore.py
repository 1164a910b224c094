"""The examples of the pages and of the README that need MindSpore run as they stand."""

from __future__ import annotations

import shutil
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
    shutil.copy(ROOT / "tests" / "fixtures" / "lenet5.ckpt", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert run_page(DOCS / f"{page}.md", shown=UserWarning) > 12


@pytest.mark.skipif(not README.exists(), reason="the README is not here")
def test_the_first_example_of_the_readme_is_a_script_with_mindspore(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("mindspore")
    monkeypatch.chdir(ROOT)
    example = README.read_text("utf-8").partition("```python\n")[2].partition("```")[0]
    assert "import mindspore" in example
    exec(compile(example, str(README), "exec"), {})  # noqa: S102 -- the README is ours
    assert example.splitlines()[-1] == "# " + capsys.readouterr().out.strip()
