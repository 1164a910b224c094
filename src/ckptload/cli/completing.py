"""Words that a shell completes: names of entries and of maps. Whatever goes wrong, nothing is offered."""

from __future__ import annotations

import re
import stat
import warnings
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import click

    Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]

#: Arguments of commands that name checkpoints.
_FILES: Final = ("paths", "path", "source", "first", "second")
#: Files that are looked into, entries that one may have, and words that are offered.
_LOOKED_INTO: Final = 4
_MOST_ENTRIES: Final = 50_000
_MOST: Final = 200
#: More names than this are offered only up to their next dot.
_MANY: Final = 30
_DEEPEST: Final = 32
#: What is typed into a shell as it stands. Any other name could have it run a command.
_HARMLESS: Final = re.compile(r"[A-Za-z0-9_./@%+-]+")


def entries(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001
    """Offer the names of the entries of the files that the command line has so far."""
    found: dict[str, None] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Where an option still lacks its value, click leaves the other words where they are.
        for path in _files({**ctx.params, "paths": ctx.params.get("paths") or ctx.args}):
            # A shell shows what is written here among what is typed.
            with suppress(Exception):
                found.update(dict.fromkeys(_names(path, incomplete)))
    return [CompletionItem(name) for name in _stepwise(list(found), incomplete)[:_MOST]]


def conventions(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001
    """Offer the names of maps that ckptload knows."""
    from ckptload.binding.maps.conventions import names  # noqa: PLC0415 -- only for completion

    return [CompletionItem(name) for name in names() if name.startswith(incomplete)]


def maps(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the same, and files."""
    return [*conventions(ctx, param, incomplete), CompletionItem(incomplete, type="file")]


def _files(given: dict[str, Any]) -> list[str]:
    found: list[str] = []
    for name in _FILES:
        value = given.get(name)
        found.extend([value] if isinstance(value, str) else value or ())
    return found[:_LOOKED_INTO]


def _names(path: str, incomplete: str) -> Iterator[str]:
    """Yield names of a local file that begin as a word does."""
    from ckptload import open_checkpoint  # noqa: PLC0415 -- only for completion

    if not stat.S_ISREG(Path(path).stat().st_mode):
        return
    with open_checkpoint(path, parameters="ckptload", max_records=_MOST_ENTRIES) as reader:
        for name in reader:
            if name.startswith(incomplete) and _HARMLESS.fullmatch(name):
                yield name


def _stepwise(names: list[str], incomplete: str) -> list[str]:
    """Return names, or if there are many what they are up to the first dot behind which they differ."""
    if len(names) <= _MANY:
        return names
    at = len(incomplete)
    for dots in range(1, _DEEPEST):
        words = dict.fromkeys(name[:at] + ".".join(name[at:].split(".", dots)[:dots]) for name in names)
        if len(words) > 1:
            return list(words)
    return names
