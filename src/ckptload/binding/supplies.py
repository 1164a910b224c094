"""Supplies: one interface for the two things that can be loaded, a dictionary of parameters or an open reader.

A supply describes an entry without reading its tensor data, and then copies tensor data into the memory
of a net, with conversion if needed. Data from a reader that needs no conversion is read straight into the net;
the rest passes through small pieces of scratch memory.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import numpy as np

from ckptload import threads
from ckptload.errors import ArgumentTypeError, CheckpointError
from ckptload.foreign.giving import OURS
from ckptload.foreign.taking import is_foreign
from ckptload.formats.entry import TENSOR, UNSUPPORTED
from ckptload.messages import shown_value, type_name
from ckptload.reading.arrays import bounds
from ckptload.reading.reader import Reader
from ckptload.sources.spans import batches
from ckptload.tensors import casting
from ckptload.tensors.parameter import as_ours
from ckptload.tensors.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from ckptload.dtypes import Array, DType
    from ckptload.formats.entry import Entry

    Job = Callable[[], None]

#: Tensor data that one thread copies or converts at a time, in bytes. It fits the processor's cache, and is
#: below the size from which a reader starts threads of its own.
_PIECE: Final = 2 << 20
#: Below this many bytes a second thread costs more than it saves.
_PARALLEL_FROM: Final = 4 << 20
#: Alignment of tensors in scratch memory, in bytes; no dtype needs more.
_ALIGNMENT: Final = 64


class Spec(NamedTuple):
    """A tensor entry's dtype, shape and place; places are only compared, to read in file order."""

    dtype: DType
    shape: tuple[int, ...]
    place: int


class Transfer(NamedTuple):
    """An entry, and the memory that its tensor data is copied to.

    Attributes:
        key: the entry.
        spec: its dtype, shape and place.
        dtype: dtype to convert to.
        memory: memory of the net: of `dtype`, with as many elements, C-contiguous and writable.
        beyond: called, from any thread and maybe several times, if `dtype` cannot hold a value.
    """

    key: str
    spec: Spec
    dtype: DType
    memory: Array
    beyond: Callable[[], object] | None = None

    def convert(self, array: Array, out: Array) -> None:
        """Convert elements of the entry into a part of the memory."""
        if casting.cast_into(array, self.spec.dtype, self.dtype, out) and self.beyond is not None:
            self.beyond()


class Supply(Protocol):
    """Entries by name.

    Attributes:
        keys: their names, in order; membership tests are fast.
        label: the file's path, or a description if it is not a file; None for a dictionary.
        has_parts: whether every entry can be read in parts, at any time.
    """

    keys: Collection[str]
    label: str | None
    has_parts: bool

    def originals(self, key: str) -> tuple[str, ...]:
        """Return the names in the checkpoint of the entries that it is made of: one, unless a map makes it."""

    def is_tensor(self, key: str) -> bool:
        """Tell whether an entry is a tensor; strings, maps and bytes cannot fill a parameter."""

    def shape(self, key: str) -> tuple[int, ...]:
        """Return the shape of a tensor entry, whether its values can be read or not."""

    def spec(self, key: str) -> Spec:
        """Return the dtype, shape and place of a tensor entry."""

    def authenticate(self) -> None:
        """Raise DecryptionError if any encrypted data does not match its authentication tag."""

    def array(self, key: str) -> Array:
        """Return a tensor's elements; the array may be the supply's own memory."""

    def part(self, key: str, first: int, last: int) -> Array:
        """Return a tensor's elements from one index to another, in C order; maybe the supply's own memory."""

    def view(self, key: str) -> Array | None:
        """Return a tensor's elements if they are in memory of the caller, which may be that of the net."""

    def transfer(self, transfers: Sequence[Transfer]) -> None:
        """Copy tensors into the net, converted to the wanted dtypes."""


def supply_of(parameters: object, argument: str) -> Supply:
    """Return a dictionary or a reader as a supply.

    Raises:
        ArgumentTypeError: it is neither, or a key or a value is of the wrong type.
    """
    if isinstance(parameters, Reader):
        return _ReaderSupply(parameters.giving(OURS))
    if not isinstance(parameters, dict):
        raise ArgumentTypeError(
            f"{argument} must be a dict, an open checkpoint or a path, not {type_name(parameters)}",
            hint="load_checkpoint() returns such a dict, open_checkpoint() opens a checkpoint",
        )
    for key, value in parameters.items():
        if not isinstance(key, str):
            raise ArgumentTypeError(f"a key of {argument} must be a str, not {type_name(key)}: {shown_value(key)}")
        if not isinstance(value, (Tensor, str, list, bytes)) and not is_foreign(value):
            raise ArgumentTypeError(
                f"the value must be a Parameter, a str, a list or bytes, not {type_name(value)}",
                name=key,
                hint="make a Parameter of it: Parameter(value)",
            )
    return _DictSupply(parameters)


class _DictSupply:
    """A dictionary as `load_checkpoint` returns it. It is not changed, and shares no memory with the net.

    A tensor of another framework is taken when it is first asked for, so that one that is not wanted may be on
    another device or of a kind that cannot be read.
    """

    label: str | None = None
    has_parts = True

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        self._parameters = parameters
        self._taken: dict[str, Any] = {}
        self.keys: Collection[str] = parameters

    def _tensor(self, key: str) -> Any:
        value = self._parameters[key]
        if isinstance(value, Tensor):
            return value
        if key not in self._taken:
            try:
                self._taken[key] = as_ours(value)
            except CheckpointError as error:
                error.name = key
                raise
        return self._taken[key]

    def originals(self, key: str) -> tuple[str, ...]:
        return (key,)

    def is_tensor(self, key: str) -> bool:
        value = self._parameters[key]
        return isinstance(value, Tensor) or is_foreign(value)

    def shape(self, key: str) -> tuple[int, ...]:
        return tuple(self._parameters[key].shape)

    def spec(self, key: str) -> Spec:
        parameter = self._tensor(key)
        return Spec(parameter.dtype, parameter.shape, 0)

    def authenticate(self) -> None:
        """Do nothing: values in memory were authenticated when they were loaded."""

    def array(self, key: str) -> Array:
        array: Array = self._tensor(key).asnumpy()
        return array

    def part(self, key: str, first: int, last: int) -> Array:
        return self.array(key).reshape(-1)[first:last]

    def view(self, key: str) -> Array | None:
        return self.array(key)

    def transfer(self, transfers: Sequence[Transfer]) -> None:
        pieces: list[_Piece] = []
        for transfer, source in zip(transfers, self._apart(transfers), strict=True):
            if source is not None:
                pieces.extend(_cut(source.reshape(-1), transfer))
        run(
            [_converting(batch) for batch in batches(pieces, lambda piece: piece.array.nbytes, _PIECE)],
            sum(piece.out.nbytes for piece in pieces),
        )

    def _apart(self, transfers: Sequence[Transfer]) -> Iterator[Array | None]:
        """Yield the source of each transfer, or a copy if it overlaps memory of the net; None if nothing is to be done.

        The dictionary may hold parameters of the net itself. Without a copy, a value could be overwritten
        before it is read.
        """
        goals = Goals(transfer.memory for transfer in transfers)
        for transfer in transfers:
            source = self.array(transfer.key)
            if not goals.meets(source):
                yield source
            elif bounds(source) == bounds(transfer.memory) and source.dtype == transfer.memory.dtype:
                yield None
            else:
                yield source.copy()


class _ReaderSupply:
    """An open checkpoint; its tensor data is read into the net without a dictionary in between."""

    has_parts = True

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.keys: Collection[str] = reader
        self.label: str | None = reader.path
        # The reader checks more at each call than that the entry is known.
        self._known: dict[str, Entry] = {}

    def originals(self, key: str) -> tuple[str, ...]:
        return (key,)

    def is_tensor(self, key: str) -> bool:
        # A tensor of a type that is not supported is an error only if a parameter takes it.
        return self._info(key).kind in {TENSOR, UNSUPPORTED}

    def shape(self, key: str) -> tuple[int, ...]:
        return self._info(key).shape

    def _info(self, key: str) -> Entry:
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._reader.info(key)
        return found

    def spec(self, key: str) -> Spec:
        entry = self._info(key)
        if entry.kind == UNSUPPORTED:
            entry = self._reader.readable(key)
        if entry.dtype is None:
            raise ArgumentTypeError(f"the entry is a {entry.kind}, not a tensor", name=key, path=self.label)
        return Spec(entry.dtype, entry.shape, entry.offset)

    def authenticate(self) -> None:
        self._reader.authenticate()

    def array(self, key: str) -> Array:
        array: Array = self._reader.get_tensor(key).asnumpy()
        return array

    def part(self, key: str, first: int, last: int) -> Array:
        array: Array = self._reader.get_slice(key).flat(first, last).asnumpy()
        return array

    def view(self, key: str) -> Array | None:  # noqa: ARG002 -- of no entry
        return None

    def transfer(self, transfers: Sequence[Transfer]) -> None:
        # An empty read still checks that the file is open and unchanged.
        self._reader.fill([])
        straight: list[Transfer] = []
        converted: list[Transfer] = []
        for transfer in transfers:
            same = transfer.spec.dtype.numpy == transfer.dtype.numpy
            (straight if same else converted).append(transfer)
        converted.sort(key=lambda transfer: transfer.spec.place)
        self._convert(converted)
        self._reader.fill([(transfer.key, transfer.memory) for transfer in straight])

    def _convert(self, transfers: Sequence[Transfer]) -> None:
        jobs: list[Job] = []
        for batch in batches(transfers, lambda transfer: _aligned(_stored(transfer)), _PIECE):
            if len(batch) == 1 and _stored(batch[0]) > _PIECE:
                jobs.extend(self._in_pieces(batch[0]))
            else:
                jobs.append(self._whole(batch))
        run(jobs, sum(_stored(transfer) for transfer in transfers))

    def _whole(self, transfers: Sequence[Transfer]) -> Job:
        """Return a job that reads several tensors into scratch memory by one call and converts them."""

        def job() -> None:
            scratch = np.empty(sum(_aligned(_stored(transfer)) for transfer in transfers), np.uint8)
            at = 0
            read: list[tuple[str, Array]] = []
            for transfer in transfers:
                size = _stored(transfer)
                read.append((transfer.key, scratch[at : at + size].view(transfer.spec.dtype.numpy)))
                at += _aligned(size)
            self._reader.fill(read)
            for transfer, (_, array) in zip(transfers, read, strict=True):
                transfer.convert(array, transfer.memory)

        return job

    def _in_pieces(self, transfer: Transfer) -> Iterator[Job]:
        """Yield jobs that read and convert a large tensor, a piece each."""
        part, flat = self._reader.get_slice(transfer.key), transfer.memory.reshape(-1)
        step = _PIECE // transfer.spec.dtype.itemsize

        def reading(start: int) -> Job:
            def job() -> None:
                array = part.flat(start, start + step).asnumpy()
                transfer.convert(array, flat[start : start + step])

            return job

        return (reading(start) for start in range(0, flat.size, step))


class _Piece(NamedTuple):
    """Consecutive elements to convert."""

    array: Array
    transfer: Transfer
    out: Array


def _cut(flat: Array, transfer: Transfer) -> Iterator[_Piece]:
    room = transfer.memory.reshape(-1)
    step = _PIECE // max(flat.itemsize, 1)
    for start in range(0, flat.size, step):
        yield _Piece(flat[start : start + step], transfer, room[start : start + step])


def _converting(batch: Iterable[_Piece]) -> Job:
    def job() -> None:
        for piece in batch:
            piece.transfer.convert(piece.array, piece.out)

    return job


def run(jobs: Sequence[Job], size: int) -> None:
    """Run jobs that copy `size` bytes in total, in two threads if that is faster; the first failure ends it."""
    if size >= _PARALLEL_FROM and len(jobs) > 1:
        threads.share(lambda job: job(), jobs)
        return
    for job in jobs:
        job()


def _stored(transfer: Transfer) -> int:
    """Return the size of an entry's tensor data before conversion, in bytes."""
    return transfer.memory.size * transfer.spec.dtype.itemsize


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


class Goals:
    """Memory that will be written.

    Args:
        arrays: the arrays, C-contiguous.
    """

    def __init__(self, arrays: Iterable[Array]) -> None:
        self._spans = _union(bounds(array) for array in arrays if array.nbytes)
        self._starts = [start for start, _ in self._spans]

    def meets(self, array: Array) -> bool:
        """Tell whether an array shares memory with it."""
        start, stop = bounds(array)
        at = bisect_left(self._starts, stop) - 1
        return at >= 0 and self._spans[at][1] > start and array.nbytes > 0


def _union(intervals: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return ascending intervals that cover the same addresses and do not overlap."""
    union: list[tuple[int, int]] = []
    for start, stop in sorted(intervals):
        if union and start < union[-1][1]:
            union[-1] = (union[-1][0], max(union[-1][1], stop))
        else:
            union.append((start, stop))
    return union
