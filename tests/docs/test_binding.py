"""The examples of docs/binding.md, and those of the API document, run as they stand."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

import pytest

from pages import run, run_page
from places import ROOT

if TYPE_CHECKING:
    from pathlib import Path

FIXTURES = ROOT / "tests" / "fixtures"
PAGE = ROOT / "docs" / "binding.md"
API_DOCUMENT = ROOT.parent / "shared" / "seed" / "load_checkpoint.txt"

#: What the examples load, by the names they use.
FILES = {"LeNet5-1_32.ckpt": "lenet5.ckpt", "adam.ckpt": "adam.ckpt"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the folder that the examples are run in."""
    (tmp_path / "checkpoint").mkdir()
    for name, fixture in FILES.items():
        shutil.copy(FIXTURES / fixture, tmp_path / "checkpoint" / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_page_shows_what_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_page(PAGE, shown=Warning, flags=0) > 40
    assert sorted(path.name for path in (tmp_path / "checkpoint").iterdir()) == sorted(FILES)


@pytest.mark.skipif(not API_DOCUMENT.exists(), reason="the API document is not beside the project")
@pytest.mark.usefixtures("folder")
def test_the_api_documents_examples_print_what_it_says() -> None:
    """Character for character, with nothing changed but the import."""
    examples = API_DOCUMENT.read_text("utf-8").partition("\nExamples\n")[2].partition("Tutorial Examples")[0]
    examples = examples.replace("import mindspore as ms", "import ckptload as ms")
    assert run(examples, "load_checkpoint.txt", shown=Warning) > 5
    shown = re.findall(r"```pycon\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)[1]
    assert shown.split() == examples.split(), "the page shows the document's examples"


def test_a_wrong_example_would_be_noticed() -> None:
    with pytest.raises(AssertionError, match="Expected"):
        run(">>> 1 + 1\n3\n", "wrong")
