"""What is said about a folder, a missing file, and a name that does not fit the format."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from ckptload import (
    ckpt_to_safetensors,
    load_checkpoint,
    load_checkpoint_async,
    open_checkpoint,
    safetensors_to_ckpt,
    to_npz,
)
from ckptload.errors import ArgumentError, CheckpointError, MissingFileError, ReadError, WrongFormatError
from places import FIXTURES
from strategies import floats

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DATA = floats("w", 1.0)
SAFETENSORS = (FIXTURES / "crc.safetensors").read_bytes()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder whose path has no links."""
    return tmp_path.resolve()


def fill(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(DATA)


def raised(error: type[CheckpointError], door: Callable[..., Any], *arguments: Any, **options: Any) -> str:
    """Return the hint of the error, which must be of this class exactly."""
    with pytest.raises(CheckpointError) as caught:
        door(*arguments, **options)
    assert type(caught.value) is error, caught.value
    return caught.value.hint or ""


DOORS: list[Callable[[Any], object]] = [
    load_checkpoint,
    open_checkpoint,
    lambda path: load_checkpoint_async(path).result(),
]


# -- folders -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", ["model", "ckpt", "model.ckpt"])
def test_a_folder_says_which_checkpoints_are_in_it(folder: Path, door: Callable[[Any], object], name: str) -> None:
    """Up to three of them, by the path to give."""
    place = folder / name
    fill(place, "a.ckpt", "b.safetensors", "notes.txt")
    assert (
        raised(ReadError, door, place)
        == f"name a file in it: {str(place / 'a.ckpt')!r} or {str(place / 'b.safetensors')!r}"
    )
    fill(place, "c.ckpt", "d.ckpt", "e.ckpt")
    hint = raised(ReadError, door, place)
    assert hint.endswith("or one of 2 more")
    assert hint.count("ckpt'") == 3


def test_an_index_comes_first(folder: Path) -> None:
    fill(folder, "model-00001-of-00001.safetensors", "model.safetensors.index.json")
    assert f"{str(folder / 'model.safetensors.index.json')!r} or" in raised(ReadError, open_checkpoint, folder)


def test_the_checkpoints_may_be_one_folder_further(folder: Path) -> None:
    fill(folder, "rank_0/net.ckpt", "rank_1/net.ckpt", "log.txt")
    hint = raised(ReadError, open_checkpoint, folder)
    assert repr(str(folder / "rank_0" / "net.ckpt")) in hint
    assert repr(str(folder / "rank_1" / "net.ckpt")) in hint


def test_a_folder_without_checkpoints_says_so(folder: Path) -> None:
    fill(folder, "notes.txt")
    assert raised(ReadError, open_checkpoint, folder) == "name a file in it; it has no .ckpt or .safetensors file"
    fill(folder, "saved_model.pb")
    assert "a TensorFlow SavedModel" in raised(ReadError, open_checkpoint, folder)


# -- missing files -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("there", ["model.ckpt", "model.safetensors", "model.safetensors.index.json"])
def test_a_missing_suffix_is_named(folder: Path, door: Callable[[Any], object], there: str) -> None:
    fill(folder, there, "other.ckpt")
    error = MissingFileError if door is open_checkpoint else ArgumentError
    assert raised(error, door, folder / "model") == f"did you mean {str(folder / there)!r}?"


@pytest.mark.parametrize("door", [ckpt_to_safetensors, safetensors_to_ckpt])
def test_the_converters_name_what_is_there_too(folder: Path, door: Callable[[Any], object]) -> None:
    fill(folder, "model.ckpt", "tf.index")
    assert raised(MissingFileError, door, folder / "model") == f"did you mean {str(folder / 'model.ckpt')!r}?"
    assert "TensorFlow" in raised(WrongFormatError, door, folder / "tf")
    assert "~" in raised(MissingFileError, door, folder / "nothing" / "alike")


def test_no_path_at_all_resembles_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(folder, "a.ckpt")
    monkeypatch.chdir(folder)
    assert "did you mean" not in raised(ReadError, open_checkpoint, "")


def test_a_wrong_suffix_and_a_wrong_letter_are_named(folder: Path) -> None:
    fill(folder, "model.safetensors", "lenet-1_1875.ckpt")
    assert repr(str(folder / "model.safetensors")) in raised(MissingFileError, load_checkpoint, folder / "model.ckpt")
    assert repr(str(folder / "lenet-1_1875.ckpt")) in raised(
        MissingFileError, load_checkpoint, folder / "lenet-1-1875.ckpt"
    )


def test_a_download_that_has_not_ended_is_named(folder: Path) -> None:
    fill(folder, "model.ckpt.crdownload")
    assert raised(MissingFileError, load_checkpoint, folder / "model.ckpt") == (
        f"{str(folder / 'model.ckpt.crdownload')!r} is there: its download has not ended"
    )


def test_a_missing_file_with_nothing_like_it_keeps_its_hint(folder: Path) -> None:
    for path in (folder / "model.ckpt", folder / "absent" / "model.ckpt"):
        assert "check the path" in raised(MissingFileError, load_checkpoint, path)


def test_a_relative_name_is_looked_for_in_the_working_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(folder, "model.ckpt")
    monkeypatch.chdir(folder)
    assert raised(MissingFileError, open_checkpoint, "model") == "did you mean 'model.ckpt'?"


@pytest.mark.parametrize("name", ["model.ckpt", "model", "model-100"])
@pytest.mark.parametrize("door", DOORS)
def test_the_prefix_of_a_tensorflow_checkpoint_is_named(folder: Path, door: Callable[[Any], object], name: str) -> None:
    fill(folder, f"{name}.index", f"{name}.data-00000-of-00001")
    with pytest.raises(WrongFormatError, match="the prefix of the files of a TensorFlow checkpoint") as caught:
        door(folder / name)
    assert "open it with TensorFlow" in (caught.value.hint or "")
    assert caught.value.__suppress_context__


def test_a_checkpoint_beside_files_of_tensorflow_is_opened(folder: Path) -> None:
    fill(folder, "model.ckpt", "model.ckpt.index")
    assert list(load_checkpoint(folder / "model.ckpt")) == ["w"]


# -- names that do not fit -----------------------------------------------------------------------------------


def test_a_name_that_does_not_fit_is_spoken_of_if_the_file_does(folder: Path) -> None:
    fill(folder, "model.bin", "a.safetensors")
    assert "rename the file" in raised(ArgumentError, load_checkpoint, folder / "model.bin")
    assert "rename the file" in raised(ArgumentError, load_checkpoint, folder / "a.safetensors")
    (folder / "damaged.bin").write_bytes(DATA[:-1])
    assert "rename the file" in raised(ArgumentError, load_checkpoint, folder / "damaged.bin")


def test_a_name_that_fits_the_file_but_not_the_format(folder: Path) -> None:
    fill(folder, "model.ckpt")
    (folder / "model.safetensors").write_bytes(SAFETENSORS)
    (folder / "model.safetensors.index.json").write_bytes(b'{"weight_map": {}}')
    as_ckpt = raised(ArgumentError, load_checkpoint, folder / "model.ckpt", format="safetensors")
    assert as_ckpt == "load it with format='ckpt'"
    for name in ("model.safetensors", "model.safetensors.index.json"):
        assert raised(ArgumentError, load_checkpoint, folder / name) == "load it with format='safetensors'"


def test_the_other_format_under_a_name_of_neither(folder: Path) -> None:
    (folder / "model.bin").write_bytes(SAFETENSORS)
    hint = raised(WrongFormatError, load_checkpoint, folder / "model.bin")
    assert hint == "rename it to end in .safetensors and load it with format='safetensors'"
    fill(folder, "weights.pt")
    hint = raised(WrongFormatError, load_checkpoint, folder / "weights.pt", format="safetensors")
    assert hint == "rename it to end in .ckpt and load it with format='ckpt'"


def test_converters_name_other_kinds_whatever_the_suffix(folder: Path) -> None:
    for name in ("model.ckpt", "model.safetensors", "model.zip"):
        with zipfile.ZipFile(folder / name, "w") as archive:
            archive.writestr("net.ckpt", DATA)
        for door in (ckpt_to_safetensors, safetensors_to_ckpt):
            with pytest.raises(WrongFormatError, match=r"a zip archive that holds 'net\.ckpt'"):
                door(str(folder / name))
        with pytest.raises(WrongFormatError, match=r"a zip archive that holds 'net\.ckpt'"):
            to_npz(folder / name, folder / "out.npz")
    assert not (folder / "out.npz").exists()


def test_a_url_is_recognised_and_its_neighbours_are_not_asked_for() -> None:
    fsspec = pytest.importorskip("fsspec")
    fsspec.filesystem("memory").pipe("/advice/model.bin", b"PAR1" + bytes(30))
    for door in (load_checkpoint, open_checkpoint):
        with pytest.raises(WrongFormatError, match="a Parquet table"):
            door("memory://advice/model.bin")
    with pytest.raises(ReadError, match="FileNotFoundError"):
        open_checkpoint("memory://advice/absent")
