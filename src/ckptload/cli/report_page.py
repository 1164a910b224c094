"""The page of `report`: its data as JSON, and the files of the folder `page/` joined in one."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
from importlib import resources
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final

from ckptload import __version__
from ckptload.cli import measuring, stats, text
from ckptload.shown import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ckptload.cli.listing import Listing
    from ckptload.cli.measuring import Name, Side
    from ckptload.cli.stats import Stats
    from ckptload.errors import CheckpointError

#: The beginning of every page; a file that begins otherwise must not be replaced.
MARK: Final = "<!doctype html>\n<!-- ckptload report -->"
_LONGEST_VALUE: Final = 300
#: Integers that are larger are strings: JavaScript has no exact numbers for them.
_EXACT: Final = 2**53
#: The parts of the script in the order in which they run; they share one scope.
SCRIPTS: Final = (
    *("basics", "entries", "state", "tree", "columns", "table", "charts", "panel", "map", "export", "keys", "start"),
)


def build(listings: Sequence[Listing], names: Sequence[Name]) -> str:
    """Return the page about one checkpoint or several, the earliest first."""
    labels = _labels([one.path for one in listings])
    data = {
        "bins": stats.BINS,
        "files": [_head(one, label) for one, label in zip(listings, labels, strict=True)],
        "entries": [_packed(name) for name in names],
    }
    folder = resources.files("ckptload.cli") / "page"
    page = (folder / "page.html").read_text("utf-8")
    style = (folder / "page.css").read_text("utf-8")
    parts = [(folder / f"{name}.js").read_text("utf-8") for name in SCRIPTS]
    script = '"use strict";\n(() => {\n' + "\n".join(parts) + "})();\n"
    filled = {
        "VERSION": __version__,
        "TITLE": html.escape(f"{title(labels)} - ckptload"),
        "SCRIPT_HASH": _hash(script),
        "STYLE_HASH": _hash(style),
        "STYLE": style,
        "SCRIPT": script,
        "DATA": _harmless(json.dumps(data, allow_nan=False, separators=(",", ":"))),
    }
    # Split once, so that inserted text is never taken for a placeholder.
    pieces = page.split("@")
    return "".join(filled.get(part, part) if at % 2 else part for at, part in enumerate(pieces))


def title(labels: Sequence[str]) -> str:
    """Return the title of a page about files with these labels, the earliest first."""
    if len(labels) == 1:
        return labels[0]
    if len(labels) == 2:  # noqa: PLR2004 -- before and after
        return f"{labels[1]} against {labels[0]}"
    return f"{labels[0]} to {labels[-1]}, {len(labels)} checkpoints"


def _labels(paths: Sequence[str]) -> list[str]:
    """Return the names of files; if some have the same, whole paths."""
    names = [PurePath(path.rstrip("/")).name or path for path in paths]
    return [printable(label) for label in (names if len(set(names)) == len(set(paths)) else paths)]


def _head(one: Listing, label: str) -> dict[str, str]:
    about = "; ".join(filter(None, (one.about(), one.foreign, one.unsupported)))
    return {"name": label, "path": printable(one.path), "about": printable(about)}


def _harmless(data: str) -> str:
    """Escape characters that could end a script element or begin a comment; the JSON value is the same."""
    return data.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _hash(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def _packed(name: Name) -> list[Any]:
    """Return an entry as entries.js reads it."""
    distances = [
        distance and [distance.changed, _number(distance.largest), _number(distance.mean), _number(distance.cosine)]
        for distance in name.distances
    ]
    status = name.status() if len(name.sides) > 1 else None
    return [printable(name.name), [_packed_side(side) for side in name.sides], status, distances]


def _packed_side(side: Side | None) -> list[Any] | None:
    if side is None:
        return None
    row, entry = side.row, side.row.entry
    problem = _problem(row.damage)
    if entry is None:
        return [row.type, "", 0, None, None, None, None, None, problem]
    value = row.value
    return [
        row.type,
        row.shape,
        entry.nbytes,
        math.prod(entry.shape) if entry.dtype is not None else None,
        entry.offset,
        _packed_stats(side.stats) if side.stats is not None else None,
        _packed_histogram(side),
        printable(value[:_LONGEST_VALUE]) if isinstance(value, str) else _number(value),
        problem,
    ]


def _problem(damage: CheckpointError | None) -> str | None:
    return text.problem(damage) if damage is not None else None


def _packed_histogram(side: Side) -> list[Any] | None:
    found = side.histogram
    return None if found is None else [_number(found.low), _number(found.high), found.counts.tolist()]


def _packed_stats(found: Stats) -> list[Any]:
    numbers = [found.min, found.max, found.mean, found.std, measuring.norm(found)]
    marks = [int(found.dead), int(found.constant)]
    return [*map(_number, numbers), found.nan, found.inf, found.zeros, *marks]


def _number(number: float | None) -> float | str | None:
    if isinstance(number, int) and abs(number) > _EXACT:
        return str(number)
    return number if number is not None and math.isfinite(number) else None
