"""save_checkpoint: MindSpore's signature, arguments and bytes, and files that come back."""

from __future__ import annotations

import inspect
import os
import stat
import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import ckptload
from ckptload import errors, saving
from ckptload.errors import ArgumentError, ArgumentTypeError, CheckpointError, DecryptionError, TargetIsFolderError
from ckptload.loading import load_checkpoint
from ckptload.ranks.layout import SliceLayout
from ckptload.ranks.strategy import Strategy
from ckptload.reading.opening import open_checkpoint
from ckptload.saving import save_checkpoint
from ckptload.tensors.parameter import Parameter
from ckptload.tensors.tensor import Tensor
from places import FIXTURES

if TYPE_CHECKING:
    from collections.abc import Mapping

KEY = bytes(range(16))
#: Stated in fixtures/README.md.
FIXTURE_KEY = b"0123456789abcdef"
asynchronous = pytest.mark.parametrize(
    "async_save",
    [True, "thread", pytest.param("process", marks=pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork"))],
)


def parameter(value: float = 1.0, name: str | None = None) -> Parameter:
    return Parameter(Tensor(np.full(1, value, np.float32)), name=name)


@pytest.fixture
def target(tmp_path: Path) -> str:
    return str(tmp_path / "x.ckpt")


def saved(save_obj: Any, path: str, **how: Any) -> bytes:
    save_checkpoint(save_obj, path, **how)
    saving._saves.wait()
    return Path(path).read_bytes()


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return loaded values as what can be compared."""
    return {
        name: (str(value.dtype), value.shape, value.get_bytes())
        if isinstance(value, Tensor)
        else [(part.dtype, part.tolist()) for part in value]
        if isinstance(value, list)
        else value
        for name, value in values.items()
    }


def test_the_signature_is_mindspores_and_what_is_added_is_given_by_name() -> None:
    found = [
        (name, parameter.default, parameter.kind)
        for name, parameter in inspect.signature(save_checkpoint).parameters.items()
    ]
    either = inspect.Parameter.POSITIONAL_OR_KEYWORD
    assert found == [
        ("save_obj", inspect.Parameter.empty, either),
        ("ckpt_file_name", inspect.Parameter.empty, either),
        ("integrated_save", True, either),
        ("async_save", False, either),
        ("append_dict", None, either),
        ("enc_key", None, either),
        ("enc_mode", "AES-GCM", either),
        ("choice_func", None, either),
        ("crc_check", False, either),
        ("format", "ckpt", either),
        ("mode", None, inspect.Parameter.KEYWORD_ONLY),
        ("strategy", None, inspect.Parameter.KEYWORD_ONLY),
        ("communicator", None, inspect.Parameter.KEYWORD_ONLY),
        ("kwargs", inspect.Parameter.empty, inspect.Parameter.VAR_KEYWORD),
    ]


def test_it_is_exported_where_mindspore_has_it() -> None:
    assert ckptload.save_checkpoint is save_checkpoint
    assert ckptload.train.save_checkpoint is save_checkpoint
    assert ckptload.train.serialization.save_checkpoint is save_checkpoint


# -- bytes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("save_obj", "how", "expected"),
    [
        ({"k": parameter(1.0, "n")}, {}, "0a160a016b121108011207466c6f617433321a040000803f"),
        (
            {"k": parameter()},
            {"crc_check": True},
            "0a160a016b121108011207466c6f617433321a040000803f6372635f6e756d000000000000b84666f7",
        ),
        ({"k": "hello"}, {}, "0a220a016b121d080012037374721a1468000000650000006c0000006c0000006f000000"),
        ({"k": "a\0b\U0001f600"}, {}, "0a1e0a016b1219080012037374721a1061000000000000006200000000f60100"),
        ({"k": ""}, {}, "0a120a016b120d080012037374721a0400000000"),
        (
            [{"name": "q", "data": parameter(1.0, "x")}, {"name": "r", "data": Tensor([2.0])}],
            {},
            "0a160a0171121108011207466c6f617433321a040000803f0a160a0172121108011207466c6f617433321a0400000040",
        ),
        ({}, {}, ""),
        ([], {"crc_check": True}, "6372635f6e756d00000000000000000000"),
        ({"k": parameter()}, {"append_dict": {"k": 5}}, "0a160a016b12111205496e7436341a080500000000000000"),
        # Only an asynchronous save of MindSpore writes a tensor without elements.
        ({"k": np.zeros((0, 3), np.float32)}, {}, "0a140a016b120f080008031207466c6f617433321a00"),
    ],
)
def test_the_bytes_are_those_that_mindspore_2_10_0_wrote(
    target: str, save_obj: Any, how: dict[str, Any], expected: str
) -> None:
    assert saved(save_obj, target, **how).hex() == expected


def test_a_safetensors_file_is_mindspores(tmp_path: Path) -> None:
    path = str(tmp_path / "x.safetensors")
    head = '{"__metadata__":{"format":"ms"},"k":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}   '
    assert saved({"k": parameter()}, path, format="safetensors") == b"X" + bytes(7) + head.encode() + b"\0\0\x80?"


# -- files that come back -----------------------------------------------------------------------------------

EVERYTHING: dict[str, Any] = {
    "w": np.arange(12, dtype=np.float64).reshape(3, 4),
    "half": np.ones((2, 1), np.float16),
    "scalar": np.array(7, np.uint8),
    "empty": np.zeros(0, np.float32),
    "empty.2": np.zeros((2, 0), np.int32),
    "complex": np.ones(2, np.complex64),
    "text": "größe \U0001f600",
    "no text": "",
    "table": [np.arange(3, dtype=np.int64), np.ones((3, 2), np.float32), np.zeros(3, np.int32)],
    "state": b"\1\2\3",
}


def test_every_kind_of_entry_comes_back(target: str) -> None:
    save_checkpoint(EVERYTHING, target)
    found = load_checkpoint(target)
    assert list(found) == list(EVERYTHING)
    for name, value in EVERYTHING.items():
        if isinstance(value, np.ndarray):
            assert found[name].asnumpy().dtype == value.dtype
            assert found[name].shape == value.shape
            assert found[name].get_bytes() == value.tobytes()
        elif isinstance(value, list):
            assert [part.tolist() for part in found[name]] == [part.tolist() for part in value]
        else:
            assert found[name] == value


@asynchronous
def test_asynchronous_saves_write_the_same(target: str, async_save: str | bool) -> None:
    assert saved(EVERYTHING, target, async_save=async_save) == saved(EVERYTHING, target)


def test_what_was_loaded_can_be_saved_as_it_is(target: str) -> None:
    first = saved(EVERYTHING, target)
    assert saved(load_checkpoint(target), target) == first


@pytest.mark.parametrize(
    "name", [path.name for path in sorted(FIXTURES.glob("*.ckpt")) if not path.name.startswith("enc_")]
)
def test_files_of_every_mindspore_come_back_through_a_reader(target: str, name: str) -> None:
    with open_checkpoint(str(FIXTURES / name)) as reader:
        save_checkpoint(reader, target)
        assert plain(load_checkpoint(target)) == plain(reader.load())


def test_an_encrypted_file_is_saved_in_clear_or_under_another_key(target: str) -> None:
    with open_checkpoint(str(FIXTURES / "enc_gcm.ckpt"), dec_key=FIXTURE_KEY) as reader:
        expected = plain(reader.load())
        save_checkpoint(reader, target)
        assert plain(load_checkpoint(target)) == expected
        save_checkpoint(reader, target, enc_key=KEY, enc_mode="SM4-CBC")
        assert plain(load_checkpoint(target, dec_key=KEY, dec_mode="SM4-CBC")) == expected


def test_a_selection_of_a_reader_can_be_saved(target: str) -> None:
    with open_checkpoint(str(FIXTURES / "adam.ckpt")) as reader:
        save_checkpoint(reader.select(choice_func=lambda name: not name.startswith("moment")), target)
        names = [name for name in reader if not name.startswith("moment")]
    assert list(load_checkpoint(target)) == names
    assert names


def test_a_checkpoint_can_be_saved_over_itself(target: str) -> None:
    save_checkpoint(EVERYTHING, target)
    expected = plain(load_checkpoint(target))
    with open_checkpoint(target) as reader:
        save_checkpoint(reader, target, choice_func=lambda name: name != "w", append_dict={"epoch": 3})
    found = plain(load_checkpoint(target))
    assert found.pop("epoch") == ("Int64", (), (3).to_bytes(8, "little"))
    del expected["w"]
    assert found == expected


@pytest.mark.filterwarnings("ignore::ckptload.errors.PartialChecksumWarning")
def test_a_safetensors_file_comes_back(tmp_path: Path) -> None:
    path = str(tmp_path / "x.safetensors")
    tensors = {name: value for name, value in EVERYTHING.items() if isinstance(value, np.ndarray)}
    save_checkpoint(tensors, path, format="safetensors", crc_check=True, append_dict={"step": 3})
    found = load_checkpoint(path, format="safetensors", crc_check=True)
    assert {name: value.get_bytes() for name, value in found.items()} == {
        name: value.tobytes() for name, value in {**tensors, "step": np.array(3)}.items()
    }


@pytest.mark.parametrize("mode", ["AES-GCM", "AES-CBC", "SM4-CBC"])
def test_an_encrypted_file_comes_back_with_its_key_only(target: str, mode: str) -> None:
    content = {name: value for name, value in EVERYTHING.items() if name != "table"}
    data = saved(content, target, enc_key=KEY, enc_mode=mode)
    assert b"scalar" not in data
    assert plain(load_checkpoint(target, dec_key=KEY, dec_mode=mode)) == plain_source(content, target)
    with pytest.raises(DecryptionError):
        load_checkpoint(target, dec_key=bytes(16), dec_mode=mode)


def plain_source(content: dict[str, Any], target: str) -> dict[str, Any]:
    save_checkpoint(content, target + ".plain.ckpt")
    return plain(load_checkpoint(target + ".plain.ckpt"))


# -- asynchronous saves -------------------------------------------------------------------------------------


@asynchronous
def test_values_are_those_at_the_time_of_the_call(target: str, async_save: str | bool) -> None:
    values: dict[str, Any] = {"w": Tensor(np.ones(500_000, np.float32)), "v": np.ones(3, ">f4")}
    expected = saved(values, target)
    save_checkpoint(values, target, async_save=async_save)
    values["w"].asnumpy()[:] = 7
    values["v"][:] = 7
    saving._saves.wait()
    assert Path(target).read_bytes() == expected


@asynchronous
def test_a_reader_may_be_closed_when_the_call_returns(target: str, async_save: str | bool) -> None:
    with open_checkpoint(str(FIXTURES / "adam.ckpt")) as reader:
        save_checkpoint(reader, target, async_save=async_save)
    saving._saves.wait()
    assert Path(target).read_bytes() == (FIXTURES / "adam.ckpt").read_bytes()


@asynchronous
def test_of_several_calls_the_last_counts(target: str, async_save: str | bool) -> None:
    for number in range(5):
        save_checkpoint({"w": np.full(100_000, number)}, target, async_save=async_save)
    save_checkpoint({"w": np.full(3, 99)}, target)
    assert load_checkpoint(target)["w"].asnumpy().tolist() == [99, 99, 99]


@asynchronous
def test_arguments_and_values_are_judged_in_the_call(tmp_path: Path, async_save: str | bool) -> None:
    with pytest.raises(CheckpointError):
        save_checkpoint({"a": parameter(), "b": object()}, str(tmp_path / "x.ckpt"), async_save=async_save)
    with pytest.raises(CheckpointError):
        save_checkpoint({"a": "text"}, str(tmp_path / "x"), async_save=async_save, format="safetensors")
    assert list(tmp_path.iterdir()) == []


@asynchronous
def test_a_failure_of_the_system_is_raised_by_the_next(tmp_path: Path, async_save: str | bool) -> None:
    lost, target = str(tmp_path / "missing" / "x.ckpt"), str(tmp_path / "x.ckpt")
    save_checkpoint({"a": parameter()}, lost, async_save=async_save)
    with pytest.raises(errors.BackgroundSaveError, match="No such file or directory") as caught:
        save_checkpoint({"a": parameter()}, target, async_save=async_save)
    assert caught.value.path == lost
    assert not Path(target).exists()
    assert saved({"a": parameter()}, target, async_save=async_save)


# -- the file -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "kind", "name"),
    [
        ("x.ckpt", "ckpt", "x.ckpt"),
        ("x", "ckpt", "x.ckpt"),
        ("xckpt", "ckpt", "xckpt"),
        ("x.CKPT", "ckpt", "x.CKPT.ckpt"),
        ("x.tmp", "ckpt", "x.tmp.ckpt"),
        ("x.ckpt.1", "ckpt", "x.ckpt.1.ckpt"),
        ("x.safetensors", "ckpt", "x.safetensors.ckpt"),
        ("x", "safetensors", "x.safetensors"),
        ("x.safetensors", "safetensors", "x.safetensors"),
        ("x.ckpt", "safetensors", "x.ckpt.safetensors"),
    ],
)
def test_the_name_is_completed_as_in_mindspore(tmp_path: Path, given: str, kind: str, name: str) -> None:
    save_checkpoint({"k": parameter()}, str(tmp_path / given), format=kind)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("kind", ["ckpt", "safetensors"])
def test_the_file_can_be_read_by_its_owner_only(tmp_path: Path, kind: str) -> None:
    save_checkpoint({"k": parameter()}, tmp_path / "x", format=kind)
    assert stat.S_IMODE((tmp_path / f"x.{kind}").stat().st_mode) == 0o400


@pytest.mark.skipif(os.name != "posix", reason="needs a POSIX system")
@pytest.mark.parametrize(
    "how", [{}, {"async_save": True}, {"async_save": "process"}, {"format": "safetensors"}], ids=repr
)
def test_mode_says_who_may_do_what_with_the_file(tmp_path: Path, how: dict[str, Any]) -> None:
    """The old file's mode does not matter: without the argument, it is MindSpore's again."""
    path = tmp_path / f"x.{how.get('format', 'ckpt')}"
    for mode, expected in ((0o640, 0o640), (0o604, 0o604), (None, 0o400), (0, 0)):
        save_checkpoint({"k": parameter()}, path, mode=mode, **how)
        saving._saves.wait()
        assert stat.S_IMODE(path.stat().st_mode) == expected


@pytest.mark.parametrize(
    ("mode", "kind", "words"),
    [
        (True, ArgumentTypeError, "mode must be an int or None, not True"),
        ("0644", ArgumentTypeError, "mode must be an int or None, not '0644'"),
        (0o644 + 0.0, ArgumentTypeError, "mode must be an int or None, not 420.0"),
        (644, ArgumentError, "between 0 and 0o777, not 0o1204"),
        (0o1000, ArgumentError, "between 0 and 0o777, not 0o1000"),
        (-1, ArgumentError, "between 0 and 0o777, not -0o1"),
    ],
    ids=str,
)
def test_a_mode_is_permission_bits(tmp_path: Path, mode: Any, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words) as caught:
        save_checkpoint({"k": parameter()}, tmp_path / "x.ckpt", mode=mode)
    assert "0o644" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_path_object_is_a_name(tmp_path: Path) -> None:
    save_checkpoint({"k": parameter()}, tmp_path / "x")
    assert (tmp_path / "x.ckpt").exists()


def test_a_relative_name_is_taken_from_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_checkpoint({"k": parameter()}, "x.ckpt", async_save=True)
    monkeypatch.chdir("/")
    saving._saves.wait()
    assert (tmp_path / "x.ckpt").exists()


def test_a_link_is_followed_and_stays(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "x.ckpt"
    link.symlink_to(tmp_path / "real" / "y.ckpt")
    for _ in range(2):
        save_checkpoint({"k": parameter()}, link)
    assert link.is_symlink()
    assert [path.name for path in (tmp_path / "real").iterdir()] == ["y.ckpt"]


def test_integrated_save_and_unknown_arguments_change_nothing(target: str) -> None:
    expected = saved({"k": parameter()}, target)
    how = {"integrated_save": False, "incremental": True, "global_step_num": 3, "remove_redundancy": True, "other": 1}
    assert saved({"k": parameter()}, target, **how) == expected


# -- refusals -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"format": "x"}, ArgumentError),
        ({"format": None}, ArgumentError),
        ({"save_obj": (parameter(),)}, ArgumentTypeError),
        ({"save_obj": None}, ArgumentTypeError),
        ({"save_obj": parameter()}, ArgumentTypeError),
        ({"ckpt_file_name": 5}, ArgumentTypeError),
        ({"ckpt_file_name": b"x.ckpt"}, ArgumentTypeError),
        ({"ckpt_file_name": "a\0b.ckpt"}, ArgumentError),
        ({"ckpt_file_name": ""}, TargetIsFolderError),
        ({"ckpt_file_name": "folder"}, TargetIsFolderError),
        ({"ckpt_file_name": "taken"}, TargetIsFolderError),
        ({"integrated_save": 1}, ArgumentTypeError),
        ({"async_save": 1}, ArgumentTypeError),
        ({"async_save": None}, ArgumentTypeError),
        ({"async_save": "x"}, ArgumentError),
        ({"append_dict": [1]}, ArgumentTypeError),
        ({"append_dict": {"v": None}}, ArgumentTypeError),
        ({"enc_key": "secret"}, ArgumentTypeError),
        ({"enc_key": bytearray(16)}, ArgumentTypeError),
        ({"enc_key": b""}, ArgumentError),
        ({"enc_key": b"secret"}, ArgumentError),
        ({"enc_key": KEY, "enc_mode": "AES-XYZ"}, ArgumentError),
        ({"enc_key": bytes(24), "enc_mode": "SM4-CBC"}, ArgumentError),
        ({"enc_mode": 1}, ArgumentTypeError),
        ({"crc_check": 1}, ArgumentTypeError),
        ({"crc_check": np.bool_(True)}, ArgumentTypeError),
        ({"remove_redundancy": 1}, ArgumentTypeError),
        ({"enc_key": KEY, "crc_check": True}, ArgumentError),
        ({"enc_key": KEY, "save_obj": {"k": parameter(), "m": [np.ones(2)] * 3}}, ArgumentError),
        ({"enc_key": KEY, "format": "safetensors"}, ArgumentError),
        ({"enc_mode": "AES-CBC", "format": "safetensors"}, ArgumentError),
        ({"incremental": True, "format": "safetensors"}, ArgumentError),
        ({"global_step_num": 3, "format": "safetensors"}, ArgumentError),
        ({"save_obj": {"k": "text"}, "format": "safetensors"}, errors.UnsavableTypeError),
        ({"save_obj": {"x" * 1025: parameter()}}, ArgumentError),
    ],
    ids=lambda value: ", ".join(value) if isinstance(value, dict) else "",
)
def test_a_refusal_leaves_everything_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any], expected: type[CheckpointError]
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("folder", "taken.ckpt"):
        (tmp_path / folder).mkdir()
    before = sorted(tmp_path.iterdir())
    with pytest.raises(expected) as caught:
        save_checkpoint(**{"save_obj": {"k": parameter()}, "ckpt_file_name": "x.ckpt", **arguments})
    assert isinstance(caught.value, ValueError)
    assert "secret" not in str(caught.value) + repr(caught.value)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "known"),
    [
        ({"save_obj": (parameter(),)}, TypeError),
        ({"ckpt_file_name": 5}, TypeError),
        ({"ckpt_file_name": "/"}, IsADirectoryError),
        ({"ckpt_file_name": "/nonexistent/x.ckpt"}, FileNotFoundError),
        ({"async_save": 1}, TypeError),
        ({"append_dict": {"v": 2**64}}, RuntimeError),
        ({"choice_func": lambda _: 1 / 0}, ZeroDivisionError),
        ({"choice_func": 5}, TypeError),
    ],
    ids=lambda value: ", ".join(value) if isinstance(value, dict) else "",
)
def test_callers_of_mindspore_know_the_class(arguments: dict[str, Any], known: type[Exception]) -> None:
    with pytest.raises(known):
        save_checkpoint(**{"save_obj": {"k": parameter()}, "ckpt_file_name": "/nonexistent/x.ckpt", **arguments})


def test_a_mode_without_a_key_is_not_looked_at(target: str) -> None:
    assert saved({"k": parameter()}, target, enc_mode="any") == saved({"k": parameter()}, target)


# -- memory -------------------------------------------------------------------------------------------------

MIB = 1 << 20


@pytest.mark.parametrize("how", [{}, {"crc_check": True}, {"format": "safetensors", "crc_check": True}], ids=str)
def test_a_save_needs_little_memory_beyond_the_content(tmp_path: Path, how: dict[str, Any]) -> None:
    values = {f"w{number}": np.ones(8 * MIB, np.uint8) for number in range(4)}
    path = str(tmp_path / "x")
    save_checkpoint({}, path, **how)
    tracemalloc.start()
    try:
        save_checkpoint(values, path, **how)
        assert tracemalloc.get_traced_memory()[1] < 2 * MIB
    finally:
        tracemalloc.stop()


def test_a_reader_is_saved_without_being_in_memory(tmp_path: Path) -> None:
    source, path = str(tmp_path / "source.ckpt"), str(tmp_path / "x.ckpt")
    save_checkpoint({"w": np.ones(64 * MIB, np.uint8)}, source)
    with open_checkpoint(source) as reader:
        list(reader)
        tracemalloc.start()
        try:
            save_checkpoint(reader, path)
            assert tracemalloc.get_traced_memory()[1] < 32 * MIB
        finally:
            tracemalloc.stop()


# -- one rank of several ------------------------------------------------------------------------------------------


def rank(number: int, size: int) -> Any:
    """Return a communicator that knows who it is, and cannot send anything."""
    return SimpleNamespace(rank=number, size=size, all_gather=None.__ne__, broadcast=None.__ne__)


def test_shares_are_dealt_out_among_ranks_that_hold_the_same(tmp_path: Path) -> None:
    half, copy = SliceLayout([2, 2], [0]), SliceLayout([2, 2], [-1])
    strategy = Strategy([{"half.a": half, "half.b": half, "copy": copy, "own": SliceLayout([2, 2], [[1, 0]])}])
    names = ["half.a", "half.b", "copy", "own", "step"]
    held = []
    for number in range(4):
        path = tmp_path / f"of_{number}.ckpt"
        values = {name: np.zeros(2) for name in names}
        how: dict[str, Any] = {"remove_redundancy": True, "strategy": strategy, "communicator": rank(number, 4)}
        save_checkpoint(values, path, append_dict={"epoch": 3}, choice_func=lambda name: name != "half.b", **how)
        held.append(list(load_checkpoint(path)))
    # half.b would be that of ranks 2 and 3; what has no layout is everybody's.
    rest = ["own", "step", "epoch"]
    assert held == [["half.a", "copy", *rest], ["half.a", *rest], rest, rest]


def test_without_a_strategy_each_name_is_saved_by_one_rank(tmp_path: Path) -> None:
    held = []
    for number in range(3):
        path = tmp_path / f"of_{number}.safetensors"
        values = {name: np.zeros(2) for name in "dcba"}
        how: dict[str, Any] = {"remove_redundancy": True, "communicator": rank(number, 3), "format": "safetensors"}
        save_checkpoint(values, path, **how)
        with open_checkpoint(path) as reader:
            held.append(list(reader))
            assert reader.metadata["remove_redundancy"] == "True"
    assert sorted(map(sorted, held)) == [["a", "d"], ["b"], ["c"]]
    assert sorted(held[0]) == ["a", "d"]


def test_a_rank_without_a_share_saves_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "of_1.ckpt"
    save_checkpoint({"a": np.zeros(2)}, path, remove_redundancy=True, communicator=rank(1, 2))
    assert path.read_bytes() == b""


def test_choice_func_is_asked_once_about_each_name(tmp_path: Path) -> None:
    asked: list[str] = []
    save_checkpoint(
        {name: np.zeros(2) for name in "abc"},
        tmp_path / "x.ckpt",
        choice_func=lambda name: asked.append(name) or True,  # type: ignore[func-returns-value]
        remove_redundancy=True,
        communicator=rank(0, 2),
    )
    assert asked == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"communicator": rank(0, 2)}, "with remove_redundancy=True only"),
        (
            {"strategy": Strategy([{"a": SliceLayout([2], [-1])}]), "remove_redundancy": False},
            "with remove_redundancy=True only",
        ),
        ({"strategy": Strategy([{"a": SliceLayout([2], [-1])}]), "remove_redundancy": True}, "which rank this is"),
        (
            {
                "strategy": Strategy([{"a": SliceLayout([2], [-1])}]),
                "remove_redundancy": True,
                "communicator": rank(0, 3),
            },
            "for 2 ranks, and the communicator has 3",
        ),
        ({"communicator": 3, "remove_redundancy": True}, "communicator is int"),
    ],
)
def test_a_share_that_cannot_be_known_is_not_saved(target: str, how: dict[str, Any], words: str) -> None:
    with pytest.raises(CheckpointError, match=words):
        save_checkpoint({"a": np.zeros(2)}, target, **how)
    assert not Path(target).exists()
