"""Names of a checkpoint in torch, inferred from names with a common prefix; torch is not needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: New last parts of names, by the last parts with the same prefix. The first row that fits is used.
_GROUPS: Final[tuple[tuple[frozenset[str], dict[str, str]], ...]] = (
    (
        frozenset({"moving_mean", "moving_variance"}),
        {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"},
    ),
    (frozenset({"gamma", "beta"}), {"gamma": "weight", "beta": "bias"}),
    (frozenset({"embedding_table"}), {"embedding_table": "weight"}),
)
#: Names that have a meaning only in a group; alone they are ambiguous.
_OPEN: Final = frozenset({"gamma", "beta", "moving_mean", "moving_variance"})


def guess_torch_names(names: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """Map names of a checkpoint to torch's, inferred from names with a common prefix, without a module.

    Returns:
        A map of old names to new names, and the ambiguous names, which only a module can tell.
    """
    groups: dict[str, set[str]] = {}
    every = list(names)
    for name in every:
        prefix, _, last = name.rpartition(".")
        groups.setdefault(prefix, set()).add(last)
    found: dict[str, str] = {}
    unclear: list[str] = []
    for name in every:
        prefix, dot, last = name.rpartition(".")
        rule = next((rule for needed, rule in _GROUPS if needed <= groups[prefix]), {})
        found[name] = prefix + dot + rule.get(last, last)
        if (last in _OPEN and last not in rule) or _depends(prefix, last, groups):
            unclear.append(name)
    return found, unclear


def _depends(prefix: str, last: str, groups: Mapping[str, set[str]]) -> bool:
    """Tell whether a name changes in torch only if the layer is what it seems to be, which is not certain."""
    parent, dot, own = prefix.rpartition(".")
    if own == "bn2d":
        # MindSpore's BatchNorm3d holds its parameters in a BatchNorm2d of this name.
        return "moving_mean" in groups[prefix]
    if own in {"dense1", "dense2"}:
        # A layer of a Transformer; torch calls the two linear1 and linear2.
        return f"{parent}{dot}self_attn" in groups
    # The slopes of a PReLU.
    return last == "w" and len(groups[prefix]) == 1
