"""The lazy reader: a checkpoint as a mapping whose values are read on access.

Opening reads the headers only, not the tensor data. `load_checkpoint` is a thin function over this reader.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ckptload import filters, messages
from ckptload.errors import (
    ChangedFileError,
    CheckpointError,
    ClosedReaderError,
    DecryptionError,
    ForeignFieldWarning,
    Hint,
    ReadError,
    UnknownNameError,
    UnsupportedTypeError,
    enough_memory,
)
from ckptload.foreign.giving import OURS, chosen
from ckptload.formats.entry import TENSOR, UNSUPPORTED
from ckptload.formats.safetensors import strings
from ckptload.reading import arrays, digests
from ckptload.reading.slices import TensorSlice
from ckptload.reading.values import check_kind, given, to_read, values

if TYPE_CHECKING:
    from ckptload.dtypes import Array
    from ckptload.filters import Prefixes
    from ckptload.formats.entry import Entry
    from ckptload.formats.index import Facts, Index
    from ckptload.sources.base import Source


class Reader(Mapping[str, Any]):
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
        self._index: Index | None = index
        # Names in the file for a selection; None for the reader of the whole file, which owns the source.
        self._chosen = chosen
        # A selection keeps alive the reader that owns the file.
        self._parent = parent
        self._label = index.source.label
        self._entries: dict[str, Entry] = {}
        # The results of `arrays.begins_of` for tensors that `get_slice` was called with.
        self._begins: dict[str, list[int]] = {}
        # The kind of the Parameters that are read (`giving.KINDS`).
        self._gives = gives
        # The function and arguments with which pickle opens the same file again, if that is possible.
        self._reopen = reopen

    # -- the mapping ------------------------------------------------------------------------------

    @cached_property
    def _names(self) -> dict[str, str]:
        """Return a mapping of public names to names in the file."""
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
        """Return a copy of the file's metadata: ``__metadata__`` of safetensors, empty for .ckpt."""
        return dict(self._open_index().metadata)

    @property
    def cipher(self) -> str | None:
        """Return the mode of an encrypted file, such as ``AES-GCM``, or None."""
        return self._open_index().cipher

    @property
    def path(self) -> str:
        """Return the path, or a description if the source is not a file."""
        return self._label

    @property
    def files(self) -> list[str]:
        """Return the paths of the files that hold the entries; empty for bytes, file objects and URLs.

        Shards that do not exist are not among them.
        """
        return list(self._open_index().source.files)

    def kept_strings(self) -> dict[str, str]:
        """Return the strings of a .ckpt that a conversion stored in the metadata of a safetensors file, by name.

        Raises:
            CorruptCheckpointError: the metadata is not as a conversion writes it.
        """
        with self._in_file():
            return strings.kept(self._open_index().metadata)

    @cached_property
    def facts(self) -> Facts:
        """Return facts about the file: its size, its checksum or tags, and the versions that can have written it."""
        return self._open_index().facts()

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
        """Return a reader of the selected names, on the same open file.

        Args:
            choice_func: called once with each name; a true result selects the name.
            specify_prefix: one or several prefixes; a name must begin with one of them.
            filter_prefix: one or several prefixes; a name must not begin with any of them.

        If a prefix is given, `choice_func` is not called (see `filters.select`).

        Returns:
            A reader that keeps this one alive and is closed with it.

        Raises:
            ArgumentTypeError: a prefix is not a str, or a list or tuple of str.
            ArgumentError: a prefix is empty.
            CheckpointError: `choice_func` raised an exception, which is the cause.
        """
        index = self._open_index()
        with self._in_file():
            chosen = filters.select(
                index.names() if self._chosen is None else self._chosen,
                choice_func=choice_func,
                specify_prefix=specify_prefix,
                filter_prefix=filter_prefix,
            )
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
            names = index.names() if self._chosen is None else self._chosen
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
            index.source.check_unchanged()
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
        return TensorSlice(entry, begins, self._read_rows, self._label, gives=self._gives)

    def fill(self, pairs: Iterable[tuple[str, Array]]) -> None:
        """Read tensors directly into arrays of the caller.

        Args:
            pairs: names, each with a C-contiguous writable array of the tensor's dtype and number of elements.

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
        with self._in_file():
            arrays.fill(index.source, wanted)
            index.source.check_unchanged()

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

    def _read_rows(self, requests: Callable[[Source], Array]) -> Array:
        index = self._open_index()
        with self._in_file():
            rows = requests(index.source)
            index.source.check_unchanged()
            return rows

    # -- checking ---------------------------------------------------------------------------------

    def verify_crc(self) -> bool:
        """Check the CRC-32 that is stored in the file (docs/format.md, "CRC trailer").

        Returns:
            True if the file has a checksum and it matches; False if it has none.

        Raises:
            ChecksumError: the checksum does not match.
        """
        index = self._open_index()
        with self._in_file():
            return index.verify_crc()

    def verify_name(self) -> bool:
        """Compare a SHA-256 in the file's name, as in ``resnet18-1e65cd21.ckpt``, with that of its bytes.

        Returns:
            True if the name (of each file, if there are several) has at least 8 digits of one after a dash at its end,
            and they match; False if it has none. Without a letter among them, they count only if they match.

        Raises:
            ChecksumError: they do not match.
        """
        with self._in_file():
            found = [digests.verify_name(path) for path in self.files]
        return bool(found) and all(found)

    def check_index(self) -> list[CheckpointError]:
        """Compare the index of a checkpoint in several files with what is in these files.

        Returns:
            Errors, which are not raised: tensors that the index does not list, tensors in several files, files of a
            set that the index does not name, a wrong ``total_size``. A tensor that is missing is not among them; its
            `info` raises. Empty if nothing is wrong, or if this is a single file.
        """
        index = self._open_index()
        with self._in_file():
            return index.check_index()

    def authenticate(self) -> None:
        """Check the tag of every block of an encrypted file; do nothing for a file without tags.

        Raises:
            DecryptionError: a tag does not match, so the key is wrong or the file was changed.
        """
        index = self._open_index()
        with self._in_file():
            index.source.authenticate()

    def warn_of_foreign_fields(self) -> None:
        """Warn if there are fields that no version of MindSpore writes; see `Facts.foreign`.

        Opening a file does this, unless it is encrypted and nothing in it has been authenticated.
        """
        foreign = self._open_index().foreign
        if foreign.number:
            messages.warn(
                f"{self._label} has {foreign}. Readers skip such fields, or let them replace others. A changed bit "
                "turns a parameter, its name or a part of its shape into one, so parameters may be missing or changed: "
                "fetch the file again, or compare its entries with the network's",
                ForeignFieldWarning,
            )

    @contextmanager
    def vouched(self) -> Iterator[None]:
        """Check all tags when the context ends, even after an error about what was read inside it.

        Values read inside may come from blocks that are not checked yet, so they must not reach the user before
        the context has ended without an error.

        Raises:
            DecryptionError: a tag does not match. An error raised inside is dropped then, because it may show
                unauthenticated data.
        """
        failure: CheckpointError | None = None
        try:
            yield
        except (DecryptionError, ReadError, ChangedFileError):
            # These errors do not show data of the file.
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
        """Close the file. Values that were read stay valid; reading again raises ClosedReaderError."""
        index, self._index = self._index, None
        if index is not None and self._chosen is None:
            index.source.close()

    @property
    def closed(self) -> bool:
        """Tell whether this reader, or the one that it was selected from, is closed."""
        return self._index is None or (self._parent is not None and self._parent.closed)

    def __enter__(self) -> Reader:
        self._open_index()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        # The constructor may have failed before `_index` was set.
        if getattr(self, "_index", None) is not None:
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
        # Not len(self), which raises if public names collide: a repr must not raise.
        count = len(index.names() if self._chosen is None else self._chosen)
        cipher = f", {index.cipher}" if index.cipher else ""
        return f"<{index.format} checkpoint {self._label}: {count} entries{cipher}>"

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
        index = self._index  # Once: another thread may close the reader at any moment.
        if index is None or self.closed:
            raise ClosedReaderError("the reader was closed", path=self._label, hint="open the checkpoint again")
        return index

    def _tensor_info(self, name: str) -> Entry:
        entry = self.readable(name)
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
        """Add the path to errors raised inside, where only the reader knows it."""
        try:
            with enough_memory("for the requested entries", path=self._label, hint=Hint("{fewer}")):
                yield
        except CheckpointError as error:
            if error.path is None:
                error.path = self._label
            raise


def _unchain(error: BaseException, other: BaseException | None) -> None:
    """Remove `other` from the chain of contexts of `error`, because a traceback would show it."""
    link: BaseException | None = error
    while link is not None:
        if link.__context__ is other:
            link.__context__ = None
        link = link.__context__
