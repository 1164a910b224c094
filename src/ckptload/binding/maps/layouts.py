"""Where the elements of a tensor come from that a map joins, cuts or transposes, and copying them in flat memory."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from ckptload.binding.maps.rules import ARROW, COLUMNS
from ckptload.errors import BindingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ckptload.binding.maps.recipes import Recipe
    from ckptload.binding.maps.rules import Rule
    from ckptload.dtypes import Array

    Shape = tuple[int, ...]
    #: Returns the elements of a source from one index to another, in C order: ``read(source, first, last)``.
    Read = Callable[[int, int, int], Array]

#: Bytes that are read at a time.
PIECE: Final = 2 << 20
_MATRIX: Final = 2


class Run(NamedTuple):
    """Neighbours along the axis, in a source and in the result.

    Attributes:
        source: number of the source.
        start: index of the first along the axis of the source.
        at: the same in the result.
        length: how many.
    """

    source: int
    start: int
    at: int
    length: int


class Layout(NamedTuple):
    """Where the elements of a tensor come from.

    Attributes:
        shape: shape of the tensor.
        sources: shape of each source as it is stored.
        transposed: whether the two axes of each source are exchanged.
        axis: the axis along which sources are joined or cut.
        runs: the parts of the sources that it is made of, in the order of the result; none for zeros.
    """

    shape: Shape
    sources: tuple[Shape, ...]
    transposed: bool = False
    axis: int = 0
    runs: tuple[Run, ...] = ()


def shape_of(recipe: Recipe, shape: Callable[[str], Shape]) -> Shape:
    """Return the shape of what a recipe makes; `shape` returns that of an entry.

    Raises:
        BindingError: the rule does not fit the shapes of its entries.
    """
    rule = recipe.rule
    if rule is None:
        return shape(recipe.sources[0])
    if rule.reshape:
        return _reshaped(rule.reshape, shape(recipe.sources[0]), recipe)
    return layout_of(recipe, shape).shape


def layout_of(recipe: Recipe, shape: Callable[[str], Shape]) -> Layout:
    """Return where the elements come from, for a recipe that moves them (`Recipe.is_moved`).

    Raises:
        BindingError: the rule does not fit the shapes of its entries.
    """
    rule = recipe.rule
    if rule is None or rule.zeros is not None:
        return Layout((() if rule is None else rule.zeros) or (), ())
    stored = tuple(shape(name) for name in recipe.sources)
    if rule.transpose and any(len(each) != _MATRIX for each in stored):
        raise _misfit(recipe, stored, "only a tensor of two axes can be transposed")
    seen = [each[::-1] if rule.transpose else each for each in stored]
    if rule.is_several and any(len(each) <= rule.axis for each in seen):
        raise _misfit(recipe, stored, f"it has no axis {rule.axis}")
    if len(rule.sources) > 1:
        return _join(recipe, rule, stored, seen)
    if len(rule.targets) > 1:
        return _cut(recipe, rule, stored, seen[0], shape)
    return Layout(seen[0], stored, rule.transpose, 0, (Run(0, 0, 0, seen[0][0]),))


def _join(recipe: Recipe, rule: Rule, stored: tuple[Shape, ...], seen: Sequence[Shape]) -> Layout:
    axis, groups = rule.axis, rule.groups
    if len({(each[:axis], each[axis + 1 :]) for each in seen}) > 1:
        raise _misfit(recipe, stored, f"they differ in more than axis {axis}, along which they are joined")
    lengths = [each[axis] for each in seen]
    if any(length % groups for length in lengths):
        raise _misfit(recipe, stored, f"axis {axis} cannot be split into {groups} groups")
    runs, at = [], 0
    for group in range(groups):
        for source, length in enumerate(lengths):
            runs.append(Run(source, group * length // groups, at, length // groups))
            at += length // groups
    shape = (*seen[0][:axis], sum(lengths), *seen[0][axis + 1 :])
    return Layout(shape, stored, rule.transpose, axis, tuple(runs))


def _cut(recipe: Recipe, rule: Rule, stored: tuple[Shape, ...], seen: Shape, shape: Callable[[str], Shape]) -> Layout:
    axis, groups = rule.axis, rule.groups
    sizes = _sizes(recipe, rule, stored, seen, shape)
    if any(size % groups for size in sizes):
        raise _misfit(recipe, stored, f"axis {axis} cannot be split into {groups} groups")
    mine, step = sizes[recipe.part], seen[axis] // groups
    first = sum(sizes[: recipe.part]) // groups
    own = mine // groups
    runs = tuple(Run(0, group * step + first, group * own, own) for group in range(groups))
    return Layout((*seen[:axis], mine, *seen[axis + 1 :]), stored, rule.transpose, axis, runs)


def _sizes(
    recipe: Recipe, rule: Rule, stored: tuple[Shape, ...], seen: Shape, shape: Callable[[str], Shape]
) -> list[int]:
    """Return the length of each part of a cut along the axis."""
    total, parts = seen[rule.axis], rule.sizes or (1,) * len(rule.targets)
    numbers = [size for size in parts if isinstance(size, int)]
    if numbers:
        if total % sum(numbers):
            raise _misfit(recipe, stored, f"axis {rule.axis} cannot be split as {' to '.join(map(str, numbers))}")
        return [total // sum(numbers) * size for size in numbers]
    matrix = seen if recipe.beside is None else shape(recipe.beside)
    if len(matrix) != _MATRIX:
        raise _misfit(recipe, stored, "how many columns it has is not known, since it is no matrix")
    columns = matrix[1 - rule.axis] if recipe.beside is None else matrix[1]
    rest = total - columns * parts.count(COLUMNS)
    others = len(parts) - parts.count(COLUMNS)
    if rest < 0 or (rest % others if others else rest):
        raise _misfit(recipe, stored, f"axis {rule.axis} cannot be split as {' to '.join(map(str, parts))}")
    return [columns if size == COLUMNS else rest // others for size in parts]


def _reshaped(text: str, shape: Shape, recipe: Recipe) -> Shape:
    """Return a shape as a rule changes it."""
    before, after = (side.split() for side in text.split(ARROW))
    dots: Shape = ()
    if "..." in before:
        at = before.index("...")
        behind = len(before) - at - 1
        dots = shape[at : len(shape) - behind]
        fits = len(shape) >= len(before) - 1
        seen = (*shape[:at], *shape[len(shape) - behind :]) if fits else ()
    else:
        fits, seen = True, shape
    wanted = tuple(int(each) for each in before if each != "...")
    if not fits or seen != wanted:
        raise _misfit(recipe, (shape,), f"the rule reshapes {text!r}")
    found: list[int] = []
    for each in after:
        found.extend(dots if each == "..." else [int(each)])
    if math.prod(found) != math.prod(shape):
        raise _misfit(recipe, (shape,), f"{text!r} changes the number of elements")
    return tuple(found)


def _misfit(recipe: Recipe, shapes: tuple[Shape, ...], reason: str) -> BindingError:
    told = " and ".join(f"{name!r} of shape {shape}" for name, shape in zip(recipe.sources, shapes, strict=False))
    return BindingError(
        f"the map cannot make it of {told}: {reason}", name=recipe.name, hint="change the rule in the map"
    )


# -- copying --------------------------------------------------------------------------------------------------


def copy_rows(layout: Layout, out: Array, start: int, read: Read) -> None:
    """Fill `out` with rows of the tensor, from row `start` on, through at most `PIECE` bytes of other memory.

    Args:
        layout: where the elements come from; it has runs.
        out: any array of those rows, in any memory order.
        start: the first row, an index along axis 0.
        read: reads elements of a source, of the type of `out`.
    """
    stop = start + out.shape[0]
    for run in layout.runs:
        box = [(0, length) for length in layout.shape]
        box[0] = (start, stop)
        place = [slice(None)] * out.ndim
        if layout.axis == 0:
            low, high = max(run.at, start), min(run.at + run.length, stop)
            if low >= high:
                continue
            box[0] = (run.start + low - run.at, run.start + high - run.at)
            place[0] = slice(low - start, high - start)
        else:
            box[layout.axis] = (run.start, run.start + run.length)
            place[layout.axis] = slice(run.at, run.at + run.length)
        view = out[tuple(place)]
        if layout.transposed:
            box, view = box[::-1], view.T
        _copy(view, layout.sources[run.source], box, 0, partial(read, run.source))


def _copy(
    view: Array, shape: Shape, box: Sequence[tuple[int, int]], first: int, read: Callable[[int, int], Array]
) -> None:
    """Copy a box of a tensor that is stored from element `first` on."""
    row = math.prod(shape[1:])
    (low, high), inner = box[0], tuple(slice(*edges) for edges in box[1:])
    most = max(PIECE // view.itemsize, 1)
    if row > most:
        for at in range(low, high):
            _copy(view[at - low], shape[1:], box[1:], first + at * row, read)
        return
    step = max(most // max(row, 1), 1)
    for at in range(low, high, step):
        end = min(at + step, high)
        rows = read(first + at * row, first + end * row).reshape((end - at, *shape[1:]))
        view[at - low : end - low] = rows[(slice(None), *inner)]


def blocks(layout: Layout, itemsize: int) -> Iterator[tuple[int, int]]:
    """Yield ranges of rows that are copied one after the other when a tensor is written to a file.

    Of a tensor that is transposed, each block reads all of the source; so there are at most sixteen of them.
    """
    rows = layout.shape[0]
    row = max(math.prod(layout.shape[1:]) * itemsize, 1)
    step = max(_BLOCK // row, 1)
    if layout.transposed:
        step = max(step, -(-rows // _TURNS))
    yield from ((at, min(at + step, rows)) for at in range(0, rows, step))


_BLOCK: Final = 16 << 20
_TURNS: Final = 16
