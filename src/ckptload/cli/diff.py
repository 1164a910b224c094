"""`ckptload diff`: the differences between two checkpoints, values included."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import click
import numpy as np

from ckptload import NameMap, Tensor
from ckptload.cli import completing, files, globs, options, pieces, sets, stats, text
from ckptload.cli.maps import new_names, read_map
from ckptload.cli.progress import Progress
from ckptload.cli.standard import check_once, place
from ckptload.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ckptload import Entry, Reader
    from ckptload.cli.keys import KeyChoice
    from ckptload.cli.sets import Ranks
    from ckptload.cli.terminal import Terminal
    from ckptload.dtypes import Array


SAME: Final = 0
DIFFERENT: Final = 1
TROUBLE: Final = 2

_CHUNK: Final = 32768
_SIGNS: Final = {"added": "+", "removed": "-", "changed": "~"}
_COLORS: Final = {"added": "green", "removed": "red", "changed": "yellow"}


@dataclass
class Distance:
    """The difference between two arrays of one shape.

    Attributes:
        count: pairs of elements.
        changed: pairs whose difference is larger than the tolerance; NaN equals NaN.
        largest: largest difference between finite elements.
    """

    atol: float
    rtol: float
    count: int = 0
    changed: int = 0
    largest: float = 0.0
    finite: int = 0
    _sum: float = 0.0
    _products: float = 0.0
    _squares: tuple[float, float] = (0.0, 0.0)

    @property
    def mean(self) -> float:
        """Return the mean difference of pairs of finite elements."""
        return self._sum / self.finite if self.finite else 0.0

    @property
    def cosine(self) -> float | None:
        """Return the cosine of both as vectors of their finite elements; None if one is zero."""
        length = math.sqrt(self._squares[0]) * math.sqrt(self._squares[1])
        return max(-1.0, min(1.0, self._products / length)) if length else None

    def add(self, left: Array, right: Array) -> None:
        """Add two flat arrays of equal length."""
        with np.errstate(all="ignore"):
            for start in range(0, left.size, _CHUNK):
                self._add(left[start : start + _CHUNK], right[start : start + _CHUNK])

    def _add(self, left: Array, right: Array) -> None:
        same = left == right if left.dtype == right.dtype else None
        wide = np.complex128 if "c" in left.dtype.kind + right.dtype.kind else np.float64
        a, b = left.astype(wide), right.astype(wide)
        if same is None:
            same = a == b
        distance = np.abs(a - b)
        finite = np.isfinite(distance)
        if not finite.all():
            same |= np.isnan(a) & np.isnan(b)
        close = same
        if self.atol or self.rtol:
            close = same | (finite & (distance <= self.atol + self.rtol * np.abs(b)))
            distance, a, b = distance[finite], a[finite], b[finite]
        elif not finite.all():
            distance, a, b = distance[finite], a[finite], b[finite]
        self.count += left.size
        self.changed += left.size - int(np.count_nonzero(close))
        self.finite += distance.size
        if distance.size:
            self.largest = max(self.largest, float(distance.max()))
            self._sum += float(distance.sum())
        # Not np.dot: BLAS starts threads, which take longer than they save with so few elements.
        self._products += float((a * b.conj()).real.sum())
        self._squares = (
            self._squares[0] + float((a * a.conj()).real.sum()),
            self._squares[1] + float((b * b.conj()).real.sum()),
        )


@dataclass
class Change:
    """One name that differs between the two files."""

    name: str
    kind: str
    what: str = ""
    distance: Distance | None = None
    details: dict[str, Any] = field(default_factory=dict)


#: Two tensors that do not differ in the index; their values must be compared.
_LOOK_INSIDE: Final = Change("", "")


@click.command(cls=options.Command)
@click.argument("first", type=options.FILE, metavar="A")
@click.argument("second", type=options.FILE, metavar="B")
@click.option("--atol", type=click.FloatRange(min=0), default=0.0, help="Absolute tolerance.")
@click.option(
    "--rtol", type=click.FloatRange(min=0), default=0.0, help="Relative tolerance: a fraction of the value in B."
)
@click.option(
    "--map",
    "--name-map",
    "map_file",
    type=options.FILE,
    metavar="FILE.json",
    shell_complete=completing.maps,
    help='Names that differ: {"name in A": "name in B"}.',
)
@click.option("--ignore-dtype", is_flag=True, help="Treat equal values of different dtypes as equal.")
@options.select
@options.ranks
@click.option("--strategy-b", type=options.FILE, metavar="FILE", help="Strategy of B, if it is another.")
@options.rows("differences")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
@options.limit
@options.key_to_read
@options.common
def command(
    *,
    first: str,
    second: str,
    atol: float,
    rtol: float,
    map_file: str | None,
    ignore_dtype: bool,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    ranks: Ranks,
    strategy_b: str | None,
    rows: int | None,
    as_json: bool,
    max_records: int | None,
    key: KeyChoice,
    terminal: Terminal,
) -> int:
    """Compare two checkpoints, values included.

    They may be of different formats; one may be -, which is standard input. Entries are compared by name: added,
    removed, with another shape or dtype, or with other values. For changed values it shows their number, the largest
    and the mean difference, and the cosine of both tensors as vectors. The name map is a JSON object:
    {"name in A": "name in B"}.

    Exit code: 0 the same, 1 different, 2 error (as for the Unix command diff). If no entry matches --include, it is 1.

    Examples:
      ckptload diff before.ckpt after.ckpt
      ckptload diff model.ckpt model.safetensors
      ckptload diff --rtol 1e-3 --ignore-dtype full.ckpt half.ckpt
      ckptload diff --exclude 'moment*' a.ckpt b.ckpt
      ckptload diff ranks/ merged.safetensors --strategy strategy.ckpt
    """
    comparing = _Comparison(atol, rtol, ignore_dtype, terminal)
    others = ranks if strategy_b is None else ranks._replace(strategy=strategy_b)
    how: dict[str, Any] = {"max_records": max_records, "plain_too": True}
    try:
        check_once([first, second])
        others.check([first, second])
        names = read_map(map_file) if map_file is not None else NameMap({})
        secret = key.read()
        wanted = globs.chooser(include, exclude)
        with (
            files.noted(terminal),
            files.open_file(first, secret, key, **how, opens=ranks.opens(first)) as left,
            files.open_file(second, secret, key, **how, opens=others.opens(second)) as right,
        ):
            for reader in (left, right):
                sets.notes_of(reader, terminal)
            changes = comparing.run(left, right, names, wanted)
            if (include or exclude) and not changes and not comparing.compared:
                terminal.complain(globs.no_match(include, {**dict.fromkeys(left), **dict.fromkeys(right)}))
                return text.NO_MATCH
    except CheckpointError as error:
        terminal.complain(error)
        return TROUBLE
    different = any(change.kind for change in changes)
    first, second = place(first), place(second)
    if as_json:
        terminal.write(text.document(**comparing.as_data(first, second, changes, rows)))
    elif not terminal.quiet:
        terminal.write(_lines(first, second, changes, comparing.compared, rows, terminal))
    return DIFFERENT if different else SAME


class _Comparison:
    """Compares two readers name by name, one tensor at a time."""

    def __init__(self, atol: float, rtol: float, ignore_dtype: bool, terminal: Terminal) -> None:  # noqa: FBT001
        self.atol = atol
        self.rtol = rtol
        self.ignore_dtype = ignore_dtype
        self.terminal = terminal
        self.compared = 0

    def run(self, left: Reader, right: Reader, names: NameMap, wanted: Callable[[str], bool]) -> list[Change]:
        """Return every difference, in the order of the first file, then the entries that only the second one has."""
        pairs = new_names(names, [name for name in left if wanted(name)])
        texts = self._texts(left, right, names, wanted)
        changes = [
            Change(new, "removed", _describe(left.info(name)))
            for new, name in pairs.items()
            if new not in right and new not in texts
        ]
        changes += [change for change in texts.values() if change is not None]
        common = [(name, new) for new, name in pairs.items() if new in right]
        entries = [(left.info(name), right.info(new)) for name, new in common]
        entries = [(one, other) for one, other in entries if other.name not in texts]
        self.compared += len(entries)
        found = {other.name: self._outside(left, one, right, other) for one, other in entries}
        tensors = [(one, other) for one, other in entries if found[other.name] is _LOOK_INSIDE]
        with Progress(self.terminal, "comparing", sum(one.nbytes for one, _ in tensors)) as progress:
            for (one, other), arrays in pieces.of_pairs(left, right, tensors):
                found[other.name] = self._inside(one, other, arrays)
                progress.advance(one.nbytes)
        changes.extend(change for change in found.values() if change is not None)
        changes.extend(
            Change(name, "added", _describe(right.info(name)))
            for name in right
            if name not in pairs and name not in texts and wanted(name)
        )
        return changes

    def _texts(
        self, left: Reader, right: Reader, names: NameMap, wanted: Callable[[str], bool]
    ) -> dict[str, Change | None]:
        """Compare strings, if a converted safetensors file keeps some in its metadata.

        Returns:
            The changes of all strings by name, None for equal ones; empty if neither file keeps strings there.
        """
        kept = [reader.kept_strings() for reader in (left, right)]
        if not any(kept):
            return {}
        here, there = (
            {**{name: reader[name] for name in reader if reader.info(name).kind == "string"}, **strings}
            for reader, strings in zip((left, right), kept, strict=True)
        )
        here = {new: here[name] for new, name in new_names(names, filter(wanted, here)).items()}
        there = {name: text for name, text in there.items() if wanted(name)}
        found: dict[str, Change | None] = {}
        for name in {**here, **there}:
            if name in here and name in there:
                self.compared += 1
                same = here[name] == there[name]
                found[name] = None if same else Change(name, "changed", "string with another value")
            else:
                found[name] = Change(name, "removed" if name in here else "added", "string")
        return found

    def _outside(self, left: Reader, one: Entry, right: Reader, other: Entry) -> Change | None:
        """Compare two entries by the index; read only those that are not tensors."""
        if one.kind != other.kind or one.shape != other.shape:
            return Change(other.name, "changed", f"{_describe(one)} -> {_describe(other)}")
        if one.type_name != other.type_name:
            return Change(other.name, "changed", f"{text.type_of(one)} -> {text.type_of(other)}")
        if one.dtype is None or other.dtype is None:
            same = same_values(left, one, right, other)
            return None if same else Change(other.name, "changed", f"{_what(one)} with another value")
        if one.dtype is not other.dtype and (one.dtype in stats.OPAQUE or other.dtype in stats.OPAQUE):
            return Change(other.name, "changed", f"{one.dtype} -> {other.dtype}")
        return _LOOK_INSIDE

    def _inside(self, one: Entry, other: Entry, arrays: Iterable[tuple[Array, Array]]) -> Change | None:
        distance = Distance(self.atol, self.rtol)
        for a, b in arrays:
            distance.add(a, b)
        if one.dtype is not other.dtype and not self.ignore_dtype:
            return Change(other.name, "changed", f"{one.dtype} -> {other.dtype}", distance)
        return Change(other.name, "changed", "", distance) if distance.changed else None

    def as_data(self, first: str, second: str, changes: list[Change], limit: int | None) -> dict[str, Any]:
        return {
            "a": first,
            "b": second,
            "same": not changes,
            "compared": self.compared,
            "changes": [_as_data(change) for change in changes[:limit]],
        }


def same_values(left: Reader, one: Entry, right: Reader, other: Entry) -> bool:
    """Compare two entries of one kind that are not numbers, or of one type that is not supported, which are bytes."""
    if one.kind == "unsupported":
        return one.nbytes == other.nbytes and pieces.same_bytes(left.pieces(one), right.pieces(other))
    return _same_content(left[one.name], right[other.name])


def _same_content(left: Any, right: Any) -> bool:
    """Compare strings, bytes, HiFloat8 tensors, or maps, which are lists of arrays."""
    if isinstance(left, list):
        return len(left) == len(right) and all(
            a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
            for a, b in zip(left, right, strict=True)
        )
    if isinstance(left, Tensor):
        return bool(np.array_equal(left.asnumpy(), right.asnumpy()))
    return bool(left == right)


def _describe(entry: Entry) -> str:
    return f"{text.type_of(entry)} {entry.shape}" if text.has_shape(entry) else entry.kind


def _what(entry: Entry) -> str:
    return f"{text.type_of(entry)} (not supported)" if entry.kind == "unsupported" else entry.kind


def _lines(
    first: str, second: str, changes: list[Change], compared: int, limit: int | None, terminal: Terminal
) -> Iterator[str]:
    yield terminal.style(f"--- {terminal.show(first)}", fg="red")
    yield terminal.style(f"+++ {terminal.show(second)}", fg="green")
    for change in changes[:limit]:
        words = [change.what] if change.what else []
        if change.distance is not None:
            words.append(_measured(change.distance))
        name, about = f"{_SIGNS[change.kind]} {terminal.show(change.name)}", "; ".join(words)
        shown = terminal.style(name, fg=_COLORS[change.kind])
        if terminal.fits(f"{name}  {about}"):
            yield f"{shown}  {about}"
        else:
            yield shown
            yield from terminal.wrap(f"    {about}", "    ")
    if len(changes) > len(changes[:limit]):
        more = text.counted(len(changes) - len(changes[:limit]), "more difference", "more differences")
        yield terminal.style(f"... {more}", dim=True)
    counts = {kind: sum(change.kind == kind for change in changes) for kind in _SIGNS}
    same = compared - counts["changed"]
    total = (
        f"{text.counted(compared, 'entry', 'entries')} in both: {text.grouped(same)} the same, "
        f"{text.grouped(counts['changed'])} changed; {text.grouped(counts['added'])} added, "
        f"{text.grouped(counts['removed'])} removed"
    )
    for line in terminal.wrap(total):
        yield terminal.style(line, bold=True)


def _measured(distance: Distance) -> str:
    if not distance.changed:
        return "same values"
    cosine = "none" if distance.cosine is None else f"{distance.cosine:.6f}"
    return (
        f"{text.grouped(distance.changed)} of {text.counted(distance.count, 'element', 'elements')} changed, "
        f"max {distance.largest:.4g}, mean {distance.mean:.4g}, cosine {cosine}"
    )


def _as_data(change: Change) -> dict[str, Any]:
    data: dict[str, Any] = {"name": change.name, "change": change.kind, "what": change.what}
    if change.distance is not None:
        found = change.distance
        data["values"] = {
            "elements": found.count,
            "changed": found.changed,
            "max": _finite(found.largest),
            "mean": _finite(found.mean),
            "cosine": _finite(found.cosine),
        }
    return data


def _finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None
