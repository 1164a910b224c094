"""How a set of ranks is opened, as data that can go to another process."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from ckptload.encryption.ciphers import AES_GCM
from ckptload.encryption.keys import Carried, hidden
from ckptload.formats.limits import MAX_RECORDS
from ckptload.ranks.opening import OpenSet
from ckptload.ranks.strategy import Strategy
from ckptload.ranks.strategy_files import read_strategy
from ckptload.reading.access import Access

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ckptload.reading.reader import Reader

_URL: Final = re.compile(r"[a-z][a-z0-9+.-]+:/", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True)
class RankSet:
    """The arguments of `open_distributed` but for the rank. The repr does not show the key.

    Attributes:
        source: a folder, a mapping of ranks and paths, or a sequence of paths; paths are absolute.
        strategy: how the source is cut.
        to: how the target is cut; None for whole tensors.
        file_suffix, copies, mode, allow_unauthenticated, max_records: see `open_distributed`.
        key: the key of encrypted files.
    """

    source: Any
    strategy: Any = None
    to: Any = None
    file_suffix: str | None = None
    copies: str | None = None
    key: Carried | None = field(default=None, repr=False)
    mode: str = AES_GCM
    allow_unauthenticated: bool = False
    max_records: int = MAX_RECORDS

    @classmethod
    def of(
        cls,
        source: Any,
        strategy: Any,
        to: Any = None,
        *,
        file_suffix: str | None = None,
        copies: str | None = None,
        dec_key: Any = None,
        dec_mode: str = AES_GCM,
        allow_unauthenticated: bool = False,
        max_records: int = MAX_RECORDS,
    ) -> RankSet:
        """Return the set for arguments of `open_distributed`; relative paths are made absolute."""
        return cls(
            _fixed(source),
            _fixed(strategy),
            _fixed(to),
            file_suffix,
            copies,
            None if dec_key is None else Carried(hidden(dec_key)),
            dec_mode,
            allow_unauthenticated,
            max_records,
        )

    @contextmanager
    def open(self) -> Iterator[Callable[[int], Reader]]:
        """Open the files of the set, and give a function that returns a reader for a rank of the target.

        Without `to`, readers have whole tensors, and the rank is not used. They are closed with the set.

        Raises:
            CheckpointError: as `open_distributed` does.
        """
        access = Access(
            key=None if self.key is None else self.key.key,
            mode=self.mode,
            allow_unauthenticated=self.allow_unauthenticated,
            max_records=self.max_records,
        )
        target = None if self.to is None else read_strategy(self.to)
        opened = OpenSet(self.source, self.strategy, file_suffix=self.file_suffix, copies=self.copies, access=access)
        with closing(opened):
            yield lambda rank: opened.reader(target, None if target is None else rank)


def _fixed(given: Any) -> Any:
    """Return paths that mean the same in a process with another working directory."""
    if isinstance(given, Strategy):
        return given
    if isinstance(given, Mapping):
        return {rank: _fixed(path) for rank, path in given.items()}
    if isinstance(given, (str, os.PathLike)):
        path = os.fspath(given)
        return path if not isinstance(path, str) or not path or _URL.match(path) else os.path.abspath(path)  # noqa: PTH100
    if isinstance(given, Sequence) and not isinstance(given, (bytes, bytearray, memoryview)):
        return tuple(map(_fixed, given))
    return given
