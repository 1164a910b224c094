"""What does not fit between an index and its files, although each of them may be valid on its own."""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING, Final

from ckptload.messages import counted, listed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ckptload.formats.safetensors.weight_map import WeightMap

#: The name of one file of a set, such as ``model-00001-of-00003.safetensors``.
_OF_A_SET: Final = re.compile(r"(.*)-(\d{5})-of-(\d{5})(\.[^/]*)", re.ASCII | re.DOTALL)
#: Files of sets that are looked for; all of any real checkpoint.
_MOST: Final = 100_000


def misfits(
    index: WeightMap, held: Mapping[str, Mapping[str, int] | None], exists: Callable[[str], bool]
) -> Iterator[str]:
    """Yield in words what does not fit. Missing tensors are not listed: they are errors of their own.

    Args:
        index: what the index says.
        held: for each file that it names, the tensors in the file and their sizes in bytes; None for a file that
            cannot be read.
        exists: tells whether there is a file of a name.
    """
    places: dict[str, list[str]] = {}
    for file, sizes in held.items():
        for name in sizes or ():
            places.setdefault(name, []).append(file)
    unlisted = [name for name in places if name not in index.files]
    if unlisted:
        files = listed(list(dict.fromkeys(file for name in unlisted for file in places[name])), 3)
        yield (
            f"the index does not list {counted(len(unlisted), 'tensor')} in {files}, so that nothing loads "
            f"{'it' if len(unlisted) == 1 else 'them'}: {listed(unlisted)}"
        )
    twice = [name for name, files in places.items() if len(files) > 1]
    if twice:
        yield (
            f"{counted(len(twice), 'tensor')} in more than one file, such as {listed(places[twice[0]], 3)}: "
            f"{listed(twice)}"
        )
    yield from _incomplete_sets(index, exists)
    yield from _wrong_total(index, held, len(unlisted))


def _incomplete_sets(index: WeightMap, exists: Callable[[str], bool]) -> Iterator[str]:
    # An index may name many sets, each of which claims to have many files.
    room = _MOST
    sets: dict[tuple[str, str, str], set[int]] = {}
    for file in dict.fromkeys(index.files.values()):
        part = _OF_A_SET.fullmatch(file)
        if part is not None:
            sets.setdefault((part[1], part[3], part[4]), set()).add(int(part[2]))
    for (stem, total, ending), numbers in sets.items():
        first = 0 if 0 in numbers else 1
        others = (number for number in range(first, int(total) + first) if number not in numbers)
        names = [f"{stem}-{number:05}-of-{total}{ending}" for number in islice(others, room)]
        room -= len(names)
        if names:
            there = sum(map(exists, names))
            yield (
                f"the index names {len(numbers)} of the {counted(int(total), 'file')} of a set, and not "
                f"{listed(names, 3)}" + (f" ({there} of them in its folder)" if there else "")
            )


def _wrong_total(index: WeightMap, held: Mapping[str, Mapping[str, int] | None], unlisted: int) -> Iterator[str]:
    """Compare ``total_size``, if all tensors are there; tensors that are not listed may count or not."""
    want = index.total_size
    found = {file: sizes for file, sizes in held.items() if sizes is not None}
    if want is None or any(name not in found.get(file, {}) for name, file in index.files.items()):
        return
    have = sum(found[file][name] for name, file in index.files.items())
    everything = sum(sum(sizes.values()) for sizes in found.values())
    if want != have and not (unlisted and want == everything):
        yield f"the index says that its tensors have {want} bytes (total_size), they have {have}"
