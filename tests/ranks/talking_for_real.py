"""What each of three processes does: ``talking_for_real.py mpi|gloo|mindspore FOLDER [RANK]``.

Ranks 0 and 1 are the first stage of a pipeline and hold the same; rank 2 is the second and has nobody to share with.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ckptload
from ckptload import Parameter, RankError, SliceLayout, Strategy, Tensor, load_checkpoint, save_checkpoint
from ckptload.ranks import communicators
from ckptload.ranks.communicators import Adapter, Communicator

SIZE = 3


def set_up(kind: str, folder: Path, rank: int) -> Any:
    """Set up what a caller would set up, and return what a caller would pass."""
    if kind == "mpi":
        from mpi4py import MPI

        return MPI.COMM_WORLD
    if kind == "gloo":
        import torch.distributed

        place = f"file://{folder}/store"
        torch.distributed.init_process_group("gloo", init_method=place, rank=rank, world_size=SIZE)
        return torch.distributed
    import mindspore

    mindspore.set_context(device_target="CPU")
    mindspore.communication.init()
    return mindspore.communication


def talk(communicator: Communicator) -> None:
    """Call everything that the interface has."""
    rank, size = communicator.rank, communicator.size
    assert communicator.all_gather(b"") == [b""] * size
    said = [b"x" * (5 * each) + b"\0" for each in range(size)]
    assert communicator.all_gather(said[rank]) == said
    # Rank 0 is in more of them than the others.
    groups = [(0, 1), (0, 1, 2), (0, 2)]
    prepare = getattr(communicator, "prepare", None)
    if prepare is not None:
        prepare(groups)
    for group in groups:
        for root in group:
            if rank in group:
                content = np.full(7, rank, np.uint8)
                if rank == root:
                    content.flags.writeable = False
                communicator.broadcast(content.data, root, group)
                assert content.tolist() == [root] * 7
    assert isinstance(communicator, Adapter)
    communicator.close()


def net(names: list[str]) -> ckptload.Cell:
    cell = ckptload.nn.Cell()
    for name in names:
        setattr(cell, name, Parameter(Tensor(np.zeros(4, np.float32)), name=name))
    return cell


def load(communicator: Any, folder: Path, rank: int) -> None:
    """Load a share, once with a communicator that is passed, and once with the one that is set up."""
    layout = SliceLayout([2], [-1])
    strategy = Strategy([{"a": layout, "b": layout}, {"c": SliceLayout([1], [-1])}])
    value = np.array([-0.0, 1, 2, np.nan], np.float32)
    path = folder / f"of_{rank}.ckpt"
    save_checkpoint({"abc"[rank]: Parameter(Tensor(value))}, path)
    how: dict[str, Any] = {"remove_redundancy": True, "strategy": strategy}
    names = ["c"] if rank == SIZE - 1 else ["a", "b"]
    for given in (communicator, None):
        cell = net(names)
        load_checkpoint(path, cell, communicator=given, **how)
        assert [each.asnumpy().tobytes() for each in cell.get_parameters()] == [value.tobytes()] * len(names)
    if rank == 1:
        path.chmod(0o600)
        path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(ckptload.CheckpointError) as caught:
        load_checkpoint(path, net(names), communicator=communicator, **how)
    assert isinstance(caught.value, RankError) == (rank != 1)


def main(kind: str, place: str, number: str = "0") -> None:
    """Take part."""
    warnings.simplefilter("error", UserWarning)
    folder = Path(place)
    assert communicators.found() is None
    given = set_up(kind, folder, int(number))
    found = communicators.found()
    assert found is not None
    assert found.size == SIZE
    talk(found)
    passed = communicators.communicator_of(given)
    assert type(passed) is type(found)
    load(given, folder, found.rank)
    sys.stdout.write(f"rank {found.rank} is done\n")
    if kind == "gloo":
        given.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
