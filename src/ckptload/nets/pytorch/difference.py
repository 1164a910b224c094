"""What is said about a kind of layer that may compute something else than MindSpore's; torch is not needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from ckptload.messages import counted, listed

if TYPE_CHECKING:
    from collections.abc import Mapping

#: How many paths a line lists.
_LISTED: Final = 2


class LayerDifference(NamedTuple):
    """Layers of one kind in a torch module that may compute something else than MindSpore's with the same weights.

    Attributes:
        kind: the layer in ``torch.nn``, such as ``MaxPool2d``.
        reason: what may differ, and when, in words.
        edits: the edit that makes them equal then: a line of code on a variable ``layer``, with ``nn`` for
            ``torch.nn``; and the paths of the layers that it is for, in the module's order.
    """

    kind: str
    reason: str
    edits: Mapping[str, tuple[str, ...]]

    @property
    def paths(self) -> tuple[str, ...]:
        """Return the paths of all these layers."""
        return tuple(path for paths in self.edits.values() for path in paths)

    def __str__(self) -> str:
        paths = self.paths
        edit = next(iter(self.edits))
        others = len(self.edits) - 1
        more = "" if not others else f" (and {counted(others, 'other edit')}, by the settings of the layer)"
        return f"{len(paths)} {self.kind}, {listed(paths, _LISTED)}: {self.reason}; if so: {edit}{more}"
