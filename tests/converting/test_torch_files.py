"""Files of PyTorch: weights come and go unchanged, nothing in a file runs, and damage is told."""

from __future__ import annotations

import io
import os
import random
import resource
import subprocess
import sys
import zipfile
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import pytest

import ckptload
from ckptload import convert_checkpoint, open_checkpoint, open_torch_file
from ckptload.errors import (
    ArgumentError,
    ChangedFileError,
    CheckpointError,
    ClosedReaderError,
    CorruptCheckpointError,
    LimitError,
    MissingFileError,
    MissingPackageError,
    UnsupportedTypeError,
    WriteError,
    WrongFormatError,
)
from places import FIXTURES

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.torch


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch")


def state(torch: Any) -> dict[str, Any]:
    values = torch.arange(24.0).reshape(2, 3, 4)
    return {
        "layer.weight": values,
        "layer.t": values[0].t(),
        "half": values[1].to(torch.bfloat16),
        "whole": torch.tensor(7),
        "none": torch.zeros(0, 3),
        "part": values[:, 1:, 2],
        "tied": values,
        "flags": torch.tensor([True, False]),
        "complex": torch.tensor([1 + 2j]).conj(),
    }


def saved(torch: Any, path: Path, values: Any, **how: Any) -> Path:
    torch.save(values, path, **how)
    return path


def equal(torch: Any, one: dict[str, Any], other: dict[str, Any]) -> bool:
    return list(one) == list(other) and all(
        one[name].dtype == other[name].dtype and torch.equal(one[name], other[name]) for name in one
    )


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# -- reading --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("given", ["path", "bytes", "file"])
def test_weights_are_read_as_they_are(torch: Any, new: bool, given: str, tmp_path: Path) -> None:
    want = state(torch)
    path = saved(torch, tmp_path / "x.pt", want, _use_new_zipfile_serialization=new)
    source: Any = {"path": path, "bytes": path.read_bytes(), "file": io.BytesIO(path.read_bytes())}[given]
    with open_torch_file(source, parameters="torch") as reader:
        assert reader.format == "torch"
        assert not reader.notes
        found = reader.load()
        assert equal(torch, found, {name: value.resolve_conj() for name, value in want.items()})
        assert reader.get_slice("layer.t")[1:3].tolist() == want["layer.t"][1:3].tolist()
    path.unlink()
    assert found["layer.weight"].sum() == want["layer.weight"].sum()


def test_a_parameter_and_an_ordered_dictionary_are_weights(torch: Any, tmp_path: Path) -> None:
    module = torch.nn.BatchNorm1d(3)
    path = saved(torch, tmp_path / "x.pth", OrderedDict(module.state_dict(keep_vars=True)))
    with open_torch_file(path, parameters="numpy") as reader:
        assert list(reader) == list(module.state_dict())


@pytest.mark.parametrize(
    ("keys", "inside", "left"),
    [
        (["state_dict", "epoch"], "state_dict", "'epoch'"),
        (["ema", "model", "args"], "model", "'ema', 'args'"),
        (["any", "epoch"], "any", "'epoch'"),
    ],
)
def test_the_dictionary_in_a_dictionary_is_taken_and_told(
    torch: Any, keys: list[str], inside: str, left: str, tmp_path: Path
) -> None:
    tensors = {"w": torch.ones(2), "count": 3}
    values = {key: tensors if key in {"state_dict", "ema", "model", "any"} else 3 for key in keys}
    with open_torch_file(saved(torch, tmp_path / "x.pt", values)) as reader:
        assert list(reader) == ["w"]
        assert [note.text for note in reader.notes] == [
            f"the tensors are those of '{inside}' in the file",
            f"these values of the file are left out: 'count', {left}",
        ]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([1, 2], "no dictionary of tensors but a list"),
        ({"a": 1}, "holds no tensors"),
        ({"a": {"w": None}, "b": {"w": None}}, "several dictionaries of tensors: 'a', 'b'"),
    ],
)
def test_a_file_without_a_state_dict_is_refused(torch: Any, values: Any, said: str, tmp_path: Path) -> None:
    if isinstance(values, dict) and "b" in values:
        values = {key: {"w": torch.ones(1)} for key in values}
    with pytest.raises(WrongFormatError, match=said):
        open_torch_file(saved(torch, tmp_path / "x.pt", values))


class Planted:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("new", [True, False])
def test_nothing_in_a_file_runs(torch: Any, new: bool, tmp_path: Path) -> None:
    values = {"w": torch.ones(2), "x": Planted(tmp_path / "planted")}
    path = saved(torch, tmp_path / "x.pt", values, _use_new_zipfile_serialization=new)
    for door in (open_torch_file, open_checkpoint):
        with pytest.raises(WrongFormatError):
            door(path)
    with pytest.raises(WrongFormatError, match=r"more than weights.*mkdir"):
        open_torch_file(path)
    assert not (tmp_path / "planted").exists()


def test_a_whole_module_is_refused(torch: Any, tmp_path: Path) -> None:
    with pytest.raises(WrongFormatError, match=r"torch\.nn\.modules\.linear\.Linear"):
        open_torch_file(saved(torch, tmp_path / "x.pt", torch.nn.Linear(2, 2)))


def test_an_old_torch_is_refused(torch: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(torch, tmp_path / "x.pt", {"w": torch.ones(2)})
    monkeypatch.setattr(torch, "__version__", "2.5.1+cpu")
    with pytest.raises(MissingPackageError, match=r"2\.6 or newer"):
        open_torch_file(path)


@pytest.mark.parametrize("name", ["lenet5.ckpt", "nothing.pt"])
def test_other_files_are_refused(torch: Any, name: str) -> None:
    assert torch
    with pytest.raises(MissingFileError if name == "nothing.pt" else WrongFormatError):
        open_torch_file(FIXTURES / name)


def test_values_that_are_no_plain_tensors_are_listed_and_not_read(torch: Any, tmp_path: Path) -> None:
    path = saved(torch, tmp_path / "x.pt", {"w": torch.ones(2), "s": torch.eye(2).to_sparse()})
    with open_torch_file(path) as reader:
        assert reader.info("s").kind == "unsupported"
        with pytest.raises(UnsupportedTypeError, match="sparse"):
            reader.load()
        assert list(reader.load(["w"])) == ["w"]


def test_a_compressed_archive_is_refused(torch: Any, tmp_path: Path) -> None:
    """Torch would map compressed bytes as weights."""
    path = saved(torch, tmp_path / "x.pt", {"w": torch.ones(1000)})
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "y.pt", "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    with pytest.raises(CorruptCheckpointError, match="compressed"):
        open_torch_file(tmp_path / "y.pt")


def test_limits(torch: Any, tmp_path: Path) -> None:
    path = saved(torch, tmp_path / "x.pt", {"a": torch.ones(2), "b": torch.ones(2)})
    with pytest.raises(LimitError, match="more than 1 tensors"):
        open_torch_file(path, max_records=1)
    with pytest.raises(ArgumentError):
        open_torch_file(path, max_records=0)
    # One element that is told to be very many.
    saved(torch, path, {"a": torch.ones(1).expand(1 << 40)})
    with pytest.raises(LimitError, match="its tensors would have"):
        open_torch_file(path)


def test_a_file_that_changes_is_told(torch: Any, tmp_path: Path) -> None:
    path = saved(torch, tmp_path / "x.pt", {"w": torch.ones(2)})
    with open_torch_file(path) as reader:
        saved(torch, tmp_path / "y.pt", {"w": torch.zeros(3)})
        with path.open("r+b") as file:
            file.write((tmp_path / "y.pt").read_bytes()[:1])
            os.utime(file.fileno(), ns=(1, 1))
        with pytest.raises(ChangedFileError):
            reader.load()
    with pytest.raises(ClosedReaderError):
        reader.load()


# -- damage ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("new", [True, False])
@pytest.mark.filterwarnings("ignore")
def test_damaged_files_give_our_errors_or_values(torch: Any, new: bool, tmp_path: Path) -> None:
    """Cut anywhere, and with bytes changed: torch may find weights in it, and nothing else escapes."""
    whole = saved(torch, tmp_path / "x.pt", state(torch), _use_new_zipfile_serialization=new).read_bytes()
    chance, path = random.Random(4), tmp_path / "y.pt"
    damaged = [whole[: chance.randrange(len(whole))] for _ in range(60)]
    for _ in range(300):
        bad = bytearray(whole)
        for _ in range(chance.choice([1, 1, 2, 5])):
            bad[chance.randrange(len(bad))] = chance.choice([0, 255, chance.randrange(256)])
        damaged.append(bytes(bad))
    refused = 0
    for content in damaged:
        path.write_bytes(content)
        try:
            with open_torch_file(path, parameters="numpy") as reader:
                reader.load(name for name in reader if reader.info(name).kind == "tensor")
        except CheckpointError:
            refused += 1
    assert refused > 60


def test_pickles_that_ask_for_more_than_there_is(torch: Any, tmp_path: Path) -> None:
    """A tensor larger than its storage has no values, and a storage larger than its file is no storage."""
    path = saved(torch, tmp_path / "x.pt", {"w": torch.ones(200)})
    with zipfile.ZipFile(path) as old:
        content = {name: old.read(name) for name in old.namelist()}
    (name,) = (name for name in content if name.endswith("data.pkl"))
    assert content[name].count(b"K\xc8") == 2
    with zipfile.ZipFile(path, "w") as new:
        for each, data in content.items():
            new.writestr(each, data.replace(b"K\xc8", b"J\x00\x00\x00\x10") if each == name else data)
    with pytest.raises(CheckpointError), open_torch_file(path) as reader:
        reader.load()


# -- writing --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["x.pt", "x.pth"])
def test_a_checkpoint_becomes_a_state_dict(torch: Any, name: str, tmp_path: Path) -> None:
    with open_checkpoint(FIXTURES / "lenet5.ckpt", parameters="torch") as reader:
        moves = convert_checkpoint(reader, tmp_path / name)
        want = reader.load()
    assert moves.written == [str(tmp_path / name)]
    found = torch.load(tmp_path / name, weights_only=True)
    assert equal(torch, found, {key: value.detach() for key, value in want.items()})
    assert names_in(tmp_path) == [name]


def test_every_dtype_goes_there_and_back(torch: Any, tmp_path: Path) -> None:
    want = {name: value.resolve_conj().contiguous() for name, value in state(torch).items()}
    path = saved(torch, tmp_path / "x.pt", want)
    with open_torch_file(path) as reader:
        convert_checkpoint(reader, tmp_path / "y.ckpt")
    with open_checkpoint(tmp_path / "y.ckpt") as reader:
        convert_checkpoint(reader, tmp_path / "z.pt")
    assert equal(torch, torch.load(tmp_path / "z.pt", weights_only=True), want)


def test_a_map_and_a_dtype_apply(torch: Any, tmp_path: Path) -> None:
    rules = [{"from": "fc1.weight", "to": "head.weight", "reshape": "... -> ... 1 1"}]
    with open_checkpoint(FIXTURES / "lenet5.ckpt") as reader:
        convert_checkpoint(
            reader,
            tmp_path / "x.pt",
            name_map=ckptload.NameMap(rules),
            dtype=ckptload.bfloat16,
            choice_func="fc1.weight".__eq__,
        )
    (found,) = torch.load(tmp_path / "x.pt", weights_only=True).items()
    assert found[0] == "head.weight"
    assert (found[1].shape, found[1].dtype) == ((120, 400, 1, 1), torch.bfloat16)


@pytest.mark.parametrize("what", ["string", "hifloat8", "sum"])
def test_what_a_state_dict_cannot_hold_is_refused_before_anything_is_written(
    torch: Any, what: str, tmp_path: Path
) -> None:
    assert torch
    name = {"string": "append.ckpt", "hifloat8": "dtypes.ckpt", "sum": "lenet5.ckpt"}[what]
    with open_checkpoint(FIXTURES / name) as reader, pytest.raises(CheckpointError):
        convert_checkpoint(reader, tmp_path / "x.pt", crc_check=what == "sum")
    assert not names_in(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits of a POSIX system")
def test_a_full_disk_leaves_what_was_there(torch: Any, tmp_path: Path) -> None:
    """Torch hides the error of the system behind its own."""
    path = saved(torch, tmp_path / "x.pt", {"w": torch.ones(2)})
    before = path.read_bytes()
    with open_torch_file(saved(torch, tmp_path / "y.pt", {"w": torch.zeros(100_000)})) as reader:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
        try:
            with pytest.raises(WriteError, match="too large"):
                convert_checkpoint(reader, path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    assert names_in(tmp_path) == ["x.pt", "y.pt"]


def test_without_torch_the_error_says_what_to_install(tmp_path: Path) -> None:
    """In a process of its own: a torch that was imported cannot be taken away."""
    code = f"""
import pickle, sys
from ckptload import MissingPackageError, convert_checkpoint, open_checkpoint, open_torch_file
sys.modules["torch"] = None
with open_checkpoint({str(FIXTURES / "lenet5.ckpt")!r}) as reader:
    try:
        convert_checkpoint(reader, {str(tmp_path / "x.pt")!r})
    except MissingPackageError as error:
        print(error.hint)
try:
    open_torch_file(pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2))
except MissingPackageError as error:
    print(error.hint)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.count("extra 'torch'") == 2
    assert not names_in(tmp_path)
