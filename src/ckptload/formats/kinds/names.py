"""What the name of a file says about it, for a file whose bytes say nothing."""

from __future__ import annotations

import re
from typing import Final

from ckptload.formats.kinds.kind import MINDIR, TENSORFLOW, Kind

_BY_NAME: Final[tuple[tuple[re.Pattern[str], Kind], ...]] = (
    (
        re.compile(r"\.data-\d{5}-of-\d{5}$"),
        Kind("the data of a TensorFlow checkpoint, judging by its name", TENSORFLOW),
    ),
    (
        re.compile(r"\.aria2$"),
        Kind("a control file of aria2, judging by its name", "let aria2 finish the download beside it"),
    ),
)
_UNFINISHED: Final = re.compile(
    r"\.(part|partial|crdownload|download|opdownload|aria2|incomplete|!qb|tmp)$", re.IGNORECASE
)
_ENCRYPTED_MINDIR: Final = Kind("an encrypted MindIR model, judging by its name", MINDIR)


def by_name(name: str) -> Kind | None:
    """Return the kind that a name stands for, or None."""
    return next((kind for pattern, kind in _BY_NAME if pattern.search(name)), None)


def encrypted_by_name(name: str) -> Kind | None:
    """Return the kind of an encrypted file that is not a .ckpt, by its name: encryption hides everything else."""
    return _ENCRYPTED_MINDIR if name.endswith(".mindir") else None


def unfinished(name: str) -> str | None:
    """Return a hint if the name is one that downloads have until they end."""
    found = _UNFINISHED.search(name)
    return None if found is None else f"a name that ends in {found[0]} means that the download has not ended; finish it"
