"""Files of PyTorch: read with weights only, so that none of their pickles runs code, and written."""

from __future__ import annotations

import pickle
import re
import warnings
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple

import torch

from ckptload import shown
from ckptload.errors import CorruptCheckpointError, Hint, MissingPackageError, WriteError, WrongFormatError
from ckptload.foreign.torch_tensors import as_tensor
from ckptload.messages import listed, type_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ckptload.dtypes import Array, DType

#: Before this release, files could run code even if weights alone were asked for (CVE-2025-32434).
_SAFE_FROM: Final = (2, 6)
#: Where files have their tensors that hold more, such as the number of the epoch; the first that is there counts.
_INSIDE: Final = ("state_dict", "model_state_dict", "model", "module", "net", "network", "weights", "params")
#: What torch says of a value that is neither a tensor nor plain.
_UNSAFE: Final = re.compile(r"(Trying to load unsupported|Unsupported|[Cc]an only) [^\n]*?(?=\. |\.?\n|\.?$)")


class State(NamedTuple):
    """The tensors of a file.

    Attributes:
        tensors: them, by name.
        inside: name of the value of the file that has them; None if that is the file itself.
        left: names of the values that are not tensors.
    """

    tensors: dict[str, torch.Tensor]
    inside: str | None
    left: tuple[str, ...]


def read(file: str | IO[bytes], label: str, *, mapped: bool) -> State:
    """Read the tensors of a file that torch.save wrote.

    Args:
        file: its path, or the file.
        label: what messages call it.
        mapped: whether the file, given by its path, is mapped; else its tensors are read into memory.

    Raises:
        WrongFormatError: it has no tensors with names, or other values than torch reads without running code.
        CorruptCheckpointError: it is damaged.
        MissingPackageError: torch is too old.
    """
    if _release() < _SAFE_FROM:
        raise MissingPackageError(
            f"files of PyTorch are read by torch 2.6 or newer, and torch {torch.__version__} is installed: older ones "
            "may run code that is in a file",
            path=label,
            hint=f'pip install "torch>={".".join(map(str, _SAFE_FROM))}"',
        )
    try:
        with warnings.catch_warnings():
            # About what it checks of sparse tensors, which are not read here.
            warnings.simplefilter("ignore", UserWarning)
            found = torch.load(file, map_location="cpu", weights_only=True, mmap=mapped)
    except MemoryError:
        raise
    except pickle.UnpicklingError as error:
        raise _refused(label, str(error)) from None
    except Exception as error:  # noqa: BLE001 -- a damaged pickle may raise anything
        said = shown.foreign(error).strip().splitlines() or [type(error).__name__]
        raise CorruptCheckpointError(
            f"torch cannot read the file: {said[0][:200]}", path=label, hint="it was cut off or changed; fetch it again"
        ) from shown.cause(error)
    return _state(found, label)


def _release() -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", torch.__version__)[:2])


def _refused(label: str, said: str) -> WrongFormatError | CorruptCheckpointError:
    reason = _UNSAFE.search(said)
    if reason is None:
        return CorruptCheckpointError(
            "its pickle is damaged, or no pickle of torch.save", path=label, hint="fetch it again"
        )
    return WrongFormatError(
        f"the file holds more than weights, and is not unpickled, because that could run code: "
        f"{shown.printable(reason[0][:200])}",
        path=label,
        hint="if you trust it, load it with torch, and save its state_dict() with torch.save",
    )


def _state(found: Any, label: str) -> State:
    """Return the tensors of what was in a file."""
    if not isinstance(found, dict):
        raise WrongFormatError(
            f"the file holds no dictionary of tensors but a {type_name(found)}",
            path=label,
            hint="save the state_dict() of a module",
        )
    if _tensors(found):
        return _split(found, None)
    inner = {key: value for key, value in found.items() if isinstance(value, dict) and _tensors(value)}
    known = [key for key in _INSIDE if key in inner]
    keys = known or list(inner)
    if not known and len(keys) != 1:
        what = f"several dictionaries of tensors: {listed([str(key) for key in keys])}" if keys else "no tensors"
        raise WrongFormatError(
            f"the file holds {what}", path=label, hint="load it with torch, and save the dictionary that you want"
        )
    state = _split(inner[keys[0]], str(keys[0]))
    others = tuple(str(key) for key in found if key != keys[0])
    return state._replace(left=state.left + others)


def _tensors(values: dict[Any, Any]) -> bool:
    return any(isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in values.items())


def _split(values: dict[Any, Any], inside: str | None) -> State:
    tensors = {
        name: value for name, value in values.items() if isinstance(name, str) and isinstance(value, torch.Tensor)
    }
    return State(tensors, inside, tuple(str(name) for name in values if name not in tensors))


# -- writing --------------------------------------------------------------------------------------------------


class _Output:
    """A file for torch, which replaces errors of the system by its own: the first one is kept."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.error: BaseException | None = None

    def write(self, data: Any) -> int:
        if self.error is None:
            try:
                self._file.write(data)
            except BaseException as error:  # noqa: BLE001 -- it is raised when torch is done
                self.error = error
        return memoryview(data).nbytes

    def flush(self) -> None:
        """Do nothing: the file is flushed when it is complete."""


def write(arrays: Iterable[tuple[str, Array, DType]], file: IO[bytes]) -> None:
    """Write a state dict of tensors, as torch.save does.

    Args:
        arrays: names, C-contiguous arrays, and their dtypes; the file has no other reference to their memory.
        file: where to write it.

    Raises:
        UnsupportedTypeError: this version of torch lacks a dtype.
        OSError: the system could not write, or torch failed (WriteError).
    """
    state = {name: as_tensor(array, dtype, name) for name, array, dtype in arrays}
    output = _Output(file)
    problem: RuntimeError | None = None
    try:
        torch.save(state, output)
    except RuntimeError as error:
        problem = error
    if output.error is not None:
        raise output.error from None
    if problem is not None:
        raise WriteError(
            f"torch.save failed: {shown.foreign(problem)}", hint=Hint("write another format with {to}")
        ) from shown.cause(problem)
