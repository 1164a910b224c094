"""`ckptload show`: print the values of entries."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import click

from ckptload.cli import completing, files, globs, options, sets, show_data, show_text, text
from ckptload.cli.standard import place
from ckptload.errors import ArgumentError, CheckpointError
from ckptload.messages import shown_text
from ckptload.reading.given import or_torch

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ckptload import Reader
    from ckptload.cli.keys import KeyChoice
    from ckptload.cli.sets import Ranks
    from ckptload.cli.show_text import Index
    from ckptload.cli.terminal import Terminal

_PART: Final = re.compile(
    r"\s*(?:(?P<at>-?\d{1,19})|(?P<all>\.\.\.)|(?P<range>[-\d\s]*:[-\d\s]*(?::[-\d\s]*)?))\s*", re.ASCII
)
_NUMBER: Final = re.compile(r"\s*(-?\d{1,19})?\s*", re.ASCII)


if TYPE_CHECKING:
    _Type = click.ParamType[Index]
else:
    # It cannot be subscribed in every version of click.
    _Type = click.ParamType


class _Slice(_Type):
    """An index in Python's notation, such as ``0:2, :, 3``."""

    name = "slice"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Index:
        """Return what numpy takes."""
        if isinstance(value, tuple):
            return value
        found = [self._part(one) for one in value.strip().removeprefix("[").removesuffix("]").split(",")]
        if None in found or found.count(...) > 1:
            self.fail(f"{shown_text(value)} is not an index, such as 0:2, :, 3", param, ctx)
        return tuple(part for part in found if part is not None)

    @staticmethod
    def _part(written: str) -> Any:
        """Return one part of an index; None if it is none."""
        match = _PART.fullmatch(written)
        if match is None:
            return None
        if match["at"] is not None or match["all"] is not None:
            return ... if match["at"] is None else int(match["at"])
        numbers = [_NUMBER.fullmatch(number) for number in match["range"].split(":")]
        bounds = [None if number is None or number[1] is None else int(number[1]) for number in numbers]
        return None if None in numbers or bounds[2:] == [0] else slice(*bounds)


@click.command(cls=options.Command)
@click.argument("path", type=options.FILE, metavar="FILE")
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=completing.entries)
@click.option("--slice", "index", type=_Slice(), metavar="INDEX", help='Show a part, such as "0:2, :, 3".')
@click.option("--full", is_flag=True, help="Show every element, also of large tensors and long texts.")
@click.option("--precision", type=click.IntRange(0, 17), metavar="N", help="Digits behind the point.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs (docs/cli.md has its schema).")
@options.ranks
@options.limit
@options.key_to_read
@options.common
def command(
    *,
    path: str,
    names: tuple[str, ...],
    index: Index | None,
    full: bool,
    precision: int | None,
    as_json: bool,
    ranks: Ranks,
    max_records: int | None,
    key: KeyChoice,
    terminal: Terminal,
) -> int:
    """Print the values of entries.

    Tensors are printed as numpy does it: of a large one only the first and last elements, and only these are read.
    NAME is the name of an entry; if there is none of this name, it is a pattern, as for --filter of inspect.

    Examples:
      ckptload show model.ckpt conv1.weight
      ckptload show model.ckpt conv1.weight --slice "0:2, 0, :, 3"
      ckptload show model.ckpt '*.bias' --precision 3
      ckptload show model.ckpt fc3.bias --json | jq '.entries[0].values'
    """
    ranks.check([path])
    secret = key.read()
    with (
        files.noted(terminal),
        files.open_file(
            path, secret, key, max_records=max_records, plain_too=True, opens=or_torch(ranks.opens(path))
        ) as reader,
    ):
        sets.notes_of(reader, terminal)
        chosen = _chosen(names, reader, path)
        if as_json:
            found = show_data.entries(reader, chosen, index, full=full)
            terminal.write(text.document(path=place(path), entries=found))
            return text.SOUND
        return _print(reader, chosen, show_text.Look(index, precision, terminal, full=full), path)


def _chosen(names: Sequence[str], reader: Reader, path: str) -> list[str]:
    """Return the names that are meant, each once.

    Raises:
        NothingSelectedError: there is none for one of the words.
    """
    found: dict[str, None] = {}
    for word in names:
        matches: Iterable[str] = [word] if word in reader else filter(globs.matcher([word]), reader)
        before = len(found)
        matching = list(matches)
        found.update(dict.fromkeys(matching))
        if len(found) == before and not matching:
            raise globs.no_match([word], reader, place(path))
    return list(found)


def _print(reader: Reader, names: Sequence[str], look: show_text.Look, path: str) -> int:
    """Print entries one by one; an error in one does not keep the others from being shown."""
    codes = []
    for number, name in enumerate(names):
        try:
            lines = list(look.lines(reader, name))
        except ArgumentError:
            raise
        except CheckpointError as error:
            codes.append(look.terminal.complain(error, path))
            continue
        look.terminal.write([""] if number else [])
        look.terminal.write(lines)
    return text.worst(codes)
