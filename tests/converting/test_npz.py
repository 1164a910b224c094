"""Checkpoints as .npz: what each kind of entry becomes, and that numpy reads it without pickle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest

from ckptload import dtypes, open_checkpoint, save_checkpoint, to_npz
from ckptload.errors import (
    ArgumentError,
    ArgumentTypeError,
    CorruptCheckpointError,
    EmptyCheckpointError,
    EncryptedCheckpointError,
    LimitError,
    ReadError,
    WriteError,
)
from strategies import floats, mapping, record, tensor, text

if TYPE_CHECKING:
    from pathlib import Path

KEY = bytes(range(16))


def made(tmp_path: Path, content: bytes | dict[str, Any]) -> Path:
    path = tmp_path / "x.ckpt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        save_checkpoint(content, path)
    return path


def archive(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as found:
        return dict(found)


@pytest.mark.parametrize("dtype", dtypes.ALL, ids=str)
def test_every_type_becomes_what_numpy_can_hold(tmp_path: Path, dtype: dtypes.DType) -> None:
    content = bytes(range(1, 256))[: 6 * dtype.itemsize] if dtype is not dtypes.bool_ else b"\0\1\1\0\1\0"
    to_npz(made(tmp_path, record("x", (2, 3), dtype.name, content)), tmp_path / "x.npz")
    found = archive(tmp_path / "x.npz")["x"]
    value = np.frombuffer(content, dtype.numpy).reshape(2, 3)
    if dtype in (dtypes.bfloat16, dtypes.float8_e4m3fn, dtypes.float8_e5m2):
        value = value.astype(np.float32)
    assert found.dtype == value.dtype
    assert found.tobytes() == value.tobytes()
    assert found.shape == (2, 3)


def test_scalars_empty_tensors_and_strings_keep_their_shapes(tmp_path: Path) -> None:
    values = {"n": np.array(7), "e": np.zeros((0, 3), np.float16), "s": "gr\u00fc\u00df dich", "": ""}
    to_npz(made(tmp_path, values), tmp_path / "x.npz")
    found = archive(tmp_path / "x.npz")
    assert list(found) == list(values)
    assert (found["n"].shape, found["n"].item()) == ((), 7)
    assert (found["e"].shape, found["e"].dtype) == ((0, 3), np.float16)
    assert (found["s"].shape, found["s"].item()) == ((), "gr\u00fc\u00df dich")
    assert not found[""].item()


def test_maps_and_random_states_become_arrays(tmp_path: Path) -> None:
    parts = (tensor((2,), "int32", bytes(8)), tensor((2, 1), "float32", bytes(8)), tensor((2,), "int32", bytes(8)))
    to_npz(made(tmp_path, mapping("m", *parts) + record("r", (), "random_op", b"abc")), tmp_path / "x.npz")
    found = archive(tmp_path / "x.npz")
    assert list(found) == ["m.keys", "m.values", "m.status", "r"]
    assert found["m.values"].shape == (2, 1)
    assert found["r"].tobytes() == b"abc"


def test_bfloat16_cut_inside_an_element_is_joined(tmp_path: Path) -> None:
    value = np.array([1.5, -2, 3], ml_dtypes.bfloat16)
    content = value.tobytes()
    parts = (content[:3], b"", content[3:4], content[4:])
    slices = b"".join(record("b", (3,), "BFloat16", part) for part in parts)
    to_npz(made(tmp_path, slices), tmp_path / "x.npz")
    np.testing.assert_array_equal(archive(tmp_path / "x.npz")["b"], value.astype(np.float32))


@pytest.mark.parametrize("order", [("w", "w.npy"), ("w.npy", "w")])
def test_a_name_that_numpy_takes_for_another_is_refused(tmp_path: Path, order: tuple[str, str]) -> None:
    values = {name: np.full(1, len(name)) for name in order}
    with pytest.raises(ArgumentError, match=r"numpy would read the array 'w' for this one") as caught:
        to_npz(made(tmp_path, values), tmp_path / "x.npz")
    assert caught.value.name == "w.npy"
    assert not (tmp_path / "x.npz").exists()
    to_npz(made(tmp_path, values), tmp_path / "x.npz", choice_func=lambda name: name == "w.npy")
    assert archive(tmp_path / "x.npz")["w.npy"].tolist() == [5]


def test_equal_content_makes_equal_files(tmp_path: Path) -> None:
    path = made(tmp_path, floats("w", 1, 2) + text("s", "x"))
    to_npz(path, tmp_path / "a")
    with open_checkpoint(path) as reader:
        to_npz(reader, str(tmp_path / "b.npz"))
        assert not reader.closed
    to_npz(path.read_bytes(), tmp_path / "c")
    assert len({(tmp_path / f"{name}.npz").read_bytes() for name in "abc"}) == 1


def test_a_choice_is_made_by_name(tmp_path: Path) -> None:
    path = made(tmp_path, {"a": np.zeros(1), "b": np.zeros(1)})
    to_npz(path, tmp_path / "x.npz", choice_func=lambda name: name == "b")
    assert list(archive(tmp_path / "x.npz")) == ["b"]
    with pytest.raises(EmptyCheckpointError, match="keeps none of 2"):
        to_npz(path, tmp_path / "y.npz", choice_func=lambda _: False)


@pytest.mark.parametrize(
    "content",
    [mapping("m", tensor((1,), "int32", bytes(4))) + floats("m.keys", 1), floats("a\0b", 1), floats("\0", 1)],
)
def test_names_that_an_archive_cannot_tell_apart_are_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ArgumentError, match=r"would have this name|ends at a NUL"):
        to_npz(made(tmp_path, content), tmp_path / "x.npz")


def test_more_records_than_allowed_are_refused(tmp_path: Path) -> None:
    path = made(tmp_path, floats("a", 1) + floats("b", 1))
    with pytest.raises(LimitError):
        to_npz(path, tmp_path / "x.npz", max_records=1)
    to_npz(path, tmp_path / "x.npz", max_records=2)
    assert list(archive(tmp_path / "x.npz")) == ["a", "b"]


def test_encrypted_files_take_a_key(tmp_path: Path) -> None:
    save_checkpoint({"a": np.arange(3)}, tmp_path / "x.ckpt", enc_key=KEY)
    with pytest.raises(EncryptedCheckpointError):
        to_npz(tmp_path / "x.ckpt", tmp_path / "x.npz")
    to_npz(tmp_path / "x.ckpt", tmp_path / "x.npz", dec_key=KEY)
    assert archive(tmp_path / "x.npz")["a"].tolist() == [0, 1, 2]


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(b"old")
    with pytest.raises(CorruptCheckpointError):
        to_npz(made(tmp_path, floats("w", 1)[:-1]), tmp_path / "x.npz")
    with pytest.raises(ReadError):
        to_npz(tmp_path / "missing.ckpt", tmp_path / "x.npz")
    assert (tmp_path / "x.npz").read_bytes() == b"old"
    with pytest.raises(WriteError):
        to_npz(made(tmp_path, floats("w", 1)), tmp_path / "x.ckpt" / "y.npz")


@pytest.mark.parametrize(("path", "progress"), [(1, None), (b"x.npz", None), ("x.npz", 1)])
def test_arguments_are_checked(tmp_path: Path, path: Any, progress: Any) -> None:
    with pytest.raises(ArgumentTypeError):
        to_npz(made(tmp_path, floats("w", 1)), path, progress=progress)


def test_progress_rises_to_the_size_of_the_content(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    source = made(tmp_path, {"a": np.zeros(3, np.int8), "b": np.zeros(5, ml_dtypes.bfloat16)})
    to_npz(source, tmp_path / "x.npz", progress=lambda done, total: seen.append((done, total)))
    assert seen == [(3, 13), (13, 13)]
