"""load_checkpoint against MindSpore 2.10.0: what MindSpore saves, both load alike, byte for byte."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from ckptload import load_checkpoint, open_checkpoint
from ckptload.errors import CheckpointError
from strategies import block, integer, number, record, tag, tensor, value, with_crc

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

mindspore = pytest.importorskip("mindspore")
serialization = pytest.importorskip("mindspore.train.serialization")

pytestmark = [
    pytest.mark.mindspore,
    # MindSpore looks for its own threads by a deprecated method.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

several = settings(max_examples=60)

#: The types that MindSpore loads again.
NUMPY = ["bool", "i1", "u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f2", "<f4", "<f8"]

# Without blanks around them, which MindSpore strips from `.name`, and without the mark at which it cuts.
names = st.text(st.characters(exclude_categories=["Cs", "Z", "C"]), min_size=1, max_size=12)
shapes = npst.array_shapes(min_dims=0, max_dims=4, min_side=1, max_side=6)
arrays = st.sampled_from(NUMPY).flatmap(lambda kind: npst.arrays(kind, shapes))


def special(kind: Any) -> st.SearchStrategy[Any]:
    """Tensors of types that numpy 1 has not."""
    return npst.arrays("i1", shapes).map(
        lambda array: (
            mindspore.Tensor(np.asarray(array, "f4")).astype(kind)
            if kind == mindspore.bfloat16
            else mindspore.Tensor(array, dtype=kind)
        )
    )


tensors = st.one_of(arrays.map(mindspore.Tensor), special(mindspore.bfloat16), special(mindspore.qint4x2))
scalars = st.one_of(st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(width=32))
extras = st.dictionaries(names, st.one_of(scalars, st.text(max_size=8), arrays.map(mindspore.Tensor)), max_size=3)


@contextmanager
def lowered(limit: int) -> Iterator[None]:
    """Let MindSpore's writer cut tensors at `limit` KiB instead of 512 MiB."""
    before = serialization.SLICE_SIZE
    serialization.SLICE_SIZE = limit
    try:
        yield
    finally:
        serialization.SLICE_SIZE = before


def described(entry: Any) -> Any:
    """A value as bytes, in a form that can be compared."""
    if isinstance(entry, str):
        return entry
    if isinstance(entry, list):
        return [(array.dtype, array.shape, array.tobytes()) for array in entry]
    return (
        entry.name, str(entry.dtype), repr(entry.dtype), entry.shape, entry.size, entry.itemsize, entry.nbytes,
        entry.requires_grad, bytes(entry.get_bytes()), str(entry),
    )  # fmt: skip


def alike(path: Path, **how: Any) -> dict[str, Any]:
    """Load with both, hold the results against each other, and return ours."""
    theirs = mindspore.load_checkpoint(str(path), **how)
    ours = load_checkpoint(str(path), **how)
    assert list(ours) == list(theirs)
    for name, entry in ours.items():
        assert described(entry) == described(theirs[name])
    with open_checkpoint(path) as reader:
        assert all(described(reader[name]) == described(entry) for name, entry in ours.items())
    return ours


@several
@given(
    content=st.dictionaries(names, tensors, min_size=1, max_size=5),
    extra=extras,
    crc=st.booleans(),
    limit=st.sampled_from([1, 1 << 19]),
)
def test_what_mindspore_saves_is_loaded_alike(
    tmp_path: Path, content: dict[str, Any], extra: dict[str, Any], crc: bool, limit: int
) -> None:
    """Matrices and scalars of every type, strings, numbers; with and without a CRC; in slices of 1 KiB."""
    path = tmp_path / "model.ckpt"
    items = [{"name": name, "data": each} for name, each in content.items()]
    with lowered(limit):
        mindspore.save_checkpoint(items, str(path), append_dict=extra, crc_check=crc)
    alike(path, crc_check=crc)
    path.unlink()


@several
@given(
    st.lists(names, min_size=1, max_size=6, unique=True),
    st.none() | st.lists(st.text("abc.", min_size=1, max_size=2), min_size=1, max_size=2),
    st.none() | st.lists(st.text("abc.", min_size=1, max_size=2), min_size=1, max_size=2),
)
def test_filters_keep_the_same(tmp_path: Path, keys: list[str], specify: Any, leave_out: Any) -> None:
    path = tmp_path / "model.ckpt"
    path.write_bytes(b"".join(record(f"{'abc'[at % 3]}{key}", (1,), "Int8", b"x") for at, key in enumerate(keys)))
    try:
        theirs = list(mindspore.load_checkpoint(str(path), specify_prefix=specify, filter_prefix=leave_out))
    except ValueError:
        theirs = []
    if theirs:
        assert list(load_checkpoint(path, specify_prefix=specify, filter_prefix=leave_out)) == theirs
    else:
        with pytest.raises(CheckpointError, match=r"no name with these prefixes|the filter keeps nothing"):
            load_checkpoint(path, specify_prefix=specify, filter_prefix=leave_out, choice_func=lambda _: False)


PADDED = tag(1, 0) + number(2, 4) + tensor((), "Int8", b"ab")
MAP = block(1, tensor((2,), "int32", bytes(8))) + block(1, tensor((2, 1), "float32", bytes(8)))
#: Hand-made files that MindSpore reads right, each for a rule of the format.
FILES = {
    "packed dims": value("a", block(2, tensor((2, 3), "Int8", b"abcdef", packed=True))),
    "fields in another order": value("a", block(2, block(3, b"ab") + block(2, b"Int8") + integer(1, 2))),
    "the name last": block(1, block(2, tensor((2,), "Int8", b"ab")) + block(1, b"a")),
    "unknown fields": value("a", integer(9, 1), block(2, tensor((2,), "Int8", b"ab") + block(9, b"x")), block(9, b"y")),
    "unknown fields of the file": integer(9, 1) + record("a", (2,), "Int8", b"ab") + block(2, b"normal"),
    "a group": value("a", tag(9, 3) + integer(1, 5) + tag(9, 4), block(2, tensor((2,), "Int8", b"ab"))),
    "a merged tensor": value("a", block(2, integer(1, 2)), block(2, tensor((3,), "Int8", b"abcdef"))),
    "the last of two names": value("b", block(1, b"a"), block(2, tensor((2,), "Int8", b"ab"))),
    "padded numbers": value("a", tag(2, 2) + number(len(PADDED), 3) + PADDED),
    "the last of two names of a file": record("a", (1,), "Int8", b"x") + record("b", (1,), "Int8", b"y")
    + record("a", (2,), "Int8", b"zz"),
    "slices cut inside an element": record("a", (2,), "Int32", b"abc") + record("a", (2,), "Int32", b"defgh"),
    "a map": value("m", block(3, MAP)),
    "slices of a map": value("m", block(3, block(1, tensor((2,), "int32", bytes(8))))) * 2,
    "a scalar of old": record("a", (0,), "Float32", b"1234"),
    "a wide bfloat16": record("a", (2,), "BFloat16", np.array([1.5, -2], "<f4").tobytes()),
    "a lone surrogate": record("s", (0,), "str", b"\x00\xd8\x00\x00"),
    "a CRC": with_crc(record("a", (2,), "Int8", b"ab")),
    "an empty matrix": record("a", (0, 3), "Int8", b"") + record("b", (2, 0), "Float32", b""),
    "the name of a cache": record("a.__param_key__1", (1,), "Int8", b"x"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::ckptload.errors.ForeignFieldWarning")
@pytest.mark.parametrize("data", FILES.values(), ids=FILES)
def test_each_rule_of_the_format_is_read_alike(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "model.ckpt"
    path.write_bytes(data)
    if b"__param_key__" in data:
        # MindSpore leaves the long name in `.name`.
        assert list(load_checkpoint(path)) == list(mindspore.load_checkpoint(str(path)))
    else:
        alike(path)


@pytest.mark.parametrize("first", ["mindspore", "ckptload"])
def test_both_can_be_imported_into_one_process_in_either_order(tmp_path: Path, first: str) -> None:
    """Both declare a message called Checkpoint to protobuf."""
    path = tmp_path / "model.ckpt"
    path.write_bytes(record("a", (2,), "Int8", b"ab"))
    second = {"mindspore": "ckptload", "ckptload": "mindspore"}[first]
    script = f"""
import {first}, {second}
from ckptload.formats.ckpt import schema
schema.message_class("Checkpoint")
for library in (ckptload, mindspore, ckptload):
    assert bytes(library.load_checkpoint({str(path)!r})["a"].get_bytes()) == b"ab"
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kind", [np.int8, np.float16, np.float64, np.complex64])
def test_slices_of_mindspores_writer_are_joined(tmp_path: Path, kind: Any) -> None:
    path = tmp_path / "model.ckpt"
    whole = np.random.default_rng(0).integers(0, 100, (7, 11, 13)).astype(kind)
    with lowered(1):
        mindspore.save_checkpoint([{"name": "w", "data": mindspore.Tensor(whole)}], str(path), crc_check=True)
    with open_checkpoint(path) as reader:
        assert reader.verify_crc()
        assert reader.info("w").slices == -(-whole.nbytes // 1024)
        assert np.array_equal(reader["w"].asnumpy(), whole)
        assert np.array_equal(reader.get_slice("w")[1:6:2, 3].asnumpy(), whole[1:6:2, 3])
