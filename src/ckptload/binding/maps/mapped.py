"""A supply as a map sees it: renamed entries, and tensors that are made of several, or of parts of one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ckptload.binding.maps.layouts import copy_rows, layout_of, shape_of
from ckptload.binding.supplies import Goals, Spec, run
from ckptload.dtypes import float32
from ckptload.errors import BindingError, Hint
from ckptload.messages import listed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from ckptload.binding.maps.recipes import Recipe
    from ckptload.binding.supplies import Job, Supply, Transfer
    from ckptload.dtypes import Array, DType


class MappedSupply:
    """The tensors that recipes make of another supply; nothing is read before it is asked for.

    Args:
        supply: the entries.
        recipes: how each tensor is made of them; no two have the same name.

    Raises:
        BindingError: tensors would be made of parts of entries, which other ranks have.
    """

    has_parts = True

    def __init__(self, supply: Supply, recipes: Iterable[Recipe]) -> None:
        self._supply = supply
        self._recipes = {recipe.name: recipe for recipe in recipes}
        moved = next((recipe for recipe in self._recipes.values() if recipe.is_moved), None)
        if moved is not None and not supply.has_parts:
            raise BindingError(
                "the map joins, cuts or transposes entries, and other ranks may have them",
                name=moved.name,
                hint="open the files of all ranks with open_distributed() instead",
            )
        self.keys: Collection[str] = self._recipes
        self.label = supply.label

    def originals(self, key: str) -> tuple[str, ...]:
        """Return the names of the entries that it is made of; none for zeros."""
        return tuple(name for source in self._recipes[key].sources for name in self._supply.originals(source))

    def is_tensor(self, key: str) -> bool:
        """Tell whether it can fill a parameter."""
        return all(self._supply.is_tensor(name) for name in self._recipes[key].sources)

    def shape(self, key: str) -> tuple[int, ...]:
        """Return its shape.

        Raises:
            BindingError: the rule does not fit the shapes of its entries.
        """
        return shape_of(self._recipes[key], self._supply.shape)

    def spec(self, key: str) -> Spec:
        """Return its dtype and shape, and the place of its first entry.

        Raises:
            BindingError: entries of several dtypes would be joined.
        """
        recipe = self._recipes[key]
        if recipe.rule is None:
            return self._supply.spec(recipe.sources[0])
        specs = [self._supply.spec(name) for name in recipe.sources or ([recipe.beside] if recipe.beside else [])]
        return Spec(
            common_dtype(recipe, [spec.dtype for spec in specs]), self.shape(key), specs[0].place if specs else 0
        )

    def authenticate(self) -> None:
        """Raise DecryptionError if any encrypted data does not match its authentication tag."""
        self._supply.authenticate()

    def array(self, key: str) -> Array:
        """Return its elements; the array may be the supply's own memory."""
        recipe = self._recipes[key]
        if not recipe.is_moved:
            array = self._supply.array(recipe.sources[0])
            return array if recipe.rule is None else array.reshape(self.shape(key))
        spec = self.spec(key)
        made = np.zeros(spec.shape, spec.dtype.numpy)
        self._make(recipe, spec.dtype, made)
        return made

    def part(self, key: str, first: int, last: int) -> Array:
        """Return some of its elements, in C order."""
        recipe = self._recipes[key]
        if recipe.is_moved:
            return self.array(key).reshape(-1)[first:last]
        return self._supply.part(recipe.sources[0], first, last)

    def view(self, key: str) -> Array | None:
        """Return its elements if they are in memory of the caller."""
        recipe = self._recipes[key]
        return None if recipe.is_moved else self._supply.view(recipe.sources[0])

    def transfer(self, transfers: Sequence[Transfer]) -> None:
        """Copy tensors into the net; those that are made of others go there piece by piece."""
        whole = [each for each in transfers if not self._recipes[each.key].is_moved]
        goals = Goals(each.memory for each in transfers)
        # A dictionary may hold parameters of the net itself, which must be read before they are overwritten.
        kept: list[tuple[Transfer, Array]] = []
        others: list[Transfer] = []
        for each in transfers:
            if not self._recipes[each.key].is_moved:
                continue
            if any(map(goals.meets, self._in_memory(each))):
                kept.append((each, self.array(each.key)))
            else:
                others.append(each)
        self._supply.transfer([each._replace(key=self._recipes[each.key].sources[0]) for each in whole])
        for each, array in kept:
            each.convert(array, each.memory.reshape(array.shape))
        run([self._making(each) for each in others], sum(each.memory.nbytes for each in others))

    def _in_memory(self, transfer: Transfer) -> list[Array]:
        views = (self._supply.view(name) for name in self._recipes[transfer.key].sources)
        return [view for view in views if view is not None]

    def _making(self, transfer: Transfer) -> Job:
        recipe = self._recipes[transfer.key]
        shape = shape_of(recipe, self._supply.shape)
        return lambda: self._make(recipe, transfer.spec.dtype, transfer.memory.reshape(shape), transfer)

    def _make(self, recipe: Recipe, dtype: DType, out: Array, transfer: Transfer | None = None) -> None:
        """Make a tensor in `out`, converted as a transfer wants."""
        layout = layout_of(recipe, self._supply.shape)
        if not layout.runs:
            out[...] = 0
            return

        def read(source: int, first: int, last: int) -> Array:
            array = self._supply.part(recipe.sources[source], first, last)
            if transfer is None or transfer.dtype is dtype:
                return array
            converted = np.empty(array.shape, transfer.dtype.numpy)
            transfer.convert(array, converted)
            return converted

        copy_rows(layout, out, 0, read)


def common_dtype(recipe: Recipe, dtypes: Sequence[DType]) -> DType:
    """Return the dtype of what a recipe makes of entries with these dtypes; that of zeros is float32 if it has none.

    Raises:
        BindingError: there are several.
    """
    if len(set(dtypes)) > 1:
        raise BindingError(
            f"{listed(recipe.sources)} are joined, and their dtypes are {', '.join(map(str, dtypes))}",
            name=recipe.name,
            hint=Hint("convert them to one dtype first"),
        )
    return dtypes[0] if dtypes else float32
