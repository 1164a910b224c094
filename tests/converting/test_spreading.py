"""`ckpt_to_safetensors` and `safetensors_to_ckpt` by an executor."""

from __future__ import annotations

import pickle
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING

import numpy as np
import pytest

from ckptload import ckpt_to_safetensors, load_checkpoint, safetensors_to_ckpt, save_checkpoint
from ckptload.converting.converters import FileTask
from ckptload.converting.jobs import Job
from ckptload.converting.results import Target
from ckptload.encryption.keys import Carried
from ckptload.errors import ArgumentTypeError, CorruptCheckpointError, DecryptionError
from ckptload.reading.access import Access

if TYPE_CHECKING:
    from pathlib import Path

KEY = b"0123456789abcdef"


@pytest.fixture
def ranks(tmp_path: Path) -> Path:
    for rank in range(3):
        path = tmp_path / "run" / f"rank_{rank}" / "t.ckpt"
        path.parent.mkdir(parents=True)
        save_checkpoint({"w": np.full(3, rank), "v": np.ones(1)}, path, enc_key=KEY)
    return tmp_path / "run"


def test_a_task_for_each_file(ranks: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    with ThreadPoolExecutor(2) as executor:
        ckpt_to_safetensors(
            ranks,
            tmp_path / "there",
            {"w": "x"},
            dec_key=KEY,
            choice_func="w".__eq__,
            executor=executor,
            progress=lambda *at: seen.append(at),
        )
        safetensors_to_ckpt(tmp_path / "there", tmp_path / "back", executor=executor)
    assert seen[-1][0] == seen[-1][1] > 0
    for rank in range(3):
        found = load_checkpoint(tmp_path / "back" / f"rank_{rank}" / "t.ckpt", parameters="numpy")
        assert {name: value.tolist() for name, value in found.items()} == {"x": [rank] * 3}


@pytest.mark.slow
def test_in_processes_and_with_their_errors(ranks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        ckpt_to_safetensors("run", "there", dec_key=KEY, executor=executor)
        assert len(list((tmp_path / "there").rglob("*.safetensors"))) == 3
        with pytest.raises(DecryptionError):
            ckpt_to_safetensors("run", "other", dec_key=KEY[::-1], executor=executor)
    assert not list((tmp_path / "other").rglob("*.safetensors"))
    del ranks


def test_a_failure_names_its_file(ranks: Path, tmp_path: Path) -> None:
    path = ranks / "rank_1" / "t.ckpt"
    path.chmod(0o600)
    path.write_bytes(b"\x0a\xff\x01")
    with ThreadPoolExecutor(2) as executor, pytest.raises(CorruptCheckpointError) as caught:
        ckpt_to_safetensors(path, tmp_path / "there", executor=executor)
    assert caught.value.path == str(path)
    with pytest.raises(ArgumentTypeError, match="submit"):
        ckpt_to_safetensors(path, executor=3)


def test_a_regular_expression_that_matches_nothing_is_said(ranks: Path, tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as executor, pytest.warns(UserWarning, match="matches no file"):
        ckpt_to_safetensors(ranks, tmp_path / "there", file_name_regex="no", executor=executor)


def test_a_task_shows_no_key(tmp_path: Path) -> None:
    target = Target(tmp_path / "b", "ckpt")
    task = FileTask(0, Job(tmp_path / "a", tmp_path / "b"), Access(), Carried(KEY), target, None, None)
    assert "0123" not in repr(task)
    assert pickle.loads(pickle.dumps(task)) == task
