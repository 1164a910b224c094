"""A tree of modules from dotted names, with subtotals."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from ckptload.cli import globs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ckptload.cli.listing import Row

#: Deeper levels are merged into one: a hostile name can have thousands of dots.
_DEEPEST: Final = 32


@dataclass(slots=True)
class Node:
    """A module or an entry; a name can be both."""

    label: str
    row: Row | None = None
    children: dict[str, Node] = field(default_factory=dict)
    nbytes: int = 0
    entries: int = 0


def grow(rows: Iterable[Row]) -> Node:
    """Build a tree from rows by the dots in their names; a module with a single child module is merged with it."""
    root = Node("")
    for row in rows:
        node = root
        for part in row.name.split(".", _DEEPEST):
            node.nbytes += row.nbytes
            node.entries += 1
            node = node.children.setdefault(part, Node(part))
        node.nbytes += row.nbytes
        node.entries += 1
        node.row = row
    _join(root)
    return root


def _join(node: Node) -> None:
    for key, child in node.children.items():
        merged = child
        while merged.row is None and len(merged.children) == 1:
            (only,) = merged.children.values()
            if only.row is not None and not only.children:
                break
            only.label = f"{merged.label}.{only.label}"
            merged = only
        node.children[key] = merged
        _join(merged)


def order(node: Node, keys: Sequence[str]) -> None:
    """Sort every level by size or name; dtypes do not order modules."""
    orders: dict[str, Callable[[Node], Any]] = {
        "size": lambda child: -child.nbytes,
        "name": lambda child: globs.natural(child.label),
    }
    children = list(node.children.values())
    for key in reversed([key for key in keys if key in orders]):
        children.sort(key=orders[key])
    node.children = {child.label: child for child in children}
    for child in children:
        order(child, keys)


def lines(node: Node, depth: int | None, *, fancy: bool) -> Iterator[tuple[str, Node]]:
    """Yield the nodes below one in order, each with the lines drawn before it.

    Args:
        node: the root.
        depth: levels to show, or None for all.
        fancy: whether box-drawing characters can be shown.
    """
    branch, last, down, blank = ("├─ ", "└─ ", "│  ", "   ") if fancy else ("|- ", "`- ", "|  ", "   ")

    def below(parent: Node, lead: str, level: int) -> Iterator[tuple[str, Node]]:
        children = list(parent.children.values())
        for child in children:
            at_end = child is children[-1]
            first = parent is node
            yield ("" if first else lead + (last if at_end else branch)), child
            if depth is None or level < depth:
                yield from below(child, "" if first else lead + (blank if at_end else down), level + 1)

    yield from below(node, "", 1)


def as_data(node: Node) -> dict[str, Any]:
    """Return a tree as plain data for JSON."""
    data: dict[str, Any] = {"name": node.label, "entries": node.entries, "bytes": node.nbytes}
    if node.children:
        data["children"] = [as_data(child) for child in node.children.values()]
    return data
