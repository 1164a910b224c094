"""What a process that replaces several files leaves behind if it is killed, so that the next one can finish or tidy up.

Before the first temporary file of a group is made, a journal is: ``.ckptload-ID.journal`` in the folder that all files
of the group are in or below. It is locked as long as its process lives, and says which folders hold files of the group,
whose names have the same ID. Before the first file is moved, a line says which file is to be moved where, and before
files are removed that the new ones make obsolete, a line says which. Of a set of shards, a line says before anything
which files are the old ones and which the new: those go that the index does not lead to. A journal whose lock is free
was left behind: the moves are finished, if every file is as it was; then the obsolete files go, and what is left of the
group.

A journal of another user is left alone: in a folder that many may write to, such as ``/tmp``, it could name files that
its writer may neither replace nor remove.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from contextlib import closing, suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ckptload.errors import CheckpointError
from ckptload.formats.safetensors.weight_map import find
from ckptload.sources.files import FileSource
from ckptload.writing import atomic, temporary_files
from ckptload.writing.shard_names import INDEX, OURS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Stamp = list[int] | None

_NAME: Final = re.compile(r"\.ckptload-([0-9a-f]{16})\.journal", re.ASCII)
#: Bytes of a journal that is read; that of a hundred thousand files is shorter.
_MOST: Final = 1 << 26


class Move(NamedTuple):
    """A complete file, and the path that it gets."""

    path: Path
    target: Path


def temporary(id_: str, number: int) -> str:
    """Return a name for a temporary file of a group; it cannot be guessed from others."""
    return f"{_prefix(id_)}{number}-{secrets.token_hex(8)}.tmp"


def _prefix(id_: str) -> str:
    return f".ckptload-{id_}-"


class Journal:
    """The journal of a group of files that this process replaces.

    Args:
        id_: 16 hexadecimal digits that no other group has.
        common: the folder that all files are in or below.
        folders: the folders that they are in.

    Raises:
        OSError: the system could not write it.
    """

    def __init__(self, id_: str, common: Path, folders: Iterable[Path]) -> None:
        self._common = common
        self._path = common / f".ckptload-{id_}.journal"
        self._number = temporary_files.create_locked(self._path)
        try:
            self._add({"folders": [self._relative(folder) for folder in folders]})
        except BaseException:
            self.close()
            raise

    def _relative(self, path: Path) -> str:
        return path.relative_to(self._common).as_posix()

    def _add(self, line: dict[str, Any]) -> None:
        text = json.dumps(line).encode() + b"\n"
        while text:
            text = text[os.write(self._number, text) :]

    def begin(self, moves: Sequence[Move], *, synced: bool) -> None:
        """Say which moves will be made. Files that are not synced would not be there after a crash of the machine."""
        self._add(
            {
                "moves": [
                    [self._relative(path), self._relative(target), _stamp(path), _stamp(target)]
                    for path, target in moves
                ]
            }
        )
        if synced:
            os.fsync(self._number)

    def note_set(self, index: Path, old: Sequence[Path], moves: Sequence[Move]) -> None:
        """Say which files of a set will be obsolete once its index is another, and which get names before that."""
        stamps = [[self._relative(path), _stamp(path)] for path in old if path != index]
        new = [[self._relative(target), _stamp(path)] for path, target in moves]
        self._add({"sets": [[self._relative(index), _stamp(index), stamps, new]]})

    def note(self, obsolete: Sequence[Path]) -> None:
        """Say which files will be removed."""
        self._add({"obsolete": [[self._relative(path), _stamp(path)] for path in obsolete]})

    def close(self) -> None:
        """Remove the journal; the temporary files of the group are gone by now."""
        if not temporary_files.has_locks():
            self.leave()
        with suppress(OSError):
            temporary_files.unlink(self._path)
        self.leave()

    def leave(self) -> None:
        """Unlock the journal, so that the next one can finish or tidy up what it says, unless it was removed."""
        number, self._number = self._number, -1
        if number >= 0:
            os.close(number)


def recover(folders: Iterable[Path]) -> None:
    """Finish or tidy up what killed processes left in some folders, as far as that can be done."""
    own = set(folders)
    for folder in sorted(own):
        with suppress(OSError), os.scandir(folder) as entries:
            left = {one.name: found[1] for one in entries if (found := _NAME.fullmatch(one.name)) is not None}
            for name, id_ in left.items():
                # What others have written under this name may be any JSON.
                with (
                    suppress(OSError, ValueError, TypeError, RecursionError),
                    temporary_files.abandoned(folder / name) as is_left,
                ):
                    if is_left and temporary_files.is_own(folder / name):
                        _finish(folder / name, id_, own)


def _finish(journal: Path, id_: str, own: set[Path]) -> None:
    common = journal.parent
    lines = _read(journal)
    folders = [folder for folder in map(common.joinpath, _said(lines, "folders")) if _is_ours(folder, common, own)]
    moves = [(common / path, common / target, new, old) for path, target, new, old in _said(lines, "moves")]
    if all(
        path.parent == target.parent
        and path.name.startswith(_prefix(id_))
        and _is_ours(target.parent, common, own)
        and ([_stamp(path), _stamp(target)] == [new, old] or [_stamp(path), _stamp(target)] == [None, new])
        for path, target, new, old in moves
    ):
        for path, target, _, _ in moves:
            if path.exists():
                atomic.move(path, target)
    for path, stamp in [(common / name, stamp) for name, stamp in [*_said(lines, "obsolete"), *_unused(lines, common)]]:
        is_shard = path.name == INDEX or OURS.fullmatch(path.name) is not None
        if is_shard and _is_ours(path.parent, common, own) and _stamp(path) == stamp is not None:
            temporary_files.remove_file(path)
    for folder in {common, *folders}:
        _clean(folder, id_)
    temporary_files.unlink(journal)


def _unused(lines: list[dict[str, Any]], common: Path) -> list[Any]:
    """Return the files of the old set, if its index was replaced, and of the new one, unless the index names them."""
    found: list[Any] = []
    for name, seen, old, new in _said(lines, "sets"):
        index = common / name
        named = {index.parent / one for one in named_by(index)}
        unused = [*new, *([] if _stamp(index) in (None, seen) else old)]
        found += [[path, stamp] for path, stamp in unused if common / path not in named]
    return found


def named_by(index: Path) -> list[str]:
    """Return the names of the files that an index names, each once; none if it is not valid."""
    with suppress(CheckpointError), closing(FileSource(str(index))) as source:
        found = find(source)
        return list(dict.fromkeys(found.files.values())) if found is not None else []
    return []


def _read(journal: Path) -> list[dict[str, Any]]:
    """Return the complete lines of a journal.

    Raises:
        ValueError: they are not those of a journal.
    """
    content = temporary_files.read_left(journal, _MOST + 1)
    if len(content) > _MOST:
        raise ValueError("too long for a journal")
    complete = content.rpartition(b"\n")[0].splitlines()
    lines = [json.loads(line) for line in complete]
    if not all(isinstance(line, dict) for line in lines):
        raise ValueError("not a journal")
    return lines


def _said(lines: list[dict[str, Any]], key: str) -> list[Any]:
    return [one for line in lines for one in line.get(key, ())]


def _is_ours(folder: Path, common: Path, own: set[Path]) -> bool:
    """Tell whether a journal may speak of a folder. It is not trusted: whoever may write to its folder may forge it."""
    if ".." in PurePosixPath(folder.as_posix()).parts:
        return False
    return folder in own or folder.resolve().is_relative_to(common.resolve())


def _stamp(path: Path) -> Stamp:
    """Return what tells a file from others at the same path; None if there is none."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    return [found.st_ino, found.st_size, found.st_mtime_ns]


def _clean(folder: Path, id_: str) -> None:
    """Remove the temporary files of a group from a folder."""
    with suppress(OSError), os.scandir(folder) as entries:
        for name in [entry.name for entry in entries if entry.name.startswith(_prefix(id_))]:
            with suppress(OSError):
                temporary_files.unlink(folder / name)
