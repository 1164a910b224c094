"""A cell's parameters as a dictionary of paths, as PyTorch and newer MindSpore have it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ckptload.errors import ArgumentTypeError, BindingError
from ckptload.messages import counted, type_name
from ckptload.tensors.parameter import as_ours
from ckptload.tensors.tensor import Tensor

if TYPE_CHECKING:
    from ckptload.tensors.parameter import Parameter


class _IncompatibleKeys(NamedTuple):
    """The paths on one side only; the class has the name that PyTorch and MindSpore print.

    Attributes:
        missing_keys: paths that the dictionary lacks.
        unexpected_keys: paths that the cell lacks.
    """

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"_IncompatibleKeys(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"


class Stateful:
    """What a cell does with dictionaries of paths and parameters."""

    _params: OrderedDict[str, Parameter | None]
    _cells: OrderedDict[str, Any]

    def state_dict(
        self, *, destination: dict[str, Any] | None = None, prefix: str = "", keep_vars: bool = False
    ) -> dict[str, Any]:
        """Return a dictionary of paths and parameters; a parameter that is used twice has two paths.

        Args:
            destination: the dictionary to fill; None for a new one.
            prefix: text before every path.
            keep_vars: accepted, without effect.
        """
        del keep_vars
        found: dict[str, Any] = OrderedDict() if destination is None else destination
        for name, parameter in self._params.items():
            if parameter is not None:
                found[prefix + name] = parameter
        for name, cell in self._cells.items():
            if cell is not None:
                cell.state_dict(destination=found, prefix=f"{prefix}{name}.")
        return found

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> _IncompatibleKeys:
        """Set the parameters to the tensors in a dictionary of paths; see `state_dict`.

        Args:
            state_dict: paths and tensors of this package, MindSpore, torch or numpy; values are copied, and converted
                to a parameter's dtype.
            strict: whether both sides must have the same paths.

        Returns:
            The paths that the dictionary lacks, and those that the cell lacks.

        Raises:
            ArgumentTypeError: ``state_dict`` is not a dictionary.
            BindingError: a value is not a tensor or has another shape, or paths differ; nothing has changed then.
        """
        if not isinstance(state_dict, Mapping):
            raise ArgumentTypeError(f"state_dict must be a dictionary, not {type_name(state_dict)}")
        state_dict = {path: as_ours(value) for path, value in state_dict.items()}
        own = self.state_dict()
        keys = _IncompatibleKeys(
            [path for path in own if path not in state_dict], [path for path in state_dict if path not in own]
        )
        shared = {path: parameter for path, parameter in own.items() if path in state_dict}
        wrong = [text for path, parameter in shared.items() if (text := _misfit(path, parameter, state_dict[path]))]
        if strict:
            wrong += [f"{path!r} is not in the dictionary" for path in keys.missing_keys]
            wrong += [f"{path!r} is not in the cell" for path in keys.unexpected_keys]
        if wrong:
            raise BindingError("\n  ".join([f"{counted(len(wrong), 'path')} cannot be loaded:", *wrong]))
        for path, parameter in shared.items():
            parameter.set_data(state_dict[path])
        return keys


def _misfit(path: str, parameter: Parameter, value: object) -> str | None:
    if not isinstance(value, Tensor):
        return f"{path!r} must be a Tensor, not {type_name(value)}"
    if value.shape != parameter.shape:
        return f"{path!r} has shape {parameter.shape} in the cell and {value.shape} in the dictionary"
    return None
