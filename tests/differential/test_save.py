"""save_checkpoint against MindSpore 2.10.0: the same input gives the same bytes, and each opens the other's files."""

from __future__ import annotations

import json
import multiprocessing
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from ckptload import dtypes, saving
from ckptload.errors import CheckpointError
from ckptload.formats.ckpt import encoding
from ckptload.formats.safetensors import checksum
from ckptload.loading import load_checkpoint
from ckptload.tensors.parameter import Parameter
from ckptload.tensors.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

mindspore = pytest.importorskip("mindspore")
serialization = pytest.importorskip("mindspore.train.serialization")

pytestmark = [
    pytest.mark.mindspore,
    # MindSpore looks for its own threads by a deprecated method, and forks beside them.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

several = settings(max_examples=40)

#: The types that numpy has; the others are made from bytes below.
NUMPY = ["bool", "i1", "u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f2", "<f4", "<f8", "<c8", "<c16"]
KEY = bytes(range(16))

# MindSpore takes names of any kind, but strips blanks from those of parameters; here they are keys.
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
shapes = npst.array_shapes(min_dims=0, max_dims=4, min_side=1, max_side=4)
arrays = st.sampled_from(NUMPY).flatmap(lambda kind: npst.arrays(kind, shapes))
texts = st.text(max_size=12)
numbers = st.one_of(
    st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(width=32), st.floats(), st.floats().map(np.float64)
)


@st.composite
def contents(draw: st.DrawFn) -> dict[str, Any]:
    """Names and arrays or strings: what a dictionary to be saved may hold."""
    return draw(st.dictionaries(names, st.one_of(arrays, texts), max_size=6))


def both(folder: Path, content: Any, *, ending: str = "ckpt", **how: Any) -> tuple[bytes, bytes]:
    """Save with MindSpore and with ckptload, and return the bytes of both."""
    theirs, ours = folder / f"theirs.{ending}", folder / f"ours.{ending}"
    mindspore.save_checkpoint(as_mindspores(content), str(theirs), **with_tensors(how, as_mindspores))
    saving.save_checkpoint(content, str(ours), **how)
    serialization._async_save_close()
    for child in multiprocessing.active_children():
        child.join()
    saving._saves.wait()
    return theirs.read_bytes(), ours.read_bytes()


def as_mindspores(value: Any) -> Any:
    """Turn ckptload's parameters and tensors into MindSpore's, at any depth."""
    if isinstance(value, dict):
        return {name: as_mindspores(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [as_mindspores(entry) for entry in value]
    if isinstance(value, Parameter):
        return mindspore.Parameter(as_mindspores(value.data), name=value.name)
    if isinstance(value, Tensor):
        return mindspore.Tensor(value.asnumpy())
    return value


def with_tensors(how: dict[str, Any], turn: Callable[[Any], Any]) -> dict[str, Any]:
    return {name: turn(value) if name == "append_dict" else value for name, value in how.items()}


# -- equal bytes --------------------------------------------------------------------------------------------


@several
@given(contents(), st.dictionaries(names, st.one_of(numbers, texts), max_size=4), st.booleans())
def test_a_dictionary_gives_the_same_bytes(
    tmp_path: Path, content: dict[str, Any], append_dict: dict[str, Any], crc_check: bool
) -> None:
    theirs, ours = both(tmp_path, content, append_dict=append_dict, crc_check=crc_check)
    assert ours == theirs


@several
@given(st.dictionaries(names, numbers, max_size=4))
def test_numbers_in_a_dictionary_are_stored_as_mindspore_appends_them(tmp_path: Path, found: dict[str, Any]) -> None:
    """MindSpore itself drops them from a dictionary without a word."""
    theirs, ours = tmp_path / "theirs.ckpt", tmp_path / "ours.ckpt"
    mindspore.save_checkpoint({}, str(theirs), append_dict=found)
    saving.save_checkpoint(found, ours)
    assert ours.read_bytes() == theirs.read_bytes()


@pytest.mark.filterwarnings("ignore:.*given to several parameters")
@several
@given(st.lists(st.tuples(st.sampled_from("abcd"), arrays), max_size=6))
def test_lists_give_the_same_bytes(tmp_path: Path, entries: list[tuple[str, Any]]) -> None:
    """Names that come twice included."""
    parameters = [Parameter(Tensor(array), name=name) for name, array in entries]
    theirs, ours = both(tmp_path, parameters)
    assert ours == theirs
    theirs, ours = both(tmp_path, [{"name": name, "data": Tensor(array)} for name, array in entries])
    assert ours == theirs


@settings(max_examples=15)
@given(contents(), st.sampled_from([True, "thread", "process"]), st.booleans())
def test_asynchronous_saves_give_the_same_bytes(
    tmp_path: Path, content: dict[str, Any], async_save: bool | str, crc_check: bool
) -> None:
    theirs, ours = both(tmp_path, content, async_save=async_save, crc_check=crc_check)
    assert ours == theirs


@several
@given(
    st.dictionaries(names.filter(lambda name: name != "__metadata__"), arrays, min_size=1, max_size=6),
    st.booleans(),
    st.sampled_from([None, True, False]),
)
def test_a_safetensors_file_is_the_same_apart_from_the_order_of_its_metadata(
    tmp_path: Path, content: dict[str, Any], crc_check: bool, remove_redundancy: bool | None
) -> None:
    """The library shuffles the metadata.

    MindSpore cannot sum a negative integer of shape (), and takes as many bytes of memory as a positive one says.
    """
    content = {
        name: np.asarray(value % 1000) if value.dtype.kind in "iu" and not value.shape else value
        for name, value in content.items()
        if value.dtype != np.complex128
    }
    how = {"format": "safetensors", "crc_check": crc_check, "remove_redundancy": remove_redundancy}
    theirs, ours = both(tmp_path, content, ending="safetensors", **how)
    size = 8 + int.from_bytes(theirs[:8], "little")
    assert (ours[:8], ours[size:]) == (theirs[:8], theirs[size:])
    heads = [json.loads(data[8:size], object_pairs_hook=list) for data in (ours, theirs)]
    for head in heads:
        if head:
            assert head[0][0] == "__metadata__"
            head[0] = ("__metadata__", sorted(head[0][1]))
    assert heads[0] == heads[1]


@pytest.mark.parametrize("dtype", [dtypes.bfloat16, dtypes.qint4x2], ids=str)
@pytest.mark.parametrize("ending", ["ckpt", "safetensors"])
def test_types_without_numpys_help(tmp_path: Path, dtype: dtypes.DType, ending: str) -> None:
    theirs, ours = tmp_path / f"theirs.{ending}", tmp_path / f"ours.{ending}"
    tensor = mindspore.Tensor([0, 1, 2, 3], getattr(mindspore, dtype.attribute))
    mindspore.save_checkpoint({"w": mindspore.Parameter(tensor, name="w")}, str(theirs), format=ending)
    saving.save_checkpoint({"w": Tensor.adopt(np.arange(4).astype(dtype.numpy), dtype)}, str(ours), format=ending)
    if ending == "ckpt":
        assert ours.read_bytes() == theirs.read_bytes()
        return
    assert header(ours.read_bytes()) == header(theirs.read_bytes())
    assert ours.read_bytes()[-8:] == theirs.read_bytes()[-8:]


def header(data: bytes) -> Any:
    return json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])


class Net(mindspore.nn.Cell):  # type: ignore[name-defined,misc]
    def __init__(self) -> None:
        super().__init__()
        self.fc = mindspore.nn.Dense(3, 2)
        self.scale = mindspore.Parameter(mindspore.Tensor(np.ones(2, np.float32)), name="own_name")


def test_a_net_gives_the_bytes_of_its_parameters(tmp_path: Path) -> None:
    net = Net()
    content = {parameter.name: parameter.asnumpy() for parameter in net.get_parameters()}
    mindspore.save_checkpoint(net, str(tmp_path / "theirs.ckpt"))
    saving.save_checkpoint(content, str(tmp_path / "ours.ckpt"))
    assert (tmp_path / "ours.ckpt").read_bytes() == (tmp_path / "theirs.ckpt").read_bytes()


@pytest.mark.parametrize("async_save", [False, True], ids=["in steps", "by rows"])
def test_slices_are_cut_at_the_same_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, async_save: bool) -> None:
    """With the limit lowered to 1 KiB on both sides."""
    monkeypatch.setattr(serialization, "SLICE_SIZE", 1)
    ckpt: Any = encoding.ckpt
    monkeypatch.setattr(saving, "ckpt", lambda items, **how: ckpt(items, slice_size=1024, **how))
    shapes = [(1023,), (1024,), (1025,), (5000,), (3, 500), (700, 3), (2, 3, 400), (1, 3000)]
    content = {
        f"{kind} {shape}": np.arange(np.prod(shape)).astype(kind).reshape(shape)
        for shape in shapes
        for kind in ("i1", "<f4", "<f8")
    }
    theirs, ours = both(tmp_path, content, async_save=async_save, crc_check=True)
    assert ours == theirs


def test_tensors_without_elements_are_what_an_asynchronous_save_writes(tmp_path: Path) -> None:
    """MindSpore's own synchronous saves lose them."""
    content = {"e": np.zeros(0, np.float32), "f": np.zeros((0, 3), np.int8), "w": np.ones(2)}
    theirs, ours = both(tmp_path, content, async_save=True)
    assert ours == theirs
    saving.save_checkpoint(content, str(tmp_path / "x.ckpt"))
    assert (tmp_path / "x.ckpt").read_bytes() == theirs


@pytest.mark.parametrize("value", [0, 1, 3, 1000, 12_345_678], ids=str)
@pytest.mark.parametrize("kind", [np.int64, np.uint32, np.int32])
@pytest.mark.filterwarnings("ignore::ckptload.errors.PartialChecksumWarning")
def test_the_sum_of_a_single_integer_is_mindspores(tmp_path: Path, value: int, kind: type[np.generic]) -> None:
    """It sums as many zeros as the integer says; tests/formats/safetensors/test_checksum.py says why."""
    content = {"w": np.ones(3, np.float32), "step": np.array(value, kind)}
    theirs, ours = both(tmp_path, content, ending="safetensors", format="safetensors", crc_check=True)
    assert header(ours) == header(theirs)
    assert checksum.KEY in header(ours)["__metadata__"]
    mindspore.load_checkpoint(str(tmp_path / "ours.safetensors"), format="safetensors", crc_check=True)
    load_checkpoint(str(tmp_path / "theirs.safetensors"), format="safetensors", crc_check=True)


# -- each opens the other's ---------------------------------------------------------------------------------


def comparable(found: dict[str, Any]) -> list[tuple[str, Any]]:
    """Return entries in order, by what both libraries' values have in common."""
    return [
        (name, value if isinstance(value, str) else (str(value.dtype), tuple(value.shape), value.get_bytes()))
        for name, value in found.items()
    ]


@pytest.mark.parametrize(
    ("mode", "key"),
    [("AES-GCM", bytes(16)), ("AES-GCM", bytes(24)), ("AES-GCM", bytes(32)), ("AES-CBC", KEY), ("SM4-CBC", KEY)],
    ids=lambda value: value if isinstance(value, str) else f"{8 * len(value)} bits",
)
def test_encrypted_files_open_on_the_other_side(tmp_path: Path, mode: str, key: bytes) -> None:
    content = {"w": np.arange(5000, dtype=np.float32), "note": "größe", "flag": np.array(True)}
    both(tmp_path, content, enc_key=key, enc_mode=mode, append_dict={"epoch": 3})
    paths = [str(tmp_path / name) for name in ("ours.ckpt", "theirs.ckpt")]
    found = [
        comparable(load(path, dec_key=key, dec_mode=mode))
        for path in paths
        for load in (mindspore.load_checkpoint, load_checkpoint)
    ]
    assert [name for name, _ in found[0]] == ["w", "note", "flag", "epoch"]
    assert found.count(found[0]) == 4


@several
@given(contents().filter(bool))
def test_plain_files_open_on_the_other_side(tmp_path: Path, content: dict[str, Any]) -> None:
    """MindSpore cannot load complex numbers, and cuts NULs and blanks that we keep."""
    content = {
        f"p.{number}": value
        for number, value in enumerate(content.values())
        if isinstance(value, str) or value.dtype.kind != "c"
    }
    if not content:
        return
    both(tmp_path, content, crc_check=True)
    paths = [str(tmp_path / name) for name in ("ours.ckpt", "theirs.ckpt")]
    found = [
        comparable(load(path, crc_check=True))
        for path in paths
        for load in (mindspore.load_checkpoint, load_checkpoint)
    ]
    assert found.count(found[0]) == 4


@pytest.mark.parametrize("dtype", [dtypes.int32, dtypes.float32, dtypes.float16, dtypes.float64], ids=str)
def test_maps_open_in_mindspore(tmp_path: Path, dtype: dtypes.DType) -> None:
    """It knows four types; its own writer does not sum map records, and its reader does."""
    parts = [np.arange(3, dtype=np.int32), np.ones((3, 2), dtype.numpy), np.zeros(3, np.int32)]
    path = str(tmp_path / "x.ckpt")
    saving.save_checkpoint({"m": parts, "w": np.ones(2)}, path, crc_check=True)
    found = mindspore.load_checkpoint(path, crc_check=True)
    assert [(part.dtype, part.tolist()) for part in found["m"]] == [(part.dtype, part.tolist()) for part in parts]


# -- equal refusals -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        {"format": "x"},
        {"save_obj": None},
        {"save_obj": [1]},
        {"save_obj": [{"name": 1}]},
        {"save_obj": [{"name": 1, "data": 1}]},
        {"save_obj": {1: "text"}},
        {"save_obj": {"k": np.zeros(1, object)}},
        {"save_obj": {"a\ud800": np.ones(1)}},
        {"ckpt_file_name": 5},
        {"ckpt_file_name": ""},
        {"ckpt_file_name": "a\0b.ckpt"},
        {"ckpt_file_name": "/nonexistent/x.ckpt"},
        {"ckpt_file_name": "/etc/passwd/x.ckpt"},
        {"integrated_save": 1},
        {"async_save": 1},
        {"async_save": None},
        {"async_save": "x"},
        {"append_dict": [1]},
        {"append_dict": {1: 1}},
        {"append_dict": {"v": None}},
        {"append_dict": {"v": 2**64}},
        {"append_dict": {"v": -(2**63) - 1}},
        {"enc_key": "text"},
        {"enc_key": b"short"},
        {"enc_key": KEY, "enc_mode": "x"},
        {"enc_key": bytes(24), "enc_mode": "SM4-CBC"},
        {"enc_mode": 1},
        {"crc_check": 1},
        {"remove_redundancy": 1},
        {"format": "safetensors", "enc_key": KEY},
        {"format": "safetensors", "enc_mode": "AES-CBC"},
        {"format": "safetensors", "incremental": True},
        {"format": "safetensors", "global_step_num": 1},
        {"format": "safetensors", "save_obj": {"k": "text"}},
        {"format": "safetensors", "save_obj": {"k": np.ones(1, np.complex128)}},
        {"choice_func": lambda _: 1 / 0},
        {"choice_func": 5},
    ],
    ids=lambda arguments: ", ".join(f"{name} {str(value)[:20]}" for name, value in arguments.items()),
)
def test_what_mindspore_refuses_is_refused_with_a_class_its_callers_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    given = {"save_obj": {"k": np.ones(1, np.float32)}, "ckpt_file_name": "x.ckpt", **arguments}
    with pytest.raises(Exception) as theirs:  # noqa: PT011 -- whatever it raises
        mindspore.save_checkpoint(**given)
    with pytest.raises(theirs.type) as ours:
        saving.save_checkpoint(**given)
    if "choice_func" not in arguments:
        assert isinstance(ours.value, CheckpointError)
