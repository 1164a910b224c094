"""What a tensor becomes for each kind that can be asked for: the table in docs/lazy.md."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import ml_dtypes
import numpy as np
import pytest

from ckptload import Tensor, dtypes, load_checkpoint, open_checkpoint, save_checkpoint
from ckptload.errors import UnsupportedTypeError
from places import DOCS
from strategies import CountingSource

if TYPE_CHECKING:
    from pathlib import Path

#: Types that numpy has not under another name.
ARRAYS = {
    dtypes.bfloat16: ml_dtypes.bfloat16,
    dtypes.float8_e4m3fn: ml_dtypes.float8_e4m3fn,
    dtypes.float8_e5m2: ml_dtypes.float8_e5m2,
    dtypes.qint4x2: np.int8,
    dtypes.hifloat8: np.uint8,
}
FRAMEWORKS = ["mindspore", "torch"]
each = pytest.mark.parametrize("dtype", dtypes.ALL, ids=str)


def saved(dtype: dtypes.DType, folder: Path) -> Path:
    array = np.arange(1, 3, dtype=np.uint8).repeat(dtype.itemsize).view(dtype.numpy)
    save_checkpoint({"w": Tensor.adopt(array, dtype)}, folder / "x.ckpt")
    return folder / "x.ckpt"


@each
def test_an_array_has_the_dtype_of_numpy_or_of_ml_dtypes(dtype: dtypes.DType, tmp_path: Path) -> None:
    found = load_checkpoint(saved(dtype, tmp_path), parameters="numpy")["w"]
    assert type(found) is np.ndarray
    assert found.dtype == np.dtype(ARRAYS.get(dtype, str(dtype).lower()))
    assert found.tobytes() == np.arange(1, 3, dtype=np.uint8).repeat(dtype.itemsize).tobytes()


@pytest.mark.parametrize(
    "kind", ["auto", "numpy", *(pytest.param(f, marks=getattr(pytest.mark, f)) for f in FRAMEWORKS)]
)
def test_what_is_no_tensor_is_the_same_for_every_kind(kind: str, tmp_path: Path) -> None:
    if kind in FRAMEWORKS:
        pytest.importorskip(kind)
    table = [np.arange(2, dtype=np.int32), np.ones((2, 1), np.float32), np.zeros(2, np.int32)]
    save_checkpoint({"text": "a", "table": table, "state": b"xyz"}, tmp_path / "x.ckpt")
    found = load_checkpoint(tmp_path / "x.ckpt", parameters=kind)
    assert (found["text"], found["state"]) == ("a", b"xyz")
    assert [type(part) for part in found["table"]] == [np.ndarray] * 3


@pytest.mark.torch
@each
def test_a_tensor_of_torch_has_its_dtype_or_is_refused(dtype: dtypes.DType, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    path = saved(dtype, tmp_path)
    name = {dtypes.qint4x2: "int8", dtypes.hifloat8: "none"}.get(dtype, dtype.attribute.rstrip("_"))
    if not hasattr(torch, name):
        with pytest.raises(UnsupportedTypeError, match="'w'"):
            load_checkpoint(path, parameters="torch")
        return
    assert load_checkpoint(path, parameters="torch")["w"].dtype == getattr(torch, name)


@pytest.mark.torch
def test_a_tensor_that_is_refused_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    values = {"w": np.zeros(1 << 20, np.uint8), "odd": Tensor.adopt(np.zeros(2, np.uint8), dtypes.hifloat8)}
    save_checkpoint(values, tmp_path / "x.ckpt")
    source = CountingSource(tmp_path / "x.ckpt")
    with open_checkpoint(source, parameters="torch") as reader, pytest.raises(UnsupportedTypeError, match="'odd'"):
        reader.load()
    assert source.total < 50_000


@pytest.mark.mindspore
@pytest.mark.skipif(not DOCS.exists(), reason="the documentation is not here")
@each
def test_the_page_names_what_mindspore_cannot_hold(dtype: dtypes.DType, tmp_path: Path) -> None:
    pytest.importorskip("mindspore")
    page = (DOCS / "lazy.md").read_text("utf-8")
    (said,) = re.findall(r'^\| `"mindspore"` \| .*? \| (.*?) \(MindSpore 2\.10\.0\) \|$', page, re.MULTILINE)
    path = saved(dtype, tmp_path)
    if str(dtype) in said.split(", "):
        with pytest.raises(UnsupportedTypeError, match="'w'"):
            load_checkpoint(path, parameters="mindspore")
    else:
        assert load_checkpoint(path, parameters="mindspore")["w"].shape == (2,)
