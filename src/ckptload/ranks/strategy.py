"""`Strategy`: how all parameters of a net lie on the ranks of a training."""

from __future__ import annotations

from itertools import accumulate
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ckptload.errors import ArgumentError, ArgumentTypeError, CheckpointError, UnknownNameError
from ckptload.messages import closest, counted, listed, shown_value, type_name
from ckptload.ranks.layout import SliceLayout
from ckptload.ranks.layout_numbers import MAX_DEVICES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Strategy:
    """The layouts of parameters on the ranks of a training, in one stage or several. Immutable; it pickles.

    Ranks are counted over all stages: those of a stage follow those of the stages before it.

    Args:
        stages: for each stage of the pipeline the layout of each name.
        path: the file or folder that it was read from, for messages.

    Raises:
        ArgumentTypeError: a stage is no mapping of names to layouts.
        ArgumentError: there is no stage, or one without layouts, or the layouts of a stage have different numbers of
            devices.
    """

    def __init__(self, stages: Sequence[Mapping[str, SliceLayout]], *, path: str | None = None) -> None:
        if isinstance(stages, (str, bytes)) or not hasattr(stages, "__iter__"):
            raise ArgumentTypeError(f"stages must be a sequence of mappings, not {type_name(stages)}")
        self._stages = tuple(_stage(stage, number) for number, stage in enumerate(stages))
        if not self._stages:
            raise ArgumentError("a strategy has at least one stage")
        self._path = path
        devices = [next(iter(stage.values())).devices for stage in self._stages]
        *firsts, ranks = accumulate(devices, initial=0)
        if ranks > MAX_DEVICES:
            raise ArgumentError(f"the stages have {ranks} devices together, the most are {MAX_DEVICES}", path=path)
        self._firsts, self._ranks = tuple(firsts), ranks

    def __repr__(self) -> str:
        names = {name for stage in self._stages for name in stage}
        sizes = f"{counted(self.ranks, 'rank')} in {counted(self.stages, 'stage')}"
        return f"<{type(self).__name__}: {sizes}, {counted(len(names), 'layout')}>"

    def __eq__(self, other: object) -> bool:
        return self._stages == other._stages if isinstance(other, Strategy) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(frozenset(stage.items()) for stage in self._stages))

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, ([dict(stage) for stage in self._stages], self._path))

    @property
    def ranks(self) -> int:
        """Number of ranks of all stages."""
        return self._ranks

    @property
    def stages(self) -> int:
        """Number of stages of the pipeline."""
        return len(self._stages)

    @property
    def firsts(self) -> tuple[int, ...]:
        """The first rank of each stage."""
        return self._firsts

    @property
    def path(self) -> str | None:
        """The file or folder that it was read from, or None."""
        return self._path

    def names(self, stage: int | None = None) -> list[str]:
        """Return the names that have a layout, in one stage or in any, each once and in their order."""
        if stage is not None:
            return list(self.layouts(stage))
        return list(dict.fromkeys(name for each in self._stages for name in each))

    def layouts(self, stage: int) -> Mapping[str, SliceLayout]:
        """Return the layout of each name of a stage; it cannot be changed.

        Raises:
            ArgumentError: there is no such stage.
        """
        return self._stages[self._checked(stage, self.stages, "stage")]

    def stages_of(self, name: str) -> list[int]:
        """Return the stages that have a layout for a name; an empty list if none has."""
        return [number for number, stage in enumerate(self._stages) if name in stage]

    def stage_of(self, rank: int) -> int:
        """Return the stage that a rank belongs to.

        Raises:
            ArgumentError: there is no such rank.
        """
        self._checked(rank, self.ranks, "rank")
        return max(number for number, first in enumerate(self._firsts) if first <= rank)

    def ranks_of(self, stage: int) -> range:
        """Return the ranks of a stage."""
        self._checked(stage, self.stages, "stage")
        return range(self._firsts[stage], (*self._firsts, self._ranks)[stage + 1])

    def layout(self, name: str, stage: int | None = None) -> SliceLayout:
        """Return the layout of a name in a stage, or in the lowest stage that has one.

        Raises:
            UnknownNameError: there is none.
        """
        stages = self.stages_of(name) if stage is None else [stage]
        if not stages or name not in self.layouts(stages[0]):
            where = "in the strategy" if stage is None else f"in stage {stage} of the strategy"
            near = closest(name, self.names(stage)) if isinstance(name, str) else []
            hint = f"did you mean {listed(near)}?" if near else None
            raise UnknownNameError(f"there is no layout {where}", name=name, path=self._path, hint=hint)
        return self.layouts(stages[0])[name]

    def box(self, name: str, rank: int, shape: Sequence[int]) -> tuple[slice, ...]:
        """Return where the slice of a rank lies in the whole tensor.

        Args:
            name: the parameter.
            rank: counted over all stages.
            shape: of the whole tensor.

        Raises:
            UnknownNameError: the stage of the rank has no layout for the name.
            ArgumentError: there is no such rank, or the layout does not fit the shape.
        """
        stage = self.stage_of(rank)
        layout = self.layout(name, stage)
        try:
            return layout.fitted(shape, whole=True).box(rank - self._firsts[stage], shape)
        except CheckpointError as error:
            error.name, error.path = name, self._path
            raise

    def replicas(self, name: str, rank: int) -> tuple[int, ...]:
        """Return all ranks of a rank's stage that hold the same slice as it, ascending, that of the rank among them.

        With an optimizer shard only those count that hold the same part of it.

        Raises:
            UnknownNameError: the stage of the rank has no layout for the name.
            ArgumentError: there is no such rank, or the optimizer shard does not divide the replicas.
        """
        stage = self.stage_of(rank)
        layout, first = self.layout(name, stage), self._firsts[stage]
        local = rank - first
        try:
            return tuple(first + other for other in layout.replicas(local)[layout.shard_of(local) :: layout.shards])
        except CheckpointError as error:
            error.name, error.path = name, self._path
            raise

    def _checked(self, number: object, beyond: int, what: str) -> int:
        if not isinstance(number, int) or isinstance(number, bool):
            raise ArgumentTypeError(f"a {what} must be an int, not {type_name(number)}")
        if not 0 <= number < beyond:
            raise ArgumentError(
                f"there is no {what} {shown_value(number)}: the strategy has {counted(beyond, what)}, from 0 on",
                path=self._path,
            )
        return number


def _rebuild(stages: list[dict[str, SliceLayout]], path: str | None) -> Strategy:
    return Strategy(stages, path=path)


def _stage(layouts: Mapping[str, SliceLayout], number: int) -> Mapping[str, SliceLayout]:
    """Return a copy of the layouts of a stage that cannot be changed, after checking that they fit each other."""
    if not hasattr(layouts, "items"):
        raise ArgumentTypeError(f"stage {number} must be a mapping of names to SliceLayout, not {type_name(layouts)}")
    found = dict(layouts)
    if not found:
        raise ArgumentError(f"stage {number} has no layouts")
    for name, layout in found.items():
        if not isinstance(name, str) or not isinstance(layout, SliceLayout):
            raise ArgumentTypeError(
                f"stage {number} must map str to SliceLayout, not {type_name(name)} to {type_name(layout)}"
            )
        if not _is_text(name):
            raise ArgumentError(f"stage {number} has a name that is no text", name=name)
    first = next(iter(found))
    for name, layout in found.items():
        if layout.devices != found[first].devices:
            raise ArgumentError(
                f"stage {number} has {counted(found[first].devices, 'device')} for {listed([first])} and "
                f"{layout.devices} for this one",
                name=name,
                hint="give each stage of the pipeline layouts of its own devices alone",
            )
    return MappingProxyType(found)


def _is_text(name: str) -> bool:
    """Tell whether a name can be one in a file: JSON may name characters that do not exist."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
