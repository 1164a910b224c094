"""A checkpoint as a caller passes it: the path of a file, or a reader that is open already."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ckptload.errors import EncryptedCheckpointError, Hint, WrongFormatError
from ckptload.reading.opening import open_checkpoint
from ckptload.reading.torch_files import is_torch_file, open_torch_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ckptload.reading.reader import Reader


def is_path(value: object) -> bool:
    """Tell whether a value is the path of a file."""
    return isinstance(value, (str, os.PathLike))


def opened(value: Any) -> Any:
    """Return a reader if a value is a path, and the value itself otherwise.

    Files of PyTorch are read with weights only. The reader is closed when nothing refers to it any more.

    Raises:
        CheckpointError: the file cannot be opened, or is encrypted.
    """
    return _open(value) if is_path(value) else value


@contextmanager
def open_while(value: Any) -> Iterator[Any]:
    """Do the same, and close the reader of a path in the end.

    Raises:
        CheckpointError: the file cannot be opened, or is encrypted.
    """
    if not is_path(value):
        yield value
        return
    with _open(value) as reader:
        yield reader


def or_torch(opens: Callable[..., Reader]) -> Callable[..., Reader]:
    """Return what opens a path as another function does, and a file of PyTorch with weights only."""

    def opened(source: Any, **how: Any) -> Reader:
        try:
            return opens(source, **how)
        except WrongFormatError:
            if "dec_key" in how or not is_torch_file(source):
                raise
        return open_torch_file(source, **how)

    return opened


def _open(path: str | os.PathLike[str]) -> Reader:
    try:
        return or_torch(open_checkpoint)(path)
    except EncryptedCheckpointError as error:
        raise EncryptedCheckpointError(
            error.problem, modes=error.modes, path=error.path, hint=Hint("{open_with_key}")
        ) from None
