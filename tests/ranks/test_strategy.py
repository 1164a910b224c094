"""How all parameters lie on all ranks."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from ckptload import ArgumentError, ArgumentTypeError, SliceLayout, Strategy, UnknownNameError

ROWS = SliceLayout([2, 2], [0, -1])
COLUMNS = SliceLayout([4], [-1, 0])
WHOLE = SliceLayout([2], [-1, -1])


@pytest.fixture
def strategy() -> Strategy:
    """Two stages of 4 and 2 ranks, of which `shared` is in both."""
    return Strategy([{"a": ROWS, "shared": COLUMNS}, {"shared": WHOLE, "b": WHOLE}], path="both.ckpt")


def test_stages_ranks_and_names(strategy: Strategy) -> None:
    assert (strategy.ranks, strategy.stages, strategy.firsts) == (6, 2, (0, 4))
    assert strategy.names() == ["a", "shared", "b"]
    assert (strategy.names(0), strategy.names(1)) == (["a", "shared"], ["shared", "b"])
    assert [strategy.stage_of(rank) for rank in range(6)] == [0, 0, 0, 0, 1, 1]
    assert [strategy.stages_of(name) for name in ("a", "shared", "b", "c")] == [[0], [0, 1], [1], []]
    assert [list(strategy.ranks_of(stage)) for stage in (0, 1)] == [[0, 1, 2, 3], [4, 5]]
    assert strategy.layout("shared") is COLUMNS
    assert strategy.layout("shared", 1) is WHOLE
    assert repr(strategy) == "<Strategy: 6 ranks in 2 stages, 3 layouts>"


def test_boxes_and_replicas_count_ranks_over_all_stages(strategy: Strategy) -> None:
    assert strategy.box("a", 3, (8, 2)) == (slice(4, 8), slice(0, 2))
    assert strategy.box("shared", 3, (8, 4)) == (slice(0, 8), slice(3, 4))
    assert strategy.box("shared", 5, (8, 4)) == (slice(0, 8), slice(0, 4))
    assert strategy.replicas("a", 3) == (1, 3)
    assert strategy.replicas("b", 4) == (4, 5)


def test_replicas_with_a_shard_hold_the_same_part_of_it() -> None:
    strategy = Strategy([{"w": SliceLayout([4, 2], [0], shard=2)}])
    for rank in range(8):
        same = [other for other in range(8) if strategy.box("w", other, (16,)) == strategy.box("w", rank, (16,))]
        assert list(strategy.replicas("w", rank)) == same


def test_it_is_a_value(strategy: Strategy) -> None:
    again = pickle.loads(pickle.dumps(strategy))
    assert again == strategy
    assert hash(again) == hash(strategy)
    assert (again.path, again.ranks) == ("both.ckpt", 6)
    assert strategy != Strategy([{"a": ROWS}])
    assert strategy != 1
    with pytest.raises(TypeError):
        strategy.layouts(0)["a"] = WHOLE  # type: ignore[index]


def test_errors_name_the_parameter_and_the_file(strategy: Strategy) -> None:
    with pytest.raises(ArgumentError, match=r"parameter 'a': axis 0 has 3 rows(?s:.*)both.ckpt"):
        strategy.box("a", 0, (3, 2))
    with pytest.raises(UnknownNameError, match=r"'shard': there is no layout in the strategy(?s:.*)'shared'"):
        strategy.layout("shard")
    with pytest.raises(UnknownNameError, match="no layout in stage 1"):
        strategy.box("a", 4, (8, 2))
    with pytest.raises(ArgumentError, match="no rank 6: the strategy has 6 ranks"):
        strategy.stage_of(6)
    with pytest.raises(ArgumentError, match="no stage -1"):
        strategy.names(-1)
    with pytest.raises(ArgumentTypeError):
        strategy.stage_of("0")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("stages", "says"),
    [
        ([], "at least one stage"),
        ([{}], "stage 0 has no layouts"),
        ([{"a": ROWS, "b": WHOLE}], "'b': stage 0 has 4 devices for 'a' and 2 for this one"),
        ([{"a": SliceLayout([1 << 20], [0])}, {"b": WHOLE}], "the most are 1048576"),
    ],
)
def test_stages_that_cannot_be_are_refused(stages: Any, says: str) -> None:
    with pytest.raises(ArgumentError, match=says):
        Strategy(stages)


@pytest.mark.parametrize("stages", [None, "a", [1], [{"a": 1}], [{1: ROWS}]])
def test_what_is_no_stage_is_refused(stages: Any) -> None:
    with pytest.raises(ArgumentTypeError):
        Strategy(stages)
