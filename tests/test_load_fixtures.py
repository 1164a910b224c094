"""Every plain file of every MindSpore version, as it must come back."""

from __future__ import annotations

import hashlib
import io
import json
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest

from ckptload import dtypes, load_checkpoint, open_checkpoint
from ckptload.errors import ChecksumError
from ckptload.formats.ckpt import schema
from ckptload.tensors.parameter import Parameter
from places import FIXTURES, SHARED

if TYPE_CHECKING:
    from pathlib import Path

SAMPLES = SHARED / "samples"


def rows(folder: Path) -> list[Any]:
    """Descriptions of the plain samples of a folder, which need not be there."""
    listed = folder / "samples.json"
    if not listed.exists():
        return []
    samples = json.loads(listed.read_text("utf-8"))["samples"]
    wanted = [row for row in samples if row["file"].startswith(("plain_", "rc_", "bad_crc"))]
    return [pytest.param(folder / row["file"], row["expected"], id=row["file"]) for row in wanted]


def description(name: str, value: Any) -> dict[str, Any]:
    """Describe a value as samples.json does."""
    if isinstance(value, str):
        return {"name": name, "dtype": "str", "value": value}
    if isinstance(value, bytes):
        return {"name": name, "dtype": "random_op", "value_hex": value.hex()}
    if isinstance(value, list):
        return {"name": name, "dtype": "map", "tensors": [array(each) for each in value]}
    assert isinstance(value, Parameter)
    assert value.name == name
    return {"name": name, "dtype": str(value.dtype), **array(value.asnumpy(), str(value.dtype))}


def array(each: Any, dtype: str = "") -> dict[str, Any]:
    return {
        "dtype": dtype or str(dtypes.from_numpy(each.dtype)),
        "shape": list(each.shape),
        "nbytes": each.nbytes,
        "sha256": hashlib.sha256(each.tobytes()).hexdigest(),
    }


def agrees(found: dict[str, Any], expected: dict[str, Any]) -> bool:
    """Compare what is found with what is described; tensors of a map have names in the description only."""
    if "tensors" in expected:
        pairs = zip(found["tensors"], expected["tensors"], strict=True)
        return all(one | {"name": other["name"]} == other for one, other in pairs)
    return found == expected


@pytest.mark.parametrize(("path", "expected"), rows(FIXTURES) + rows(SAMPLES))
def test_samples_come_back_as_described(path: Path, expected: list[dict[str, Any]]) -> None:
    """By path, from memory, one by one and mapped."""
    loaded = load_checkpoint(path)
    assert list(loaded) == [each["name"] for each in expected]
    with open_checkpoint(path) as lazily, open_checkpoint(path, mmap=True) as mapped:
        for values in (loaded, load_checkpoint(io.BytesIO(path.read_bytes())), lazily, mapped):
            for name, wanted in zip(loaded, expected, strict=True):
                found = description(name, values[name])
                assert agrees(found, wanted), (found, wanted)


def test_there_are_samples() -> None:
    """The comparison above would pass without any."""
    assert len(rows(FIXTURES)) >= 19


@pytest.mark.parametrize("name", sorted(path.name for path in FIXTURES.glob("*crc*.ckpt")))
@pytest.mark.filterwarnings("ignore::ckptload.errors.PartialChecksumWarning")
def test_checksums_of_mindspore_are_right_but_for_the_bad_one(name: str) -> None:
    """Also where its writer left map records out."""
    if name == "bad_crc.ckpt":
        with pytest.raises(ChecksumError):
            load_checkpoint(FIXTURES / name, crc_check=True)
    else:
        assert load_checkpoint(FIXTURES / name, crc_check=True)


# -- files written by make_fixtures.py, whose values are known ------------------------------------


def values(*shape: int, seed: int) -> Any:
    """The numbers of make_fixtures.py."""
    return (np.random.default_rng(seed).standard_normal(shape) * 0.1).astype(np.float32)


def equal(value: Any, expected: Any) -> bool:
    got, expected = value.asnumpy(), np.asarray(expected)
    return (got.shape, got.dtype, got.tobytes()) == (expected.shape, expected.dtype, expected.tobytes())


@pytest.mark.parametrize("name", ["lenet5", "cell", "adam", "dtypes", "append", "crc", "sliced", "empty"])
def test_files_of_2_10_0_hold_what_protobuf_finds_in_them(name: str) -> None:
    data = (FIXTURES / f"{name}.ckpt").read_bytes()
    message: Any = schema.message_class("Checkpoint")()
    message.ParseFromString(data[:-17] if name == "crc" else data)
    expected: dict[str, tuple[str, tuple[int, ...], bytes]] = {}
    for each in message.value:
        before = expected[each.tag][2] if each.tag in expected else b""
        expected[each.tag] = (each.tensor.tensor_type, tuple(each.tensor.dims), before + each.tensor.tensor_content)
    loaded = load_checkpoint(io.BytesIO(data))
    assert list(loaded) == list(expected)
    for key, value in loaded.items():
        kind, dims, content = expected[key]
        if kind == "str":
            assert value == content.decode("utf-32-le").rstrip("\0")
        else:
            assert (str(value.dtype), value.shape, value.get_bytes()) == (kind, dims, content)


def test_lenet5_prints_as_in_the_document() -> None:
    loaded = load_checkpoint(FIXTURES / "lenet5.ckpt")
    assert (
        str(loaded["conv2.weight"])
        == "Parameter (name=conv2.weight, shape=(16, 6, 5, 5), dtype=Float32, requires_grad=True)"
    )
    assert len(load_checkpoint(FIXTURES / "lenet5.ckpt", choice_func=lambda name: name.startswith("conv"))) == 2


def test_append_holds_python_values() -> None:
    got = load_checkpoint(FIXTURES / "append.ckpt")
    assert equal(got["w"], values(2, 3, seed=0))
    assert equal(got["epoch_num"], np.int64(12))
    assert equal(got["big"], np.uint64(2**63))
    assert equal(got["lr"], np.float32(0.1))
    assert equal(got["done"], np.bool_(True))
    assert (got["note"], got["unicode"], got["nothing"]) == ("plain text", "Größe 模型 🙂", "")
    assert equal(got["tensor"], values(2, seed=1))
    assert equal(got["parameter"], np.array([[7]], np.int32))
    assert got["parameter"].name == "parameter"


def test_sliced_is_joined() -> None:
    got = load_checkpoint(FIXTURES / "sliced.ckpt")
    assert equal(got["a"], values(17, 31, seed=0))
    assert equal(got["b"], values(5, 300, seed=1).astype(np.float16))
    assert equal(got["step"], np.int64(5))
    with open_checkpoint(FIXTURES / "sliced.ckpt") as reader:
        assert (reader.info("a").slices, reader.info("b").slices, reader.info("step").slices) == (3, 3, 1)
        assert equal(reader.get_slice("a")[3:15:4, ::-1], values(17, 31, seed=0)[3:15:4, ::-1])


def test_empty_tensors_keep_their_shapes() -> None:
    got = load_checkpoint(FIXTURES / "empty.ckpt")
    assert equal(got["e0"], np.zeros(0, np.float32))
    assert equal(got["e03"], np.zeros((0, 3), np.int8))
    assert equal(got["e20"], np.zeros((2, 0), np.float16))


def test_every_type_has_its_values() -> None:
    got = load_checkpoint(FIXTURES / "dtypes.ckpt")
    base = np.arange(6).reshape(2, 3)
    for name in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"):
        typed = (base * 40 - (0 if name[0] == "u" else 100)).astype(name)
        assert equal(got[f"{name}.matrix"], typed)
        assert equal(got[f"{name}.scalar"], typed[1, 2])
        assert equal(got[f"{name}.one"], typed[:1, :1])
    for name in ("float16", "float32", "float64", "complex64", "complex128"):
        assert equal(got[f"{name}.matrix"], (base / 3 * (1 - 2j if name[0] == "c" else 1)).astype(name))
    assert equal(got["bool.matrix"], (base % 2).astype(bool))
    assert equal(got["bfloat16.matrix"], (base / 3).astype(np.float32).astype(ml_dtypes.bfloat16))
    assert got["int4.matrix"].asnumpy().tolist() == [[-8, -1, 0], [1, 2, 7]]
    assert got["int4.matrix"].dtype is dtypes.qint4x2
    raw = np.array([[0x00, 0x38, 0xB8], [0x08, 0x3C, 0x7E]], np.uint8)
    for name in ("float8_e4m3fn", "float8_e5m2", "hifloat8"):
        assert got[f"{name}.matrix"].get_bytes() == raw.tobytes()
