"""Tables and text on terminals of any width."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("click")

from ckptload.cli.table import ASKED, ORNAMENT, Column, render
from ckptload.cli.terminal import Terminal

NAMES = [f"net.encoder.layers.{number}.self_attention.projection.weight" for number in range(4)]


def terminal(width: int | None) -> Terminal:
    made = Terminal()
    made.width, made.color, made.fancy = width, False, True
    return made


def table(width: int, *columns: Column) -> list[str]:
    return list(render(list(columns), terminal(width)))


def with_statistics() -> list[Column]:
    ornaments = [Column(title, keep=ORNAMENT - at, cells=["1234567"] * 4) for at, title in enumerate(("A", "B", "C"))]
    asked = [Column(title, keep=ASKED + at, cells=["-0.1234"] * 4) for at, title in enumerate(("MIN", "MAX", "MEAN"))]
    return [Column("NAME", cells=list(NAMES)), *ornaments, *asked]


@pytest.mark.parametrize(
    ("width", "titles"),
    [
        (160, "NAME A B C MIN MAX MEAN"),
        (70, "NAME A B MIN MAX MEAN"),
        (60, "NAME A MIN MAX MEAN"),
        (50, "NAME MIN MAX MEAN"),
        (39, "NAME MIN MAX MEAN"),
        (38, "NAME MAX MEAN"),
        (20, "NAME"),
    ],
)
def test_statistics_stay_and_other_columns_go(width: int, titles: str) -> None:
    lines = table(width, *with_statistics())
    assert lines[0].split() == titles.split()
    assert max(map(len, lines)) <= width


@pytest.mark.parametrize("width", [50, 45, 40, 34, 30])
def test_names_are_shortened_so_that_they_differ(width: int) -> None:
    """By both ends if that tells them apart, else without what all of them begin with."""
    lines = table(width, Column("NAME", cells=list(NAMES)))[1:]
    assert len(set(lines)) == len(NAMES)
    assert all("…" in line for line in lines)
    assert max(map(len, lines)) <= width


def test_the_lines_of_a_tree_are_not_shortened() -> None:
    column = Column("NAME", cells=["x" * 30, "y" * 30], leads=["├─ ", "│  └─ "])
    lines = table(20, column)[1:]
    assert [line[:6] for line in lines] == ["├─ xxx", "│  └─ "]
    assert [len(line) for line in lines] == [20, 20]


def test_names_that_fit_are_left_alone() -> None:
    assert table(80, Column("NAME", cells=list(NAMES)))[1:] == NAMES
    assert table(10, Column("NAME", cells=[]))[1:] == []


def test_text_is_broken_between_words() -> None:
    line = "  MindSpore .ckpt, 1.9 MiB, no CRC-32, written by MindSpore 2.1 or newer"
    assert terminal(None).wrap(line) == [line]
    assert terminal(80).wrap(line) == [line]
    lines = terminal(40).wrap(line, "    ")
    assert max(map(len, lines)) <= 40
    assert re.sub(r"\s+", " ", " ".join(lines)) == f" {line.strip()}"
    assert [len(one) - len(one.lstrip()) for one in lines] == [2, 4]
    assert terminal(20).wrap("x" * 50) == ["x" * 50]
