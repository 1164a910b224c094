"""`compare_outputs`: run a torch module on a recorded input, and find where it first differs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ckptload.binding.maps.choosing import recipes_of
from ckptload.comparing.measures import ArrayDifference, measure
from ckptload.comparing.recorded import Recorded, opened, taken_of
from ckptload.errors import ArgumentError, ArgumentTypeError, ComputationError, enough_memory
from ckptload.foreign.taking import is_foreign
from ckptload.markup import block
from ckptload.messages import counted, listed, shown_value, type_name
from ckptload.nets.foreign import check_module

if TYPE_CHECKING:
    from ckptload.binding.maps.choosing import NameMapLike
    from ckptload.foreign.taken import Taken

#: Float32 nets of some hundred layers agree to about 1e-6 of the spread; a GELU of the other kind makes 1e-4.
LIMIT: Final = 5e-5


class Comparison(NamedTuple):
    """What a module computes, compared with what was recorded; ``print(comparison)`` says it in words.

    Attributes:
        outputs: the outputs, in order.
        layers: layers of which something was recorded, in the order in which the module computed them first.
        unknown: names of recorded layers that the module does not have, or did not compute; keys of other arrays.
        limit: the relative difference up to which arrays are equal.
    """

    outputs: tuple[ArrayDifference, ...]
    layers: tuple[ArrayDifference, ...]
    unknown: tuple[str, ...]
    limit: float

    @property
    def equal(self) -> bool:
        """Whether all outputs are equal; if none was recorded, all layers that were compared, at least one."""
        compared = self.outputs or self.layers
        return bool(compared) and all(each.equal for each in compared)

    @property
    def first_difference(self) -> ArrayDifference | None:
        """The first layer that differs, or else the first output; None if there is none."""
        return next((each for each in (*self.layers, *self.outputs) if not each.equal), None)

    def __repr__(self) -> str:
        sizes = f"{counted(len(self.outputs), 'output')}, {counted(len(self.layers), 'layer')}"
        return f"<Comparison: {'equal' if self.equal else 'different'}, {sizes}>"

    def _repr_html_(self) -> str:
        return block("Comparison", str(self))

    def __str__(self) -> str:
        what = "outputs" if self.outputs else "layers"
        lines = [f"the {what} {'are equal' if self.equal else 'differ'} (limit {self.limit:g} of the spread)"]
        lines.extend(str(each) for each in self.outputs)
        first = self.first_difference
        if self.layers:
            alike = sum(each.equal for each in self.layers)
            lines.append(f"{alike} of {counted(len(self.layers), 'recorded layer')} equal")
        if first is not None and first in self.layers:
            lines.append(f"first difference: {first}")
            before = self.layers[: self.layers.index(first)]
            lines.extend([f"before it, {before[-1].path!r} is equal"] if before else [])
            lines.extend([first.advice] if first.advice else [])
        if self.unknown:
            lines.append(f"not compared, because the module did not compute it: {listed(self.unknown)}")
        return "\n  ".join(lines)


def compare_outputs(
    module: Any, recorded: Any, *, inputs: Any = None, name_map: NameMapLike = None, limit: float = LIMIT
) -> Comparison:
    """Run a torch module on an input that MindSpore has computed, and compare what comes out.

    The module runs in evaluation mode, without gradients, on its own device and in its own dtype; afterwards it is as
    it was. docs/pytorch.md, "Compare outputs", has a script that records the arrays under MindSpore.

    Args:
        module: a ``torch.nn.Module`` with its weights loaded.
        recorded: the path of an .npz, or a dictionary of arrays or tensors, with the keys ``input`` (or ``input_0``,
            ``input_1``, ...), ``output`` (or ``output_0``, ...) and ``layer:NAME`` for what a layer gave when it was
            first called. Or a pair of an input and an output.
        inputs: instead of recorded inputs: an array or a tensor, a tuple of them, or a dictionary of keyword
            arguments.
        name_map: renames the recorded layers, if their names are not the module's paths: a dictionary of names, or of
            their beginnings up to a dot; a function that takes a name and returns one; a `NameMap` or its file.
        limit: the largest difference, divided by how far the recorded values spread (the largest less the smallest),
            up to which arrays are equal.

    Returns:
        What was compared; it keeps numbers, no arrays.

    Raises:
        ArgumentTypeError: an argument is of the wrong type (also a TypeError).
        ArgumentError: there is no input, or nothing to compare with.
        ComputationError: the module cannot compute with the input (also a RuntimeError).
        CheckpointError: the .npz cannot be read, or is damaged.
    """
    check_module(module)
    _check_limit(limit)
    from ckptload.nets.pytorch import running  # noqa: PLC0415 -- imports torch

    with opened(recorded) as arrays, enough_memory("to compare outputs"):
        # A layer that a map joins of several, or makes of nothing, was not recorded.
        names = {one.name: one.sources[0] for one in recipes_of(arrays.layers, name_map) if len(one.sources) == 1}
        advice = running.advice(module)
        layers: dict[str, ArrayDifference] = {}

        def seen(path: str, kind: str, found: Taken | None) -> None:
            key = arrays.layers[names[path]]
            layers[path] = _compared(path, key, kind, found, arrays.array(key), limit, advice.get(path, ""))

        positional, named = _inputs(arrays, inputs)
        try:
            found = running.run(module, positional, named, names, seen)
        except ComputationError as error:
            first = next((each for each in layers.values() if not each.equal), None)
            if first is None:
                raise
            raise ComputationError(f"{error.problem}; before that, the first difference: {first}") from error
        outputs = tuple(
            _compared(key, key, "", found[number] if number < len(found) else None, arrays.array(key), limit)
            for number, key in enumerate(arrays.outputs)
        )
    unknown = [name for path, name in names.items() if path not in layers]
    return Comparison(outputs, tuple(layers.values()), (*unknown, *arrays.unknown), limit)


def _compared(
    path: str, key: str, kind: str, ours: Taken | None, theirs: Taken, limit: float, advice: str = ""
) -> ArrayDifference:
    if ours is None:
        return ArrayDifference(path, key, kind, math.inf, math.inf, equal=False, problem="it gave no tensor")
    difference, relative, problem = measure(ours, theirs)
    return ArrayDifference(path, key, kind, difference, relative, relative <= limit, problem, advice)


def _check_limit(limit: object) -> None:
    if isinstance(limit, bool) or not isinstance(limit, (int, float)):
        raise ArgumentTypeError(f"limit must be a number, not {shown_value(limit)}")
    if not 0 <= limit < math.inf:
        raise ArgumentError(f"limit must be at least 0 and finite, not {shown_value(limit)}")


def _inputs(recorded: Recorded, inputs: Any) -> tuple[list[Taken], dict[str, Taken]]:
    """Return the positional and the named inputs."""
    if inputs is None:
        if not recorded.inputs:
            raise ArgumentError("no input is recorded, and none is given", hint="record it under the key 'input', too")
        return [recorded.array(key) for key in recorded.inputs], {}
    if isinstance(inputs, Mapping):
        if not all(isinstance(name, str) for name in inputs):
            raise ArgumentTypeError("the keys of inputs must be names of arguments")
        return [], {name: taken_of(value, name) for name, value in inputs.items()}
    if is_foreign(inputs):
        inputs = (inputs,)
    if not isinstance(inputs, (tuple, list)):
        raise ArgumentTypeError(
            f"inputs must be an array, a tensor, a tuple of them, or a dict, not {type_name(inputs)}"
        )
    return [taken_of(value, f"inputs[{number}]") for number, value in enumerate(inputs)], {}
