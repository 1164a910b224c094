"""Load into a net: plan everything, report every misfit at once, and write only if there is none.

Planning uses names, shapes and dtypes; it does not read tensor data. Everything that can be checked
is checked before the first value is written. Only an unforeseeable failure, such as an interrupt or a
disk error, can leave a net partly loaded (docs/binding.md, "All or nothing").
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Mapping
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ckptload.binding import report
from ckptload.binding.completing import Ways, bind_share, told
from ckptload.binding.copies import Look
from ckptload.binding.maps.applying import mapped
from ckptload.binding.matching import match
from ckptload.binding.plan import Load, Plan, fits
from ckptload.binding.supplies import Transfer, supply_of
from ckptload.errors import ArgumentError, ArgumentTypeError, BindingError, Hint, LayerDifferenceWarning, enough_memory
from ckptload.messages import listed, shown_value, type_name, warn
from ckptload.nets.foreign import is_module
from ckptload.nets.slots import target_of
from ckptload.reading.given import open_while, opened
from ckptload.reading.reader import Reader
from ckptload.tensors import casting
from ckptload.tensors.parameter import Parameter
from ckptload.tensors.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ckptload.binding.maps.choosing import NameMapLike
    from ckptload.binding.supplies import Supply
    from ckptload.nets.slots import Slot, Target

Parameters = Mapping[str, Any] | Reader | str | os.PathLike[str]

_log = logging.getLogger("ckptload")


class BindingPlan(Plan):
    """What loading a checkpoint into a net would do; ``print(plan)`` shows it, `apply` carries it out."""

    def __str__(self) -> str:
        return report.describe(self)

    def __repr__(self) -> str:
        return f"<BindingPlan: {report.summary(self)}>"

    def _repr_html_(self) -> str:
        return report.html(self)

    def check(self) -> None:
        """Raise if the plan cannot be applied: something does not fit, or nothing matches.

        Raises:
            BindingError: there are misfits that are not skipped, or nothing is left to load; the message lists all
                of them. Or there are `ties`, which it lists. Or the plan is `unmatched`; the message has names of
                both sides (also a RuntimeError).
        """
        if self.unmatched:
            raise self.no_match()
        if self.ties:
            both = [report.ties(self.ties, self.total)]
            both += [report.misfits(self.misfits, self.total)] if self.misfits and not self.skips else []
            raise BindingError(
                "\n  ".join(both),
                path=self.source,
                hint=Hint("leave all but one out with {exclude}", ", or rename entries with {name_map}"),
            )
        if not self.misfits or (self.skips and self.loads):
            return
        by_dtype = self.strict and any(casting.can_cast(one.key_dtype, one.dtype) for one in self.misfits)
        raise BindingError(
            report.misfits(self.misfits, self.total),
            path=self.source,
            hint=Hint(
                "{skip_misfits}, or " if self.loads else "",
                "rename entries with {name_map}",
                "; {strict_load}" if by_dtype else "",
            ),
        )

    def no_match(self) -> BindingError:
        """Return the error of a plan that is `unmatched`: names of both sides, and what to do."""
        prefix = self.lacking
        return BindingError(
            report.unmatched(self),
            path=self.source,
            hint=Hint("check that this is the checkpoint of this net", "; if it is, rename its entries with {name_map}")
            if prefix is None
            else Hint(
                "add {prefix} to the names with {name_map}", ": lambda name: {prefix} + name", prefix=repr(prefix)
            ),
        )

    def warn(self) -> None:
        """Warn of a net without parameters, and of parameters that are not loaded, matched by an ending, or converted.

        And of layers that may differ from MindSpore's; that one is a `LayerDifferenceWarning`.

        Each of these gives one warning, which names the line of the script that called this package.
        """
        for text in report.warnings_of(self):
            warn(text)
        if self.differences:
            warn(report.differences(self), LayerDifferenceWarning)

    def apply(self) -> None:
        """Write the values into the net's own memory.

        The net does not share memory with the checkpoint or the dictionary.

        Raises:
            BindingError: as for `check`, or the net has changed since the plan was made; nothing was written.
            CheckpointError: the file can no longer be read; if part of it was read, the net is partly loaded.

        Warns:
            UserWarning: values are too large for the dtype that a parameter has.
        """
        self.check()
        beyond: dict[str, None] = {}
        transfers, others = self._goals(beyond)
        with enough_memory("to load the parameters", path=self.source):
            self.supply.transfer(transfers)
            for load, slot in others:
                array = self.supply.array(load.key)
                if load.key_dtype is not load.dtype:
                    converted = np.empty(array.shape, load.dtype.numpy)
                    if casting.cast_into(array, load.key_dtype, load.dtype, converted):
                        beyond[load.name] = None
                    array = converted
                slot.write(array.reshape(load.shape))
        if beyond:
            warn(report.beyond([load for load in self.loads if load.name in beyond]))
        _log.info("loaded %d of %d parameters from %s", len(self.loads), self.total, self.source or "a dictionary")

    def _goals(self, beyond: dict[str, None]) -> tuple[list[Transfer], list[tuple[Load, Slot]]]:
        """Sort the loads: into memory that numpy can fill, and into slots that take an array.

        Names of parameters that cannot hold a value are added to `beyond` when the values are written.
        """
        transfers: list[Transfer] = []
        others: list[tuple[Load, Slot]] = []
        clashes = self.clashes()
        for load in self.loads:
            slot = self.slots[load.name]
            changed = slot.shape != load.shape or slot.dtype is not load.dtype or load.name in clashes
            if changed or slot.refusal() is not None:
                raise BindingError(
                    "the parameter was changed after the plan was made, and nothing was written",
                    name=load.name,
                    hint="make the plan again",
                )
        for load in self.loads:
            slot = self.slots[load.name]
            memory = slot.memory()
            note = partial(beyond.setdefault, load.name, None)
            if memory is not None and memory.flags.c_contiguous:
                transfers.append(Transfer(load.key, self.spec(load.key), load.dtype, memory, note))
            else:
                others.append((load, slot))
        return transfers, others


def plan_binding(
    net: Any,
    parameters: Parameters,
    strict_load: bool = False,
    *,
    name_map: NameMapLike = None,
    skip_misfits: bool = False,
) -> BindingPlan:
    """Plan how a checkpoint would be loaded into a net; nothing is written and no tensor data is read.

    Args:
        net: the net: a Cell, a ``mindspore.nn.Cell`` or a ``torch.nn.Module``.
        parameters: what `load_checkpoint` returned, an open reader (see `open_checkpoint`), or the path of a file that
            needs no key; the file is open as long as the plan is there.
        strict_load: match equal names and dtypes only. If False, the ends of names match, too, and values are
            converted between float dtypes and between signed integer dtypes.
        name_map: renames the entries first: a dictionary of names, or of their beginnings up to a dot; or a
            function that takes a name and returns one (see `renaming.renamed`).
        skip_misfits: load what fits, if anything does; the other parameters keep their values.

    Returns:
        The plan: what would be loaded, from where, with which conversion, and what does not fit. It keeps
        references to `net` and `parameters`, but does not follow later changes to them.

    Raises:
        ArgumentTypeError: an argument is of the wrong type (also a TypeError).
        ArgumentError: two parameters of the net have the same name.
        CheckpointError: a wanted entry is damaged, or an encrypted file is not authentic.
    """
    check_arguments(net, strict_load, skip_misfits=skip_misfits)
    entries = opened(parameters)
    return plan_target(
        target_of(net),
        supply_of(entries, "parameters"),
        strict=strict_load,
        name_map=name_map,
        skip_misfits=skip_misfits,
        is_ckpt=is_ckpt(entries),
    )


def load_param_into_net(
    net: Any,
    parameter_dict: Parameters,
    strict_load: bool = False,
    remove_redundancy: bool = False,
    *,
    name_map: NameMapLike = None,
    skip_misfits: bool = False,
    strategy: Any = None,
    communicator: Any = None,
) -> tuple[list[str], list[str]]:
    """Load parameters into a net.

    Everything is checked before anything is written. Values are copied into the net's own memory; the net
    keeps its shapes, its dtypes and its Parameters. See docs/binding.md for the rules, and for how they differ
    from MindSpore's (2.10.0, train/serialization.py:1771).

    Args:
        net: the net: a Cell, a ``mindspore.nn.Cell`` or a ``torch.nn.Module``.
        parameter_dict: what `load_checkpoint` returned; or an open reader, or the path of a file that needs no key,
            whose tensor data is read straight into the net.
        strict_load: match equal names and dtypes only. If False, the ends of names match, too, and values are
            converted between float dtypes and between signed integer dtypes.
        remove_redundancy: `parameter_dict` is what one rank of parallel training has saved with redundancy removed;
            the rest comes from the other ranks, all of which make this call (docs/ranks.md, "On a cluster"). What is
            complete is loaded as it is.
        name_map: renames the entries first: a dictionary of names, or of their beginnings up to a dot; or a
            function that takes a name and returns one (see `renaming.renamed`).
        skip_misfits: load what fits, if anything does; the other parameters keep their values.
        strategy: with `remove_redundancy`: the strategy of the job, or its path; None if every rank has the whole net.
        communicator: with `remove_redundancy`: how the ranks talk. None takes the one that is set up in this process:
            of torch.distributed, MindSpore or mpi4py, in this order. Or an object with that interface (docs/ranks.md).

    Returns:
        The names of the net's parameters that were not loaded, and the keys that were not used.

    Raises:
        ArgumentTypeError: an argument is of the wrong type; or parameters are missing, `remove_redundancy` is True,
            and there are no other ranks (also a TypeError).
        RankError: another rank failed, and none has loaded anything unless it failed while values were written.
        ArgumentError: two parameters of the net have the same name.
        BindingError: something does not fit; every misfit is listed. Or several entries match a parameter, and
            nothing tells them apart; they are listed. Or nothing matches, and the call is not one
            that MindSpore has: with an open reader, a module of torch, `name_map` or `skip_misfits` (also a
            RuntimeError).
        CheckpointError: a wanted entry is damaged, or an encrypted file is not authentic.

    Warns:
        UserWarning: nothing matches; the net has no parameters; or parameters are not loaded, are matched by the end
            of a name, or are converted.
        LayerDifferenceWarning: the net is a torch module with layers that may compute something else than MindSpore's.
    """
    is_share = remove_redundancy is True or communicator is not None
    with told(communicator, asked=is_share):
        check_arguments(net, strict_load, remove_redundancy, skip_misfits=skip_misfits)
    with open_while(parameter_dict) as entries:
        if is_share:
            ways = Ways(asked=True, strategy=strategy, communicator=communicator, beside=lambda: None)
            return load_share(net, lambda: entries, strict_load, ways, name_map=name_map, skip_misfits=skip_misfits)
        _check_values(entries)
        plan = plan_target(
            target_of(net),
            supply_of(entries, "parameter_dict"),
            strict=strict_load,
            name_map=name_map,
            skip_misfits=skip_misfits,
            is_ckpt=is_ckpt(entries),
        )
        ours = skip_misfits or name_map is not None or isinstance(entries, Reader) or is_module(net)
        if plan.unmatched and not ours:
            warn(str(plan.no_match()))
            return plan.param_not_load, plan.ckpt_not_load
        plan.check()
        plan.warn()
        plan.apply()
        return plan.param_not_load, plan.ckpt_not_load


def load_share(
    net: Any,
    own: Callable[[], Parameters],
    strict_load: bool,
    ways: Ways,
    *,
    name_map: NameMapLike = None,
    skip_misfits: bool = False,
) -> tuple[list[str], list[str]]:
    """Load the share of a rank into a net, completed by what other ranks have; see `load_param_into_net`.

    Args:
        net: the net.
        own: returns what this rank's file has; called once, where the other ranks are told if it fails.
        strict_load: match equal names and dtypes only.
        ways: how the share is completed.
        name_map: renames the entries.
        skip_misfits: load what fits.

    Returns:
        The names of the net's parameters that were not loaded, and this rank's keys that were not used.
    """
    mine: list[Supply] = []

    def supply() -> Supply:
        values = own()
        _check_values(values)
        mine.append(supply_of(values, "parameter_dict"))
        return mine[0]

    def plan_with(whole: Supply) -> BindingPlan:
        return plan_target(target_of(net), whole, strict=strict_load, name_map=name_map, skip_misfits=skip_misfits)

    plan = bind_share(supply, plan_with, ways)
    return plan.param_not_load, [key for key in plan.ckpt_not_load if key in mine[0].keys]


def is_ckpt(parameters: object) -> bool:
    """Tell whether entries are those of an open .ckpt, and so of MindSpore; of a dictionary that is not known."""
    return isinstance(parameters, Reader) and parameters.format == "ckpt"


def _check_values(parameter_dict: object) -> None:
    """Refuse arrays and our own plain Tensors, as MindSpore does; other frameworks' tensors are taken.

    `plan_binding` is not MindSpore's, and takes them all.
    """
    for key, value in parameter_dict.items() if isinstance(parameter_dict, dict) else ():
        if isinstance(value, np.ndarray) or (isinstance(value, Tensor) and not isinstance(value, Parameter)):
            raise ArgumentTypeError(
                f"the value must be a Parameter, a str, a list or bytes, not {type_name(value)}",
                name=str(key),
                hint="make a Parameter of it: Parameter(value); or plan_binding(net, values).apply() takes it as it is",
            )


def check_arguments(
    net: object, strict_load: object, remove_redundancy: object = False, *, skip_misfits: object = False
) -> None:
    """Check the arguments, before a file is opened.

    Raises:
        ArgumentTypeError: an argument is of the wrong type.
    """
    target_of(net)
    check_flags(strict_load=strict_load, remove_redundancy=remove_redundancy, skip_misfits=skip_misfits)


def check_flags(**flags: object) -> None:
    """Raise ArgumentTypeError for an argument that is neither True nor False."""
    for argument, value in flags.items():
        if not isinstance(value, bool):
            raise ArgumentTypeError(f"{argument} must be True or False, not {shown_value(value)}")


def plan_target(
    target: Target,
    supply: Supply,
    *,
    strict: bool,
    name_map: NameMapLike = None,
    skip_misfits: bool = False,
    is_ckpt: bool = False,
) -> BindingPlan:
    """Plan how a supply would be loaded into a target; see `plan_binding`."""
    supply = mapped(supply, name_map, target.net)
    slots = _unique(target.slots(supply.keys))
    shape = cache(supply.shape)
    look = Look(supply.is_tensor, shape, cache(lambda name, key: fits(slots[name].shapes, shape(key))))
    matching = match(list(slots), supply.keys, look, exact=strict)
    plan = BindingPlan(slots, supply, matching, strict=strict, skips=skip_misfits)
    plan.differences = target.differences(
        {load.name: supply.originals(load.key) for load in plan.loads}, is_ckpt=is_ckpt
    )
    supply.authenticate()
    for load in plan.loads:
        _log.debug("%s is loaded from %s: %s to %s", load.name, load.key, load.key_dtype, load.dtype)
    return plan


def _unique(slots: Sequence[Slot]) -> dict[str, Slot]:
    found = {slot.name: slot for slot in slots}
    if len(found) < len(slots):
        numbers = Counter(slot.name for slot in slots)
        twice = [name for name in found if numbers[name] > 1]
        raise ArgumentError(
            f"several parameters of the net have the same name: {listed(twice)}",
            hint="give each a different name; Cell.update_parameters_name() names them by their paths",
        )
    return found
