"""The listing of a file for `inspect` and `report`: its entries, damaged ones included, and totals."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from ckptload.cli import globs, pieces, stats, text
from ckptload.cli.progress import Progress
from ckptload.errors import CheckpointError
from ckptload.shown import place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ckptload import Entry, Facts, Reader
    from ckptload.cli.sets import Description
    from ckptload.cli.stats import Stats
    from ckptload.cli.terminal import Terminal

#: Maximum number of scalars and short strings whose values are read, so that listing stays fast.
_VALUES: Final = 1000
_SHORT: Final = 1024


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


@dataclass
class Listing:
    """One file.

    Attributes:
        path: as the user named it, without a password or a signature if it is a URL.
        rows: of the names that are wanted.
        names: how many names there are in all.
        described: what the folder is, if it is one with the files of many ranks.
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

    @property
    def nbytes(self) -> int:
        """Return the bytes of all rows."""
        return sum(row.nbytes for row in self.rows)

    @property
    def elements(self) -> int:
        """Return the number of elements of all tensors."""
        return sum(math.prod(row.entry.shape) for row in self.rows if row.entry is not None and row.entry.dtype)

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

    def by_type(self) -> dict[str, tuple[int, int]]:
        """Return the number of entries and of bytes for each dtype or kind, largest first."""
        found: dict[str, tuple[int, int]] = {}
        for row in self.rows:
            count, size = found.get(row.type, (0, 0))
            found[row.type] = (count + 1, size + row.nbytes)
        return dict(sorted(found.items(), key=lambda item: -item[1][1]))


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


def add_stats(reader: Reader, listing: Listing, terminal: Terminal) -> None:
    """Read every tensor, one at a time, and add its statistics."""
    rows = {row.name: row for row in listing.rows if row.entry is not None and row.entry.dtype is not None}
    entries = [row.entry for row in rows.values() if row.entry is not None]
    with Progress(terminal, "statistics", sum(entry.nbytes for entry in entries)) as progress:
        for entry, arrays in pieces.of_tensors(reader, entries):
            rows[entry.name].stats = stats.of(entry.dtype, arrays)
            progress.advance(entry.nbytes)


def sort(rows: list[Row], keys: Sequence[str]) -> list[Row]:
    """Return rows sorted by size (largest first), name or dtype; the first key is the primary one."""
    orders: dict[str, Callable[[Row], Any]] = {
        "size": lambda row: -row.nbytes,
        "name": lambda row: globs.natural(row.name),
        "dtype": lambda row: row.type,
    }
    for key in reversed(keys):
        rows = sorted(rows, key=orders[key])
    return rows
