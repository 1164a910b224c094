"""The plan of a load into a net, as data: what is loaded from where, and what does not fit."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

from ckptload.messages import closest
from ckptload.nets.overlaps import overlapping
from ckptload.tensors import casting

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ckptload.binding.matching import Match, Matching
    from ckptload.binding.supplies import Spec, Supply
    from ckptload.dtypes import DType
    from ckptload.nets.pytorch.difference import LayerDifference
    from ckptload.nets.slots import Slot


#: Number of misfits for which the nearest names are looked up. Each lookup goes through all names, so that of very
#: many names fewer are looked up: after so many names, no more.
_EXPLAINED: Final = 50
_LOOKED_AT: Final = 200_000
#: Number of missing parameters for which a prefix is looked for.
_TRIED: Final = 3


class Load(NamedTuple):
    """A parameter that will be written.

    Attributes:
        name: the parameter of the net.
        key: the entry of the checkpoint.
        prefix: the part of the key before the name; empty if they are equal.
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
    """A parameter and the entry that matches it by name but cannot fill it.

    Attributes:
        name: the parameter of the net.
        key: the entry of the checkpoint.
        shape: shape of the parameter.
        dtype: dtype of the parameter.
        key_shape: shape of the entry.
        key_dtype: dtype of the entry.
        reasons: why the entry cannot fill it, in words.
        nearest: other entries with similar names.
    """

    name: str
    key: str
    shape: tuple[int, ...]
    dtype: DType
    key_shape: tuple[int, ...]
    key_dtype: DType
    reasons: tuple[str, ...]
    nearest: tuple[str, ...] = ()


class Plan:
    """What loading a checkpoint into a net would do.

    Attributes:
        loads: what will be written, in the net's order.
        misfits: parameters that cannot be loaded. The plan can only be applied if there are none, or if they are
            skipped and something else is loaded.
        ties: parameters that several entries match, which nothing tells apart; while there are any, the plan cannot
            be applied.
        missing: parameters of the net without a matching name in the checkpoint, in the net's order.
        param_not_load: the same, and misfits that are skipped.
        ckpt_not_load: entries that are not used, in the checkpoint's order.
        transient: gradient sums without an entry; they are not reported as missing.
        rivals: for a prefix that is used, other prefixes behind which entries would fit as well; only if there are any.
        differences: kinds of layers of a torch module that may compute something else than MindSpore's with the same
            weights (docs/pytorch.md, "Where layers differ"); only for entries that come from MindSpore.
        total: number of the net's parameters.
        entries: number of the checkpoint's entries.
        source: path of the checkpoint, or a description if it is not a file; None for a dictionary.
        strict: whether only equal names and dtypes match.
        skips: whether misfits are skipped.
    """

    def __init__(
        self, slots: Mapping[str, Slot], supply: Supply, matching: Matching, *, strict: bool, skips: bool = False
    ) -> None:
        self.slots = slots
        self.supply = supply
        self.strict = strict
        self.skips = skips
        self._specs: dict[str, Spec] = {}
        self.loads: list[Load] = []
        self.misfits: list[Misfit] = []
        self.missing = matching.missing
        self.ties = matching.ties
        self.param_not_load = matching.missing
        self.ckpt_not_load = self._originals(matching.unused)
        self.transient = matching.transient
        self.rivals = {prefix: others for prefix, others in matching.rivals.items() if others}
        self.total = len(slots)
        self.entries = len(supply.keys)
        self.source = supply.label
        self.differences: Sequence[LayerDifference] = ()
        self._from_optimizer = {each.name for each in matching.matches if each.is_state}
        for each in matching.matches:
            self._judge(each)
        self._keep_apart()
        if skips and self.misfits:
            self._skip()

    def _judge(self, match: Match) -> None:
        """Add a load or a misfit for a match."""
        name, key, prefix, _ = match
        slot, spec = self.slots[name], self.supply.spec(key)
        shape, dtype = slot.shape, slot.dtype
        refusal = slot.refusal()
        reasons = _reasons(slot.shapes, dtype, spec, strict=self.strict) if refusal is None else (refusal,)
        if reasons:
            number = len(self.misfits)
            is_explained = number < _EXPLAINED and number * self.entries < _LOOKED_AT
            nearest = tuple(closest(name, (each for each in self.supply.keys if each != key))) if is_explained else ()
            self.misfits.append(Misfit(name, key, shape, dtype, spec.shape, spec.dtype, reasons, nearest))
            return
        self._specs[key] = spec
        self.loads.append(Load(name, key, prefix, shape, dtype, spec.dtype))

    def clashes(self) -> dict[str, str]:
        """Return parameters that would be written over by another that is loaded, or by themselves, and by which."""
        extents = {load.name: self.slots[load.name].extent() for load in self.loads}
        return overlapping({name: extent for name, extent in extents.items() if extent is not None})

    def _keep_apart(self) -> None:
        """Make misfits of loads into the same memory."""
        clashes = self.clashes()
        for load in self.loads if clashes else ():
            if load.name in clashes:
                spec, other = self._specs[load.key], clashes[load.name]
                reason = (
                    "several of its elements share memory, as in an expanded tensor; give it memory of its own first"
                    if other == load.name
                    else f"it shares memory with {other!r}, and one would overwrite the other; give it its own first"
                )
                self.misfits.append(
                    Misfit(load.name, load.key, load.shape, load.dtype, spec.shape, spec.dtype, (reason,))
                )
        self.loads = [load for load in self.loads if load.name not in clashes]

    def _skip(self) -> None:
        """Count misfits and their entries as not loaded. They were matched by name, and nothing else replaces them."""
        without = {*self.missing, *(misfit.name for misfit in self.misfits)}
        used = {load.key for load in self.loads}
        self.param_not_load = [name for name in self.slots if name in without]
        self.ckpt_not_load = self._originals(key for key in self.supply.keys if key not in used)

    def _originals(self, keys: Iterable[str]) -> list[str]:
        """Return the entries that these are made of, each once."""
        return list(dict.fromkeys(name for key in keys for name in self.supply.originals(key)))

    # -- its contents -----------------------------------------------------------------------------

    @property
    def unmatched(self) -> bool:
        """Whether no parameter matches any of the entries, so that loading is most likely a mistake.

        Not under `strict`, nor if there are no entries (docs/binding.md, "Nothing matches").
        """
        return bool(self.missing and self.entries) and not (self.loads or self.misfits or self.ties or self.strict)

    @property
    def exact(self) -> list[str]:
        """Parameters that are loaded from the entry with exactly their name."""
        return [load.name for load in self.loads if not load.prefix]

    @property
    def prefixes(self) -> dict[str, list[str]]:
        """Prefixes of entries' names, and the parameters that are loaded through each of them."""
        found: dict[str, list[str]] = {}
        for load in self.loads:
            if load.prefix:
                found.setdefault(load.prefix, []).append(load.name)
        return found

    @property
    def from_optimizer(self) -> list[Load]:
        """Loads from copies or optimizer state, because no other entry's name ends with the parameter's."""
        return [load for load in self.loads if load.name in self._from_optimizer]

    @property
    def shared(self) -> dict[str, list[str]]:
        """Entries that fill several parameters, and these parameters."""
        found: dict[str, list[str]] = {}
        for load in self.loads:
            found.setdefault(load.key, []).append(load.name)
        return {key: names for key, names in found.items() if len(names) > 1}

    @property
    def conversions(self) -> dict[tuple[DType, DType], list[str]]:
        """Conversions as (entry's dtype, parameter's dtype), and the parameters that need each of them."""
        found: dict[tuple[DType, DType], list[str]] = {}
        for load in self.loads:
            if load.key_dtype is not load.dtype:
                found.setdefault((load.key_dtype, load.dtype), []).append(load.name)
        return found

    @property
    def lacking(self) -> str | None:
        """The prefix that some name of the net has before that of an entry; None if there is none."""
        for name in self.missing[:_TRIED]:
            for key in self.nearest(name):
                if name.endswith(f".{key}"):
                    return name.removesuffix(key)
        return None

    def nearest(self, name: str) -> list[str]:
        """Return up to three entries whose names are most similar to a parameter's, best first."""
        return closest(name, self.supply.keys)

    def spec(self, key: str) -> Spec:
        """Return dtype and shape of an entry that will be loaded."""
        return self._specs[key]


def fits(shapes: Sequence[tuple[int, ...]], shape: tuple[int, ...]) -> bool:
    """Tell whether the shape of an entry is one of a parameter's, or has only dimensions of 1 behind it.

    Other dimensions of 1 are not dropped, nor added: the elements keep their order, but the entry is hardly the one
    that is meant.
    """
    return any(shape[: len(each)] == each and math.prod(shape[len(each) :]) == 1 for each in shapes)


def _reasons(shapes: Sequence[tuple[int, ...]], dtype: DType, spec: Spec, *, strict: bool) -> tuple[str, ...]:
    """Return why an entry cannot fill a parameter; an empty tuple means that it can.

    As in MindSpore, an entry may have trailing dimensions of 1 (2.10.0, train/serialization.py:251), and dtypes
    are converted within floats and within signed integers (train/serialization.py:326).
    """
    reasons = []
    if not fits(shapes, spec.shape):
        reasons.append("the shapes differ")
    if spec.dtype is not dtype:
        if not casting.can_cast(spec.dtype, dtype):
            reasons.append("there is no conversion between these dtypes")
        elif strict:
            reasons.append("strict_load=True does not convert dtypes")
    return tuple(reasons)
