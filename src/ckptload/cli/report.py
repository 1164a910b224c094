"""`ckptload report`: an HTML page that shows a checkpoint, or two side by side."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from ckptload import __version__, shown
from ckptload.cli import files, listing, options, pieces, sets, small, stats, text
from ckptload.cli.diff import Distance, same_values
from ckptload.cli.progress import Progress
from ckptload.errors import ArgumentError
from ckptload.shown import printable
from ckptload.writing.atomic import Replacement
from ckptload.writing.targets import place

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Sequence

    from ckptload import Entry, Reader
    from ckptload.cli.keys import KeyChoice
    from ckptload.cli.listing import Listing, Row
    from ckptload.cli.sets import Ranks
    from ckptload.cli.stats import Histogram, Stats
    from ckptload.cli.terminal import Terminal

#: The beginning of every page; a file that begins otherwise must not be replaced.
_MARK: Final = "<!doctype html>\n<!-- ckptload report -->"
_LONGEST_VALUE: Final = 300


@click.command(cls=options.Command)
@click.argument("path", type=options.FILE, metavar="FILE")
@click.option(
    "-o",
    "--output",
    type=options.FILE,
    metavar="PAGE.html",
    help="The page (default: FILE.html in the current directory).",
)
@click.option("--against", type=options.FILE, metavar="OTHER", help="Show FILE and OTHER side by side.")
@click.option("--force", is_flag=True, help="Replace PAGE.html even if it is not a report.")
@options.ranks
@click.option("--against-strategy", type=options.FILE, metavar="FILE", help="Strategy of OTHER, if it is another.")
@options.limit
@options.key_to_read
@options.common
def command(
    *,
    path: str,
    output: str | None,
    against: str | None,
    force: bool,
    ranks: Ranks,
    against_strategy: str | None,
    max_records: int | None,
    key: KeyChoice,
    terminal: Terminal,
) -> int:
    """Write an HTML page about a checkpoint.

    It has a table to search and sort, a map of its bytes, and histograms. The page is one file that needs no network.
    Tensors that have NaN or infinite elements, or are all zero, are marked. With --against, a second checkpoint is
    shown beside the first, with the size of each change.

    Examples:
      ckptload report model.ckpt -o model.html
      ckptload report epoch_9.ckpt --against epoch_1.ckpt -o progress.html
    """
    # The name of a page shows no secret of a URL.
    target = output or f"{Path(shown.place(path).removesuffix(shown.CUT)).name}.html"
    if target != "-":
        target = place(target)
        if not force:
            _refuse_to_replace(target)
    secret = key.read()
    others = ranks if against_strategy is None else ranks._replace(strategy=against_strategy)
    others.check([path] if against is None else [path, against])
    how: dict[str, Any] = {"max_records": max_records, "plain_too": True}
    with files.noted(terminal), files.open_file(path, secret, key, **how, opens=ranks.opens(path)) as first:
        sets.notes_of(first, terminal)
        one = listing.take(path, first, lambda _: True)
        if against is None:
            page = _page(one, None, _Measuring(first, None, terminal).run(one, None))
            reveals = first.statuses()
        else:
            with files.open_file(against, secret, key, **how, opens=others.opens(against)) as second:
                two = listing.take(against, second, lambda _: True)
                page = _page(one, two, _Measuring(first, second, terminal).run(one, two))
                reveals = first.statuses() + second.statuses()
    _write(target, page, reveals, terminal)
    terminal.say(f"{terminal.show(target)}: {shown.human_bytes(len(page.encode()))} written")
    for error in one.damaged:
        terminal.complain(error, path)
    return text.worst(map(text.exit_code, one.damaged))


# -- measuring ----------------------------------------------------------------------------------------


@dataclass
class _Side:
    """A name in one file."""

    row: Row
    stats: Stats | None = None
    histogram: Histogram | None = None


@dataclass
class _Pair:
    """A name in either file or both."""

    name: str
    a: _Side | None
    b: _Side | None
    distance: Distance | None = None

    def status(self) -> str:
        """Return the change from A to B: added, removed, changed or same."""
        if self.a is None or self.b is None:
            return "added" if self.a is None else "removed"
        one, other = self.a.row.entry, self.b.row.entry
        if one is None or other is None or _look(one) != _look(other):
            return "changed"
        if self.distance is not None:
            return "changed" if self.distance.changed else "same"
        return "same" if self.a.row.value == self.b.row.value else "changed"


class _Measuring:
    """Statistics and histograms of tensors, which are read one at a time or a few small ones at once."""

    def __init__(self, first: Reader, second: Reader | None, terminal: Terminal) -> None:
        self._first = first
        self._second = second
        self._terminal = terminal

    def run(self, one: Listing, two: Listing | None) -> list[_Pair]:
        """Measure all names and return them, those of A first."""
        left = {row.name: _Side(row) for row in one.rows}
        right = {row.name: _Side(row) for row in two.rows} if two is not None else {}
        pairs = [_Pair(name, side, right.get(name)) for name, side in left.items()]
        pairs += [_Pair(name, None, side) for name, side in right.items() if name not in left]
        with Progress(self._terminal, "measuring", one.nbytes + (two.nbytes if two is not None else 0)) as progress:
            both = [pair for pair in pairs if _alike(pair)]
            together = {pair.name for pair in both}
            alone = [pair for pair in pairs if pair.name not in together]
            self._alone(self._first, [(pair, pair.a) for pair in alone if pair.a is not None], progress)
            if self._second is not None:
                self._alone(self._second, [(pair, pair.b) for pair in alone if pair.b is not None], progress)
                self._together(self._second, both, progress)
        for pair in pairs:
            if _untyped(pair) and self._second is not None:
                self._compare_whole(pair, self._second)
        return pairs

    def _alone(self, reader: Reader, sides: Iterable[tuple[_Pair, _Side]], progress: Progress) -> None:
        by_name = {pair.name: side for pair, side in sides}
        entries = [
            side.row.entry
            for side in by_name.values()
            if side.row.entry is not None and side.row.entry.dtype is not None
        ]
        for entry, arrays in pieces.of_tensors(reader, entries):
            side = by_name[entry.name]
            held = list(arrays) if entry.nbytes <= pieces.PIECE else None
            side.stats = stats.of(entry.dtype, arrays if held is None else held)
            if side.stats is not None and side.stats.min is not None and side.stats.max is not None:
                side.histogram = stats.Histogram(side.stats.min, side.stats.max)
                for array in pieces.of_tensor(reader, entry) if held is None else held:
                    side.histogram.add(array)
            progress.advance(entry.nbytes)

    def _together(self, second: Reader, pairs: list[_Pair], progress: Progress) -> None:
        """Measure tensors that both files have in one shape, with histograms over a common range."""
        by_name = {pair.name: pair for pair in pairs}
        entries = [
            (pair.a.row.entry, pair.b.row.entry)
            for pair in pairs
            if pair.a is not None and pair.b is not None and pair.a.row.entry and pair.b.row.entry
        ]
        for (one, other), arrays in pieces.of_pairs(self._first, second, entries):
            pair = by_name[one.name]
            held = list(arrays) if max(one.nbytes, other.nbytes) <= pieces.PIECE else None
            distance, left, right = Distance(0, 0), stats.Stats(), stats.Stats()
            for a, b in arrays if held is None else held:
                left.add(a)
                right.add(b)
                distance.add(a, b)
            again = pieces.of_pair(self._first, second, one, other) if held is None else iter(held)
            _fill(pair, left, right, again)
            pair.distance = distance
            progress.advance(one.nbytes + other.nbytes)

    def _compare_whole(self, pair: _Pair, second: Reader) -> None:
        """Compare two strings, maps, random states or tensors of one unsupported type, as if each had one element."""
        entries = [side.row.entry for side in (pair.a, pair.b) if side is not None and side.row.entry is not None]
        distance = Distance(0, 0, count=1)
        distance.changed = int(not same_values(self._first, entries[0], second, entries[1]))
        pair.distance = distance


def _look(entry: Entry) -> tuple[object, ...]:
    return entry.kind, entry.dtype, entry.type_name, entry.shape


def _alike(pair: _Pair) -> bool:
    """Tell whether both files have a tensor of one shape whose elements are numbers."""
    entries = [side.row.entry for side in (pair.a, pair.b) if side is not None]
    if len(entries) != 2 or any(  # noqa: PLR2004 -- A and B
        entry is None or entry.dtype is None or entry.dtype in stats.OPAQUE for entry in entries
    ):
        return False
    return entries[0].shape == entries[1].shape  # type: ignore[union-attr]


def _untyped(pair: _Pair) -> bool:
    entries = [side.row.entry for side in (pair.a, pair.b) if side is not None and side.row.entry is not None]
    return (
        len(entries) == 2  # noqa: PLR2004 -- A and B
        and entries[0].kind == entries[1].kind
        and (entries[0].dtype is None or entries[0].dtype in stats.OPAQUE)
        and entries[0].dtype is entries[1].dtype
        and entries[0].type_name == entries[1].type_name
    )


def _fill(pair: _Pair, left: Stats, right: Stats, arrays: Iterator[tuple[Any, Any]]) -> None:
    lows = [low for low in (left.min, right.min) if low is not None]
    highs = [high for high in (left.max, right.max) if high is not None]
    if pair.a is None or pair.b is None:
        return
    pair.a.stats, pair.b.stats = left, right
    if not lows:
        return
    pair.a.histogram = stats.Histogram(min(lows), max(highs))
    pair.b.histogram = stats.Histogram(min(lows), max(highs))
    for a, b in arrays:
        pair.a.histogram.add(a)
        pair.b.histogram.add(b)


# -- the page -------------------------------------------------------------------------------------------


def _page(one: Listing, two: Listing | None, pairs: list[_Pair]) -> str:
    data = {
        "bins": stats.BINS,
        "file": _head(one),
        "against": None if two is None else _head(two),
        "entries": [_packed(pair, compared=two is not None) for pair in pairs],
    }
    folder = resources.files("ckptload.cli") / "page"
    page = (folder / "page.html").read_text("utf-8")
    script, style = (folder / "page.js").read_text("utf-8"), (folder / "page.css").read_text("utf-8")
    filled = {
        "VERSION": __version__,
        "TITLE": html.escape(printable(f"{one.path} - ckptload")),
        "SCRIPT_HASH": _hash(script),
        "STYLE_HASH": _hash(style),
        "STYLE": style,
        "SCRIPT": script,
        "DATA": _harmless(json.dumps(data, allow_nan=False, separators=(",", ":"))),
    }
    # Split once, so that inserted text is never taken for a placeholder.
    parts = page.split("@")
    return "".join(filled.get(part, part) if at % 2 else part for at, part in enumerate(parts))


def _head(one: Listing) -> dict[str, str]:
    about = "; ".join(filter(None, (one.about(), one.foreign, one.unsupported)))
    return {"path": printable(one.path), "about": printable(about)}


def _harmless(data: str) -> str:
    """Escape characters that could end a script element or begin a comment; the JSON value is the same."""
    return data.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _hash(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def _packed(pair: _Pair, *, compared: bool) -> list[Any]:
    """Return an entry as page.js reads it."""
    histogram = next((side.histogram for side in (pair.a, pair.b) if side is not None and side.histogram), None)
    distance = pair.distance
    return [
        printable(pair.name),
        _packed_side(pair.a),
        _packed_side(pair.b),
        pair.status() if compared else None,
        _number(histogram.low) if histogram is not None else None,
        _number(histogram.high) if histogram is not None else None,
        None
        if distance is None
        else [distance.changed, _number(distance.largest), _number(distance.mean), _number(distance.cosine)],
    ]


def _packed_side(side: _Side | None) -> list[Any] | None:
    if side is None:
        return None
    row, entry, found = side.row, side.row.entry, side.stats
    problem = text.problem(row.damage) if row.damage is not None else None
    if entry is None:
        return [row.type, "", 0, None, None, None, None, None, problem]
    value = row.value
    if isinstance(value, float):
        value = _number(value)
    return [
        row.type,
        row.shape,
        entry.nbytes,
        math.prod(entry.shape) if entry.dtype is not None else None,
        entry.offset,
        _packed_stats(found) if found is not None else None,
        side.histogram.counts.tolist() if side.histogram is not None else None,
        printable(value[:_LONGEST_VALUE]) if isinstance(value, str) else value,
        problem,
    ]


def _packed_stats(found: Stats) -> list[Any]:
    numbers = [_number(found.min), _number(found.max), _number(found.mean), _number(found.std)]
    return [*numbers, found.nan, found.inf, found.zeros, int(found.dead), int(found.constant)]


def _number(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None


# -- writing --------------------------------------------------------------------------------------------


def _refuse_to_replace(target: str) -> None:
    """Refuse to replace a file that is not a report: a checkpoint may be named by mistake."""
    try:
        # Something else may have taken the file's place, and opening a pipe must not wait.
        with open(target, encoding="utf-8", errors="replace", newline="", opener=small.open_at_once) as file:
            is_report = file.read(len(_MARK) + 2).replace("\r\n", "\n").startswith(_MARK)
    except OSError:
        # It does not exist, or writing will raise the error.
        return
    if not is_report:
        raise ArgumentError(
            "the file exists and is not a report", path=target, hint="give another name, or --force to replace it"
        )


def _write(target: str, page: str, reveals: Sequence[os.stat_result], terminal: Terminal) -> None:
    """Write the page to a file that takes its place when it is complete, or to standard output.

    Whoever may not read the checkpoints that it `reveals` may not read it.
    """
    if target == "-":
        terminal.write([page.rstrip("\n")])
        return
    with Replacement(target, synced=False, reveals=reveals) as file:
        file.write(page.encode())
