"""`convert_checkpoint`: content, names and dtypes in every format, and what is refused before anything is written."""

from __future__ import annotations

import json
import tracemalloc
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import nullcontext
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

import ckptload
from ckptload import dtypes
from ckptload.errors import (
    ArgumentError,
    ArgumentTypeError,
    CheckpointError,
    ChecksumError,
    CorruptCheckpointError,
    DecryptionError,
    EmptyCheckpointError,
    UnsavableTypeError,
)
from places import FIXTURES

if TYPE_CHECKING:
    from pathlib import Path

KEY = b"0123456789abcdef"


def convert(source: Path, target: Path, **options: Any) -> list[Any]:
    with ckptload.open_checkpoint(source) as reader:
        return ckptload.convert_checkpoint(reader, target, **options)


def content(path: Path, **options: Any) -> dict[str, Any]:
    """Return names, dtypes, shapes and bytes of a checkpoint."""
    with ckptload.open_checkpoint(path, **options) as reader:
        found = {}
        for name in reader:
            value = reader[name]
            is_tensor = isinstance(value, ckptload.Parameter)
            found[name] = (value.dtype, value.shape, value.asnumpy().tobytes()) if is_tensor else value
        return found


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.ckpt"
    values = {
        "net.conv.weight": np.linspace(-2, 2, 24, dtype=np.float32).reshape(2, 3, 4),
        "net.conv.bias": np.array([1e-8, 70000.0], np.float32),
        "net.half": np.array([0.5], np.float16),
        "net.count": np.array(7, np.int64),
        "note": "text \U0001f642",
    }
    ckptload.save_checkpoint(values, path)
    return path


@pytest.mark.parametrize("suffix", ["ckpt", "safetensors"])
def test_there_and_back_again_nothing_is_lost(suffix: str, source: Path, tmp_path: Path) -> None:
    convert(source, tmp_path / f"there.{suffix}")
    convert(tmp_path / f"there.{suffix}", tmp_path / "back.ckpt")
    assert content(tmp_path / "back.ckpt") == content(source)


def test_a_plain_copy_is_what_save_checkpoint_writes(source: Path, tmp_path: Path) -> None:
    convert(source, tmp_path / "copy.ckpt")
    assert (tmp_path / "copy.ckpt").read_bytes() == source.read_bytes()


@pytest.mark.parametrize("mode", ["AES-GCM", "AES-CBC", "SM4-CBC"])
def test_encrypted_and_decrypted_it_is_the_same(mode: str, source: Path, tmp_path: Path) -> None:
    convert(source, tmp_path / "sealed.ckpt", enc_key=KEY, enc_mode=mode)
    assert content(tmp_path / "sealed.ckpt", dec_key=KEY, dec_mode=mode) == content(source)
    with ckptload.open_checkpoint(tmp_path / "sealed.ckpt", dec_key=KEY, dec_mode=mode) as reader:
        ckptload.convert_checkpoint(reader, tmp_path / "plain.ckpt")
    assert (tmp_path / "plain.ckpt").read_bytes() == source.read_bytes()


def test_what_is_not_authentic_is_not_written(source: Path, tmp_path: Path) -> None:
    sealed, target = tmp_path / "sealed.ckpt", tmp_path / "plain.ckpt"
    convert(source, sealed, enc_key=KEY)
    data = bytearray(sealed.read_bytes())
    data[-1] ^= 1
    sealed.chmod(0o600)
    sealed.write_bytes(data)
    with pytest.raises(DecryptionError), ckptload.open_checkpoint(sealed, dec_key=KEY) as reader:
        ckptload.convert_checkpoint(reader, target)
    assert not target.exists()


def test_names_are_chosen_first_and_then_mapped(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.ckpt"
    convert(source, target, choice_func=lambda name: "conv" in name, name_map={"net.conv": "backbone.0"})
    assert list(content(target)) == ["backbone.0.weight", "backbone.0.bias"]
    convert(source, target, name_map=lambda name: name.upper() if name != "note" else None)
    assert list(content(target)) == ["NET.CONV.WEIGHT", "NET.CONV.BIAS", "NET.HALF", "NET.COUNT"]


@pytest.mark.parametrize("dtype", [dtypes.float16, dtypes.bfloat16, dtypes.float32, dtypes.float64])
def test_floats_are_converted_with_mindspores_rounding_and_nothing_else_is(
    dtype: ckptload.dtypes.DType, source: Path, tmp_path: Path
) -> None:
    from ckptload.tensors.casting import cast

    target = tmp_path / "out.safetensors"
    told = pytest.warns(UserWarning, match="1 entry has values that are too large for Float16 and .*: 'net.conv.bias'")
    with told if dtype is dtypes.float16 else nullcontext():
        convert(source, target, dtype=dtype)
    before, after = content(source), content(target)
    for name in ("net.conv.weight", "net.conv.bias", "net.half"):
        old, shape, data = before[name]
        array = np.frombuffer(data, old.numpy)
        expected = array if old is dtype else cast(array, old, dtype)
        assert after[name] == (dtype, shape, expected.tobytes())
    assert after["net.count"] == before["net.count"]


def test_a_tensor_in_slices_that_cut_elements_is_converted_too(tmp_path: Path) -> None:
    """One record after 5 bytes, the other with the rest, of two float32."""
    values = np.array([1.5, -2.25], np.float32)
    data = values.tobytes()

    def record(piece: bytes) -> bytes:
        tensor = b"\x08\x02\x12\x07Float32\x1a" + bytes([len(piece)]) + piece
        value = b"\x0a\x01w\x12" + bytes([len(tensor)]) + tensor
        return b"\x0a" + bytes([len(value)]) + value

    (tmp_path / "cut.ckpt").write_bytes(record(data[:5]) + record(data[5:]))
    convert(tmp_path / "cut.ckpt", tmp_path / "out.ckpt", dtype=dtypes.float16)
    assert content(tmp_path / "out.ckpt")["w"][2] == values.astype(np.float16).tobytes()


def test_a_sum_is_written_that_can_be_verified(source: Path, tmp_path: Path) -> None:
    for name in ("sum.ckpt", "sum.safetensors"):
        convert(source, tmp_path / name, crc_check=True, choice_func=lambda name: name != "note")
        with ckptload.open_checkpoint(tmp_path / name) as reader:
            assert reader.verify_crc()
    target = tmp_path / "sum.ckpt"
    target.chmod(0o600)
    target.write_bytes(target.read_bytes().replace(np.float32(-2).tobytes(), np.float32(-3).tobytes()))
    with pytest.raises(ChecksumError), ckptload.open_checkpoint(target) as reader:
        reader.verify_crc()


def test_npz_opens_with_numpy(source: Path, tmp_path: Path) -> None:
    convert(source, tmp_path / "out.npz", dtype=dtypes.bfloat16)
    with np.load(tmp_path / "out.npz") as archive:
        assert archive["net.half"].dtype == np.float32
        assert str(archive["note"]) == "text \U0001f642"
        assert archive["net.conv.weight"].shape == (2, 3, 4)


def test_shards_and_their_index_open_again(source: Path, tmp_path: Path) -> None:
    convert(source, tmp_path / "shards", max_shard_size=100)
    names = sorted(path.name for path in (tmp_path / "shards").iterdir())
    assert names[-1] == "model.safetensors.index.json"
    assert len(names) > 2
    tensors = {name: value for name, value in content(source).items() if name != "note"}
    index = tmp_path / "shards" / "model.safetensors.index.json"
    assert content(index) == tensors
    convert(source, tmp_path / "again" / index.name, max_shard_size=100)
    assert sorted(path.name for path in (tmp_path / "again").iterdir()) == names


@pytest.mark.parametrize("flag", [True, False])
def test_a_file_that_lacks_what_other_devices_hold_goes_on_saying_so(flag: bool, tmp_path: Path) -> None:
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    ckptload.save_checkpoint({"w": np.zeros(1)}, first, format="safetensors", remove_redundancy=flag)
    convert(first, second)
    with ckptload.open_checkpoint(second) as reader:
        assert reader.metadata == {"format": "ms", "remove_redundancy": str(flag)}


def test_metadata_are_kept_and_added_to(tmp_path: Path) -> None:
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    safetensors.numpy.save_file({"w": np.ones(2)}, first, {"format": "pt", "author": "somebody", "crc_num": "5"})
    convert(first, second, metadata={"format": "np"})
    with safetensors.safe_open(second, "np") as opened:
        assert opened.metadata() == {"format": "np", "author": "somebody"}


def test_a_dry_run_judges_everything_and_writes_nothing(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "new" / "out.safetensors"
    moves = convert(source, target, dry_run=True, dtype=dtypes.float16, name_map={"net": "n"})
    assert (moves[0].old, moves[0].item.name) == ("net.conv.weight", "n.conv.weight")
    assert moves[0].source is dtypes.float32
    assert moves[0].item.dtype is dtypes.float16
    assert moves[0].item.nbytes == 48
    assert not target.parent.exists()


@pytest.mark.parametrize(
    ("target", "options", "said"),
    [
        ("out.xyz", {}, "does not say which format"),
        ("out.ckpt", {"format": "pickle"}, "format must be one of"),
        ("out.ckpt", {"max_shard_size": "1GB", "format": "ckpt"}, "shards can only be safetensors"),
        ("out.ckpt", {"enc_key": KEY, "crc_check": True}, "cannot carry a CRC-32"),
        ("out.safetensors", {"enc_key": KEY}, "only a .ckpt can be encrypted"),
        ("out.npz", {"crc_check": True}, "of its own"),
        ("out.safetensors", {"max_shard_size": 5, "crc_check": True}, "shards cannot have a CRC-32"),
        ("other.safetensors.index.json", {}, "must be named model.safetensors.index.json"),
        ("out.ckpt", {"dtype": dtypes.int8}, "dtype must be one of"),
        ("out.ckpt", {"name_map": {"net.half": "net.count"}}, "would both have this name"),
        ("out.ckpt", {"name_map": {"note": "\ud800"}}, "must be valid UTF-8"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(
    target: str, options: dict[str, Any], said: str, source: Path, tmp_path: Path
) -> None:
    with pytest.raises(ArgumentError, match=said):
        convert(source, tmp_path / "out" / target, **options)
    assert not list(tmp_path.glob("out/*"))


@pytest.mark.parametrize("path", [3, b"out.ckpt", None])
def test_a_path_of_another_type_is_refused(path: Any, source: Path) -> None:
    with ckptload.open_checkpoint(source) as reader, pytest.raises(ArgumentTypeError, match="path must be a str"):
        ckptload.convert_checkpoint(reader, path)


def test_both_ways_to_npz_write_the_same(source: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept.safetensors"
    convert(source, kept)
    convert(kept, tmp_path / "one.npz")
    ckptload.to_npz(kept, tmp_path / "two.npz")
    with np.load(tmp_path / "one.npz") as one, np.load(tmp_path / "two.npz") as two:
        assert list(one) == list(two)
        assert "note" in one
        for name in one:
            np.testing.assert_array_equal(one[name], two[name])


def test_other_refusals(source: Path, tmp_path: Path) -> None:
    with pytest.raises(EmptyCheckpointError, match="the filter keeps none of 5 entries"):
        convert(source, tmp_path / "out.ckpt", choice_func=lambda _: False)
    with pytest.raises(ArgumentTypeError, match="must be a path or an open reader"):
        ckptload.convert_checkpoint({}, tmp_path / "out.ckpt")  # type: ignore[arg-type]
    with pytest.raises(UnsavableTypeError):
        convert(FIXTURES / "plain_2.10.0_maptensor.ckpt", tmp_path / "out.safetensors")
    with pytest.raises(ArgumentError, match="map cannot be saved encrypted"):
        convert(FIXTURES / "plain_2.10.0_maptensor.ckpt", tmp_path / "out.ckpt", enc_key=KEY)
    broken = tmp_path / "broken.safetensors"
    safetensors.numpy.save_file({"w": np.ones(2)}, broken, {"ckptload.strings": "no JSON"})
    with pytest.raises(CorruptCheckpointError):
        convert(broken, tmp_path / "out.ckpt")
    safetensors.numpy.save_file({"w": np.ones(2)}, broken, {"ckptload.strings": json.dumps({"w": "text"})})
    with pytest.raises(ArgumentError, match="have the same name"):
        convert(broken, tmp_path / "out.ckpt")
    with pytest.raises(ArgumentError, match="have the same name"):
        ckptload.to_npz(broken, tmp_path / "out.npz")
    assert [path.name for path in tmp_path.glob("out*")] == []


def test_progress_counts_to_the_end_and_can_stop(source: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    convert(source, tmp_path / "a.ckpt", progress=lambda done, total: seen.append((done, total)))
    assert seen
    assert seen[-1][0] == seen[-1][1] == sum(path_size(source))

    def stop(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(source, tmp_path / "b.ckpt", progress=stop)
    assert not list(tmp_path.glob("*b.ckpt*"))


def path_size(path: Path) -> list[int]:
    with ckptload.open_checkpoint(path) as reader:
        return [reader.info(name).nbytes for name in reader]


@pytest.mark.slow
@pytest.mark.parametrize("target", ["out.ckpt", "out.safetensors", "out.npz", "shards"])
@pytest.mark.parametrize("dtype", [None, dtypes.float16])
def test_memory_stays_flat(target: str, dtype: Any, tmp_path: Path) -> None:
    """64 MiB pass through at most 16."""
    source = tmp_path / "large.ckpt"
    ckptload.save_checkpoint({f"w{n}": np.ones((1, 4 << 20), np.float32) for n in range(4)}, source)
    tracemalloc.start()
    try:
        convert(source, tmp_path / target, dtype=dtype, max_shard_size="20MiB" if target == "shards" else None)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
ARRAYS = st.builds(
    lambda dtype, size, seed: np.random.default_rng(seed).integers(0, 100, size).astype(dtype),
    st.sampled_from(["f2", "f4", "f8", "i1", "i8", "u1", "?"]),
    st.lists(st.integers(0, 4), max_size=3),
    st.integers(0, 99),
)


@settings(max_examples=40)
@given(
    values=st.dictionaries(NAMES, ARRAYS | st.text(max_size=4), min_size=1, max_size=5),
    sharded=st.booleans(),
)
def test_round_trips_of_anything(values: dict[str, Any], sharded: bool, tmp_path: Path) -> None:
    first, back = tmp_path / "first.ckpt", tmp_path / "back.ckpt"
    ckptload.save_checkpoint(values, first)
    middle = tmp_path / ("folder/model.safetensors.index.json" if sharded else "m.safetensors")
    if sharded and any(isinstance(value, str) for value in values.values()):
        middle = tmp_path / "m.safetensors"
    convert(first, middle)
    if not middle.exists():
        middle = middle.parent / "model.safetensors"
    convert(middle, back)
    assert content(back) == dict(sorted(content(first).items()))


def test_an_executor_writes_shards(tmp_path: Path) -> None:
    values = {f"w{at}": np.full(10, at, np.float32) for at in range(4)}
    ckptload.save_checkpoint(values, tmp_path / "a.ckpt")
    with ckptload.open_checkpoint(tmp_path / "a.ckpt") as reader, ThreadPoolExecutor(2) as executor:
        moves = ckptload.convert_checkpoint(
            reader, tmp_path / "out", max_shard_size=40, name_map={"w1": "x"}, dtype=ckptload.float16, executor=executor
        )
    assert len(moves.written) == 3
    with ckptload.open_checkpoint(tmp_path / "out" / "model.safetensors.index.json", parameters="numpy") as reader:
        assert {name: value.tolist() for name, value in reader.load().items()} == {
            {"w1": "x"}.get(name, name): value.tolist() for name, value in values.items()
        }


@pytest.mark.slow
def test_a_process_opens_the_file_again(tmp_path: Path) -> None:
    ckptload.save_checkpoint({"w": np.ones(10), "v": np.ones(10)}, tmp_path / "a.ckpt")
    with (
        ckptload.open_checkpoint(tmp_path / "a.ckpt") as reader,
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor,
    ):
        ckptload.convert_checkpoint(reader, tmp_path / "out", max_shard_size=80, executor=executor)
        with pytest.raises(CheckpointError, match="whole, unencrypted file"):
            ckptload.convert_checkpoint(
                reader.select(choice_func="w".__eq__), tmp_path / "one", max_shard_size=80, executor=executor
            )
    assert ckptload.open_checkpoint(tmp_path / "out" / "model.safetensors.index.json").keys() == {"w", "v"}
