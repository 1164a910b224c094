"""A checkpoint that is replaced while it is read, as training scripts do."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ckptload import load_checkpoint, open_checkpoint
from ckptload.errors import ChangedFileError
from places import FIXTURES


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return Path(shutil.copy(FIXTURES / "lenet5.ckpt", tmp_path / "x.ckpt"))


def replace(target: Path) -> bool:
    """Put another file in the place of the target, in one step."""
    shutil.copy(FIXTURES / "adam.ckpt", target.with_suffix(".new"))
    target.with_suffix(".new").replace(target)
    return True


def test_a_load_returns_the_file_that_it_opened_whole(target: Path) -> None:
    """The file that was opened is complete, whatever has its name by now."""
    expected = load_checkpoint(str(target))
    loaded = load_checkpoint(str(target), choice_func=lambda _: replace(target))
    assert list(loaded) == list(expected)
    assert all(loaded[name].get_bytes() == expected[name].get_bytes() for name in expected)
    assert list(load_checkpoint(str(target))) != list(expected)


def test_an_open_reader_tells_that_its_name_is_another_file(target: Path) -> None:
    with open_checkpoint(target) as reader:
        replace(target)
        with pytest.raises(ChangedFileError, match="replaced"):
            reader["conv1.weight"]


def test_a_load_tells_that_its_file_was_written_to(target: Path) -> None:
    """Nobody can say whether what was read is from before or after."""

    def grow(_: str) -> bool:
        with target.open("ab") as file:
            file.write(b"\0")
        return True

    with pytest.raises(ChangedFileError, match="changed"):
        load_checkpoint(str(target), choice_func=grow)
