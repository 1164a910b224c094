"""MindSpore's own Parameters, given and taken: every dtype in both directions, every door, every order of imports."""

# mypy: allow-subclassing-any
from __future__ import annotations

import copy
import io
import pickle
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import ckptload
from ckptload import dtypes
from ckptload.errors import ArgumentError, ArgumentTypeError, CheckpointError, UnsupportedTypeError
from ckptload.tensors.parameter import Parameter
from ckptload.tensors.tensor import Tensor

pytest.importorskip("mindspore")

import mindspore
from mindspore import nn
from mindspore.experimental import MapParameter
from mindspore.nn.utils import no_init_parameters

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ckptload.dtypes import DType

pytestmark = [
    pytest.mark.mindspore,
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

#: MindSpore 2.10.0 was built for numpy 1: with numpy 2 it takes arrays of bfloat16 and gives none, for example.
IS_NUMPY_1 = int(np.__version__.partition(".")[0]) < 2
#: What MindSpore's CPU has no kernels for, not even to copy.
NO_KERNELS = (dtypes.bfloat16, dtypes.qint4x2)
#: What MindSpore cannot make of an array, with either numpy.
NEVER = [dtypes.float8_e4m3fn, dtypes.float8_e5m2, dtypes.hifloat8]
#: With numpy 2, MindSpore 2.10.0 holds bfloat16, but does not give it as an array; see the test of its bytes.
HELD = [dtype for dtype in dtypes.ALL if dtype not in NEVER and (IS_NUMPY_1 or dtype is not dtypes.bfloat16)]

each_held = pytest.mark.parametrize("dtype", HELD, ids=str)
each_refused = pytest.mark.parametrize("dtype", NEVER, ids=str)
#: No element, one, few, and more than MindSpore's own constructor is used for.
each_shape = pytest.mark.parametrize("shape", [(), (1,), (0, 3), (2, 3), (300, 301)], ids=str)


def ours(dtype: DType, shape: tuple[int, ...], name: str = "net.weight", *, seed: int = 0) -> Parameter:
    """Return a Parameter of any bytes that its dtype allows."""
    size = int(np.prod(shape, dtype=int)) * dtype.itemsize
    data = np.random.default_rng(seed).integers(0, 2 if dtype is dtypes.bool_ else 256, size, np.uint8)
    return Parameter.adopt(data.view(dtype.numpy).reshape(shape), dtype, name)


def theirs(dtype: DType, shape: tuple[int, ...], name: str = "net.weight", *, seed: int = 0) -> Any:
    """Return the mindspore.Parameter of the same bytes, made by MindSpore alone."""
    return mindspore.Parameter(their_tensor(dtype, shape, seed=seed), name=name)


def their_tensor(dtype: DType, shape: tuple[int, ...], *, seed: int = 0) -> Any:
    array = ours(dtype, shape, seed=seed).asnumpy()
    return mindspore.Tensor(array, mindspore.qint4x2) if dtype is dtypes.qint4x2 else mindspore.Tensor(array)


def described(parameter: Any) -> tuple[Any, ...]:
    """Return what is the same of ckptload's and MindSpore's Parameters."""
    array = parameter.asnumpy()
    return (parameter.name, str(parameter.dtype), tuple(parameter.shape), parameter.requires_grad, array.tobytes())


def address(parameter: Any) -> int:
    return int(parameter.asnumpy().__array_interface__["data"][0])


def is_theirs(value: object) -> bool:
    """Tell whether a value is a mindspore.Parameter of the very class that its constructor makes."""
    return type(value) is type(mindspore.Parameter(mindspore.Tensor(0), name="n"))


def assert_given(parameter: Any, expected: Parameter) -> None:
    """Hold a Parameter that was loaded against what was saved; it owns its memory, and MindSpore can write there."""
    assert is_theirs(parameter)
    assert described(parameter) == described(expected)
    assert parameter.dtype == getattr(mindspore, expected.dtype.attribute)
    array = parameter.asnumpy()
    assert array.flags.writeable
    assert array.flags.c_contiguous
    assert array.flags.aligned
    assert (parameter.sliced, parameter.has_init) == (False, False)


# -- ckptload's to MindSpore's --------------------------------------------------------------------


@each_shape
@each_held
def test_every_dtype_is_given(dtype: DType, shape: tuple[int, ...], tmp_path: Path) -> None:
    saved = {"net.weight": ours(dtype, shape), "other": ours(dtype, shape, "other", seed=1)}
    path = tmp_path / "one.ckpt"
    ckptload.save_checkpoint(saved, path)
    first, second = ckptload.load_checkpoint(path), ckptload.load_checkpoint(path)
    assert first.keys() == saved.keys()
    for name, parameter in first.items():
        assert_given(parameter, saved[name])
        # Each load, and each entry, has memory of its own.
        parameter.asnumpy().fill(0)
        assert_given(second[name], saved[name])


@each_held
def test_every_dtype_is_given_as_mindspore_gives_it(dtype: DType, tmp_path: Path) -> None:
    """MindSpore reads neither complex numbers nor, of bfloat16, anything with numpy 2."""
    path = tmp_path / "one.ckpt"
    mindspore.save_checkpoint({"net.weight": theirs(dtype, (2, 3))}, str(path))
    found = ckptload.load_checkpoint(path)["net.weight"]
    if dtype not in (dtypes.complex64, dtypes.complex128):
        expected = mindspore.load_checkpoint(str(path))["net.weight"]
        assert type(found) is type(expected)
        assert (str(found), repr(found)) == (str(expected), repr(expected))
        if dtype not in NO_KERNELS:
            assert str(found.value()) == str(expected.value())
        assert vars(found).keys() == vars(expected).keys()
    assert described(found) == described(theirs(dtype, (2, 3)))


@each_shape
@each_held
def test_every_dtype_is_worked_with(dtype: DType, shape: tuple[int, ...], tmp_path: Path) -> None:
    """What was loaded is a Parameter that MindSpore copies, sets and takes into a net."""
    path = tmp_path / "one.ckpt"
    ckptload.save_checkpoint({"net.weight": ours(dtype, shape)}, path)
    found = ckptload.load_checkpoint(path)["net.weight"]
    twin = found if dtype in NO_KERNELS else found.clone()
    assert described(twin) == described(ours(dtype, shape))
    net = nn.Cell()
    net.insert_param_to_cell("weight", found)
    assert [p.name for p in net.get_parameters()] == ["net.weight"]
    found.set_data(their_tensor(dtype, shape, seed=5))
    assert described(found) == described(ours(dtype, shape, seed=5))
    assert twin is found or described(twin) == described(ours(dtype, shape))


@each_shape
@each_held
def test_every_dtype_is_converted_in_place_pickled_and_copied(
    dtype: DType, shape: tuple[int, ...], tmp_path: Path
) -> None:
    """As MindSpore's own Parameters are: its converters of checkpoints do the first with bfloat16."""
    path = tmp_path / "one.ckpt"
    ckptload.save_checkpoint({"net.weight": ours(dtype, shape)}, path)
    found = ckptload.load_checkpoint(path)["net.weight"]
    again = pickle.loads(pickle.dumps(found))
    assert again.asnumpy().tobytes() == found.asnumpy().tobytes() == ours(dtype, shape).get_bytes()
    expected = theirs(dtype, shape)
    for parameter in (found, expected):
        parameter.set_dtype(mindspore.float32)
    assert described(found) == described(expected)
    assert described(copy.deepcopy(found)) == described(expected)


@each_held
def test_to_mindspore_gives_every_dtype_and_leaves_what_it_was_given(dtype: DType) -> None:
    given = {"net.weight": ours(dtype, (2, 3)), "large": ours(dtype, (300, 301), "large")}
    given["large"].requires_grad = False
    found = ckptload.to_mindspore({**given, "epoch": "three"})
    assert found.pop("epoch") == "three"
    for name, parameter in found.items():
        assert_given(parameter, given[name])
        parameter.asnumpy().fill(0)
    assert described(given["large"])[-1] == ours(dtype, (300, 301)).get_bytes()


def test_names_are_kept(tmp_path: Path) -> None:
    """Of a net, of an optimizer, and any others; MindSpore strips blanks around them from `name`."""
    names = ["fc.weight", "moments.fc.weight", "a b", "größe", "名", "x" * 1024, "0", ".", "a/b"]
    path = tmp_path / "names.ckpt"
    ckptload.save_checkpoint([{"name": name, "data": ours(dtypes.float32, (2,), name)} for name in names], path)
    found = ckptload.load_checkpoint(path)
    assert list(found) == [parameter.name for parameter in found.values()] == names
    assert [p.name for p in mindspore.load_checkpoint(str(path)).values()] == names


def test_what_is_no_tensor_is_as_mindspore_gives_it(tmp_path: Path) -> None:
    path = tmp_path / "strings.ckpt"
    mindspore.save_checkpoint(
        {"w": theirs(dtypes.float32, (2,), "w")}, str(path), append_dict={"note": "größe", "lr": 0.5, "epoch": 3}
    )
    found, expected = ckptload.load_checkpoint(path), mindspore.load_checkpoint(str(path))
    assert found["note"] == expected["note"] == "größe"
    for name in ("w", "lr", "epoch"):
        assert described(found[name]) == described(expected[name])


# -- MindSpore's to ckptload's --------------------------------------------------------------------


@each_shape
@each_held
def test_every_dtype_is_taken(dtype: DType, shape: tuple[int, ...]) -> None:
    """By the constructors and by all that sets values; each copies."""
    given = theirs(dtype, shape)
    empty = ours(dtype, shape, seed=1)
    assigned, set_to = Tensor(empty), Parameter(empty, name="net.weight")
    taken = [
        Tensor(given),
        Tensor(their_tensor(dtype, shape)),
        Tensor(given, getattr(mindspore, dtype.attribute)),
        Parameter(given, name="net.weight"),
        set_to.set_data(given),
        assigned.assign_value(given),
        Tensor(given).astype(given.dtype),
    ]
    before = given.asnumpy().tobytes()
    for tensor in taken:
        assert (tensor.dtype, tensor.shape, tensor.get_bytes()) == (dtype, shape, before)
        assert tensor.dtype == given.dtype
        tensor.asnumpy().fill(0)
    assert given.asnumpy().tobytes() == before


@each_held
def test_every_dtype_is_loaded_into_cells_of_either(dtype: DType) -> None:
    def net(make: Callable[..., Any], cell: Any) -> Any:
        cell.insert_param_to_cell("weight", make(dtype, (2, 3), "weight", seed=7))
        return cell

    for make in (ours, theirs):
        given = {"weight": make(dtype, (2, 3), "weight")}
        cells = [net(ours, ckptload.Cell()), net(theirs, nn.Cell())]
        for cell in cells:
            assert ckptload.load_param_into_net(cell, given) == ([], [])
            (parameter,) = cell.get_parameters()
            assert described(parameter) == described(given["weight"])
            # The net and the dictionary share no memory.
            parameter.asnumpy().fill(0)
            assert described(given["weight"]) == described(ours(dtype, (2, 3), "weight"))
            assert ckptload.plan_binding(cell, given).misfits == []


@each_held
def test_what_was_loaded_goes_into_a_net_by_mindspores_function(dtype: DType, tmp_path: Path) -> None:
    path = tmp_path / "one.ckpt"
    ckptload.save_checkpoint({"weight": ours(dtype, (2, 3), "weight")}, path)
    net = nn.Cell()
    net.insert_param_to_cell("weight", theirs(dtype, (2, 3), "weight", seed=7))
    assert mindspore.load_param_into_net(net, ckptload.load_checkpoint(path)) == ([], [])
    assert described(net.weight) == described(ours(dtype, (2, 3), "weight"))


@each_held
def test_dictionaries_of_either_are_saved_alike(dtype: DType, tmp_path: Path) -> None:
    written = []
    for make in (ours, theirs):
        values = [make(dtype, (2, 3), "a"), make(dtype, (), "b", seed=1), make(dtype, (300, 301), "c", seed=2)]
        for shape, save_obj in (("dict", {v.name: v for v in values}), ("list", values)):
            path = tmp_path / f"{make.__name__}-{shape}.ckpt"
            ckptload.save_checkpoint(save_obj, path)
            written.append(path.read_bytes())
        path = tmp_path / f"{make.__name__}-records.ckpt"
        ckptload.save_checkpoint([{"name": v.name, "data": v} for v in values], path)
        written.append(path.read_bytes())
    values = [theirs(dtype, (2, 3), "a"), theirs(dtype, (), "b", seed=1), theirs(dtype, (300, 301), "c", seed=2)]
    mindspore.save_checkpoint({v.name: v for v in values}, str(tmp_path / "mindspore.ckpt"))
    assert set(written) == {(tmp_path / "mindspore.ckpt").read_bytes()}


def test_mindspores_values_are_appended_and_renamed(tmp_path: Path) -> None:
    path = tmp_path / "one.ckpt"
    ckptload.save_checkpoint(
        {"renamed": theirs(dtypes.float32, (2,), "w")},
        path,
        append_dict={"step": mindspore.Tensor(3), "rate": theirs(dtypes.float64, (), "r")},
    )
    found = ckptload.load_checkpoint(path, parameters="ckptload")
    assert {name: (p.name, p.dtype) for name, p in found.items()} == {
        "renamed": ("renamed", dtypes.float32),
        "step": ("step", dtypes.int64),
        "rate": ("rate", dtypes.float64),
    }


def test_a_parameter_whose_values_are_not_made_yet_is_made(tmp_path: Path) -> None:
    def lazy() -> Any:
        with no_init_parameters():
            return nn.Dense(3, 2, weight_init="ones").weight

    assert lazy().has_init
    assert Tensor(lazy()).tolist() == [[1.0] * 3] * 2
    ckptload.save_checkpoint({"w": lazy()}, tmp_path / "lazy.ckpt")
    assert ckptload.load_checkpoint(tmp_path / "lazy.ckpt")["w"].asnumpy().tolist() == [[1.0] * 3] * 2


@pytest.mark.skipif(not IS_NUMPY_1, reason="MindSpore 2.10.0 does not compute such views with numpy 2")
def test_views_and_transposed_tensors_are_taken_as_they_look() -> None:
    base = mindspore.Tensor(np.arange(12, dtype=np.float32).reshape(3, 4))
    for view in (base.T, base[1:, ::2], base.transpose(1, 0)[2], base[1][2]):
        assert Tensor(view).asnumpy().tolist() == view.asnumpy().tolist()
        assert Tensor(view).shape == view.shape


def test_flags_are_kept_both_ways(tmp_path: Path) -> None:
    frozen = theirs(dtypes.float32, (2,), "w")
    frozen.requires_grad = False
    assert ckptload.to_mindspore({"w": frozen})["w"].requires_grad is False
    # A file does not say it.
    ckptload.save_checkpoint({"w": frozen}, tmp_path / "w.ckpt")
    assert ckptload.load_checkpoint(tmp_path / "w.ckpt")["w"].requires_grad is True
    assert mindspore.load_checkpoint(str(tmp_path / "w.ckpt"))["w"].requires_grad is True


# -- the doors ------------------------------------------------------------------------------------


@pytest.fixture
def several(tmp_path: Path) -> Path:
    """Return a checkpoint of all that MindSpore can hold."""
    path = tmp_path / "several.ckpt"
    saved: dict[str, Any] = {}
    for number, dtype in enumerate(HELD):
        for shape in ((), (4, 3), (300, 301)):
            name = f"{dtype}.{len(shape)}.{shape[0] if shape else 0}"
            saved[name] = ours(dtype, shape, name, seed=number)
    ckptload.save_checkpoint({**saved, "note": "text"}, path)
    return path


def test_every_door_gives_the_same(several: Path) -> None:
    expected = ckptload.load_checkpoint(several, parameters="ckptload")
    with ckptload.open_checkpoint(several) as reader, ckptload.open_checkpoint(several, mmap=True) as mapped:
        found = [
            ckptload.load_checkpoint(several),
            ckptload.load_checkpoint(io.BytesIO(several.read_bytes())),
            ckptload.load_checkpoint_async(several).result(),
            dict(reader),
            reader.load(),
            dict(reader.select(choice_func=lambda _: True)),
            {name: value if name == "note" else reader.get_tensor(name) for name, value in reader.items()},
            dict(mapped),
            dict(ckptload.open_checkpoint(several.read_bytes())),
        ]
        ours_again = dict(reader.giving("ckptload"))
    for values in found:
        assert values.pop("note") == "text"
        assert list(values) == [name for name in expected if name != "note"]
        for name, parameter in values.items():
            assert_given(parameter, expected[name])
    assert all(isinstance(value, Parameter) for name, value in ours_again.items() if name != "note")


def test_parts_are_mindspores_tensors(several: Path) -> None:
    for mmap in (False, True):
        with ckptload.open_checkpoint(several, mmap=mmap) as reader:
            for dtype in HELD:
                part = reader.get_slice(f"{dtype}.2.300")
                whole = reader.giving("ckptload")[f"{dtype}.2.300"].asnumpy()
                for index in (slice(5, 250), slice(2, 3), 7, (slice(0, 9, 2), 1), (slice(None), slice(3, 5))):
                    found = part[index]
                    assert type(found) is mindspore.Tensor
                    assert str(found.dtype) == str(dtype)
                    assert tuple(found.shape) == whole[index].shape
                    assert found.asnumpy().tobytes() == whole[index].tobytes()
                assert part.flat(3, 9).asnumpy().tobytes() == whole.reshape(-1)[3:9].tobytes()


@pytest.mark.parametrize("mmap", [False, True])
def test_a_file_is_not_changed_by_what_is_written_into_its_parameters(several: Path, mmap: bool) -> None:
    before = several.read_bytes()
    with ckptload.open_checkpoint(several, mmap=mmap) as reader:
        for name in ("Int32.2.300", "Int32.2.4"):
            first = reader[name]
            first.asnumpy().fill(0)
            part = reader.get_slice(name)[1:3]
            part.asnumpy().fill(0)
            assert reader[name].asnumpy().any()
    # They outlive the reader.
    assert not first.asnumpy().any()
    assert several.read_bytes() == before


def test_safetensors_give_them_too(tmp_path: Path) -> None:
    saved = {str(d): ours(d, (4, 3), str(d)) for d in HELD if d.safetensors is not None}
    path = tmp_path / "one.safetensors"
    ckptload.save_checkpoint(saved, path, format="safetensors")
    for values in (
        ckptload.load_checkpoint(path, format="safetensors"),
        ckptload.load_checkpoint_async(path).result(),
        dict(ckptload.open_checkpoint(path)),
    ):
        assert values.keys() == saved.keys()
        for name, parameter in values.items():
            assert_given(parameter, saved[name])


def test_encrypted_files_give_them_too(tmp_path: Path) -> None:
    saved = {str(dtype): ours(dtype, (4, 3), str(dtype)) for dtype in HELD}
    for key, mode in ((b"0123456789abcdef" * 2, "AES-GCM"), (b"0123456789abcdef", "SM4-CBC")):
        path = tmp_path / f"{mode}.ckpt"
        ckptload.save_checkpoint(saved, path, enc_key=key, enc_mode=mode)
        for values in (
            ckptload.load_checkpoint(path, dec_key=key, dec_mode=mode),
            ckptload.load_checkpoint_async(path, dec_key=key, dec_mode=mode).result(),
            dict(ckptload.open_checkpoint(path, dec_key=key, dec_mode=mode)),
        ):
            for name, parameter in values.items():
                assert_given(parameter, saved[name])


def test_many_threads_load_at_the_same_time(several: Path) -> None:
    """By each door, from files and from one reader."""
    expected = {
        name: described(value)
        for name, value in ckptload.load_checkpoint(several, parameters="ckptload").items()
        if name != "note"
    }
    found: list[Any] = []
    with ckptload.open_checkpoint(several) as reader:
        doors: list[Callable[[], Any]] = [
            lambda: ckptload.load_checkpoint(several),
            lambda: dict(reader),
            lambda: ckptload.load_checkpoint_async(several).result(),
        ]
        threads = [threading.Thread(target=lambda door=door: found.append(door())) for door in doors * 4]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(found) == len(threads)
    for values in found:
        assert {name: described(value) for name, value in values.items() if name != "note"} == expected
        assert all(is_theirs(value) for name, value in values.items() if name != "note")


# -- which kind -----------------------------------------------------------------------------------


def test_every_kind_can_be_asked_for_at_every_door(several: Path) -> None:
    torch = pytest.importorskip("torch")
    missing = [d for d in HELD if d.attribute.startswith("uint") and not hasattr(torch, d.attribute)]
    classes = {
        "auto": mindspore.Parameter,
        "mindspore": mindspore.Parameter,
        "ckptload": Parameter,
        "numpy": np.ndarray,
        "torch": torch.Tensor,
    }

    def wanted(name: str) -> bool:
        return not any(name.startswith(f"{dtype}.") for dtype in missing)

    expected = ckptload.load_checkpoint(several, choice_func=wanted, parameters="ckptload")
    parts: list[type] = []
    for kind, cls in classes.items():
        with ckptload.open_checkpoint(several, parameters=kind) as reader:
            doors = [
                ckptload.load_checkpoint(several, choice_func=wanted, parameters=kind),
                ckptload.load_checkpoint_async(several, choice_func=wanted, parameters=kind).result(),
                dict(reader.select(choice_func=wanted)),
            ]
            parts.append(type(reader.get_slice("Float32.2.4")[:2]))
        for values in doors:
            assert list(values) == list(expected)
            assert values.pop("note") == "text"
            for name, value in values.items():
                assert isinstance(value, cls), (kind, name)
                taken = value if kind == "ckptload" else Tensor(value)
                assert taken.shape == expected[name].shape
                assert taken.get_bytes() == expected[name].get_bytes()
    assert parts == [mindspore.Tensor, mindspore.Tensor, Tensor, np.ndarray, torch.Tensor]


@pytest.mark.parametrize("kind", ["MindSpore", "", "tensorflow"])
def test_there_are_no_other_kinds(kind: str, several: Path) -> None:
    for door in (ckptload.load_checkpoint, ckptload.load_checkpoint_async, ckptload.open_checkpoint):
        with pytest.raises(ArgumentError, match=r"mindspore.*ckptload.*numpy.*torch"):
            door(several, parameters=kind)


@each_refused
def test_what_mindspore_cannot_hold_names_the_entry_and_the_way_out(dtype: DType, tmp_path: Path) -> None:
    path = tmp_path / "one.ckpt"
    ckptload.save_checkpoint({"good": ours(dtypes.float32, (2,), "good"), "bad.one": ours(dtype, (2,))}, path)
    with ckptload.open_checkpoint(path) as reader:
        assert is_theirs(reader["good"])
        doors: list[Callable[[], object]] = [
            lambda: ckptload.load_checkpoint(path),
            lambda: ckptload.load_checkpoint_async(path).result(),
            reader.load,
            lambda: reader["bad.one"],
            lambda: reader.get_slice("bad.one"),
            lambda: ckptload.to_mindspore({"bad.one": ours(dtype, (2,))}),
        ]
        for door in doors:
            with pytest.raises(UnsupportedTypeError, match=r"bad\.one.*MindSpore.*(?s:.)*parameters='ckptload'"):
                door()
    # The ways out.
    assert list(ckptload.load_checkpoint(path, choice_func=lambda name: name != "bad.one")) == ["good"]
    left = ckptload.load_checkpoint(path, parameters="ckptload")["bad.one"]
    assert left.get_bytes() == ours(dtype, (2,)).get_bytes()
    assert ckptload.load_checkpoint(path, parameters="numpy")["bad.one"].tobytes() == left.get_bytes()


@each_refused
def test_a_net_is_unchanged_by_what_mindspore_cannot_hold(dtype: DType, tmp_path: Path) -> None:
    path = tmp_path / "one.ckpt"
    ckptload.save_checkpoint(
        {"weight": ours(dtypes.float32, (2,), "weight"), "other": ours(dtype, (2,), "other")}, path
    )
    net = nn.Cell()
    net.insert_param_to_cell("weight", theirs(dtypes.float32, (2,), "weight", seed=7))
    before = described(net.weight)
    with pytest.raises(UnsupportedTypeError):
        ckptload.load_checkpoint(path, net)
    assert described(net.weight) == before
    ckptload.load_checkpoint(path, net, parameters="ckptload")
    assert described(net.weight) == described(ours(dtypes.float32, (2,), "weight"))


def test_a_map_of_mindspore_is_refused_with_the_reason() -> None:
    given = MapParameter(key_dtype=mindspore.int32, value_dtype=mindspore.float32, value_shape=(2,), name="m")
    with pytest.raises(UnsupportedTypeError, match="map"):
        Tensor(given)


# -- the order of imports -------------------------------------------------------------------------


def run(path: Path, code: str) -> str:
    """Run code in a process of its own, with the name of a checkpoint, and return what it prints."""
    start = f"import sys, threading, warnings\nwarnings.simplefilter('ignore')\npath = {str(path)!r}\n"
    done = subprocess.run([sys.executable, "-c", start + code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def single(tmp_path: Path) -> Path:
    """Return a checkpoint of one tensor."""
    path = tmp_path / "single.ckpt"
    ckptload.save_checkpoint({"w": ours(dtypes.float32, (2, 3), "w")}, path)
    return path


KIND = "\ndef kind(value): return 'mindspore' if 'mindspore' in str(type(value).__mro__) else type(value).__module__\n"


def test_mindspore_imported_first(single: Path) -> None:
    code = f"{KIND}import mindspore, ckptload\nprint(kind(ckptload.load_checkpoint(path)['w']))"
    assert run(single, code).split() == ["mindspore"]


def test_mindspore_imported_between_two_loads(single: Path) -> None:
    """Each load, and each reader that is opened, asks anew; a reader stays what it is."""
    code = (
        f"{KIND}import ckptload\n"
        "reader = ckptload.open_checkpoint(path)\n"
        "before = ckptload.load_checkpoint(path)['w']\n"
        "future = ckptload.load_checkpoint_async(path)\n"
        "import mindspore\n"
        "after = ckptload.load_checkpoint(path)['w']\n"
        "print(kind(before), kind(future.result()['w']), kind(reader['w']), kind(after))\n"
        "print(kind(ckptload.open_checkpoint(path)['w']))\n"
        "assert before.get_bytes() == after.asnumpy().tobytes()\n"
        "net = mindspore.nn.Cell(); net.insert_param_to_cell('w', mindspore.Parameter(after.clone(), name='w'))\n"
        "print(ckptload.load_param_into_net(net, {'w': before}), mindspore.load_param_into_net(net, {'w': after}))\n"
    )
    mine = "ckptload.tensors.parameter"
    assert run(single, code).splitlines() == [f"{mine} {mine} {mine} mindspore", "mindspore", "([], []) ([], [])"]


@pytest.mark.parametrize(
    "door", ["load_checkpoint(path)", "load_checkpoint_async(path).result()", "open_checkpoint(path)"]
)
def test_mindspore_is_never_imported_by_a_load(door: str, single: Path) -> None:
    code = (
        f"{KIND}import ckptload\nprint(kind(ckptload.{door}['w']), 'mindspore' in sys.modules, 'torch' in sys.modules)"
    )
    assert run(single, code).split() == ["ckptload.tensors.parameter", "False", "False"]


def test_mindspore_being_imported_by_another_thread(single: Path) -> None:
    """A load meanwhile gives Parameters of one kind or the other, whole; after it, MindSpore's."""
    code = (
        f"{KIND}import ckptload\n"
        "ckptload.load_checkpoint(path)\n"
        "def importing():\n"
        "    import mindspore\n"
        "thread = threading.Thread(target=importing)\n"
        "thread.start()\n"
        "kinds = set()\n"
        "while thread.is_alive():\n"
        "    value = ckptload.load_checkpoint(path)['w']\n"
        "    assert value.asnumpy().shape == (2, 3)\n"
        "    kinds.add(kind(value))\n"
        "assert kinds <= {'mindspore', 'ckptload.tensors.parameter'}, kinds\n"
        "assert 'ckptload.tensors.parameter' in kinds\n"
        "print(kind(ckptload.load_checkpoint(path)['w']))\n"
    )
    assert run(single, code).split() == ["mindspore"]


def test_another_module_under_mindspores_name_does_not_count(single: Path) -> None:
    code = (
        f"{KIND}import ckptload\nsys.modules['mindspore'] = ckptload\nprint(kind(ckptload.load_checkpoint(path)['w']))"
    )
    assert run(single, code).split() == ["ckptload.tensors.parameter"]


# -- memory ---------------------------------------------------------------------------------------

#: The peak of the process itself: what the operating system reports of a child may be its parent's.
PEAK = (
    "import mindspore, ckptload, re\n"
    "def peak():\n"
    "    return int(re.search(r'VmHWM:\\s*(\\d+) kB', open('/proc/self/status').read())[1]) << 10\n"
    "before = peak()\n"
    "values = {door}\n"
    "print(len(values), peak() - before)\n"
)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
@pytest.mark.parametrize(("count", "each"), [(4, 64 << 20), (256, 1 << 20), (4096, 64 << 10)])
@pytest.mark.parametrize("door", ["ckptload.load_checkpoint(path)", "dict(ckptload.open_checkpoint(path))"])
def test_no_second_copy_is_held(count: int, each: int, door: str, tmp_path: Path) -> None:
    path = tmp_path / "large.ckpt"
    tensor = Tensor(np.ones(each // 4, np.float32))
    ckptload.save_checkpoint([{"name": f"w{number}", "data": tensor} for number in range(count)], path)
    found, peak = map(int, run(path, PEAK.format(door=door)).split())
    assert found == count
    assert peak < count * each + (150 << 20)


# -- comparisons and operators --------------------------------------------------------------------


@pytest.mark.parametrize("dtype", dtypes.ALL, ids=str)
def test_dtypes_equal_those_of_the_frameworks(dtype: DType) -> None:
    """As far as ckptload is asked; MindSpore's dtypes answer first."""
    other = dtypes.float64 if dtype is dtypes.float32 else dtypes.float32
    torch = sys.modules.get("torch")
    counterparts = [getattr(mindspore, dtype.attribute, None), getattr(torch, dtype.attribute, None)]
    if dtype not in (dtypes.qint4x2, dtypes.hifloat8):
        counterparts += [dtype.numpy, dtype.numpy.type]
    for counterpart in counterparts:
        if counterpart is not None:
            assert dtype == counterpart
            assert not dtype != counterpart  # noqa: SIM202 -- the operator is what is tested
            assert other != counterpart
            assert not other == counterpart  # noqa: SIM201 -- likewise


@each_held
def test_dtypes_of_mindspore_are_taken(dtype: DType) -> None:
    theirs_ = getattr(mindspore, dtype.attribute)
    assert Tensor([0, 1], theirs_).dtype is dtype
    assert Tensor([0, 1]).astype(theirs_).dtype is dtype
    assert Tensor([0, 1]).to(theirs_).dtype is dtype
    assert Tensor(shape=(2,), dtype=theirs_).dtype is dtype


OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "@": lambda a, b: a @ b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}
LEFT = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
RIGHT = np.array([[2.0, 2.0], [1.0, 4.0]], np.float32)


def operands() -> dict[str, Any]:
    """Return the same values as every framework holds them."""
    found = {
        "mindspore.Tensor": mindspore.Tensor(RIGHT),
        "mindspore.Parameter": mindspore.Parameter(mindspore.Tensor(RIGHT), name="r"),
        "numpy": RIGHT,
    }
    if "torch" in sys.modules:
        found["torch"] = sys.modules["torch"].from_numpy(RIGHT.copy())
    return found


@pytest.mark.parametrize("sign", OPERATIONS)
def test_operators_take_every_frameworks_operands(sign: str) -> None:
    pytest.importorskip("torch")
    operate = OPERATIONS[sign]
    expected = operate(Tensor(LEFT), Tensor(RIGHT))
    for name, operand in operands().items():
        for own in (Tensor(LEFT), Parameter(LEFT, name="l")):
            found = operate(own, operand)
            assert type(found) is Tensor, name
            assert found.dtype is expected.dtype, name
            assert found.tolist() == expected.tolist(), name


@pytest.mark.skipif(not IS_NUMPY_1, reason="the first operation that MindSpore 2.10.0 refuses fails with numpy 2")
@pytest.mark.parametrize("sign", OPERATIONS)
def test_an_operator_that_another_framework_answers_is_right_or_raises(sign: str) -> None:
    """But for == and !=, which MindSpore answers with one False or True for what it does not know."""
    pytest.importorskip("torch")
    operate = OPERATIONS[sign]
    expected = operate(Tensor(RIGHT), Tensor(LEFT))
    for name, operand in operands().items():
        try:
            found = operate(operand, Tensor(LEFT))
        except TypeError:
            continue
        if name.startswith("mindspore"):
            assert found is (sign == "!=")
        else:
            assert np.asarray(found).tolist() == expected.tolist(), name


def test_values_are_set_from_every_frameworks_tensors() -> None:
    pytest.importorskip("torch")
    for operand in operands().values():
        tensor = Tensor(LEFT)
        tensor[0] = operand[1]
        assert tensor.tolist() == [[1.0, 4.0], [3.0, 4.0]]
        parameter = Parameter(LEFT.astype(np.float16), name="p")
        parameter.set_data(operand)
        assert parameter.dtype is dtypes.float16
        assert parameter.tolist() == RIGHT.tolist()
        parameter.data = operand
        assert parameter.dtype is dtypes.float32
        assert parameter.tolist() == RIGHT.tolist()
        parameter.asnumpy().fill(0)
    assert all(np.asarray(operand).tolist() == RIGHT.tolist() for operand in (RIGHT, *operands().values()))


@pytest.mark.parametrize("value", [mindspore.float32, mindspore, mindspore.Tensor, nn.Cell()], ids=str)
def test_what_holds_no_values_is_refused_by_our_errors(value: object) -> None:
    tensor = Tensor(LEFT)
    for call in (Tensor, lambda v: Parameter(v, name="p"), tensor.assign_value, lambda v: tensor + v):
        with pytest.raises(CheckpointError):
            call(value)


def test_messages_name_the_module_of_a_class() -> None:
    for value, name in (
        (mindspore.Parameter(mindspore.Tensor(1.0)), "mindspore.Parameter"),
        (mindspore.Tensor(1.0), "mindspore.Tensor"),
        (mindspore.nn.Dense(1, 1), "mindspore.nn.Dense"),
    ):
        with pytest.raises(ArgumentTypeError, match=f"not {name}"):
            ckptload.load_checkpoint("x.ckpt", specify_prefix=value)


def test_a_parameter_from_a_mapped_file_does_not_change_with_it(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    ckptload.save_checkpoint({"a": np.zeros(100_000, np.float32)}, path, format="safetensors", mode=0o600)
    with ckptload.open_checkpoint(path, mmap=True) as reader:
        parameters, at = [reader["a"], ckptload.to_mindspore(reader)["a"]], reader.info("a").offset
    with path.open("r+b") as file:
        file.seek(at)
        file.write(np.ones(100_000, np.float32).tobytes())
    assert [float(parameter.asnumpy().max()) for parameter in parameters] == [0.0, 0.0]


def test_a_name_that_mindspore_refuses_is_the_key_alone(tmp_path: Path) -> None:
    """As in MindSpore's own load of a safetensors file."""
    from safetensors.numpy import save_file

    path = tmp_path / "x.safetensors"
    save_file({"x" * 1025: np.ones(2, np.float32)}, path)
    (name, parameter), *others = ckptload.load_checkpoint(path, format="safetensors").items()
    assert not others
    assert name == "x" * 1025
    assert parameter.name.startswith("Parameter")


def test_a_number_takes_the_dtype_of_mindspores_tensor_beside_it() -> None:
    half = mindspore.Tensor([1.0], mindspore.float16)
    assert ckptload.ops.mul(0.5, half).dtype == mindspore.float16
    assert ckptload.ops.where(mindspore.Tensor([True]), 0.5, half).dtype == mindspore.float16
    assert ckptload.ops.gather(half, mindspore.Tensor([0, 0]), 0).shape == (2,)
    assert Tensor([1.0, 2.0])[mindspore.Tensor([1])].tolist() == [2.0]


def test_mindspores_parameter_becomes_one_of_our_cell() -> None:
    cell = ckptload.Cell()
    cell.w = mindspore.Parameter(mindspore.Tensor([1.0]), name="w")
    assert [parameter.name for parameter in cell.get_parameters()] == ["w"]
    with pytest.raises(ArgumentTypeError, match=r"mindspore\.nn\.Dense"):
        cell.d = nn.Dense(1, 1)


def test_a_tensor_without_a_shape_is_refused() -> None:
    with pytest.raises(UnsupportedTypeError):
        Tensor(mindspore.Tensor(shape=[None, 2], dtype=mindspore.float32))


@each_shape
def test_bfloat16_goes_through_mindspore_with_either_numpy(shape: tuple[int, ...], tmp_path: Path) -> None:
    """Its bytes are compared, which MindSpore gives with numpy 2, too."""
    value = ours(dtypes.bfloat16, shape, "w")
    ckptload.save_checkpoint({"w": value}, tmp_path / "x.ckpt")
    loaded = ckptload.load_checkpoint(tmp_path / "x.ckpt")["w"]
    assert isinstance(loaded, mindspore.Parameter)
    assert (loaded.name, loaded.dtype, loaded.shape) == ("w", mindspore.bfloat16, shape)
    assert loaded.get_bytes() == value.get_bytes()
    ckptload.save_checkpoint({"w": loaded}, tmp_path / "again.ckpt")
    assert (tmp_path / "again.ckpt").read_bytes() == (tmp_path / "x.ckpt").read_bytes()
    net = nn.Cell()
    net.w = ckptload.to_mindspore({"w": Parameter(np.zeros(shape, dtypes.bfloat16.numpy), name="w")})["w"]
    ckptload.load_param_into_net(net, {"w": loaded})
    assert net.w.get_bytes() == value.get_bytes()
