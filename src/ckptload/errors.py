"""Every exception that leaves ckptload, and how its message is put together.

The rule: all of them derive from `CheckpointError`, which is a ``ValueError``
because that is what callers of MindSpore catch. Where MindSpore raises another
class (``TypeError`` for a wrong argument type, ``RuntimeError`` for a misfit),
ours derives from both.
"""

from __future__ import annotations

from typing import Any


class CheckpointError(ValueError):
    """Base of all errors that a caller of ckptload may want to catch.

    Args:
        problem: what is wrong, with what was expected and what was found.
        path: file concerned; set by whoever knows it, before the error leaves the package.
        name: parameter concerned.
        offset: place, in bytes from the start of the file (of the decrypted stream when encrypted).
        hint: the next step a person can take.
    """

    def __init__(
        self,
        problem: str,
        *,
        path: str | None = None,
        name: str | None = None,
        offset: int | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.path = path
        self.name = name
        self.offset = offset
        self.hint = hint

    def __str__(self) -> str:
        first = self.problem if self.name is None else f"parameter {self.name!r}: {self.problem}"
        if self.offset is not None:
            first += f" (at byte {self.offset})"
        lines = [first]
        if self.path is not None:
            # A path may hold bytes that are no text, which Python cannot print.
            lines.append(f"in file {self.path.encode(errors='backslashreplace').decode()}")
        if self.hint is not None:
            lines.append(f"hint: {self.hint}")
        return "\n  ".join(lines)

    def __reduce__(self) -> tuple[Any, ...]:
        # `name` is a slot of AttributeError, so __dict__ alone would lose it in one subclass.
        state = {**self.__dict__, "path": self.path, "name": self.name, "offset": self.offset, "hint": self.hint}
        return (_rebuild, (type(self), self.problem, state))


def _rebuild(cls: type[CheckpointError], problem: str, state: dict[str, Any]) -> CheckpointError:
    """Unpickle an error without running a subclass' own constructor rules."""
    error = cls(problem)
    for attribute, value in state.items():
        setattr(error, attribute, value)
    return error


class CorruptCheckpointError(CheckpointError):
    """The bytes are not what the format says they must be."""


class ChecksumError(CorruptCheckpointError):
    """The CRC-32 in the file is not the one of its bytes."""


class WrongFormatError(CorruptCheckpointError):
    """The file is of another kind, which the message names."""


class LimitError(CheckpointError):
    """The file holds more than a limit allows that protects from hostile files (docs/security.md)."""


class EncryptedCheckpointError(CheckpointError):
    """The file is encrypted and no key was given.

    Args:
        problem: as in `CheckpointError`.
        modes: the values of ``dec_mode`` with which it may open; two for files of MindSpore 1.3 to 1.6.
        details: the keyword arguments of `CheckpointError`.
    """

    def __init__(self, problem: str, *, modes: tuple[str, ...] = (), **details: Any) -> None:
        super().__init__(problem, **details)
        self.modes = modes


class DecryptionError(CheckpointError):
    """Wrong key, wrong mode, or a damaged or cut block: they are not told apart."""


class CipherUnavailableError(CheckpointError):
    """The installed ``cryptography`` package lacks the cipher that is needed."""


class UnsupportedTypeError(CheckpointError):
    """A tensor type that ckptload does not know."""


class EmptyCheckpointError(CheckpointError):
    """Nothing to return: an empty file, a lone trailer, or a filter that keeps nothing."""


class UnknownNameError(CheckpointError, KeyError):
    """No entry of that name is in the checkpoint."""


class ClosedReaderError(CheckpointError):
    """The reader was closed before it was used."""


class ChangedFileError(CheckpointError):
    """The file is not the one that was opened any more."""


class ReadError(CheckpointError, OSError):
    """The operating system could not open or read the file."""

    # OSError's constructor would put its own words in place of ours.
    __str__ = CheckpointError.__str__


class WriteError(CheckpointError, OSError):
    """The operating system could not write a file; `errno` says why, as that of any OSError."""

    __str__ = CheckpointError.__str__

    def __reduce__(self) -> tuple[Any, ...]:
        rebuild, (cls, problem, state) = super().__reduce__()
        return (rebuild, (cls, problem, {**state, "errno": self.errno}))


class MissingFolderError(WriteError, FileNotFoundError):
    """The folder that a file is to be written to does not exist."""


class WritePermissionError(WriteError, PermissionError):
    """The current user may not write there."""


class TargetIsFolderError(WriteError, IsADirectoryError):
    """A folder has the name of the file that is to be written."""


class ParentIsFileError(WriteError, NotADirectoryError):
    """What should be the folder of a file is itself a file."""


class BackgroundSaveError(CheckpointError):
    """An asynchronous save failed after the call that started it had returned."""


class OutOfMemoryError(CheckpointError, MemoryError):
    """There is not enough memory for what was asked."""


class BindingError(CheckpointError, RuntimeError):
    """Parameters do not fit the network; the message lists every misfit."""


class ArgumentError(CheckpointError):
    """An argument has a value that cannot be used."""


class ArgumentTypeError(CheckpointError, TypeError):
    """An argument is of a type that cannot be used."""


class ArgumentOverflowError(CheckpointError, OverflowError):
    """A number does not fit the dtype it is to be stored as."""


class IntegerRangeError(ArgumentOverflowError, RuntimeError):
    """An integer fits neither Int64 nor UInt64, so that no checkpoint can hold it."""


class UnsavableTypeError(UnsupportedTypeError, ArgumentTypeError, RuntimeError):
    """A value of a type that the file format has no place for."""


class ArgumentIndexError(CheckpointError, IndexError):
    """An index lies outside a tensor or a list of cells, or is of a kind that cannot index."""


class ArgumentNameError(CheckpointError, KeyError):
    """A name cannot be used for a parameter or a cell."""


class MissingAttributeError(CheckpointError, AttributeError):
    """A tensor or a cell has no such attribute."""


class ComputationError(CheckpointError, RuntimeError):
    """An operation is not defined for the shapes or the dtypes that were given."""
