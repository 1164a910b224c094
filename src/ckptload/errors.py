"""Every exception that leaves ckptload, and how its message is put together.

The rule: all of them derive from `CheckpointError`, which is a ``ValueError``
because that is what callers of MindSpore catch. Where MindSpore raises another
class (``TypeError`` for a wrong argument type, ``RuntimeError`` for a misfit),
ours derives from both.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    Words = Mapping[str, str | None]

#: What the placeholders of hints are called in Python; None where Python has nothing to offer.
#: The command line has a table of its own with the same keys.
WORDS: Final[Words] = {
    # Opening
    "allow_unauthenticated": "pass allow_unauthenticated=True",
    "as_ckpt": "rename it to end in .ckpt and load it with format='ckpt'",
    "as_safetensors": "load it with format='safetensors'",
    "check_key": "check dec_key and dec_mode",
    "give_key": "pass dec_key",
    "max_records": "max_records",
    "mode": "dec_mode=",
    "mode_of_the_file": "dec_mode=",
    "open_file": "pass an open file object",
    "pipe": "read it to its end and pass the bytes in io.BytesIO",
    "raw_key": "pass the key as raw bytes; if it is in hexadecimal, use bytes.fromhex",
    "skip_crc": "load it with crc_check=False at your own risk",
    # Choosing and naming entries
    "exclude": "choice_func",
    "fewer": "load fewer entries with choice_func, or one at a time with open_checkpoint",
    "name_map": "name_map",
    # Writing
    "crc": "crc_check",
    "shard_size": "max_shard_size=",
    "to": "format",
    # What only Python has
    "append_dict": "pass numbers in append_dict",
    "filter_result": "choice_func is called with each name and returns whether to load it",
    "input_data": "pass the values themselves as input_data",
    "module": "pass module=",
    "prefixes": "for example specify_prefix='conv' or specify_prefix=['conv1', 'fc.']",
    "strict_load": "strict_load=False allows conversions",
}

_PLACEHOLDER: Final = re.compile(r"\{(\w+)\}")


class Hint:
    """The next step a person can take, in the words of the door at which they met the error.

    Args:
        parts: texts of ours, which are joined as they are. A placeholder such as ``{exclude}`` stands for what a
            door calls it (`WORDS`). A part with a placeholder for which a door has nothing is left out there.
        values: what other placeholders stand for. It may come from a file: it is never searched for placeholders.
    """

    def __init__(self, *parts: str, **values: object) -> None:
        self._parts: Final = parts
        self._values: Final = values

    def __repr__(self) -> str:
        return f"Hint({self.text(WORDS)!r})"

    def text(self, words: Words) -> str | None:
        """Return the hint in the words of a door, or None if nothing of it can be done there."""

        def fill(placeholder: re.Match[str]) -> str:
            key = placeholder[1]
            return str(self._values[key]) if key in self._values else words[key] or ""

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
        path: file concerned; set by whoever knows it, before the error leaves the package.
        name: parameter concerned.
        offset: place, in bytes from the start of the file (of the decrypted stream when encrypted).
        hint: the next step a person can take: a `Hint`, or a text that fits every door, so that it names no
            argument and no option.

    Attributes:
        advice: `hint` as it was given, which is what to hand on to another error.
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
        super().__init__(problem)
        self.problem = problem
        self.path = path
        self.name = name
        self.offset = offset
        self.advice = hint

    @property
    def hint(self) -> str | None:
        """The next step a person can take, in Python's words."""
        return self.hint_in(WORDS)

    def hint_in(self, words: Words) -> str | None:
        """Return the next step in the words of another door, or None."""
        return self.advice.text(words) if isinstance(self.advice, Hint) else self.advice

    def __str__(self) -> str:
        first = self.problem if self.name is None else f"parameter {self.name!r}: {self.problem}"
        if self.offset is not None:
            first += f" (at byte {self.offset})"
        lines = [first]
        if self.path is not None:
            # A path may hold bytes that are no text, which Python cannot print.
            lines.append(f"in file {self.path.encode(errors='backslashreplace').decode()}")
        hint = self.hint
        if hint is not None:
            lines.append(f"hint: {hint}")
        return "\n  ".join(lines)

    def __reduce__(self) -> tuple[Any, ...]:
        # `name` is a slot of AttributeError, so __dict__ alone would lose it in one subclass.
        state = {**self.__dict__, "path": self.path, "name": self.name, "offset": self.offset}
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
