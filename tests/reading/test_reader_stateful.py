"""Opens, reads, slices, selections, changes and closes in any order: a reader is right, or says what is wrong."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from ckptload import load_checkpoint, open_checkpoint
from ckptload.errors import ChangedFileError, ClosedReaderError, UnknownNameError
from strategies import mapping, record, tensor, text

if TYPE_CHECKING:
    from collections.abc import Callable

    from ckptload.reading.reader import Reader

SHAPES: dict[str, tuple[int, ...]] = {"a": (5, 3), "b": (4,), "c": (), "d": (0, 2)}
FILES = ["x.ckpt", "y.ckpt"]
NAMES = [*SHAPES, "note", "m"]
any_name = st.sampled_from([*NAMES, "absent"])


def contents(version: int) -> dict[str, Any]:
    """What a file of some version holds."""
    values: dict[str, Any] = {
        name: (np.arange(np.prod(shape, dtype=int)).reshape(shape) + 100 * version).astype("<f4")
        for name, shape in SHAPES.items()
    }
    return values | {"note": f"version {version}", "m": [np.full(3, version, "<i8")]}


def encoded(version: int) -> bytes:
    """The file itself, of the same size in every version."""
    values = contents(version)
    parts = [record(name, shape, "Float32", values[name].tobytes()) for name, shape in SHAPES.items()]
    parts.append(text("note", values["note"]))
    parts.append(mapping("m", tensor((3,), "int64", values["m"][0].tobytes())))
    return b"".join(parts)


def plain(value: Any) -> Any:
    if isinstance(value, str):
        return value
    return [part.tolist() for part in value] if isinstance(value, list) else value.tolist()


class Opened:
    """A reader, and what is known of it."""

    def __init__(self, reader: Reader, path: Path, version: int, chosen: list[str], parent: Opened | None) -> None:
        self.reader, self.path, self.version, self.chosen, self.parent = reader, path, version, chosen, parent
        self.was_closed = False

    @property
    def closed(self) -> bool:
        return self.was_closed or (self.parent is not None and self.parent.closed)


class Readers(RuleBasedStateMachine):
    """Some files, any number of readers of each, and every value that was read so far."""

    opened = Bundle("opened")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp()).resolve()
        self.versions: dict[Path, int] = {}
        self.kept: list[tuple[Any, Any]] = []
        self.all: list[Opened] = []
        for name in FILES:
            self.versions[self.folder / name] = 1
            (self.folder / name).write_bytes(encoded(1))

    @rule(target=opened, name=st.sampled_from(FILES), mapped=st.booleans())
    def open(self, name: str, mapped: bool) -> Opened:
        path = self.folder / name
        return self.known(Opened(open_checkpoint(path, mmap=mapped), path, self.versions[path], NAMES, None))

    def known(self, one: Opened) -> Opened:
        self.all.append(one)
        return one

    @rule(target=opened, one=opened, prefix=st.sampled_from("abcm"))
    def select(self, one: Opened, prefix: str) -> Opened:
        def choose() -> Reader:
            return one.reader.select(filter_prefix=prefix)

        if one.closed:
            self.refused(choose, ClosedReaderError)
            return one
        chosen = [name for name in one.chosen if not name.startswith(prefix)]
        return self.known(Opened(choose(), one.path, one.version, chosen, one))

    @rule(one=opened)
    def iterate(self, one: Opened) -> None:
        if one.closed:
            self.refused(lambda: list(one.reader), ClosedReaderError)
        else:
            assert list(one.reader) == one.chosen

    @rule(one=opened, name=any_name)
    def read(self, one: Opened, name: str) -> None:
        def check(value: Any) -> None:
            expected = contents(one.version)[name]
            got = value.asnumpy() if name in SHAPES else value
            assert plain(got) == plain(expected)
            self.kept.append((got, expected))

        self.use(one, name, lambda: one.reader[name], check)

    @rule(one=opened, name=st.sampled_from(["a", "b"]), rows=st.slices(5))
    def slice(self, one: Opened, name: str, rows: slice) -> None:
        def check(part: Any) -> None:
            expected = contents(one.version)[name][rows]
            assert plain(part.asnumpy()) == plain(expected)
            self.kept.append((part.asnumpy(), expected))

        self.use(one, name, lambda: one.reader.get_slice(name)[rows], check)

    @rule(one=opened, name=st.sampled_from(list(SHAPES)))
    def fill(self, one: Opened, name: str) -> None:
        room = np.empty(SHAPES[name], "<f4")

        def check(_: None) -> None:
            assert plain(room) == plain(contents(one.version)[name])

        self.use(one, name, lambda: one.reader.fill([(name, room)]), check)

    def use(self, one: Opened, name: str, action: Callable[[], Any], check: Callable[[Any], None]) -> None:
        """Do something with an entry, and expect what must come of it."""
        if one.closed:
            self.refused(action, ClosedReaderError)
        elif name not in one.chosen:
            self.refused(action, UnknownNameError)
        elif self.versions[one.path] != one.version:
            self.refused(action, ChangedFileError)
        else:
            check(action())

    def refused(self, action: Callable[[], Any], error: type[Exception]) -> None:
        with pytest.raises(error):
            action()

    @rule(name=st.sampled_from(FILES))
    def replace(self, name: str) -> None:
        """Put a new file in the place of the old one, as careful writers do."""
        path = self.folder / name
        version = self.versions[path] + 1
        other = self.folder / "new"
        other.write_bytes(encoded(version))
        os.replace(other, path)  # noqa: PTH105
        self.versions[path] = version

    @rule(name=st.sampled_from(FILES))
    def load(self, name: str) -> None:
        path = self.folder / name
        got = load_checkpoint(str(path))
        expected = contents(self.versions[path])
        assert list(got) == NAMES
        for key, value in got.items():
            found = value.asnumpy() if key in SHAPES else value
            assert plain(found) == plain(expected[key])
            self.kept.append((found, expected[key]))

    @rule(one=opened)
    def close(self, one: Opened) -> None:
        one.reader.close()
        one.was_closed = True

    @invariant()
    def values_stay_as_they_were_read(self) -> None:
        """Whatever happened to the reader and the file since."""
        for got, expected in self.kept:
            assert plain(got) == plain(expected)

    @invariant()
    def readers_know_whether_they_are_closed(self) -> None:
        for one in self.all:
            assert one.reader.closed == one.closed

    def teardown(self) -> None:
        for one in self.all:
            one.reader.close()
        shutil.rmtree(self.folder)


TestReaders = pytest.mark.slow(Readers.TestCase)
TestReaders.settings = settings(max_examples=60, stateful_step_count=25)
