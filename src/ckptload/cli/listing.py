"""The listing of a file for `inspect` and `report`: its entries, damaged ones included, and totals."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ckptload.binding.copies import STATE_PREFIXES
from ckptload.cli import globs, pieces, stats, text
from ckptload.cli.progress import Progress
from ckptload.cli.standard import place
from ckptload.errors import CheckpointError
from ckptload.shown import human_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ckptload import Entry, Facts, Reader
    from ckptload.cli.sets import Description
    from ckptload.cli.stats import Stats
    from ckptload.cli.terminal import Terminal

#: Maximum number of scalars and short strings whose values are read, so that listing stays fast.
_VALUES: Final = 1000
_SHORT: Final = 1024
_FORMATS: Final = {"ckpt": "MindSpore .ckpt", "safetensors": "safetensors", "torch": "PyTorch"}
#: Parts of names that mark state of an optimizer, and how many parts of a name are looked at.
_STATE: Final = frozenset(prefix.rstrip(".") for prefix in STATE_PREFIXES)
_PARTS: Final = 16


@dataclass
class Row:
    """One name with its entry, or with the error if the entry is damaged, or its file missing."""

    name: str
    entry: Entry | None = None
    damage: CheckpointError | None = None
    stats: Stats | None = None
    value: str | float | None = None

    @property
    def nbytes(self) -> int:
        """Return the size in bytes; 0 if it is damaged."""
        return self.entry.nbytes if self.entry is not None else 0

    @property
    def elements(self) -> int:
        """Return the number of elements of a tensor; 0 if it is none, or is damaged."""
        return math.prod(self.entry.shape) if self.entry is not None and self.entry.dtype else 0

    @property
    def type(self) -> str:
        """Return the text for the column of dtypes."""
        if self.entry is None:
            return "damaged" if self.damage is None else text.KINDS[text.exit_code(self.damage)]
        return text.type_of(self.entry)

    @property
    def shape(self) -> str:
        """Return the text for the column of shapes."""
        if self.entry is None:
            return ""
        if self.entry.kind == "map":
            return " ".join(str(part.shape) for part in self.entry.parts)
        return str(self.entry.shape) if text.has_shape(self.entry) else ""


class Sum(NamedTuple):
    """How much several rows are together."""

    entries: int
    elements: int
    nbytes: int


@dataclass
class Listing:
    """One file.

    Attributes:
        path: as the user named it, without a password or a signature if it is a URL.
        rows: of the names that are wanted.
        names: how many names there are in all.
        described: what the folder is, if it is one with the files of many ranks.
        limit: how many rows are shown at most; None for all.
    """

    path: str
    format: str
    cipher: str | None
    size: int
    facts: Facts
    metadata: dict[str, str]
    names: int
    rows: list[Row] = field(default_factory=list)
    described: Description | None = None
    limit: int | None = None

    @property
    def shown(self) -> list[Row]:
        """Return the rows to show, the first of all."""
        return self.rows[: self.limit]

    @property
    def nbytes(self) -> int:
        """Return the bytes of all rows."""
        return sum(row.nbytes for row in self.rows)

    @property
    def elements(self) -> int:
        """Return the number of elements of all tensors."""
        return sum(row.elements for row in self.rows)

    @property
    def state(self) -> int:
        """Return how many of the elements are state of an optimizer."""
        return sum(row.elements for row in self.rows if is_state(row.name))

    @property
    def damaged(self) -> list[CheckpointError]:
        """Return the errors of rows without an entry; one that concerns a whole shard only once."""
        return text.distinct(row.damage for row in self.rows if row.damage is not None)

    @property
    def unsupported(self) -> str | None:
        """Return in one line which types are not supported, or None."""
        return text.unsupported(row.entry for row in self.rows if row.entry is not None)

    @property
    def foreign(self) -> str | None:
        """Return in one line which fields no version of MindSpore writes, or None."""
        return str(self.facts.foreign) if self.facts.foreign.number else None

    def by_type(self) -> dict[str, Sum]:
        """Return the sums of each dtype or kind, that of most bytes first."""
        found: dict[str, Sum] = {}
        for row in self.rows:
            entries, elements, nbytes = found.get(row.type, Sum(0, 0, 0))
            found[row.type] = Sum(entries + 1, elements + row.elements, nbytes + row.nbytes)
        return dict(sorted(found.items(), key=lambda item: -item[1].nbytes))

    def about(self) -> str:
        """Describe the file as a whole in one line."""
        facts = [_FORMATS.get(self.format, self.format), human_bytes(self.size)]
        if self.cipher:
            facts.append(f"encrypted with {self.cipher}" + ("" if self.facts.authenticated else " (not authenticated)"))
        if self.format != "torch":
            facts.append("with CRC-32" if self.facts.has_checksum else "no CRC-32")
        if self.facts.written_by:
            facts.append(f"written by {self.facts.written_by}")
        return ", ".join(facts)


def take(path: str, reader: Reader, wanted: Callable[[str], bool]) -> Listing:
    """List the wanted names of a file; only scalars and short strings are read."""
    facts = reader.facts
    size = facts.size
    if reader.path and os.path.exists(reader.path):  # noqa: PTH110 -- it may be a URL
        size = max(os.path.getsize(reader.path), size if reader.cipher is None else 0)  # noqa: PTH202
    listing = Listing(place(path), reader.format, reader.cipher, size, facts, reader.metadata, len(reader))
    for name in reader:
        if not wanted(name):
            continue
        try:
            listing.rows.append(Row(name, reader.info(name)))
        except CheckpointError as error:
            listing.rows.append(Row(name, damage=error))
    _read_values(reader, listing.rows)
    return listing


def _read_values(reader: Reader, rows: Iterable[Row]) -> None:
    """Read the values that are shown: scalars and short strings."""
    short = [row for row in rows if row.entry is not None and _is_short(row.entry)][:_VALUES]
    try:
        values = reader.load(row.name for row in short)
    except CheckpointError:
        # One of them is damaged; reading them one by one shows which.
        values = {}
    for row in short:
        try:
            value = values[row.name] if row.name in values else reader[row.name]
        except CheckpointError as error:
            row.damage, row.entry = error, None
            continue
        row.value = value if isinstance(value, str) else _number(value.asnumpy())


def _is_short(entry: Entry) -> bool:
    if entry.kind == "string":
        return entry.nbytes <= _SHORT
    return entry.kind == "tensor" and entry.shape == () and entry.dtype not in stats.OPAQUE


def _number(array: Any) -> str | float:
    value = array.item()
    if isinstance(value, complex):
        return str(value)
    return value if isinstance(value, (bool, int)) else float(value)


def is_state(name: str) -> bool:
    """Tell whether an entry is state of an optimizer, by its name: ``moment1.fc.weight``."""
    return not _STATE.isdisjoint(name.split(".", _PARTS)[:_PARTS])


def add_stats(reader: Reader, listing: Listing, terminal: Terminal) -> None:
    """Read every tensor that is shown, one at a time, and add its statistics."""
    rows = {row.name: row for row in listing.shown if row.entry is not None and row.entry.dtype is not None}
    entries = [row.entry for row in rows.values() if row.entry is not None]
    with Progress(terminal, "statistics", sum(entry.nbytes for entry in entries)) as progress:
        for entry, arrays in pieces.of_tensors(reader, entries):
            rows[entry.name].stats = stats.of(entry.dtype, arrays)
            progress.advance(entry.nbytes)


#: What rows can be sorted by: size, the largest first, name or dtype.
ORDERS: Final[dict[str, Callable[[Row], Any]]] = {
    "size": lambda row: -row.nbytes,
    "name": lambda row: globs.natural(row.name),
    "dtype": lambda row: row.type,
}


def sort(rows: list[Row], keys: Sequence[str]) -> list[Row]:
    """Return rows sorted by keys of `ORDERS`; the first key is the primary one."""
    for key in reversed(keys):
        rows = sorted(rows, key=ORDERS[key])
    return rows
