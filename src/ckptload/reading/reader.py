"""The lazy reader: a checkpoint as a mapping whose values are read when they are asked for.

Opening walks the index and reads no content. `load_checkpoint` is a thin function over it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from ckptload import filters, messages
from ckptload.errors import (
    ChangedFileError,
    CheckpointError,
    ClosedReaderError,
    DecryptionError,
    Hint,
    OutOfMemoryError,
    ReadError,
    UnknownNameError,
    UnsupportedTypeError,
)
from ckptload.formats.entry import MAP, STRING, TENSOR
from ckptload.formats.safetensors import strings
from ckptload.reading import arrays
from ckptload.reading.slices import TensorSlice
from ckptload.tensors.parameter import Parameter

if TYPE_CHECKING:
    from ckptload.dtypes import Array
    from ckptload.filters import Prefixes
    from ckptload.formats.entry import Entry
    from ckptload.formats.index import Facts, Index
    from ckptload.sources.base import Source

    Value = Parameter | str | bytes | list[Array]


class Reader(Mapping[str, Any]):
    """An open checkpoint: name to Parameter, str, list of arrays (a map) or bytes (a random state).

    Reading is thread-safe. Every value that is returned owns its memory, unless the reader was opened
    with ``mmap=True``. The file must not be changed while it is open; each read checks for that.
    """

    def __init__(
        self,
        index: Index,
        chosen: Sequence[str] | None = None,
        *,
        parent: Reader | None = None,
        reopen: tuple[Any, ...] | None = None,
    ) -> None:
        self._index: Index | None = index
        # None for the reader of the whole file, which owns the source; names of the file for a selection.
        self._chosen = chosen
        # A selection keeps the reader alive whose file it reads.
        self._parent = parent
        self._label = index.source.label
        self._entries: dict[str, Entry] = {}
        # Where the records of a tensor begin in its content, for tensors whose parts were asked for.
        self._begins: dict[str, list[int]] = {}
        # What pickle calls to open the same file again, where that is possible.
        self._reopen = reopen

    # -- the mapping ------------------------------------------------------------------------------

    @cached_property
    def _names(self) -> dict[str, str]:
        """Public name to name in the file."""
        index = self._open_index()
        with self._in_file():
            return index.public_names(index.names() if self._chosen is None else self._chosen)

    def __iter__(self) -> Iterator[str]:
        self._open_index()
        return iter(self._names)

    def __len__(self) -> int:
        self._open_index()
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        self._open_index()
        return name in self._names

    def __getitem__(self, name: str) -> Any:
        return self.load([name])[name]

    # -- looking without reading ------------------------------------------------------------------

    @property
    def format(self) -> str:
        """Return ``ckpt`` or ``safetensors``."""
        return self._open_index().format

    @property
    def metadata(self) -> dict[str, str]:
        """Return text that the file carries about itself, which is ``__metadata__`` of safetensors, empty for .ckpt."""
        return dict(self._open_index().metadata)

    @property
    def cipher(self) -> str | None:
        """Return how the file is encrypted, such as ``AES-GCM``, or None."""
        return self._open_index().cipher

    @property
    def path(self) -> str:
        """Return the path, or a description of what is no file."""
        return self._label

    def kept_strings(self) -> dict[str, str]:
        """Return strings of a .ckpt that the metadata of a safetensors file keep, by name.

        Raises:
            CorruptCheckpointError: they are not as a conversion writes them.
        """
        with self._in_file():
            return strings.kept(self._open_index().metadata)

    @cached_property
    def facts(self) -> Facts:
        """Return what the file tells about itself, such as who wrote it, and what vouches for its content."""
        return self._open_index().facts()

    def info(self, name: str) -> Entry:
        """Return kind, dtype, shape, size and place of an entry without reading its content.

        Raises:
            UnknownNameError: there is no such name; the message lists the nearest ones.
            CorruptCheckpointError: the entry is damaged.
        """
        with self._in_file():
            return self._judged([name])[0]

    def _judged(self, wanted: Iterable[str]) -> list[Entry]:
        """Return the entries of some names; each is judged once."""
        index, inside, known = self._open_index(), self._names, self._entries
        entries = []
        for name in wanted:
            entry = known.get(name) if isinstance(name, str) else None
            if entry is None:
                if not isinstance(name, str) or name not in inside:
                    raise self._unknown(name)
                entry = index.entry(inside[name])
                if entry.name != name:
                    entry = entry._replace(name=name)
                known[name] = entry
            entries.append(entry)
        return entries

    def select(
        self,
        *,
        choice_func: Callable[[str], Any] | None = None,
        specify_prefix: Prefixes = None,
        filter_prefix: Prefixes = None,
    ) -> Reader:
        """Return a reader of some names only, on the same open file.

        Args:
            choice_func: asked once for each name; what it returns counts by its truth.
            specify_prefix: prefix, or several, one of which a name must have.
            filter_prefix: prefix, or several, none of which a name may have.

        With a prefix `choice_func` is not asked, as in `load_checkpoint`.

        Raises:
            CheckpointError: `choice_func` raised; its exception is the cause.
        """
        index = self._open_index()
        with self._in_file():
            chosen = filters.select(
                index.names() if self._chosen is None else self._chosen,
                choice_func=choice_func,
                specify_prefix=specify_prefix,
                filter_prefix=filter_prefix,
            )
        return Reader(index, chosen, parent=self)

    # -- reading ----------------------------------------------------------------------------------

    def load(self, wanted: Iterable[str] | None = None) -> dict[str, Any]:
        """Read entries, all of them by default, in one go.

        Returns:
            A plain dictionary in the order asked for; its values own their memory.

        Raises:
            CorruptCheckpointError: one of them is damaged; nothing is returned then.
        """
        index = self._open_index()
        with self._in_file():
            entries = self._judged(self if wanted is None else wanted)
            found = arrays.load(index.source, _to_read(entries))
            index.source.check_unchanged()
            return _values(entries, found)

    def get_tensor(self, name: str) -> Parameter:
        """Read one tensor into memory of its own.

        Raises:
            UnsupportedTypeError: the entry is a string, a map or a random state.
        """
        self._tensor_info(name)
        return cast("Parameter", self[name])

    def get_slice(self, name: str) -> TensorSlice:
        """Return an object that reads parts of a tensor: ``reader.get_slice(name)[10:20]``.

        Indexing the first axis by an int or a slice reads only those rows.
        """
        entry = self._tensor_info(name)
        begins = self._begins.get(name)
        if begins is None:
            begins = self._begins[name] = arrays.begins_of(entry)
        return TensorSlice(entry, begins, self._read_rows, self._label)

    def fill(self, pairs: Iterable[tuple[str, Array]]) -> None:
        """Read tensors straight into arrays that the caller has.

        Args:
            pairs: names, and C-contiguous writable arrays of their dtype and number of elements.

        If this raises while reading, what the arrays hold is undefined; call `authenticate` first
        where that matters.

        Raises:
            CheckpointError: an array does not fit.
        """
        index = self._open_index()
        wanted = [(self._tensor_info(name), array) for name, array in pairs]
        for entry, array in wanted:
            flags = array.flags
            if array.nbytes != entry.nbytes or not (flags.c_contiguous and flags.writeable):
                raise CheckpointError(
                    f"the array has {array.nbytes} bytes, the entry {entry.nbytes}; "
                    "it must be C-contiguous and writable",
                    name=entry.name,
                    path=self._label,
                )
        with self._in_file():
            arrays.fill(index.source, wanted)
            index.source.check_unchanged()

    def _read_rows(self, requests: Callable[[Source], Array]) -> Array:
        index = self._open_index()
        with self._in_file():
            rows = requests(index.source)
            index.source.check_unchanged()
            return rows

    # -- checking ---------------------------------------------------------------------------------

    def verify_crc(self) -> bool:
        """Compare the CRC-32 that the file carries with that of its bytes.

        Returns:
            False if the file carries none, so that nothing was checked.

        Raises:
            ChecksumError: they differ.
        """
        index = self._open_index()
        with self._in_file():
            return index.verify_crc()

    def authenticate(self) -> None:
        """Check every block of an encrypted file against its tag; a plain file has none.

        Raises:
            DecryptionError: a block is not what was encrypted with this key.
        """
        index = self._open_index()
        with self._in_file():
            index.source.authenticate()

    @contextmanager
    def vouched(self) -> Iterator[None]:
        """Let nothing out that tags do not vouch for: no value, and no error about what is in the file.

        What is read inside may come from blocks whose tags were not compared; they are when it ends.

        Raises:
            DecryptionError: a block is not what was encrypted with this key.
        """
        failure: CheckpointError | None = None
        try:
            yield
        except (DecryptionError, ReadError, ChangedFileError):
            # These say nothing of what is in the blocks.
            raise
        except CheckpointError as error:
            failure = error
        try:
            self.authenticate()
        except DecryptionError as error:
            _unchain(error, failure)
            raise
        if failure is not None:
            raise failure

    # -- life -------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the file. Values that were read stay valid; the reader does not."""
        index, self._index = self._index, None
        if index is not None and self._chosen is None:
            index.source.close()

    @property
    def closed(self) -> bool:
        """Tell whether the reader was closed, or the one that it was selected from."""
        return self._index is None or (self._parent is not None and self._parent.closed)

    def __enter__(self) -> Reader:
        self._open_index()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        # The constructor may have failed before anything was set.
        if getattr(self, "_index", None) is not None:
            self.close()

    def __eq__(self, other: object) -> bool:
        # Mapping's own comparison would read both files.
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        if self._index is None or self.closed:
            return f"<closed checkpoint {self._label}>"
        # Not len(self): names that collide are an error, and printing must not raise.
        count = len(self._index.names() if self._chosen is None else self._chosen)
        cipher = f", {self._index.cipher}" if self._index.cipher else ""
        return f"<{self._index.format} checkpoint {self._label}: {count} entries{cipher}>"

    def __reduce__(self) -> tuple[Any, ...]:
        if self._reopen is None or self._chosen is not None or self._index is None:
            raise CheckpointError(
                "only an open reader of a whole, unencrypted file that was opened by its path can be pickled",
                path=self._label,
                hint="open the checkpoint in the other process",
            )
        return self._reopen

    # -- inside -----------------------------------------------------------------------------------

    def _open_index(self) -> Index:
        if self._index is None or self.closed:
            raise ClosedReaderError("the reader was closed", path=self._label, hint="open the checkpoint again")
        return self._index

    def _tensor_info(self, name: str) -> Entry:
        entry = self.info(name)
        if entry.kind != TENSOR:
            raise self._no_tensor(entry)
        return entry

    def _no_tensor(self, entry: Entry) -> UnsupportedTypeError:
        return UnsupportedTypeError(
            f"the entry is a {entry.kind}, not a tensor", name=entry.name, path=self._label, hint="use reader[name]"
        )

    def _unknown(self, name: object) -> UnknownNameError:
        near = messages.closest(str(name), self._names)
        return UnknownNameError(
            f"none of the {len(self._names)} entries has this name",
            name=str(name),
            hint="the nearest names are " + messages.quoted(near) if near else "list(reader) has all names",
        )

    @contextmanager
    def _in_file(self) -> Iterator[None]:
        """Add the path, which only the reader knows, to what is raised inside."""
        try:
            yield
        except CheckpointError as error:
            if error.path is None:
                error.path = self._label
            raise
        except MemoryError as error:
            raise OutOfMemoryError(
                "there is not enough memory for what was asked for",
                path=self._label,
                hint=Hint("{fewer}"),
            ) from error


def _unchain(error: BaseException, other: BaseException | None) -> None:
    """Cut an error out of the chain of those that another came from: a traceback would show it."""
    link: BaseException | None = error
    while link is not None:
        if link.__context__ is other:
            link.__context__ = None
        link = link.__context__


def _to_read(entries: list[Entry]) -> list[Entry]:
    """Return what is read for entries: the parts of a map are read like tensors, all else that is none as bytes."""
    if any(entry.parts for entry in entries):
        return [part for entry in entries for part in (entry.parts if entry.kind == MAP else (entry,))]
    return entries


def _values(entries: list[Entry], found: list[Array]) -> dict[str, Value]:
    """Make values from what was read. Where all are tensors, as nearly always, without a call for each."""
    pairs = zip(entries, found, strict=False)
    tensors: dict[str, Value] = {
        entry.name: Parameter.adopt(array, entry.dtype, entry.name) for entry, array in pairs if entry.dtype is not None
    }
    if len(tensors) == len(entries):
        return tensors
    content = iter(found)
    return {entry.name: _value(entry, content) for entry in entries}


def _value(entry: Entry, content: Iterator[Array]) -> Value:
    """Make a value from what was read for it, which comes in the order of the entries."""
    if entry.kind == MAP:
        parts = [next(content) for _ in entry.parts]
        for part in parts:
            part.flags.writeable = False
        return parts
    array = next(content)
    if entry.dtype is not None:
        return Parameter.adopt(array, entry.dtype, entry.name)
    data = array.tobytes()
    return arrays.text(data, entry) if entry.kind == STRING else data
