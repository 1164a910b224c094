"""A share completed by other ranks: all load the same as from one file, or none of them loads anything."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import ckptload
from ckptload import (
    ArgumentError,
    ArgumentTypeError,
    BindingError,
    CheckpointError,
    Parameter,
    RankError,
    SliceLayout,
    Strategy,
    Tensor,
    load_checkpoint,
    load_param_into_net,
    save_checkpoint,
)
from ckptload.ranks.communicators import communicator_of
from talking import each_rank

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from ckptload import Cell
    from talking import Talker

#: Filters of warnings hold for all threads.
quiet = pytest.mark.filterwarnings("ignore:.* parameters? (of|is)|.*of . parameters? keep")

#: Two ranks hold the same half of "w": 0 and 2, 1 and 3; all hold the same "b"; each has an "own" of its own.
STRATEGY = Strategy(
    [
        {
            "w": SliceLayout([2, 2], [0, -1]),
            "b": SliceLayout([2, 2], [-1]),
            "own": SliceLayout([2, 2], [1, 0]),
        }
    ]
)
WHOLE: dict[str, Any] = {
    "w": np.arange(32, dtype=np.float32).reshape(8, 4),
    "b": np.array([-0.0, 0.0, 1.5], np.float32),
    "own": np.arange(16, dtype=np.int16).reshape(4, 4),
}


def slices(rank: int, whole: Mapping[str, Any] = WHOLE, strategy: Strategy = STRATEGY) -> dict[str, Any]:
    """Return what a rank holds."""
    return {name: array[strategy.box(name, rank, array.shape)] for name, array in whole.items()}


#: Who has saved what, with redundancy removed.
SHARES = [["w", "own"], ["b", "own"], ["own"], ["w", "own"]]


def share(rank: int) -> dict[str, Parameter]:
    return {name: Parameter(Tensor(slices(rank)[name].copy()), name=name) for name in SHARES[rank]}


def net(values: Mapping[str, Any]) -> Cell:
    class Net(ckptload.nn.Cell):
        def __init__(self) -> None:
            super().__init__()
            for number, (name, value) in enumerate(values.items()):
                filled = np.full_like(value, 77 if np.asarray(value).dtype != np.bool_ else 1)
                setattr(self, f"p{number}", Parameter(Tensor(filled), name=name))

    return Net()


def bytes_of(cell: Cell) -> dict[str, bytes]:
    return {parameter.name: parameter.asnumpy().tobytes() for parameter in cell.get_parameters()}


def expected(rank: int) -> dict[str, bytes]:
    return {name: value.tobytes() for name, value in slices(rank).items()}


def untouched(rank: int) -> dict[str, bytes]:
    return bytes_of(net(slices(rank)))


def loading(
    parameters: Callable[[int], Any] = share, **how: Any
) -> Callable[[Talker], tuple[dict[str, bytes], list[str], list[str]]]:
    """Return the work of a rank: it loads its share into a net."""

    def work(talker: Talker) -> tuple[dict[str, bytes], list[str], list[str]]:
        cell = net(slices(talker.rank))
        values = parameters(talker.rank)
        lacks, unused = load_param_into_net(cell, values, remove_redundancy=True, communicator=talker, **how)
        return bytes_of(cell), lacks, unused

    return work


def test_every_rank_gets_the_bytes_of_its_slices() -> None:
    results = each_rank(4, loading(strategy=STRATEGY))
    assert results == [(expected(rank), [], []) for rank in range(4)]
    # A zero-fill and a sum would have made it +0.0.
    assert np.frombuffer(results[2][0]["b"], np.float32)[0] == 0  # type: ignore[index]
    assert np.signbit(np.frombuffer(results[2][0]["b"], np.float32))[0]  # type: ignore[index]


def test_a_strategy_may_be_given_by_its_path(tmp_path: Path) -> None:
    items = {
        name: {
            "dev_matrix": layout.device_matrix,
            "tensor_map": [axes[0] if axes else -1 for axes in layout.tensor_map],
            "tensor_shape": slices(0)[name].shape,
            "field": 0,
            "opt_weight_shard_step": 0,
            "opt_weight_shard_size": 0,
        }
        for name, layout in STRATEGY.layouts(0).items()
    }
    content = {"current_stage": 0, "parallel_strategy_item": {}, "parallel_layout_item": items}
    (tmp_path / "s.json").write_text(json.dumps(content))
    assert each_rank(4, loading(strategy=tmp_path / "s.json")) == [(expected(rank), [], []) for rank in range(4)]


def test_broadcasts_stay_in_their_groups_and_in_one_order() -> None:
    talkers: dict[int, Talker] = {}

    def work(talker: Talker) -> None:
        talkers[talker.rank] = talker
        loading(strategy=STRATEGY)(talker)

    assert each_rank(4, work) == [None] * 4
    every = [(0, 2), (0, 1, 2, 3), (1, 3)]
    assert all(talker.prepared == [sorted(every)] for talker in talkers.values())
    b, left, right = (1, (0, 1, 2, 3), 12), (0, (0, 2), 64), (3, (1, 3), 64)
    assert [talkers[rank].broadcasts for rank in range(4)] == [[b, left], [b, right], [b, left], [b, right]]


DTYPES = [ckptload.bool_, ckptload.bfloat16, ckptload.qint4x2, ckptload.uint16, ckptload.float8_e4m3fn]


@pytest.mark.parametrize("dtype", [*DTYPES, ckptload.complex64, ckptload.float64], ids=str)
def test_bytes_of_every_dtype_arrive(dtype: ckptload.DType) -> None:
    value = np.array([[0, 1, 1], [1, 0, 1]]).astype(dtype.numpy)

    def work(talker: Talker) -> bytes:
        made = Parameter(Tensor(np.zeros((2, 3)).astype(dtype.numpy), dtype), name="x")
        cell = net({})
        cell.x = made
        mine = {"x": Parameter(Tensor(value, dtype), name="x")} if talker.rank == 1 else {}
        load_param_into_net(cell, mine, remove_redundancy=True, communicator=talker)
        return made.asnumpy().tobytes()

    assert each_rank(2, work) == [value.tobytes()] * 2


def test_a_scalar_and_nothing_arrive() -> None:
    whole: dict[str, Any] = {
        "scalar": np.array(-0.0, np.float64),
        "empty": np.zeros((0, 3), np.float32),
        "int": np.array(7),
    }

    def work(talker: Talker) -> dict[str, bytes]:
        cell = net(whole)
        mine = {name: Parameter(Tensor(value), name=name) for name, value in whole.items()} if not talker.rank else {}
        load_param_into_net(cell, mine, remove_redundancy=True, communicator=talker)
        return bytes_of(cell)

    assert each_rank(3, work) == [{name: value.tobytes() for name, value in whole.items()}] * 3


@quiet
def test_large_tensors_are_sent_in_pieces_and_converted_as_they_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ckptload.ranks.exchange.PIECE", 64)
    value = np.linspace(-1, 1, 50, dtype=np.float32)

    def work(talker: Talker) -> tuple[bytes, list[int]]:
        cell = net({"x": value.astype(np.float64 if talker.rank else np.float32)})
        mine = {} if talker.rank else {"x": Parameter(Tensor(value), name="x")}
        load_param_into_net(cell, mine, remove_redundancy=True, communicator=talker)
        return bytes_of(cell)["x"], [length for _, _, length in talker.broadcasts]

    pieces = [64, 64, 64, 8]
    assert each_rank(2, work) == [(value.tobytes(), pieces), (value.astype(np.float64).tobytes(), pieces)]


def test_without_a_strategy_every_rank_holds_the_whole_net() -> None:
    whole: dict[str, Any] = {"a": np.arange(3.0), "b": np.arange(4.0), "c": np.arange(5.0)}

    def work(talker: Talker) -> dict[str, bytes]:
        cell = net(whole)
        names = [["a"], ["b", "a"], [], ["c"]][talker.rank]
        mine = {name: Parameter(Tensor(whole[name]), name=name) for name in names}
        load_param_into_net(cell, mine, remove_redundancy=True, communicator=talker)
        return bytes_of(cell)

    assert each_rank(4, work) == [{name: value.tobytes() for name, value in whole.items()}] * 4


def test_slices_without_their_strategy_are_refused() -> None:
    results = each_rank(4, loading())
    assert all(isinstance(each, ArgumentError) for each in results)
    assert all("'own'" in str(each) and "slices need their strategy" in str(each) for each in results)


def test_what_only_another_rank_has_is_not_replaced_by_what_ends_alike() -> None:
    """In the share of this rank an entry with the same end may lie by chance."""
    weight, moment = np.arange(3.0), np.arange(3.0) + 5

    def work(talker: Talker) -> dict[str, bytes]:
        cell = net({"fc.w": weight})
        name = ["moment1.fc.w", "fc.w"][talker.rank]
        mine = {name: Parameter(Tensor([moment, weight][talker.rank]), name=name)}
        load_param_into_net(cell, mine, remove_redundancy=True, communicator=talker)
        return bytes_of(cell)

    assert each_rank(2, work) == [{"fc.w": weight.tobytes()}] * 2


def test_the_lowest_of_several_holders_is_taken() -> None:
    def parameters(rank: int) -> dict[str, Parameter]:
        mine = share(rank) | {"b": Parameter(Tensor(slices(rank)["b"] + rank), name="b")}
        return mine if rank in (1, 3) else share(rank)

    results = each_rank(4, loading(parameters, strategy=STRATEGY))
    want = (slices(0)["b"] + 1).tobytes()
    assert [each[0]["b"] for each in results] == [want] * 4  # type: ignore[index]


def test_entries_that_the_net_does_not_want_are_not_sent() -> None:
    sent: list[Any] = []

    def work(talker: Talker) -> None:
        cell = net({"b": slices(talker.rank)["b"]})
        load_param_into_net(cell, share(talker.rank), remove_redundancy=True, communicator=talker, strategy=STRATEGY)
        sent.extend(talker.broadcasts)

    assert each_rank(4, work) == [None] * 4
    assert {ranks for _, ranks, _ in sent} == {(0, 1, 2, 3)}


# -- failures: an error on all ranks, and a net that is as it was -------------------------------------------------


def failing(work: Callable[[Talker, Cell], object], size: int = 4) -> list[CheckpointError]:
    """Return the errors of all ranks, and see that no net was written to."""
    cells = [net(slices(rank)) for rank in range(size)]
    results = each_rank(size, lambda talker: work(talker, cells[talker.rank]))
    assert all(isinstance(each, CheckpointError) for each in results), results
    assert [bytes_of(cell) for cell in cells] == [untouched(rank) for rank in range(size)]
    return results  # type: ignore[return-value]


def test_a_missing_holder_is_an_error_on_all_ranks() -> None:
    def work(talker: Talker, cell: Cell) -> None:
        mine = {} if talker.rank == 3 else share(talker.rank)
        load_param_into_net(cell, mine, remove_redundancy=True, communicator=talker, strategy=STRATEGY)

    errors = failing(work)
    assert [type(each) for each in errors] == [RankError, BindingError, RankError, BindingError]
    assert "'w'" in str(errors[1])
    assert "ranks 1, 3" in str(errors[1])
    assert "rank 1" in str(errors[0])
    assert "'w'" in str(errors[0])


@quiet
def test_a_missing_holder_is_left_out_and_reported_if_misfits_are_skipped() -> None:
    def work(talker: Talker) -> tuple[dict[str, bytes], list[str]]:
        cell = net(slices(talker.rank))
        mine = {name: value for name, value in share(talker.rank).items() if name != "b"}
        lacks, _ = load_param_into_net(
            cell, mine, remove_redundancy=True, communicator=talker, strategy=STRATEGY, skip_misfits=True
        )
        return bytes_of(cell), lacks

    assert each_rank(4, work) == [(expected(rank) | {"b": untouched(rank)["b"]}, ["b"]) for rank in range(4)]


@quiet
def test_statistics_of_experts_and_sums_of_gradients_are_not_missed() -> None:
    def work(talker: Talker) -> list[str]:
        cell = net({"a": np.ones(2), "accu_grads.a": np.ones(2), "moe.expert_load": np.ones(2)})
        mine = {} if talker.rank else {"a": Parameter(Tensor(np.ones(2)), name="a")}
        return load_param_into_net(cell, mine, remove_redundancy=True, communicator=talker)[0]

    assert each_rank(2, work) == [["moe.expert_load"]] * 2


def test_a_misfit_on_one_rank_is_an_error_on_all() -> None:
    def work(talker: Talker, cell: Cell) -> None:
        mine = share(talker.rank)
        if talker.rank == 2:
            mine["own"] = Parameter(Tensor(np.zeros((3, 3), np.int16)), name="own")
        load_param_into_net(cell, mine, remove_redundancy=True, communicator=talker, strategy=STRATEGY)

    errors = failing(work)
    assert [type(each) for each in errors] == [RankError, RankError, BindingError, RankError]
    assert all("'own'" in str(each) for each in errors)


@pytest.mark.parametrize("wrong", ["cut", "missing", "other", "name", "net", "values"])
def test_a_failure_before_the_first_step_is_an_error_on_all(tmp_path: Path, wrong: str) -> None:
    for rank in range(4):
        save_checkpoint(share(rank), tmp_path / f"of_{rank}.ckpt", mode=0o600)
    bad = tmp_path / "of_1.ckpt"
    content = bad.read_bytes()
    if wrong == "cut":
        bad.write_bytes(content[:-3])
    elif wrong == "other":
        bad.write_bytes(b"PK\3\4" + bytes(60))
    elif wrong == "missing":
        bad.unlink()

    def work(talker: Talker, cell: Cell) -> None:
        how: dict[str, Any] = {"remove_redundancy": True, "strategy": STRATEGY, "communicator": talker}
        mine = wrong if talker.rank == 1 else ""
        if wrong == "values":
            load_param_into_net(cell, 3 if mine else share(talker.rank), **how)  # type: ignore[arg-type]
            return
        path = tmp_path / f"of_{talker.rank}.ckpt"
        load_checkpoint(path.with_suffix(".txt") if mine == "name" else path, 3 if mine == "net" else cell, **how)

    errors = failing(work)
    assert [isinstance(each, RankError) for each in errors] == [True, False, True, True]
    assert all("rank 1 failed" in str(each) for each in errors if isinstance(each, RankError))


def test_a_failure_while_values_are_written_is_an_error_on_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def work(talker: Talker) -> None:
        cell = net(slices(talker.rank))
        load_param_into_net(cell, share(talker.rank), remove_redundancy=True, communicator=talker, strategy=STRATEGY)

    monkeypatch.setattr("ckptload.binding.supplies._DictSupply.array", _failing_for("b"))
    results = each_rank(4, work)
    assert [type(each) for each in results] == [RankError, ckptload.OutOfMemoryError, RankError, RankError]


def _failing_for(name: str) -> Any:
    from ckptload.binding.supplies import _DictSupply

    original = _DictSupply.array

    def array(self: Any, key: str) -> Any:
        if key == name:
            raise MemoryError
        return original(self, key)

    return array


def test_ranks_with_different_strategies_do_not_talk_past_each_other() -> None:
    other = Strategy([{"w": SliceLayout([4], [-1, -1]), "b": SliceLayout([4], [-1]), "own": SliceLayout([4], [0, -1])}])

    def work(talker: Talker, cell: Cell) -> None:
        strategy = other if talker.rank == 2 else STRATEGY
        load_param_into_net(cell, share(talker.rank), remove_redundancy=True, communicator=talker, strategy=strategy)

    assert all("different strategies" in str(each) for each in failing(work))


def test_a_strategy_for_another_number_of_ranks_is_refused() -> None:
    def work(talker: Talker, cell: Cell) -> None:
        load_param_into_net(cell, share(talker.rank), remove_redundancy=True, communicator=talker, strategy=STRATEGY)

    assert all("the strategy is for 4 ranks, and the communicator has 2" in str(each) for each in failing(work, 2))


@pytest.mark.parametrize("broken", ["all_gather", "broadcast", "prepare"])
def test_a_communicator_that_fails_is_an_error_of_ours(broken: str) -> None:
    def work(talker: Talker) -> None:
        def fail(*_: object) -> None:
            raise ConnectionError("gone")

        setattr(talker, broken, fail)
        loading(strategy=STRATEGY)(talker)

    results = each_rank(4, work)
    assert all(isinstance(each, RankError) and "ConnectionError: gone" in str(each) for each in results), results


# -- alone -------------------------------------------------------------------------------------------------------


def test_the_error_of_a_share_that_is_alone_names_both_ways() -> None:
    cell = net(slices(0))
    with pytest.raises(ArgumentTypeError, match="'b'") as caught:
        load_param_into_net(cell, share(0), remove_redundancy=True)
    assert bytes_of(cell) == untouched(0)
    text = str(caught.value)
    assert 0 < text.index("rank_N") < text.index("strategy=") < text.index("communicator=")


def test_the_only_rank_loads_what_is_complete() -> None:
    def work(talker: Talker) -> dict[str, bytes]:
        cell = net(WHOLE)
        values = {name: Parameter(Tensor(value), name=name) for name, value in WHOLE.items()}
        load_param_into_net(cell, values, remove_redundancy=True, communicator=talker)
        return bytes_of(cell)

    assert each_rank(1, work) == [{name: value.tobytes() for name, value in WHOLE.items()}]


# -- files beside the rank's own ---------------------------------------------------------------------------------


@pytest.fixture(params=["ckpt", "safetensors"])
def folders(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[int], Path]:
    """Save the shares of four ranks in their folders; rank 2 has saved a step more."""
    ending = request.param
    for rank in range(4):
        folder = tmp_path / f"rank_{rank}"
        folder.mkdir()
        save_checkpoint(share(rank), folder / f"net-1_4.{ending}", format=ending)
        if rank == 2:
            wrong = {"w": Parameter(Tensor(np.zeros((4, 4), np.float32)), name="w")}
            save_checkpoint(wrong, folder / f"net-1_5.{ending}", format=ending)
    (tmp_path / "rank_x").mkdir()
    return lambda rank: tmp_path / f"rank_{rank}" / f"net-1_4.{ending}"


def test_files_beside_complete_a_share(folders: Callable[[int], Path]) -> None:
    for rank in range(4):
        cell, path = net(slices(rank)), folders(rank)
        got = load_checkpoint(path, cell, remove_redundancy=True, format=path.suffix[1:], strategy=STRATEGY)
        assert bytes_of(cell) == expected(rank)
        assert sorted(got) == sorted(SHARES[rank])


def test_a_missing_holder_among_files_is_an_error(folders: Callable[[int], Path]) -> None:
    folders(3).unlink()
    cell, path = net(slices(1)), folders(1)
    with pytest.raises(CheckpointError, match="'w'"):
        load_checkpoint(path, cell, remove_redundancy=True, format=path.suffix[1:], strategy=STRATEGY)
    assert bytes_of(cell) == untouched(1)


def test_files_beside_need_their_strategy_if_they_hold_slices(folders: Callable[[int], Path]) -> None:
    cell, path = net(slices(1)), folders(1)
    with pytest.raises(CheckpointError, match="strategy"):
        load_checkpoint(path, cell, remove_redundancy=True, format=path.suffix[1:])
    assert bytes_of(cell) == untouched(1)


def test_a_communicator_that_is_set_up_is_used_if_one_rank_cannot_read_the_others(
    folders: Callable[[int], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether files are enough is asked of all ranks: else those that can read would leave the others waiting."""
    import threading

    here = threading.local()
    monkeypatch.setattr("ckptload.ranks.communicators.found", lambda: here.talker)
    alone = tmp_path / "elsewhere" / "rank_1"
    alone.mkdir(parents=True)
    folders(1).rename(alone / folders(1).name)

    def work(talker: Talker) -> tuple[dict[str, bytes], bool]:
        here.talker = talker
        cell = net(slices(talker.rank))
        path = alone / folders(1).name if talker.rank == 1 else folders(talker.rank)
        load_checkpoint(path, cell, remove_redundancy=True, format=path.suffix[1:], strategy=STRATEGY)
        return bytes_of(cell), bool(talker.broadcasts)

    assert each_rank(4, work) == [(expected(rank), True) for rank in range(4)]
    (alone / folders(1).name).rename(folders(1))
    alone = folders(1).parent
    assert each_rank(4, work) == [(expected(rank), False) for rank in range(4)]


def test_an_empty_share_is_no_error(tmp_path: Path) -> None:
    def work(talker: Talker) -> dict[str, bytes]:
        path = tmp_path / f"of_{talker.rank}.ckpt"
        save_checkpoint({"a": np.ones(2)} if talker.rank else {}, path)
        cell = net({"a": np.ones(2)})
        load_checkpoint(path, cell, remove_redundancy=True, communicator=talker)
        return bytes_of(cell)

    assert each_rank(2, work) == [{"a": np.ones(2).tobytes()}] * 2


def test_a_communicator_is_an_object_with_the_interface() -> None:
    assert communicator_of(None) is None
