"""What is in a folder, of this system or behind a URL."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from ckptload import open_distributed, save_checkpoint
from ckptload.errors import LimitError, MissingFileError, MissingPackageError, ReadError
from ckptload.sources import folders

if TYPE_CHECKING:
    from pathlib import Path


def test_names_are_in_order_each_with_whether_it_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "a").touch()
    (tmp_path / "c").symlink_to(tmp_path / "b")
    assert list(folders.contents(str(tmp_path)).items()) == [("a", False), ("b", True), ("c", True)]


def test_what_cannot_be_listed_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MissingFileError, match="cannot list the folder"):
        folders.contents(str(tmp_path / "nothing"))
    with pytest.raises(ReadError, match="cannot list the folder"):
        folders.contents(str(tmp_path / "file"))
    with pytest.raises(ReadError, match="cannot list the folder"):
        folders.contents("a\0b")


def test_a_folder_of_more_names_than_any_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abc":
        (tmp_path / name).touch()
    monkeypatch.setattr(folders, "MAX_NAMES", 2)
    with pytest.raises(LimitError, match="more than 2 names"):
        folders.contents(str(tmp_path))


def test_a_set_behind_a_url(tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    for rank in range(2):
        path = tmp_path / f"{rank}.ckpt"
        save_checkpoint({f"w{rank}": np.arange(5) + rank}, path)
        memory.pipe(f"/of_ranks/rank_{rank}/net.ckpt", path.read_bytes())
    memory.pipe("/of_ranks/notes.txt", b"")
    try:
        assert folders.contents("memory://of_ranks") == {"notes.txt": False, "rank_0": True, "rank_1": True}
        assert folders.is_folder("memory://of_ranks/rank_0")
        assert not folders.is_folder("memory://of_ranks/notes.txt")
        with open_distributed("memory://of_ranks") as reader:
            assert [value.asnumpy().tolist() for value in reader.load().values()] == [[0, 1, 2, 3, 4], [1, 2, 3, 4, 5]]
        with pytest.raises(MissingFileError):
            folders.contents("memory://nothing_of_this_name")
    finally:
        memory.rm("/of_ranks", recursive=True)


def test_without_fsspec_a_url_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(MissingPackageError, match="fsspec, which is not installed"):
        folders.contents("s3://bucket/run")
    assert not folders.is_folder("s3://bucket/run")
