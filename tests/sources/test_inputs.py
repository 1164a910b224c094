"""What a caller may pass as a checkpoint, and what holds no bytes."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any

import pytest

from ckptload.errors import ArgumentTypeError, ReadError
from ckptload.sources.inputs import open_source
from ckptload.sources.memory import BufferSource
from sources.content import CONTENT

if TYPE_CHECKING:
    from pathlib import Path

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
