"""Conventions: maps that come with the package, each a JSON file in the folder beside this module."""

from __future__ import annotations

from contextlib import contextmanager
from functools import cache
from pkgutil import get_data
from typing import TYPE_CHECKING, Final

from ckptload.binding.maps.name_map import NameMap
from ckptload.errors import ArgumentError, ArgumentTypeError, ReadError
from ckptload.messages import closest, listed, shown_text, type_name

if TYPE_CHECKING:
    from collections.abc import Iterator

_PACKAGE: Final = "ckptload.binding.maps"
_FOLDER: Final = "conventions"
_ENDING: Final = ".json"
#: Characters of a wrong name that a message shows.
_SHOWN: Final = 80


def names() -> tuple[str, ...]:
    """Return the names of all conventions, sorted.

    Raises:
        ReadError: the package's folder cannot be read.
    """
    from importlib.resources import files  # noqa: PLC0415 -- few programs need it, and it imports much

    with _readable():
        found = [each.name for each in (files(_PACKAGE) / _FOLDER).iterdir()]
    return tuple(sorted(name.removesuffix(_ENDING) for name in found if name.endswith(_ENDING)))


def convention(name: str) -> NameMap:
    """Return the map for files that name their entries by a convention.

    Args:
        name: name of the convention, such as ``"mindformers-llama"``.

    Returns:
        The map; its ``about`` says what it is for and what it rests on.

    Raises:
        ArgumentTypeError: the name is no text.
        ArgumentError: there is no such convention; the message has the names of all.
        ReadError: its file cannot be read.
    """
    if not isinstance(name, str):
        raise ArgumentTypeError(f"the name of a convention must be a str, not {type_name(name)}")
    known = names()
    if name not in known:
        near = closest(name, known)
        meant = f"did you mean {listed(near)}? " if near else ""
        raise ArgumentError(
            f"there is no map with the name {shown_text(name)[:_SHOWN]}",
            hint=f"{meant}The maps are {', '.join(known)}; the path of a file ends in {_ENDING}",
        )
    return _read(name)


@cache
def _read(name: str) -> NameMap:
    with _readable():
        content = get_data(_PACKAGE, f"{_FOLDER}/{name}{_ENDING}")
    return NameMap.parse(content or b"", f"{name}{_ENDING}")


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ReadError(f"the package's maps cannot be read: {error}") from error
