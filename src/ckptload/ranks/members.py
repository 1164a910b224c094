"""The files of a set, each with its index; most are closed until they are read."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

import numpy as np

from ckptload import threads
from ckptload.errors import CheckpointError, EmptyCheckpointError, enough_memory
from ckptload.formats.ckpt.schema import CRC_TRAILER_SIZE
from ckptload.formats.item import as_bytes
from ckptload.reading import arrays
from ckptload.reading.opening import index_of
from ckptload.sources.inputs import open_source
from ckptload.sources.pooled import Pool, PooledFile

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ckptload.formats.entry import Entry
    from ckptload.formats.index import Index
    from ckptload.reading.access import Access
    from ckptload.sources.base import Request, Source


#: Entries that a file keeps at hand: its index describes all, and there may be a thousand files.
_KEPT: Final = 64


class Member:
    """One file of a set.

    Attributes:
        number: the rank that wrote it, or the number of the file.
        index: its index.
        source: where its bytes are.
        label: its path, for messages.
        names: its public names in its order, each with the name in the file.
    """

    def __init__(self, number: int, index: Index) -> None:
        self.number = number
        self.index = index
        self.source = index.source
        self.label = index.source.label
        with self.named():
            self.names = index.public_names(index.names())
        self._entries: dict[str, Entry] = {}

    def share(self, other: Member) -> None:
        """Have what another member has of names and entries; its file must describe all entries as this one does."""
        self.names, self._entries = other.names, other._entries

    def entry(self, name: str) -> Entry:
        """Return the entry of a public name.

        Raises:
            CheckpointError: the entry is damaged; the error has the path of this file.
        """
        found = self._entries.get(name)
        if found is None:
            try:  # Not `named`, since this is done a million times.
                found = self.index.entry(self.names[name])
            except CheckpointError as error:
                error.path = error.path or self.label
                raise
            if found.name != name:
                found = found._replace(name=name)
            if len(self._entries) >= _KEPT:
                self._entries.clear()
            self._entries[name] = found
        return found

    def read_stored(self, name: str, start: int, out: memoryview) -> None:
        """Fill `out` with the data of an entry as the file has it, from byte `start` on; maps part by part."""
        entry = self.entry(name)
        if not entry.spans:
            entry = entry._replace(spans=tuple(span for part in entry.parts for span in part.spans))
        with self.named():
            self.source.read_many(arrays.requests_of(entry, arrays.begins_of(entry), out, start))

    def read_many(self, name: str, requests: Sequence[Request]) -> None:
        """Fill every ``(start, out)`` with elements of a tensor, from byte `start` of them on; none is cut in two."""
        entry = self.entry(name)
        if arrays.is_wide(entry):
            for start, out in requests:
                self._read_wide(name, start, out)
            return
        begins = arrays.begins_of(entry)
        with self.named():
            self.source.read_many(
                [one for start, out in requests for one in arrays.requests_of(entry, begins, out, start)]
            )

    def _read_wide(self, name: str, start: int, out: memoryview) -> None:
        """Read bfloat16 values that are stored as float32."""
        array = np.frombuffer(out, np.uint16)
        wide = np.empty(array.size, arrays.WIDE)
        self.read_stored(name, start * 2, as_bytes(wide))
        arrays.narrow(wide, array)

    @contextmanager
    def named(self) -> Iterator[None]:
        """Add the path of this file to errors raised inside that have none."""
        try:
            yield
        except CheckpointError as error:
            if error.path is None:
                error.path = self.label
            raise


def opened(paths: Mapping[int, str], access: Access) -> list[Member]:
    """Open the files of a set, several at a time, in the order of their numbers.

    A file without entries is no member: where redundancy is removed, a rank may have no share (docs/ranks.md,
    "What lies on the disk").

    Raises:
        CheckpointError: a file cannot be read or is damaged; the error names it.
    """
    pool = Pool()
    found: dict[int, Member] = {}

    def one(item: tuple[int, str]) -> None:
        number, path = item
        with enough_memory("to open the file", path=path):
            member = _member(number, open_source(path) if "://" in path else PooledFile(path, pool), access)
        if member is not None:
            found[number] = member

    try:
        threads.share(one, sorted(paths.items()))
    except BaseException:
        for member in found.values():
            member.source.close()
        raise
    members = [found[number] for number in sorted(found)]
    _share(members)
    return members


def _share(members: Sequence[Member]) -> None:
    """Let members share what is equal: most ranks of a stage have files that differ in their values only."""
    by_header: dict[tuple[int, bool], Member] = {}
    last: Member | None = None
    for member in members:
        header = getattr(member.index, "header", None)
        alike = member if header is None else by_header.setdefault((id(header), member.source.witnessed), member)
        if alike is not member:
            member.share(alike)
        elif last is not None and list(member.names.items()) == list(last.names.items()):
            member.names = last.names
        last = member


def _member(number: int, source: Source, access: Access) -> Member | None:
    """Open one file; return None if it holds nothing."""
    with ExitStack() as stack:
        stack.callback(source.close)
        if source.size == 0:
            return None
        try:
            index = index_of(source, access)
        except EmptyCheckpointError:
            if source.size <= CRC_TRAILER_SIZE:
                return None
            raise
        member = Member(number, index)
        if not member.names and not index.metadata:
            return None
        stack.pop_all()
        return member
