"""The bytes of a safetensors file: those of the safetensors library, with MindSpore's metadata."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from ckptload import dtypes
from ckptload.errors import ArgumentError, UnsavableTypeError
from ckptload.formats.entry import TENSOR
from ckptload.formats.item import Item
from ckptload.reading.opening import open_checkpoint
from ckptload.tensors.tensor import Tensor
from ckptload.writing import gathering
from ckptload.writing.gathering import gather
from places import FIXTURES

if TYPE_CHECKING:
    import numpy.typing as npt


library = pytest.importorskip("safetensors.numpy")
writing = pytest.importorskip("ckptload.formats.safetensors.encoding")


@pytest.mark.parametrize("dtype", dtypes.BY_SAFETENSORS.values(), ids=str)
def test_every_type_of_safetensors_has_its_place_in_the_order(dtype: dtypes.DType) -> None:
    item = Item("w", TENSOR, dtype, (1,), dtype.itemsize, bytes(dtype.itemsize))
    writing.check([item])


#: What every version of the library takes.
NUMPY = ["bool", "i1", "u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f2", "<f4", "<f8"]
arrays = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8).filter(lambda name: name != "__metadata__"),
    st.sampled_from(NUMPY).flatmap(lambda kind: npst.arrays(kind, npst.array_shapes(min_dims=0, min_side=0))),
    min_size=1,
    max_size=8,
)


def joined(entries: list[Item], **how: Any) -> bytes:
    return b"".join(bytes(buffer) for buffer in writing.safetensors(entries, **how))


def header(data: bytes) -> dict[str, Any]:
    size = int.from_bytes(data[:8], "little")
    found: dict[str, Any] = json.loads(data[8 : 8 + size])
    return found


@settings(max_examples=60)
@given(arrays)
def test_the_bytes_are_those_of_the_library(values: dict[str, npt.NDArray[Any]]) -> None:
    assert joined(gather(values, None, None)) == library.save(values, metadata={"format": "ms"})


@pytest.mark.parametrize(
    "name", ['quote"', "back\\slash", "line\nfeed", "\x00\x1f\x7f", "ü\u2028\U0001f600", "", "a b"]
)
def test_names_are_escaped_as_the_library_does(name: str) -> None:
    values = {name: np.ones(3, np.int8)}
    assert joined(gather(values, None, None)) == library.save(values, metadata={"format": "ms"})


def test_types_are_ordered_as_the_library_orders_them() -> None:
    """Its order keeps each tensor aligned; all types are there, in the order of their names at first."""
    chosen = [dtype for dtype in dtypes.ALL if dtype.safetensors is not None]
    entries = [Tensor.adopt(np.zeros(3, dtype.numpy), dtype) for dtype in chosen]
    ours = joined(gather({tensor.dtype.attribute: tensor for tensor in entries}, None, None))
    try:
        theirs = library.save({t.dtype.attribute: t.asnumpy() for t in entries}, metadata={"format": "ms"})
    except Exception:  # noqa: BLE001 -- older versions lack types, and differ in what they raise
        pytest.skip("this version of safetensors lacks some of the types")
    assert ours == theirs


def test_nothing_is_saved_without_metadata() -> None:
    """So does MindSpore."""
    assert joined([], crc_check=True, remove_redundancy=True) == bytes.fromhex("08000000000000007b7d202020202020")


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({}, {"format": "ms"}),
        ({"remove_redundancy": True}, {"format": "ms", "remove_redundancy": "True"}),
        ({"remove_redundancy": False}, {"format": "ms", "remove_redundancy": "False"}),
        # The sum is the one in a file that MindSpore 2.10.0 wrote for the same input.
        ({"crc_check": True}, {"format": "ms", "crc_num": "2770666551"}),
    ],
)
def test_the_metadata_are_mindspores(how: dict[str, Any], expected: dict[str, str]) -> None:
    data = joined(gather({"k": np.ones(1, np.float32)}, None, None), **how)
    assert header(data)["__metadata__"] == expected


def test_metadata_have_one_order() -> None:
    """The library's own is another in each process, so that equal input would make files that differ."""
    items = [Item(name, TENSOR, dtypes.qint4x2, (1,), 1, b"x") for name in ("w", "b", "a")]
    found = header(joined(items, crc_check=True, remove_redundancy=True))["__metadata__"]
    assert list(found) == ["format", "remove_redundancy", "a", "b", "w", "crc_num"]


def test_int4_is_stored_as_int8_and_noted() -> None:
    tensor = Tensor.adopt(np.array([1, -2], np.int8), dtypes.qint4x2)
    found = header(joined(gather({"w": tensor}, None, None)))
    assert found["__metadata__"] == {"format": "ms", "w": "Int4"}
    assert found["w"]["dtype"] == "I8"


@pytest.mark.parametrize(
    "value",
    ["text", b"state", [np.ones(2)] * 3, np.ones(2, np.complex128), Tensor.adopt(np.ones(2, "u1"), dtypes.hifloat8)],
    ids=["string", "random state", "map", "Complex128", "HiFloat8"],
)
def test_what_safetensors_has_no_type_for_is_refused(value: object) -> None:
    with pytest.raises(UnsavableTypeError, match="parameter 'last'"):
        writing.check(gather({"first": np.ones(2), "last": value}, None, None))


def test_the_refusal_is_the_librarys_error_too() -> None:
    """It is what MindSpore's callers get."""
    with pytest.raises(pytest.importorskip("safetensors").SafetensorError):
        writing.check(gather({"note": "text"}, None, None))


def test_a_tensor_cannot_be_called_as_the_metadata() -> None:
    with pytest.raises(ArgumentError, match="__metadata__"):
        writing.check(gather({"__metadata__": np.ones(1)}, None, None))


@pytest.mark.parametrize("name", ["format", "crc_num", "remove_redundancy", "ckptload.strings", "ckptload.order"])
def test_the_type_of_a_tensor_is_not_noted_where_the_metadata_have_something_else(name: str) -> None:
    """It would be read as Int8, or the checksum as damage."""
    writing.check([Item(name, TENSOR, dtypes.int8, (1,), 1, b"x"), Item("w", TENSOR, dtypes.qint4x2, (1,), 1, b"x")])
    with pytest.raises(ArgumentError, match="where it has another meaning") as caught:
        writing.check([Item(name, TENSOR, dtypes.qint4x2, (1,), 1, b"x")])
    assert caught.value.name == name


def test_a_header_that_no_reader_takes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "MAX_HEADER", 100)
    writing.check(gather({"w": np.ones(1)}, None, None))
    with pytest.raises(ArgumentError, match="header of 208 bytes"):
        writing.check(gather({"w": np.ones(1), "v" * 100: np.ones(1)}, None, None))


def test_a_snapshot_is_written_as_what_it_was_taken_of() -> None:
    entries = gather({"w": np.arange(6).reshape(2, 3)}, {"step": 3}, None)
    assert joined([gathering.snapshot(entry) for entry in entries], crc_check=True) == joined(entries, crc_check=True)


@pytest.mark.parametrize(
    ("name", "how"), [("types.safetensors", {}), ("crc.safetensors", {"crc_check": True, "remove_redundancy": False})]
)
def test_what_mindspore_wrote_comes_back(name: str, how: dict[str, Any]) -> None:
    """Metadata have no order in the library, which shuffles them; all else is equal byte by byte."""
    data = (FIXTURES / name).read_bytes()
    with open_checkpoint(str(FIXTURES / name)) as reader:
        ours = joined(gather(reader, None, None), **how)
    assert header(ours) == header(data)
    assert list(header(ours)) == list(header(data))
    size = 8 + int.from_bytes(data[:8], "little")
    assert ours[:8] == data[:8]
    assert ours[size:] == data[size:]
