"""The examples of docs/mindspore.md run as they stand."""

from __future__ import annotations

import doctest
import re
import shutil
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "mindspore.md"

pytestmark = pytest.mark.mindspore


def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    """Print a warning where the page shows it, without the place, which a reader's script has elsewhere."""
    sys.stdout.write(f"{category.__name__}: {message}\n")


@pytest.mark.skipif(not PAGE.exists(), reason="the documentation is not here")
def test_the_page_shows_what_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mindspore")
    shutil.copy(ROOT / "tests" / "fixtures" / "lenet5.ckpt", tmp_path)
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```pycon\n(.*?)^```$", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    report: list[str] = []
    test = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, PAGE.name, PAGE.name, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = show
        results = runner.run(test, out=report.append)
    assert not results.failed, "".join(report)
    assert results.attempted > 12
