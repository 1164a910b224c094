"""How a reader shows its checkpoint: in a line, and as HTML for notebooks. Nothing raises here."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from ckptload import markup
from ckptload.errors import CheckpointError, NothingSelectedError, UnknownNameError
from ckptload.messages import closest, counted, quoted, shown_value
from ckptload.shown import human_bytes, human_count, is_digits_of_key

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from ckptload.formats.entry import Entry
    from ckptload.formats.index import Index

#: The columns of the HTML for notebooks.
_COLUMNS: Final = ("name", "dtype", "shape", "size")
#: Entries above which a line leaves out how many elements they have, because it would take too long.
_SUMMED: Final = 20_000
#: Prefixes for which the nearest names are looked for; each goes through all names.
_TRIED: Final = 5


def line(index: Index, label: str, names: Sequence[str]) -> str:
    """Describe a checkpoint, or some of its entries by their names in the file, in one line."""
    return f"{index.format} checkpoint {label}: {_total(index, names)}"


def html(index: Index, label: str, names: Sequence[str]) -> str:
    """Return the same as HTML, with a table of entries."""
    rows = (_row(index, name) for name in names)
    return markup.table(f"{index.format} checkpoint {label}", _COLUMNS, rows, len(names), _total(index, names))


def nothing_selected(names: Collection[str], prefixes: Sequence[str], path: str, *, by_prefix: bool) -> CheckpointError:
    """Return an error that lists names near the prefixes, or the first ones.

    Args:
        names: all names.
        prefixes: what names should begin with.
        path: the file.
        by_prefix: whether the filter is one by prefixes.
    """
    near = [name for prefix in prefixes[:_TRIED] for name in closest(prefix, names)]
    near = list(dict.fromkeys(near)) or list(names)[:3]
    return NothingSelectedError(
        f"the filter keeps {'no name with these prefixes' if by_prefix else 'nothing'} of the {len(names)} entries",
        path=path,
        hint="names in the file are, for example, " + quoted(near[:5]),
    )


def unknown(name: object, names: Collection[str]) -> UnknownNameError:
    """Return the error for a name that is not in the file; it lists the nearest names."""
    near = closest(name, names) if isinstance(name, str) else []
    # What is not a name, or only the digits of a key, was given by mistake.
    said = name if isinstance(name, str) and not is_digits_of_key(name) else shown_value(name)
    return UnknownNameError(
        f"none of the {len(names)} entries has this name",
        name=said,
        hint="the nearest names are " + quoted(near) if near else "list(reader) has all names",
    )


def _described(index: Index, name: str) -> Entry | None:
    """Return an entry by its name in the file, or None if it is damaged."""
    with suppress(CheckpointError):
        return index.entry(name)
    return None


def _row(index: Index, name: str) -> tuple[str, ...]:
    entry = _described(index, name)
    if entry is None:
        return name, "damaged", "", ""
    kind = entry.type_name or str(entry.dtype or entry.kind)
    return name, kind, str(entry.shape) if entry.dtype is not None else "", human_bytes(entry.nbytes)


def _total(index: Index, names: Sequence[str]) -> str:
    said = [counted(len(names), "entry", "entries")]
    if len(names) <= _SUMMED:
        entries = [entry for name in names if (entry := _described(index, name)) is not None]
        elements = sum(math.prod(entry.shape) for entry in entries if entry.dtype is not None)
        said += [f"{human_count(elements)} elements", human_bytes(sum(entry.nbytes for entry in entries))]
    return ", ".join([*said, index.cipher] if index.cipher else said)
