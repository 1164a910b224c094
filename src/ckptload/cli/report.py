"""`ckptload report`: an HTML page that shows a checkpoint, two side by side, or several over time."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ckptload import shown
from ckptload.cli import files, globs, listing, options, report_page, sets, small, text
from ckptload.cli.measuring import File, Measuring
from ckptload.cli.standard import WORD, check_once
from ckptload.errors import ArgumentError
from ckptload.writing.atomic import Replacement
from ckptload.writing.targets import place

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from ckptload import Reader
    from ckptload.cli.keys import KeyChoice
    from ckptload.cli.listing import Listing
    from ckptload.cli.sets import Ranks
    from ckptload.cli.terminal import Terminal


@click.command(cls=options.Command)
@click.argument("paths", nargs=-1, required=True, type=options.FILE, metavar="FILE...")
@click.option(
    "-o",
    "--output",
    type=options.FILE,
    metavar="PAGE.html",
    help="The page (default: FILE.html in the current directory, named after the latest file).",
)
@click.option("--against", type=options.FILE, metavar="OTHER", help="Show what changed from OTHER to FILE.")
@click.option("--force", is_flag=True, help="Replace PAGE.html even if it is not a report.")
@options.ranks
@click.option("--against-strategy", type=options.FILE, metavar="FILE", help="Strategy of OTHER, if it is another.")
@options.limit
@options.key_to_read
@options.common
def command(
    *,
    paths: tuple[str, ...],
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
    Tensors that have NaN or infinite elements, or are all zero, are marked. With --against OTHER it shows what changed
    from OTHER, which comes before, to FILE, which comes after: what only FILE has was added, and what only OTHER has
    was removed. Several FILEs are shown over time, sorted by name with numbers as numbers, and compared with the first.

    Examples:
      ckptload report model.ckpt -o model.html
      ckptload report epoch_9.ckpt --against epoch_1.ckpt -o progress.html
      ckptload report epoch_*.ckpt -o training.html
    """
    order = _ordered(paths, against)
    target = output or f"{_page_name(order[-1])}.html"
    if target != WORD:
        target = place(target)
        files.check_folder(target)
        if not force:
            _refuse_to_replace(target)
    others = ranks if against_strategy is None else ranks._replace(strategy=against_strategy)
    others.check(order)
    secret = key.read()

    def opened(at: int) -> Reader:
        of_file = others if at == 0 and against is not None else ranks
        how: dict[str, Any] = {"max_records": max_records, "plain_too": True, "opens": of_file.opens(order[at])}
        return files.open_file(order[at], secret, key, **how)

    with files.noted(terminal):
        page, listings, reveals = _measured(order, opened, terminal)
    _write(target, page, reveals, terminal)
    terminal.say(f"{terminal.show(target)}: {shown.human_bytes(len(page.encode()))} written")
    for path, one in zip(order, listings, strict=True):
        for error in one.damaged:
            terminal.complain(error, path)
    return text.worst(text.exit_code(error) for one in listings for error in one.damaged)


def _page_name(path: str) -> str:
    """Return what a page about a file is named after; it shows no secret of a URL."""
    return "stdin" if path == WORD else Path(shown.place(path).removesuffix(shown.CUT)).name


def _ordered(paths: Sequence[str], against: str | None) -> list[str]:
    """Return the files, the earliest first: the one to compare with, or sorted by name, numbers as numbers.

    Raises:
        ArgumentError: one file is to be compared, and several were given; or a directory has no checkpoint.
    """
    check_once([*paths, against or ""])
    found = files.expand(paths) if len(paths) > 1 else list(paths)
    if against is None:
        # A shell puts epoch_10 before epoch_2.
        return sorted(found, key=globs.natural)
    if len(found) > 1:
        raise ArgumentError(
            "--against compares one FILE, and several were given",
            path=found[1],
            hint="leave --against out: several files are compared with the first of them",
        )
    return [against, found[0]]


def _measured(
    order: Sequence[str], opened: Callable[[int], Reader], terminal: Terminal
) -> tuple[str, list[Listing], list[os.stat_result]]:
    """Return the page, what is in each file, and the files that it tells about; at most two are open at a time."""
    with ExitStack() as stack:
        first = _file(stack, order[0], opened(0), terminal)
        listings, reveals = [first.listing], list(first.reader.statuses())
        measuring = Measuring(first, terminal)
        for at, path in enumerate(order[1:], 1):
            with ExitStack() as inner:
                other = _file(inner, path, opened(at), terminal)
                measuring.add(other, last=at == len(order) - 1)
                listings.append(other.listing)
                reveals += other.reader.statuses()
        return report_page.build(listings, measuring.result()), listings, reveals


def _file(stack: ExitStack, path: str, reader: Reader, terminal: Terminal) -> File:
    stack.enter_context(reader)
    sets.notes_of(reader, terminal)
    return File(reader, listing.take(path, reader, lambda _: True))


# -- writing --------------------------------------------------------------------------------------------


def _refuse_to_replace(target: str) -> None:
    """Refuse to replace a file that is not a report: a checkpoint may be named by mistake."""
    try:
        # Something else may have taken the file's place, and opening a pipe must not wait.
        with open(target, encoding="utf-8", errors="replace", newline="", opener=small.open_at_once) as file:
            is_report = file.read(len(report_page.MARK) + 2).replace("\r\n", "\n").startswith(report_page.MARK)
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
    if target == WORD:
        terminal.write([page.rstrip("\n")])
        return
    with Replacement(target, synced=False, reveals=reveals) as file:
        file.write(page.encode())
