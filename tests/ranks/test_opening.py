"""`open_distributed`: many files as one checkpoint."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import ckptload
from ckptload import open_distributed, save_checkpoint
from ckptload.errors import (
    ArgumentError,
    ArgumentTypeError,
    ChangedFileError,
    CheckpointError,
    ClosedReaderError,
    CorruptCheckpointError,
    EncryptedCheckpointError,
    ReadError,
    UnknownNameError,
)
from ckptload.ranks import members
from ckptload.sources.pooled import Pool, PooledFile
from layouts import cut, protobuf

RNG = np.random.default_rng(18)
#: Layouts of four ranks: device matrix, tensor map, optimizer shard.
LAYOUTS: dict[str, Any] = {
    "rows": ([2, 2], [0, -1], 0),
    "columns": ([2, 2], [-1, 0], 0),
    "both": ([2, 2], [1, 0, -1], 0),
    "joined": ([2, 2], [[0, 1], [-1]], 0),
    "shard": ([2, 2], [0, -1], -1),
    "whole": ([2, 2], [-1, -1], 0),
    "line": ([2, 2], [0], 0),
    "scalar": ([2, 2], [], 0),
    "half": ([4], [-1, 0], 0),
    "moment1.rows": ([2, 2], [0, -1], -1),
}
WHOLE: dict[str, Any] = {
    "rows": RNG.standard_normal((8, 6)).astype(np.float32),
    "columns": RNG.integers(-100, 100, (5, 8)).astype(np.int8),
    "both": RNG.standard_normal((8, 6, 3)),
    "joined": RNG.standard_normal((8, 2)).astype(np.float16),
    "shard": RNG.standard_normal((16, 3)).astype(np.float32),
    "whole": RNG.standard_normal((3, 3)) > 0,
    "line": RNG.integers(0, 1 << 40, 12),
    "scalar": np.array(-0.0, np.float32),
    "half": RNG.standard_normal((4, 8)).astype(ml_dtypes.bfloat16),
    "moment1.rows": RNG.standard_normal((8, 6)).astype(np.float32),
}


def slices(rank: int, layouts: dict[str, Any] = LAYOUTS) -> dict[str, Any]:
    return {
        name: cut(matrix, tensor_map, shard, WHOLE[name])[rank].copy()
        for name, (matrix, tensor_map, shard) in layouts.items()
    }


def write(
    folder: Path,
    ranks: list[int],
    extra: dict[str, Any] | None = None,
    *,
    name: str = "net-1_1",
    format: str = "ckpt",  # noqa: A002 -- the name of the argument
    **options: Any,
) -> Path:
    for rank in ranks:
        place = folder / f"rank_{rank}"
        place.mkdir(parents=True, exist_ok=True)
        save_checkpoint(slices(rank) | (extra or {}), place / f"{name}.{format}", format=format, mode=0o600, **options)
    return folder


@pytest.fixture(scope="module")
def strategy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("strategy") / "strategy.ckpt"
    path.write_bytes(protobuf(LAYOUTS))
    return path


def equal(found: Any, wanted: dict[str, Any]) -> None:
    assert list(found) == list(wanted)
    for name, array in wanted.items():
        value = found[name].asnumpy()
        assert (value.dtype, value.shape, value.tobytes()) == (array.dtype, array.shape, array.tobytes()), name


# -- whole tensors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ckpt", "safetensors"])
def test_whole_tensors_come_of_slices(tmp_path: Path, strategy: Path, kind: str) -> None:
    with open_distributed(write(tmp_path, [0, 1, 2, 3], format=kind), strategy) as reader:
        wanted = {name: WHOLE[name] for name in reader}
        assert wanted.keys() == WHOLE.keys()
        equal(reader.load(), wanted)
        for name, array in wanted.items():
            info = reader.info(name)
            assert (info.shape, info.nbytes) == (array.shape, array.nbytes)
            assert b"".join(map(bytes, reader.pieces(info))) == array.tobytes()
        assert reader.get_slice("both")[2:5].asnumpy().tobytes() == WHOLE["both"][2:5].tobytes()
        assert reader.get_slice("columns")[1, 3].asnumpy() == WHOLE["columns"][1, 3]
        assert reader.format == kind
        assert reader.notes == []
        assert len(reader.files) == 4


def test_everything_that_takes_a_reader_takes_a_set(tmp_path: Path, strategy: Path) -> None:
    with open_distributed(write(tmp_path, [0, 1, 2, 3]), strategy) as reader:
        chosen = reader.select(specify_prefix="rows")
        equal(chosen.load(), {"rows": WHOLE["rows"]})
        ckptload.convert_checkpoint(reader, tmp_path / "whole.safetensors")
        room = np.empty((8, 6), np.float32)
        reader.fill([("rows", room)])
        assert room.tobytes() == WHOLE["rows"].tobytes()
    equal(ckptload.open_checkpoint(tmp_path / "whole.safetensors").load(list(WHOLE)), WHOLE)


def test_a_net_is_filled_from_a_set(tmp_path: Path, strategy: Path) -> None:
    class Net(ckptload.nn.Cell):
        def __init__(self) -> None:
            super().__init__()
            self.rows = ckptload.Parameter(ckptload.Tensor(np.zeros((8, 6), np.float32)), name="rows")

    net = Net()
    with open_distributed(write(tmp_path, [0, 1, 2, 3]), strategy) as reader:
        ckptload.load_param_into_net(net, reader)
    assert net.rows.asnumpy().tobytes() == WHOLE["rows"].tobytes()


@pytest.mark.parametrize("given", ["dictionary", "list", "strings"])
def test_files_are_given_by_rank(tmp_path: Path, strategy: Path, given: str) -> None:
    write(tmp_path, [0, 1, 2, 3])
    paths = [tmp_path / f"rank_{rank}" / "net-1_1.ckpt" for rank in range(4)]
    source: Any = {
        "dictionary": dict(reversed(list(enumerate(paths)))),
        "list": paths,
        "strings": list(map(str, paths)),
    }[given]
    with open_distributed(source, strategy) as reader:
        equal(reader.load(), WHOLE)


def test_a_set_is_sent_to_another_process(tmp_path: Path, strategy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "set", [0, 1, 2, 3])
    monkeypatch.chdir(tmp_path)
    with open_distributed("set", strategy) as reader:
        sent = pickle.dumps(reader)
    monkeypatch.chdir("/")
    with pickle.loads(sent) as reader:
        equal(reader.load(), WHOLE)


def test_slices_of_another_layout(tmp_path: Path, strategy: Path) -> None:
    other = {
        **LAYOUTS,
        "rows": ([4], [-1, -1], -1),
        "columns": ([2, 2], [-1, [1, 0]], 0),
        "both": ([4], [0, -1, -1], 0),
    }
    (tmp_path / "to.ckpt").write_bytes(protobuf(other))
    write(tmp_path / "set", [0, 1, 2, 3])
    for rank in range(4):
        with open_distributed(tmp_path / "set", strategy, to=tmp_path / "to.ckpt", rank=rank) as reader:
            wanted = slices(rank, other)
            equal(reader.load(), {name: wanted[name] for name in reader})


# -- which names ----------------------------------------------------------------------------------------------


def test_entries_without_a_layout_stay_as_they_are_and_state_gets_that_of_its_weight(
    tmp_path: Path, strategy: Path
) -> None:
    for rank in range(4):
        own = {"global_step": np.array(7, np.int32), "ema.rows": slices(rank)["rows"], "note": f"rank {rank}"}
        write(tmp_path, [rank], own)
    with open_distributed(tmp_path, strategy) as reader:
        assert reader["global_step"].asnumpy() == 7
        assert reader["note"] == "rank 0"
        assert reader["ema.rows"].asnumpy().tobytes() == WHOLE["rows"].tobytes()
        (note,) = reader.notes
        assert (note.kind, note.names) == ("layout", ("ema.rows",))


def test_what_the_target_does_not_know_is_left_out_and_said(tmp_path: Path, strategy: Path) -> None:
    (tmp_path / "to.ckpt").write_bytes(protobuf({"rows": ([2], [0, -1], 0), "new": ([2], [-1], 0)}))
    write(tmp_path / "set", [0, 1, 2, 3], {"step": np.array(1)})
    with open_distributed(tmp_path / "set", strategy, to=tmp_path / "to.ckpt", rank=1) as reader:
        assert sorted(reader) == ["rows", "step"]
        said = {note.kind: note.names for note in reader.notes}
        assert set(said["left out"]) == WHOLE.keys() - {"rows"}
        assert said["absent"] == ("new",)


def test_a_parameter_of_two_stages_is_that_of_the_first(tmp_path: Path) -> None:
    """A shared embedding: each stage has all of it, and the second stage a moment of its own."""
    stages = tmp_path / "stages"
    stages.mkdir()
    for stage in (0, 1):
        (stages / f"s{stage}.ckpt").write_bytes(protobuf({"rows": ([2], [0, -1], 0)}, stage))
    for rank in range(4):
        (tmp_path / f"set/rank_{rank}").mkdir(parents=True)
        part = np.split(WHOLE["rows"], 2)[rank % 2] + (rank // 2)
        save_checkpoint({"rows": part}, tmp_path / f"set/rank_{rank}/net.ckpt")
    with open_distributed(tmp_path / "set", stages) as reader:
        assert reader["rows"].asnumpy().tobytes() == WHOLE["rows"].tobytes()
    shutil.rmtree(tmp_path / "set/rank_1")
    with open_distributed(tmp_path / "set", stages) as reader:
        # What the first stage has lost, the second has.
        want = np.concatenate([WHOLE["rows"][:4], WHOLE["rows"][4:] + 1])
        assert reader["rows"].asnumpy().tobytes() == want.tobytes()


def test_state_of_a_later_stage_gets_the_layout_of_its_weight_there(tmp_path: Path) -> None:
    """The weight is on both stages, its moment on the second, which has no layout for it."""
    stages = tmp_path / "stages"
    stages.mkdir()
    for stage, layout in enumerate([[-1, -1], [0, -1]]):
        (stages / f"s{stage}.ckpt").write_bytes(protobuf({"rows": ([2], layout, 0)}, stage))
    halves = np.split(WHOLE["rows"], 2)
    held = {0: {"rows": WHOLE["rows"]}, **{2 + at: {"rows": x, "moment1.rows": -x} for at, x in enumerate(halves)}}
    for rank, entries in held.items():
        place = tmp_path / f"set/rank_{rank}"
        place.mkdir(parents=True)
        save_checkpoint(entries, place / "net.ckpt")
    with open_distributed(tmp_path / "set", stages) as reader:
        assert reader["moment1.rows"].asnumpy().tobytes() == (-WHOLE["rows"]).tobytes()


# -- ranks that are missing -------------------------------------------------------------------------------


def test_a_replica_serves_as_well(tmp_path: Path, strategy: Path) -> None:
    with open_distributed(write(tmp_path, [1, 2]), strategy) as reader:
        for name in ("rows", "columns", "whole", "line", "scalar"):
            assert reader[name].asnumpy().tobytes() == WHOLE[name].tobytes()


def test_what_no_file_holds_is_said_when_it_is_asked_for(tmp_path: Path, strategy: Path) -> None:
    with open_distributed(write(tmp_path, [1, 3]), strategy) as reader:
        assert reader["whole"].asnumpy().tobytes() == WHOLE["whole"].tobytes()
        with pytest.raises(CorruptCheckpointError, match=r"'rows'|rows") as caught:
            reader.info("rows")
        assert "24 of 48 elements are in no file that is here; ranks 0, 2 hold them" in str(caught.value)
        assert caught.value.name == "rows"
        with pytest.raises(CorruptCheckpointError, match="ranks 0, 2"):
            reader.load()


def test_a_rank_of_the_target_needs_its_own_parts_only(tmp_path: Path, strategy: Path) -> None:
    (tmp_path / "to.ckpt").write_bytes(protobuf({"rows": ([2], [0, -1], 0)}))
    write(tmp_path / "set", [1, 3])
    with open_distributed(tmp_path / "set", strategy, to=tmp_path / "to.ckpt", rank=1) as reader:
        assert reader["rows"].asnumpy().tobytes() == WHOLE["rows"][4:].tobytes()
    with (
        open_distributed(tmp_path / "set", strategy, to=tmp_path / "to.ckpt", rank=0) as reader,
        pytest.raises(CorruptCheckpointError, match="no file that is here"),
    ):
        reader.info("rows")


# -- without a strategy ----------------------------------------------------------------------------------


def shares(folder: Path) -> Path:
    """Three ranks, each with a share, and a fourth that has none."""
    for rank, names in enumerate((["rows", "line"], ["half"], ["scalar"])):
        (folder / f"rank_{rank}").mkdir(parents=True)
        save_checkpoint({name: WHOLE[name] for name in names}, folder / f"rank_{rank}/net.ckpt")
    (folder / "rank_3").mkdir()
    (folder / "rank_3/net.ckpt").touch()
    return folder


def test_shares_are_joined_and_an_empty_file_is_no_damage(tmp_path: Path) -> None:
    with open_distributed(shares(tmp_path)) as reader:
        equal(reader.load(), {name: WHOLE[name] for name in ("rows", "line", "half", "scalar")})


def test_an_empty_safetensors_file_is_no_damage(tmp_path: Path) -> None:
    for rank, values in enumerate(({"line": WHOLE["line"]}, {})):
        (tmp_path / f"rank_{rank}").mkdir()
        save_checkpoint(values, tmp_path / f"rank_{rank}/net.safetensors", format="safetensors")
    with open_distributed(tmp_path) as reader:
        equal(reader.load(), {"line": WHOLE["line"]})


def test_slices_without_a_strategy_are_refused(tmp_path: Path) -> None:
    with open_distributed(write(tmp_path, [0, 1, 2, 3])) as reader:
        assert reader["whole"].asnumpy().tobytes() == WHOLE["whole"].tobytes()
        with pytest.raises(ArgumentError, match="'rows' differs between rank 0 and rank 1; slices need their strategy"):
            reader["rows"]


def test_ranks_that_hold_other_shapes_are_refused_without_a_strategy(tmp_path: Path) -> None:
    for rank in (0, 1):
        (tmp_path / f"rank_{rank}").mkdir()
        save_checkpoint({"w": np.zeros(rank + 2)}, tmp_path / f"rank_{rank}/net.ckpt")
    with open_distributed(tmp_path) as reader, pytest.raises(ArgumentError, match="slices need their strategy"):
        reader.info("w")


# -- copies that differ ---------------------------------------------------------------------------------------


def with_other_copy(folder: Path, at: int) -> Path:
    """Four ranks, of which the last holds another value at one place of a large tensor."""
    big = np.zeros(10_000, np.float32)
    for rank in range(4):
        mine = big.copy()
        mine[at] = rank == 3
        write(folder, [rank], {"big": mine})
    return folder


def big_strategy(folder: Path) -> Path:
    path = folder / "big.ckpt"
    path.write_bytes(protobuf({**LAYOUTS, "big": ([4], [-1], 0)}))
    return path


@pytest.mark.parametrize("at", [0, 9999])
def test_copies_that_differ_at_an_end_are_an_error(tmp_path: Path, at: int) -> None:
    source, strategy = with_other_copy(tmp_path / "set", at), big_strategy(tmp_path)
    with open_distributed(source, strategy) as reader:
        assert reader["rows"].asnumpy().tobytes() == WHOLE["rows"].tobytes()
        with pytest.raises(CorruptCheckpointError, match="ranks 0 and 3 should hold copies of the same slice"):
            reader["big"]
    with open_distributed(source, strategy, copies="warn") as reader, pytest.warns(UserWarning, match="of rank 0 is"):
        assert not reader["big"].asnumpy().any()
    with open_distributed(source, strategy, copies="first") as reader:
        assert not reader["big"].asnumpy().any()


def test_copies_are_compared_whole_if_that_is_wanted(tmp_path: Path) -> None:
    source, strategy = with_other_copy(tmp_path / "set", 5000), big_strategy(tmp_path)
    with open_distributed(source, strategy) as reader:
        assert not reader["big"].asnumpy().any()
        # verify compares everything, too.
        (found,) = reader.check_index()
        assert "ranks 0 and 3" in str(found)
    with open_distributed(source, strategy, copies="error") as reader, pytest.raises(CorruptCheckpointError):
        reader.get_slice("big")[:10]


# -- what goes wrong ------------------------------------------------------------------------------------------


def test_a_cut_file_is_named(tmp_path: Path, strategy: Path) -> None:
    path = write(tmp_path, [0, 1, 2, 3]) / "rank_2/net-1_1.ckpt"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(CorruptCheckpointError, match="rank_2"):
        open_distributed(tmp_path, strategy)


def test_a_file_that_is_replaced_meanwhile_is_told(tmp_path: Path, strategy: Path) -> None:
    write(tmp_path, [0, 1, 2, 3])
    with open_distributed(tmp_path, strategy) as reader:
        assert reader["line"].asnumpy().tobytes() == WHOLE["line"].tobytes()
        write(tmp_path, [1], {"more": np.zeros(3)})
        with pytest.raises(ChangedFileError, match="rank_1"):
            reader["line"]
        # Nothing of this tensor is read from that file.
        assert reader["scalar"].asnumpy() == 0


def test_more_ranks_than_the_strategy_has(tmp_path: Path, strategy: Path) -> None:
    write(tmp_path, [0, 1, 2, 3])
    shutil.copytree(tmp_path / "rank_0", tmp_path / "rank_6")
    with pytest.raises(ArgumentError, match="covers 4 ranks, and there are files of 1 other rank: 6"):
        open_distributed(tmp_path, strategy)


def test_slices_of_other_shapes_and_types_are_named(tmp_path: Path, strategy: Path) -> None:
    write(tmp_path, [0, 1, 2, 3])
    own = slices(3) | {"rows": np.zeros((5, 6), np.float32), "line": slices(3)["line"].astype(np.int32)}
    save_checkpoint(own, tmp_path / "rank_3/net-1_1.ckpt", mode=0o600)
    with open_distributed(tmp_path, strategy) as reader:
        for name in ("rows", "line"):
            with pytest.raises(CorruptCheckpointError, match="slice of rank 3") as caught:
                reader.info(name)
            assert (caught.value.name, Path(str(caught.value.path)).parent.name) == (name, "rank_3")


def test_a_strategy_that_does_not_fit_a_tensor_says_which(tmp_path: Path) -> None:
    (tmp_path / "s.ckpt").write_bytes(protobuf({**LAYOUTS, "rows": ([2, 2], [0], 0)}))
    with open_distributed(write(tmp_path / "set", [0, 1, 2, 3]), tmp_path / "s.ckpt") as reader:
        with pytest.raises(CheckpointError, match="has 1 entry"):
            reader.info("rows")
        assert reader["line"].shape == (12,)


KEY = b"0123456789abcdef"


@pytest.mark.parametrize("mode", ["AES-GCM", "AES-CBC", "SM4-CBC"])
def test_encrypted_files(tmp_path: Path, strategy: Path, mode: str) -> None:
    write(tmp_path, [0, 1, 2, 3], enc_key=KEY, enc_mode=mode)
    with open_distributed(tmp_path, strategy, dec_key=KEY, dec_mode=mode) as reader:
        equal(reader.load(), WHOLE)
        assert reader.cipher == mode
        with pytest.raises(CheckpointError, match="pickled"):
            pickle.dumps(reader)
    with pytest.raises(EncryptedCheckpointError, match="rank_0"):
        open_distributed(tmp_path, strategy)
    with pytest.raises(CheckpointError, match="rank_"):
        open_distributed(tmp_path, strategy, dec_key=KEY[::-1], dec_mode=mode)


def test_checksums_of_all_files_are_checked(tmp_path: Path, strategy: Path) -> None:
    write(tmp_path, [0, 1, 2, 3], crc_check=True)
    with open_distributed(tmp_path, strategy) as reader:
        assert reader.verify_crc()
        assert not reader.coverage().completeness
    path = tmp_path / "rank_3/net-1_1.ckpt"
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)
    with open_distributed(tmp_path, strategy) as reader, pytest.raises(CheckpointError, match="rank_3"):
        reader.verify_crc()


def test_a_closed_set_says_so(tmp_path: Path, strategy: Path) -> None:
    reader = open_distributed(write(tmp_path, [0, 1, 2, 3]), strategy)
    part = reader.get_slice("rows")
    reader.close()
    with pytest.raises(ClosedReaderError):
        part[0]
    with pytest.raises(ClosedReaderError):
        reader["rows"]


def test_an_unknown_name_lists_those_that_are_near(tmp_path: Path, strategy: Path) -> None:
    with (
        open_distributed(write(tmp_path, [0, 1, 2, 3]), strategy) as reader,
        pytest.raises(UnknownNameError, match="'rows'"),
    ):
        reader["row"]


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"copies": "some"}, ArgumentError, "copies must be"),
        ({"rank": 1}, ArgumentError, "rank is a rank of the strategy"),
        ({"to": True}, ArgumentError, "which of them is wanted"),
        ({"to": True, "rank": 4}, ArgumentError, "no rank 4"),
        ({"to": True, "rank": "0"}, ArgumentTypeError, "rank must be an int"),
        ({"file_suffix": 3}, ArgumentTypeError, "file_suffix"),
        ({"dec_key": "text"}, ArgumentTypeError, "key"),
        ({"max_records": 0}, ArgumentError, "max_records"),
    ],
)
def test_arguments_that_are_refused(
    tmp_path: Path, strategy: Path, arguments: dict[str, Any], error: type[Exception], words: str
) -> None:
    if arguments.get("to"):
        arguments = {**arguments, "to": strategy}
    with pytest.raises(error, match=words):
        open_distributed(write(tmp_path, [0, 1, 2, 3]), strategy, **arguments)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="nothing"):
        open_distributed({0: tmp_path / "nothing.ckpt"})
    with pytest.raises(ReadError, match="nothing"):
        open_distributed(tmp_path / "nothing")


# -- many files -----------------------------------------------------------------------------------------------


def test_few_files_are_open_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pools: list[Pool] = []

    class Small(Pool):
        def __init__(self) -> None:
            super().__init__(3)
            pools.append(self)

    monkeypatch.setattr(members, "Pool", Small)
    (tmp_path / "s.ckpt").write_bytes(protobuf({"w": ([16], [0, -1], 0)}))
    whole = RNG.standard_normal((32, 5))
    for rank in range(16):
        (tmp_path / f"set/rank_{rank}").mkdir(parents=True)
        save_checkpoint({"w": whole[2 * rank : 2 * rank + 2]}, tmp_path / f"set/rank_{rank}/net.ckpt")
    most = 0
    really = PooledFile.read_many

    def counted(self: PooledFile, requests: Any) -> None:
        nonlocal most
        really(self, requests)
        most = max(most, len(pools[0]._open))

    monkeypatch.setattr(PooledFile, "read_many", counted)
    with open_distributed(tmp_path / "set", tmp_path / "s.ckpt") as reader:
        assert reader["w"].asnumpy().tobytes() == whole.tobytes()
        assert 0 < most <= 4
