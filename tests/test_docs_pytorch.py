"""The examples of docs/pytorch.md run as they stand."""

from __future__ import annotations

import doctest
import re
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "pytorch.md"
FIXTURES = ROOT / "tests" / "fixtures"

pytestmark = pytest.mark.torch


@pytest.mark.skipif(not PAGE.exists(), reason="the documentation is not here")
def test_the_page_shows_what_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    shutil.copy(FIXTURES / "lenet5.ckpt", tmp_path)
    for name in ("lenet5.npz", "residual.ckpt"):
        shutil.copy(FIXTURES / "networks" / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```pycon\n(.*?)^```$", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    report: list[str] = []
    test = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, PAGE.name, PAGE.name, 0)
    results = runner.run(test, out=report.append)
    assert not results.failed, "".join(report)
    assert results.attempted > 25
