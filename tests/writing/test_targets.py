"""What is at the place of a file to write: links are followed, files replaced, everything else is left alone.

Devices are made for the tests, in their folders: a test that fails as root would replace those of the machine.
"""

from __future__ import annotations

import os
import socket
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ckptload import (
    ckpt_to_safetensors,
    convert_checkpoint,
    load_checkpoint,
    open_checkpoint,
    safetensors_to_ckpt,
    save_checkpoint,
    to_npz,
)
from ckptload.__main__ import main
from ckptload.errors import ArgumentError, CheckpointError, TargetIsFolderError, TargetIsNoFileError, WriteError
from ckptload.saving import wait_for_saves
from ckptload.writing import targets
from ckptload.writing.atomic import Replacement
from places import FIXTURES

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pipes, devices and links of POSIX")

CKPT = FIXTURES / "append.ckpt"
KEY = bytes(range(16))


def values(number: float = 1) -> dict[str, Any]:
    return {"w": np.full(3, number, np.float32)}


def converted(target: str, **options: Any) -> None:
    with open_checkpoint(CKPT) as reader:
        convert_checkpoint(reader, target, **options)


def pipe(path: Path) -> None:
    os.mkfifo(path)


def local_socket(path: Path) -> None:
    # The name of a socket is short, wherever the folder is.
    before = os.open(".", os.O_RDONLY)
    try:
        os.chdir(path.parent)
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
    finally:
        os.chdir(before)
        os.close(before)


def device(path: Path) -> None:
    """Make a device that is no file of this system: what is written to it vanishes."""
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    except OSError:
        pytest.skip("devices cannot be made here")


def link(path: Path) -> None:
    pipe(path.with_name("pipe"))
    path.symlink_to("pipe")


#: All but the first with the slow tests, because there are many doors.
KINDS = [pipe, *(pytest.param(kind, marks=pytest.mark.slow) for kind in (local_socket, device, link))]


def convert(target: Path) -> None:
    with open_checkpoint(CKPT) as reader:
        convert_checkpoint(reader, target)


def shards(target: Path) -> None:
    with open_checkpoint(CKPT) as reader:
        convert_checkpoint(reader, target.parent, max_shard_size=8)


def asynchronous(target: Path) -> None:
    save_checkpoint(values(), target, async_save=True)


#: The name of what is written, and how.
DOORS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "save": ("x.ckpt", lambda target: save_checkpoint(values(), target)),
    "save, completed": ("x.ckpt", lambda target: save_checkpoint(values(), target.with_suffix(""))),
    "save, as it is given": ("x", lambda target: save_checkpoint(values(), target)),
    "save asynchronously": ("x.ckpt", asynchronous),
    "save safetensors": ("x.safetensors", lambda target: save_checkpoint(values(), target, format="safetensors")),
    "convert to .ckpt": ("x.ckpt", convert),
    "convert to safetensors": ("x.safetensors", convert),
    "convert to .npz": ("x.npz", convert),
    "shard": ("model-00001-of-00006.safetensors", shards),
    "index": ("model.safetensors.index.json", shards),
    "to_npz": ("x.npz", lambda target: to_npz(CKPT, target)),
    "to_npz, completed": ("x.npz", lambda target: to_npz(CKPT, target.with_suffix(""))),
    "ckpt_to_safetensors": ("append.safetensors", lambda target: ckpt_to_safetensors(CKPT, target.parent)),
    "safetensors_to_ckpt": (
        "crc.ckpt",
        lambda target: safetensors_to_ckpt(FIXTURES / "crc.safetensors", target.parent),
    ),
    "Replacement": ("x", lambda target: Replacement(str(target)).__enter__()),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("door", DOORS)
def test_only_a_file_is_replaced(door: str, kind: Callable[[Path], None], tmp_path: Path) -> None:
    """Not even by root, who may; and nothing waits for the other end of a pipe."""
    name, write = DOORS[door]
    target = tmp_path / name
    kind(target)
    before = {path.name: path.lstat().st_ino for path in tmp_path.iterdir()}
    with pytest.raises(TargetIsNoFileError, match=r"a (pipe|socket|device) has its name") as caught:
        write(target)
    wait_for_saves()
    assert isinstance(caught.value, OSError)
    assert "give the name of a file" in (caught.value.hint or "")
    assert {path.name: path.lstat().st_ino for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "command",
    [
        ("convert", "no such source", "{}", "--to", "ckpt", "--force"),
        ("convert", "memory://no/such/source", "{}", "--to", "npz", "--force"),
        ("convert", "no such source", "{}", "--to", "ckpt", "--dry-run"),
        ("encrypt", "no such source", "{}", "--force", "--key-env", "A_KEY", "--key-format", "raw"),
        ("decrypt", "no such source", "{}", "--force", "--key-env", "A_KEY", "--key-format", "raw"),
        ("report", "no such source", "-o", "{}"),
        ("report", "no such source", "-o", "{}", "--force"),
    ],
)
def test_a_command_looks_at_the_target_first(
    command: tuple[str, ...],
    kind: Callable[[Path], None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is read before, so the source need not exist."""
    pytest.importorskip("click")
    monkeypatch.setenv("A_KEY", "0123456789abcdef")
    kind(tmp_path / "x.ckpt")
    before = {path.name: path.lstat().st_ino for path in tmp_path.iterdir()}
    assert main([argument.format(tmp_path / "x.ckpt") for argument in command]) == 2
    assert "has its name" in capsys.readouterr().err
    assert {path.name: path.lstat().st_ino for path in tmp_path.iterdir()} == before


def test_a_folder_is_no_file_either(tmp_path: Path) -> None:
    for name in ("x.ckpt", "x.npz", "append.safetensors", "model.safetensors.index.json"):
        (tmp_path / name).mkdir()
    for write in (convert, lambda target: to_npz(CKPT, target.with_suffix(".npz")), DOORS["ckpt_to_safetensors"][1]):
        with pytest.raises(TargetIsFolderError):
            write(tmp_path / "x.ckpt")
    with pytest.raises(TargetIsFolderError):
        shards(tmp_path / "index")
    assert len(list(tmp_path.rglob("*"))) == 4


def test_something_that_takes_the_place_meanwhile_is_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "x.ckpt"

    def exchanged() -> None:
        with Replacement(str(target)) as file:
            file.write(b"new")
            os.mkfifo(target)

    with pytest.raises(TargetIsNoFileError):
        exchanged()
    assert [path.name for path in tmp_path.iterdir()] == ["x.ckpt"]
    assert stat.S_ISFIFO(target.stat().st_mode)


# -- links ------------------------------------------------------------------------------------------------------


def write_npz(target: Path) -> None:
    to_npz(CKPT, target)


def report(target: Path) -> None:
    pytest.importorskip("click")
    assert main(["report", "-q", str(CKPT), "-o", str(target), "--force"]) == 0


def convert_by_command(target: Path) -> None:
    pytest.importorskip("click")
    assert main(["convert", "-q", str(CKPT), str(target), "--to", "ckpt", "--force"]) == 0


FOLLOWING: dict[str, tuple[str, Callable[[Path], object]]] = {
    "save": ("link.ckpt", lambda target: save_checkpoint(values(), target)),
    "save, without an ending": ("link", lambda target: save_checkpoint(values(), target)),
    "save, completed": ("link.ckpt", lambda target: save_checkpoint(values(), target.with_suffix(""))),
    "save with a slash": ("link.ckpt", lambda target: save_checkpoint(values(), f"{target}/")),
    "convert": ("link.ckpt", convert),
    "convert by command": ("link", convert_by_command),
    "to_npz": ("link.npz", write_npz),
    "to_npz, without an ending": ("link", write_npz),
    "to_npz, completed": ("link.npz", lambda target: to_npz(CKPT, target.with_suffix(""))),
    "report": ("link.html", report),
}


@pytest.mark.parametrize("old", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["a file", "dangling"])
@pytest.mark.parametrize("door", FOLLOWING)
def test_a_link_is_followed_whatever_the_file_at_its_end_is_called(door: str, old: bool, tmp_path: Path) -> None:
    """The link stays one, and so does a link to it."""
    name, write = FOLLOWING[door]
    (tmp_path / "data").mkdir()
    end = tmp_path / "data" / "some.bin"
    if old:
        end.write_bytes(b"old")
    (tmp_path / "middle").symlink_to("data/some.bin")
    (tmp_path / name).symlink_to("middle")
    write(tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["data", "middle", name])
    assert (tmp_path / name).is_symlink()
    assert (tmp_path / "middle").is_symlink()
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["some.bin"]
    assert len(end.read_bytes()) > 10


def test_what_was_saved_through_a_link_is_loaded_through_it(tmp_path: Path) -> None:
    (tmp_path / "link.ckpt").symlink_to("data.bin")
    for number in (1, 2):
        save_checkpoint(values(number), tmp_path / "link.ckpt")
        assert load_checkpoint(str(tmp_path / "link.ckpt"))["w"].asnumpy()[0] == number


@pytest.mark.parametrize("door", FOLLOWING)
def test_links_in_a_circle_are_an_error(door: str, tmp_path: Path) -> None:
    name, write = FOLLOWING[door]
    if door in {"report", "convert by command"}:
        write = convert if door == "report" else write_npz
        name = "link.ckpt"
    (tmp_path / name).symlink_to("other")
    (tmp_path / "other").symlink_to(name)
    with pytest.raises(WriteError, match="symbolic links") as caught:
        write(tmp_path / name)
    assert caught.value.path is not None
    assert len(list(tmp_path.iterdir())) == 2


def test_a_circle_on_the_way_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(WriteError):
        targets.place(str(tmp_path / "loop" / "x.ckpt"))


@pytest.mark.parametrize(
    "write",
    [
        lambda url: save_checkpoint({"w": np.ones(2)}, url),
        lambda url: to_npz(CKPT, url),
        lambda url: ckpt_to_safetensors(CKPT, url.rpartition("/")[0]),
        converted,
        lambda url: converted(url, max_shard_size=8),
    ],
)
def test_a_url_is_no_target(write: Callable[[str], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders of its name would show its password."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArgumentError, match="a URL was given") as found:
        write("https://user:secret@example.org/folder/model.ckpt")
    assert "secret" not in str(found.value)
    assert not list(tmp_path.iterdir())


def test_a_link_that_nobody_named_is_replaced(tmp_path: Path) -> None:
    """Such as a shard in a folder: the file at its end may belong to others, as in the cache of Hugging Face."""
    (tmp_path / "blob").write_bytes(b"shared")
    names = ("model.safetensors.index.json", "model-00001-of-00006.safetensors", "append.safetensors")
    for name in names:
        (tmp_path / name).symlink_to("blob")
    shards(tmp_path / "x")
    ckpt_to_safetensors(CKPT, tmp_path)
    assert (tmp_path / "blob").read_bytes() == b"shared"
    assert not any((tmp_path / name).is_symlink() for name in names)


def test_an_open_stream_is_no_target(tmp_path: Path) -> None:
    """As /dev/stdout: the file behind it would be replaced while others write to it."""
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("there is no /proc here")
    (tmp_path / "log").write_bytes(b"begun")
    with (tmp_path / "log").open("ab") as log:
        stream = f"/proc/self/fd/{log.fileno()}"
        (tmp_path / "out").symlink_to(stream)
        for given in (stream, str(tmp_path / "out"), f"/dev/fd/{log.fileno()}"):
            with pytest.raises(TargetIsNoFileError, match="open stream"):
                save_checkpoint(values(), given)
            with pytest.raises(TargetIsNoFileError, match="open stream"):
                to_npz(CKPT, given)
    assert (tmp_path / "log").read_bytes() == b"begun"


def test_a_text_that_is_no_path_is_an_argument_error() -> None:
    for given in ("a\0b", "a\0b/c"):
        with pytest.raises(ArgumentError, match="not a path"):
            targets.place(given)


def test_a_folder_that_may_not_be_looked_into_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(0o000)
    try:
        if os.access(tmp_path / "closed", os.X_OK):
            pytest.skip("this user may look everywhere")
        with pytest.raises(CheckpointError, match="Permission denied"):
            targets.place(str(tmp_path / "closed" / "x.ckpt"))
    finally:
        (tmp_path / "closed").chmod(0o700)
