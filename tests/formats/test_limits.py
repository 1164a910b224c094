"""Limits on what a file may hold: where they are, what is said beyond them, and which can be raised."""

from __future__ import annotations

import functools
import importlib
import io
import json
import os
import pickle
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors.numpy import save as safetensors_of
from safetensors.numpy import save_file

from ckptload import filters, load_checkpoint, load_checkpoint_async, open_checkpoint
from ckptload.encryption import chain
from ckptload.encryption.encrypting import EncryptingWriter
from ckptload.errors import (
    ArgumentError,
    ArgumentTypeError,
    CheckpointError,
    CorruptCheckpointError,
    LimitError,
    WrongFormatError,
)
from ckptload.formats import limits
from ckptload.formats.ckpt import fields, records, walk
from ckptload.formats.safetensors import index, weight_map
from ckptload.formats.safetensors import shards as sharded
from ckptload.sources.memory import BufferSource
from measured import peak
from places import DOCS
from strategies import CountingSource, block, floats, group, integer, mapping, record, tensor, value

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = b"0123456789abcdef"
SECURITY = DOCS / "security.md"


def sealed(data: bytes, size: int) -> bytes:
    file = io.BytesIO()
    writer = EncryptingWriter(file, KEY, "AES-CBC", block_size=size)
    writer.write(data)
    writer.finish()
    return file.getvalue()


# -- records ----------------------------------------------------------------------------------------------------

THREE = b"".join(floats(name, 1.0) for name in "abc")
TENSORS = {name: np.zeros(1, np.float32) for name in "abc"}


def shards(folder: Path) -> Path:
    save_file(TENSORS, folder / "x.safetensors", {"a": "b"})
    path = folder / "x.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": dict.fromkeys(TENSORS, "x.safetensors")}))
    return path


#: Three of something, and how they are opened.
OF_THREE: dict[str, tuple[Callable[[Path], Any], dict[str, Any], str]] = {
    "records": (lambda _: THREE, {}, "records"),
    "slices": (lambda _: record("a", (3,), "Int8", b"x") * 3, {}, "records"),
    "encrypted records": (lambda _: sealed(THREE, 1000), {"dec_key": KEY, "dec_mode": "AES-CBC"}, "records"),
    "tensors of safetensors": (lambda _: safetensors_of(TENSORS, {"a": "b"}), {}, "tensors"),
    "tensors of an index": (shards, {}, "tensors"),
}


@pytest.mark.parametrize("kind", OF_THREE)
def test_more_records_than_allowed_are_refused_and_as_many_are_not(kind: str, tmp_path: Path) -> None:
    make, how, words = OF_THREE[kind]
    source = make(tmp_path)
    with open_checkpoint(source, **how, max_records=3) as reader:
        assert len(reader.load()) in (1, 3)
    with pytest.raises(LimitError, match=f"the file holds more than 2 {words}") as caught:
        open_checkpoint(source, **how, max_records=2)
    assert caught.value.hint is not None
    assert "raise max_records above 2" in caught.value.hint
    assert caught.value.path == (str(source) if isinstance(source, Path) else "<bytes>")


def test_the_limit_holds_for_every_way_of_loading(tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    path.write_bytes(THREE)
    for load in (load_checkpoint, lambda name, **how: load_checkpoint_async(name, **how).result()):
        assert len(load(str(path), max_records=3)) == 3
        with pytest.raises(LimitError):
            load(str(path), max_records=2)
    with open_checkpoint(path, max_records=3) as reader, pickle.loads(pickle.dumps(reader)) as again:
        assert list(again) == list("abc")


def test_records_that_are_filtered_out_count() -> None:
    """The index has to be made before anything can be filtered."""
    with pytest.raises(LimitError):
        load_checkpoint(io.BytesIO(THREE), specify_prefix="a", max_records=2)


def test_worthless_records_count_before_they_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands in a megabyte of empty records would take a hundred."""
    monkeypatch.setattr(walk, "MAX_RECORDS", 100)
    with pytest.raises(LimitError) as caught:
        walk.walk(BufferSource(b"\n\0" * 1000), 100)
    assert caught.value.offset == 200


@pytest.mark.parametrize(
    "some",
    [
        integer(9, 1),
        block(9, b""),
        group(9),
        value("a", block(2, integer(1, 1) * 16)),
        value("a", integer(9, 1) * 16),
        value("a", block(3, block(1, b"") * 16)),
        record("a", (1,) * 100, "Int8", b"x"),
        value("a", block(2, block(1, b"\x01" * 100))),
    ],
)
def test_fields_without_end_are_refused(some: bytes) -> None:
    """A gigabyte of unknown fields holds no record and would be looked at for an hour. Dims count, too."""
    with pytest.raises(LimitError, match="more than 1600 fields and dimensions"):
        walk.walk(BufferSource(some * 10_000), 100)


def test_dims_of_records_as_mindspore_writes_them_count_once_for_all_that_are_alike() -> None:
    alike = [floats(f"{at:03}", 1.0) for at in range(2000)]
    assert len(walk.walk(BufferSource(b"".join(alike)), 2000).records) == 2000
    unlike = b"".join(record("a", (*[1] * 30, at + 1), "Int8", b"x") for at in range(100))
    with pytest.raises(LimitError, match="more than 1600 fields and dimensions"):
        walk.walk(BufferSource(unlike), 100)


@pytest.mark.parametrize("dims", [32, 64])
def test_who_allows_one_record_can_have_any(dims: int) -> None:
    assert len(walk.walk(BufferSource(record("a", (1,) * dims, "Int8", b"x")), 1).records) == 1


def test_of_more_dims_than_are_kept_none_are_kept() -> None:
    """A file of 83 MB had 41 million of them, each a number of its own."""
    for packed in (block(1, b"\x81\x01" * 5000), integer(1, 129) * 5000):
        (found,) = walk.walk(BufferSource(value("a", block(2, packed)))).records
        assert found.damage is not None
        assert found.damage.problem == "a tensor has more than 128 dimensions"
        assert found.pieces[0].dims == ()


def test_files_of_other_writers_stay_far_below_the_limit_of_fields() -> None:
    """Eight dims, each field on its own, in an order that is not MindSpore's."""
    one = block(1, block(2, block(3, b"x") + block(2, b"Int8") + integer(1, 1) * 8) + block(1, b"a"))
    assert len(walk.walk(BufferSource(one * 10), 10).records) == 10


@pytest.mark.parametrize("bad", [0, -1])
def test_a_limit_below_one_is_an_argument_error(bad: int) -> None:
    with pytest.raises(ArgumentError, match=f"max_records must be at least 1, not {bad}"):
        open_checkpoint(THREE, max_records=bad)


@pytest.mark.parametrize("bad", [None, 1.0, "3", True])
def test_a_limit_that_is_no_integer_is_an_argument_type_error(bad: Any) -> None:
    with pytest.raises(ArgumentTypeError, match="max_records must be an int"):
        load_checkpoint(io.BytesIO(THREE), max_records=bad)


def test_a_header_of_too_many_tensors_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parsing is what takes memory: a kilobyte for each tensor, ten times what stands in the file."""

    def parsed(_: object) -> None:
        pytest.fail("the header was parsed")

    monkeypatch.setattr(json, "loads", parsed)
    data = safetensors_of({f"name.{at}": np.zeros(1, np.int8) for at in range(20)})
    with pytest.raises(LimitError):
        open_checkpoint(data, max_records=10)


# -- what no sound file reaches ---------------------------------------------------------------------------------


def test_an_encrypted_file_of_more_blocks_than_allowed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = sealed(THREE, 16)
    monkeypatch.setattr(chain, "MAX_BLOCKS", 3)
    with pytest.raises(LimitError, match="more than 3 blocks") as caught:
        open_checkpoint(data, dec_key=KEY, dec_mode="AES-CBC")
    assert caught.value.path == "<bytes>"
    assert caught.value.offset


def test_an_index_of_more_files_than_allowed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharded, "MAX_SHARDS", 3)
    path = tmp_path / "x.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": {name: f"{name}.safetensors" for name in "abcd"}}))
    with pytest.raises(LimitError, match="more than 3 files") as caught:
        open_checkpoint(path)
    assert caught.value.path == str(path)


def test_an_index_of_too_many_bytes_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors.index.json"
    with path.open("wb") as file:
        file.truncate(weight_map.MAX_INDEX + 1)
    with pytest.raises(CorruptCheckpointError, match="100000001 bytes are too many"):
        open_checkpoint(path)


@pytest.mark.skipif(os.name != "posix", reason="needs sparse files")
def test_a_header_of_too_many_bytes_is_not_read(tmp_path: Path) -> None:
    """The file is as long as its header says, most of it a hole."""
    path = tmp_path / "x.safetensors"
    size = index.MAX_HEADER + 1
    with path.open("wb") as file:
        file.write(size.to_bytes(8, "little") + b'{"')
        file.truncate(8 + size)
    source = CountingSource(path)
    with pytest.raises(CorruptCheckpointError, match="header"):
        open_checkpoint(source, format="safetensors")
    assert source.total < 1 << 20


def refused(data: bytes) -> CheckpointError:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(io.BytesIO(data))
    return caught.value


def test_a_name_beyond_the_limit_is_damage_of_the_file() -> None:
    found = refused(floats("n" * (fields.MAX_NAME_BYTES + 1), 1.0))
    assert found.problem == "a name has 65537 bytes, more than 65536"


def test_a_name_that_mindspore_does_not_take_concerns_whoever_wants_it() -> None:
    data = floats("n" * (filters.MAX_NAME + 1), 1.0) + floats("a", 1.0)
    assert list(load_checkpoint(io.BytesIO(data), specify_prefix="a")) == ["a"]
    assert refused(data).problem == "the name has 1025 characters; MindSpore allows 1024"


@pytest.mark.parametrize("dims", [records.MAX_RANK + 1, fields.MAX_DIMS + 1, 10 * fields.MAX_DIMS])
def test_more_dimensions_than_numpy_has_are_damage_of_the_entry(dims: int) -> None:
    data = record("b", (1,) * dims, "Int8", b"x") + floats("a", 1.0)
    assert list(load_checkpoint(io.BytesIO(data), specify_prefix="a")) == ["a"]
    found = refused(data)
    assert isinstance(found, CorruptCheckpointError)
    assert found.name == "b"
    assert ("more than 128 dimensions" if dims > fields.MAX_DIMS else "(65 dims)") in found.problem


@pytest.mark.parametrize("count", [records.MAP_PARTS + 1, fields.MAX_MAP_TENSORS, fields.MAX_MAP_TENSORS + 1, 1000])
def test_more_tensors_than_a_map_has_are_damage_of_the_entry(count: int) -> None:
    data = mapping("b", *[tensor((1,), "int8", b"x")] * count) + floats("a", 1.0)
    assert list(load_checkpoint(io.BytesIO(data), specify_prefix="a")) == ["a"]
    found = refused(data)
    assert isinstance(found, CorruptCheckpointError)
    assert found.name == "b"
    (entry, _) = walk.walk(BufferSource(data)).records
    assert len(entry.pieces) <= fields.MAX_MAP_TENSORS


@pytest.mark.filterwarnings("ignore::ckptload.errors.ForeignFieldWarning")
def test_groups_beyond_the_limit_are_damage_of_the_file() -> None:
    def deep(depth: int) -> bytes:
        data = b""
        for _ in range(depth):
            data = group(9, data)
        return data

    a = floats("a", 1.0)
    assert list(load_checkpoint(io.BytesIO(a + deep(fields.MAX_DEPTH)))) == ["a"]
    problem = refused(a + deep(fields.MAX_DEPTH + 1)).problem
    assert problem.startswith("groups are nested more than 97 deep")


def test_a_type_name_is_kept_up_to_the_limit() -> None:
    (found,) = walk.walk(BufferSource(record("a", (), "T" * 10_000, b""))).records
    assert found.pieces[0].type == "T" * fields.MAX_TYPE_BYTES


def test_what_is_a_file_of_another_kind_is_so_whatever_the_limit() -> None:
    with pytest.raises(WrongFormatError, match="HDF5"):
        open_checkpoint(b"\x89HDF\r\n\x1a\n" + bytes(100), max_records=1)


@pytest.mark.skipif(not SECURITY.exists(), reason="the documentation is not here")
def test_the_page_on_security_lists_every_limit() -> None:
    """A constant in the code, and a number in the page; none is missing on either side."""
    table = SECURITY.read_text("utf-8").partition("### Limits")[2].partition("\n## ")[0].partition("### Memory")[0]
    rows = re.findall(r"^\| .*$", table, re.MULTILINE)[1:]
    listed = re.findall(r"^\|[^|]*\| ([0-9 ]+)[^|]*\|.*\| `([\w.]+)\.([A-Z_]+)` \|$", table, re.MULTILINE)
    assert len(listed) == len(rows)
    found = {f"{module}.{name}": int(shown.replace(" ", "")) for shown, module, name in listed}
    assert found == {name: constant(name) for name in found}
    assert constants() | {"formats.ckpt.window.FIELDS", "formats.safetensors.index.VALUES"} == found.keys()


def constants() -> set[str]:
    """Return the limits of the package, each where it is defined; what has an underscore before it is none."""
    package = Path(limits.__file__).parents[1]
    return {
        ".".join((*path.relative_to(package).with_suffix("").parts, name))
        for path in package.rglob("*.py")
        for name in re.findall(r"^(MAX_\w+)\b.*=", path.read_text("utf-8"), re.MULTILINE)
    }


def constant(name: str) -> int:
    module, _, attribute = name.rpartition(".")
    value: int = getattr(importlib.import_module(f"ckptload.{module}"), attribute)
    return value


# -- what the worst files cost ----------------------------------------------------------------------------------

MANY = 20_000


def beyond_the_limit(data: bytes, number: int) -> Callable[[], None]:
    def walked() -> None:
        with pytest.raises(LimitError):
            walk.walk(BufferSource(data), number)

    return walked


def many_tensors() -> bytes:
    return b"".join(record(f"layers.{at:06}.weight", (1,), "Int8", b"x") for at in range(MANY))


def many_of_safetensors() -> bytes:
    return safetensors_of({f"layers.{at:06}.weight": np.zeros(1, np.int8) for at in range(MANY)})


def listed(data: bytes) -> None:
    with open_checkpoint(data) as reader:
        assert len(reader) == MANY


#: What stands in a file, and the most bytes of memory for each of it. The page has a million times as much.
COSTS: dict[str, tuple[Callable[[], Callable[[], object]], int]] = {
    "entries of a .ckpt": (lambda: functools.partial(listed, many_tensors()), 500),
    "entries of a safetensors file": (lambda: functools.partial(listed, many_of_safetensors()), 1100),
    "records without content": (lambda: beyond_the_limit(b"\n\0" * (MANY + 1), MANY), 250),
    "unknown fields": (lambda: beyond_the_limit(integer(9, 1) * (MANY + 1), MANY // 16), 1),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", COSTS)
def test_what_a_file_is_filled_with_costs_no_more_than_the_page_says(kind: str) -> None:
    make, most = COSTS[kind]
    assert peak(make()) < most * MANY + (64 << 10)


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "most"), [("AES-CBC", 50), ("AES-GCM", 90)])
def test_a_block_of_16_bytes_costs_no_more_than_the_page_says(mode: str, most: int) -> None:
    """Beside the rooms that every encrypted file is read in."""
    blocks = MANY // 5
    out = io.BytesIO()
    writer = EncryptingWriter(out, KEY, mode, block_size=15)
    writer.write(record("a", (15 * blocks,), "Int8", bytes(15 * blocks)))
    writer.finish()

    def look() -> None:
        with open_checkpoint(out.getvalue(), dec_key=KEY, dec_mode=mode) as reader:
            assert len(reader) == 1

    assert peak(look) < most * blocks + (1200 << 10)
