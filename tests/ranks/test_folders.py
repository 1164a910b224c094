"""Which files a set has: rank folders, several files in one, what is beside them, folders of other layouts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ckptload import open_distributed, save_checkpoint
from ckptload.errors import (
    ArgumentError,
    ArgumentTypeError,
    CheckpointError,
    CorruptCheckpointError,
    LimitError,
    MissingFileError,
)
from ckptload.ranks import folders
from ckptload.ranks.layout_numbers import MAX_DEVICES

if TYPE_CHECKING:
    from pathlib import Path


def made(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def found(folder: Path, suffix: str | None = None) -> dict[int, str]:
    files = folders.find(folder, suffix)
    return {rank: path.removeprefix(f"{folder}/") for rank, path in files.paths.items()}


def test_what_is_beside_rank_folders_is_no_rank(tmp_path: Path) -> None:
    made(
        tmp_path,
        *("rank_0/net-1_1.ckpt", "rank_10/net-1_1.ckpt", "rank_2/net-1_1.ckpt", "rank_2/net-graph.meta"),
        *("rank_2/sub/net-9_9.ckpt", "rank_x/net-1_1.ckpt", "rank_0_tmp/net-1_1.ckpt", "rank_3.txt", "rank_4"),
        *("strategy/s.ckpt", "rank_5/notes.txt"),
    )
    assert found(tmp_path) == {
        0: "rank_0/net-1_1.ckpt",
        2: "rank_2/net-1_1.ckpt",
        10: "rank_10/net-1_1.ckpt",
    }


@pytest.mark.parametrize("kind", ["ckpt", "safetensors"])
def test_the_last_of_several_files_is_taken_in_natural_order_and_said(tmp_path: Path, kind: str) -> None:
    made(tmp_path, *(f"rank_0/net-{step}_1.{kind}" for step in (10, 9, 3)), f"rank_1/net-9_1.{kind}")
    files = folders.find(tmp_path)
    assert files.paths[0].endswith(f"net-10_1.{kind}")
    (note,) = files.notes
    assert (note.kind, note.names) == ("files", ("rank_0",))
    assert f"'net-10_1.{kind}'" in note.text


def test_a_digit_that_is_no_number_is_a_letter(tmp_path: Path) -> None:
    """`str.isdigit` is true of it, and `int` raises."""
    made(tmp_path, "rank_0/\N{SUPERSCRIPT TWO}1.ckpt")
    assert found(tmp_path) == {0: "rank_0/\N{SUPERSCRIPT TWO}1.ckpt"}


def test_a_suffix_ends_a_name_at_a_border(tmp_path: Path) -> None:
    made(tmp_path, *(f"rank_0/net{name}.ckpt" for name in ("-10_1", "-110_1", "-10_11", "_10_1x")))
    for suffix in ("10_1", "-10_1", "_10_1"):
        assert found(tmp_path, suffix) == {0: "rank_0/net-10_1.ckpt"}
    with pytest.raises(ArgumentError, match="no file of this rank has a name that ends in '0_1'"):
        found(tmp_path, "0_1")


def test_both_formats_in_one_folder_are_refused(tmp_path: Path) -> None:
    made(tmp_path, "rank_0/net-1_1.ckpt", "rank_0/net-1_1.safetensors")
    with pytest.raises(ArgumentError, match=r"(?s)\.ckpt and \.safetensors.*rank_0"):
        found(tmp_path)
    made(tmp_path, "rank_0/net-2_1.ckpt")
    assert found(tmp_path, "2_1") == {0: "rank_0/net-2_1.ckpt"}


@pytest.mark.parametrize("names", [(), ("net.ckpt",), ("rank_0/net.txt",), ("rank_x/net.ckpt",)])
def test_a_folder_without_files_of_ranks_says_what_it_needs(tmp_path: Path, names: tuple[str, ...]) -> None:
    with pytest.raises(ArgumentError, match="rank_"):
        found(made(tmp_path, *names))


def test_ranks_beyond_any_training_are_refused(tmp_path: Path) -> None:
    made(tmp_path, f"rank_{MAX_DEVICES}/net.ckpt")
    with pytest.raises(LimitError, match="ranks are 0 to"):
        found(tmp_path)
    with pytest.raises(ArgumentError, match="there is no rank -1"):
        folders.find({-1: "x.ckpt"})


@pytest.mark.parametrize("source", [3, None, b"rank_0", {"0": "x.ckpt"}, {0: 1}, {True: "x"}, [1]])
def test_what_is_no_set_is_refused(source: Any) -> None:
    with pytest.raises(ArgumentTypeError):
        folders.find(source)


def test_a_set_of_nothing_is_refused() -> None:
    nothings: list[Any] = [{}, []]
    for nothing in nothings:
        with pytest.raises(ArgumentError, match="no file"):
            folders.find(nothing)


def test_a_conversion_that_has_not_ended_is_said(tmp_path: Path) -> None:
    """Its journal is there until all files of the set have their names."""
    made(tmp_path, f".ckptload-{'0123456789abcdef'}.journal")
    (tmp_path / "rank_0").mkdir()
    save_checkpoint({"w": np.zeros(2)}, tmp_path / "rank_0/net.ckpt")
    with pytest.warns(UserWarning, match="running or was killed"), open_distributed(tmp_path) as reader:
        assert [note.kind for note in reader.notes] == ["unfinished"]


# -- the tracker of MindFormers -----------------------------------------------------------------------------


def test_the_tracker_names_the_newest_iteration(tmp_path: Path) -> None:
    made(tmp_path, "iteration_00000004/metadata.json", "iteration_00000012/metadata.json")
    (tmp_path / folders.TRACKER).write_text("12\n")
    files = folders.find(tmp_path)
    assert (files.folder, files.layout) == (str(tmp_path / "iteration_00000012"), folders.METADATA)


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("", CorruptCheckpointError, "number of the newest iteration"),
        ("../x", CorruptCheckpointError, "number of the newest iteration"),
        ("5", MissingFileError, "no folder iteration_00000005"),
        ("4", MissingFileError, "has no metadata.json"),
    ],
)
def test_a_tracker_that_leads_nowhere(tmp_path: Path, text: str, error: type[CheckpointError], words: str) -> None:
    made(tmp_path, "iteration_00000004/common.json")
    (tmp_path / folders.TRACKER).write_text(text)
    with pytest.raises(error, match=words):
        folders.find(tmp_path)
