"""Rules of systems that the tests do not run on, simulated: Windows, macOS, big-endian machines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ckptload import ckpt_to_safetensors, convert_checkpoint, load_checkpoint, open_checkpoint, save_checkpoint
from ckptload.errors import WritePermissionError
from ckptload.saving import wait_for_saves
from ckptload.writing import temporary_files
from places import TESTS

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = b"0123456789abcdef"
VALUES = {f"fc{at}": np.full(100_000, at, np.float32) for at in range(8)}
posix_only = pytest.mark.skipif(os.name != "posix", reason="the rules of Windows are its own there")

# -- a big-endian machine ---------------------------------------------------------------------------------------

MIRRORED = ["_roundtrip", "_lazily", "_strings", "_wide", "_casts", "_computes", "_nets", "_others"]


@pytest.mark.slow
def test_a_machine_of_the_other_byte_order_reads_saves_and_computes_the_same() -> None:
    """tests/mirrored.py turns the byte orders of the package round, which is the same seen from the other side."""
    path = os.pathsep.join([str(TESTS), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, str(TESTS / "mirrored.py")],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == MIRRORED


# -- Windows ----------------------------------------------------------------------------------------------------


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away what Windows does not have, and refuse what it refuses."""
    for name in ("pread", "preadv", "O_NONBLOCK", "O_DIRECTORY", "O_NOFOLLOW", "fchmod"):
        monkeypatch.delattr(os, name, raising=False)
    monkeypatch.setattr(temporary_files, "fcntl", None)
    for name in ("replace", "rename", "unlink"):
        # Before Python 3.11 a path had functions of its own for these.
        for owner in (os, Path):
            monkeypatch.setattr(owner, name, _refusing(getattr(owner, name)))


def _refusing(call: Callable[..., Any]) -> Callable[..., Any]:
    """Refuse to move what is open, and to replace or remove what is open or write-protected."""

    def checked(*paths: Any, **how: Any) -> Any:
        *moved, gone = map(Path, paths)
        protected = gone.exists() and not gone.stat().st_mode & 0o200
        if protected or any(map(_is_open, (*moved, gone))):
            raise PermissionError(13, "Access is denied", str(gone))
        return call(*paths, **how)

    return checked


def _is_open(path: Path) -> bool:
    return path.exists() and any(_is_same(entry, path) for entry in Path("/proc/self/fd").iterdir())


def _is_same(entry: Path, path: Path) -> bool:
    try:
        return entry.samefile(path)
    except OSError:
        return False


windows_rules = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc for what is open")


@windows_rules
@pytest.mark.usefixtures("windows")
@pytest.mark.parametrize("kind", ["ckpt", "encrypted", "safetensors"])
def test_windows_saves_loads_and_saves_again(kind: str, tmp_path: Path) -> None:
    """The second time over a write-protected file, as the first left it."""
    path = tmp_path / f"x.{'safetensors' if kind == 'safetensors' else 'ckpt'}"
    save: dict[str, Any] = {"enc_key": KEY} if kind == "encrypted" else {"format": kind}
    load: dict[str, Any] = {"dec_key": KEY} if kind == "encrypted" else {"format": kind}
    for factor in (1, 2):
        save_checkpoint({name: array * factor for name, array in VALUES.items()}, path, **save)
        assert not path.stat().st_mode & 0o200
        for name, found in load_checkpoint(str(path), **load).items():
            assert np.array_equal(found.asnumpy(), VALUES[name] * factor)
    assert list(tmp_path.iterdir()) == [path]


@windows_rules
@pytest.mark.usefixtures("windows")
def test_windows_saves_in_the_background(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It cannot fork, so that a thread saves a copy in the place of a process."""
    monkeypatch.delattr(os, "fork")
    values = {"w": np.ones(500_000, np.float32)}
    save_checkpoint(values, tmp_path / "x.ckpt", async_save="process")
    values["w"][:] = 7
    wait_for_saves()
    assert set(load_checkpoint(tmp_path / "x.ckpt")["w"].asnumpy()) == {1.0}


@windows_rules
@pytest.mark.usefixtures("windows")
def test_windows_does_not_replace_a_file_that_a_reader_has_open(tmp_path: Path) -> None:
    """The save says so, leaves the old file as it is and nothing beside it; when the reader is closed it succeeds."""
    path = tmp_path / "x.ckpt"
    save_checkpoint(dict(VALUES), path)
    with open_checkpoint(path) as reader:
        with pytest.raises(WritePermissionError, match="Access is denied") as caught:
            save_checkpoint({"a": np.zeros(3)}, path)
        assert isinstance(caught.value, PermissionError)
        assert list(reader) == list(VALUES)
        assert np.array_equal(reader["fc3"].asnumpy(), VALUES["fc3"])
    assert list(tmp_path.iterdir()) == [path]
    save_checkpoint({"a": np.zeros(3)}, path)
    assert list(load_checkpoint(str(path))) == ["a"]


@windows_rules
@pytest.mark.usefixtures("windows")
def test_windows_shares_one_position_among_threads(tmp_path: Path) -> None:
    """There is no pread: a lock makes seek and read one step."""
    path = tmp_path / "x.ckpt"
    save_checkpoint(dict(VALUES), path)
    wrong: list[str] = []
    with open_checkpoint(path) as reader:

        def read() -> None:
            wrong.extend(name for name in VALUES if not np.array_equal(reader[name].asnumpy(), VALUES[name]))

        threads = [threading.Thread(target=read) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong


@windows_rules
@pytest.mark.usefixtures("windows")
def test_the_rules_of_windows_hold_here(tmp_path: Path) -> None:
    """The simulation refuses what it is there for."""
    path = tmp_path / "x"
    with path.open("wb"), pytest.raises(PermissionError):
        path.unlink()
    path.chmod(0o400)
    with pytest.raises(PermissionError):
        path.unlink()
    (tmp_path / "y").touch()
    with pytest.raises(PermissionError):
        (tmp_path / "y").replace(path)


@windows_rules
@pytest.mark.usefixtures("windows")
def test_windows_converts(tmp_path: Path) -> None:
    save_checkpoint(dict(VALUES), tmp_path / "x.ckpt")
    ckpt_to_safetensors(str(tmp_path / "x.ckpt"), str(tmp_path / "out"))
    for name, found in load_checkpoint(str(tmp_path / "out" / "x.safetensors"), format="safetensors").items():
        assert np.array_equal(found.asnumpy(), VALUES[name])


@windows_rules
@pytest.mark.usefixtures("windows")
def test_windows_replaces_a_set_of_shards(tmp_path: Path) -> None:
    """Over write-protected files, and beside a reader that has one of them open."""
    index = tmp_path / "out" / "model.safetensors.index.json"
    for factor in (1, 2, 3):
        path = tmp_path / f"{factor}.ckpt"
        save_checkpoint({name: array * factor for name, array in VALUES.items()}, path)

    def convert(factor: int) -> None:
        with open_checkpoint(tmp_path / f"{factor}.ckpt") as reader:
            convert_checkpoint(reader, index, max_shard_size="1MB")
        found = load_checkpoint(str(index), format="safetensors")
        assert all(np.array_equal(found[name].asnumpy(), VALUES[name] * factor) for name in VALUES)

    for factor in (1, 2):
        convert(factor)
        for each in (tmp_path / "out").iterdir():
            each.chmod(0o400)
    with open_checkpoint(index) as reader:
        assert reader["fc7"].asnumpy()[0] == 14
        with pytest.warns(UserWarning, match="could not get their plain names"):
            convert(3)
        # What the reader holds is there still; the index is new.
        assert reader["fc6"].asnumpy()[0] == 12
    convert(1)
    plain = [f"model-0000{number}-of-00004.safetensors" for number in range(1, 5)]
    assert sorted(each.name for each in (tmp_path / "out").iterdir()) == [*plain, index.name]


# -- names that differ by case ----------------------------------------------------------------------------------


@posix_only
def test_two_names_of_an_index_for_one_file_are_read_from_it(tmp_path: Path) -> None:
    """Where names do not differ by case, ``A`` and ``a`` are one file; here a link makes them so."""
    save_checkpoint({"first": np.arange(3), "second": np.arange(4)}, tmp_path / "a.safetensors", format="safetensors")
    (tmp_path / "A.safetensors").hardlink_to(tmp_path / "a.safetensors")
    index = tmp_path / "x.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"first": "a.safetensors", "second": "A.safetensors"}}))
    found = load_checkpoint(str(index), format="safetensors")
    assert [value.shape for value in found.values()] == [(3,), (4,)]


@posix_only
def test_a_conversion_onto_another_name_of_the_same_file_leaves_a_whole_file(tmp_path: Path) -> None:
    """A file is read to its end before its place is taken, whatever it is called."""
    save_checkpoint(dict(VALUES), tmp_path / "x.ckpt")
    (tmp_path / "X.ckpt").hardlink_to(tmp_path / "x.ckpt")
    with open_checkpoint(tmp_path / "x.ckpt") as reader:
        save_checkpoint(reader, tmp_path / "X.ckpt")
    for name in ("x.ckpt", "X.ckpt"):
        assert list(load_checkpoint(str(tmp_path / name))) == list(VALUES)
