"""What is read of the files of many ranks, counted on layouts of real size: nothing is on the disk here.

Planning and assembling are those of the library. Its members count what is asked of them, and read nothing.
"""

from __future__ import annotations

import re
import tracemalloc
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import pytest

from ckptload import dtypes
from ckptload.formats.entry import TENSOR, Entry
from ckptload.ranks.assembling import PIECE, Assembled, Slices
from ckptload.ranks.boxes import full
from ckptload.ranks.copies import Copies
from ckptload.ranks.layout import SliceLayout
from ckptload.ranks.placing import Cut, Placing
from ckptload.ranks.strategy import Strategy
from places import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ckptload.dtypes import DType

PAGE: Final = ROOT / "docs" / "ranks.md"

#: Name, shape and dtype of each tensor.
Net = dict[str, tuple[tuple[int, ...], "DType"]]


class Counting:
    """A rank's file that counts what is read of it."""

    def __init__(self, number: int, strategy: Strategy, net: Net) -> None:
        self.number, self.label = number, f"rank_{number}"
        stage = strategy.stage_of(number)
        self.names = {name: name for name in strategy.names(stage)}
        self.bytes = self.reads = 0
        self._entries: dict[str, Entry] = {}
        local = number - strategy.firsts[stage]
        at = 0
        for name, layout in strategy.layouts(stage).items():
            shape, dtype = net[name]
            box = layout.fitted(shape, whole=True).box(local, shape)
            size = tuple(part.stop - part.start for part in box)
            nbytes = dtype.itemsize
            for length in size:
                nbytes *= length
            self._entries[name] = Entry(name, TENSOR, dtype, size, nbytes, ((at, at + nbytes),), at)
            at += nbytes

    def entry(self, name: str) -> Entry:
        return self._entries[name]

    def read_many(self, name: str, requests: Sequence[tuple[int, memoryview]]) -> None:
        size = self._entries[name].nbytes
        for start, out in requests:
            assert start >= 0
            assert start + len(out) <= size
            self.bytes += len(out)
        self.reads += len(requests)

    def read_stored(self, name: str, start: int, out: memoryview) -> None:
        self.read_many(name, [(start, out)])


class Simulated:
    """A set of ranks, and what reading from it costs."""

    def __init__(self, strategy: Strategy, net: Net) -> None:
        self.net = net
        self.members: list[Any] = [Counting(rank, strategy, net) for rank in range(strategy.ranks)]
        self._placing = Placing(self.members, strategy)
        self._slices: dict[int, Slices] = {}
        self._scratch = memoryview(bytearray(PIECE))

    def read(self, wanted: Iterable[tuple[str, Any]]) -> SimpleNamespace:
        """Read parts of tensors, given by boxes, and return the totals; None stands for all of a tensor."""
        for member in self.members:
            member.bytes = member.reads = 0
        copies = Copies(None, cut=True)
        nbytes = 0
        tracemalloc.start()
        try:
            for name, box in wanted:
                place = self._placing.place(name, [member for member in self.members if name in member.names])
                assert isinstance(place, Cut)
                assert place.shape == self.net[name][0]
                assert not place.missing
                slices = self._slices.setdefault(id(place.boxes), Slices(place.boxes))
                part = full(place.shape) if box is None else tuple((axis.start, axis.stop) for axis in box)
                region = Assembled(name, place.dtype.itemsize, part, slices, copies)
                tracemalloc.reset_peak()
                for at in range(0, region.nbytes, PIECE):
                    region.read(at, self._scratch[: min(PIECE, region.nbytes - at)], {})
                nbytes += region.nbytes
            scratch = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        read = [member for member in self.members if member.reads]
        return SimpleNamespace(
            wanted=nbytes,
            bytes=sum(member.bytes for member in read),
            files=len(read),
            reads=sum(member.reads for member in read),
            scratch=scratch,
        )

    def rank_of(self, target: Strategy, rank: int) -> SimpleNamespace:
        """Read what a rank of a target holds."""
        names = target.names(target.stage_of(rank))
        return self.read((name, target.box(name, rank, self.net[name][0])) for name in names)


#: The matrices of a layer: rows and columns in units of the width, and the axis that tensor parallelism splits.
MATRICES: Final = {"attention.qkv": (3, 1, 0), "attention.out": (1, 1, 1), "up": (4, 1, 0), "down": (1, 4, 1)}
#: Optimizer state of each parameter.
STATES: Final = ("", "adam_m.", "adam_v.")


def net_of(layers: int, width: int, states: Sequence[str] = STATES) -> Net:
    """Return a transformer without its vocabulary: weights in bfloat16, optimizer state in float32."""
    found: Net = {}
    for state in states:
        dtype = dtypes.float32 if state else dtypes.bfloat16
        for layer in range(layers):
            for name, (rows, columns, _) in MATRICES.items():
                found[f"{state}layers.{layer}.{name}.weight"] = (rows * width, columns * width), dtype
            found[f"{state}layers.{layer}.norm.gamma"] = (width,), dtype
    return found


def strategy_of(net: Net, layers: int, dp: int, tp: int, pp: int, *, shard: bool = True) -> Strategy:
    """Cut a net over dp x tp x pp devices, with an optimizer shard over the replicas of everything or without."""
    stages: list[dict[str, SliceLayout]] = [{} for _ in range(pp)]
    for name in net:
        layer = int(re.findall(r"layers\.(\d+)\.", name)[0])
        axis = next((split for part, (_, _, split) in MATRICES.items() if f".{part}." in name), None)
        tensor_map = {None: [-1], 0: [0, -1], 1: [-1, 0]}[axis]
        # A norm is small, and stays whole on every device of its stage.
        stages[layer * pp // layers][name] = SliceLayout(
            [dp, tp], tensor_map, shard=-1 if shard and axis is not None else 0
        )
    return Strategy(stages)


def test_each_rank_of_a_target_reads_little_more_than_it_holds() -> None:
    layers, width = 4, 64
    net = net_of(layers, width)
    source = Simulated(strategy_of(net, layers, 2, 2, 2), net)
    target = strategy_of(net, layers, 1, 4, 2)
    found = [source.rank_of(target, rank) for rank in range(target.ranks)]
    for one in found:
        # Two copies of each norm are compared, by all of their few bytes.
        compared = 2 * sum(width * (4 if state else 2) for state in STATES) * layers // 2
        assert one.wanted + compared <= one.bytes <= 2 * one.wanted + compared
        assert one.files <= 4, "the ranks of its own stage"


def test_whole_tensors_are_read_once() -> None:
    layers, width = 2, 96
    net = net_of(layers, width, ("",))
    source = Simulated(strategy_of(net, layers, 4, 2, 1), net)
    found = source.read((name, None) for name in net)
    norms = layers * width * 2
    assert (found.wanted, found.bytes) == (sum(_nbytes(net, name) for name in net), found.wanted + 2 * norms)
    assert found.files == 8
    assert found.scratch < PIECE


def test_planning_is_the_same_work_for_names_that_lie_alike() -> None:
    layers = 6
    net = net_of(layers, 32)
    source = Simulated(strategy_of(net, layers, 2, 2, 1), net)
    source.read((name, None) for name in net)
    # Each matrix and the norm, in bfloat16 and float32.
    assert len(source._slices) == (len(MATRICES) + 1) * 2


def _nbytes(net: Net, name: str) -> int:
    shape, dtype = net[name]
    found = dtype.itemsize
    for length in shape:
        found *= length
    return found


# -- a trillion parameters ------------------------------------------------------------------------------------

#: 12 * WIDTH ** 2 parameters in each layer.
LAYERS: Final = 128
WIDTH: Final = 25600
#: Sizes of data, tensor and pipeline parallelism.
SOURCE: Final = (8, 8, 16)
TARGET: Final = (4, 16, 16)


@pytest.mark.slow
@pytest.mark.once
def test_the_page_says_what_a_trillion_parameters_cost() -> None:
    net = net_of(LAYERS, WIDTH)
    weights = {name: told for name, told in net.items() if name.startswith("layers.")}
    source = Simulated(strategy_of(net, LAYERS, *SOURCE), net)
    layer = source.read((name, None) for name in weights if name.startswith("layers.0."))
    # The eight layers of a stage are alike, and so are the layers of all stages but for the files they are in.
    of_stage = LAYERS // SOURCE[2]
    target = strategy_of(net, LAYERS, *TARGET)
    rank = source.read((name, target.box(name, 5, net[name][0])) for name in target.names(0) if "layers.0." in name)
    inference = strategy_of(weights, LAYERS, 1, 16, 1, shard=False)
    part = source.read((name, inference.box(name, 5, net[name][0])) for name in weights if "layers.0." in name)
    assert max(layer.scratch, rank.scratch, part.scratch) < 1e6
    said = PAGE.read_text("utf-8")
    for task, one, times, files in (
        ("a shard with the weights of one layer", layer, 1, layer.files),
        ("a rank of 1 024 with dp 4, tp 16, pp 16, with its optimizer state", rank, of_stage, rank.files),
        ("a rank of 16 for inference with tp 16, weights only", part, LAYERS, part.files * SOURCE[2]),
    ):
        row = (
            f"| {task} | {one.wanted * times / 1e9:.2f} GB | {one.bytes * times / 1e9:.2f} GB | {files} "
            f"| {one.reads * times} |"
        )
        assert row in said, row
