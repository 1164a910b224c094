"""HTML for notebooks."""

from __future__ import annotations

import importlib
import sys
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ckptload
from ckptload import Cell, Parameter, Tensor, markup, open_checkpoint, plan_binding, propose_name_map, sample
from ckptload.shown import printable
from places import FIXTURES
from strategies import record

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = "<script>alert(1)</script>\"'&\n\x1b[31m\u202e"


class Cells(HTMLParser):
    """Collect the texts of elements, and check that every element is closed where it may be."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert {name for name, _ in attrs} <= {"colspan"}
        self.open.append(tag)
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def parsed(html: str) -> Cells:
    found = Cells()
    found.feed(html)
    found.close()
    assert found.open == []
    assert found.seen <= {"div", "p", "b", "table", "tr", "th", "td", "pre"}
    return found


@given(name=st.text(max_size=60))
def test_any_name_is_shown_as_text(name: str) -> None:
    for html in (markup.table("t", ["name"], [[name]], 1), markup.block(name, name)):
        assert printable(name) in "".join(parsed(html).texts) or not printable(name) or "\n" in name


def test_a_long_table_and_a_long_name_are_cut() -> None:
    html = markup.table("t", ["a", "b"], ((str(n), "&" * 500) for n in range(100_000)), 100_000)
    assert len(html) < 100_000
    texts = parsed(html).texts
    assert "... and 99,940 more" in texts
    assert "&" * 197 + "..." in texts


def test_a_checkpoint_is_a_table_of_its_entries(tmp_path: Path) -> None:
    with open_checkpoint(sample()) as reader:
        texts = parsed(reader._repr_html_()).texts
        assert {"conv1.weight", "Float32", "(6, 1, 5, 5)", "600 B"} <= set(texts)
        assert "8 entries, 61.7K elements, 241.0 KiB" in texts
    assert "closed checkpoint" in "".join(parsed(reader._repr_html_()).texts)
    path = tmp_path / "odd.ckpt"
    path.write_bytes(record(HOSTILE, (1,), "Float32", b"\0" * 4) + record("bad", (2,), "Int8", b"1"))
    with open_checkpoint(path) as reader:
        texts = parsed(reader._repr_html_()).texts
        assert printable(HOSTILE) in texts
        assert "damaged" in texts


def test_values_are_shown_as_numpy_shows_them() -> None:
    parameter = Parameter(Tensor(np.arange(6, dtype=np.float32).reshape(2, 3)), name="w<")
    text = "".join(parsed(parameter._repr_html_()).texts)
    assert "Parameter w<: Float32, shape (2, 3), 6 elements, 24 B" in text
    assert str(parameter.asnumpy()) in text
    assert len(Tensor(np.zeros((1000, 1000), np.float32))._repr_html_()) < 1000


def test_plans_and_proposals_are_shown() -> None:
    cell = Cell()
    cell.weight = Parameter(Tensor(np.zeros((10, 84), np.float16)), name="fc3.weight")
    cell.other = Parameter(Tensor(np.zeros(1, np.float32)), name="<other>")
    texts = parsed(plan_binding(cell, sample())._repr_html_()).texts
    assert {"<other>", "keeps its values", "Float16 (10, 84), converted from Float32"} <= set(texts)
    proposal = propose_name_map({"fc.weight": (10, 84)}, sample())
    assert "The map is" in "".join(parsed(proposal._repr_html_()).texts)


def test_a_notebook_shows_it_and_completes_its_names() -> None:
    """In IPython itself, if it is installed."""
    pytest.importorskip("IPython")
    completer = importlib.import_module("IPython.core.completer")
    shell: Any = importlib.import_module("IPython.core.interactiveshell").InteractiveShell.instance()
    with open_checkpoint(FIXTURES / "lenet5.ckpt") as reader:
        shell.user_ns["reader"] = reader
        data, _ = shell.display_formatter.format(reader)
        assert data["text/html"] == reader._repr_html_()
        with completer.provisionalcompleter():
            found = [each.text for each in shell.Completer.completions('reader["fc3', 11)]
        assert any("fc3.weight" in text for text in found)


def test_dir_has_public_names_only() -> None:
    names = dir(ckptload)
    assert names == sorted(names, key=names.index)
    assert not [name for name in names if name.startswith("_") and name != "__version__"]
    internal = {"absent", "annotations", "importlib", "Any", "Final", "TYPE_CHECKING", "dtypes", "shown", "sources"}
    assert not internal & set(names)
    assert set(names) == set(ckptload.__all__)
    for name in ("load_checkpoint", "sample", "nn", "ops"):
        assert name in names
    assert "ckptload.cli" not in sys.modules or "cli" not in names
