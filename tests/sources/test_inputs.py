"""What a caller may pass as a checkpoint, and what holds no bytes."""

from __future__ import annotations

import io
import os
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ckptload.errors import ArgumentTypeError, ReadError
from ckptload.sources.inputs import open_source, place_of
from ckptload.sources.memory import BufferSource
from sources.content import CONTENT

posix_only = pytest.mark.skipif(os.name != "posix", reason="needs a POSIX system")


@posix_only
def test_a_link_is_followed_to_the_file_it_names(path: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(path)
    source = open_source(tmp_path / "link")
    assert source.path == str(path.resolve())
    source.close()


@posix_only
def test_a_relative_path_in_a_folder_that_is_gone_is_a_read_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(ReadError):
        open_source("x.ckpt")


class BytesPath:
    def __fspath__(self) -> bytes:
        return b"x.ckpt"


@pytest.mark.parametrize("thing", [None, 3, 1.5, [], {}, object(), BytesPath(), io.StringIO("text"), "text file"])
def test_what_holds_no_bytes_is_an_argument_type_error(thing: object, path: Path) -> None:
    file = path.open(encoding="latin-1") if thing == "text file" else thing
    with pytest.raises(ArgumentTypeError) as caught:
        open_source(file)
    assert isinstance(caught.value, TypeError)
    if isinstance(file, io.TextIOBase):
        file.close()


def test_an_object_that_reads_text_is_an_argument_type_error(path: Path) -> None:
    """A wrapper that is no TextIOBase is told by what it reads."""

    class Text:
        def __init__(self) -> None:
            self._file = path.open(encoding="latin-1")

        def __getattr__(self, name: str) -> Any:
            return getattr(self._file, name)

    file = Text()
    with pytest.raises(ArgumentTypeError, match="mode 'rb'"):
        open_source(file)
    file.close()


def test_a_source_is_taken_as_it_is() -> None:
    source = BufferSource(CONTENT)
    assert open_source(source) is source


# -- where it is --------------------------------------------------------------------------------------------


def test_a_path_and_a_file_that_was_opened_by_one_have_a_place(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert place_of(path) == place_of(path.name) == str(path)
    with closing(open_source(path)) as source:
        assert place_of(source) == str(path)
    for buffering in (-1, 0):
        with Path(path.name).open("rb", buffering=buffering) as file:
            assert place_of(file) == str(path)


@posix_only
def test_the_place_of_a_link_is_where_the_link_is(path: Path, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    link = tmp_path / "sub" / "link"
    link.symlink_to(path)
    with link.open("rb") as file:
        assert place_of(file) == place_of(link) == str(link)


class Named(io.BytesIO):
    """Has a name, and no file."""

    def __init__(self, name: Any) -> None:
        super().__init__(CONTENT)
        self.name = name


def test_what_was_not_opened_by_a_path_has_no_place(path: Path) -> None:
    for source in (CONTENT, io.BytesIO(CONTENT), Named(str(path)), Named(3), Named(None), Named("a\0"), BytesPath()):
        assert place_of(source) is None
    with tempfile.TemporaryFile() as file:
        assert place_of(file) is None


def test_a_name_that_has_become_another_files_is_no_place(path: Path, tmp_path: Path) -> None:
    class Renamed(io.FileIO):
        name = str(tmp_path / "other")

    with Renamed(path) as file:
        assert place_of(file) is None
        (tmp_path / "other").write_bytes(CONTENT)
        assert place_of(file) is None
