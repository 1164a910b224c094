"""The examples of docs/without-mindspore.md run as they stand, and the page names what is there."""

from __future__ import annotations

import doctest
import importlib
import re
from typing import TYPE_CHECKING

import pytest

from ckptload import Cell, context
from pages import run_page
from places import ROOT

if TYPE_CHECKING:
    from pathlib import Path

PAGE = ROOT / "docs" / "without-mindspore.md"

pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="the documentation is not here")


def test_the_page_shows_what_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_page(PAGE, flags=doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL) > 10
    context._GENERAL.values.clear()


def test_the_names_in_the_table_exist() -> None:
    rows = re.findall(r"^\| (`ckptload.*?) \| (.*) \|$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert len(rows) == 9
    importlib.import_module("ckptload.train.checkpoint_pb2")
    for modules, text in rows:
        found = [importlib.import_module(module) for module in re.findall(r"`([\w.]+)`", modules)]
        for name in re.findall(r"`(\w+)`", text):
            assert all(hasattr(module, name) for module in found) or hasattr(Cell, name), name
