"""Small nets as names with shapes, on both sides, with the map that is true; and what can be done to a checkpoint."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

Shape = tuple[int, ...]
_NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}


class Named(NamedTuple):
    """A net on both sides.

    Attributes:
        checkpoint: names and shapes in MindSpore.
        net: names and shapes in PyTorch.
        truth: names in MindSpore and in PyTorch.
    """

    checkpoint: dict[str, Shape]
    net: dict[str, Shape]
    truth: dict[str, str]


class _Made:
    def __init__(self) -> None:
        self.checkpoint: dict[str, Shape] = {}
        self.net: dict[str, Shape] = {}
        self.truth: dict[str, str] = {}

    def add(self, ours: str, theirs: str, *shape: int, bias: bool = True) -> None:
        """Add a layer with weights."""
        for role, own in (("weight", shape), ("bias", shape[:1]))[: 1 + bias]:
            self._add(f"{ours}.{role}", f"{theirs}.{role}", own)

    def norm(self, ours: str, theirs: str, size: int, *, has_statistics: bool = True) -> None:
        """Add a norm."""
        for role in list(_NORM)[: 4 if has_statistics else 2]:
            self._add(f"{ours}.{_NORM[role]}", f"{theirs}.{role}", (size,))

    def _add(self, ours: str, theirs: str, shape: Shape) -> None:
        self.checkpoint[ours] = self.net[theirs] = shape
        self.truth[ours] = theirs

    def named(self) -> Named:
        """Return the net."""
        return Named(self.checkpoint, self.net, self.truth)


def resnet(blocks: int = 2, width: int = 8) -> Named:
    """Return a ResNet of three stages, the names of which nearly agree."""
    made = _Made()
    made.add("conv1", "conv1", width, 3, 7, 7, bias=False)
    made.norm("bn1", "bn1", width)
    before = width
    for stage in (1, 2, 3):
        size = width << stage - 1
        for block in range(blocks):
            here = f"layer{stage}.{block}"
            for number in (1, 2):
                made.add(f"{here}.conv{number}", f"{here}.conv{number}", size, before, 3, 3, bias=False)
                made.norm(f"{here}.bn{number}", f"{here}.bn{number}", size)
                before = size
            if stage > 1 and not block:
                made.add(f"{here}.down_sample.0", f"{here}.downsample.0", size, size // 2, 1, 1, bias=False)
                made.norm(f"{here}.down_sample.1", f"{here}.downsample.1", size)
    made.add("classifier", "fc", 5, before)
    return made.named()


def transformer(depth: int = 4, size: int = 12) -> Named:
    """Return a transformer with other names for everything."""
    made = _Made()
    made.add("patch_embed.proj", "conv_proj", size, 3, 4, 4)
    for number in range(depth):
        ours, theirs = f"blocks.{number}", f"encoder.layers.layer_{number}"
        made.norm(f"{ours}.norm1", f"{theirs}.ln_1", size, has_statistics=False)
        made.add(f"{ours}.attn.qkv", f"{theirs}.attention.qkv_proj", 3 * size, size)
        made.add(f"{ours}.attn.proj", f"{theirs}.attention.out_proj", size, size)
        made.norm(f"{ours}.norm2", f"{theirs}.ln_2", size, has_statistics=False)
        made.add(f"{ours}.mlp.fc1", f"{theirs}.mlp.0", 4 * size, size)
        made.add(f"{ours}.mlp.fc2", f"{theirs}.mlp.3", size, 4 * size)
    made.norm("norm", "encoder.ln", size, has_statistics=False)
    made.add("head", "heads.head", 5, size)
    return made.named()


def densenet(layers: int = 3, growth: int = 4) -> Named:
    """Return a DenseNet, whose numbers differ by one."""
    made = _Made()
    made.add("features.conv0", "features.conv0", 2 * growth, 3, 7, 7, bias=False)
    size = 2 * growth
    for block in (1, 2):
        for layer in range(layers):
            ours = f"features.denseblock{block}.cell_list.{layer}"
            theirs = f"features.denseblock{block}.denselayer{layer + 1}"
            made.norm(f"{ours}.norm1", f"{theirs}.norm1", size)
            made.add(f"{ours}.conv1", f"{theirs}.conv1", 4 * growth, size, 1, 1, bias=False)
            made.norm(f"{ours}.norm2", f"{theirs}.norm2", 4 * growth)
            made.add(f"{ours}.conv2", f"{theirs}.conv2", growth, 4 * growth, 3, 3, bias=False)
            size += growth
    made.norm("features.norm5", "features.norm5", size)
    made.add("classifier", "classifier", 5, size)
    return made.named()


NETS: dict[str, Callable[[], Named]] = {"resnet": resnet, "transformer": transformer, "densenet": densenet}

# -- what is done to a checkpoint; each returns it, and its names by the old ones, or None if no map is true any more --

Disturbed = tuple[dict[str, Shape], dict[str, str] | None]


def _layer(name: str) -> tuple[str, str]:
    layer, _, own = name.rpartition(".")
    return layer, own


def _renamed(checkpoint: dict[str, Shape], rename: Callable[[str], str]) -> Disturbed:
    names = {name: f"{rename(_layer(name)[0])}.{_layer(name)[1]}" for name in checkpoint}
    return {names[name]: shape for name, shape in checkpoint.items()}, names


def shuffled(checkpoint: dict[str, Shape], rng: Random) -> Disturbed:
    """Put the layers into another order."""
    layers = list(dict.fromkeys(_layer(name)[0] for name in checkpoint))
    rng.shuffle(layers)
    found = {name: checkpoint[name] for layer in layers for name in checkpoint if _layer(name)[0] == layer}
    return found, {name: name for name in checkpoint}


def meaningless(checkpoint: dict[str, Shape], rng: Random) -> Disturbed:
    """Replace each word by one that means nothing."""
    words: dict[str, str] = {}

    def word(found: re.Match[str]) -> str:
        return words.setdefault(found[0], "".join(rng.choices("bcdfghjkmqstvwxz", k=6)))

    return _renamed(checkpoint, lambda layer: re.sub("[a-z]+", word, layer))


def shifted(checkpoint: dict[str, Shape], rng: Random) -> Disturbed:
    """Add something to all numbers of a place."""
    more: dict[str, int] = {}

    def number(found: re.Match[str]) -> str:
        place = re.sub("[0-9]+", "#", found.string[: found.start()])
        return str(int(found[0]) + more.setdefault(place, rng.randrange(3)))

    return _renamed(checkpoint, lambda layer: re.sub("[0-9]+", number, layer))


def permuted(checkpoint: dict[str, Shape], rng: Random) -> Disturbed:
    """Exchange the numbers of a place for others."""
    others: dict[str, list[int]] = {}

    def number(found: re.Match[str]) -> str:
        place = re.sub("[0-9]+", "#", found.string[: found.start()])
        return str(others.setdefault(place, rng.sample(range(40), 20))[int(found[0])])

    return _renamed(checkpoint, lambda layer: re.sub("[0-9]+", number, layer))


def swapped(checkpoint: dict[str, Shape], rng: Random) -> Disturbed:
    """Exchange the shapes of two layers of equal roles, or of two tensors, so that no map is true."""
    layers: dict[str, dict[str, str]] = {}
    for name in checkpoint:
        layers.setdefault(_layer(name)[0], {})[_layer(name)[1]] = name
    found = dict(checkpoint)
    while found == checkpoint:
        one, other = rng.sample(list(layers.values()), 2)
        if one.keys() == other.keys():
            for role in one:
                found[one[role]], found[other[role]] = checkpoint[other[role]], checkpoint[one[role]]
    return found, None


DISTURBANCES: dict[str, list[Callable[[dict[str, Shape], Random], Disturbed]]] = {
    "shuffled": [shuffled],
    "meaningless": [meaningless],
    "shifted": [shifted],
    "permuted": [permuted],
    "swapped": [swapped],
    "meaningless, shuffled": [meaningless, shuffled],
    "meaningless, shifted": [meaningless, shifted],
    "meaningless, permuted": [meaningless, permuted],
    "shifted, shuffled": [shifted, shuffled],
    "permuted, shuffled": [permuted, shuffled],
    "meaningless, permuted, shuffled": [meaningless, permuted, shuffled],
}


def disturbed(named: Named, kind: str, rng: Random) -> tuple[dict[str, Shape], dict[str, str] | None]:
    """Return a disturbed checkpoint, and the map that is true of it; None if none is."""
    checkpoint, names = dict(named.checkpoint), {name: name for name in named.checkpoint}
    for step in DISTURBANCES[kind]:
        checkpoint, new = step(checkpoint, rng)
        if new is None:
            return checkpoint, None
        names = {old: new[name] for old, name in names.items()}
    return checkpoint, {names[old]: theirs for old, theirs in named.truth.items()}
