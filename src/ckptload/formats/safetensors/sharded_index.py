"""The tensors of all shards, and whether the shards are those that their index describes."""

from __future__ import annotations

import os
from copy import copy
from typing import TYPE_CHECKING

from ckptload.errors import (
    CheckpointError,
    ClosedReaderError,
    CorruptCheckpointError,
    LimitError,
    MissingShardError,
    WrongFormatError,
)
from ckptload.formats.coverage import Coverage, by_all
from ckptload.formats.entry import SAFETENSORS
from ckptload.formats.index import Facts, Foreign
from ckptload.formats.safetensors import checksum, order, strings
from ckptload.formats.safetensors.fitting import misfits
from ckptload.formats.safetensors.weight_map import AGAIN, SET

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ckptload.errors import UnsupportedTypeError
    from ckptload.formats.entry import Entry
    from ckptload.formats.index import Note
    from ckptload.formats.safetensors.index import SafetensorsIndex
    from ckptload.formats.safetensors.shards import ShardedSource
    from ckptload.sources.base import Source


class ShardedIndex:
    """The tensors of all shards, by name; a shard's own index is read when one of its tensors is requested.

    Args:
        source: the shards.
        opens: opens a shard, or raises an error that names its kind.
    """

    def __init__(self, source: ShardedSource, opens: Callable[[Source], SafetensorsIndex]) -> None:
        self.format = SAFETENSORS
        self.source: Source = source
        self.metadata = source.index.metadata
        self.cipher: str | None = None
        self.foreign = Foreign()
        self.notes: Sequence[Note] = ()
        self._shards = source
        self._opens = opens
        self._indexes: dict[str, SafetensorsIndex] = {}
        self._refused: dict[str, CheckpointError] = {}

    def names(self) -> Sequence[str]:
        """Return the names in the index, in the same order as those of a single file."""
        return order.restored(self._shards.index.files, self.metadata)

    def public_names(self, chosen: Iterable[str]) -> dict[str, str]:
        """Return a dictionary from each name to itself."""
        return {name: name for name in chosen}

    def entry(self, name: str) -> Entry:
        """Return the entry of a tensor from the header of its shard.

        Raises:
            MissingShardError: the shard does not exist.
            ReadError: it cannot be read.
            CorruptCheckpointError: the shard is damaged, or the tensor is not in it.
        """
        file = self._shards.index.files[name]
        index = self._index(file)
        if name not in index:
            raise CorruptCheckpointError(
                f"the index {os.path.basename(self._shards.label)} says that this file holds the tensor, "  # noqa: PTH119
                "but it does not",
                name=name,
                path=index.source.label,
                hint=AGAIN,
            )
        try:
            entry = index.entry(name)
        except CheckpointError as error:
            error.path = index.source.label
            raise
        start = self._shards.start(file)
        return entry._replace(spans=tuple((start + a, start + b) for a, b in entry.spans))

    def unsupported(self, entries: Sequence[Entry]) -> UnsupportedTypeError:
        """Return the error for entries of types that are not supported; it names the shard of the first."""
        index = self._index(self._shards.index.files[entries[0].name])
        error = index.unsupported(entries)
        error.path = index.source.label
        return error

    def facts(self) -> Facts:
        """Return the total size of the shards, and whether the index has a checksum."""
        return Facts(self.source.size, checksum.KEY in self.metadata)

    def verify_crc(self) -> Coverage | None:
        """Check every shard that has a checksum.

        Returns:
            What the sums of all shards cover; None if there are no shards, or one of them has no sum.

        Raises:
            MissingShardError: files are missing; the others have been checked.
        """
        found, missing = [], None
        for file in self._shards.places:
            try:
                found.append(self._index(file).verify_crc())
            except MissingShardError as error:  # noqa: PERF203 -- the other shards are still checked
                missing = error
        if missing is not None:
            raise missing
        sums = [one for one in found if one is not None]
        return by_all(sums) if found and len(sums) == len(found) else None

    def reach(self) -> Coverage:
        """Return what checks of the shards, and comparing the index with them, can cover: the index has no sum."""
        has_order, has_texts, has_size = order.KEY in self.metadata, strings.KEY in self.metadata, self._has_size
        gaps = {
            "nothing covers the order of the entries, which is in the index": has_order,
            "nothing covers the strings, which are in the index": has_texts,
            "the index does not say how many bytes its tensors have (total_size), so that a file may be missing "
            "with its tensors": not has_size,
        }
        return Coverage(
            bytes=not has_texts,
            entries=not has_texts,
            order=not has_order,
            completeness=has_size,
            gaps=tuple(text for text, there in gaps.items() if there),
        )

    @property
    def _has_size(self) -> bool:
        return self._shards.index.total_size is not None

    def check_index(self) -> list[CheckpointError]:
        """Compare the index with the headers of all its files."""
        held = {file: self._sizes(file) for file in self._shards.places}
        return [
            CorruptCheckpointError(text, path=self._shards.label, hint=AGAIN)
            for text in misfits(self._shards.index, held, self._shards.has)
        ]

    def _sizes(self, file: str) -> dict[str, int] | None:
        """Return the sizes of the tensors in a shard; None if it cannot be read, which `entry` tells."""
        try:
            index = self._index(file)
            return {name: index.entry(name).nbytes for name in index.names()}
        except CheckpointError:
            return None

    def _index(self, file: str) -> SafetensorsIndex:
        found = self._indexes.get(file)
        if found is None:
            if file in self._refused:
                raise copy(self._refused[file])
            try:
                found = self._opens(self._shards.shard(file))
                self._check_set(found)
            except ClosedReaderError:
                raise
            except CheckpointError as error:
                # Whatever is wrong with the file, it may be of another set.
                if self._shards.is_replaced():
                    raise self._shards.replaced() from error
                if isinstance(error, (CorruptCheckpointError, LimitError, WrongFormatError)):
                    # The index may name a million tensors in a damaged file, whose header is then not read for each.
                    self._refused[file] = copy(error)
                raise
            # Two threads may do this at the same time, with the same result.
            self._indexes[file] = found
        return found

    def _check_set(self, shard: SafetensorsIndex) -> None:
        """Raise CorruptCheckpointError if a shard is of another set than the index, as far as the index says it."""
        want, have = self.metadata.get(SET), shard.metadata.get(SET)
        if want is not None and have != want:
            found = "the file of none" if have is None else f"the file of {have[:20]!r}"
            raise CorruptCheckpointError(
                f"the file is of another set than its index: the index is of {want[:20]!r} ({SET} in the metadata), "
                f"{found}",
                path=shard.source.label,
                hint="convert it again, or fetch the whole folder again: the index and its shards were written apart",
            )
