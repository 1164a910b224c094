"""An index of shards is known by what is in it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ckptload.errors import CorruptCheckpointError, LimitError, WrongFormatError
from ckptload.formats.safetensors import weight_map
from ckptload.formats.safetensors.weight_map import find
from ckptload.sources.memory import BufferSource
from strategies import CountingSource

FILES = {"w": "part0.safetensors", "b": "part1.safetensors"}


def of(content: Any, label: str = "x") -> BufferSource:
    return BufferSource(content if isinstance(content, bytes) else json.dumps(content).encode(), label=label)


@pytest.mark.parametrize(
    "content",
    [
        {"weight_map": FILES},
        {"metadata": None, "weight_map": FILES, "more": [1]},
        b"\xef\xbb\xbf" + json.dumps({"weight_map": FILES}).encode(),
        b"\r\n \t{\n    " + json.dumps({"weight_map": FILES}).encode()[1:] + b"\n",
        # Before MindSpore wrote a weight_map, param_name_map.json had the files alone.
        FILES,
    ],
)
def test_a_json_that_names_the_files_of_tensors_is_an_index(content: Any) -> None:
    found = find(of(content))
    assert found is not None
    assert found.files == FILES
    assert found.metadata == {}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"{",
        b"[]",
        b'["weight_map"]',
        b'"weight_map"',
        b'{"weight_maps"',
        b'{"a": "x.safetensors"',
        b'{"x": {"weight_map": {}}}',
        b"\xff\xfe" + '{"weight_map": {}}'.encode("utf-16-le"),
        {"model_type": "bert", "file": "model.safetensors"},
        {"a": "x.safetensors", "b": 1},
        {"a": "x.bin"},
    ],
)
def test_anything_else_is_none_unless_its_name_is_that_of_an_index(content: Any) -> None:
    assert find(of(content)) is None
    with pytest.raises(CorruptCheckpointError, match="not an index of shards") as caught:
        find(of(content, "model.safetensors.index.json"))
    assert caught.value.path == "model.safetensors.index.json"


@pytest.mark.parametrize("content", [b'{"weight_map"', b'{"weight_map": {}, "metadata": ', b'{"weight_map": "\xff"}'])
def test_what_is_cut_off_in_an_index_is_an_error_whatever_the_name(content: bytes) -> None:
    with pytest.raises(CorruptCheckpointError, match="not an index of shards"):
        find(of(content))


@pytest.mark.parametrize("files", [None, [], 1, {"a": 1}, {"a": None}])
def test_a_weight_map_that_is_none_is_an_error_whatever_the_name(files: Any) -> None:
    with pytest.raises(CorruptCheckpointError, match="its weight_map is not from names to files"):
        find(of({"weight_map": files}))


def test_a_safetensors_header_that_begins_like_json_is_not_read_as_an_index() -> None:
    """Its length may have any two first bytes; the others are zeros."""
    header = b'{"weight_map":1'.ljust(int.from_bytes(b'{"', "little") - 1) + b"}"
    source = CountingSource(len(header).to_bytes(8, "little") + header)
    assert bytes(source.read(0, 2)) == b'{"'
    before = source.total
    assert find(source) is None
    assert source.total - before == 64


@pytest.mark.parametrize(
    ("file", "what", "hint"),
    [
        ("pytorch_model-00001-of-00002.bin", "PyTorch", "torch.load"),
        ("x.pt", "PyTorch", "torch.load"),
        ("x.PTH", "PyTorch", "torch.load"),
        ("x.ckpt", ".ckpt", "one at a time"),
        ("tf_model-00001-of-00002.h5", "Keras", "h5py"),
        ("flax_model-00001-of-00002.msgpack", "Flax", "Flax"),
    ],
)
def test_an_index_of_files_of_another_kind_is_named(file: str, what: str, hint: str) -> None:
    with pytest.raises(WrongFormatError, match=f"an index of {what} files, such as '{file}'") as caught:
        find(of({"weight_map": {"a": file, "b": file}}))
    assert hint in str(caught.value.hint)
    # Where one file may be opened, this is found when another one is wanted.
    assert find(of({"weight_map": {"a": file, "b": "x.safetensors"}})) is not None


@pytest.mark.parametrize(
    ("said", "size"),
    [(69, 69), (69.0, 69), (69.5, None), (True, None), ("69", None), (None, None), (1e400, None), (-1, -1)],
)
def test_a_total_size_is_a_number(said: object, size: int | None) -> None:
    found = find(of({"metadata": {"total_size": said}, "weight_map": {}}))
    assert found is not None
    assert found.total_size == size
    assert found.metadata == {"total_size": said if isinstance(said, str) else json.dumps(said)}


def test_more_tensors_than_allowed_are_refused() -> None:
    assert find(of({"weight_map": FILES}), 2) is not None
    with pytest.raises(LimitError, match="1 tensors"):
        find(of({"weight_map": FILES}), 1)


def test_a_long_file_of_another_name_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    content = json.dumps({"weight_map": FILES}).encode()
    monkeypatch.setattr(weight_map, "MAX_INDEX", len(content))
    assert find(of(content)) is not None
    source = CountingSource(content + b" ")
    assert find(source) is None
    assert source.total == 0


@pytest.mark.parametrize("depth", [500, 200_000])
def test_deep_nesting_is_not_an_index_or_an_error_of_ours(depth: int) -> None:
    content = b'{"weight_map": {}, "metadata": {"a": ' + b"[" * depth + b"]" * depth + b"}}"
    try:
        found = find(of(content))
    except CorruptCheckpointError:
        return
    assert found is not None
    assert len(found.metadata["a"]) == 2 * depth
