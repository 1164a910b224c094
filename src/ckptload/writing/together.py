"""Files that replace others together: all of them are new, or none is.

All are written under temporary names first, complete and closed, so that their number is not limited by descriptors.
Then they get their names one right after the other. If that fails in the middle, those that were done are taken back.
"""

from __future__ import annotations

import os
import secrets
import threading
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from ckptload.errors import WriteError
from ckptload.messages import counted, warn
from ckptload.writing import atomic, temporary_files
from ckptload.writing.journal import Journal, Move, recover, temporary
from ckptload.writing.locks import locked
from ckptload.writing.shard_set import ShardSet
from ckptload.writing.targets import failure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from types import TracebackType


class Together:
    """Files that get their names when the block ends without an exception; otherwise nothing is changed.

    Several threads may add files.

    Args:
        folders: absolute paths of all folders that files are written to; those that do not exist are made.
        synced: see `Replacement`.

    Attributes:
        id: 16 hexadecimal digits that no other group of files has.

    Raises:
        WriteError: the system could not write.
    """

    def __init__(self, folders: Iterable[Path], *, synced: bool) -> None:
        self.id = secrets.token_hex(8)
        self.synced = synced
        self._folders = sorted(set(folders))
        self._common = Path(os.path.commonpath(self._folders)) if self._folders else Path()
        self._made: list[Path] = []
        self._moves: list[Move] = []
        self._sets: list[ShardSet] = []
        self._staged: list[Path] = []
        self._numbers = count()
        self._journal: Journal | None = None
        self._begun = False
        self._lock = threading.Lock()

    def __enter__(self) -> Together:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        done = False
        unsettled: list[Path] = []
        try:
            if kind is None:
                unsettled = self._commit()
                done = True
        finally:
            self._clean(done=done)
        for folder in unsettled:
            warn(
                f"the shards in {folder} are complete and new, but could not get their plain names, such as "
                "model-00001-of-00002.safetensors; the index names them as they are"
            )

    # -- adding files ----------------------------------------------------------------------------------------

    def stage(self, target: Path) -> Path:
        """Return a temporary path for the file that shall be at a target, which must be in one of the folders.

        Raises:
            WriteError: its folder cannot be made.
        """
        try:
            with self._lock:
                self._begin(target.parent)
        except OSError as error:
            raise failure(error, str(target)) from error
        path = target.parent / temporary(self.id, next(self._numbers))
        self._staged.append(path)
        return path

    def _begin(self, folder: Path) -> None:
        if not self._begun:
            self._make(self._common)
            recover({self._common, *self._folders})
            # Where the folder above those of the files may not be written, nobody tells what a killed process left.
            if len(self._folders) == 1:
                self._journal = Journal(self.id, self._common, self._folders)
            else:
                with suppress(OSError):
                    self._journal = Journal(self.id, self._common, self._folders)
            self._begun = True
        self._make(folder)

    def _make(self, folder: Path) -> None:
        missing = []
        while not folder.exists():
            missing.append(folder)
            folder = folder.parent
        for one in reversed(missing):
            one.mkdir(exist_ok=True)
            self._made.append(one)

    def add(self, path: Path, target: Path) -> None:
        """Add a complete file: the temporary path that `stage` gave, and the target."""
        self._moves.append(self._allocated(Move(path, target)))

    def _allocated(self, move: Move) -> Move:
        """Let the file replace an empty one if it will replace another, so that the move itself is short.

        ext4 allocates the blocks of a file when it replaces another. That takes longer than the renaming, and is better
        done now, when a kill does not part the results.
        """
        if not os.path.lexists(move.target):
            return move
        ready = self.stage(move.target)
        temporary_files.create_empty(ready)
        atomic.move(move.path, ready)
        return Move(ready, move.target)

    def add_set(
        self,
        folder: Path,
        staged: Sequence[Path],
        index: Callable[[Mapping[str, str]], bytes],
        *,
        keeps_index: bool,
        reveals: Sequence[os.stat_result] = (),
        spared: Sequence[str] = (),
    ) -> None:
        """Add a set of complete shards; see `ShardSet`."""
        self._sets.append(
            ShardSet(
                folder,
                staged,
                index,
                keeps_index=keeps_index,
                reveals=reveals,
                spared=spared,
                id_=self.id,
                stage=self.stage,
                synced=self.synced,
            )
        )

    # -- giving them their names -----------------------------------------------------------------------------

    def _commit(self) -> list[Path]:
        """Return the folders whose shards could not get their plain names."""
        if not self._begun:
            return []
        try:
            with locked({self._common, *(each.folder for each in self._sets)}) as alone:
                problem = self._switch()
                unsettled = [each.folder for each in self._sets if not each.tidy(self._note, alone=alone)]
                if problem is not None:
                    raise problem
                return unsettled
        except WriteError:
            raise
        except OSError as error:
            raise failure(error, str(self._common)) from error

    def _note(self, obsolete: Sequence[Path]) -> None:
        if self._journal is not None:
            with suppress(OSError):
                self._journal.note(obsolete)

    def _note_set(self, index: Path, old: Sequence[Path], moves: Sequence[Move]) -> None:
        if self._journal is not None:
            with suppress(OSError):
                self._journal.note_set(index, old, moves)

    def _switch(self) -> WriteError | None:
        """Make the moves; return the error for a failure that came too late to change anything."""
        stuck: set[Path] = set()
        try:
            moves = [*self._moves, *(self._allocated(each.prepare(self._note_set)) for each in self._sets)]
            self._make_all(moves, stuck)
        except BaseException:
            for each in self._sets:
                if each.index not in stuck:
                    each.undo()
            raise
        return self._sync()

    def _sync(self) -> WriteError | None:
        """Sync the folders; return the error for a failure, which comes too late to change anything."""
        try:
            if self.synced:
                for folder in self._folders:
                    atomic.sync_folder(folder)
        except OSError as error:
            return atomic.unfinished(error, str(folder), several=True)
        return None

    def _make_all(self, moves: Sequence[Move], stuck: set[Path]) -> None:
        """Make all moves or none.

        Args:
            moves: what is to be moved.
            stuck: targets are added that are new and cannot be taken back.
        """
        kept = self._kept(moves) if len(moves) > 1 else {}
        # What may fail and cannot be taken back comes first, when there is nothing to take back yet.
        moves = sorted(moves, key=lambda move: move.target in kept)
        if len(moves) > 1 and self._journal is not None:
            self._journal.begin(moves, synced=self.synced)
        at = moves[0].target if moves else self._common
        try:
            for path, target in moves:
                at = target
                atomic.move(path, target)
        except BaseException as error:
            stuck.update(self._take_back(moves, kept))
            if not isinstance(error, OSError):
                raise
            wrong = failure(error, str(at))
            if stuck:
                wrong.problem += f"; {counted(len(stuck), 'other file is', 'other files are')} new already"
            raise wrong from error

    def _kept(self, moves: Sequence[Move]) -> dict[Path, Path | None]:
        """Keep the old files by hard links; return them by their paths, and None for those that do not exist."""
        kept: dict[Path, Path | None] = {}
        for _, target in moves:
            old = self.stage(target)
            with suppress(OSError, AttributeError, NotImplementedError):
                try:
                    os.link(target, old, follow_symlinks=os.link not in os.supports_follow_symlinks)
                    kept[target] = old
                except FileNotFoundError:
                    kept[target] = None
        return kept

    def _take_back(self, moves: Sequence[Move], kept: Mapping[Path, Path | None]) -> list[Path]:
        """Give old files their names again; return the targets for which that cannot be done."""
        stuck = []
        for path, target in moves:
            if os.path.lexists(path):
                continue
            try:
                old = kept[target]
                if old is None:
                    temporary_files.unlink(target)
                else:
                    atomic.move(old, target)
            except (OSError, KeyError):
                stuck.append(target)
        return stuck

    def _clean(self, *, done: bool) -> None:
        try:
            for path in self._staged:
                with suppress(OSError):
                    temporary_files.unlink(path)
            if done and self._journal is not None:
                self._journal.close()
        finally:
            # Whatever interrupts this: what is not done is then what a killed process leaves.
            if self._journal is not None:
                self._journal.leave()
        if not done:
            recover({self._common, *self._folders})
            for folder in reversed(self._made):
                with suppress(OSError):
                    folder.rmdir()
