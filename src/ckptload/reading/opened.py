"""An open file, as every reader has one: what it says about itself, whether it is sound, and when it is closed."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ckptload import messages
from ckptload.errors import (
    ChangedFileError,
    CheckpointError,
    ChecksumError,
    ClosedReaderError,
    DecryptionError,
    ForeignFieldWarning,
    Hint,
    ReadError,
    enough_memory,
)
from ckptload.formats.coverage import WHOLE, Coverage, by_all, by_any
from ckptload.reading import digests

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

    from ckptload.formats.index import Facts, Index, Note
    from ckptload.sources.base import Source


class OpenFile:
    """The index of an open file, or of a selection of its entries, and the source below it.

    Args:
        index: the index; its source is closed with this object.
        chosen: names in the file for a selection; None for the whole file, which owns the source.
        parent: what a selection was made from; it is kept alive.
        reopen: the function and arguments with which pickle opens the same file again, if that is possible.
    """

    def __init__(
        self,
        index: Index,
        chosen: Sequence[str] | None,
        parent: OpenFile | None,
        reopen: tuple[Any, ...] | None,
    ) -> None:
        self._index: Index | None = index
        self._chosen = chosen
        self._parent = parent
        self._label = index.source.label
        self._reopen = reopen
        # What the checks that were made and passed cover; a selection has those of the whole file.
        self._passed: dict[str, Coverage] = {} if parent is None else parent._passed  # noqa: SLF001
        self._facts: Facts | None = None

    # -- what the file says about itself ----------------------------------------------------------

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

    def statuses(self) -> list[os.stat_result]:
        """Return what the system says about each file that is read; empty for bytes and URLs.

        What is written from their content must not be more readable than they are.
        """
        return self._open_index().source.statuses()

    @property
    def facts(self) -> Facts:
        """Return facts about the file: its size, its checksum or tags, and the versions that can have written it."""
        if self._facts is None:
            self._facts = self._open_index().facts()
        return self._facts

    @property
    def notes(self) -> list[Note]:
        """Return what was decided when it was opened, such as which of several files of a rank was taken.

        Empty for a checkpoint in one file.
        """
        return list(self._open_index().notes)

    # -- checking ---------------------------------------------------------------------------------

    def verify_crc(self) -> bool:
        """Check the CRC-32 that is stored in the file (docs/format.md, "CRC trailer").

        The sums that MindSpore writes do not cover everything; `coverage` tells.

        Returns:
            True if the file has a checksum and it matches; False if it has none.

        Raises:
            ChecksumError: the checksum does not match.
        """
        index = self._open_index()
        with self._in_file():
            try:
                found = index.verify_crc()
            except ChecksumError:
                index.source.check_unchanged()
                raise
            index.source.check_unchanged()
            return self._note("CRC-32", found)

    def verify_name(self) -> bool:
        """Compare a SHA-256 in the file's name, as in ``resnet18-1e65cd21.ckpt``, with that of its bytes.

        Returns:
            True if the name (of each of `files`, if there are several) has at least 8 digits of one after a dash at its
            end, and they match; False if it has none. Without a letter among them, they count only if they match.

        Raises:
            ChecksumError: they do not match.
        """
        with self._in_file():
            found = [digests.verify_name(path) for path in self.files]
        return self._note("SHA-256", WHOLE if found and all(found) else None)

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
        self._note("tags", _of_tags(index.source))

    def coverage(self) -> Coverage:
        """Return which parts of the checkpoint are covered by the checks that were made on this reader and passed.

        The checks are `verify_crc`, `verify_name` and `authenticate`; before any of them nothing is covered. An index
        of shards has no sum of its own, so that `check_index` must have found nothing, too.
        """
        passed = by_any(self._passed.values())
        return by_all([passed, self._open_index().reach()]) if self._passed else passed

    def _note(self, check: str, covered: Coverage | None) -> bool:
        """Keep what a check covers that has passed; return whether there was something to check."""
        if covered is not None:
            self._passed[check] = covered
        return covered is not None

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

    def __del__(self) -> None:
        # The constructor may have failed before `_index` was set.
        if getattr(self, "_index", None) is not None:
            self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        if self._reopen is None or self._chosen is not None or self._index is None:
            raise CheckpointError(
                "only an open reader of a whole, unencrypted file that was opened by its path can be pickled",
                path=self._label,
                hint="open the checkpoint in the other process",
            )
        return self._reopen

    def _open_index(self) -> Index:
        index = self._index  # Once: another thread may close the reader at any moment.
        if index is None or self.closed:
            raise ClosedReaderError("the reader was closed", path=self._label, hint="open the checkpoint again")
        return index

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


def _of_tags(source: Source) -> Coverage | None:
    """Return what the tags of an encrypted file cover; None without tags."""
    inside, around = source.authenticated, not source.unsealed
    if not inside and around:
        return None
    return Coverage(bytes=inside, entries=inside, order=around, completeness=around, gaps=source.unsealed)


def _unchain(error: BaseException, other: BaseException | None) -> None:
    """Remove `other` from the chain of contexts of `error`, because a traceback would show it."""
    link: BaseException | None = error
    while link is not None:
        if link.__context__ is other:
            link.__context__ = None
        link = link.__context__
