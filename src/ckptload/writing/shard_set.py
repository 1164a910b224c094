"""Shards that take the place of others, so that the index names a complete set at every moment.

The index is what switches from the old set to the new one. If none of the new shards' names is taken, they get them,
and then the index is replaced. Otherwise the new shards first get names in between, which no other set has:

1. an index that names these replaces the old one; from here on, the new set is what is read;
2. each plain name is given to its new shard by a hard link, since nobody is led to the old one any more;
3. the index that names these replaces the one of step 1;
4. the names in between, and what belonged to the old set, are removed.

A process may be killed after any of these steps. Where a plain name cannot be given (no hard links, a file that may not
be replaced), the names in between stay: the set is complete and new.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from ckptload.writing import atomic, temporary_files
from ckptload.writing.atomic import Replacement
from ckptload.writing.journal import Move, named_by
from ckptload.writing.shard_names import BETWEEN, INDEX, OURS, SINGLE, plain_names
from ckptload.writing.targets import failure

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path


def outdated(folder: Path, names: Sequence[str], *, keeps_index: bool, spared: Sequence[str] = ()) -> list[str]:
    """Return the names of the files that a new set makes obsolete, as far as they exist, the index first.

    Args:
        folder: the folder of the old set and the new one.
        names: the names of the new shards.
        keeps_index: whether the new set has an index.
        spared: names of files that are not removed, since the new set is made from them.
    """
    named = [INDEX, *(name for name in named_by(folder / INDEX) if OURS.fullmatch(name)), SINGLE]
    kept = {*names, *spared, *([INDEX] if keeps_index else [])}
    return [name for name in dict.fromkeys(named) if name not in kept and os.path.lexists(folder / name)]


class ShardSet:
    """A new set of shards, which are complete under temporary names.

    Args:
        folder: where they shall be.
        staged: their temporary paths.
        index: returns the content of an index, given the file name of each shard for its plain name.
        keeps_index: whether the set has an index. One that has a single shard may not.
        reveals: see `Replacement`; for the index.
        spared: see `outdated`.
        id_: the set's ID, for names in between.
        stage: returns a temporary path for a target.
        synced: see `Replacement`.
    """

    def __init__(
        self,
        folder: Path,
        staged: Sequence[Path],
        index: Callable[[Mapping[str, str]], bytes],
        *,
        keeps_index: bool,
        reveals: Sequence[os.stat_result],
        spared: Sequence[str],
        id_: str,
        stage: Callable[[Path], Path],
        synced: bool,
    ) -> None:
        self.folder = folder
        self.index = folder / INDEX
        self._staged = staged
        self._content = index
        self._keeps_index = keeps_index
        self._reveals = reveals
        self._spared = spared
        self._id = id_
        self._stage = stage
        self._synced = synced
        self._plain = [folder / name for name in plain_names(len(staged))]
        self._between: list[Path] = []
        self._moved: list[Path] = []
        self._old: set[str] = set()
        self._outdated: list[str] = []

    def prepare(self, note: Callable[[Path, Sequence[Path], Sequence[Move]], None]) -> Move:
        """Give the shards names at which nothing leads to them yet; return the move that switches to the new set.

        Args:
            note: called before that with the index, the files of the old set, and the moves that will be made.

        Raises:
            OSError: the system could not do it; `undo` takes back what was done.
        """
        names = [path.name for path in self._plain]
        self._old = {SINGLE, *named_by(self.index)}
        self._outdated = outdated(self.folder, names, keeps_index=self._keeps_index, spared=self._spared)
        taken = any(map(os.path.lexists, self._plain))
        if not self._keeps_index and not (taken and SINGLE in named_by(self.index)):
            return Move(self._staged[0], self._plain[0])
        if taken:
            self._between = [self.folder / name for name in plain_names(len(names), self._id)]
        targets = self._between or self._plain
        old = [*map(self.folder.joinpath, self._outdated), *self._plain]
        # The plain names come later, but nobody else will tell which files have them.
        note(self.index, old, [*map(Move, self._staged, targets), *map(Move, self._staged, self._plain)])
        for path, target in zip(self._staged, targets, strict=True):
            atomic.move(path, target)
            self._moved.append(target)
        self._sync()
        return Move(self._indexed(targets), self.index)

    def undo(self) -> None:
        """Remove the shards, which no index names."""
        for path in self._moved:
            _remove(path)

    def tidy(self, note: Callable[[Sequence[Path]], None], *, alone: bool) -> bool:
        """Give the shards their plain names and remove what is obsolete, once the new set is what is read.

        Args:
            note: called with the files that will be removed.
            alone: whether no other process can be in the middle of this, so that files of others are leftovers.

        Returns:
            Whether they have their plain names.

        Raises:
            WriteError: an old index without a new one could not be removed, and still leads to the old set.
        """
        settled = not self._between or self._settle()
        used, left = self._plain, list(self._outdated)
        if settled:
            left.extend(path.name for path in self._between)
        else:
            used = self._between
            left.extend(path.name for path in self._plain if path.name in self._old)
            if INDEX in left:
                left.remove(INDEX)
        if self._between:
            try:
                self._sync()
            except OSError:
                # After a crash of the machine, the index in between might be back.
                return settled
        if alone:
            with suppress(OSError), os.scandir(self.folder) as entries:
                left.extend(entry.name for entry in entries if BETWEEN.fullmatch(entry.name))
        obsolete = [path for path in map(self.folder.joinpath, dict.fromkeys(left)) if path not in used]
        note(obsolete)
        if self.index in obsolete:
            self._remove_index()
        for path in obsolete:
            _remove(path)
        return settled

    def _remove_index(self) -> None:
        try:
            temporary_files.unlink(self.index)
        except FileNotFoundError:
            pass
        except OSError as error:
            wrong = failure(error, str(self.index))
            wrong.problem = f"{self._plain[0].name} is new, but the old index could not be removed: {error.strerror}"
            wrong.advice = "remove it; it still leads to the old shards"
            raise wrong from error

    def _settle(self) -> bool:
        """Give the shards their plain names; return whether that was possible."""
        done = []
        try:
            for between, plain in zip(self._between, self._plain, strict=True):
                link = self._stage(plain)
                os.link(between, link)
                atomic.move(link, plain)
                done.append(plain)
            self._sync()
            if self._keeps_index:
                atomic.move(self._indexed(self._plain), self.index)
            else:
                temporary_files.unlink(self.index)
        except (OSError, AttributeError, NotImplementedError):
            # There may be no hard links in this file system, or in this Python.
            for path in done:
                _remove(path)
            return False
        return True

    def _indexed(self, paths: Sequence[Path]) -> Path:
        """Write the index that names some paths; return its temporary path."""
        content = self._content({plain.name: path.name for plain, path in zip(self._plain, paths, strict=True)})
        staged = self._stage(self.index)
        with Replacement(str(self.index), synced=self._synced, reveals=self._reveals, staged=staged) as file:
            file.write(content)
        return staged

    def _sync(self) -> None:
        if self._synced:
            atomic.sync_folder(self.folder)


def _remove(path: Path) -> None:
    with suppress(OSError):
        temporary_files.remove_file(path)
