"""The files of a set: what equal ones share, and what they must not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ckptload import CorruptCheckpointError, open_distributed, save_checkpoint
from ckptload.ranks.members import opened
from ckptload.reading.access import Access

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def write(folder: Path, held: Mapping[int, Mapping[str, Any]], ending: str) -> dict[int, str]:
    paths = {}
    for rank, values in held.items():
        place = folder / f"rank_{rank}"
        place.mkdir()
        save_checkpoint(dict(values), place / f"net.{ending}", format=ending)
        paths[rank] = str(place / f"net.{ending}")
    return paths


def test_files_that_describe_the_same_share_names_and_entries(tmp_path: Path) -> None:
    held = {rank: {"w": np.full((2, 3), rank, np.float32), "b": np.zeros(2, np.int8)} for rank in range(3)}
    members = opened(write(tmp_path, held, "safetensors"), Access())
    try:
        assert all(member.names is members[0].names for member in members)
        assert all(member.entry("w") is members[0].entry("w") for member in members)
        for member in members:
            out = bytearray(4)
            member.read_many("w", [(4, memoryview(out))])
            assert np.frombuffer(out, np.float32) == member.number
    finally:
        for member in members:
            member.source.close()


@pytest.mark.parametrize("ending", ["ckpt", "safetensors"])
def test_files_that_have_the_same_names_only_share_no_entries(tmp_path: Path, ending: str) -> None:
    held = {0: {"w": np.zeros(2, np.float32), "b": np.zeros(1)}, 1: {"w": np.zeros(3, np.float16), "b": np.zeros(1)}}
    members = opened(write(tmp_path, held, ending), Access())
    try:
        assert [member.entry("w").shape for member in members] == [(2,), (3,)]
        assert members[0].names is members[1].names
    finally:
        for member in members:
            member.source.close()


def test_names_in_another_order_stay_in_it(tmp_path: Path) -> None:
    held = {0: {"a": np.zeros(1), "b": np.zeros(1)}, 1: {"b": np.zeros(1), "a": np.zeros(1)}}
    members = opened(write(tmp_path, held, "ckpt"), Access())
    try:
        assert [list(member.names) for member in members] == [["a", "b"], ["b", "a"]]
    finally:
        for member in members:
            member.source.close()


def test_an_entry_is_found_again_when_many_others_were_asked_for(tmp_path: Path) -> None:
    held = {0: {f"n{number}": np.full(1, number, np.int16) for number in range(200)}}
    (member,) = opened(write(tmp_path, held, "ckpt"), Access())
    try:
        first = member.entry("n0")
        assert [member.entry(name).name for name in member.names] == list(held[0])
        assert member.entry("n0") == first
    finally:
        member.source.close()


def test_an_error_of_a_slice_names_its_own_file(tmp_path: Path) -> None:
    """Also where the headers of all files are equal."""
    held = {rank: {"w": np.arange(4, dtype=np.float32)} for rank in range(2)}
    write(tmp_path, held, "safetensors")
    path = tmp_path / "rank_1" / "net.safetensors"
    data = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(data[:-1])
    with pytest.raises(CorruptCheckpointError, match="rank_1"):
        open_distributed(tmp_path)
