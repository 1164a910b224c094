"""Run a module on arrays, and see what its layers give."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ckptload import shown
from ckptload.errors import CheckpointError, ComputationError
from ckptload.foreign.torch_tensors import as_tensor, taken
from ckptload.messages import type_name
from ckptload.nets.pytorch.differences import differences

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from ckptload.foreign.taken import Taken

    Seen = Callable[[str, str, Taken | None], None]


def run(
    module: torch.nn.Module, inputs: Sequence[Taken], named: Mapping[str, Taken], paths: Collection[str], seen: Seen
) -> list[Taken]:
    """Run a module in evaluation mode, without gradients, and return the tensors of its output in order.

    Args:
        module: the module; its modes are afterwards what they were.
        inputs: positional arguments.
        named: arguments by name.
        paths: paths of layers to look at.
        seen: called with path, class and first tensor of each of these layers when it has been called for the first
            time; the layers come in the order of their calls.

    Raises:
        ComputationError: the module raises an error.
        UnsupportedTypeError: a tensor of the module cannot be read.
    """
    place = _place(module)
    modes = [(each, each.training) for each in module.modules()]
    done: set[str] = set()
    handles = [
        layer.register_forward_hook(partial(_look, path, seen, done))
        for path, layer in module.named_modules(remove_duplicate=False)
        if path in paths
    ]
    try:
        module.eval()
        with torch.no_grad():
            given = [_tensor(value, place) for value in inputs]
            output = module(*given, **{name: _tensor(value, place) for name, value in named.items()})
            return [taken(tensor) for tensor in _tensors(output)]
    except (CheckpointError, MemoryError):
        raise
    except Exception as error:
        raise ComputationError(
            f"the module cannot compute with this input: {type_name(error)}: {shown.foreign(error)}",
            hint="check that the input is the one that was recorded, and that the weights are those of this module",
        ) from error
    finally:
        for handle in handles:
            handle.remove()
        for each, mode in modes:
            each.training = mode


def advice(module: torch.nn.Module) -> dict[str, str]:
    """Return what is known of layers that may differ from MindSpore's, by their paths."""
    return {
        path: f"{each.reason}; if so: {edit}"
        for each in differences(module)
        for edit, paths in each.edits.items()
        for path in paths
    }


def _look(path: str, seen: Seen, done: set[str], layer: torch.nn.Module, _: Any, output: Any) -> None:
    """Pass on what a layer gave before another one changes it in place."""
    if path not in done:
        done.add(path)
        tensor = next(_tensors(output), None)
        seen(path, type(layer).__name__, None if tensor is None else taken(tensor))


def _place(module: torch.nn.Module) -> tuple[torch.device, torch.dtype | None]:
    """Return the device of a module, and its dtype if it computes with floats."""
    tensors = [*module.parameters(), *module.buffers()]
    floats = next((tensor.dtype for tensor in tensors if tensor.is_floating_point()), None)
    return (tensors[0].device if tensors else torch.device("cpu")), floats


def _tensor(value: Taken, place: tuple[torch.device, torch.dtype | None]) -> torch.Tensor:
    """Return an input as a tensor of its own, on the module's device and of its dtype if both are floats."""
    tensor = as_tensor(np.array(value.array, order="C"), value.dtype, value.name)
    device, dtype = place
    return tensor.to(device, dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype)


def _tensors(output: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors of an output in order: of tuples, lists, and dictionaries as transformers returns them."""
    if isinstance(output, torch.Tensor):
        yield output
    elif isinstance(output, (tuple, list)):
        for each in output:
            yield from _tensors(each)
    elif isinstance(output, Mapping):
        for each in output.values():
            yield from _tensors(each)
