"""Files on the command line: checkpoints, encrypted or not, and directories of them."""

from __future__ import annotations

import errno
import glob
import os
import warnings
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, Final, cast

from ckptload import open_checkpoint
from ckptload.cli.sets import is_set
from ckptload.cli.standard import WORD, Input, check_is_file, check_once
from ckptload.errors import (
    ArgumentError,
    CheckpointError,
    EncryptedCheckpointError,
    Hint,
    MissingFolderError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ckptload import Reader
    from ckptload.cli.keys import KeyChoice
    from ckptload.cli.terminal import Terminal
    from ckptload.encryption.keys import Key

_SUFFIXES: Final = frozenset({".ckpt", ".safetensors"})
#: End of the usual name of an index of safetensors files. Others are known by their content.
INDEX: Final = ".safetensors.index.json"


def expand(paths: Sequence[str]) -> list[str]:
    """Replace directories by the checkpoints in them, and on Windows patterns by the files that match.

    A directory with the files of many ranks is one checkpoint.

    Raises:
        ArgumentError: a directory does not have a checkpoint.
    """
    found: list[str] = []
    check_once(paths)
    for path in _unglobbed(paths):
        if path == WORD or "://" in path or not Path(path).is_dir() or is_set(path):
            found.append(path)
            continue
        inside = sorted(Path(path).iterdir())
        indexes = {file: _shards(file) for file in inside if file.suffix == ".json"}
        shards = {shard for found in indexes.values() for shard in found or ()}
        # The shards of an index are not listed separately.
        files = [
            str(file)
            for file in inside
            if indexes.get(file) is not None or (file.suffix in _SUFFIXES and os.path.realpath(file) not in shards)
        ]
        if not files:
            raise ArgumentError(
                "this directory does not have a checkpoint", path=path, hint="name a .ckpt or .safetensors file"
            )
        found.extend(files)
    return found


def _shards(path: Path) -> list[str] | None:
    """Return the real paths of the files that an index of shards names, or None if a JSON is not an index.

    A damaged index is one by its name; its shards are not known.
    """
    try:
        with open_checkpoint(path, parameters="ckptload") as reader:
            return reader.files
    except CheckpointError:
        return [] if path.name.endswith(INDEX) else None


def _unglobbed(paths: Sequence[str]) -> Iterator[str]:
    """Expand patterns on Windows; elsewhere the shell has done so."""
    for path in paths:
        matches = sorted(glob.glob(path)) if os.name == "nt" and "://" not in path and glob.has_magic(path) else []  # noqa: PTH207
        yield from matches or [path]


def open_file(
    path: str,
    key: Key | None,
    choice: KeyChoice,
    *,
    max_records: int | None,
    plain_too: bool = False,
    opens: Callable[..., Reader] = open_checkpoint,
) -> Reader:
    """Open a checkpoint, with its key if it needs one.

    Args:
        path: path or URL, or ``-`` for standard input.
        key: the key that `choice` read.
        choice: has the mode, and whether unauthenticated files are allowed.
        max_records: maximum number of entries; None for the default of the library.
        plain_too: whether to open a plain file although a key was given. Commands whose result is to be trusted
            because of the key refuse it.
        opens: what opens it.

    Raises:
        EncryptedCheckpointError: it needs a key, and none was given.
        ArgumentError: it can be opened in two modes, and none was chosen.
        CheckpointError: it is damaged or cannot be read.
    """
    mode = choice.mode
    how: dict[str, Any] = {"parameters": "ckptload", **({} if max_records is None else {"max_records": max_records})}
    source = Input() if path == WORD else path
    if key is None:
        return opens(source, **how)
    try:
        reader = opens(source, **how)
    except EncryptedCheckpointError as error:
        if mode is None and len(error.modes) != 1:
            raise ArgumentError(
                error.problem, path=path, hint=f"choose one: --mode {' or --mode '.join(error.modes)}"
            ) from error
        mode = mode or error.modes[0]
    else:
        if plain_too:
            return reader
        reader.close()
    return opens(
        source,
        dec_key=cast("Any", key),
        dec_mode=mode or "AES-GCM",
        allow_unauthenticated=choice.allow_unauthenticated,
        **how,
    )


def check_output(path: str, role: str = "OUT", *, force: bool = True) -> None:
    """Look at the place of a file to write before any work: its folder must exist, as with `save_checkpoint`.

    Args:
        path: as the user named it.
        role: what it is to the command, for messages.
        force: whether a file that is there may be replaced.

    Raises:
        ArgumentError: it is ``-``; or it exists, and may not be replaced.
        MissingFolderError: its folder does not exist.
    """
    check_is_file(path, role)
    check_folder(path)
    if not force and os.path.lexists(path):
        raise ArgumentError("the file exists", path=path, hint=Hint("{replace}"))


def check_folder(path: str) -> None:
    """Raise MissingFolderError unless the folder of a file to write exists; no command makes it."""
    # A URL, and what cannot be a path, have errors of their own.
    if "://" in path or "\0" in path or os.path.islink(path):  # noqa: PTH114 -- paths are strings here
        return
    folder = os.path.dirname(path.rstrip(os.sep))  # noqa: PTH120
    if folder and not os.path.lexists(folder):
        error = MissingFolderError(
            "the folder of this file does not exist", path=path, hint=f"make the folder first: mkdir -p {quote(folder)}"
        )
        error.errno = errno.ENOENT
        raise error


@contextmanager
def noted(terminal: Terminal, but: type[Warning] | None = None) -> Iterator[None]:
    """Print each warning of the library as one line.

    Args:
        terminal: where to print it.
        but: warnings about what the command shows itself.
    """

    def show(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
        if but is None or not issubclass(category, but):
            terminal.say(*_warning(message))

    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = show
        yield


def _warning(message: Warning | str) -> list[str]:
    from ckptload.cli.text import problem  # noqa: PLC0415 -- only for warnings

    return [f"ckptload: warning: {problem(CheckpointError(str(message)))}"]
