"""Folders with ``metadata.json`` and unified folders: what they say, and what is refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from ckptload import open_distributed
from ckptload.errors import CheckpointError, CorruptCheckpointError, LimitError, MissingShardError
from ckptload.ranks import metadata

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WHOLE = np.arange(48, dtype=np.float32).reshape(8, 6)


def described(folder: Path, change: Callable[[dict[str, Any]], object] = lambda _: None) -> Path:
    """A tensor in 2 x 3 parts, one file for each two of them, and a number that is in every file."""
    parts = [np.ascontiguousarray(part) for rows in np.split(WHOLE, 2) for part in np.split(rows, 3, 1)]
    chunks, storage = [], {}
    for number in range(6):
        chunks.append({"global_offset": [number], "local_shape": [4, 2]})
        storage[str(("w", (number,)))] = [{"file_name": f"net-{number // 2}.safetensors", "storage_rank": number}]
    for file in range(3):
        save_file({"step": np.array(7)}, folder / f"net-{file}.safetensors")
    found = {
        "state_dict_metadata": {
            "w": {
                "properties": {"dtype": "Float32"},
                "global_shape": [8, 6],
                "axis_fragmentations": [2, 3],
                "chunk": chunks,
            }
        },
        "storage_data": storage,
    }
    # A file holds one slice of a name.
    for number in range(6):
        save_file({"w": parts[number], "step": np.array(7)}, folder / f"net-{number}.safetensors")
        storage[str(("w", (number,)))] = [{"file_name": f"net-{number}.safetensors", "storage_rank": number}]
    change(found)
    (folder / "metadata.json").write_text(json.dumps(found))
    return folder


def test_slices_are_numbered_over_all_axes(tmp_path: Path) -> None:
    with open_distributed(described(tmp_path)) as reader:
        assert list(reader) == ["w", "step"]
        assert reader["w"].asnumpy().tobytes() == WHOLE.tobytes()
        assert reader["step"].asnumpy() == 7


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    described(tmp_path)
    (tmp_path / "net-4.safetensors").unlink()
    with open_distributed(tmp_path) as reader:
        with pytest.raises(CorruptCheckpointError, match=r"8 of 48 elements.*net-4.safetensors"):
            reader.info("w")
        assert reader["step"].asnumpy() == 7
    for file in tmp_path.glob("net-*"):
        file.unlink()
    save_file({"step": np.array(7)}, tmp_path / "net-9.safetensors")
    with open_distributed(tmp_path) as reader, pytest.raises(MissingShardError, match=r"net-0.safetensors"):
        reader.info("w")


def entry(found: dict[str, Any]) -> dict[str, Any]:
    inner: dict[str, Any] = found["state_dict_metadata"]["w"]
    return inner


def place(found: dict[str, Any], file: Any) -> None:
    found["storage_data"][str(("w", (0,)))] = [{"file_name": file}]


def overlap(found: dict[str, Any]) -> None:
    chunks = [{"global_offset": [0], "local_shape": [8, 4]}, {"global_offset": [1], "local_shape": [8, 2]}]
    entry(found).update(axis_fragmentations=[1, 3], chunk=chunks)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda found: found.pop("state_dict_metadata"), "no object 'state_dict_metadata'"),
        (lambda found: found.update(storage_data=[]), "no object 'storage_data'"),
        (lambda found: found["state_dict_metadata"].clear(), "no tensor of state_dict_metadata is named so"),
        (lambda found: found["state_dict_metadata"].update(w=3), "the entry is no object"),
        (lambda found: entry(found).update(global_shape=[8, -6]), "global_shape has a value that is no size"),
        (lambda found: entry(found).update(global_shape=[8, True]), "global_shape has a value that is no size"),
        (lambda found: entry(found).update(global_shape=[1 << 63, 6]), "global_shape has a value that is no size"),
        (lambda found: entry(found).update(global_shape=[1] * 65), "no list of up to 64 numbers"),
        (lambda found: entry(found).update(axis_fragmentations=[2, 0]), "are not the parts of each axis"),
        (lambda found: entry(found).update(axis_fragmentations=[2]), "are not the parts of each axis"),
        (lambda found: entry(found).update(chunk=None), "or it has no chunk"),
        (lambda found: entry(found).update(chunk=[3]), "a chunk is no object"),
        (lambda found: entry(found)["chunk"][0].update(global_offset=[6]), "there is no slice 6"),
        (lambda found: entry(found)["chunk"][0].update(local_shape=[4]), "there is no slice 0"),
        (lambda found: entry(found)["chunk"][0].update(local_shape=[9, 2]), "slice 0 of shape"),
        # Together as large as the tensor, but they overlap, and leave a hole.
        (overlap, "slice 0 of shape"),
        (lambda found: place(found, 3), "does not name the files"),
        (lambda found: place(found, "../net-0.safetensors"), "outside its folder"),
        (lambda found: place(found, "/etc/passwd"), "outside its folder"),
        (lambda found: place(found, "sub/../../x.safetensors"), "outside its folder"),
    ],
)
def test_what_is_not_as_mindformers_writes_it_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], words: str
) -> None:
    with pytest.raises(CorruptCheckpointError, match=words) as caught:
        open_distributed(described(tmp_path, change))
    assert str(caught.value.path).endswith("metadata.json")


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '"x"', "\xff", "[" * 100_000, "{}"])
def test_what_is_no_json_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "metadata.json").write_text(text, "latin-1")
    with pytest.raises(CorruptCheckpointError, match=r"metadata\.json"):
        open_distributed(tmp_path)


def test_more_tensors_than_allowed_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    described(tmp_path, lambda found: found["state_dict_metadata"].update(v=entry(found)))
    with pytest.raises(LimitError, match="more than 1 tensors"):
        open_distributed(tmp_path, max_records=1)
    monkeypatch.setattr(metadata, "MAX_INDEX", 100)
    with pytest.raises(CorruptCheckpointError, match="bytes are too many"):
        open_distributed(tmp_path)


def test_a_file_with_another_shape_than_is_described_is_refused(tmp_path: Path) -> None:
    described(tmp_path)
    save_file({"w": np.zeros((4, 3), np.float32)}, tmp_path / "net-5.safetensors")
    with open_distributed(tmp_path) as reader, pytest.raises(CorruptCheckpointError, match=r"metadata\.json says"):
        reader.info("w")


values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 70) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["w", "chunk", "file_name"]), inner),
    max_leaves=8,
)
keys = ["global_shape", "axis_fragmentations", "chunk", "global_offset", "local_shape", "file_name"]


@given(st.data())
@settings(max_examples=50)
def test_any_change_is_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    def change(found: dict[str, Any]) -> None:
        key, value = data.draw(st.sampled_from(keys)), data.draw(values)
        if key in entry(found):
            entry(found)[key] = value
        elif key == "file_name":
            place(found, value)
        else:
            entry(found)["chunk"][data.draw(st.integers(0, 5))][key] = value

    try:
        with open_distributed(described(tmp_path, change)) as reader:
            reader.load()
    except CheckpointError:
        pass


# -- unified folders ----------------------------------------------------------------------------------------


def unified(folder: Path, **weights: str) -> Path:
    save_file({"w": WHOLE, "v": WHOLE + 1}, folder / "part0.safetensors")
    save_file({"step": np.array(3), "accu_grads.w": WHOLE[:2]}, folder / "hyper_param.safetensors")
    found = {
        "metadata": {"total_size": 2 * WHOLE.nbytes},
        "weight_map": weights or dict.fromkeys("wv", "part0.safetensors"),
    }
    (folder / "param_name_map.json").write_text(json.dumps(found))
    return folder


def test_a_unified_folder_is_whole_and_slices_of_rank_0_are_left_out(tmp_path: Path) -> None:
    with open_distributed(unified(tmp_path)) as reader:
        assert sorted(reader) == ["step", "v", "w"]
        assert reader["v"].asnumpy().tobytes() == (WHOLE + 1).tobytes()
        (note,) = reader.notes
        assert (note.kind, note.names) == ("left out", ("accu_grads.w",))


def test_a_unified_folder_that_leads_outside_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorruptCheckpointError, match="outside its folder"):
        open_distributed(unified(tmp_path, w="../part0.safetensors"))
