"""The SHA-256 in the name of a file: ``resnet18-1e65cd21.ckpt``, as torch.hub and model zoos name what they serve."""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import closing
from typing import Final

from ckptload.errors import ChecksumError
from ckptload.sources.files import FileSource

#: The first digits of a SHA-256, after a dash at the end of the name. The end of a UUID looks alike, after a group of
#: four more digits.
_DIGEST: Final = re.compile(r"(?<!-[0-9a-f]{4})-([0-9a-f]{8,64})(?:\.\w+)?\Z", re.ASCII)
#: Bytes read at a time: few enough to stay in the processor's cache between copy and sum.
_PIECE: Final = 1 << 20


def verify_name(path: str) -> bool:
    """Compare the SHA-256 in the name of a file with that of its bytes.

    Returns:
        True if the name has one and it matches. False if it has none: eight digits without a letter are a date or a
        number of steps, unless they match.

    Raises:
        ChecksumError: it does not match.
        ReadError: the file cannot be read.
    """
    found = _DIGEST.search(os.path.basename(path))  # noqa: PTH119 -- paths are strings here
    if found is None:
        return False
    want = found[1]
    have = _sha256(path)
    if have.startswith(want):
        return True
    if want.isdecimal():
        return False
    raise ChecksumError(
        f"the name says that the file's SHA-256 begins with {want}, it begins with {have[: len(want)]}",
        path=path,
        hint="the file was changed, cut off or renamed; fetch it again, or rename it if its name has another meaning",
    )


def _sha256(path: str) -> str:
    digest = hashlib.sha256()
    scratch = memoryview(bytearray(_PIECE))
    with closing(FileSource(path)) as source:
        for at in range(0, source.size, _PIECE):
            piece = scratch[: min(_PIECE, source.size - at)]
            source.read_into(at, piece)
            digest.update(piece)
        source.check_unchanged()
    return digest.hexdigest()
