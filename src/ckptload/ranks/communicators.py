"""How ranks of one job talk: one interface, and those that mpi4py, torch and MindSpore have behind it.

The interface is small: `rank` and `size`, bytes of every rank for every rank, and bytes of one rank for a group. An
object of the caller's with these four is as good as ours. Nothing is imported to look for a communicator: one is found
only where the caller has set it up.
"""

from __future__ import annotations

import operator
import sys
from itertools import count
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

import numpy as np

from ckptload import extras
from ckptload.errors import ArgumentError, ArgumentTypeError, Hint, MissingPackageError, importable
from ckptload.foreign.classes import TORCH, imported_mindspore, is_a
from ckptload.messages import shown_value, type_name
from ckptload.ranks.layout_numbers import MAX_DEVICES

if TYPE_CHECKING:
    from collections.abc import Sequence

    Group = tuple[int, ...]

#: The word by which a caller has MPI started.
MPI: Final = "mpi"
_MPI4PY: Final = "mpi4py"
_KINDS: Final = (
    "pass mpi4py.MPI.COMM_WORLD, torch.distributed, mindspore.communication, 'mpi', or an object with rank, size, "
    "all_gather(bytes) and broadcast(memoryview, root, ranks)"
)


@runtime_checkable
class Communicator(Protocol):
    """Ranks that talk. Every call but `broadcast` is made by all of them, in one order.

    Optional: ``prepare(groups)``, called on all ranks with all groups in one order before the first broadcast.
    """

    @property
    def rank(self) -> int:
        """Return the number of this process, from 0."""

    @property
    def size(self) -> int:
        """Return the number of processes."""

    def all_gather(self, data: bytes) -> list[bytes]:
        """Return what each rank gave, in the order of ranks."""

    def broadcast(self, view: memoryview, root: int, ranks: Group) -> None:
        """Fill the bytes of `view` on all ranks of a group with those of `root`; only the group calls it."""


class Adapter:
    """One of ours, whose groups nobody else uses."""

    def close(self) -> None:
        """Give up the groups; all ranks do so."""


def communicator_of(given: object) -> Communicator | None:
    """Return what a caller passed as a communicator, and None for None.

    Args:
        given: a communicator of mpi4py, or ``"mpi"`` for the one of all processes; the module ``torch.distributed`` or
            one of its process groups; the module ``mindspore.communication`` or ``mindspore.mint.distributed``; or any
            object with the interface of `Communicator`.

    Raises:
        ArgumentTypeError: it is nothing of these, or lacks a part of the interface.
        ArgumentError: it is not initialised, or has an impossible rank.
        MissingPackageError: it is ``"mpi"``, and mpi4py or a library of MPI is not installed.
    """
    if given is None:
        return None
    if isinstance(given, str):
        if given == MPI:
            return MpiCommunicator(_started_mpi().COMM_WORLD)
        raise ArgumentTypeError(f"communicator must be a communicator, not {shown_value(given)}", hint=_KINDS)
    if is_a(given, _MPI4PY, "Comm"):
        return _of_mpi(given)
    torch = sys.modules.get("torch.distributed")
    if (given is torch and torch is not None) or is_a(given, TORCH, "ProcessGroup"):
        if not _is_torch_ready(torch):
            raise ArgumentError("torch.distributed is not initialised", hint="call init_process_group first")
        return TorchCommunicator(torch, None if given is torch else given)
    names = ("mindspore", "mindspore.communication", "mindspore.mint.distributed")
    if any(given is sys.modules.get(name) for name in names) and imported_mindspore() is not None:
        if not _is_mindspore_ready():
            raise ArgumentError("mindspore.communication is not initialised", hint="call its init() first")
        return MindSporeCommunicator()
    return _checked(given)


def found() -> Communicator | None:
    """Return the communicator that the caller has set up in this process; None if there is none, or for one rank."""
    torch = sys.modules.get("torch.distributed")
    if _is_torch_ready(torch) and torch is not None and torch.get_world_size() > 1:
        return TorchCommunicator(torch)
    if _is_mindspore_ready():
        mindspore = MindSporeCommunicator()
        if mindspore.size > 1:
            return mindspore
    mpi = sys.modules.get("mpi4py.MPI")
    ready = mpi is not None and hasattr(mpi, "COMM_WORLD") and mpi.Is_initialized() and not mpi.Is_finalized()
    if mpi is not None and ready and mpi.COMM_WORLD.size > 1:
        return MpiCommunicator(mpi.COMM_WORLD)
    return None


def _checked(given: Any) -> Communicator:
    """Return an object of the caller's if it has the interface."""
    calls = [name for name in ("all_gather", "broadcast") if not callable(getattr(given, name, None))]
    lacks = [name for name in ("rank", "size") if not hasattr(given, name)] + calls
    if lacks:
        raise ArgumentTypeError(
            f"communicator is {type_name(given)}, which has no {' and no '.join(lacks)}", hint=_KINDS
        )
    check_place(given.rank, given.size)
    communicator: Communicator = given
    return communicator


def check_place(rank: object, size: object) -> tuple[int, int]:
    """Return rank and size as ints.

    Raises:
        ArgumentTypeError: one of them is no int.
        ArgumentError: there is no such rank, or the size is beyond the largest number of devices.
    """
    try:
        number, ranks = operator.index(rank), operator.index(size)  # type: ignore[arg-type]
    except TypeError as error:
        said = f"rank and size of a communicator must be ints, not {type_name(rank)} and {type_name(size)}"
        raise ArgumentTypeError(said, hint=_KINDS) from error
    if not 0 <= number < ranks <= MAX_DEVICES:
        raise ArgumentError(f"the communicator says that this is rank {number} of {ranks}, which cannot be")
    return number, ranks


# -- MPI -------------------------------------------------------------------------------------------------------


def _started_mpi() -> Any:
    """Import mpi4py, which starts MPI.

    Raises:
        MissingPackageError: mpi4py, or the library of MPI that it loads, is not installed.
    """
    try:
        with importable(_MPI4PY):
            from mpi4py import MPI as module  # noqa: N811, PLC0415 -- starts MPI, which only who asks for it wants
    except Exception as error:
        cause = error.__cause__
        if isinstance(error, ModuleNotFoundError):
            raise MissingPackageError(
                "mpi4py is not installed", hint=Hint("{install}", install=extras.install(extras.MPI, "mpich"))
            ) from error
        if isinstance(error, ImportError) or "MPI library" in str(error) or isinstance(cause, RuntimeError):
            raise MissingPackageError(
                "libmpi not found: mpi4py is installed, and no library of MPI",
                hint="pip install mpich, or load the module of the cluster's own MPI",
            ) from error
        raise
    return module


def _of_mpi(comm: Any) -> Communicator:
    if comm.Is_inter() or not comm:
        raise ArgumentTypeError(
            "communicator must be one group of ranks, not MPI's null or intercommunicator", hint=_KINDS
        )
    return MpiCommunicator(comm)


class MpiCommunicator(Adapter):
    """A communicator of mpi4py. Groups are made by their members alone, when they are first used."""

    def __init__(self, comm: Any) -> None:
        self._comm = comm
        self.rank: int = comm.rank
        self.size: int = comm.size
        self._groups: dict[Group, Any] = {}

    def all_gather(self, data: bytes) -> list[bytes]:
        """Return what each rank gave."""
        lengths = np.empty(self.size, np.int64)
        self._comm.Allgather(np.array([len(data)], np.int64), lengths)
        # Padded: the places of unequal parts are ints of 32 bits in MPI.
        room = np.empty((self.size, max(1, int(lengths.max()))), np.uint8)
        self._comm.Allgather(_padded(data, room.shape[1]), room)
        return [row[:length].tobytes() for row, length in zip(room, lengths, strict=True)]

    def broadcast(self, view: memoryview, root: int, ranks: Group) -> None:
        """Fill bytes on all ranks of a group."""
        if ranks not in self._groups:
            group = self._comm.group.Incl(ranks)
            self._groups[ranks] = self._comm.Create_group(group)
            group.Free()
        self._groups[ranks].Bcast(view, root=ranks.index(root))

    def close(self) -> None:
        """Free the groups, of which an MPI has a limited number."""
        while self._groups:
            self._groups.popitem()[1].Free()


# -- torch -----------------------------------------------------------------------------------------------------


def _is_torch_ready(module: Any) -> bool:
    is_available, is_initialized = getattr(module, "is_available", None), getattr(module, "is_initialized", None)
    return bool(is_available and is_initialized and is_available() and is_initialized())


class TorchCommunicator(Adapter):
    """`torch.distributed`, or one of its groups; bytes go over gloo, as others may move data of a GPU only.

    Ranks of a group send to each other, since torch cannot make groups without all ranks of the program: with
    ``use_local_synchronization`` it names a group by how many groups the rank has, which is not the same on all, and
    finds the addresses of an earlier group of these ranks.
    """

    def __init__(self, module: Any, group: Any = None) -> None:
        import torch  # noqa: PLC0415 -- the caller has imported it

        self._torch, self._module = torch, module
        self.rank: int = module.get_rank(group)
        self.size: int = module.get_world_size(group)
        self._world = [rank if group is None else module.get_global_rank(group, rank) for rank in range(self.size)]
        self._everyone = group
        self._own = module.get_backend(group) != "gloo"
        if self._own:
            # One group, and of all ranks if the caller has named none.
            self._everyone = (
                module.new_group(backend="gloo")
                if group is None
                else module.new_group(self._world, backend="gloo", use_local_synchronization=True)
            )

    def all_gather(self, data: bytes) -> list[bytes]:
        """Return what each rank gave."""
        size = self._torch.tensor([len(data)], dtype=self._torch.int64)
        sizes = [self._torch.empty_like(size) for _ in range(self.size)]
        self._module.all_gather(sizes, size, group=self._everyone)
        lengths = [int(each) for each in sizes]
        mine = self._torch.from_numpy(_padded(data, max(1, *lengths)))
        all_data = [self._torch.empty_like(mine) for _ in range(self.size)]
        self._module.all_gather(all_data, mine, group=self._everyone)
        return [each.numpy()[:length].tobytes() for each, length in zip(all_data, lengths, strict=True)]

    def broadcast(self, view: memoryview, root: int, ranks: Group) -> None:
        """Fill bytes on all ranks of a group."""
        # torch warns of memory that it could write to and must not.
        content = self._torch.from_numpy(np.frombuffer(bytearray(view) if view.readonly else view, np.uint8))
        # Along a binomial tree: who has the bytes hands them on to half of those that are left.
        place, count = (ranks.index(self.rank) - ranks.index(root)) % len(ranks), len(ranks)
        step = 1
        while step < count and not place & step:
            step <<= 1
        if place:
            self._module.recv(content, self._named(ranks, root, place - step), group=self._everyone)
        while step := step >> 1:
            if place + step < count:
                self._module.send(content, self._named(ranks, root, place + step), group=self._everyone)

    def _named(self, ranks: Group, root: int, place: int) -> int:
        """Return torch's number for a place of a tree that begins at `root`."""
        return self._world[ranks[(ranks.index(root) + place) % len(ranks)]]

    def close(self) -> None:
        """Give up the group that was made."""
        if self._own:
            self._module.destroy_process_group(self._everyone)


# -- MindSpore -------------------------------------------------------------------------------------------------


def _is_mindspore_ready() -> bool:
    module = sys.modules.get("mindspore.communication") if imported_mindspore() is not None else None
    return bool(getattr(getattr(module, "GlobalComm", None), "INITED", False))


#: Counts how often groups were made, which is the same on all ranks.
_times: Final = count()


class MindSporeCommunicator(Adapter):
    """MindSpore's own communication, which ``mindspore.communication.init`` has begun."""

    def __init__(self) -> None:
        import mindspore  # noqa: PLC0415 -- the caller has imported it
        from mindspore import communication  # noqa: PLC0415 -- likewise
        from mindspore.mint import distributed  # noqa: PLC0415 -- likewise

        self._tensor = mindspore.Tensor
        self._management, self._module = communication, distributed
        self.rank: int = communication.get_rank()
        self.size: int = communication.get_group_size()
        self._groups: dict[Group, str] = {}

    def prepare(self, groups: Sequence[Group]) -> None:
        """Make the groups that this rank is in; all ranks do so in one order."""
        # A name of a group that was given up cannot be used again.
        time = next(_times)
        for number, ranks in enumerate(groups):
            if self.rank in ranks:
                self._groups[ranks] = name = f"ckptload_{time}_{number}"
                self._management.create_group(name, list(ranks))

    def all_gather(self, data: bytes) -> list[bytes]:
        """Return what each rank gave."""
        said: list[Any] = [None] * self.size
        # The order of answers is not certain (MindSpore 2.10.0, parallel/_cell_wrapper.py, _check_total_param_loaded).
        self._module.all_gather_object(said, (self.rank, data))
        return [content for _, content in sorted(said)]

    def broadcast(self, view: memoryview, root: int, ranks: Group) -> None:
        """Fill bytes on all ranks of a group."""
        tensor = self._tensor(np.frombuffer(view, np.uint8).copy())
        self._module.broadcast(tensor, root, group=self._groups[ranks])
        # It is carried out later unless somebody waits for it, and then the group may be gone.
        content = tensor.asnumpy()
        if self.rank != root:
            view[:] = content.data

    def close(self) -> None:
        """Give up the groups."""
        while self._groups:
            self._management.destroy_group(self._groups.popitem()[1])


def _padded(data: bytes, length: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    room = np.zeros(length, np.uint8)
    room[: len(data)] = np.frombuffer(data, np.uint8)
    return room
