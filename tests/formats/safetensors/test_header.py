"""Headers that the safetensors library opens open here, with the same names, types, shapes and bytes, and no others."""

from __future__ import annotations

import gc
import json
import struct
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import safetensors
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptload import open_checkpoint
from ckptload.errors import CheckpointError, CorruptCheckpointError, LimitError
from ckptload.formats.safetensors import index, parts
from ckptload.sources.files import FileSource

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Found = dict[str, tuple[str, tuple[int, ...], bytes]]

ONE = '{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
DEEP = 124

#: Texts of a header; with them all that may be written in another way than usual.
TEXTS = {
    "plain": '{"a":%s}',
    "white space before": ' \n\t\r{"a":%s}',
    "white space behind": '{"a":%s} \n\t\r',
    "white space that is none in JSON": '\x0b{"a":%s}',
    "zeros behind": '{"a":%s}\0',
    "a byte order mark": '\ufeff{"a":%s}',
    "more behind": '{"a":%s}{}',
    "a comma behind": '{"a":%s,}',
    "a comment": '{"a":%s/**/}',
    "single quotes": "{'a':%s}",
    "a tensor twice": '{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,36]},"a":%s}',
    "a type twice": '{"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
    "a type twice, one escaped": '{"a":{"dtyp\\u0065":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
    "fields in another order": '{"a":{"data_offsets":[0,4],"shape":[1],"dtype":"F32"}}',
    "a field that is not known": '{"a":{"x":[[],{"y":[1e5,null]}],"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
    "such a field twice": '{"a":{"x":1,"x":2,"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
    "NaN in it": '{"a":{"x":NaN,"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
    "infinity in it": '{"a":{"x":1e999,"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
    "a long number in it": '{"a":{"x":' + "9" * 300 + ',"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
    "a longer number in it": '{"a":{"x":' + "9" * 5000 + ',"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
    "a lone surrogate in it": '{"a":{"x":"\\ud800","dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
    "a pair of surrogates in it": '{"a":{"x":"\\ud83d\\ude00","dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
    "deep lists in it": '{"a":{"x":' + "[" * DEEP + "]" * DEEP + ',"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
    "deeper lists in it": '{"a":{"x":' + "[" * 130 + "]" * 130 + ',"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
    "an escape in a name": '{"\\u0061":%s}',
    "a lone surrogate in a name": '{"\\ud800":%s}',
    "a zero in a name": '{"\\u0000":%s}',
    "no name": '{"":%s}',
    "a control character in a name": '{"\x01":%s}',
    "a deletion in a name": '{"\x7f":%s}',
    "metadata with an escape": '{"__m\\u0065tadata__":{"a":"b"},"a":%s}',
    "metadata of null": '{"__metadata__":null,"a":%s}',
    "metadata that are empty": '{"__metadata__":{},"a":%s}',
    "metadata of a list": '{"__metadata__":[],"a":%s}',
    "metadata of a number": '{"__metadata__":0,"a":%s}',
    "metadata with a number": '{"__metadata__":{"a":1},"a":%s}',
    "metadata with null": '{"__metadata__":{"a":null},"a":%s}',
    "metadata twice": '{"__metadata__":{"a":"1"},"__metadata__":{"a":"2"},"a":%s}',
    "a text twice": '{"__metadata__":{"a":"1","a":"2"},"a":%s}',
    "metadata at the end": '{"a":%s,"__metadata__":{"a":"1"}}',
    "a tensor as a list": '{"a":["F32",[1],[0,4]]}',
    "a tensor as a longer list": '{"a":["F32",[1],[0,4],1]}',
    "a tensor as a shorter list": '{"a":["F32",[1]]}',
    "a type as a key": '{"a":{"dtype":{"F32":null},"shape":[1],"data_offsets":[0,4]}}',
    "a type as a key, with an object": '{"a":{"dtype":{"F32":{}},"shape":[1],"data_offsets":[0,4]}}',
    "both": '{"a":[{"F32":null},[1],[0,4]]}',
    "a type as a number": '{"a":{"dtype":10,"shape":[1],"data_offsets":[0,4]}}',
    "a type with an escape": '{"a":{"dtype":"\\u004632","shape":[1],"data_offsets":[0,4]}}',
    "a dim with a fraction": '{"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}}',
    "a dim with an exponent": '{"a":{"dtype":"F32","shape":[1e0],"data_offsets":[0,4]}}',
    "a dim of true": '{"a":{"dtype":"F32","shape":[true],"data_offsets":[0,4]}}',
    "a dim with a zero before": '{"a":{"dtype":"F32","shape":[01],"data_offsets":[0,4]}}',
    "a place of minus zero": '{"a":{"dtype":"F32","shape":[1],"data_offsets":[-0,4]}}',
    "three places": '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,4]}}',
    "no shape": '{"a":{"dtype":"F32","data_offsets":[0,4]}}',
    "a scalar": '{"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}',
    "a hundred dims": '{"a":{"dtype":"F32","shape":[' + ",".join(["1"] * 100) + '],"data_offsets":[0,4]}}',
    "an empty tensor behind": '{"a":%s,"b":{"dtype":"F32","shape":[0,3],"data_offsets":[4,4]}}',
    "an empty tensor before": '{"a":%s,"b":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}',
    "an empty tensor in the middle": '{"a":%s,"b":{"dtype":"F32","shape":[0],"data_offsets":[2,2]}}',
    "an empty tensor far away": '{"a":%s,"b":{"dtype":"F32","shape":[0],"data_offsets":[9,9]}}',
    "an empty tensor of many rows": '{"a":%s,"b":{"dtype":"F32","shape":[0,9999999999999999],"data_offsets":[4,4]}}',
    "a gap": '{"a":{"dtype":"U8","shape":[],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[],"data_offsets":[2,3]}}',
    "tensors with the names of fields": '{"dtype":%s,"shape":{"dtype":"U8","shape":[0],"data_offsets":[4,4]}}',
    "nothing": "{}",
    "a list": "[]",
    "null": '{"a":null}',
}


def file_of(text: str, size: int) -> bytes:
    header = text.encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(header)) + header + bytes(range(size))


def library(data: bytes) -> Found | None:
    """Return what the library reads, or None if it refuses the file."""
    deserialize: Callable[[bytes], list[tuple[str, dict[str, Any]]]] = safetensors.deserialize
    try:
        return {name: (one["dtype"], tuple(one["shape"]), bytes(one["data"])) for name, one in deserialize(data)}
    except safetensors.SafetensorError:
        return None


def ours(data: bytes) -> Found | None:
    try:
        with open_checkpoint(data, format="safetensors") as reader:
            found = {}
            for name in reader:
                entry = reader.info(name)
                ((start, stop),) = entry.spans
                spelling = entry.type_name or (entry.dtype.safetensors if entry.dtype is not None else None)
                found[name] = (str(spelling), entry.shape, data[start:stop])
            return found
    except CorruptCheckpointError:
        return None


@pytest.mark.parametrize("size", [4, 0])
@pytest.mark.parametrize("name", TEXTS)
def test_what_the_library_opens_opens_with_the_same_content(name: str, size: int) -> None:
    data = file_of(TEXTS[name].replace("%s", ONE), size)
    assert ours(data) == library(data)


@pytest.mark.parametrize("name", ["a tensor as a list", "a type as a key", "white space before", "metadata of null"])
def test_these_are_opened(name: str) -> None:
    """So that two refusals are not taken for agreement."""
    found = ours(file_of(TEXTS[name].replace("%s", ONE), 4))
    assert found == {"a": ("F32", (1,), bytes(range(4)))}


def test_a_file_that_begins_with_white_space_needs_no_name(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(file_of(f'  {{"a":{ONE}}}', 4))
    with open_checkpoint(path) as reader:
        assert list(reader) == ["a"]


@pytest.mark.parametrize(
    "text",
    [
        '{"a":{"dtype":"Q7","dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        '{"a":{"dtype":"Q7","shape":[1],"shape":[1],"data_offsets":[0,4]}}',
        '{"a":{"dtype":"Q7","shape":[-0],"data_offsets":[0,4]}}',
        '{"a":{"dtype":"Q7","shape":[1],"data_offsets":[-0,4]}}',
        '{"a":{"dtype":"Q7","shape":[1],"data_offsets":[0,4]},}',
    ],
)
def test_beside_a_type_that_the_library_does_not_know_all_else_is_as_strict(text: str) -> None:
    assert ours(file_of(text, 4)) is None


# -- any header -------------------------------------------------------------------------------------------------

SPACE = st.sampled_from(["", "", "", " ", "\n", "\t\r"])
NUMBERS = st.sampled_from(["0", "1", "2", "4", "8"] * 4 + ["-0", "1.0", "1e0", "01", "18446744073709551616", "null"])
KEYS = st.sampled_from(["a", "b", "dtype", "shape", "__metadata__", "", "\u00e9", "\U0001f600", '"', "\0"])
JUNK = st.recursive(
    st.sampled_from(["1", "null", '"x"', "1.5e3", "[]", "{}", "NaN", '"\\ud800"', "1e999", "tru"]),
    lambda inner: st.lists(inner, max_size=3).map(lambda some: f"[{','.join(some)}]"),
    max_leaves=4,
)


def spelled(text: str, escaped: bool) -> str:
    if escaped and text.isascii():
        return '"' + "".join(f"\\u{ord(letter):04x}" for letter in text) + '"'
    return json.dumps(text)


@st.composite
def tensors(draw: st.DrawFn, at: int) -> tuple[str, int]:
    spelling, width = draw(st.sampled_from([("F32", 4), ("U8", 1), ("BF16", 2), ("I64", 8)]))
    shape = draw(st.lists(st.integers(0, 2), max_size=3))
    stop = at + int(np.prod(shape, dtype=np.int64)) * width
    odd = draw(st.integers(0, 9))
    dims = [draw(NUMBERS) if odd == 1 else str(dim) for dim in shape]
    kind = spelled(spelling, odd == 2)
    kind = f"{{{kind}:{draw(st.sampled_from(['null', '{}', '0']))}}}" if odd == 3 else kind
    values = [kind, f"[{','.join(dims)}]", f"[{at},{stop + (odd == 4)}]"]
    if odd == 5:
        return f"[{','.join(values)}]", stop
    fields = list(zip(["dtype", "shape", "data_offsets"], values, strict=True))
    if odd == 6:
        fields.append(draw(st.tuples(st.sampled_from(["x", "shape"]), JUNK)))
    fields = draw(st.permutations(fields)) if odd == 7 else fields
    space = draw(SPACE)
    return "{" + ",".join(f"{spelled(name, odd == 8)}{space}:{value}" for name, value in fields) + space + "}", stop


@st.composite
def headers(draw: st.DrawFn) -> bytes:
    at, items = 0, []
    for _ in range(draw(st.integers(0, 3))):
        text, at = draw(tensors(at))
        items.append(f"{spelled(draw(KEYS), draw(st.booleans()))}:{text}")
    if draw(st.booleans()):
        items.append(f'"__metadata__":{draw(st.sampled_from(["null", "{}", "[]"]) | JUNK)}')
    before, behind = draw(SPACE), draw(SPACE | st.sampled_from(["\0", "}", "x"]))
    return file_of(before + "{" + ",".join(draw(st.permutations(items))) + "}" + behind, at)


@pytest.mark.slow
@settings(max_examples=300)
@given(headers())
def test_any_header_is_understood_as_the_library_does(data: bytes) -> None:
    assert ours(data) == library(data)


# -- values that nobody needs -----------------------------------------------------------------------------------


@pytest.mark.parametrize("some", ["[]", "1", '"x"', "null", "[[]]"])
@pytest.mark.parametrize("signs", ['"', "\\"])
def test_values_are_counted_outside_strings(some: str, signs: str) -> None:
    text = json.dumps({"a": [json.loads(some)] * 100, f"{signs},[{{": "[,{" * 1000}).encode()
    expected = 102 + some.count("[") * 100
    assert parts.more_than(expected - 1, text)
    assert not parts.more_than(expected, text)


@pytest.mark.parametrize("some", ["[]", "1", '"xy"', "[[],[[]]]"])
@pytest.mark.parametrize("place", ["a field of a tensor", "an index", "an index of another name"])
def test_values_that_nobody_needs_are_refused_before_they_are_parsed(
    some: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = ",".join([some] * 150_000)
    if place == "a field of a tensor":
        path = tmp_path / "x.safetensors"
        path.write_bytes(file_of(f'{{"a":{{"x":[{many}],{ONE[1:]}}}', 4))
    else:
        path = tmp_path / ("x.safetensors.index.json" if place == "an index" else "x.json")
        path.write_text(f'{{"weight_map":{{"a":"a.safetensors"}},"metadata":[{many}]}}')

    def parsed(_: object) -> None:
        pytest.fail("it was parsed")

    monkeypatch.setattr(json, "loads", parsed)
    with pytest.raises(LimitError, match="100000 values"):
        open_checkpoint(path, max_records=10)


def test_text_of_very_many_values_in_the_metadata_is_no_reason_to_refuse() -> None:
    """It is one value: a JSON inside a JSON, such as the configuration of a training run."""
    text = json.dumps({"__metadata__": {"run": json.dumps([[1], {"a": 2}] * 50_000)}, "a": json.loads(ONE)})
    assert ours(file_of(text, 4)) is not None
    with open_checkpoint(file_of(text, 4), max_records=1) as reader:
        assert len(json.loads(reader.metadata["run"])) == 100_000


def test_an_order_in_the_metadata_is_parsed_only_if_it_can_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    loads, seen = json.loads, []

    def parsed(text: Any, **how: Any) -> Any:
        seen.append(len(text))
        return loads(text, **how)

    monkeypatch.setattr(json, "loads", parsed)
    for order in ("[[],[]]", "[" + "[]," * 1000 + "[]]", "{}", "[0,1,2]"):
        text = json.dumps({"__metadata__": {"ckptload.order": order}, "a": loads(ONE)})
        with open_checkpoint(file_of(text, 4), format="safetensors") as reader:
            seen.clear()
            assert list(reader) == ["a"]
            assert not seen


def test_tensors_as_lists_count_as_tensors() -> None:
    text = "{" + ",".join(f'"{at}":["U8",[0],[0,0]]' for at in range(20)) + "}"
    with pytest.raises(LimitError, match="10 tensors"):
        open_checkpoint(file_of(text, 0), format="safetensors", max_records=10)


# -- an index of many tensors in a file that is no use ----------------------------------------------------------


def sharded(folder: Path, number: int) -> Path:
    path = folder / "x.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": {f"name.{at}": "one.safetensors" for at in range(number)}}))
    return path


def test_a_damaged_file_of_an_index_is_looked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "one.safetensors").write_bytes(file_of("{" + " " * 1000, 0))
    looked = []
    judge = index._judge

    def judged(*arguments: Any) -> None:
        looked.append(1)
        judge(*arguments)

    monkeypatch.setattr(index, "_judge", judged)
    with open_checkpoint(sharded(tmp_path, 10)) as reader:
        found = []
        for name in reader:
            with pytest.raises(CorruptCheckpointError) as caught:
                reader.info(name)
            found.append(caught.value)
    assert len(looked) == 1
    assert len({str(error) for error in found}) == 1
    assert len({id(error) for error in found}) == 10, "they are not the same object, to which each raise adds"


def test_what_is_missing_is_said_in_one_text_for_all_tensors(tmp_path: Path) -> None:
    with open_checkpoint(sharded(tmp_path, 10)) as reader:
        texts = set()
        for name in reader:
            with pytest.raises(CheckpointError) as caught:
                reader.info(name)
            texts.add(id(caught.value.problem))
    assert len(texts) == 1


@pytest.mark.parametrize("file", ["a/" * 50_000 + "b.safetensors", "a" * 2000, "a/" * 17 + "b"])
def test_a_file_name_of_an_index_that_no_file_has_is_not_looked_up(file: str, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": {"a": file}}))
    with pytest.raises(CorruptCheckpointError, match="a file outside its folder"):
        open_checkpoint(path)


# -- files with equal headers -----------------------------------------------------------------------------------


def written(path: Path, text: str, data: bytes) -> Path:
    path.write_bytes(struct.pack("<Q", len(text)) + text.encode() + data)
    return path


def test_files_with_equal_headers_share_one_as_long_as_one_is_open(tmp_path: Path) -> None:
    text = f'{{"shared.by.two":{ONE}}}'
    paths = [written(tmp_path / f"{number}.safetensors", text, struct.pack("<f", number)) for number in (1, 2)]
    found = [index.open_safetensors(FileSource(str(path))) for path in paths]
    assert found[0].header is found[1].header
    with open_checkpoint(paths[0]) as one, open_checkpoint(paths[1]) as two:
        assert [reader["shared.by.two"].asnumpy().tolist() for reader in (one, two)] == [[1.0], [2.0]]
    seen = weakref.ref(found[0].header)
    for each in found:
        each.source.close()
    del found, each, one, two
    gc.collect()
    assert seen() is None


def test_a_file_with_a_known_header_is_checked_like_any_other(tmp_path: Path) -> None:
    text = f'{{"known":{ONE},"empty":{{"dtype":"U8","shape":[0],"data_offsets":[4,4]}}}}'
    with open_checkpoint(written(tmp_path / "whole.safetensors", text, bytes(4))):
        for data in (b"", bytes(3), bytes(5)):
            with pytest.raises(CorruptCheckpointError):
                open_checkpoint(written(tmp_path / "other.safetensors", text, data)).info("known")
        with pytest.raises(LimitError):
            open_checkpoint(tmp_path / "whole.safetensors", max_records=1).info("known")
