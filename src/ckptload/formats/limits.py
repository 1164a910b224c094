"""How many things a file may hold before it is taken for a hostile one, where a caller may know better.

Limits that no sound file can reach stand where they are kept; docs/security.md lists them all.
"""

from __future__ import annotations

from typing import Final

from ckptload.errors import ArgumentError, ArgumentTypeError, Hint, LimitError

#: The largest models known have some ten thousand tensors. An index of so many takes half a gigabyte.
MAX_RECORDS: Final = 1_000_000


def check(max_records: object) -> None:
    """Check the argument `max_records`.

    Raises:
        ArgumentTypeError: it is no integer.
        ArgumentError: it is less than 1.
    """
    if not isinstance(max_records, int) or isinstance(max_records, bool):
        raise ArgumentTypeError(f"max_records must be an int, not {type(max_records).__name__}")
    if max_records < 1:
        raise ArgumentError(f"max_records must be at least 1, not {max_records}")


def beyond(what: str, max_records: int, path: str, offset: int | None = None) -> LimitError:
    """Say that a file holds more than a number of things, which follows from `max_records`."""
    return LimitError(
        f"the file holds more than {what}",
        path=path,
        offset=offset,
        hint=Hint("if you trust the file, raise {max_records} above {allowed}", allowed=max_records),
    )
