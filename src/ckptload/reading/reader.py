"""The lazy reader: a checkpoint as a mapping whose values are read on access.

Opening reads the headers only, not the tensor data. `load_checkpoint` is a thin function over this reader.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from ckptload import filters, markup, messages
from ckptload.errors import (
    ArgumentError,
    CheckpointError,
    UnsupportedTypeError,
)
from ckptload.foreign.giving import OURS, chosen
from ckptload.formats.entry import TENSOR, UNSUPPORTED, descriptions
from ckptload.formats.safetensors import strings
from ckptload.reading import arrays, showing
from ckptload.reading.opened import OpenFile
from ckptload.reading.slices import TensorSlice
from ckptload.reading.values import check_kind, given, to_read, values

if TYPE_CHECKING:
    from ckptload.dtypes import Array
    from ckptload.filters import Prefixes
    from ckptload.formats.entry import Entry
    from ckptload.formats.index import Index
    from ckptload.sources.base import Source


#: What `Reader.select` does if it selects nothing.
WARN: Final = "warn"
RAISE: Final = "raise"
ALLOW: Final = "allow"
_IF_EMPTY: Final = (WARN, RAISE, ALLOW)


class Reader(OpenFile, Mapping[str, Any]):
    """An open checkpoint: name to Parameter, str, list of arrays (a map) or bytes (a random state).

    Its Parameters are of the kind that it was opened with (`open_checkpoint`, ``parameters``).

    Reading is thread-safe. Every returned value owns its memory, unless the reader was opened with
    ``mmap=True``. The file must not change while it is open: a read raises ChangedFileError if it has.
    """

    def __init__(
        self,
        index: Index,
        chosen: Sequence[str] | None = None,
        *,
        parent: Reader | None = None,
        reopen: tuple[Any, ...] | None = None,
        gives: str = OURS,
    ) -> None:
        super().__init__(index, chosen, parent, reopen)
        self._public: dict[str, str] | None = None
        self._entries: dict[str, Entry] = {}
        # The results of `arrays.begins_of` for tensors that `get_slice` was called with.
        self._begins: dict[str, list[int]] = {}
        # The kind of the Parameters that are read (`giving.KINDS`).
        self._gives = gives

    # -- the mapping ------------------------------------------------------------------------------

    @property
    def _names(self) -> dict[str, str]:
        """Return a mapping of public names to names in the file."""
        # Not a cached_property, whose lock all readers share before Python 3.12; a signal handler may come meanwhile.
        names = self._public
        if names is None:
            index = self._open_index()
            with self._in_file():
                names = index.public_names(self._chosen_names(index))
            self._public = names
        return names

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

    def kept_strings(self) -> dict[str, str]:
        """Return the strings of a .ckpt that a conversion stored in the metadata of a safetensors file, by name.

        Raises:
            CorruptCheckpointError: the metadata is not as a conversion writes it.
        """
        with self._in_file():
            return strings.kept(self._open_index().metadata)

    def info(self, name: str) -> Entry:
        """Return the kind, dtype, shape, size and position of an entry without reading its data.

        Raises:
            UnknownNameError: the name is not in the file; the message lists the nearest names.
            CorruptCheckpointError: the entry is damaged.
        """
        with self._in_file():
            return self._judged([name])[0]

    def readable(self, name: str) -> Entry:
        """Return the same as `info`, but only if the values of the entry can be read.

        Raises:
            UnsupportedTypeError: its type is not supported.
        """
        with self._in_file():
            return self._readable([name])[0]

    def _readable(self, wanted: Iterable[str]) -> list[Entry]:
        """Return the entries of some names; one error names all whose types are not supported."""
        entries = self._judged(wanted)
        refused = [entry for entry in entries if entry.kind == UNSUPPORTED]
        if refused:
            raise self._open_index().unsupported(refused)
        return entries

    def _judged(self, wanted: Iterable[str]) -> list[Entry]:
        """Return the entries of some names; each entry is checked only once."""
        index, inside, known = self._open_index(), self._names, self._entries
        entries = []
        for name in wanted:
            entry = known.get(name) if isinstance(name, str) else None
            if entry is None:
                if not isinstance(name, str) or name not in inside:
                    raise showing.unknown(name, inside)
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
        if_empty: str = WARN,
    ) -> Reader:
        """Return a reader of the selected names, on the same open file.

        Args:
            choice_func: called once with each name; a true result selects the name.
            specify_prefix: one or several prefixes; a name must begin with one of them.
            filter_prefix: one or several prefixes; a name must not begin with any of them.
            if_empty: what to do if there are entries and none is selected: ``"warn"``, ``"raise"`` or ``"allow"``.

        If a prefix is given, `choice_func` is not called (see `filters.select`).

        Returns:
            A reader that keeps this one alive and is closed with it.

        Raises:
            ArgumentTypeError: a prefix is not a str, or a list or tuple of str.
            ArgumentError: a prefix is empty.
            NothingSelectedError: `if_empty` is ``"raise"``; the message lists names that are near.
            CheckpointError: `choice_func` raised an exception, which is the cause.

        Warns:
            UserWarning: nothing is selected, likewise.
        """
        if if_empty not in _IF_EMPTY:
            raise ArgumentError(f"if_empty must be one of {', '.join(_IF_EMPTY)}, not {messages.shown_value(if_empty)}")
        index = self._open_index()
        with self._in_file():
            names = self._chosen_names(index)
            chosen = filters.select(
                names,
                choice_func=choice_func,
                specify_prefix=specify_prefix,
                filter_prefix=filter_prefix,
            )
        if names and not chosen and if_empty != ALLOW:
            nothing = showing.nothing_selected(
                names,
                filters.prefixes(specify_prefix, "specify_prefix") or (),
                self._label,
                by_prefix=specify_prefix is not None or filter_prefix is not None,
            )
            if if_empty == RAISE:
                raise nothing
            messages.warn(f"{nothing.problem}; {nothing.hint}")
        return Reader(index, chosen, parent=self, gives=self._gives)

    def giving(self, parameters: str) -> Reader:
        """Return a reader of the same names whose Parameters are of another kind.

        Args:
            parameters: as for `open_checkpoint`.

        Returns:
            A reader that keeps this one alive and is closed with it; this one if it is of that kind.

        Raises:
            ArgumentError: there is no such kind.
            MissingPackageError: the kind needs a package that is not installed.
        """
        kind, index = chosen(parameters), self._open_index()
        if kind == self._gives:
            return self
        with self._in_file():
            names = self._chosen_names(index)
        return Reader(index, names, parent=self, gives=kind)

    # -- reading ----------------------------------------------------------------------------------

    def load(self, wanted: Iterable[str] | None = None) -> dict[str, Any]:
        """Read the entries of some names together, by default all of them.

        Returns:
            A dictionary in the order of `wanted`; its values own their memory, unless the file is mapped.

        Raises:
            UnknownNameError: a name is not in the file.
            CorruptCheckpointError: an entry is damaged.
            UnsupportedTypeError: the type of an entry is not supported; the message names all such entries.
        """
        index = self._open_index()
        with self._in_file():
            entries = self._readable(self if wanted is None else wanted)
            check_kind(entries, self._gives)
            found = arrays.load(index.source, to_read(entries))
            if wanted is None:
                index.source.check_unchanged()
            else:
                # Values may be read one by one, so this must not take time in proportion to the index.
                index.source.check_near(descriptions(to_read(entries)))
            return given(values(entries, found), self._gives, mapped=index.source.views)

    def check_types(self) -> None:
        """Check, without reading, that the types of all entries are supported.

        Raises:
            UnsupportedTypeError: some are not; the message names the entries and the way out.
        """
        with self._in_file():
            self._readable(self)

    def check_dtypes(self) -> None:
        """Check, without reading, that the reader's kind of Parameters can hold every tensor.

        Raises:
            UnsupportedTypeError: it cannot hold a dtype; the message names the entry and the way out.
        """
        with self._in_file():
            check_kind(self._readable(self), self._gives)

    def get_tensor(self, name: str) -> Any:
        """Read one tensor; like ``reader[name]``, but only for tensors.

        Raises:
            UnknownNameError: the name is not in the file.
            UnsupportedTypeError: the entry is a string, a map or a random state.
        """
        self._tensor_info(name)
        return self[name]

    def get_slice(self, name: str) -> TensorSlice:
        """Return an object that reads parts of a tensor: ``reader.get_slice(name)[10:20]``.

        Indexing the first axis by an int or a slice reads only those rows. Raises as `get_tensor` does.
        """
        entry = self._tensor_info(name)
        begins = self._begins.get(name)
        if begins is None:
            begins = self._begins[name] = arrays.begins_of(entry)
        with self._in_file():
            check_kind([entry], self._gives)
        return TensorSlice(entry, begins, partial(self._read_rows, entry), self._label, gives=self._gives)

    def fill(self, pairs: Iterable[tuple[str, Array]]) -> None:
        """Read tensors directly into arrays of the caller.

        Args:
            pairs: names, each with a C-contiguous writable array of the tensor's dtype and number of elements; no two
                arrays share memory.

        If this raises while reading, the contents of the arrays are undefined. If that matters for an encrypted
        file, call `authenticate` first.

        Raises:
            CheckpointError: an array does not fit, or an entry is not a tensor.
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
        self._check_apart(wanted)
        with self._in_file():
            arrays.fill(index.source, wanted)
            index.source.check_near(descriptions(entry for entry, _ in wanted))

    def _check_apart(self, wanted: Iterable[tuple[Entry, Array]]) -> None:
        """Raise CheckpointError if contiguous arrays share memory: one value would overwrite the other."""
        places = sorted((*arrays.bounds(array), entry.name) for entry, array in wanted if array.nbytes)
        for (_, stop, first), (start, _, second) in pairwise(places):
            if start < stop:
                raise CheckpointError(
                    f"its array shares memory with that of {first!r}, so that one would overwrite the other",
                    name=second,
                    path=self._label,
                    hint="pass arrays that own their memory",
                )

    def pieces(self, entry: Entry) -> Iterator[memoryview]:
        """Yield the data of a tensor, or of a part of a map, without holding all of it in memory.

        The type of the tensor need not be supported; its bytes are then those in the file.

        Args:
            entry: what `info` returned, or one of its `parts`.

        Returns:
            An iterator of little-endian bytes in C order. A piece is valid until the next one is requested.
        """
        index = self._open_index()
        with self._in_file():
            yield from arrays.pieces(index.source, entry)

    def _read_rows(self, entry: Entry, requests: Callable[[Source], Array]) -> Array:
        index = self._open_index()
        with self._in_file():
            rows = requests(index.source)
            index.source.check_near(descriptions([entry]))
            return rows

    # -- life -------------------------------------------------------------------------------------

    def __enter__(self) -> Reader:
        self._open_index()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __eq__(self, other: object) -> bool:
        # The comparison of Mapping would read both files.
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        index = self._index
        if index is None or self.closed:
            return f"<closed checkpoint {self._label}>"
        return f"<{showing.line(index, self._label, self._chosen_names(index))}>"

    def _repr_html_(self) -> str:
        index = self._index
        if index is None or self.closed:
            return markup.block(f"closed checkpoint {self._label}", "")
        return showing.html(index, self._label, self._chosen_names(index))

    def _ipython_key_completions_(self) -> list[str]:
        return [] if self.closed else list(self)

    # -- inside -----------------------------------------------------------------------------------

    def _chosen_names(self, index: Index) -> Sequence[str]:
        """Return the names in the file."""
        return index.names() if self._chosen is None else self._chosen

    def _tensor_info(self, name: str) -> Entry:
        entry = self.readable(name)
        if entry.kind != TENSOR:
            raise self._no_tensor(entry)
        return entry

    def _no_tensor(self, entry: Entry) -> UnsupportedTypeError:
        return UnsupportedTypeError(
            f"the entry is a {entry.kind}, not a tensor", name=entry.name, path=self._label, hint="use reader[name]"
        )
