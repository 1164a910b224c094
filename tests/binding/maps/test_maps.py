"""Maps applied: into nets, into dictionaries and into files, from memory and from files."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ckptload
from ckptload import NameMap
from ckptload.binding.maps import layouts
from ckptload.binding.maps.layouts import blocks, copy_rows, layout_of
from ckptload.errors import ArgumentError, ArgumentTypeError, BindingError, CheckpointError, ReadError

if TYPE_CHECKING:
    from pathlib import Path

    from ckptload.dtypes import Array


def net(**shapes: tuple[int, ...]) -> ckptload.Cell:
    cell = ckptload.Cell()
    for name, shape in shapes.items():
        setattr(cell, name, ckptload.Parameter(np.full(shape, -1, np.float32), name=name.replace("__", ".")))
    return cell


def numbers(*shape: int, start: int = 0) -> ckptload.Parameter:
    size = int(np.prod(shape))
    return ckptload.Parameter(np.arange(start, start + size, dtype=np.float32).reshape(shape))


Loaded = dict[str, Any]


def load(checkpoint: Loaded, rules: Any, folder: Path, /, *, from_file: bool, **shapes: tuple[int, ...]) -> Loaded:
    """Return the values of a net into which a map loads a checkpoint."""
    cell = net(**shapes)
    if from_file:
        ckptload.save_checkpoint(checkpoint, folder / "a.ckpt")
        with ckptload.open_checkpoint(folder / "a.ckpt") as reader:
            assert ckptload.load_param_into_net(cell, reader, name_map=rules) == ([], [])
    else:
        assert ckptload.load_param_into_net(cell, checkpoint, name_map=rules) == ([], [])
    return {parameter.name: parameter.asnumpy() for parameter in cell.get_parameters()}


sources = pytest.mark.parametrize("from_file", [True, False], ids=["file", "dictionary"])

Q, K, V = numbers(4, 3), numbers(2, 3, start=100), numbers(2, 3, start=200)


@sources
def test_patterns_rename(tmp_path: Path, *, from_file: bool) -> None:
    checkpoint = {"layers.0.w": numbers(2), "layers.1.w": numbers(2, start=5), "head.w": numbers(1)}
    rules = {"layers.{i}": "h{i+1}", "head": "out"}
    found = load(checkpoint, rules, tmp_path, from_file=from_file, h1__w=(2,), h2__w=(2,), out__w=(1,))
    assert found["h2.w"].tolist() == [5, 6]


@sources
def test_entries_are_joined(tmp_path: Path, *, from_file: bool) -> None:
    rules = NameMap([{"from": ["q", "k", "v"], "to": "qkv"}])
    found = load({"q": Q, "k": K, "v": V}, rules, tmp_path, from_file=from_file, qkv=(8, 3))
    assert np.array_equal(found["qkv"], np.concatenate([Q.asnumpy(), K.asnumpy(), V.asnumpy()]))


@sources
def test_entries_are_joined_by_heads_and_transposed(tmp_path: Path, *, from_file: bool) -> None:
    rules = NameMap([{"from": ["q", "k", "v"], "to": "qkv", "groups": 2, "axis": 1, "transpose": True}])
    found = load({"q": Q, "k": K, "v": V}, rules, tmp_path, from_file=from_file, qkv=(3, 8))
    parts = [np.split(each.asnumpy(), 2) for each in (Q, K, V)]
    assert np.array_equal(found["qkv"].T, np.concatenate([part[g] for g in range(2) for part in parts]))


@sources
def test_an_entry_is_cut(tmp_path: Path, *, from_file: bool) -> None:
    whole = numbers(8, 4)
    rules = NameMap([{"from": "qkv", "to": ["q", "k", "v"], "sizes": ["columns", "rest", "rest"]}])
    found = load({"qkv": whole}, rules, tmp_path, from_file=from_file, q=(4, 4), k=(2, 4), v=(2, 4))
    assert np.array_equal(np.concatenate([found["q"], found["k"], found["v"]]), whole.asnumpy())


@sources
def test_a_bias_is_cut_by_the_columns_of_its_matrix(tmp_path: Path, *, from_file: bool) -> None:
    rule = {"from": "b", "to": ["q", "k", "v"], "sizes": ["columns", "rest", "rest"], "beside": "w"}
    checkpoint = {"b": numbers(8), "w": numbers(8, 4)}
    found = load(checkpoint, NameMap([rule]), tmp_path, from_file=from_file, q=(4,), k=(2,), v=(2,), w=(8, 4))
    assert found["v"].tolist() == [6, 7]


@sources
def test_axes_of_length_1_are_added_and_taken_away(tmp_path: Path, *, from_file: bool) -> None:
    rules = NameMap(
        [
            {"from": "w", "to": "conv", "reshape": "... -> ... 1 1"},
            {"from": "p", "to": "pos", "reshape": "1 ... -> ..."},
        ]
    )
    checkpoint = {"w": numbers(2, 3), "p": numbers(1, 4, 2)}
    found = load(checkpoint, rules, tmp_path, from_file=from_file, conv=(2, 3, 1, 1), pos=(4, 2))
    assert found["conv"].ravel().tolist() == [0, 1, 2, 3, 4, 5]
    assert found["pos"].ravel().tolist() == list(range(8))


@sources
def test_a_bias_that_the_checkpoint_lacks_is_zero(tmp_path: Path, *, from_file: bool) -> None:
    rules: Any = NameMap([{"to": "b{i}.bias", "zeros": [3], "beside": "b{i}.weight"}, {"to": "c", "zeros": []}])
    checkpoint = {"b1.weight": numbers(2), "b2.weight": numbers(2)}
    found = load(
        checkpoint,
        rules,
        tmp_path,
        from_file=from_file,
        b1__weight=(2,),
        b1__bias=(3,),
        b2__weight=(2,),
        b2__bias=(3,),
        c=(),
    )
    assert found["b2.bias"].tolist() == [0, 0, 0]
    assert found["c"] == 0


def test_values_are_converted_while_they_are_moved(tmp_path: Path) -> None:
    cell = ckptload.Cell()
    cell.qkv = ckptload.Parameter(np.zeros((3, 8), np.float16), name="qkv")
    rules = NameMap([{"from": ["q", "k", "v"], "to": "qkv", "axis": 1, "transpose": True}])
    ckptload.save_checkpoint({"q": Q, "k": K, "v": V}, tmp_path / "a.ckpt")
    with (
        ckptload.open_checkpoint(tmp_path / "a.ckpt") as reader,
        pytest.warns(UserWarning, match="Float32 to Float16"),
    ):
        ckptload.load_param_into_net(cell, reader, name_map=rules)
    assert cell.qkv.asnumpy()[0, 4] == 100


def test_a_net_is_loaded_from_its_own_parameters() -> None:
    cell = net(q=(2, 2), k=(2, 2), qk=(4, 2))
    cell.q.asnumpy()[...] = 1
    cell.k.asnumpy()[...] = 2
    rules: Any = [{"from": ["a", "b"], "to": "qk"}, {"from": "c", "to": "q"}, {"from": "d", "to": "k"}]
    mine = {"a": cell.q, "b": cell.k, "c": cell.k, "d": cell.q}
    assert ckptload.load_param_into_net(cell, mine, name_map=NameMap(rules)) == ([], [])
    assert cell.qk.asnumpy()[:, 0].tolist() == [1, 1, 2, 2]
    assert (cell.q.asnumpy()[0, 0], cell.k.asnumpy()[0, 0]) == (2, 1)


@pytest.mark.filterwarnings("ignore:1 ")
def test_an_entry_that_is_moved_fills_two_parameters_of_the_net_that_it_is_from() -> None:
    cell = net(w=(2, 2), p__w=(2, 2))
    cell.w.asnumpy()[...] = [[1, 2], [3, 4]]
    rules = NameMap([{"from": "x", "to": "p.w", "transpose": True}])
    assert ckptload.load_param_into_net(cell, {"x": cell.w}, name_map=rules) == ([], [])
    assert cell.w.asnumpy().tolist() == cell.p__w.asnumpy().tolist() == [[1, 3], [2, 4]]


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ({"from": ["q", "x"], "to": "qx"}, "differ in more than axis 0"),
        ({"from": ["q", "k"], "to": "qk", "axis": 2}, "no axis 2"),
        ({"from": ["q", "k"], "to": "qk", "groups": 3}, "3 groups"),
        ({"from": "q", "to": ["y", "z"], "sizes": [2, 1]}, "2 to 1"),
        ({"from": "q", "to": ["y", "z"], "sizes": ["columns", "columns"]}, "columns to columns"),
        ({"from": "b", "to": "c", "transpose": True}, "two axes"),
        ({"from": "b", "to": "c", "reshape": "... 1 -> ..."}, "reshapes"),
        ({"from": "b", "to": "c", "reshape": "5 -> 2 3"}, "changes the number"),
        ({"from": ["q", "h"], "to": "qh"}, "dtypes"),
    ],
    ids=str,
)
def test_a_rule_that_does_not_fit_names_the_entries_and_their_shapes(rule: dict[str, Any], reason: str) -> None:
    half = ckptload.Parameter(np.zeros((4, 3), np.float16))
    checkpoint = {"q": Q, "k": K, "x": numbers(4, 2), "b": numbers(5), "h": half}
    targets = [rule["to"]] if isinstance(rule["to"], str) else rule["to"]
    with pytest.raises(BindingError, match=reason) as caught:
        ckptload.load_param_into_net(net(**dict.fromkeys(targets, (1,))), checkpoint, name_map=NameMap([rule]))
    assert caught.value.name in targets


def test_what_would_be_joined_must_all_be_there() -> None:
    rules = NameMap([{"from": ["q.{i}", "k.{i}"], "to": "qk.{i}"}])
    with pytest.raises(ArgumentError, match=r"'q.1' would be joined with 'k.1', which the checkpoint lacks"):
        ckptload.load_param_into_net(net(a=(1,)), {"q.1": Q}, name_map=rules)


def test_two_rules_for_one_name_and_two_entries_of_one_name_are_refused() -> None:
    with pytest.raises(ArgumentError, match="two rules"):
        NameMap([{"from": "a", "to": "b"}, {"from": "a", "to": "c"}])
    with pytest.raises(ArgumentError, match="both have this name"):
        ckptload.load_param_into_net(net(c=(1,)), {"a": Q, "b": Q}, name_map=NameMap({"a": "c", "b": "c"}))


# -- files of maps --------------------------------------------------------------------------------------------


def test_a_map_is_saved_and_read(tmp_path: Path) -> None:
    rules = NameMap(
        [{"from": ["q.{i}", "k.{i}"], "to": "qk.{i}", "groups": 2}, {"from": "a", "to": None}], about="a test"
    )
    rules.save(tmp_path / "map.json")
    assert NameMap.read(tmp_path / "map.json") == rules
    assert NameMap.read(tmp_path / "map.json").about == "a test"


@pytest.mark.parametrize("as_text", [True, False])
def test_a_map_is_taken_from_its_file(tmp_path: Path, *, as_text: bool) -> None:
    path = tmp_path / "map.json"
    path.write_text('\ufeff{"a": "b"}', "utf-8")
    cell = net(b=(2,))
    ckptload.load_param_into_net(cell, {"a": numbers(2)}, name_map=str(path) if as_text else path)
    assert cell.b.asnumpy().tolist() == [0, 1]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"a": 1}',
        '{"a": "b", "a": "c"}',
        '{"format": "ckptload-map"}',
        '{"format": "ckptload-map", "version": 2, "rules": []}',
        '{"format": "ckptload-map", "version": 1, "rules": {}}',
        '{"format": "ckptload-map", "version": 1, "rules": [1]}',
        '{"format": "ckptload-map", "version": 1, "rules": [], "certain": false}',
        "[" * 100_000,
        "\ud800",
    ],
    ids=lambda text: text[:40],
)
def test_what_is_no_map_is_refused_with_the_path(text: str, tmp_path: Path) -> None:
    path = tmp_path / "map.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises((ArgumentError, ArgumentTypeError)) as caught:
        NameMap.read(path)
    assert caught.value.path == str(path)


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_bytes_are_a_map_or_one_of_our_errors(content: bytes) -> None:
    try:
        NameMap.parse(content)
    except CheckpointError:
        return


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["a.{i}", "b", "... -> ... 1", "columns"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["from", "to", "reshape", "axis", "groups", "sizes", "zeros", "beside"]), inner
        )
    ),
    max_leaves=12,
)


@given(st.lists(_JSON, max_size=4))
def test_any_rules_are_a_map_or_one_of_our_errors(rules: Any) -> None:
    text = json.dumps({"format": "ckptload-map", "version": 1, "rules": rules})
    try:
        found = NameMap.parse(text.encode())
    except CheckpointError:
        return
    assert NameMap.parse(found.text().encode()) == found
    try:
        found.recipes(["a.1", "b", "c"])
        found.inverse()
    except CheckpointError:
        return


@pytest.mark.parametrize("name_map", ["auto", "no-such-map", "missing.json"])
def test_a_word_that_is_no_map_is_refused(name_map: str, tmp_path: Path) -> None:
    ckptload.save_checkpoint({"a": Q}, tmp_path / "a.ckpt")
    with ckptload.open_checkpoint(tmp_path / "a.ckpt") as reader, pytest.raises((ArgumentError, ReadError)):
        ckptload.convert_checkpoint(reader, tmp_path / "b.ckpt", name_map=name_map)
    assert not (tmp_path / "b.ckpt").exists()


# -- conversion -----------------------------------------------------------------------------------------------

RULES: list[dict[str, Any]] = [
    {"from": ["q", "k", "v"], "to": "qkv", "groups": 2, "axis": 1, "transpose": True},
    {"from": "w", "to": ["w1", "w2"]},
    {"from": "t", "to": "t2", "transpose": True},
    {"from": "p", "to": "pos", "reshape": "1 ... -> ..."},
    {"from": "layers.{i}", "to": "h.{i}"},
    {"to": "zero.{i}", "zeros": [2, 3], "beside": "layers.{i}.w"},
]
TARGETS = {
    "qkv": (3, 8),
    "w1": (3, 2),
    "w2": (3, 2),
    "t2": (5, 4),
    "pos": (2, 2),
    "h__0__w": (2,),
    "h__1__w": (2,),
    "zero__0": (2, 3),
    "zero__1": (2, 3),
}


def checkpoint_for_rules() -> Loaded:
    return {
        "q": Q,
        "k": K,
        "v": V,
        "w": numbers(6, 2),
        "t": numbers(4, 5),
        "p": numbers(1, 2, 2),
        "layers.0.w": numbers(2),
        "layers.1.w": numbers(2, start=9),
    }


@pytest.mark.parametrize("ending", ["ckpt", "safetensors", "npz"])
@pytest.mark.parametrize("dtype", [None, ckptload.float16])
def test_a_converted_file_holds_what_a_net_gets(tmp_path: Path, ending: str, dtype: Any) -> None:
    expected = load(checkpoint_for_rules(), NameMap(RULES), tmp_path, from_file=True, **TARGETS)
    with ckptload.open_checkpoint(tmp_path / "a.ckpt") as reader:
        moves = ckptload.convert_checkpoint(reader, tmp_path / f"b.{ending}", name_map=NameMap(RULES), dtype=dtype)
    assert {move.item.name: move.item.shape for move in moves} == {n: e.shape for n, e in expected.items()}
    assert moves[0].old == "q + k + v"
    if ending == "npz":
        with np.load(tmp_path / "b.npz") as archive:
            found = dict(archive)
    else:
        found = {
            n: each.asnumpy() for n, each in ckptload.load_checkpoint(tmp_path / f"b.{ending}", format=ending).items()
        }
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert np.array_equal(found[name], array.astype(np.float16) if dtype else array), name


def test_shards_of_an_executor_hold_the_same(tmp_path: Path) -> None:
    ckptload.save_checkpoint(checkpoint_for_rules(), tmp_path / "a.ckpt")
    with ckptload.open_checkpoint(tmp_path / "a.ckpt") as reader, ThreadPoolExecutor(2) as executor:
        ckptload.convert_checkpoint(reader, tmp_path / "one.safetensors", name_map=NameMap(RULES))
        ckptload.convert_checkpoint(
            reader, tmp_path / "several", name_map=NameMap(RULES), max_shard_size=100, executor=executor
        )
    one = ckptload.load_checkpoint(tmp_path / "one.safetensors", format="safetensors")
    index = tmp_path / "several" / "model.safetensors.index.json"
    several = ckptload.load_checkpoint(index, format="safetensors")
    assert {n: e.asnumpy().tolist() for n, e in several.items()} == {n: e.asnumpy().tolist() for n, e in one.items()}


def test_an_entry_that_is_no_tensor_is_not_reshaped(tmp_path: Path) -> None:
    ckptload.save_checkpoint({"a": Q}, tmp_path / "a.ckpt", append_dict={"note": "text"})
    rules = NameMap([{"from": "note", "to": "b", "reshape": "... -> ... 1"}])
    with (
        ckptload.open_checkpoint(tmp_path / "a.ckpt") as reader,
        pytest.raises(ArgumentTypeError, match="it is a string"),
    ):
        ckptload.convert_checkpoint(reader, tmp_path / "b.ckpt", name_map=rules)


@settings(max_examples=60)
@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=3),
    st.integers(0, 2),
    st.integers(1, 3),
    st.integers(1, 3),
    st.booleans(),
    st.sampled_from([4, 20, 1 << 21]),
)
def test_any_join_and_its_inverse_are_numpys(
    shape: list[int], axis: int, groups: int, parts: int, transpose: bool, piece: int
) -> None:
    axis %= len(shape)
    transpose = transpose and len(shape) == 2
    arrays = []
    for part in range(parts):
        own = list(shape)
        own[axis] = groups * (shape[axis] + part)
        arrays.append(np.arange(np.prod(own), dtype=np.int32).reshape(own) + 1000 * part)
    by_group = [np.split(array, groups, axis) for array in arrays]
    expected = np.concatenate([part[g] for g in range(groups) for part in by_group], axis)
    names = [f"a{part}" for part in range(parts)]
    stored = {n: np.ascontiguousarray(a.T if transpose else a) for n, a in zip(names, arrays, strict=True)}
    join = {"from": names, "to": "b", **({"axis": axis, "groups": groups} if parts > 1 else {})}
    if parts == 1:
        expected = arrays[0]
    rules = NameMap([{**join, "transpose": transpose}])
    if rules.recipes(names)[0].is_moved:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(layouts, "PIECE", piece)  # so that small arrays are read in pieces, too
            assert np.array_equal(_made(rules, stored)["b"], expected)
    sizes = [array.shape[axis] for array in arrays]
    if parts > 1 and all(sizes):
        back = NameMap([{**join, "transpose": transpose, "sizes": sizes}]).inverse()
        found = _made(back, {"b": np.ascontiguousarray(expected)})
        assert all(np.array_equal(found[name], stored[name]) for name in names)


def _made(rules: NameMap, stored: dict[str, Array]) -> dict[str, Array]:
    found = {}
    for recipe in rules.recipes(stored):
        layout = layout_of(recipe, lambda name: stored[name].shape)
        flat = [stored[name].reshape(-1) for name in recipe.sources]

        def read(of: int, first: int, last: int, flat: list[Array] = flat) -> Array:
            return flat[of][first:last]

        whole = np.full(layout.shape, -1, np.int32)
        for start, stop in blocks(layout, 4):
            copy_rows(layout, whole[start:stop], start, read)
        found[recipe.name] = whole
    return found
