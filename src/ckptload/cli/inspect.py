"""`ckptload inspect`: list the entries of a file without reading tensor data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ckptload.cli import files, globs, inspect_data, inspect_text, listing, options, sets, text
from ckptload.cli.standard import place
from ckptload.errors import CheckpointError, ForeignFieldWarning
from ckptload.reading.given import or_torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from ckptload.cli.keys import KeyChoice
    from ckptload.cli.listing import Listing
    from ckptload.cli.sets import Ranks
    from ckptload.cli.terminal import Terminal


@click.command(cls=options.Command)
@click.argument("paths", nargs=-1, required=True, type=options.FILE, metavar="FILE...")
@options.filters
@click.option(
    "--sort",
    type=options.Keys(listing.ORDERS),
    metavar="KEYS",
    help="Sort by size, name, dtype, or several: dtype,size.",
)
@options.rows("entries, or lines of the tree")
@click.option("--tree", "as_tree", is_flag=True, help="Group by the dots in names, with subtotals.")
@click.option("--depth", type=click.IntRange(min=1), metavar="N", help="With --tree: number of levels to show.")
@click.option("--stats", "with_stats", is_flag=True, help="Read every tensor: min, max, mean, std, NaN, Inf, zeros.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs (docs/cli.md has its schema).")
@options.ranks
@options.limit
@options.key_to_read
@options.common
def command(
    *,
    paths: tuple[str, ...],
    patterns: tuple[str, ...],
    sort: tuple[str, ...] | None,
    rows: int | None,
    as_tree: bool,
    depth: int | None,
    with_stats: bool,
    as_json: bool,
    ranks: Ranks,
    max_records: int | None,
    key: KeyChoice,
    terminal: Terminal,
) -> int:
    """List the entries of checkpoints.

    Each has its name, dtype, shape, bytes and share. Only the index and short values are read, so this is fast for
    files of any size. A directory means the checkpoints in it, or the whole tensors of the ranks whose folders it
    holds; - means standard input. `ckptload FILE` is short for `ckptload inspect FILE`.

    Examples:
      ckptload model.ckpt
      ckptload inspect --tree --sort size model.ckpt
      ckptload inspect --filter '*.weight' --stats model.safetensors
      ckptload inspect --sort size --limit 10 model.ckpt
      ckptload inspect ranks/ --strategy strategy.ckpt
      ckptload inspect --json model.ckpt | jq '.files[0].entries[].name'
      ckptload inspect --key-file key.hex --key-format hex secret.ckpt
    """
    look = _Look(globs.chooser(patterns, ()), sort or (), rows, ranks, terminal, as_tree=as_tree, with_stats=with_stats)
    secret = key.read()
    codes: list[int] = []
    names: dict[str, None] = {}
    seen = 0
    found: list[dict[str, Any]] = []
    every = files.expand(paths)
    ranks.check(every)
    for number, path in enumerate(every):
        try:
            with (
                files.noted(terminal, but=ForeignFieldWarning),
                files.open_file(
                    path, secret, key, max_records=max_records, plain_too=True, opens=or_torch(ranks.opens(path))
                ) as reader,
            ):
                one = look.at(path, reader)
                names.update(dict.fromkeys(reader if patterns and not one.rows else ()))
        except CheckpointError as error:
            if not as_json and sets.is_set(path):
                terminal.write(inspect_text.folder(path, ranks, terminal))
            codes.append(terminal.complain(error, path))
            found.append({"path": place(path), "error": inspect_data.error(error)})
            continue
        seen += len(one.rows)
        if as_json:
            found.append(inspect_data.file(one, look.sort, with_tree=as_tree))
        else:
            terminal.write([""] if number else [])
            shape = inspect_text.Tree(look.sort, depth, rows) if as_tree else None
            terminal.write(inspect_text.lines(one, terminal, shape, ranks.strategy))
        codes.extend(terminal.complain(damage, path) for damage in one.damaged)
    if as_json:
        terminal.write(text.document(files=found))
    if patterns and not seen and not codes:
        codes.append(terminal.complain(globs.no_match(patterns, names)))
    return text.worst(codes)


class _Look:
    """How each file is looked at."""

    def __init__(
        self,
        wanted: Callable[[str], bool],
        sort: tuple[str, ...],
        limit: int | None,
        ranks: Ranks,
        terminal: Terminal,
        *,
        as_tree: bool,
        with_stats: bool,
    ) -> None:
        self.wanted = wanted
        self.sort = sort
        self.limit = limit
        self.ranks = ranks
        self.terminal = terminal
        self.as_tree = as_tree
        self.with_stats = with_stats

    def at(self, path: str, reader: Any) -> Listing:
        """List one file."""
        one = listing.take(path, reader, self.wanted)
        if one.format == "torch":
            sets.notes_of(reader, self.terminal)
        if self.ranks.takes(path):
            one.described = sets.describe(path, reader, self.ranks.strategy)
        one.rows = listing.sort(one.rows, self.sort)
        # A tree has lines for modules, too, and its subtotals are those of all entries.
        one.limit = None if self.as_tree else self.limit
        if self.with_stats:
            listing.add_stats(reader, one, self.terminal)
        return one
