"""`ckptload inspect`: list the entries of a file without reading tensor data."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import click

from ckptload.cli import files, globs, listing, options, sets, text, tree
from ckptload.cli.table import Column, render
from ckptload.errors import CheckpointError, ForeignFieldWarning
from ckptload.messages import shown_text, shown_value
from ckptload.shown import human_bytes, place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ckptload import Foreign
    from ckptload.cli.keys import KeyChoice
    from ckptload.cli.listing import Listing, Row
    from ckptload.cli.sets import Ranks
    from ckptload.cli.stats import Number, Stats
    from ckptload.cli.terminal import Terminal

_SORTS: Final = ("size", "name", "dtype")
_FORMATS: Final = {"ckpt": "MindSpore .ckpt", "safetensors": "safetensors", "torch": "PyTorch"}
_BAR: Final = 10
_LONGEST_VALUE: Final = 24
#: Only types that are not supported have longer names.
_LONGEST_TYPE: Final = 32


def _sort_keys(_context: click.Context, _option: click.Parameter, value: str | None) -> tuple[str, ...]:
    keys = tuple(key.strip() for key in value.split(",")) if value else ()
    unknown = [key for key in keys if key not in _SORTS]
    if unknown:
        raise click.BadParameter(f"{shown_value(unknown[0])} is not one of {', '.join(_SORTS)}")
    return keys


@click.command(cls=options.Command)
@click.argument("paths", nargs=-1, required=True, type=options.FILE, metavar="FILE...")
@click.option("--filter", "patterns", multiple=True, metavar="GLOB", help="Only matching names; may be repeated.")
@click.option("--sort", callback=_sort_keys, metavar="KEYS", help="Sort by size, name, dtype, or several: dtype,size.")
@click.option("--tree", "as_tree", is_flag=True, help="Group by the dots in names, with subtotals.")
@click.option("--depth", type=click.IntRange(min=1), metavar="N", help="With --tree: number of levels to show.")
@click.option("--stats", "with_stats", is_flag=True, help="Read every tensor: min, max, mean, std, NaN, Inf, zeros.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output (docs/cli.md has its schema).")
@options.ranks
@options.limit
@options.key_to_read
@options.common
def command(
    *,
    paths: tuple[str, ...],
    patterns: tuple[str, ...],
    sort: tuple[str, ...],
    as_tree: bool,
    depth: int | None,
    with_stats: bool,
    as_json: bool,
    ranks: Ranks,
    max_records: int | None,
    key: KeyChoice,
    terminal: Terminal,
) -> int:
    """List the entries of checkpoints: name, dtype, shape, bytes, share.

    Only the index and short values are read, so this is fast for files of any size. A directory means the
    checkpoints in it, or the whole tensors of the ranks whose folders it holds. `ckptload FILE` is short for
    `ckptload inspect FILE`.

    Examples:
      ckptload model.ckpt
      ckptload inspect --tree --sort size model.ckpt
      ckptload inspect --filter '*.weight' --stats model.safetensors
      ckptload inspect ranks/ --strategy strategy.ckpt
      ckptload inspect --json model.ckpt | jq '.files[0].entries[].name'
      ckptload inspect --key-file key.hex --key-format hex secret.ckpt
    """
    wanted = globs.chooser(patterns, ())
    secret = key.read()
    codes, seen = [], 0
    found: list[dict[str, Any]] = []
    every = files.expand(paths)
    ranks.check(every)
    for number, path in enumerate(every):
        try:
            with (
                files.noted(terminal, but=ForeignFieldWarning),
                files.open_file(
                    path, secret, key, max_records=max_records, plain_too=True, opens=files.or_torch(ranks.opens(path))
                ) as reader,
            ):
                one = listing.take(path, reader, wanted)
                if one.format == "torch":
                    sets.notes_of(reader, terminal)
                if ranks.takes(path):
                    one.described = sets.describe(path, reader, ranks.strategy)
                if with_stats:
                    listing.add_stats(reader, one, terminal)
        except CheckpointError as error:
            if not as_json and sets.is_set(path):
                terminal.write(_folder(path, ranks, terminal))
            codes.append(terminal.complain(error, path))
            found.append({"path": place(path), "error": _error(error)})
            continue
        one.rows = listing.sort(one.rows, sort)
        seen += len(one.rows)
        if as_json:
            found.append(_as_data(one, sort, with_tree=as_tree))
        else:
            terminal.write([""] if number else [])
            terminal.write(_lines(one, terminal, sort if as_tree else None, depth, ranks.strategy))
        codes.extend(terminal.complain(damage, path) for damage in one.damaged)
    if as_json:
        terminal.write(text.document(files=found))
    if not seen and not codes:
        terminal.say(f"ckptload: no entry matches {' or '.join(map(shown_text, patterns))}")
    return text.worst(codes)


# -- for people ------------------------------------------------------------------------------------


def _lines(
    one: Listing, terminal: Terminal, tree_sort: Sequence[str] | None, depth: int | None, strategy: str | None
) -> Iterator[str]:
    yield terminal.style(terminal.show(one.path), bold=True)
    yield "  " + terminal.style(terminal.show(about(one)), dim=True)
    for line in () if one.described is None else one.described.lines(strategy):
        yield "  " + terminal.style(terminal.show(line), dim=True)
    if one.foreign:
        yield "  " + terminal.style(terminal.show(one.foreign), fg="yellow")
    for key, value in one.metadata.items():
        yield "  " + terminal.style(terminal.show(_cut(f"{key}: {value}", 200)), dim=True)
    if not one.rows:
        return
    yield ""
    if tree_sort is not None:
        columns, marked = _tree_columns(one, terminal, tree_sort, depth)
    else:
        columns, marked = _columns(one.rows, one.nbytes, terminal)
    yield from render(columns, terminal, marked=marked)
    yield ""
    yield from _total(one, terminal)


def _folder(path: str, ranks: Ranks, terminal: Terminal) -> Iterator[str]:
    """Yield what a folder is whose files do not open as one checkpoint."""
    yield terminal.style(terminal.show(place(path)), bold=True)
    try:
        found = sets.describe(path, None, ranks.strategy)
    except OSError:
        return
    for line in found.lines(ranks.strategy):
        yield "  " + terminal.style(terminal.show(line), dim=True)


def about(one: Listing) -> str:
    """Describe the file as a whole in one line."""
    facts = [_FORMATS.get(one.format, one.format), human_bytes(one.size)]
    if one.cipher:
        facts.append(f"encrypted with {one.cipher}" + ("" if one.facts.authenticated else " (not authenticated)"))
    if one.format != "torch":
        facts.append("with CRC-32" if one.facts.has_checksum else "no CRC-32")
    if one.facts.written_by:
        facts.append(f"written by {one.facts.written_by}")
    return ", ".join(facts)


def _total(one: Listing, terminal: Terminal) -> Iterator[str]:
    count = text.counted(len(one.rows), "entry", "entries")
    if len(one.rows) != one.names:
        count = f"{text.grouped(len(one.rows))} of {text.counted(one.names, 'entry', 'entries')}"
    numbers = text.counted(one.elements, "element", "elements")
    by_type = list(one.by_type().items())
    kinds = ", ".join(f"{_cut(kind, _LONGEST_TYPE)} {text.grouped(size)}" for kind, (_, size) in by_type)
    yield terminal.style(f"{count}, {numbers}, {text.grouped(one.nbytes)} bytes", bold=True)
    if len(by_type) > 1:
        yield terminal.style(terminal.show(kinds), dim=True)
    if one.unsupported:
        yield terminal.style(terminal.show(one.unsupported), fg="yellow")


def _columns(rows: Sequence[Row], total: int, terminal: Terminal) -> tuple[list[Column], dict[int, str]]:
    name = Column("NAME", fg="cyan")
    dtype, shape = Column("DTYPE", keep=7), Column("SHAPE", keep=6)
    size, share = Column("BYTES", right=True, keep=8), Column("SHARE", right=True, keep=3, dim=True)
    bar, value = Column("", keep=2, fg="blue"), Column("VALUE", keep=5, fg="magenta")
    for row in rows:
        name.cells.append(terminal.show(row.name))
        dtype.cells.append(terminal.show(_cut(row.type, _LONGEST_TYPE)))
        shape.cells.append(row.shape)
        size.cells.append("" if row.entry is None else text.grouped(row.nbytes))
        share.cells.append(_share(row.nbytes, total))
        bar.cells.append(_bar(row.nbytes, total) if terminal.width and terminal.fancy else "")
        value.cells.append("" if row.value is None else terminal.show(_cut(_value(row.value), _LONGEST_VALUE)))
    columns = [name, dtype, shape, size, share, bar, value]
    if any(row.stats is not None for row in rows):
        columns = [name, dtype, shape, size, *_stats_columns([row.stats for row in rows])]
        shape.keep = 4
    return columns, {at: color for at, row in enumerate(rows) if (color := _color(row)) is not None}


def _color(row: Row) -> str | None:
    if row.damage is not None or (row.stats is not None and (row.stats.nan or row.stats.inf)):
        return "red"
    return "yellow" if row.stats is not None and row.stats.dead else None


def _stats_columns(every: Sequence[Stats | None]) -> list[Column]:
    def column(title: str, keep: int, cell: Callable[[Stats], str]) -> Column:
        cells = ["" if one is None else cell(one) for one in every]
        return Column(title, right=True, keep=keep, cells=cells)

    return [
        column("MIN", 7, lambda one: _short(one.min)),
        column("MAX", 7, lambda one: _short(one.max)),
        column("MEAN", 5, lambda one: _short(one.mean)),
        column("STD", 5, lambda one: _short(one.std)),
        column("NAN", 6, lambda one: text.grouped(one.nan)),
        column("INF", 6, lambda one: text.grouped(one.inf)),
        column("ZEROS", 3, lambda one: text.grouped(one.zeros)),
    ]


def _short(number: Number | None) -> str:
    return "" if number is None else str(number) if isinstance(number, int) else f"{number:.4g}"


def _tree_columns(
    one: Listing, terminal: Terminal, sort: Sequence[str], depth: int | None
) -> tuple[list[Column], dict[int, str]]:
    root = tree.grow(one.rows)
    tree.order(root, sort)
    nodes = list(tree.lines(root, depth, fancy=terminal.fancy))
    leaves = [node.row or listing.Row(node.label) for _, node in nodes]
    total = one.nbytes
    columns, _ = _columns(leaves, total, terminal)
    entries = Column("ENTRIES", right=True, keep=4)
    for at, (lead, node) in enumerate(nodes):
        by_title = {column.title: column.cells for column in columns}
        by_title["NAME"][at] = lead + terminal.show(node.label)
        by_title["BYTES"][at] = text.grouped(node.nbytes)
        if "SHARE" in by_title:
            by_title["SHARE"][at] = _share(node.nbytes, total)
            by_title[""][at] = _bar(node.nbytes, total) if by_title[""][at] or terminal.width else ""
        if node.row is None:
            by_title["DTYPE"][at] = ""
        entries.cells.append(text.grouped(node.entries) if node.children else "")
    columns.insert(1, entries)
    colors = {at: _color(row) for at, row in enumerate(leaves)}
    return columns, {at: color for at, color in colors.items() if color is not None}


def _share(part: int, whole: int) -> str:
    if not whole or not part:
        return "0%" if whole else ""
    share = 100 * part / whole
    return f"{share:.1f}%" if share >= 0.05 else "<0.1%"  # noqa: PLR2004 -- where rounding gives 0.1


def _bar(part: int, whole: int) -> str:
    """Draw a share in eighths of a column."""
    eighths = round(8 * _BAR * part / whole) if whole else 0
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


def _value(value: str | float) -> str:
    return repr(value) if isinstance(value, str) else f"{value:.6g}" if isinstance(value, float) else str(value)


def _cut(line: str, most: int) -> str:
    return line if len(line) <= most else line[: most - 3] + "..."


# -- for programs ----------------------------------------------------------------------------------


def _as_data(one: Listing, sort: Sequence[str], *, with_tree: bool) -> dict[str, Any]:
    total = one.nbytes
    data: dict[str, Any] = {
        "path": one.path,
        "format": one.format,
        "size": one.size,
        "cipher": one.cipher,
        "authenticated": one.facts.authenticated,
        "has_checksum": one.facts.has_checksum,
        "written_by": one.facts.written_by,
        "evidence": [trait.trait for trait in one.facts.evidence],
        "foreign": _foreign(one.facts.foreign),
        "metadata": one.metadata,
        "set": None if one.described is None else one.described.as_data(),
        "entries": [_row(row, total) for row in one.rows],
        "total": {
            "entries": len(one.rows),
            "entries_in_file": one.names,
            "elements": one.elements,
            "bytes": total,
            "by_type": {kind: {"entries": count, "bytes": size} for kind, (count, size) in one.by_type().items()},
        },
    }
    if with_tree:
        root = tree.grow(one.rows)
        tree.order(root, sort)
        data["tree"] = tree.as_data(root)["children"] if root.children else []
    return data


def _foreign(found: Foreign) -> dict[str, Any]:
    first = [{"offset": one.offset, "bytes": one.nbytes, "what": one.what, "record": one.record} for one in found.first]
    return {"number": found.number, "bytes": found.nbytes, "first": first}


def _row(row: Row, total: int) -> dict[str, Any]:
    if row.entry is None:
        return {"name": row.name, "kind": row.type, "error": _error(row.damage)}
    entry = row.entry
    data: dict[str, Any] = {
        "name": row.name,
        "kind": entry.kind,
        "dtype": entry.type_name or (str(entry.dtype) if entry.dtype is not None else None),
        "shape": list(entry.shape),
        "bytes": entry.nbytes,
        "share": entry.nbytes / total if total else 0,
        "offset": entry.offset,
        "slices": entry.slices,
    }
    if row.value is not None:
        data["value"] = _number(row.value) if isinstance(row.value, float) else row.value
    if entry.parts:
        data["parts"] = [{"dtype": str(part.dtype), "shape": list(part.shape)} for part in entry.parts]
    if row.stats is not None:
        data["stats"] = _stats(row.stats)
    return data


def _stats(stats: Stats) -> dict[str, Any]:
    return {
        "min": _number(stats.min),
        "max": _number(stats.max),
        "mean": _number(stats.mean),
        "std": _number(stats.std),
        "nan": stats.nan,
        "inf": stats.inf,
        "zeros": stats.zeros,
        "dead": stats.dead,
        "constant": stats.constant,
    }


def _number(number: Number | None) -> Number | None:
    """Return the number, or None for NaN and infinity, which JSON does not have."""
    return number if number is not None and math.isfinite(number) else None


def _error(error: CheckpointError | None) -> dict[str, Any]:
    if error is None:
        return {}
    return {
        "kind": text.KINDS[text.exit_code(error)],
        "type": type(error).__name__,
        "problem": text.problem(error),
        "offset": error.offset,
        "hint": text.hint(error),
    }
