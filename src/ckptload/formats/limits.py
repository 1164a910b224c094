"""The limit on records, which protects against hostile files and which a caller may raise.

Limits that a valid file never reaches are constants in the modules that enforce them; docs/security.md lists them all.
"""

from __future__ import annotations

from typing import Final

from ckptload.errors import ArgumentError, ArgumentTypeError, Hint, LimitError
from ckptload.messages import shown_value, type_name

#: The largest known models have tens of thousands of tensors. An index of a million takes half a gigabyte.
MAX_RECORDS: Final = 1_000_000


def check(max_records: object) -> None:
    """Check the argument `max_records`.

    Raises:
        ArgumentTypeError: it is not an int.
        ArgumentError: it is less than 1.
    """
    if not isinstance(max_records, int) or isinstance(max_records, bool):
        raise ArgumentTypeError(f"max_records must be an int, not {type_name(max_records)}")
    if max_records < 1:
        raise ArgumentError(f"max_records must be at least 1, not {shown_value(max_records)}")


def beyond(what: str, max_records: int, path: str, offset: int | None = None) -> LimitError:
    """Return the error for a file that exceeds a limit.

    Args:
        what: the limit in words, such as ``1000 records``.
        max_records: the argument that sets the limit.
        path: the file.
        offset: where the limit was exceeded, in bytes from the start of the source.
    """
    return LimitError(
        f"the file holds more than {what}",
        path=path,
        offset=offset,
        hint=Hint("if you trust the file, raise {max_records} above {allowed}", allowed=max_records),
    )
