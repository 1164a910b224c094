"""State dictionaries of torch: from a checkpoint, and from a module to what `save_checkpoint` writes."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Final

import torch

from ckptload.adapters.torch_module import TorchSlot, TorchTarget
from ckptload.adapters.torch_names import is_lazy, places
from ckptload.adapters.torch_tensors import as_array, as_tensor
from ckptload.errors import BindingError
from ckptload.parameter import Parameter

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

#: What the last part of a name becomes, by the parts that stand beside it. Of several that fit, the first counts.
_GROUPS: Final[tuple[tuple[frozenset[str], dict[str, str]], ...]] = (
    (
        frozenset({"moving_mean", "moving_variance"}),
        {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"},
    ),
    (frozenset({"gamma", "beta"}), {"gamma": "weight", "beta": "bias"}),
    (frozenset({"embedding_table"}), {"embedding_table": "weight"}),
)
#: Names that mean something only in a group, and that alone leave open what the layer is.
_OPEN: Final = frozenset({"gamma", "beta", "moving_mean", "moving_variance"})
#: The shape of a 1-d convolution's weight in MindSpore: also that of a 2-d one whose kernel has one row.
_CONVOLUTION: Final = 4


class StateTarget:
    """New tensors on the CPU, as those of a module: they are filled while the module stays as it is."""

    def __init__(self, module: Any) -> None:
        self._target = TorchTarget(module)
        self._places = list(places(module))
        self.tensors = {
            place.path: torch.empty(place.tensor.shape, dtype=place.tensor.dtype)
            for place in self._places
            if not is_lazy(place.tensor)
        }

    def slots(self, keys: Collection[str] = ()) -> list[TorchSlot]:
        """Return a slot for each new tensor; tied tensors are filled under each name that `keys` has."""
        chosen = {slot.name for slot in self._target.slots(keys)}
        return [
            TorchSlot(place._replace(tensor=self.tensors.get(place.path, place.tensor)))
            for place in self._places
            if place.name in chosen or place.name in keys
        ]

    def aliases(self) -> dict[str, str]:
        """Return the name in MindSpore for every key of ``state_dict()``."""
        return self._target.aliases()


def share_tied(module: Any, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Give every name of a tied tensor what one of them was loaded with."""
    loaded: dict[int, torch.Tensor] = {}
    for place in places(module):
        if place.path in state:
            loaded.setdefault(id(place.tensor), state[place.path])
    return {
        place.path: state.get(place.path, loaded[id(place.tensor)])
        for place in places(module)
        if id(place.tensor) in loaded
    }


def guess_names(names: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """Map names of a checkpoint to torch's by the names that stand beside them, without a module.

    Returns:
        Name to name, and those that are left as they are because their group does not say what they are.
    """
    groups: dict[str, set[str]] = {}
    every = list(names)
    for name in every:
        prefix, _, last = name.rpartition(".")
        groups.setdefault(prefix, set()).add(last)
    found: dict[str, str] = {}
    unclear: list[str] = []
    for name in every:
        prefix, dot, last = name.rpartition(".")
        rule = next((rule for needed, rule in _GROUPS if needed <= groups[prefix]), {})
        found[name] = prefix + dot + rule.get(last, last)
        if last in _OPEN and last not in rule:
            unclear.append(name)
    return found, unclear


def state_without_module(parameters: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Convert every tensor of a checkpoint under the name that its group suggests."""
    tensors: dict[str, Parameter] = {}
    left_out: list[str] = []
    for name, value in parameters.items():
        if isinstance(value, Parameter):
            tensors[name] = value
        else:
            left_out.append(name)
    mapped, unclear = guess_names(tensors)
    _check_distinct(mapped)
    unclear += [
        name
        for name, value in tensors.items()
        if name.rpartition(".")[2] == "weight" and value.ndim == _CONVOLUTION and value.shape[2] == 1 < value.shape[3]
    ]
    if unclear:
        warnings.warn(
            f"{len(unclear)} names leave open what they are in torch and are kept as they are; "
            f"pass module= to map them exactly: {', '.join(unclear[:10])}",
            stacklevel=3,
        )
    if left_out:
        warnings.warn(f"{len(left_out)} entries are no tensors: {', '.join(left_out[:10])}", stacklevel=3)
    return {mapped[name]: as_tensor(value.asnumpy().copy(), value.dtype, name) for name, value in tensors.items()}


def _check_distinct(mapped: dict[str, str]) -> None:
    before: dict[str, str] = {}
    for name, torch_name in mapped.items():
        if torch_name in before:
            raise BindingError(
                f"{before[torch_name]!r} and {name!r} would both be {torch_name!r}",
                name=name,
                hint="pass module= or rename one of them with name_map",
            )
        before[torch_name] = name


def parameters_of(module: Any) -> dict[str, Parameter]:
    """Return a module's tensors under the names and in the shapes that MindSpore has for them.

    Raises:
        BindingError: a tensor has no counterpart in MindSpore; the message lists them all.
    """
    found: dict[str, Parameter] = {}
    refused: list[str] = []
    for place in places(module):
        slot = TorchSlot(place)
        refusal = slot.refusal()
        if refusal is not None:
            refused.append(f"{place.path}: {refusal}")
            continue
        tensor = place.tensor.detach().resolve_conj().resolve_neg().to("cpu", copy=True).contiguous()
        array = as_array(tensor, slot.dtype).reshape(place.shape)
        found[place.name] = Parameter._adopt(array, slot.dtype, place.name)  # noqa: SLF001 -- nobody else has the array
        found[place.name].requires_grad = place.tensor.requires_grad
    if refused:
        raise BindingError("some tensors have no counterpart in MindSpore:\n" + "\n".join(refused))
    return found
