"""The permission bits of a file that reveals others: nobody may read it who may not read all of them."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

#: What no file that is revealed takes away: its owner may read and write. Nobody may execute.
_OWNER: Final = stat.S_IRUSR | stat.S_IWUSR
_GROUP: Final = stat.S_IRGRP | stat.S_IWGRP
_OTHERS: Final = stat.S_IROTH | stat.S_IWOTH
_EVERYBODY: Final = stat.S_IRGRP | stat.S_IROTH


def narrowed(permissions: int, revealed: Iterable[os.stat_result], group: int | None = None) -> int:
    """Return permission bits without those that would show the content of other files to more people.

    Args:
        permissions: the bits that the new file would have otherwise.
        revealed: what the system says about each file whose content the new one shows; if there are none, nothing
            is taken away.
        group: the group of the new file; None for that of each file in `revealed`.
    """
    for status in revealed:
        permissions &= _OWNER | _others_of(status, group)
    return permissions


def _others_of(status: os.stat_result, group: int | None) -> int:
    """Return the bits that the group and others may have. Who may not read a file need not write its copy either."""
    mode = status.st_mode
    if group not in (None, status.st_gid):
        # Members of another group are anybody.
        return _GROUP | _OTHERS if mode & _EVERYBODY == _EVERYBODY else 0
    return (_GROUP if mode & stat.S_IRGRP else 0) | (_OTHERS if mode & stat.S_IROTH else 0)
