"""Real networks as binding targets; a framework is imported only where the caller's net is one of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ckptload.adapters.mindspore_cell import MindSporeTarget
    from ckptload.adapters.torch_module import TorchTarget

__all__ = ["foreign_target"]


def foreign_target(net: object) -> TorchTarget | MindSporeTarget | None:
    """Return a ``torch.nn.Module`` or a ``mindspore.nn.Cell`` as a target, and None for anything else.

    They are told by the names of their classes, so that neither framework is imported to ask.
    """
    known = {(cls.__module__.partition(".")[0], cls.__name__) for cls in type(net).__mro__}
    if ("torch", "Module") in known:
        from ckptload.adapters.torch_module import TorchTarget  # noqa: PLC0415 -- imports torch

        return TorchTarget(net)
    if ("mindspore", "Cell") in known:
        from ckptload.adapters.mindspore_cell import MindSporeTarget  # noqa: PLC0415 -- imports MindSpore

        return MindSporeTarget(net)
    return None
