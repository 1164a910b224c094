"""What is loaded from, a dictionary or an open reader: what it says of entries, and how their content moves."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptload import dtypes, threads
from ckptload.binding import supplies
from ckptload.binding.supplies import Transfer, supply_of
from ckptload.errors import ArgumentTypeError, CheckpointError
from ckptload.reading.opening import open_checkpoint
from ckptload.tensors.parameter import Parameter
from strategies import CountingSource, floats, text

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ckptload.binding.supplies import Supply
    from ckptload.dtypes import Array, DType

F16, F32 = dtypes.float16, dtypes.float32
NAMES = "abcdef"
DATA = b"".join(floats(name, number, number + 0.5) for number, name in enumerate(NAMES))


def transfer(supply: Supply, key: str, memory: Array, dtype: DType = F32) -> Transfer:
    return Transfer(key, supply.spec(key), dtype, memory)


def from_dictionary(_: Path) -> Supply:
    arrays = {name: np.array([number, number + 0.5], np.float32) for number, name in enumerate(NAMES)}
    return supply_of({name: Parameter.adopt(array, F32) for name, array in arrays.items()}, "parameters")


def from_bytes(_: Path) -> Supply:
    return supply_of(open_checkpoint(DATA), "parameters")


def from_file(folder: Path) -> Supply:
    (folder / "x.ckpt").write_bytes(DATA)
    return supply_of(open_checkpoint(folder / "x.ckpt"), "parameters")


every_supply = pytest.mark.parametrize("make", [from_dictionary, from_bytes, from_file])


# -- what it says of entries --------------------------------------------------------------------------------------


@every_supply
def test_entries_are_told_by_name_dtype_and_shape(make: Callable[[Path], Supply], tmp_path: Path) -> None:
    supply = make(tmp_path)
    assert list(supply.keys) == list(NAMES)
    assert "a" in supply.keys
    assert "g" not in supply.keys
    assert supply.originals("a") == ("a",)
    assert supply.is_tensor("a")
    assert supply.spec("b")[:2] == (F32, (2,))
    assert supply.array("b").tolist() == [1, 1.5]


def test_places_ascend_in_a_file(tmp_path: Path) -> None:
    places = [from_file(tmp_path).spec(name).place for name in NAMES]
    assert places == sorted(set(places))


def test_a_checkpoint_has_a_label_and_a_dictionary_has_none(tmp_path: Path) -> None:
    assert from_file(tmp_path).label == str((tmp_path / "x.ckpt").resolve())
    assert from_bytes(tmp_path).label == "<bytes>"
    assert from_dictionary(tmp_path).label is None


def test_only_tensors_are_offered() -> None:
    supply = supply_of(open_checkpoint(text("s", "text")), "parameters")
    assert not supply.is_tensor("s")
    with pytest.raises(ArgumentTypeError, match="not a tensor"):
        supply.spec("s")


# -- how content moves --------------------------------------------------------------------------------------------


@every_supply
@pytest.mark.parametrize("dtype", [F32, F16], ids=str)
def test_an_entry_may_go_to_several_places(make: Callable[[Path], Supply], dtype: DType, tmp_path: Path) -> None:
    supply = make(tmp_path)
    memories = np.full((4, 2), -1, dtype.numpy)
    supply.transfer([transfer(supply, key, memory, dtype) for key, memory in zip("cacc", memories, strict=True)])
    assert memories.tolist() == [[2, 2.5], [0, 0.5], [2, 2.5], [2, 2.5]]


def test_what_is_converted_is_read_in_the_order_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the order of the net: a disk is read forwards."""
    monkeypatch.setattr(supplies, "_PIECE", 16)
    source = CountingSource(DATA)
    supply = supply_of(open_checkpoint(source), "parameters")
    memories = np.zeros((6, 2), np.float16)
    transfers = [transfer(supply, key, memory, F16) for key, memory in zip(NAMES[::-1], memories, strict=True)]
    source.reads.clear()
    supply.transfer(transfers)
    assert memories[:, 0].tolist() == [5, 4, 3, 2, 1, 0]
    starts = [start for start, stop in source.reads if start < stop]
    assert len(starts) == 6
    assert starts == sorted(starts)


def test_places_within_each_other_are_written_after_all_that_is_read_of_them() -> None:
    """The end of the larger one counts, although the smaller one begins later."""
    whole = np.arange(8, dtype=np.float32)
    other = np.zeros(3, np.float32)
    entries = {"ones": np.ones(8, np.float32), "twos": np.full(2, 2, np.float32), "end": whole[5:8]}
    supply = supply_of({name: Parameter.adopt(array, F32) for name, array in entries.items()}, "parameters")
    places = {"ones": whole, "twos": whole[2:4], "end": other}
    supply.transfer([transfer(supply, key, memory) for key, memory in places.items()])
    assert whole.tolist() == [1, 1, 2, 2, 1, 1, 1, 1]
    assert other.tolist() == [5, 6, 7]


def test_only_what_would_be_overwritten_is_copied() -> None:
    """What is its own goal stays where it is, and what lies beside a goal is used where it lies."""
    whole = np.arange(8, dtype=np.float32)
    entries = {"own": whole[0:2], "beside": whole[6:8], "before": whole[2:4], "within": whole[1:3]}
    supply = supplies._DictSupply({name: Parameter.adopt(array, F32) for name, array in entries.items()})
    first, second = np.zeros((2, 2), np.float32)
    places = {"own": whole[0:2], "beside": whole[4:6], "before": first, "within": second}
    own, beside, before, within = supply._apart([transfer(supply, key, place) for key, place in places.items()])
    assert own is None
    assert beside is not None
    assert np.shares_memory(beside, whole)
    assert before is not None
    assert np.shares_memory(before, whole)
    assert within is not None
    assert not np.shares_memory(within, whole)
    assert within.tolist() == [1, 2]


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 10)), max_size=8))
def test_a_union_covers_the_same_and_overlaps_nowhere(pairs: list[tuple[int, int]]) -> None:
    intervals = [(start, start + size) for start, size in pairs]
    union = supplies._union(intervals)
    covered = [at for start, stop in union for at in range(start, stop)]
    assert covered == sorted({at for start, stop in intervals for at in range(start, stop)})


# -- jobs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "size"), [(2, 1000), (1, 1 << 30), (0, 0)])
def test_little_content_or_a_single_job_needs_no_threads(
    number: int, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "share", lambda *_: pytest.fail("threads were asked for"))
    done: list[int] = []
    supplies.run([lambda: done.append(1)] * number, size=size)
    assert done == [1] * number


def test_the_first_failure_of_a_job_ends_the_rest() -> None:
    done: list[int] = []

    def fail() -> None:
        raise CheckpointError("the disk is gone")

    def work() -> None:
        time.sleep(0.01)
        done.append(1)

    with pytest.raises(CheckpointError, match="the disk is gone"):
        supplies.run([fail, *[work] * 1000], size=1 << 30)
    assert len(done) < 1000


def test_jobs_are_done_where_no_threads_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threads, "start_new_thread", refuse)
    done: list[int] = []
    supplies.run([lambda: done.append(1), lambda: done.append(2)], size=1 << 30)
    assert done == [1, 2]
