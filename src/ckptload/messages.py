"""Shared parts of messages: counts, lists of names, similar names, and warnings."""

from __future__ import annotations

import re
import sys
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from ckptload import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence


_PACKAGE: Final = __name__.partition(".")[0]

#: How many names are listed; the rest is only counted.
_LISTED: Final = 8
#: Numbers of more bits may be keys, which have 128 or more.
_BITS: Final = 100
#: The longest repr of another object that is shown.
_SAID: Final = 100


def counted(number: int, one: str, several: str = "") -> str:
    """Return a number and its noun in singular or plural."""
    return f"{number} {one if number == 1 else several or one + 's'}"


def listed(names: Sequence[str], limit: int = _LISTED) -> str:
    """List names up to a limit, and count the rest."""
    first = ", ".join(repr(name) for name in names[:limit])
    return first if len(names) <= limit else f"{first} and {len(names) - limit} more"


#: Names that are compared, of all those that are looked at: the likeliest. Names come from files, and comparing letter
#: by letter takes a time that grows with the third power of their lengths, so that only ends are compared, and letter
#: by letter only a few.
_COMPARED: Final = 300
_END: Final = 64
_BY_LETTER: Final = 12
#: How alike names must be, from 0 to 1.
_ALIKE: Final = 0.6


def closest(name: str, candidates: Iterable[str], limit: int = 3) -> list[str]:
    """Return up to `limit` candidates that look most like `name`, best first."""
    # Where files or memory have run out, the error that this is for is told without more advice.
    with suppress(ImportError, OSError, MemoryError):
        return _closest(name, candidates, limit)
    return []


def _closest(name: str, candidates: Iterable[str], limit: int) -> list[str]:
    from heapq import nsmallest  # noqa: PLC0415 -- needed only for errors

    last = name.rsplit(".", 1)[-1][-_END:]

    def unlikely(candidate: str) -> tuple[bool, bool, int]:
        return (last not in candidate, candidate[:3] != name[:3], abs(len(candidate) - len(name)))

    likely = nsmallest(_COMPARED, candidates, key=unlikely)
    # A name with the same ending is most likely the one meant, however different its beginning.
    same = [candidate for candidate in likely if candidate.endswith(name) or name.endswith(candidate)]
    return list(dict.fromkeys([*same, *_alike(name, likely, limit)]))[:limit]


def _alike(name: str, candidates: Iterable[str], limit: int) -> Iterable[str]:
    """Return the candidates whose ends have the most in common with that of a name, best first."""
    from difflib import SequenceMatcher  # noqa: PLC0415 -- needed only for errors
    from heapq import nlargest  # noqa: PLC0415 -- likewise

    matcher = SequenceMatcher()
    matcher.set_seq2(name[-_END:])

    def rated(some: Iterable[str], rate: Callable[[], float]) -> Iterator[tuple[float, str]]:
        for candidate in some:
            matcher.set_seq1(candidate[-_END:])
            if matcher.real_quick_ratio() >= _ALIKE and (found := rate()) >= _ALIKE:
                yield found, candidate

    # By the letters that both have, in any order, which takes much less time.
    best = nlargest(_BY_LETTER, rated(candidates, matcher.quick_ratio))
    return [candidate for _, candidate in nlargest(limit, rated((each for _, each in best), matcher.ratio))]


def quoted(found: Iterable[str]) -> str:
    """List names for a message, and shorten each that is too long; only damaged files have such names."""
    return ", ".join(repr(shortened(name)) for name in found)


def shortened(name: str) -> str:
    """Return a name for a list of several, cut off if it is too long."""
    limit = 100
    return name if len(name) <= limit else name[:limit] + "..."


def warn(text: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the line of the script that called this package, however deep the call is."""
    level, frame = 1, sys._getframe()  # noqa: SLF001 -- Python 3.12 has warn(skip_file_prefixes=...) for this
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == _PACKAGE:
        level, frame = level + 1, frame.f_back
    warnings.warn(shown.message(text), category, stacklevel=level)


def shown_value(given: object) -> str:
    """Return how a caller's value of an argument is shown, where only a few values are allowed.

    The value may be a key, given by mistake: bytes are never shown, and no text or number that is as long as a key.
    """
    if isinstance(given, (bytes, bytearray)):
        return f"{type_name(given)} of length {len(given)}"
    if isinstance(given, str):
        return repr(given) if len(given) < shown.KEY_FROM else shown.length(given)
    if given is None or isinstance(given, (bool, float, complex, type)):
        return repr(given)
    if isinstance(given, int):
        return repr(given) if given.bit_length() <= _BITS else f"an int of {given.bit_length()} bits"
    if isinstance(given, (tuple, list)) and len(given) <= _LISTED:
        inside = ", ".join(type_name(one) if isinstance(one, (tuple, list)) else shown_value(one) for one in given)
        return f"[{inside}]" if isinstance(given, list) else f"({inside}{',' if len(given) == 1 else ''})"
    # Dtypes, slices and the like say what they are. The elements of an array may be a key.
    is_empty = isinstance(given, (dict, set, frozenset)) and not given
    told = repr(given) if is_empty or not hasattr(type(given), "__iter__") else ""
    is_key = any(map(shown.may_be_key, re.split(r"[^\w+/=]+", told)))
    return told if 0 < len(told) <= _SAID and not is_key else type_name(given)


def shown_text(given: str) -> str:
    """Return how a caller's text is shown, where any text is allowed: quoted, unless it looks like a key."""
    return shown.length(given) if shown.may_be_key(given) else repr(given)


def type_name(value: object) -> str:
    """Return a value's class under the name by which people import it, such as ``mindspore.Parameter`` or ``int``."""
    for cls in type(value).__mro__[:-1]:
        if cls.__module__ in {"builtins", "__main__"}:
            return cls.__qualname__
        place = ""
        for part in cls.__module__.lstrip("_").split("."):  # the classes of _io are imported from io
            place += part
            module = sys.modules.get(place)
            # The names of our own package are imported when they are first used.
            known = getattr(module, cls.__name__, None) if part == _PACKAGE else vars(module or cls).get(cls.__name__)
            if known is cls:
                return f"{place}.{cls.__name__}"
            place += "."
    return type(value).__qualname__
