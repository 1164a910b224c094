"""Which of many names stand, up to a dot, at the beginning or the end of another name.

Names come from files: there may be a million of them, and one may have thousands of dots. So no part of a name is
looked at twice, and none that none of the many has; the work grows as the lengths of all names together do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping


_NOWHERE: Final = -1


class Beginnings:
    """Many names, which are looked for at the beginning of another."""

    def __init__(self, names: Iterable[str]) -> None:
        self._tree = _Tree((name, name.split(".")) for name in names)

    def every(self, name: str) -> Iterator[str]:
        """Yield all of the names that this one is, or begins with before a dot; the shortest first."""
        return self._tree.along(name.split(".", self._tree.depth))


def renamer(name_map: Mapping[str, Any]) -> Callable[[str], Any]:
    """Return a function that replaces the longest beginning of a name, up to a dot, that is a key of a dictionary.

    What it returns is the value of the key if that is not a str, and the name itself if no key fits.
    """
    beginnings = Beginnings(old for old in name_map if isinstance(old, str) and old)

    def rename(name: str) -> Any:
        *_, old = ("", *beginnings.every(name))
        if not old:
            return name
        new = name_map[old]
        if not isinstance(new, str):
            return new
        return new + name[len(old) :] if new else name[len(old) + 1 :]

    return rename


class Ends:
    """Many names, which are looked for at the end of another."""

    def __init__(self, names: Iterable[str]) -> None:
        self._tree = _Tree((name, name.split(".")[::-1]) for name in names)

    def every(self, name: str) -> Iterator[str]:
        """Yield all of the names that this one is, or ends with behind a dot; the shortest first."""
        return self._tree.along(name.rsplit(".", self._tree.depth)[::-1])


class _Tree:
    """Names by their parts: each node is a number, found by the number of the node above it and a part.

    Attributes:
        depth: parts of the name that has the most.
    """

    def __init__(self, names: Iterable[tuple[str, list[str]]]) -> None:
        self.depth = 0
        self._nodes: dict[tuple[int, str], int] = {}
        self._names: dict[int, str] = {}
        for name, parts in names:
            self.depth = max(self.depth, len(parts))
            at = 0
            for part in parts:
                at = self._nodes.setdefault((at, part), len(self._nodes) + 1)
            self._names[at] = name

    def along(self, parts: Iterable[str]) -> Iterator[str]:
        """Yield the names that are met on the way down along the parts of another."""
        at = 0
        for part in parts:
            at = self._nodes.get((at, part), _NOWHERE)
            if at == _NOWHERE:
                return
            if at in self._names:
                yield self._names[at]
