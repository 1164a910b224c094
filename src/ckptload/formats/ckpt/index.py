"""The index of a .ckpt: its records by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ckptload import dtypes
from ckptload.errors import CheckpointError, Hint
from ckptload.filters import MAX_NAME
from ckptload.formats.ckpt import history, records, schema, trailer
from ckptload.formats.coverage import WHOLE, Coverage
from ckptload.formats.entry import CKPT, unsupported
from ckptload.formats.index import Facts
from ckptload.messages import counted, listed, quoted, shortened

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ckptload.errors import UnsupportedTypeError
    from ckptload.formats.ckpt.walk import Layout
    from ckptload.formats.entry import Entry
    from ckptload.formats.index import Note
    from ckptload.sources.base import Source


class CkptIndex:
    """The records of a .ckpt by name; those of a name are checked when its entry is requested."""

    def __init__(self, source: Source, layout: Layout, cipher: str | None = None, *, tagged: bool = False) -> None:
        self.format = CKPT
        self.source = source
        self.metadata: dict[str, str] = {}
        self.cipher = cipher
        self.notes: Sequence[Note] = ()
        self._tagged = tagged
        self.trailer = layout.trailer
        self._maps = [record for record in layout.records if record.is_map]
        self._found = records.grouped(layout.records)
        for first, last, what in records.odd(self._found.values()):
            layout.strangers.add(first.offset, last.stop, what, first.name)
        self.foreign = layout.strangers.found()

    def names(self) -> Sequence[str]:
        """Return the names in file order; a repeated name keeps its first place (docs/format.md, "Records")."""
        return list(self._found)

    def public_names(self, chosen: Iterable[str]) -> dict[str, str]:
        """Cut the suffix off names of parameters with a cache, as MindSpore does, and put them at the end.

        Returns:
            Dictionary from public names to names in the file.

        Raises:
            CheckpointError: two names are the same without the suffix.
        """
        chosen = list(chosen)
        if not any(schema.PARAM_KEY_MARK in name for name in chosen):
            # Few files have parameters with a cache.
            return dict(zip(chosen, chosen, strict=True))
        plain: dict[str, str] = {}
        cut: dict[str, str] = {}
        for name in chosen:
            public, mark, _ = name.partition(schema.PARAM_KEY_MARK)
            group = cut if mark else plain
            if public in group:
                raise _collision(public, group[public], name)
            group[public] = name
        for public in plain.keys() & cut.keys():
            raise _collision(public, plain[public], cut[public])
        return plain | cut

    def entry(self, name: str) -> Entry:
        """Check the records of a name and return its entry; see `records.judge`."""
        return records.judge(name, self._found[name])

    def unsupported(self, entries: Sequence[Entry]) -> UnsupportedTypeError:
        """Return the error for entries of types that are not supported."""
        return unsupported(entries, dtypes.BY_NAME)

    def verify_crc(self) -> Coverage | None:
        """Return what the sum in the trailer covers, or None without one; raise ChecksumError if it does not match."""
        if self.trailer is None:
            return None
        maps = [(record.offset, record.stop) for record in self._maps]
        if trailer.verify_crc(self.source, self.trailer, maps):
            return WHOLE
        return Coverage(gaps=tuple(self._left_out()))

    def reach(self) -> Coverage:
        """Return the whole: what there is of the file is in the file itself."""
        return WHOLE

    def _left_out(self) -> Iterator[str]:
        """Say what a sum without the map records leaves out."""
        names = list(dict.fromkeys(record.name for record in self._maps))
        yield (
            f"the CRC-32 leaves out {counted(len(names), 'map')}, as MindSpore writes it, so that what is in maps, and "
            f"which there are, may have changed: {_named(names)}"
        )
        replacing = []
        for name in names:
            of_name = records.runs(self._found[name])
            if of_name[-1][0].is_map and not all(run[0].is_map for run in of_name):
                replacing.append(name)
        if replacing:
            yield (
                f"{counted(len(replacing), 'of these maps replaces', 'of these maps replace')} a value of the same "
                f"name, which the CRC-32 covers: {_named(replacing)}"
            )

    def check_index(self) -> list[CheckpointError]:
        """Return nothing: this is a single file."""
        return []

    def facts(self) -> Facts:
        """Return facts from the records, the trailer and the cipher."""
        has_checksum = self.trailer is not None
        found = history.evidence(self._found, has_checksum=has_checksum, cipher=self.cipher, tagged=self._tagged)
        return Facts(
            self.source.size, has_checksum, self.source.authenticated, history.written_by(found), found, self.foreign
        )


def _named(names: Sequence[str]) -> str:
    return listed(list(map(shortened, names)))


def _collision(public: str, first: str, second: str) -> CheckpointError:
    both = f"{quoted([first])} and {quoted([second])}"
    return CheckpointError(
        f"{both} have the same name without {schema.PARAM_KEY_MARK!r}",
        name=public if len(public) <= MAX_NAME else f"{public[:60]}...",
        hint=Hint("leave one of them out with {exclude}, which sees the whole names"),
    )
