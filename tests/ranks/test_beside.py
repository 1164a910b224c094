"""The files of other ranks beside a rank's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from ckptload.ranks.beside import files_beside


def lay(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def found(root: Path, name: str) -> tuple[int, dict[int, str]] | None:
    got = files_beside(str(root / name))
    return (
        None
        if got is None
        else (got[0], {rank: Path(path).relative_to(root).as_posix() for rank, path in got[1].items()})
    )


@pytest.mark.parametrize(
    ("own", "other", "decoys"),
    [
        ("net-1_4.ckpt", "net-1_4.ckpt", ["net-1_5.ckpt", "net-10_4.ckpt", "net-graph.meta"]),
        ("net_3.ckpt", "net_11.ckpt", ["net_3x.ckpt", "net_1.ckpt"]),
        ("net_rank_3-3_4.ckpt", "net_rank_11-3_4.ckpt", ["net_rank_11-3_5.ckpt", "net_rank_1-3_4.ckpt"]),
        ("a.safetensors", "b.safetensors", ["b.ckpt", "c.txt"]),
    ],
)
def test_the_file_of_the_same_step_is_taken(tmp_path: Path, own: str, other: str, decoys: list[str]) -> None:
    lay(tmp_path, f"rank_3/{own}", f"rank_11/{other}", *(f"rank_11/{name}" for name in decoys))
    assert found(tmp_path, f"rank_3/{own}") == (3, {3: f"rank_3/{own}", 11: f"rank_11/{other}"})


def test_a_rank_without_such_a_file_is_left_out(tmp_path: Path) -> None:
    lay(
        tmp_path,
        "rank_0/n-1_4.ckpt",
        "rank_1/n-1_5.ckpt",
        "rank_1/n-1_6.ckpt",
        "rank_2/x",
        "rank_x/n-1_4.ckpt",
        "rank_5",
    )
    assert found(tmp_path, "rank_0/n-1_4.ckpt") == (0, {0: "rank_0/n-1_4.ckpt"})


@pytest.mark.parametrize(
    "name", ["x.ckpt", "rank_a/x.ckpt", "rank_1/x.txt", "rank_1x/x.ckpt", f"rank_{1 << 20}/x.ckpt"]
)
def test_other_files_are_no_ranks(tmp_path: Path, name: str) -> None:
    lay(tmp_path, name)
    assert found(tmp_path, name) is None


def test_a_relative_path_is_one_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay(tmp_path, "rank_0/x.ckpt", "rank_1/x.ckpt")
    monkeypatch.chdir(tmp_path / "rank_1")
    got = files_beside("x.ckpt")
    assert got is not None
    assert (got[0], sorted(got[1])) == (1, [0, 1])


def test_a_folder_that_is_not_there_is_none(tmp_path: Path) -> None:
    assert found(tmp_path, "nowhere/rank_0/x.ckpt") is None
