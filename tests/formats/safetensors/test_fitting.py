"""What does not fit between an index and its files."""

from __future__ import annotations

import pytest

from ckptload.formats.safetensors.fitting import misfits
from ckptload.formats.safetensors.weight_map import WeightMap

A, B = "x-00001-of-00002.safetensors", "x-00002-of-00002.safetensors"
HELD = {A: {"a": 4, "b": 2}, B: {"c": 8}}
FILES = {"a": A, "b": A, "c": B}


def found(
    held: dict[str, dict[str, int] | None],
    files: dict[str, str] | None = None,
    total: int | None = None,
    there: str = "",
) -> list[str]:
    return list(misfits(WeightMap(FILES if files is None else files, {}, total), held, lambda file: file == there))


@pytest.mark.parametrize("total", [None, 14])
def test_where_all_fits_there_is_nothing_to_say(total: int | None) -> None:
    assert found(dict(HELD), total=total) == []
    assert found({}, files={}, total=0) == []


def test_tensors_that_are_not_listed_are_named_with_their_files() -> None:
    (text,) = found(dict(HELD), files={"a": A, "c": B})
    assert text == f"the index does not list 1 tensor in {A!r}, so that nothing loads it: 'b'"
    (text,) = found({A: HELD[A], B: {"c": 8, "d": 1}}, files={"a": A, "c": B})
    assert text == f"the index does not list 2 tensors in {A!r}, {B!r}, so that nothing loads them: 'b', 'd'"


def test_a_tensor_in_two_files_is_named() -> None:
    (text,) = found({A: HELD[A], B: {"c": 8, "a": 4}})
    assert text == f"1 tensor in more than one file, such as {A!r}, {B!r}: 'a'"


@pytest.mark.parametrize("total", [13, 15, 0, -1, 10**30])
def test_a_wrong_total_is_told(total: int) -> None:
    (text,) = found(dict(HELD), total=total)
    assert text == f"the index says that its tensors have {total} bytes (total_size), they have 14"


def test_tensors_that_are_not_listed_may_count_in_the_total() -> None:
    for total, number in ((12, 1), (14, 1), (13, 2)):
        assert len(found(dict(HELD), files={"a": A, "c": B}, total=total)) == number


@pytest.mark.parametrize("held", [{A: HELD[A], B: None}, {A: HELD[A], B: {}}])
def test_what_is_missing_is_not_counted_and_not_told_again(held: dict[str, dict[str, int] | None]) -> None:
    assert found(held, total=1) == []


def test_a_file_of_a_set_that_the_index_does_not_name_is_told() -> None:
    files = {"a": "m-00001-of-00003.safetensors", "b": "m-00003-of-00003.safetensors"}
    lost = "m-00002-of-00003.safetensors"
    text = f"the index names 2 of the 3 files of a set, and not {lost!r}"
    assert found({}, files=files) == [text]
    assert found({}, files=files, there=lost) == [text + " (1 of them in its folder)"]
    # Some tools count from zero.
    assert found({}, files={"a": "m-00000-of-00002.safetensors", "b": "m-00001-of-00002.safetensors"}) == []
    assert found({}, files={"a": "part0.safetensors", "b": "part2.safetensors"}) == []


def test_only_so_many_files_of_sets_are_looked_for() -> None:
    """An index of a few kilobytes may claim to be part of thousands of sets of 99999 files each."""
    asked = []

    def exists(name: str) -> bool:
        asked.append(name)
        return False

    index = WeightMap({f"w{at}": f"m{at}-00001-of-99999.safetensors" for at in range(100)}, {}, None)
    (first, second) = misfits(index, {}, exists)
    assert "1 of the 99999 files of a set" in first
    assert "'m1-00002-of-99999.safetensors', 'm1-00003-of-99999.safetensors'" in second
    assert len(asked) <= 100_000
