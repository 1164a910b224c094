"""Checkpoints in shards: what the index may say, what is opened when, and what Hugging Face makes of ours."""

from __future__ import annotations

import errno
import io
import json
import os
import pickle
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from ckptload import (
    ckpt_to_safetensors,
    load_checkpoint,
    load_checkpoint_async,
    open_checkpoint,
    safetensors_to_ckpt,
    save_checkpoint,
)
from ckptload.converting.jobs import Job
from ckptload.converting.shards import parse_size
from ckptload.errors import (
    ArgumentError,
    ArgumentTypeError,
    ChangedFileError,
    CheckpointError,
    ChecksumError,
    ClosedReaderError,
    CorruptCheckpointError,
    MissingShardError,
    OutOfMemoryError,
    ReadError,
    UnsupportedTypeError,
    WrongFormatError,
)
from ckptload.reading.access import Access
from ckptload.reading.opening import open_files, open_with
from descriptors import open_files as files_of_this_process
from places import FIXTURES

ARRAYS: dict[str, np.ndarray[Any, Any]] = {
    "b.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a.bias": np.array([1, 2], np.int16),
    "a.weight": np.arange(5, dtype=np.float64),
    "c": np.array(7, np.int8),
}
SHARDS = {"one.safetensors": ["b.weight", "c"], "two.safetensors": ["a.weight", "a.bias"]}
INDEX = "model.safetensors.index.json"


def write_index(folder: Path, weight_map: Any, **more: Any) -> Path:
    path = folder / INDEX
    path.write_text(json.dumps({"metadata": {"total_size": 69, "by": "hand"}, "weight_map": weight_map, **more}))
    return path


@pytest.fixture
def index(tmp_path: Path) -> Path:
    for name, tensors in SHARDS.items():
        save_file({tensor: ARRAYS[tensor] for tensor in tensors}, tmp_path / name)
    return write_index(tmp_path, {tensor: name for name, tensors in SHARDS.items() for tensor in tensors})


def equal(found: dict[str, Any], wanted: dict[str, Any] = ARRAYS) -> None:
    assert sorted(found) == sorted(wanted)
    for name, array in wanted.items():
        assert found[name].asnumpy().dtype == array.dtype
        np.testing.assert_array_equal(found[name].asnumpy(), array)


# -- reading ------------------------------------------------------------------------------------------------


def test_an_index_opens_as_one_checkpoint(index: Path) -> None:
    equal(load_checkpoint(str(index), format="safetensors"))
    with open_checkpoint(index) as reader:
        assert reader.format == "safetensors"
        assert reader.metadata == {"total_size": "69", "by": "hand"}
        assert reader.path == str(index)
        equal(reader.load())
        assert reader.get_slice("a.weight")[1:3].asnumpy().tolist() == [1, 2]
        rooms = {name: np.empty_like(array) for name, array in ARRAYS.items()}
        reader.fill(rooms.items())
        for name, array in ARRAYS.items():
            np.testing.assert_array_equal(rooms[name], array)
        assert not reader.verify_crc()


def test_a_default_format_says_which_one_is_needed(index: Path) -> None:
    with pytest.raises(ArgumentError, match="format='safetensors'"):
        load_checkpoint(index)


def test_shards_can_be_mapped(index: Path) -> None:
    with open_checkpoint(index, mmap=True) as reader:
        found = reader.load()
        assert not found["b.weight"].asnumpy().flags.owndata
    equal(found)


def test_a_shard_is_opened_when_something_in_it_is_wanted(index: Path) -> None:
    two = index.with_name("two.safetensors")
    two.write_bytes(two.read_bytes()[:-1])
    with open_checkpoint(index) as reader:
        assert len(reader) == 4
        np.testing.assert_array_equal(reader["b.weight"].asnumpy(), ARRAYS["b.weight"])
        with pytest.raises(CorruptCheckpointError) as caught:
            reader["a.bias"]
        assert caught.value.path == str(index.with_name("two.safetensors"))


@pytest.mark.skipif(os.name != "posix", reason="needs a POSIX system")
def test_a_shard_that_was_read_from_stays_open(index: Path) -> None:
    """So that a checkpoint of more shards than a process may have open files is loaded in parts."""

    def shards_open() -> int:
        return sum(name.endswith(".safetensors") for name in files_of_this_process())

    with open_checkpoint(index) as reader:
        assert shards_open() == 0
        for name, number in (("c", 1), ("b.weight", 1), ("a.bias", 2)):
            reader[name]
            assert shards_open() == number
        with open_checkpoint(index) as part:
            part["c"]
            assert shards_open() == 3
        assert shards_open() == 2
    assert shards_open() == 0


def test_missing_shards_are_listed_when_something_in_them_is_wanted(index: Path) -> None:
    index.with_name("one.safetensors").unlink()
    assert list(load_checkpoint(index, format="safetensors", specify_prefix="a")) == ["a.bias", "a.weight"]
    with pytest.raises(
        MissingShardError, match=r"1 of the 2 files of the index is missing: 'one\.safetensors'"
    ) as caught:
        load_checkpoint(index, format="safetensors")
    assert isinstance(caught.value, FileNotFoundError)
    assert (caught.value.errno, caught.value.name) == (errno.ENOENT, None)


def test_every_missing_shard_is_listed_with_any_of_them(index: Path) -> None:
    """A link to nothing, as an incomplete cache has it, is missing, too."""
    for number, name in enumerate(("one.safetensors", "two.safetensors")):
        index.with_name(name).unlink()
        if number:
            index.with_name(name).symlink_to(index.with_name("nowhere"))
    with open_checkpoint(index) as reader:
        assert list(reader) == sorted(ARRAYS)
        for name in reader:
            with pytest.raises(MissingShardError, match=r"2 of the 2 files of the index are missing: 'one\S+ 'two"):
                reader.info(name)


def test_a_shard_that_is_removed_later_is_missing(index: Path) -> None:
    with open_checkpoint(index) as reader:
        index.with_name("one.safetensors").unlink()
        with pytest.raises(MissingShardError, match="'one"):
            reader["c"]


def test_the_sums_of_the_other_shards_are_compared_before_one_is_missed(index: Path) -> None:
    index.with_name("one.safetensors").unlink()
    with open_checkpoint(index) as reader, pytest.raises(MissingShardError):
        reader.verify_crc()
    save_file({"a.bias": ARRAYS["a.bias"]}, index.with_name("two.safetensors"), {"crc_num": "1"})
    with open_checkpoint(index) as reader, pytest.raises(ChecksumError):
        reader.verify_crc()


def test_a_tensor_that_its_shard_does_not_hold_is_an_error(tmp_path: Path, index: Path) -> None:
    write_index(tmp_path, {"d": "one.safetensors", "c": "one.safetensors"})
    assert list(load_checkpoint(index, format="safetensors", specify_prefix="c")) == ["c"]
    with pytest.raises(CorruptCheckpointError, match="says that this file holds the tensor") as caught:
        load_checkpoint(index, format="safetensors")
    assert (caught.value.name, caught.value.path) == ("d", str(tmp_path / "one.safetensors"))


def test_an_unknown_type_in_a_shard_names_the_shard(tmp_path: Path) -> None:
    header = json.dumps({"w": {"dtype": "F8_E8M0", "shape": [1], "data_offsets": [0, 1]}}).encode()
    (tmp_path / "x.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\0")
    index = write_index(tmp_path, {"w": "x.safetensors"})
    with pytest.raises(UnsupportedTypeError) as caught, open_checkpoint(index) as reader:
        reader["w"]
    assert (caught.value.name, caught.value.path) == ("w", str(tmp_path / "x.safetensors"))


def test_a_shard_that_changes_is_noticed(index: Path) -> None:
    with open_checkpoint(index) as reader:
        save_file({"x": ARRAYS["c"]}, index.with_name("one.safetensors"))
        with pytest.raises(ChangedFileError):
            reader["c"]
        reader["a.bias"]
        os.utime(index.with_name("two.safetensors"), ns=(1, 1))
        with pytest.raises(ChangedFileError):
            reader["a.bias"]


@pytest.mark.skipif(os.name != "posix", reason="needs a POSIX system")
@pytest.mark.parametrize("watches", [True, False])
def test_names_of_shards_are_watched_as_the_name_of_a_file_is(index: Path, watches: bool) -> None:
    """A load in one go reads the file that it has opened, whatever has its name by now."""
    with open_with(index, Access(watches_name=watches)) as reader:
        equal(dict(reader))
        copy = index.with_name("copy")
        shutil.copy2(index.with_name("one.safetensors"), copy)
        copy.replace(index.with_name("one.safetensors"))
        if watches:
            with pytest.raises(ChangedFileError):
                reader["c"]
        else:
            equal(dict(reader))


def test_a_closed_reader_opens_no_more_shards(index: Path) -> None:
    reader = open_checkpoint(index)
    reader["c"]
    reader.close()
    with pytest.raises(ClosedReaderError):
        reader["c"]
    source = open_files(index, Access())
    source.close()
    with pytest.raises(ClosedReaderError):
        source.read(0, 1)


def test_a_sharded_reader_is_pickled_by_the_path_of_its_index(index: Path) -> None:
    with open_checkpoint(index) as reader, pickle.loads(pickle.dumps(reader)) as again:
        equal(again.load())


def test_threads_may_open_shards_at_the_same_time(index: Path) -> None:
    failures: list[BaseException] = []
    with open_checkpoint(index) as reader:

        def read() -> None:
            try:
                equal(reader.load())
            except BaseException as error:  # noqa: BLE001 -- shown by the thread that asks
                failures.append(error)

        threads = [threading.Thread(target=read) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not failures


def test_sums_of_all_shards_are_checked(tmp_path: Path) -> None:
    for name, value in (("a", 1), ("b", 2)):
        save_checkpoint(
            {name: np.array([value])}, tmp_path / f"{name}.safetensors", crc_check=True, format="safetensors"
        )
    index = write_index(tmp_path, {"a": "a.safetensors", "b": "b.safetensors"})
    with open_checkpoint(index) as reader:
        assert reader.verify_crc()
    content = bytearray((tmp_path / "b.safetensors").read_bytes())
    content[-1] ^= 1
    (tmp_path / "b.safetensors").chmod(0o600)
    (tmp_path / "b.safetensors").write_bytes(content)
    with open_checkpoint(index) as reader, pytest.raises(CorruptCheckpointError, match="crc_num") as caught:
        reader.verify_crc()
    assert caught.value.path == str(tmp_path / "b.safetensors")


def test_a_single_shard_opens_without_the_index(index: Path) -> None:
    assert set(load_checkpoint(index.with_name("one.safetensors"), format="safetensors")) == {"b.weight", "c"}


# -- by its content, through every door ---------------------------------------------------------------------

NAMES = [
    "param_name_map.json",
    "diffusion_pytorch_model.safetensors.fp16.index.json",
    "model.fp16.safetensors.index.json",
    "weights.json",
    "weights",
    "x.safetensors",
]


@pytest.fixture(params=NAMES)
def named(index: Path, request: pytest.FixtureRequest) -> Path:
    """Return an index under one of many names."""
    return index.rename(index.with_name(request.param))


def test_an_index_opens_under_any_name(named: Path) -> None:
    equal(load_checkpoint(str(named), format="safetensors"))
    equal(load_checkpoint_async(named).result())
    for wanted in (None, "safetensors"):
        with open_checkpoint(named, format=wanted) as reader, pickle.loads(pickle.dumps(reader)) as again:
            assert reader.format == "safetensors"
            assert reader.files == [str(named.with_name(name)) for name in SHARDS]
            equal(again.load())


def test_an_index_opens_through_an_open_file(named: Path) -> None:
    for wanted in (None, "safetensors"):
        with named.open("rb") as file, open_checkpoint(file, format=wanted) as reader:
            equal(reader.load())
    with named.open("rb") as file:
        equal(load_checkpoint(file, format="safetensors"))


def test_an_index_converts_under_any_name(index: Path, tmp_path: Path) -> None:
    for name, target in (
        ("param_name_map.json", "param_name_map.ckpt"),
        ("diffusion_pytorch_model.safetensors.fp16.index.json", "diffusion_pytorch_model.fp16.ckpt"),
        ("model.fp16.safetensors.index.json", "model.fp16.ckpt"),
        ("weights.json", "weights.ckpt"),
    ):
        seen: list[tuple[int, int]] = []
        index = index.rename(index.with_name(name))
        safetensors_to_ckpt(index, tmp_path / "out", progress=lambda *at: seen.append(at))  # noqa: B023 -- called here
        assert [path.name for path in (tmp_path / "out").iterdir()] == [target]
        equal(dict(sorted(load_checkpoint(tmp_path / "out" / target).items())))
        size = sum(index.with_name(file).stat().st_size for file in SHARDS)
        assert seen[-1] == (size, size)
        shutil.rmtree(tmp_path / "out")


def test_an_index_without_a_place_says_what_to_do(index: Path) -> None:
    content = index.read_bytes()
    for source in (content, io.BytesIO(content)):
        with pytest.raises(ArgumentError, match="do not tell where its shards are") as caught:
            open_checkpoint(source)
        assert "pass the path of the index" in str(caught.value.hint)
    with pytest.raises(ArgumentError, match="do not tell where its shards are"):
        load_checkpoint(io.BytesIO(content), format="safetensors")


def test_as_a_ckpt_an_index_is_named(named: Path) -> None:
    with named.open("rb") as file:
        for source in (named, file):
            with pytest.raises((WrongFormatError, ArgumentError)) as caught:
                load_checkpoint(source)
            if not named.name.endswith(".safetensors.index.json"):
                assert "this is not a .ckpt but an index of safetensors files" in str(caught.value)
            assert "format='safetensors'" in str(caught.value.hint)


def test_an_index_of_pytorch_files_is_named_whatever_its_name(tmp_path: Path) -> None:
    path = tmp_path / "pytorch_model.bin.index.json"
    path.write_text(json.dumps({"weight_map": {"w": "pytorch_model-00001-of-00002.bin"}}))
    for call in (
        lambda: open_checkpoint(path),
        lambda: open_checkpoint(path.read_bytes()),
        lambda: load_checkpoint(path),
        lambda: load_checkpoint(path, format="safetensors"),
        lambda: load_checkpoint_async(path).result(),
        lambda: safetensors_to_ckpt(path),
    ):
        with pytest.raises(WrongFormatError, match="an index of PyTorch files") as caught:
            call()
        assert "torch.load" in str(caught.value.hint)


def test_a_json_that_is_no_index_is_not_a_name_of_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"model_type": "bert"}')
    with pytest.raises(WrongFormatError, match="JSON"):
        load_checkpoint(path, format="safetensors")
    with pytest.raises(ArgumentError, match="does not end in 'safetensors'"):
        load_checkpoint(tmp_path / "missing.json", format="safetensors")
    with pytest.raises(WrongFormatError):
        open_checkpoint(path)


def test_an_index_behind_a_url_is_named_when_it_is_opened(index: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    url = "memory://shards/param_name_map.json"
    with fsspec.open(url, "wb") as file:
        file.write(index.read_bytes())
    for wanted in (None, "ckpt", "safetensors"):
        with pytest.raises(WrongFormatError, match="an index of safetensors files") as caught:
            open_checkpoint(url, format=wanted)
        assert caught.value.hint == "download the index and the shards, or open a single shard"


def test_a_shard_of_another_kind_is_named(index: Path) -> None:
    save_checkpoint({"w": ARRAYS["c"]}, index.with_name("two.safetensors.ckpt"))
    index.with_name("two.safetensors.ckpt").replace(index.with_name("two.safetensors"))
    with open_checkpoint(index) as reader:
        reader["c"]
        with pytest.raises(WrongFormatError, match=r"not a safetensors file but a MindSpore \.ckpt") as caught:
            reader["a.bias"]
        assert caught.value.path == str(index.with_name("two.safetensors"))


def test_too_little_memory_for_an_index_is_an_error_of_ours(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, index: Path
) -> None:
    def full(_: str) -> None:
        raise MemoryError

    index = index.rename(index.with_name("param_name_map.json"))
    monkeypatch.setattr(json, "loads", full)
    for call in (
        lambda: open_checkpoint(index),
        lambda: load_checkpoint(index),
        lambda: load_checkpoint_async(index).result(),
        lambda: safetensors_to_ckpt(index, tmp_path / "out"),
        lambda: Job(index, index).size(1),
    ):
        with pytest.raises(OutOfMemoryError) as caught:
            call()
        assert caught.value.path == str(index)


# -- what does not fit --------------------------------------------------------------------------------------


def test_what_does_not_fit_between_an_index_and_its_shards_is_found(tmp_path: Path, index: Path) -> None:
    with open_checkpoint(index) as reader:
        assert reader.check_index() == []
    path = write_index(tmp_path, {"c": "one.safetensors", "a.bias": "two.safetensors", "d": "two.safetensors"})
    with open_checkpoint(path) as reader:
        (error,) = reader.check_index()
    assert isinstance(error, CorruptCheckpointError)
    assert error.path == str(path)
    assert "does not list 2 tensors" in str(error)
    assert "'a.weight', 'b.weight'" in str(error) or "'b.weight', 'a.weight'" in str(error)
    save_file({"x": ARRAYS["c"]}, tmp_path / "m-00001-of-00002.safetensors")
    path = write_index(tmp_path, {"x": "m-00001-of-00002.safetensors"})
    (tmp_path / "m-00002-of-00002.safetensors").touch()
    with open_checkpoint(path) as reader:
        found = [error.problem for error in reader.check_index()]
    assert found == [
        "the index names 1 of the 2 files of a set, and not 'm-00002-of-00002.safetensors' (1 of them in its folder)",
        "the index says that its tensors have 69 bytes (total_size), they have 1",
    ]


def test_a_shard_that_cannot_be_read_is_left_to_the_entries(index: Path) -> None:
    index.with_name("one.safetensors").unlink()
    two = index.with_name("two.safetensors")
    two.write_bytes(two.read_bytes()[:-1])
    with open_checkpoint(index) as reader:
        assert reader.check_index() == []


def test_a_single_file_has_no_index(index: Path) -> None:
    with open_checkpoint(index.with_name("one.safetensors")) as reader:
        assert reader.check_index() == []
    with open_checkpoint(FIXTURES / "lenet5.ckpt") as reader:
        assert reader.check_index() == []


# -- what an index may say ----------------------------------------------------------------------------------

OUTSIDE = [
    "../secret.safetensors",
    "sub/../../secret.safetensors",
    "/etc/passwd",
    "..",
    ".",
    "",
    "x\0.safetensors",
    "..\\secret.safetensors",
    "C:\\secret.safetensors",
    "\\\\server\\share\\x.safetensors",
    "link.safetensors",
    "folder/secret.safetensors",
]


@pytest.mark.parametrize("file", OUTSIDE)
def test_a_file_outside_of_the_folder_is_refused(tmp_path: Path, file: str) -> None:
    here = tmp_path / "here"
    here.mkdir()
    save_file({"w": ARRAYS["c"]}, tmp_path / "secret.safetensors")
    (here / "link.safetensors").symlink_to(tmp_path / "secret.safetensors")
    (here / "folder").symlink_to(tmp_path)
    (here / "sub").mkdir()
    path = write_index(here, {"w": file})
    with pytest.raises(CorruptCheckpointError, match="a file outside its folder") as caught:
        load_checkpoint(path, format="safetensors")
    assert caught.value.path == str(path)


def test_a_file_behind_a_loop_of_links_is_refused(tmp_path: Path) -> None:
    """From Python 3.13 on such a path is below the folder, and the system cannot open it."""
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    path = write_index(tmp_path, {"w": "loop/x.safetensors"})
    with pytest.raises((CorruptCheckpointError, ReadError)):
        load_checkpoint(path, format="safetensors")


def test_a_file_in_a_folder_below_is_fine(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    save_file({"w": ARRAYS["c"]}, tmp_path / "sub" / "x.safetensors")
    path = write_index(tmp_path, {"w": "sub/x.safetensors"})
    assert load_checkpoint(path, format="safetensors")["w"].asnumpy() == 7


@pytest.mark.usefixtures("index")
def test_the_cache_of_hugging_face_opens(tmp_path: Path) -> None:
    """There, index and shards are links to files of other names in one folder."""
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "main"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    for number, name in enumerate([*SHARDS, INDEX]):
        (tmp_path / name).rename(blobs / str(number))
        (snapshot / name).symlink_to(Path("..") / ".." / "blobs" / str(number))
    equal(load_checkpoint(snapshot / INDEX, format="safetensors"))
    save_file({"w": ARRAYS["c"]}, tmp_path / "secret.safetensors")
    (snapshot / "one.safetensors").unlink()
    (snapshot / "one.safetensors").symlink_to(tmp_path / "secret.safetensors")
    with pytest.raises(CorruptCheckpointError, match="outside"):
        open_checkpoint(snapshot / INDEX)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"1", b"{}", b'{"weight_map": []}', b'{"weight_map": {"a": 1}}', b"\xff", b"[" * 200_000],
)
def test_what_is_no_index_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / INDEX
    path.write_bytes(content)
    with pytest.raises(CorruptCheckpointError, match="not an index of shards") as caught:
        open_checkpoint(path)
    assert caught.value.path == str(path)


def test_an_index_of_any_length_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / INDEX).open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(CorruptCheckpointError, match="1099511627776 bytes are too many"):
        open_checkpoint(tmp_path / INDEX)


@settings(max_examples=60)
@given(
    st.recursive(
        st.one_of(
            st.none(), st.integers(), st.text(max_size=5), st.sampled_from(["one.safetensors", "two.safetensors"])
        ),
        lambda inner: st.dictionaries(st.sampled_from(["weight_map", "metadata", "c", "a.bias"]), inner, max_size=3),
        max_leaves=6,
    )
)
def test_any_index_opens_or_is_an_error_of_ours(tmp_path_factory: pytest.TempPathFactory, content: Any) -> None:
    folder = tmp_path_factory.getbasetemp() / "any"
    folder.mkdir(exist_ok=True)
    for name, tensors in SHARDS.items():
        save_file({tensor: ARRAYS[tensor] for tensor in tensors}, folder / name)
    (folder / INDEX).write_text(json.dumps(content))
    try:
        with open_checkpoint(folder / INDEX) as reader:
            for name, value in reader.load().items():
                np.testing.assert_array_equal(value.asnumpy(), ARRAYS[name])
    except CheckpointError:
        pass


def test_an_index_without_entries_is_empty(tmp_path: Path) -> None:
    with open_checkpoint(write_index(tmp_path, {}, metadata=None)) as reader:
        assert list(reader) == []
        assert reader.metadata == {}
    with pytest.raises(CheckpointError, match="has no tensors"):
        load_checkpoint(tmp_path / INDEX, format="safetensors")


def test_an_index_behind_a_url_is_refused() -> None:
    with pytest.raises(ArgumentError, match="cannot be opened from a URL"):
        open_checkpoint("https://example.org/model.safetensors.index.json")


def test_a_missing_index_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ReadError):
        open_checkpoint(tmp_path / INDEX)
    (tmp_path / INDEX).mkdir()
    with pytest.raises(ReadError):
        open_checkpoint(tmp_path / INDEX)


# -- writing ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (1, 1),
        (5 * 10**9, 5 * 10**9),
        ("5GB", 5 * 10**9),
        ("5gb", 5 * 10**9),
        ("1.5 KB", 1500),
        ("2MiB", 2 << 20),
        ("3GiB", 3 << 30),
        ("1TB", 10**12),
        ("10B", 10),
    ],
)
def test_sizes_are_written_as_in_hugging_face(value: int | str, size: int) -> None:
    assert parse_size(value) == size


@pytest.mark.parametrize("value", [0, -1, "", "5", "GB", "-5GB", "5XB", "0.1B", "5GB5", "1e3MB", "٣MB"])
def test_what_is_no_size_is_refused(value: int | str) -> None:
    with pytest.raises(ArgumentError, match=r"not a valid shard size|must be 1 byte or more"):
        parse_size(value)


@pytest.mark.parametrize("value", [True, 1.5, b"5GB", [1]])
def test_what_has_no_size_is_a_type_error(value: object) -> None:
    with pytest.raises(ArgumentTypeError, match="max_shard_size"):
        parse_size(value)


@pytest.fixture
def ckpt(tmp_path: Path) -> Path:
    path = tmp_path / "net.ckpt"
    save_checkpoint({**ARRAYS, "words": "some"}, path)
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_shards_are_named_and_indexed_as_in_hugging_face(ckpt: Path, tmp_path: Path) -> None:
    ckpt_to_safetensors(ckpt, tmp_path / "out", max_shard_size=30)
    large, small = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    assert names(tmp_path / "out") == [large, small, INDEX]
    index = json.loads((tmp_path / "out" / INDEX).read_text())
    assert index["weight_map"] == {"b.weight": small, "a.bias": small, "a.weight": large, "c": small}
    kept = {"ckptload.strings": '{"words": "some"}', "ckptload.order": "[2,0,1,3]"}
    assert index["metadata"] == {"total_size": 69, **kept}
    for name, file in index["weight_map"].items():
        np.testing.assert_array_equal(load_file(tmp_path / "out" / file)[name], ARRAYS[name])


def test_shards_become_one_ckpt_again(ckpt: Path, tmp_path: Path) -> None:
    ckpt_to_safetensors(ckpt, tmp_path / "out", max_shard_size="30B")
    seen: list[tuple[int, int]] = []
    safetensors_to_ckpt(tmp_path / "out" / INDEX, progress=lambda done, total: seen.append((done, total)))
    back = load_checkpoint(tmp_path / "out" / "model.ckpt")
    assert back.pop("words") == "some"
    equal(back)
    size = sum(path.stat().st_size for path in (tmp_path / "out").glob("*.safetensors"))
    assert seen[-1] == (size, size)


def test_what_fits_into_one_shard_is_a_file_without_an_index(ckpt: Path, tmp_path: Path) -> None:
    ckpt_to_safetensors(ckpt, tmp_path / "out", max_shard_size="5GB")
    assert names(tmp_path / "out") == ["model.safetensors"]
    safetensors_to_ckpt(tmp_path / "out" / "model.safetensors")
    assert load_checkpoint(tmp_path / "out" / "model.ckpt")["words"] == "some"


@pytest.mark.parametrize("limit", [1, 2, 4, 5, 24, 28, 29, 30, 39, 40, 41, 44, 45, 68, 69, 1000])
def test_tensors_are_split_as_huggingface_hub_splits_them(ckpt: Path, tmp_path: Path, limit: int) -> None:
    hub = pytest.importorskip("huggingface_hub")
    ckpt_to_safetensors(ckpt, tmp_path / "out", max_shard_size=limit)
    theirs = hub.split_state_dict_into_shards_factory(
        ARRAYS,
        get_storage_size=lambda array: array.nbytes,
        filename_pattern="model{suffix}.safetensors",
        max_shard_size=limit,
    )
    assert theirs.is_sharded == (INDEX in names(tmp_path / "out"))
    assert set(theirs.filename_to_tensors) == set(names(tmp_path / "out")) - {INDEX}
    for file, tensors in theirs.filename_to_tensors.items():
        assert set(load_file(tmp_path / "out" / file)) == set(tensors)
    if theirs.is_sharded:
        index = json.loads((tmp_path / "out" / INDEX).read_text())
        assert index["weight_map"] == theirs.tensor_to_filename
        assert index["metadata"]["total_size"] == theirs.metadata["total_size"]


def test_a_failure_leaves_the_shards_that_were_there(ckpt: Path, tmp_path: Path) -> None:
    ckpt_to_safetensors(ckpt, tmp_path / "out", max_shard_size=30)
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}

    def stop(done: int, total: int) -> None:
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ckpt_to_safetensors(ckpt, tmp_path / "out", {"c": "d"}, max_shard_size=30, progress=stop)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


@pytest.mark.parametrize("limit", [30, 1000])
def test_hugging_faces_loaders_want_the_format_to_be_pt(ckpt: Path, tmp_path: Path, limit: int) -> None:
    ckpt_to_safetensors(ckpt, tmp_path / "out", max_shard_size=limit)
    for path in (tmp_path / "out").glob("*.safetensors"):
        with safe_open(path, framework="numpy") as file:
            assert file.metadata()["format"] == "pt"


@pytest.mark.torch
@pytest.mark.parametrize("limit", [25, 1000])
def test_hugging_face_loads_our_shards_into_a_torch_model(tmp_path: Path, limit: int) -> None:
    torch = pytest.importorskip("torch")
    hub = pytest.importorskip("huggingface_hub")
    weights = {
        "0.weight": np.ones((2, 3), np.float32),
        "0.bias": np.zeros(2, np.float32),
        "1.weight": np.ones((1, 2), np.float32),
        "1.bias": np.ones(1, np.float32),
    }
    save_checkpoint(weights, tmp_path / "net.ckpt")
    ckpt_to_safetensors(tmp_path / "net.ckpt", max_shard_size=limit)
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 1))
    found = hub.load_torch_model(model, tmp_path, strict=True)
    assert not found.missing_keys
    assert not found.unexpected_keys
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), weights[name])


def test_a_file_object_is_never_taken_for_an_index(index: Path) -> None:
    with pytest.raises(CheckpointError):
        open_checkpoint(io.BytesIO(index.read_bytes()), format="safetensors")
