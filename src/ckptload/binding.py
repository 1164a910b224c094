"""Loading into a net: plan everything, report every misfit at once, and write only a plan without misfits.

Planning looks at names, shapes and dtypes and reads no content. What can fail is checked then: a net is
written only when all of it can be. What remains is what nobody can foresee, such as an interrupt or a
disk that fails in the middle; the net is then partly loaded.
"""

from __future__ import annotations

import logging
import math
import sys
import warnings
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ckptload import casting, names, report
from ckptload.errors import ArgumentError, ArgumentTypeError, BindingError
from ckptload.matching import match
from ckptload.renaming import RenamedSupply
from ckptload.supplies import Delivery, supply_of
from ckptload.targets import target_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from ckptload.dtypes import DType
    from ckptload.matching import Match, Matching
    from ckptload.reader import Reader
    from ckptload.renaming import NameMap
    from ckptload.supplies import Offer, Supply
    from ckptload.targets import Slot, Target

    Array = npt.NDArray[Any]
    Parameters = Mapping[str, Any] | Reader

_log = logging.getLogger("ckptload")

_PACKAGE: Final = __file__.rpartition("binding")[0]

#: Misfits for which the nearest names are looked up; each costs a look at every name.
_EXPLAINED: Final = 50


class Load(NamedTuple):
    """A parameter that will be written.

    Attributes:
        name: the parameter of the net.
        key: the entry of the checkpoint.
        prefix: what stands before the name in the key; empty where they are equal.
        shape: shape of the parameter, which it keeps.
        dtype: dtype of the parameter, which it keeps.
        key_dtype: dtype of the entry.
    """

    name: str
    key: str
    prefix: str
    shape: tuple[int, ...]
    dtype: DType
    key_dtype: DType


class Misfit(NamedTuple):
    """A parameter that an entry was found for and that cannot take it.

    Attributes:
        name: the parameter of the net.
        key: the entry of the checkpoint.
        shape: shape of the parameter.
        dtype: dtype of the parameter.
        key_shape: shape of the entry.
        key_dtype: dtype of the entry.
        reasons: why not, in words.
        nearest: other entries whose names come close.
    """

    name: str
    key: str
    shape: tuple[int, ...]
    dtype: DType
    key_shape: tuple[int, ...]
    key_dtype: DType
    reasons: tuple[str, ...]
    nearest: tuple[str, ...] = ()


class BindingPlan:
    """What loading a checkpoint into a net would do; ``print(plan)`` shows it.

    Attributes:
        loads: what will be written, in the net's order.
        misfits: what keeps the plan from being applied.
        param_not_load: parameters of the net that no entry fits by name, in the net's order.
        ckpt_not_load: entries that no parameter takes, in the checkpoint's order.
        transient: parameters that are not looked for: gradient sums without an entry.
        total: number of the net's parameters.
        entries: number of the checkpoint's entries.
        source: path of the checkpoint, or None for a dictionary.
    """

    def __init__(self, slots: Mapping[str, Slot], supply: Supply, matching: Matching, *, strict: bool) -> None:
        self._slots = slots
        self._supply = supply
        self._strict = strict
        self._offers: dict[str, Offer] = {}
        self.loads: list[Load] = []
        self.misfits: list[Misfit] = []
        self.param_not_load = matching.missing
        self.ckpt_not_load = [supply.original(key) for key in matching.unused]
        self.transient = matching.transient
        self.total = len(slots)
        self.entries = len(supply.keys)
        self.source = supply.label
        self._from_optimizer = {each.name for each in matching.matches if each.from_optimizer}
        for each in matching.matches:
            self._judge(each)

    def _judge(self, match: Match) -> None:
        """Note what a match leads to: a load or a misfit."""
        name, key, prefix = match
        slot, offer = self._slots[name], self._supply.offer(key)
        shape, dtype = slot.shape, slot.dtype
        refusal = slot.refusal()
        reasons = _reasons(slot.shapes, dtype, offer, strict=self._strict) if refusal is None else (refusal,)
        if reasons:
            others = [other for other in self._supply.keys if other != key] if len(self.misfits) < _EXPLAINED else []
            nearest = tuple(names.closest(name, others))
            self.misfits.append(Misfit(name, key, shape, dtype, offer.shape, offer.dtype, reasons, nearest))
            return
        self._offers[key] = offer
        self.loads.append(Load(name, key, prefix, shape, dtype, offer.dtype))

    # -- what it says -----------------------------------------------------------------------------

    @property
    def exact(self) -> list[str]:
        """Parameters that are loaded from the entry of their own name."""
        return [load.name for load in self.loads if not load.prefix]

    @property
    def prefixes(self) -> dict[str, list[str]]:
        """Prefixes that entries' names have before a parameter's name, and the parameters loaded so."""
        found: dict[str, list[str]] = {}
        for load in self.loads:
            if load.prefix:
                found.setdefault(load.prefix, []).append(load.name)
        return found

    @property
    def from_optimizer(self) -> list[Load]:
        """Loads that take an entry of optimizer state, since nothing else has a name that ends so."""
        return [load for load in self.loads if load.name in self._from_optimizer]

    @property
    def conversions(self) -> dict[tuple[DType, DType], list[str]]:
        """Dtypes that are converted, from the entry's to the parameter's, and the parameters concerned."""
        found: dict[tuple[DType, DType], list[str]] = {}
        for load in self.loads:
            if load.key_dtype is not load.dtype:
                found.setdefault((load.key_dtype, load.dtype), []).append(load.name)
        return found

    def nearest(self, name: str) -> list[str]:
        """Return up to three entries whose names come closest to a parameter's, best first."""
        return names.closest(name, self._supply.keys)

    def __str__(self) -> str:
        return report.describe(self)

    def __repr__(self) -> str:
        return (
            f"<BindingPlan: {len(self.loads)} of {self.total} parameters from {self.entries} entries, "
            f"{len(self.misfits)} misfits>"
        )

    # -- what it does -----------------------------------------------------------------------------

    def check(self) -> None:
        """Raise if anything does not fit.

        Raises:
            BindingError: it lists every misfit (also a RuntimeError).
        """
        if not self.misfits:
            return
        by_dtype = self._strict and any(casting.can_cast(one.key_dtype, one.dtype) for one in self.misfits)
        raise BindingError(
            report.misfits(self.misfits, self.total),
            path=self.source,
            hint="leave entries out with choice_func, or rename keys, and what fits is loaded"
            + ("; strict_load=False allows conversions" if by_dtype else ""),
        )

    def warn(self) -> None:
        """Warn of what stays unloaded, was matched by the end of a name, or is converted: one warning each.

        The warnings name the line of the script that called this package.
        """
        for text in report.warnings_of(self):
            warnings.warn(text, stacklevel=_level_of_script())

    def apply(self) -> None:
        """Write the values into the net's own memory; the net shares none with where they came from.

        Raises:
            BindingError: something does not fit, or the net was changed since the plan was made; the net
                is then as it was.
            CheckpointError: a file could not be read any more; if it was read in part, so is the net.
        """
        self.check()
        deliveries, others = self._goals()
        self._supply.deliver(deliveries)
        for load, slot in others:
            array = self._supply.array(load.key)
            if load.key_dtype is not load.dtype:
                array = casting.cast(array, load.key_dtype, load.dtype)
            slot.write(array.reshape(load.shape))
        _log.info("loaded %d of %d parameters from %s", len(self.loads), self.total, self.source or "a dictionary")

    def _goals(self) -> tuple[list[Delivery], list[tuple[Load, Slot]]]:
        """Return where each load goes: memory that numpy can fill, or a slot that takes an array."""
        deliveries: list[Delivery] = []
        others: list[tuple[Load, Slot]] = []
        for load in self.loads:
            slot = self._slots[load.name]
            if slot.shape != load.shape or slot.dtype is not load.dtype or slot.refusal() is not None:
                raise BindingError(
                    "the parameter was changed after the plan was made, and nothing was written",
                    name=load.name,
                    hint="make the plan again",
                )
        for load in self.loads:
            slot = self._slots[load.name]
            memory = slot.memory()
            if memory is not None and memory.flags.c_contiguous:
                deliveries.append(Delivery(load.key, self._offers[load.key], load.dtype, memory))
            else:
                others.append((load, slot))
        return deliveries, others


def _reasons(shapes: Sequence[tuple[int, ...]], dtype: DType, offer: Offer, *, strict: bool) -> tuple[str, ...]:
    """Say why an entry cannot fill a parameter; an empty answer means that it can."""
    reasons = []
    # Where the checkpoint has more dimensions, they must all be 1 and stand at the end: no value moves then.
    if not any(offer.shape[: len(s)] == s and math.prod(offer.shape[len(s) :]) == 1 for s in shapes):
        reasons.append("the shapes differ")
    if offer.dtype is not dtype:
        if not casting.can_cast(offer.dtype, dtype):
            reasons.append("there is no conversion between these dtypes")
        elif strict:
            reasons.append("strict_load=True converts no dtype")
    return tuple(reasons)


def plan_binding(
    net: Any, parameters: Parameters, strict_load: bool = False, *, name_map: NameMap = None
) -> BindingPlan:
    """Plan how a checkpoint would be loaded into a net, without writing or reading any content.

    Args:
        net: the net: a Cell, a ``mindspore.nn.Cell`` or a ``torch.nn.Module``.
        parameters: what `load_checkpoint` returned, or an open reader (see `open_checkpoint`).
        strict_load: exact names and dtypes only; False matches the ends of names and converts between
            floats and between signed integers, too.
        name_map: renames entries first: a dictionary of names, or of what stands before a dot in them, or a
            function of a name (see `renaming.renamed`).

    Returns:
        The plan: what would be loaded from where, converted how, and what does not fit. It refers to
        `net` and `parameters`; what is changed in them later is not in it.

    Raises:
        ArgumentTypeError: an argument is of the wrong type (also a TypeError).
        ArgumentError: two parameters of the net have the same name.
        CheckpointError: an entry that is wanted is damaged, or an encrypted file is not authentic.
    """
    check_arguments(net, strict_load)
    return plan_target(target_of(net), supply_of(parameters, "parameters"), strict=strict_load, name_map=name_map)


def load_param_into_net(
    net: Any,
    parameter_dict: Parameters,
    strict_load: bool = False,
    remove_redundancy: bool = False,
    *,
    name_map: NameMap = None,
) -> tuple[list[str], list[str]]:
    """Load parameters into a net.

    Everything is checked before anything is written. Values are copied into the net's own memory; the net
    keeps its shapes, its dtypes and its Parameters.

    Args:
        net: the net: a Cell, a ``mindspore.nn.Cell`` or a ``torch.nn.Module``.
        parameter_dict: what `load_checkpoint` returned, or an open reader, whose contents then go straight
            into the net.
        strict_load: exact names and dtypes only; False matches the ends of names and converts between
            floats and between signed integers, too.
        remove_redundancy: must be False: it has a meaning in parallel training only.
        name_map: renames entries first: a dictionary of names, or of what stands before a dot in them, or a
            function of a name (see `renaming.renamed`).

    Returns:
        The names of the net's parameters that were not loaded, and the keys that were not used.

    Raises:
        ArgumentTypeError: an argument is of the wrong type, or `remove_redundancy` is True (also a TypeError).
        ArgumentError: two parameters of the net have the same name.
        BindingError: something does not fit; every misfit is listed (also a RuntimeError).
        CheckpointError: an entry that is wanted is damaged, or an encrypted file is not authentic.

    Warns:
        UserWarning: parameters were not loaded, were matched by the end of a name, or were converted.
    """
    check_arguments(net, strict_load, remove_redundancy)
    supply = supply_of(parameter_dict, "parameter_dict")
    plan = plan_target(target_of(net), supply, strict=strict_load, name_map=name_map)
    plan.check()
    plan.warn()
    plan.apply()
    return plan.param_not_load, plan.ckpt_not_load


def check_arguments(net: object, strict_load: object, remove_redundancy: object = False) -> None:
    """Check what can be checked before there is anything to load.

    Raises:
        ArgumentTypeError: an argument is of the wrong type, or `remove_redundancy` is True.
    """
    target_of(net)
    for argument, value in (("strict_load", strict_load), ("remove_redundancy", remove_redundancy)):
        if not isinstance(value, bool):
            raise ArgumentTypeError(f"{argument} must be True or False, not {value!r}")
    if remove_redundancy:
        raise ArgumentTypeError(
            "remove_redundancy=True has a meaning in parallel training only, where each device holds a part of the net",
            hint="leave it out",
        )


def plan_target(target: Target, supply: Supply, *, strict: bool, name_map: NameMap = None) -> BindingPlan:
    """Plan how any supply would be loaded into any target; see `plan_binding`."""
    if name_map is not None:
        supply = RenamedSupply(supply, name_map)
    slots = _unique(target.slots(supply.keys))
    matching = match(list(slots), supply.keys, supply.is_tensor, exact=strict)
    plan = BindingPlan(slots, supply, matching, strict=strict)
    supply.authenticate()
    for prefix, rivals in matching.rivals.items():
        if rivals:
            _log.info("the prefix %r comes first in the checkpoint; %s would do, too", prefix, report.listed(rivals))
    for load in plan.loads:
        _log.debug("%s is loaded from %s: %s to %s", load.name, load.key, load.key_dtype, load.dtype)
    return plan


def _level_of_script() -> int:
    """Return the stacklevel, counted in the calling function, of the first frame outside this package."""
    level, frame = 1, sys._getframe(1)  # noqa: SLF001 -- Python 3.12 has warn(skip_file_prefixes=...) for this
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        level, frame = level + 1, frame.f_back
    return level


def _unique(slots: Sequence[Slot]) -> dict[str, Slot]:
    found = {slot.name: slot for slot in slots}
    if len(found) < len(slots):
        every = [slot.name for slot in slots]
        twice = [name for name in found if every.count(name) > 1]
        raise ArgumentError(
            f"several parameters of the net have the same name: {report.listed(twice)}",
            hint="give each a name of its own; Cell.update_parameters_name() names them by their paths",
        )
    return found
