"""The index of a .ckpt: its records by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ckptload.errors import CheckpointError, Hint
from ckptload.filters import MAX_NAME
from ckptload.formats.ckpt import history, records, schema, trailer
from ckptload.formats.entry import CKPT
from ckptload.formats.index import Facts
from ckptload.messages import quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ckptload.formats.ckpt.walk import Layout
    from ckptload.formats.entry import Entry
    from ckptload.sources.base import Source


class CkptIndex:
    """What a .ckpt holds: runs of records by name, judged when they are asked for."""

    def __init__(self, source: Source, layout: Layout, cipher: str | None = None, *, tagged: bool = False) -> None:
        self.format = CKPT
        self.source = source
        self.metadata: dict[str, str] = {}
        self.cipher = cipher
        self._tagged = tagged
        self.trailer = layout.trailer
        self._maps = [(record.offset, record.stop) for record in layout.records if record.is_map]
        self._found = records.grouped(layout.records)

    def names(self) -> Sequence[str]:
        """Return the names in file order; a repeated one keeps its first place."""
        return list(self._found)

    def public_names(self, chosen: Iterable[str]) -> dict[str, str]:
        """Cut the names of cached parameters as MindSpore does, and put them at the end.

        Raises:
            CheckpointError: two names are the same once they are cut.
        """
        chosen = list(chosen)
        plain = dict(zip(chosen, chosen, strict=True))
        if not any(schema.PARAM_KEY_MARK in name for name in plain):
            # As nearly always.
            return plain
        plain.clear()
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
        """Judge the records of a name."""
        return records.judge(name, self._found[name])

    def verify_crc(self) -> bool:
        """Check the trailer, where there is one."""
        if self.trailer is None:
            return False
        trailer.verify_crc(self.source, self.trailer, self._maps)
        return True

    def facts(self) -> Facts:
        """Gather what the records, the trailer and the cipher tell about the file."""
        has_checksum = self.trailer is not None
        found = history.evidence(self._found, has_checksum=has_checksum, cipher=self.cipher, tagged=self._tagged)
        return Facts(self.source.size, has_checksum, self.source.authenticated, history.written_by(found), found)


def _collision(public: str, first: str, second: str) -> CheckpointError:
    both = f"{quoted([first])} and {quoted([second])}"
    return CheckpointError(
        f"{both} have the same name without {schema.PARAM_KEY_MARK!r}",
        name=public if len(public) <= MAX_NAME else f"{public[:60]}...",
        hint=Hint("leave one of them out with {exclude}, which sees the whole names"),
    )
