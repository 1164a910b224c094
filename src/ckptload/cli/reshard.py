"""`ckptload reshard`: the slices for other devices, a file for each rank."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import click

from ckptload import open_distributed, read_strategy, reshard_checkpoints, shown
from ckptload.cli import files, options, text, written
from ckptload.cli.progress import Progress
from ckptload.cli.standard import check_is_file
from ckptload.cli.table import Column, render
from ckptload.errors import ArgumentError
from ckptload.messages import shown_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ckptload import RankFile
    from ckptload.cli.keys import KeyChoice
    from ckptload.cli.terminal import Terminal

#: Ranks that a training can have.
_MOST: Final = 1 << 20
_RANGE: Final = re.compile(r"\s*([0-9]{1,7})\s*(?:-\s*([0-9]{1,7})\s*)?")
_PART: Final = re.compile(r"\s*([0-9]{1,7})\s*/\s*([0-9]{1,7})\s*")


@click.command(cls=options.Command)
@click.argument("source", type=options.FILE, metavar="SRC")
@click.argument("target", type=options.FILE, metavar="DIR")
@click.option("--to", "to", type=options.FILE, metavar="FILE", required=True, help="Strategy of the target.")
@options.of_ranks
@click.option("--ranks", metavar="LIST", help="Write these ranks of the target only, such as 0-7,12.")
@click.option(
    "--part", metavar="I/N", help="Write the I-th of N shares of the ranks, so that N machines share the work."
)
@click.option("--format", "format_", type=click.Choice(["ckpt", "safetensors"]), help="Format, instead of that of SRC.")
@click.option("--prefix", default="", help="Beginning of the names of the files.")
@click.option(
    "--existing",
    type=click.Choice(["error", "skip", "replace"]),
    default="error",
    show_default=True,
    help="What happens to files that are there; skip continues a job.",
)
@click.option("-n", "--dry-run", is_flag=True, help="Show what would be written, and write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
@options.limit
@options.key_to_read
@options.common
def command(
    *,
    source: str,
    target: str,
    to: str,
    strategy: str | None,
    file_suffix: str | None,
    copies: str | None,
    ranks: str | None,
    part: str | None,
    format_: str | None,
    prefix: str,
    existing: str,
    dry_run: bool,
    as_json: bool,
    max_records: int | None,
    key: KeyChoice,
    terminal: Terminal,
) -> int:
    """Cut the files of many ranks for other devices.

    It writes DIR/rank_R/PREFIXR.ckpt for each rank R of the target. SRC is a folder of rank_0, rank_1, ..., a unified
    folder, one with metadata.json, or one whole checkpoint. Files appear whole, and those of one call together; with
    --existing skip each appears when it is complete, and a job that was stopped goes on where it was.

    Examples:
      ckptload reshard ranks/ out/ --strategy old.ckpt --to new.ckpt
      ckptload reshard model.safetensors out/ --to new.ckpt --ranks 0-7
      ckptload reshard ranks/ out/ --strategy old.ckpt --to new.ckpt --part 2/4 --existing skip
      ckptload reshard --dry-run ranks/ out/ --strategy old.ckpt --to new.ckpt
    """
    check_is_file(source, "SRC")
    check_is_file(target, "DIR")
    files.check_folder(target)
    secret = key.read()
    opens = partial(open_distributed, strategy=strategy, file_suffix=file_suffix, copies=copies)
    with files.noted(terminal):
        chosen = chosen_ranks(ranks, part, read_strategy(to).ranks)
        # Says before any work whether the source opens, and in which mode.
        with files.open_file(source, secret, key, max_records=max_records, opens=opens) as reader:
            cipher = reader.cipher
        with Progress(terminal, "cutting", None) as progress:
            done = reshard_checkpoints(
                source,
                target,
                to,
                strategy,
                prefix=prefix,
                format=format_,
                ranks=chosen,
                existing=existing,
                file_suffix=file_suffix,
                copies=copies,
                dec_key=cast("Any", secret),
                dec_mode=cipher or "AES-GCM",
                allow_unauthenticated=key.allow_unauthenticated,
                progress=progress.at,
                dry_run=dry_run,
                **({} if max_records is None else {"max_records": max_records}),
            )
    terminal.say(*(f"ckptload: note: {terminal.show(note)}" for note in done.notes))
    if as_json:
        terminal.write(text.document(**_as_data(done, done.notes, dry_run=dry_run)))
    elif dry_run:
        terminal.write(_planned(done, target, terminal))
    new = [file for file in done if file.written]
    entries, nbytes = sum(file.entries for file in new), sum(file.nbytes for file in new)
    paths, there = [_named(target, file) for file in new], len(done) - len(new)
    terminal.say(written.line(paths, entries, nbytes, terminal, dry_run=dry_run, there=there))
    return text.SOUND


def _named(target: str, file: RankFile) -> str:
    """Return the path of a file in the folder DIR as the user gave it."""
    return str(Path(target, *Path(file.path).parts[-2:]))


def chosen_ranks(ranks: str | None, part: str | None, total: int) -> list[int]:
    """Return the ranks that --ranks and --part choose.

    Args:
        ranks: numbers and ranges with commas between them, or None for all.
        part: ``I/N``: of these the I-th of N shares, from 1 on; or None for all.
        total: number of ranks of the target.

    Raises:
        ArgumentError: a text is of another form, or nothing is left.
    """
    found = list(range(total)) if ranks is None else sorted(set(_listed(ranks)))
    if part is None:
        return found
    match = _PART.fullmatch(part)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise ArgumentError(f"--part must be I/N with I from 1 to N, not {shown_text(part)}", hint="for example 2/4")
    turn, shares = int(match[1]), int(match[2])
    each, more = divmod(len(found), shares)
    first = each * (turn - 1) + min(turn - 1, more)
    mine = found[first : first + each + (turn <= more)]
    if not mine:
        raise ArgumentError(
            f"share {turn} of {shares} is empty: there are {text.counted(len(found), 'rank', 'ranks')}",
            hint="use no more shares than ranks",
        )
    return mine


def _listed(ranks: str) -> Iterator[int]:
    for word in ranks.split(","):
        match = _RANGE.fullmatch(word)
        first = int(match[1]) if match is not None else 0
        last = int(match[2] or match[1]) if match is not None else -1
        if not first <= last < _MOST:
            raise ArgumentError(
                f"--ranks must be numbers and ranges with commas between them, not {shown_text(ranks)}",
                hint="for example 0-7,12",
            )
        yield from range(first, last + 1)


def _planned(found: Sequence[RankFile], target: str, terminal: Terminal) -> Iterator[str]:
    """Yield a table of the files."""
    rank, path = Column("RANK", right=True), Column("FILE", fg="cyan")
    entries, size = Column("ENTRIES", right=True), Column("BYTES", right=True, keep=6)
    state = Column("", keep=5)
    for file in found:
        rank.cells.append(str(file.rank))
        path.cells.append(terminal.show(shown.place(_named(target, file))))
        entries.cells.append(text.grouped(file.entries))
        size.cells.append(text.grouped(file.nbytes))
        state.cells.append("" if file.written else "there")
    yield from render([rank, path, entries, size, state], terminal)


def _as_data(found: Sequence[RankFile], notes: Sequence[str], *, dry_run: bool) -> dict[str, Any]:
    return {
        "dry_run": dry_run,
        "files": [
            {"rank": one.rank, "path": one.path, "entries": one.entries, "bytes": one.nbytes, "written": one.written}
            for one in found
        ],
        "bytes": sum(one.nbytes for one in found if one.written),
        "notes": list(notes),
    }
