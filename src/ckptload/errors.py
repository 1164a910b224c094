"""All exceptions that ckptload raises, and how their messages are built.

All of them derive from `CheckpointError`, which is a ``ValueError`` because that
is what callers of MindSpore catch. Where MindSpore raises another class
(``TypeError`` for a wrong argument type, ``RuntimeError`` for a misfit), ours
derives from both.
"""

from __future__ import annotations

import errno
import os
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from ckptload import shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Words = Mapping[str, str | None]

#: Texts for the placeholders of hints in Python; None if Python has nothing to offer.
#: The command line has its own table with the same keys.
WORDS: Final[Words] = {
    # Opening
    "allow_unauthenticated": "pass allow_unauthenticated=True",
    "as_ckpt": "load it with format='ckpt'",
    "as_index": "load it by its path with format='safetensors'",
    "as_safetensors": "load it with format='safetensors'",
    "check_key": "check dec_key and dec_mode",
    "first_copy": 'pass copies="first"',
    "give_key": "pass dec_key",
    "max_records": "max_records",
    "mode": "dec_mode=",
    "mode_of_the_file": "dec_mode=",
    "open_file": "pass an open file object",
    "open_with_key": "open it with open_checkpoint(path, dec_key=key), and pass the reader",
    "open_ours": "open it with open_checkpoint()",
    "open_torch": "open it with open_torch_file(), which torch reads without running code",
    "pipe": "read it to its end and pass the bytes in io.BytesIO",
    "raw_key": "pass the key as raw bytes; if it is in hexadecimal, use bytes.fromhex",
    "skip_crc": "load it with crc_check=False at your own risk",
    # Choosing and naming entries
    "exclude": "choice_func",
    "fewer": "load fewer entries with choice_func, or one at a time with open_checkpoint",
    "name_map": "name_map",
    "rules": "answer the questions with propose_name_map(net, source, rules={...}), and pass its map",
    "strategy": "pass strategy=",
    # Writing
    "crc": "crc_check",
    "existing": "pass existing='skip' to keep files that are complete, or existing='replace'",
    "replace": "pass replace=True to replace them",
    "shard_size": "max_shard_size=",
    "to": "format",
    # Only in Python
    "communicator": "pass communicator=",
    "rank_paths": "a dictionary of ranks and paths",
    "give_rank": "pass rank=, such as the variable RANK_ID, or communicator=",
    "filter_result": "choice_func is called with each name and returns whether to load it",
    "own_parameters": "load with parameters='ckptload'",
    "prefixes": "for example specify_prefix='conv' or specify_prefix=['conv1', 'fc.']",
    "skip_misfits": "pass skip_misfits=True to load the rest",
    "strict_load": "strict_load=False allows conversions",
    "unmapped": "open it without mmap=True; then only what is wanted takes memory",
}

_PLACEHOLDER: Final = re.compile(r"\{(\w+)\}")


class Hint:
    """What the reader can do next, worded for Python or for the command line.

    Args:
        parts: our own texts, which are joined as they are. A placeholder such as ``{exclude}`` is replaced by the
            interface's own term (`WORDS`). A part is left out if the interface has no term for its placeholder.
        values: values of other placeholders. They may come from a file and are never searched for placeholders.
    """

    def __init__(self, *parts: str, **values: object) -> None:
        self._parts: Final = parts
        self._values: Final = values

    def __repr__(self) -> str:
        return f"Hint({self.text(WORDS)!r})"

    def text(self, words: Words) -> str | None:
        """Return the hint in the terms of one interface, or None if nothing in it can be done there."""

        def fill(placeholder: re.Match[str]) -> str:
            key = placeholder[1]
            return shown.foreign(self._values[key]) if key in self._values else words[key] or ""

        possible = (
            part
            for part in self._parts
            if all(key in self._values or words[key] is not None for key in _PLACEHOLDER.findall(part))
        )
        return "".join(_PLACEHOLDER.sub(fill, part) for part in possible) or None


class CheckpointError(ValueError):
    """Base of all errors that a caller of ckptload may want to catch.

    Args:
        problem: what is wrong, with what was expected and what was found.
        path: the file; may be set later, before the error leaves the package.
        name: the parameter.
        offset: place in bytes from the start of the file (of the decrypted stream if encrypted).
        hint: what the reader can do next: a `Hint`, or a text that fits Python and the command line, because it
            names neither an argument nor an option.

    Whatever the texts quote, they have no control characters but line breaks, and no secrets of URLs.

    Attributes:
        advice: `hint` as it was given, to pass on to another error.
    """

    def __init__(
        self,
        problem: str,
        *,
        path: str | None = None,
        name: str | None = None,
        offset: int | None = None,
        hint: str | Hint | None = None,
    ) -> None:
        self.problem = problem
        super().__init__(self.problem)
        self.path = path
        self.name = name
        self.offset = offset
        self.advice = hint

    @property
    def problem(self) -> str:
        """What is wrong."""
        return self._problem

    @problem.setter
    def problem(self, problem: str) -> None:
        self._problem = shown.message(problem)

    @property
    def path(self) -> str | None:
        """The file, without a password or a signature if it is a URL."""
        return self._path

    @path.setter
    def path(self, path: str | None) -> None:
        self._path = None if path is None else shown.place(path)

    @property
    def hint(self) -> str | None:
        """What the reader can do next, in Python's terms."""
        return self.hint_in(WORDS)

    def hint_in(self, words: Words) -> str | None:
        """Return the hint in the terms of another interface, or None."""
        hint = self.advice.text(words) if isinstance(self.advice, Hint) else self.advice
        return None if hint is None else shown.message(hint)

    def __str__(self) -> str:
        # What was given for a name, and is none, may be a key.
        name = repr(self.name) if isinstance(self.name, str) else type(self.name).__name__
        first = self.problem if self.name is None else f"parameter {name}: {self.problem}"
        if self.offset is not None:
            first += f" (at byte {self.offset})"
        lines = [first]
        if self.path is not None:
            # A path may hold any characters, and bytes that are not valid text.
            lines.append(f"in file {shown.printable(self.path)}")
        hint = self.hint
        if hint is not None:
            lines.append(f"hint: {hint}")
        return "\n  ".join(lines)

    def __reduce__(self) -> tuple[Any, ...]:
        # `name` is a slot of AttributeError and `errno` one of OSError, so __dict__ alone would lose them.
        state = {**self.__dict__, "path": self.path, "name": self.name, "offset": self.offset}
        if isinstance(self, OSError):
            state["errno"] = self.errno
        return (_rebuild, (type(self), self.problem, state))


def _rebuild(cls: type[CheckpointError], problem: str, state: dict[str, Any]) -> CheckpointError:
    """Unpickle an error without calling a subclass's own constructor."""
    error = cls(problem)
    for attribute, value in state.items():
        setattr(error, attribute, value)
    return error


class ForeignFieldWarning(UserWarning):
    """A .ckpt has fields that no version of MindSpore writes, which readers skip, so that parameters may be missing."""


class PartialChecksumWarning(UserWarning):
    """The CRC-32 in a file matches and does not cover everything in it; see `Reader.coverage`."""


class LayerDifferenceWarning(UserWarning):
    """Layers of a torch module may compute something else than MindSpore's with the weights (docs/pytorch.md)."""


class CorruptCheckpointError(CheckpointError):
    """The file is damaged: its bytes do not follow the format."""


class ChecksumError(CorruptCheckpointError):
    """The CRC-32 in the file, or the SHA-256 in its name, differs from that of its bytes."""


class WrongFormatError(CheckpointError):
    """The file is of another kind, and not a damaged checkpoint; the message names the kind."""


class LimitError(CheckpointError):
    """The file exceeds a limit that protects against hostile files (docs/security.md)."""


class EncryptedCheckpointError(CheckpointError):
    """The file is encrypted and no key was given.

    Args:
        problem: as in `CheckpointError`.
        modes: possible values of ``dec_mode``; two for files of MindSpore 1.3 to 1.6 (docs/format.md, "Variants").
        details: the keyword arguments of `CheckpointError`.
    """

    def __init__(self, problem: str, *, modes: tuple[str, ...] = (), **details: Any) -> None:
        super().__init__(problem, **details)
        self.modes = modes


class DecryptionError(CheckpointError):
    """The key or the mode is wrong, or a block is damaged or cut; these cannot be told apart."""


class CipherUnavailableError(CheckpointError):
    """The installed ``cryptography`` package lacks the required cipher."""


class UnsupportedTypeError(CheckpointError):
    """A type is unknown, or not supported here; the file itself may be valid."""


class EmptyCheckpointError(CheckpointError):
    """There is nothing to return: the file is empty or only a trailer, or the filter keeps nothing."""


class NothingSelectedError(EmptyCheckpointError):
    """The filter keeps none of the entries."""


class UnknownNameError(CheckpointError, KeyError):
    """The checkpoint has no entry of this name."""


class ClosedReaderError(CheckpointError):
    """The reader is closed."""


class ChangedFileError(CheckpointError):
    """The file was changed or replaced after it was opened."""


class ReadError(CheckpointError, OSError):
    """The operating system could not open or read the file; `errno` is its reason, or None."""

    # OSError has its own __str__, which would replace ours.
    __str__ = CheckpointError.__str__


class MissingFileError(ReadError, FileNotFoundError):
    """The file does not exist."""


class MissingShardError(MissingFileError):
    """A file that the index of a sharded checkpoint names does not exist; the message lists all that are missing."""


class WriteError(CheckpointError, OSError):
    """The operating system could not write a file; `errno` is the reason, as in any OSError."""

    __str__ = CheckpointError.__str__


class MissingFolderError(WriteError, FileNotFoundError):
    """The folder of the file to write does not exist."""


class WritePermissionError(WriteError, PermissionError):
    """The current user has no permission to write there."""


class TargetIsFolderError(WriteError, IsADirectoryError):
    """A folder has the name of the file to write."""


class TargetIsNoFileError(WriteError):
    """A pipe, a socket or a device has the name of the file to write, or it is an open stream such as /dev/stdout."""


class ParentIsFileError(WriteError, NotADirectoryError):
    """The folder of the file to write is itself a file."""


class BackgroundSaveError(CheckpointError):
    """An asynchronous save failed after the call that started it had returned."""


class MissingPackageError(CheckpointError, ImportError):
    """A package that the call needs is not installed."""


class OutOfMemoryError(CheckpointError, MemoryError):
    """There is not enough memory for the operation."""


@contextmanager
def enough_memory(purpose: str, *, path: str | None = None, hint: str | Hint | None = None) -> Iterator[None]:
    """Raise OutOfMemoryError for Python's own MemoryError inside.

    Args:
        purpose: what the memory is for, such as ``to save the checkpoint``.
        path: as in `CheckpointError`.
        hint: as in `CheckpointError`.
    """
    try:
        yield
    except OutOfMemoryError:
        raise
    except MemoryError as error:
        found = OutOfMemoryError(f"not enough memory {purpose}", path=path)
        found.advice = hint
        raise found from error


#: What to do when a process has too many files open.
TOO_MANY_FILES: Final = "close other files, or raise the limit on them (ulimit -n)"
#: What the loader of a compiled module says when files or memory run out; it raises no other error than ImportError.
_NO_FILES: Final = os.strerror(errno.EMFILE)
_NO_MEMORY: Final = ("failed to map segment", "cannot map", os.strerror(errno.ENOMEM))


@contextmanager
def importable(what: str) -> Iterator[None]:
    """Raise an error of ours if an import fails inside because there are too few files or too little memory.

    So is every other error that is not an ImportError. An ImportError for another reason passes through.

    Args:
        what: what is imported, for the message.
    """
    try:
        with enough_memory(f"to import {what}"):
            yield
    except CheckpointError:
        raise
    except Exception as error:
        text = str(error)
        if isinstance(error, ImportError) and any(words in text for words in _NO_MEMORY):
            raise OutOfMemoryError(f"not enough memory to import {what}: {text}") from error
        number = error.errno if isinstance(error, OSError) else errno.EMFILE if _NO_FILES in text else None
        if isinstance(error, ImportError) and number is None:
            raise
        # Without memory, a module may fail in any way.
        found = ReadError(f"cannot import {what}: {text or type(error).__name__}")
        if number in (errno.EMFILE, errno.ENFILE):
            found.advice = TOO_MANY_FILES
        found.errno = number
        raise found from error


class BindingError(CheckpointError, RuntimeError):
    """Parameters do not fit the network; the message lists every misfit."""


class RankError(CheckpointError, RuntimeError):
    """Another rank of the job failed, or the ranks cannot talk, so that this one does not load anything either."""


class ArgumentError(CheckpointError):
    """An argument has an invalid value."""


class ArgumentTypeError(CheckpointError, TypeError):
    """An argument is of the wrong type."""


class ArgumentOverflowError(CheckpointError, OverflowError):
    """A number does not fit the dtype it should be stored as."""


class IntegerRangeError(ArgumentOverflowError, RuntimeError):
    """An integer fits neither Int64 nor UInt64, so a checkpoint cannot hold it."""


class UnsavableTypeError(UnsupportedTypeError, ArgumentTypeError, RuntimeError):
    """The file format cannot hold a value of this type."""


class ArgumentIndexError(CheckpointError, IndexError):
    """An index is out of range for a tensor or a list of cells, or is not a valid index."""


class ArgumentNameError(CheckpointError, KeyError):
    """A parameter or a cell cannot have this name."""


class MissingAttributeError(CheckpointError, AttributeError):
    """A tensor or a cell has no such attribute."""


class ComputationError(CheckpointError, RuntimeError):
    """An operation is not defined for the given shapes or dtypes."""
