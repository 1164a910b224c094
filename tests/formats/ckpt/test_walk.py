"""The walk: what it finds, how much it reads for it, and its fast twin against the general one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptload.formats.ckpt import fields
from ckptload.formats.ckpt import walk as walking
from ckptload.formats.ckpt.walk import Layout, walk
from ckptload.formats.ckpt.window import Window
from ckptload.sources.base import Profile
from ckptload.sources.files import FileSource
from ckptload.sources.memory import BufferSource
from places import FIXTURES
from strategies import (
    CountingSource,
    block,
    changes,
    files,
    floats,
    group,
    int64s,
    integer,
    mapping,
    mutated,
    number,
    record,
    tensor,
    text,
    value,
    with_crc,
)

if TYPE_CHECKING:
    from pathlib import Path

    from ckptload.formats.ckpt.fields import Record

PLAIN = sorted(path for path in FIXTURES.glob("*.ckpt") if path.name[:4] != "enc_")

# -- the fast twin --------------------------------------------------------------------------------


def ordinary(data: bytes, pos: int = 0) -> Record | None:
    """What the fast twin makes of a record."""
    return walking._ordinary(data, pos, pos, len(data), walking._Bodies(Window(BufferSource(data))))


def test_a_body_that_was_read_before_is_read_alike() -> None:
    """Bodies are remembered by their bytes; more of them than are remembered, and one that only begins so."""
    shapes = [(dim, 2) for dim in range(1, 1500)]
    data = b"".join(record("w", shape, "Int8", bytes(2 * shape[0])) for shape in [*shapes, (5, 2), (5, 2), *shapes])
    found = walk(BufferSource(data))
    assert [each.pieces[0].dims for each in found.records] == [*shapes, (5, 2), (5, 2), *shapes]
    twice = record("w", (1,), "Int8", b"1") + record("w", (1,), "Int8", b"12")
    dims = [each.pieces[0].dims for each in walk(BufferSource(twice)).records]
    assert dims == [(1,), (1,)]


def general(data: bytes, pos: int = 0) -> Record:
    """What the general twin makes of it."""
    window = Window(BufferSource(data))
    _, _, start, stop = fields.next_field(window, pos, len(data), fields.OF_FILE)
    return fields.read_record(window, pos, start, stop, fields.Strangers())


def generally(data: bytes, patch: pytest.MonkeyPatch) -> Layout:
    """Walk without the fast twin."""
    with patch.context() as patched:
        patched.setattr(walking, "_ordinary", lambda *_: None)
        return walk(BufferSource(data))


def plain(layout: Layout) -> Layout:
    """Replace the error, since two errors are never equal."""
    damage: Any = None if layout.damage is None else (layout.damage.problem, layout.damage.offset)
    return replace(layout, damage=damage)


canonical = st.builds(
    record,
    st.one_of(st.text(max_size=30), st.text(st.characters(codec="utf-8"), min_size=40, max_size=70)),
    st.lists(st.one_of(st.integers(0, 300), int64s), max_size=6),
    st.one_of(st.sampled_from(["Float32", "BFloat16", "str", "random_op"]), st.text(max_size=10)),
    st.binary(max_size=200),
)


@settings(max_examples=300)
@given(st.binary(max_size=4), canonical)
def test_the_fast_twin_reads_what_the_general_one_reads(before: bytes, data: bytes) -> None:
    fast = ordinary(before + data, len(before))
    assert fast is None or fast == general(before + data, len(before))


@pytest.mark.parametrize(
    "data",
    [
        record("w", (), "Float32", b"1234"),
        record("conv1.weight", (6, 1, 5, 5), "Float32", bytes(600)),
        record("größe.重み", (3,), "Int8", b"abc"),
        record("n" * 127, (1,) * 32, "Int8", b"a"),
        record("w", (2**62, 0), "Float32", b""),
        text("epoch", "ten"),
        record("w", (70_000,), "UInt8", bytes(70_000)),
    ],
)
def test_the_fast_twin_takes_what_mindspore_writes(data: bytes) -> None:
    """Otherwise it would be right, and useless."""
    assert ordinary(data) == general(data)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(record("n" * 128, (1,), "Int8", b"a"), id="a long name"),
        pytest.param(record("w", (1,) * 33, "Int8", b"a"), id="many dims"),
        pytest.param(record("w", (-1,), "Int8", b"a"), id="a negative dim"),
        pytest.param(record("w", (1,), "", b"a"), id="no letters in the type"),
        pytest.param(record("w", (1,), "x" * 128, b"a"), id="a long type"),
        pytest.param(record("w", (1,), "Int8", None), id="no content"),
        pytest.param(record("w", (1,), None, b"a"), id="no type"),
        pytest.param(mapping("w", tensor((1,), "int8", b"a")), id="a map"),
        pytest.param(value("w", block(2, tensor((1,), "Int8", b"a") + integer(9, 1))), id="more in the tensor"),
        pytest.param(value("w", block(2, tensor((1,), "Int8", b"a")), integer(9, 1)), id="more in the record"),
        pytest.param(value("w", block(2, tensor((1,), "Int8", b"a", packed=True))), id="packed dims"),
        pytest.param(value("w", block(2, tensor((1,), "Int8", b"a"))[:-1]), id="a tensor beyond its record"),
        pytest.param(b"\n" + number(500) + value("w", block(2, tensor((), "Int8", b"a")))[2:], id="beyond the file"),
        pytest.param(record(b"\xff", (1,), "Int8", b"a"), id="a name that is not UTF-8"),
    ],
)
def test_the_fast_twin_leaves_the_rest_to_the_general_one(data: bytes) -> None:
    assert ordinary(data) is None


@pytest.mark.parametrize("path", PLAIN, ids=lambda path: path.name)
def test_whole_files_are_the_same_without_the_fast_twin(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = path.read_bytes()
    assert walk(BufferSource(data)) == generally(data, monkeypatch)


@pytest.mark.slow
@settings(max_examples=200)
@given(files, changes)
def test_generated_files_are_the_same_without_the_fast_twin(data: bytes, damage: list[tuple[str, float, int]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for each in (data, mutated(data, damage)):
            assert plain(walk(BufferSource(each))) == plain(generally(each, patch))


@settings(max_examples=150)
@given(st.lists(canonical, min_size=1, max_size=4).map(b"".join), changes)
def test_damaged_canonical_files_are_the_same_without_the_fast_twin(
    data: bytes, damage: list[tuple[str, float, int]]
) -> None:
    data = mutated(data, damage)
    with pytest.MonkeyPatch.context() as patch:
        assert plain(walk(BufferSource(data))) == plain(generally(data, patch))


# -- what it finds --------------------------------------------------------------------------------


def test_offsets_and_spans_are_places_in_the_file() -> None:
    first, second = floats("a", 1.0, 2.0), floats("b", 3.0)
    a, b = walk(BufferSource(first + second)).records
    assert (a.offset, a.stop, b.offset, b.stop) == (0, len(first), len(first), len(first + second))
    data = first + second
    assert [np.frombuffer(data[p.start : p.stop], "<f4").tolist() for r in (a, b) for p in r.pieces] == [[1, 2], [3]]


def test_a_trailer_is_found_where_records_end() -> None:
    data = floats("a", 1.0)
    assert walk(BufferSource(with_crc(data))).trailer == len(data)
    assert walk(BufferSource(data)).trailer is None


@pytest.mark.parametrize("extra", [b"", b"x", floats("b", 1.0)])
def test_a_trailer_is_none_where_something_follows(extra: bytes) -> None:
    data = with_crc(floats("a", 1.0)) + extra
    layout = walk(BufferSource(data))
    assert (layout.trailer is not None) == (extra == b"")
    assert (layout.damage is not None) == (extra != b"")


def test_content_that_looks_like_a_trailer_is_content() -> None:
    """The 17 bytes are a trailer only if the records end exactly before them."""
    data = record("a", (17,), "UInt8", with_crc(b""))
    layout = walk(BufferSource(data))
    assert layout.trailer is None
    assert layout.records[0].pieces[0].stop == len(data)


def test_a_stranger_is_noted_and_passed_over() -> None:
    data = floats("a", 1.0) + integer(9, 1) + block(2, b"normal") + floats("b", 1.0)
    layout = walk(BufferSource(data))
    assert [one.name for one in layout.records] == ["a", "b"]
    assert layout.first_foreign == len(floats("a", 1.0))
    assert layout.damage is None


def test_records_before_damage_are_kept() -> None:
    data = floats("a", 1.0) + floats("b", 1.0)[:-1]
    layout = walk(BufferSource(data))
    assert [one.name for one in layout.records] == ["a"]
    assert layout.damage is not None
    assert layout.first_foreign == len(floats("a", 1.0))


def test_damage_inside_a_record_whose_name_is_known_stays_there() -> None:
    data = value("a", block(2, b"\x08")) + floats("b", 1.0)
    a, b = walk(BufferSource(data)).records
    assert a.name == "a"
    assert a.damage is not None
    assert a.damage.error().offset == len(data) - len(floats("b", 1.0))
    assert b.damage is None


def test_damage_before_the_name_is_known_is_that_of_the_file() -> None:
    """No filter could tell whether the record is wanted."""
    data = block(1, block(9, b"", claim=50) + block(1, b"a")) + floats("b", 1.0)
    layout = walk(BufferSource(data))
    assert layout.records == []
    assert layout.damage is not None


@pytest.mark.parametrize("size", [fields.MAX_NAME_BYTES, fields.MAX_NAME_BYTES + 1])
def test_a_name_is_held_up_to_a_limit(size: int) -> None:
    layout = walk(BufferSource(record("n" * size)))
    if size <= fields.MAX_NAME_BYTES:
        assert layout.records[0].name == "n" * size
    else:
        assert layout.damage is not None
        assert layout.damage.problem == f"a name has {size} bytes, more than {fields.MAX_NAME_BYTES}"


# -- how much it reads ----------------------------------------------------------------------------


def test_an_index_of_small_entries_shares_windows() -> None:
    """20 000 entries of 256 bytes: fewer than 200 reads."""
    source = CountingSource(b"".join(record(f"layer{i:05}.w", (64,), "Float32", bytes(256)) for i in range(20_000)))
    assert len(walk(source).records) == 20_000
    assert len(source.reads) < 200


@pytest.mark.parametrize("size", [9_000, 67_000, 1 << 20])
def test_a_large_entry_costs_one_read_of_one_page(size: int) -> None:
    """Also behind many small ones, which are read in larger windows."""
    small = [record(f"s{i}", (64,), "Float32", bytes(256)) for i in range(1000)]
    large = [record(f"l{i}", (size,), "UInt8", bytes(size)) for i in range(20)]
    source = CountingSource(b"".join(small + large))
    assert len(walk(source).records) == 1020
    behind = [stop - start for start, stop in source.reads if start >= sum(map(len, small))]
    assert len(behind) <= 20
    assert set(behind) <= {4096}


def test_a_window_is_large_only_after_a_short_step() -> None:
    """Where a large window happens to begin at a large entry, the next one is small again."""
    source = CountingSource(bytes(1 << 20))
    window = Window(source)
    for pos in (0, 4000, 4000 + 67_000, 4000 + 2 * 67_000):
        window.at(pos, 512)
    assert [stop - start for start, stop in source.reads] == [4096, 65536, 4096, 4096]


def test_content_that_is_passed_over_is_not_read(tmp_path: Path) -> None:
    content = bytes(1 << 20)
    data = b"".join(
        [
            record("plain", (1 << 20,), "UInt8", content),
            value("behind", block(2, block(3, content) + block(2, b"UInt8") + integer(1, 1 << 20))),
            value("unknown", block(9, content), group(10, block(1, content)), block(2, tensor((), "UInt8", b"1"))),
        ]
    )
    path = tmp_path / "a.ckpt"
    path.write_bytes(data)
    file = FileSource(str(path))
    source = CountingSource(file)
    layout = walk(source)
    file.close()
    assert [one.name for one in layout.records] == ["plain", "behind", "unknown"]
    assert layout.records[1].pieces[0].dims == (1 << 20,)
    assert source.total < 200_000


@pytest.mark.parametrize("window", [1, 2, 7, 64, 600])
@pytest.mark.parametrize("path", PLAIN[:6], ids=lambda path: path.name)
def test_what_is_found_does_not_depend_on_windows(path: Path, window: int) -> None:
    data = path.read_bytes()
    source = CountingSource(data)
    source.profile = Profile(near=window, far=window)
    assert walk(source) == walk(BufferSource(data))


@settings(max_examples=150)
@given(files, changes, st.integers(1, 40))
def test_damage_does_not_depend_on_windows(data: bytes, damage: list[tuple[str, float, int]], window: int) -> None:
    data = mutated(data, damage)
    source = CountingSource(data)
    source.profile = Profile(near=window, far=window)
    assert plain(walk(source)) == plain(walk(BufferSource(data)))


def test_bytes_that_look_like_headers_without_end_cost_no_more_than_others() -> None:
    """A record that begins like MindSpore's and goes on as dims: the fast twin must not scan the rest each time.

    Counted in what the patterns can match at all, which is bounded whatever follows.
    """
    one = b"\x0a\x08\x0a\x08" + b"\x08" * 8 + b"\x12\x08"
    endless = one + b"\x08" * 60_000
    body = walking._BODY.match(one + b"\x08\x08" * 32 + b"\x12\x01x\x1a\x00", 12)
    assert body is not None
    assert walking._BODY.match(one + b"\x08\x08" * 33 + b"\x12\x01x\x1a\x00", 12) is None
    assert ordinary(endless) is None
