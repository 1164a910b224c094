"""Converters: which files, under which names, with which content, and what happens when they fail."""

from __future__ import annotations

import json
import os
import shutil
import stat
import threading
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load as safe_load
from safetensors.numpy import load_file
from safetensors.numpy import save as save_safe

import ckptload
from ckptload import (
    Parameter,
    Tensor,
    ckpt_to_safetensors,
    convert_checkpoint,
    dtypes,
    load_checkpoint,
    open_checkpoint,
    safetensors_to_ckpt,
    save_checkpoint,
    to_npz,
)
from ckptload.converting.jobs import Job, run
from ckptload.errors import (
    ArgumentError,
    ArgumentTypeError,
    CheckpointError,
    CorruptCheckpointError,
    DecryptionError,
    EmptyCheckpointError,
    EncryptedCheckpointError,
    LimitError,
    OutOfMemoryError,
    ParentIsFileError,
    ReadError,
    UnsupportedTypeError,
)
from ckptload.formats.ckpt import encoding
from ckptload.formats.safetensors.strings import KEY as STRINGS
from ckptload.reading.access import Access
from places import FIXTURES
from strategies import floats, mapping, record, tensor

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = bytes(range(16))


def values() -> dict[str, Any]:
    return {
        "conv.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
        "half": np.array([[1, 2]], np.float16),
        "brain": np.array([1.5, -3], ml_dtypes.bfloat16),
        "flag": np.array(1, np.bool_),
        "step": np.array(7, np.int64),
        "none": np.zeros((0, 3), np.uint8),
        "note": "gr\u00fc\u00df dich",
    }


@pytest.fixture
def ckpt(tmp_path: Path) -> Path:
    path = tmp_path / "net.ckpt"
    save_checkpoint(values(), path)
    return path


def same(a: dict[str, Any], b: dict[str, Any]) -> None:
    assert set(a) == set(b)
    for name, value in a.items():
        if isinstance(value, str):
            assert b[name] == value
        else:
            assert b[name].dtype is value.dtype
            assert b[name].shape == value.shape
            assert b[name].get_bytes() == value.get_bytes()


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# -- content ------------------------------------------------------------------------------------------------


def test_a_ckpt_becomes_a_safetensors_file_beside_it(ckpt: Path) -> None:
    assert ckpt_to_safetensors(str(ckpt)) is None  # type: ignore[func-returns-value]
    target = ckpt.with_suffix(".safetensors")
    found = load_file(target)
    tensors = {name: array for name, array in values().items() if name != "note"}
    assert set(found) == set(tensors)
    for name, array in tensors.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()


@pytest.mark.skipif(os.name != "posix", reason="needs a POSIX system")
def test_the_umask_says_who_may_read_a_result_and_an_old_file_keeps_its_mode(ckpt: Path, tmp_path: Path) -> None:
    """If everybody may read its source; one that `save_checkpoint` leaves may be read by its owner only."""
    out = tmp_path / "out"

    def convert() -> dict[str, int]:
        ckpt_to_safetensors(ckpt, out)
        safetensors_to_ckpt(out / ckpt.with_suffix(".safetensors").name, out)
        to_npz(ckpt, out / "a.npz")
        ckpt_to_safetensors(ckpt, out / "shards", max_shard_size=64)
        with open_checkpoint(ckpt) as reader:
            convert_checkpoint(reader, out / "sealed.ckpt", enc_key=KEY)
        return {path.name: stat.S_IMODE(path.stat().st_mode) for path in out.rglob("*") if path.is_file()}

    assert stat.S_IMODE(ckpt.stat().st_mode) == 0o400
    before = os.umask(0o027)
    try:
        assert set(convert().values()) == {0o600}
        shutil.rmtree(out)
        ckpt.chmod(0o444)
        modes = convert()
        assert len(modes) > 6
        assert "model.safetensors.index.json" in modes
        assert set(modes.values()) == {0o640}
        for path in out.rglob("*.*"):
            path.chmod(0o604)
        assert set(convert().values()) == {0o604}
        ckpt.chmod(0o400)
        assert set(convert().values()) == {0o600}
    finally:
        os.umask(before)


def test_there_and_back_again_nothing_is_lost(ckpt: Path, tmp_path: Path) -> None:
    ckpt_to_safetensors(ckpt, tmp_path / "st")
    safetensors_to_ckpt(tmp_path / "st" / "net.safetensors", tmp_path / "back")
    back = load_checkpoint(tmp_path / "back" / "net.ckpt")
    same(load_checkpoint(ckpt), back)
    assert list(back) == [*sorted(name for name in values() if name != "note"), "note"]


def test_strings_stand_in_the_metadata_and_are_no_entries(ckpt: Path) -> None:
    ckpt_to_safetensors(ckpt)
    with open_checkpoint(ckpt.with_suffix(".safetensors")) as reader:
        assert json.loads(reader.metadata[STRINGS]) == {"note": "gr\u00fc\u00df dich"}
        assert reader.metadata["format"] == "ms"
        assert "note" not in reader


def test_without_strings_the_metadata_are_mindspores(tmp_path: Path) -> None:
    save_checkpoint({"a": np.zeros(2, np.float32)}, tmp_path / "a.ckpt")
    ckpt_to_safetensors(tmp_path / "a.ckpt")
    with safe_open(tmp_path / "a.safetensors", framework="numpy") as file:
        assert file.metadata() == {"format": "ms"}


@pytest.mark.parametrize("words", ["", "\0in\0side", "\ud800 alone", '\U0001f600 \\ " \n'])
def test_any_string_comes_back(tmp_path: Path, words: str) -> None:
    save_checkpoint({"s": words}, tmp_path / "s.ckpt")
    ckpt_to_safetensors(tmp_path / "s.ckpt")
    safetensors_to_ckpt(tmp_path / "s.safetensors", tmp_path / "back")
    assert load_checkpoint(tmp_path / "back" / "s.ckpt") == {"s": words}


def test_int4_is_noted_and_comes_back(tmp_path: Path) -> None:
    value = Parameter(Tensor(np.array([1, -8, 7], np.int8), dtypes.qint4x2), name="q")
    save_checkpoint({"q": value}, tmp_path / "q.ckpt")
    ckpt_to_safetensors(tmp_path / "q.ckpt")
    with safe_open(tmp_path / "q.safetensors", framework="numpy") as file:
        assert file.metadata() == {"format": "ms", "q": "Int4"}
    safetensors_to_ckpt(tmp_path / "q.safetensors", tmp_path / "back")
    same(load_checkpoint(tmp_path / "q.ckpt"), load_checkpoint(tmp_path / "back" / "q.ckpt"))


def test_slices_are_joined_and_float32_that_stands_for_bfloat16_is_narrowed(tmp_path: Path) -> None:
    wide = np.array([1, -2.5], np.float32)
    whole = np.arange(6, dtype=np.float32)
    content = [record("w", (6,), content=part) for part in (whole.tobytes()[:7], whole.tobytes()[7:])]
    (tmp_path / "x.ckpt").write_bytes(b"".join([*content, record("b", (2,), "BFloat16", wide.tobytes())]))
    ckpt_to_safetensors(tmp_path / "x.ckpt")
    found = load_file(tmp_path / "x.safetensors")
    np.testing.assert_array_equal(found["w"], whole)
    np.testing.assert_array_equal(found["b"], wide.astype(ml_dtypes.bfloat16))


def test_a_large_tensor_becomes_a_ckpt_in_slices_as_saving_makes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays = {"a": np.arange(300, dtype=np.int16), "b": np.zeros(3, np.int8)}
    save_checkpoint(arrays, tmp_path / "x.ckpt")
    ckpt_to_safetensors(tmp_path / "x.ckpt")
    assert encoding.ckpt.__kwdefaults__ is not None
    monkeypatch.setitem(encoding.ckpt.__kwdefaults__, "slice_size", 100)
    safetensors_to_ckpt(tmp_path / "x.safetensors", tmp_path / "back")
    save_checkpoint(arrays, tmp_path / "saved.ckpt")
    assert (tmp_path / "back" / "x.ckpt").read_bytes() == (tmp_path / "saved.ckpt").read_bytes()
    with open_checkpoint(tmp_path / "back" / "x.ckpt") as reader:
        assert reader.info("a").slices == 6


def knows_complex64() -> bool:
    """Ask the library, whose older versions lack the type."""
    try:
        safe_load(save_safe({"x": np.zeros(1, np.complex64)}))
    except Exception:  # noqa: BLE001 -- versions differ in what they raise
        return False
    return True


kinds = ["float32", "float16", "int8", "uint64", "bool", *(["complex64"] if knows_complex64() else [])]
arrays = st.sampled_from(kinds).flatmap(
    lambda kind: st.lists(st.integers(0, 3), max_size=3).map(
        lambda shape: np.arange(int(np.prod(shape)), dtype=np.int16).reshape(shape).astype(kind)
    )
)
checkpoints = st.dictionaries(
    st.text(max_size=6).filter(lambda name: max(name, default="") < "\ud800" or min(name) > "\udfff"),
    st.one_of(arrays, arrays, st.text(max_size=5).map(lambda words: words.rstrip("\0"))),
    min_size=1,
    max_size=6,
).filter(lambda found: "__metadata__" not in found and not any(".__param_key__" in name for name in found))


@pytest.mark.slow
@settings(max_examples=40)
@given(found=checkpoints, limit=st.sampled_from([None, 1, 20, 1000]))
def test_any_checkpoint_comes_back_whole_in_shards_or_not(
    tmp_path_factory: pytest.TempPathFactory, found: dict[str, Any], limit: int | None
) -> None:
    folder = tmp_path_factory.mktemp("x")
    save_checkpoint(found, folder / "x.ckpt")
    ckpt_to_safetensors(folder / "x.ckpt", max_shard_size=limit)
    (source,) = list(folder.glob("*.index.json")) if len(files(folder)) > 2 else list(folder.glob("*.safetensors"))
    safetensors_to_ckpt(source, folder / "back")
    (back,) = (folder / "back").iterdir()
    same(load_checkpoint(folder / "x.ckpt"), load_checkpoint(back))


def _set_id(folder: Path) -> str:
    index = folder / "model.safetensors.index.json"
    return str(json.loads(index.read_text())["metadata"]["ckptload.set"]) if index.exists() else "none"


@settings(max_examples=40)
@given(found=checkpoints, limit=st.sampled_from([None, 1, 20, 1000]))
def test_converters_write_what_convert_checkpoint_writes(
    tmp_path_factory: pytest.TempPathFactory, found: dict[str, Any], limit: int | None
) -> None:
    folder = tmp_path_factory.mktemp("x")

    def again(source: Path, target: Path, limit: int | None) -> None:
        target.parent.mkdir(exist_ok=True)
        with open_checkpoint(source) as reader:
            convert_checkpoint(reader, target, max_shard_size=limit)

    def agree(one: str, other: str) -> None:
        assert files(folder / one) == files(folder / other)
        # The ID of a set of shards is random.
        ids = [_set_id(folder / each).encode() for each in (one, other)]
        for name in files(folder / one):
            assert (folder / one / name).read_bytes() == (folder / other / name).read_bytes().replace(ids[1], ids[0])

    save_checkpoint(found, folder / "x.ckpt")
    ckpt_to_safetensors(folder / "x.ckpt", folder / "there", max_shard_size=limit)
    again(folder / "x.ckpt", folder / "there_too" / ("x.safetensors" if limit is None else ""), limit)
    agree("there", "there_too")
    source = folder / "there" / min(files(folder / "there"), key=lambda name: not name.endswith(".json"))
    safetensors_to_ckpt(source, folder / "back")
    (name,) = files(folder / "back")
    again(source, folder / "back_too" / name, None)
    agree("back", "back_too")


# -- what has no place in safetensors -----------------------------------------------------------------------

UNFIT = {
    "a map": mapping("m", tensor((1,), "int32", bytes(4)), tensor((1,), "int32", bytes(4))),
    "a random state": record("m", (), "random_op", b"abc"),
    "a type": record("m", (1,), "Complex128", bytes(16)),
    "bytes of a type": record("m", (1,), "HiFloat8", bytes(1)),
}


@pytest.mark.parametrize("what", UNFIT)
def test_what_safetensors_cannot_hold_is_refused_and_can_be_left_out(tmp_path: Path, what: str) -> None:
    path = tmp_path / "x.ckpt"
    path.write_bytes(floats("w", 1) + UNFIT[what])
    with pytest.raises(UnsupportedTypeError) as caught:
        ckpt_to_safetensors(path)
    assert (caught.value.name, caught.value.path) == ("m", str(path))
    assert files(tmp_path) == ["x.ckpt"]
    ckpt_to_safetensors(path, choice_func=lambda name: name != "m")
    assert list(load_file(tmp_path / "x.safetensors")) == ["w"]


def test_a_choice_that_keeps_nothing_is_an_error(ckpt: Path, tmp_path: Path) -> None:
    with pytest.raises(EmptyCheckpointError, match="keeps none of 7"):
        ckpt_to_safetensors(ckpt, choice_func=lambda _: False)
    assert files(tmp_path) == ["net.ckpt"]


def test_choice_func_is_asked_about_strings_too(ckpt: Path, tmp_path: Path) -> None:
    ckpt_to_safetensors(ckpt)
    asked: list[str] = []

    def choose(name: str) -> bool:
        asked.append(name)
        return True

    safetensors_to_ckpt(ckpt.with_suffix(".safetensors"), tmp_path / "b", choice_func=choose)
    assert sorted(asked) == sorted(values())
    assert "note" in load_checkpoint(tmp_path / "b" / "net.ckpt")


@pytest.mark.parametrize("kept", ["{", "[]", '{"a": 1}', "[" * 100_000])
def test_strings_that_we_did_not_write_are_refused(tmp_path: Path, kept: str) -> None:
    header = json.dumps({"__metadata__": {STRINGS: kept}, "a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}})
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header.encode() + b"\0")
    with pytest.raises(CorruptCheckpointError, match="not a JSON object of names and strings"):
        safetensors_to_ckpt(path)


# -- names of entries ---------------------------------------------------------------------------------------


def test_name_map_renames_tensors_and_strings_and_ignores_what_is_not_there(ckpt: Path, tmp_path: Path) -> None:
    ckpt_to_safetensors(ckpt, tmp_path / "a", {"half": "step", "step": "half", "note": "words", "other": "x"})
    found = load_file(tmp_path / "a" / "net.safetensors")
    assert found["half"].dtype == np.int64
    assert found["step"].dtype == np.float16
    safetensors_to_ckpt(tmp_path / "a" / "net.safetensors", None, {"words": "note", "half": "step", "step": "half"})
    same(load_checkpoint(ckpt), load_checkpoint(tmp_path / "a" / "net.ckpt"))


@pytest.mark.parametrize("name_map", [{"half": "step"}, {"half": "x", "step": "x"}, {"note": "step"}])
def test_two_entries_of_one_name_are_refused(ckpt: Path, tmp_path: Path, name_map: dict[str, str]) -> None:
    with pytest.raises(ArgumentError, match="would both have this name") as caught:
        ckpt_to_safetensors(ckpt, None, name_map)
    assert caught.value.name in name_map.values()
    assert files(tmp_path) == ["net.ckpt"]


@pytest.mark.parametrize("name_map", [[1], "", {"half": 1}, {1: "half"}])
def test_a_name_map_of_another_type_is_refused(ckpt: Path, name_map: Any) -> None:
    with pytest.raises(ArgumentTypeError, match="name_map"):
        ckpt_to_safetensors(ckpt, None, name_map)


@pytest.mark.parametrize("name", ["x" * 1025, "\ud800"])
def test_a_name_that_no_file_can_have_is_refused(ckpt: Path, name: str) -> None:
    with pytest.raises(ArgumentError, match="an entry cannot have this name"):
        ckpt_to_safetensors(ckpt, None, {"half": name})


# -- which files, under which names -------------------------------------------------------------------------


@pytest.fixture
def ranks(tmp_path: Path) -> Path:
    for name in ("rank0/m_1", "rank0/am_2", "rank_1/m_1", "rank0/sub/m_1", "other/m_1", "top"):
        path = tmp_path / "all" / f"{name}.ckpt"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_checkpoint({"name": name}, path)
    (tmp_path / "all" / "rank0" / "notes.txt").write_text("x")
    (tmp_path / "all" / "rankfile").write_text("x")
    return tmp_path / "all"


ALL = ["rank0/am_2.safetensors", "rank0/m_1.safetensors", "rank_1/m_1.safetensors"]


@pytest.mark.parametrize("processes_num", [1, 2, 20, True])
def test_a_folder_is_converted_rank_by_rank(ranks: Path, tmp_path: Path, processes_num: int) -> None:
    ckpt_to_safetensors(str(ranks), str(tmp_path / "out"), processes_num=processes_num)
    assert files(tmp_path / "out") == ALL
    ckpt_to_safetensors(f"{ranks}/")
    assert [name for name in files(ranks) if name.endswith(".safetensors")] == ALL
    safetensors_to_ckpt(tmp_path / "out", tmp_path / "back", processes_num=processes_num)
    assert load_checkpoint(tmp_path / "back" / "rank0" / "am_2.ckpt") == {"name": "rank0/am_2"}


@pytest.mark.parametrize(
    ("expression", "converted"),
    [("m_", ALL), ("^m_", ALL[1:]), (r"m_1\.ckpt$", ALL[1:]), ("2", ALL[:1])],
)
def test_file_name_regex_is_searched_for_in_file_names(
    ranks: Path, tmp_path: Path, expression: str, converted: list[str]
) -> None:
    ckpt_to_safetensors(ranks, tmp_path / "out", None, expression)
    assert files(tmp_path / "out") == converted


@pytest.mark.parametrize("expression", ["rank0", "nothing"])
def test_an_expression_that_fits_no_file_of_a_folder_is_warned_about(ranks: Path, expression: str) -> None:
    with pytest.warns(UserWarning, match="matches no file") as caught:
        ckpt_to_safetensors(ranks, None, None, expression)
    assert caught[0].filename == __file__


def test_an_expression_is_searched_for_in_the_path_of_a_single_file(ckpt: Path, tmp_path: Path) -> None:
    ckpt_to_safetensors(ckpt, tmp_path / "out", None, tmp_path.name)
    assert files(tmp_path / "out") == ["net.safetensors"]
    with pytest.raises(ArgumentError, match="does not match the file"):
        ckpt_to_safetensors(ckpt, None, None, "qqq")


def test_the_ending_is_replaced_wherever_it_stands_as_mindspore_does_it(ckpt: Path, tmp_path: Path) -> None:
    ckpt.rename(tmp_path / "a.ckpt.b.ckpt")
    ckpt_to_safetensors(tmp_path / "a.ckpt.b.ckpt", tmp_path / "out")
    assert files(tmp_path / "out") == ["a.safetensors.b.safetensors"]


def test_an_empty_save_path_puts_the_results_of_a_folder_into_the_working_directory(
    ranks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    ckpt_to_safetensors(ranks, "")
    assert files(tmp_path / "here") == ALL


def test_links_are_followed(ranks: Path, tmp_path: Path) -> None:
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "rank7").symlink_to(ranks / "rank_1")
    ckpt_to_safetensors(tmp_path / "linked", tmp_path / "out")
    assert files(tmp_path / "out") == ["rank7/m_1.safetensors"]


def test_a_result_replaces_what_was_there(ckpt: Path) -> None:
    ckpt.with_suffix(".safetensors").write_bytes(b"old")
    ckpt_to_safetensors(ckpt)
    assert len(load_file(ckpt.with_suffix(".safetensors"))) == 6


def test_relative_paths_are_those_of_the_working_directory(ckpt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ckpt.parent)
    ckpt_to_safetensors("net.ckpt", "")
    ckpt_to_safetensors("./net.ckpt", "a/b")
    assert files(ckpt.parent) == ["a/b/net.safetensors", "net.ckpt", "net.safetensors"]


def test_results_of_one_name_are_refused_before_anything_is_written(ranks: Path, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="would both become"):
        ckpt_to_safetensors(ranks, tmp_path / "out", max_shard_size="5GB")
    assert not (tmp_path / "out").exists()


def test_a_folder_may_have_a_dot_in_its_name_if_it_exists(ckpt: Path, tmp_path: Path) -> None:
    (tmp_path / "v1.2").mkdir()
    ckpt_to_safetensors(ckpt, tmp_path / "v1.2")
    assert files(tmp_path / "v1.2") == ["net.safetensors"]


@pytest.mark.parametrize("save_path", ["new.safetensors", "q/w.ckpt", "v1.3", "net.ckpt"])
def test_a_save_path_that_looks_like_a_file_is_refused(ckpt: Path, tmp_path: Path, save_path: str) -> None:
    with pytest.raises(ArgumentError, match="save_path must be a folder"):
        ckpt_to_safetensors(ckpt, tmp_path / save_path)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"file_path": "missing.ckpt"}, ReadError, "no such file or folder"),
        ({"file_path": ""}, ReadError, "no such file or folder"),
        ({"file_path": "nul\0.ckpt"}, ReadError, "cannot be looked at|no such file"),
        ({"file_path": 1}, ArgumentTypeError, "file_path"),
        ({"file_path": None}, ArgumentTypeError, "file_path"),
        ({"file_path": b"net.ckpt"}, ArgumentTypeError, "file_path"),
        ({"file_path": "."}, ArgumentError, "whose name begins with 'rank'"),
        ({"file_path": "NET.CKPT"}, ArgumentError, "must end in .ckpt"),
        ({"file_path": "xckpt"}, ArgumentError, "must end in .ckpt"),
        ({"save_path": 1}, ArgumentTypeError, "save_path"),
        ({"file_name_regex": "("}, ArgumentError, "not a regular expression"),
        ({"file_name_regex": ["x"]}, ArgumentTypeError, "file_name_regex"),
        ({"processes_num": 0}, ArgumentError, "processes_num"),
        ({"processes_num": -1}, ArgumentError, "processes_num"),
        ({"processes_num": 1.5}, ArgumentTypeError, "processes_num"),
        ({"processes_num": "2"}, ArgumentTypeError, "processes_num"),
        ({"progress": 1}, ArgumentTypeError, "progress"),
        ({"max_shard_size": 0}, ArgumentError, "must be 1 byte or more"),
    ],
)
def test_arguments_are_checked(
    ckpt: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: dict[str, Any],
    error: type[CheckpointError],
    words: str,
) -> None:
    monkeypatch.chdir(ckpt.parent)
    for name in ("NET.CKPT", "xckpt"):
        Path(name).write_bytes(ckpt.read_bytes())
    with pytest.raises(error, match=words):
        ckpt_to_safetensors(**{"file_path": "net.ckpt", **arguments})


def test_each_direction_wants_its_own_ending(ckpt: Path) -> None:
    with pytest.raises(ArgumentError, match=r"must end in \.safetensors"):
        safetensors_to_ckpt(ckpt)
    with pytest.raises(ReadError):
        safetensors_to_ckpt(ckpt.with_suffix(".safetensors"))


# -- failures -----------------------------------------------------------------------------------------------


def test_a_failure_leaves_what_was_there(ckpt: Path, tmp_path: Path) -> None:
    target = ckpt.with_suffix(".safetensors")
    target.write_bytes(b"old")
    ckpt.chmod(0o600)
    ckpt.write_bytes(ckpt.read_bytes()[:-3])
    with pytest.raises(CorruptCheckpointError) as caught:
        ckpt_to_safetensors(ckpt)
    assert caught.value.path == str(ckpt)
    assert target.read_bytes() == b"old"
    assert files(tmp_path) == ["net.ckpt", "net.safetensors"]


@pytest.mark.parametrize("processes_num", [1, 2])
def test_the_file_that_failed_is_named_and_nothing_is_changed(ranks: Path, tmp_path: Path, processes_num: int) -> None:
    (ranks / "rank_1" / "m_1.ckpt").unlink()
    (ranks / "rank_1" / "m_1.ckpt").write_bytes((FIXTURES / "lenet5.ckpt").read_bytes()[:-1])
    with pytest.raises(CorruptCheckpointError) as caught:
        ckpt_to_safetensors(ranks, tmp_path / "out", processes_num=processes_num)
    assert caught.value.path == str(ranks / "rank_1" / "m_1.ckpt")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made_is_an_error_of_ours(ckpt: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ParentIsFileError):
        ckpt_to_safetensors(ckpt, tmp_path / "file" / "below")


def test_a_path_that_the_system_refuses_is_an_error_of_ours() -> None:
    with pytest.raises(ReadError):
        ckpt_to_safetensors("x" * 5000 + ".ckpt")


def test_a_source_that_vanishes_is_an_error_of_ours(ckpt: Path) -> None:
    job = Job(ckpt.with_name("gone.ckpt"), ckpt.with_suffix(".safetensors"))
    for progress in (None, lambda *_: None):
        with pytest.raises(ReadError) as caught:
            run([job], lambda *_: open_checkpoint(job.source).close(), 1, progress, Access())
        assert caught.value.path == str(job.source)


def test_too_little_memory_is_an_error_of_ours(ckpt: Path) -> None:
    def full(*_: object) -> None:
        raise MemoryError

    with pytest.raises(OutOfMemoryError) as caught:
        run([Job(ckpt, ckpt)], full, 1, None, Access())
    assert caught.value.path == str(ckpt)


def test_more_records_than_allowed_are_refused(ckpt: Path, tmp_path: Path) -> None:
    ckpt_to_safetensors(ckpt, tmp_path / "one", max_records=7)
    ckpt_to_safetensors(ckpt, tmp_path / "shards", max_shard_size=20)
    sources = [tmp_path / "one" / "net.safetensors", tmp_path / "shards" / "model.safetensors.index.json"]
    with pytest.raises(LimitError) as caught:
        ckpt_to_safetensors(ckpt, tmp_path / "out", max_records=6)
    assert caught.value.path == str(ckpt)
    for source in sources:
        for progress in (None, lambda *_: None):
            with pytest.raises(LimitError):
                safetensors_to_ckpt(source, tmp_path / "out", max_records=5, progress=progress)
            assert not (tmp_path / "out").exists()
        safetensors_to_ckpt(source, tmp_path / "back", max_records=7)


@pytest.mark.skipif(os.name != "posix", reason="folders are synced on POSIX systems only")
@pytest.mark.parametrize("limit", [None, 20])
def test_results_are_not_forced_onto_the_disk_but_those_of_convert_checkpoint_are(
    ckpt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int | None
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    ckpt_to_safetensors(ckpt, tmp_path / "a", max_shard_size=limit)
    to_npz(ckpt, tmp_path / "a" / "net.npz")
    assert not synced
    with open_checkpoint(ckpt) as reader:
        convert_checkpoint(reader, tmp_path / "b" / ("net.safetensors" if limit is None else ""), max_shard_size=limit)
        convert_checkpoint(reader, tmp_path / "b" / "net.npz")
    # Each file, the folder of a single one after it, and that of shards before their index and after it.
    assert len(synced) == len(files(tmp_path / "b")) + (2 if limit is None else 3)


# -- progress -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("processes_num", [1, 3])
def test_progress_rises_to_the_size_of_all_files(ranks: Path, tmp_path: Path, processes_num: int) -> None:
    seen: list[tuple[int, int]] = []
    threads = set()

    def progress(done: int, total: int) -> None:
        seen.append((done, total))
        threads.add(threading.current_thread())

    ckpt_to_safetensors(ranks, tmp_path / "out", processes_num=processes_num, progress=progress)
    size = sum((ranks / name).with_suffix(".ckpt").stat().st_size for name in ALL)
    assert seen[-1] == (size, size)
    assert all(a < b for (a, _), (b, _) in pairwise(seen))


def test_what_progress_raises_ends_the_conversion(ckpt: Path, tmp_path: Path) -> None:
    def progress(done: int, total: int) -> None:
        raise LookupError(done, total)

    with pytest.raises(LookupError):
        ckpt_to_safetensors(ckpt, progress=progress)
    assert files(tmp_path) == ["net.ckpt"]


# -- encrypted files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["AES-GCM", "AES-CBC"])
def test_an_encrypted_file_is_converted_with_its_key(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "sealed.ckpt"
    save_checkpoint(values(), path, enc_key=KEY, enc_mode=mode)
    ckpt_to_safetensors(path, dec_key=KEY, dec_mode=mode)
    same(
        {name: value for name, value in load_checkpoint(path, dec_key=KEY, dec_mode=mode).items() if name != "note"},
        load_checkpoint(tmp_path / "sealed.safetensors", format="safetensors"),
    )


def test_without_the_key_nothing_is_written(tmp_path: Path) -> None:
    path = tmp_path / "sealed.ckpt"
    save_checkpoint(values(), path, enc_key=KEY)
    with pytest.raises(EncryptedCheckpointError):
        ckpt_to_safetensors(path)
    with pytest.raises(DecryptionError):
        ckpt_to_safetensors(path, dec_key=bytes(16))
    assert files(tmp_path) == ["sealed.ckpt"]


@pytest.mark.parametrize("at", [400, -1])
def test_a_block_that_is_not_authentic_leaves_no_result_whatever_is_wanted(tmp_path: Path, at: int) -> None:
    key = bytes(range(16, 32))
    content = bytearray((FIXTURES / "encrypted" / "enc_1.10.0_gcm128_blocks.ckpt").read_bytes())
    (tmp_path / "x.ckpt").write_bytes(content)
    ckpt_to_safetensors(tmp_path / "x.ckpt", tmp_path / "good", dec_key=key)
    assert files(tmp_path / "good") == ["x.safetensors"]
    content[at] ^= 1
    (tmp_path / "x.ckpt").write_bytes(content)
    with open_checkpoint(FIXTURES / "encrypted" / "enc_1.10.0_gcm128_blocks.ckpt", dec_key=key) as reader:
        names = list(reader)
    for wanted in names:
        with pytest.raises(DecryptionError):
            ckpt_to_safetensors(tmp_path / "x.ckpt", tmp_path / "bad", dec_key=key, choice_func=wanted.__eq__)
    assert not (tmp_path / "bad").exists() or files(tmp_path / "bad") == []


def test_the_functions_stand_where_scripts_import_them_from() -> None:
    function: Callable[..., Any]
    for function in (ckpt_to_safetensors, safetensors_to_ckpt):
        for module in (ckptload, ckptload.train, ckptload.train.serialization):
            assert getattr(module, function.__name__) is function
