"""What is written from a file is never more readable than that file."""

from __future__ import annotations

import io
import os
import stat
import sys
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest

from ckptload import (
    ckpt_to_safetensors,
    convert_checkpoint,
    open_checkpoint,
    safetensors_to_ckpt,
    save_checkpoint,
    to_npz,
)
from ckptload.__main__ import main
from ckptload.writing.atomic import Replacement
from ckptload.writing.permissions import narrowed
from modes import mode, umask

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="modes of POSIX")

KEY = bytes(range(16))


def values() -> dict[str, Any]:
    return {"a": np.ones(8, np.float32), "b": np.ones(8, np.float32), "note": "secret"}


# -- the rule -----------------------------------------------------------------------------------------------


class Status(NamedTuple):
    """What the rule looks at."""

    st_mode: int
    st_gid: int = 7


@pytest.mark.parametrize(
    ("source", "same", "other"),
    [
        (0o644, 0o666, 0o666),
        (0o444, 0o666, 0o666),
        (0o600, 0o600, 0o600),
        (0o400, 0o600, 0o600),
        (0o640, 0o660, 0o600),
        # The group may not read this one, and its members are among the others of another group.
        (0o604, 0o606, 0o600),
        (0o777, 0o666, 0o666),
        # Writing and executing are not reading.
        (0o733, 0o600, 0o600),
        (0o000, 0o600, 0o600),
    ],
)
def test_who_may_read(source: int, same: int, other: int) -> None:
    """Whoever may read a file: its group and everybody; in another group is anybody."""
    revealed: Any = [Status(stat.S_IFREG | source)]
    assert narrowed(0o777, revealed) == narrowed(0o777, revealed, 7) == same
    assert narrowed(0o777, revealed, 8) == other
    assert narrowed(0o400, revealed, 7) == 0o400
    assert narrowed(0o755, []) == 0o755


def test_of_several_files_the_least_counts() -> None:
    for first, second in product((0o600, 0o604, 0o640, 0o644), repeat=2):
        revealed: Any = [Status(first), Status(second)]
        assert narrowed(0o644, revealed) == first & second


# -- while a file is written --------------------------------------------------------------------------------


@pytest.mark.parametrize("hidden", [0o022, *(pytest.param(bits, marks=pytest.mark.slow) for bits in (0, 0o077))])
@pytest.mark.parametrize("old", [None, 0o644, 0o666, 0o400, 0o755], ids=str)
@pytest.mark.parametrize("source", [0o600, 0o640, 0o604, 0o444], ids=oct)
def test_the_file_never_has_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: int, old: int | None, hidden: int
) -> None:
    """From the moment when it is made: who has opened it once may read what is written later."""
    (tmp_path / "source").write_bytes(b"secret")
    (tmp_path / "source").chmod(source)
    target = tmp_path / "x"
    if old is not None:
        target.write_bytes(b"old")
        target.chmod(old)
    made: list[int] = []
    system = os.open

    def watched(path: Any, flags: int, *bits: int) -> int:
        if flags & os.O_CREAT:
            made.extend(bits)
        return system(path, flags, *bits)

    monkeypatch.setattr(os, "open", watched)
    most = 0o600 | source & 0o044
    with umask(hidden), Replacement(str(target), reveals=[(tmp_path / "source").stat()]) as file:
        file.write(b"new")
        (temporary,) = tmp_path.glob(".*")
        assert mode(temporary) & ~most & 0o555 == 0
    assert all(bits & ~most & 0o555 == 0 for bits in made)
    # All that is taken away is what the source does not have.
    today = 0o666 & ~hidden if old is None else old
    assert mode(target) & 0o444 == today & most & 0o444
    assert mode(target) & 0o111 == 0


def test_a_folder_that_gives_another_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The group of a new file may be that of its folder; it is known only when the file is there."""
    folder, source = tmp_path / "folder", tmp_path / "source"
    folder.mkdir()
    source.write_bytes(b"secret")
    source.chmod(0o640)
    try:
        os.chown(folder, -1, source.stat().st_gid + 1)
        folder.chmod(0o2777)
    except PermissionError:
        pytest.skip("this user cannot give a folder to another group")
    files, system = [], os.open

    def watched(path: Any, flags: int, *bits: int) -> int:
        files.append(number := system(path, flags, *bits))
        return number

    monkeypatch.setattr(os, "open", watched)
    with umask(0o022), Replacement(str(folder / "x"), reveals=[source.stat()]) as file:
        (temporary,) = folder.iterdir()
        # The first was readable by the other group before that was known, and may be open somewhere.
        assert len(files) == 2
        assert os.path.samestat(os.fstat(file.fileno()), temporary.stat())
        file.write(b"secret")
    assert mode(folder / "x") == 0o600
    source.chmod(0o644)
    with umask(0o022), Replacement(str(folder / "x"), reveals=[source.stat()]):
        pass
    assert mode(folder / "x") == 0o600
    (folder / "x").unlink()
    with umask(0o022), Replacement(str(folder / "x"), reveals=[source.stat()]):
        pass
    assert mode(folder / "x") == 0o644


# -- at every door ------------------------------------------------------------------------------------------


def with_reader(write: Callable[[Any, Path], object], **how: Any) -> Callable[[Path, Path], object]:
    def run(source: Path, out: Path) -> None:
        with open_checkpoint(source, **how) as reader:
            write(reader, out)

    return run


def command(*words: str) -> Callable[[Path, Path], object]:
    def run(source: Path, out: Path) -> None:
        pytest.importorskip("click")
        key = out / "key"
        key.write_text(KEY.hex())
        assert main([word.format(source=source, out=out, key=key) for word in words]) == 0
        key.unlink()

    return run


DOORS: dict[str, Callable[[Path, Path], object]] = {
    "ckpt": with_reader(lambda reader, out: convert_checkpoint(reader, out / "x.ckpt")),
    "safetensors": with_reader(lambda reader, out: convert_checkpoint(reader, out / "x.safetensors")),
    "npz": with_reader(lambda reader, out: convert_checkpoint(reader, out / "x.npz")),
    "encrypted": with_reader(lambda reader, out: convert_checkpoint(reader, out / "x.ckpt", enc_key=KEY)),
    "shards": with_reader(lambda reader, out: convert_checkpoint(reader, out, max_shard_size=32)),
    "one shard": with_reader(lambda reader, out: convert_checkpoint(reader, out, max_shard_size="1GB")),
    "a selection": with_reader(
        lambda reader, out: convert_checkpoint(reader.select(choice_func=lambda name: name == "a"), out / "x.ckpt")
    ),
    "mapped": with_reader(lambda reader, out: convert_checkpoint(reader, out / "x.ckpt"), mmap=True),
    "to_npz": lambda source, out: to_npz(source, out / "x.npz"),
    "to_npz of a reader": with_reader(lambda reader, out: to_npz(reader, out / "x")),
    "ckpt_to_safetensors": ckpt_to_safetensors,
    "ckpt_to_safetensors, shards": lambda source, out: ckpt_to_safetensors(source, out, max_shard_size=32),
    "save_checkpoint": with_reader(lambda reader, out: save_checkpoint(reader, out / "x.ckpt")),
    "command convert": command("convert", "-q", "--force", "{source}", "{out}/x.npz"),
    "command encrypt": command(
        *("encrypt", "-q", "--force", "{source}", "{out}/x", "--key-file", "{key}", "--key-format", "hex")
    ),
    "command report": command("report", "-q", "{source}", "-o", "{out}/x.html"),
}


@pytest.mark.slow
@pytest.mark.parametrize("door", DOORS)
def test_what_is_written_is_as_readable_as_its_source(door: str, tmp_path: Path) -> None:
    """Also in place of a file that was readable by all."""
    source, out = tmp_path / "net.ckpt", tmp_path / "out"
    save_checkpoint(values(), source)
    out.mkdir()
    saves = door == "save_checkpoint"
    with umask(0o022):
        for bits in (0o444, 0o640, 0o600):
            source.chmod(bits)
            DOORS[door](source, out)
            found = {mode(path) for path in out.iterdir()}
            assert found == {0o400 if saves else 0o600 | bits & 0o044}
            for path in out.iterdir():
                path.chmod(0o644)


def test_a_mode_that_is_given_counts(tmp_path: Path) -> None:
    save_checkpoint(values(), tmp_path / "net.ckpt")
    with open_checkpoint(tmp_path / "net.ckpt") as reader:
        save_checkpoint(reader, tmp_path / "x.ckpt", mode=0o644)
    assert mode(tmp_path / "x.ckpt") == 0o644


def written(source: Any, out: Path, **how: Any) -> int:
    """Convert a source, and return the mode of the result."""
    with umask(0o022), open_checkpoint(source, **how) as reader:
        convert_checkpoint(reader, out)
    return mode(out)


def test_sources_of_every_kind(tmp_path: Path) -> None:
    net, out = tmp_path / "net.ckpt", tmp_path / "x.ckpt"
    save_checkpoint(values(), net)
    data = net.read_bytes()
    for made in (data, bytearray(data), io.BytesIO(data)):
        assert written(made, out) == 0o644
        out.unlink()
    with net.open("rb") as file:
        assert written(file, out) == 0o600
        net.chmod(0o644)
        out.unlink()
        assert written(file, out) == 0o644
    (tmp_path / "link.ckpt").symlink_to(net)
    net.chmod(0o640)
    assert written(tmp_path / "link.ckpt", out) == 0o640
    save_checkpoint(values(), tmp_path / "sealed.ckpt", enc_key=KEY)
    assert written(tmp_path / "sealed.ckpt", out, dec_key=KEY) == 0o600


def test_a_file_behind_a_url_is_a_file(tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    save_checkpoint(values(), tmp_path / "net.ckpt")
    assert written(f"file://{tmp_path}/net.ckpt", tmp_path / "x.ckpt") == 0o600


@pytest.mark.parametrize("secret", ["model.safetensors.index.json", "model-00002-of-00002.safetensors"])
def test_of_shards_each_counts_and_their_index(tmp_path: Path, secret: str) -> None:
    """Whichever of them are read."""
    save_checkpoint({"a": values()["a"], "b": values()["b"]}, tmp_path / "net.ckpt", mode=0o644)
    with umask(0o022), open_checkpoint(tmp_path / "net.ckpt") as reader:
        convert_checkpoint(reader, tmp_path, max_shard_size=32)
    index, out = tmp_path / "model.safetensors.index.json", tmp_path / "out"
    safetensors_to_ckpt(index, out)
    assert mode(out / "model.ckpt") == 0o644
    (tmp_path / secret).chmod(0o600)
    assert written(index, tmp_path / "x.ckpt") == 0o600
    safetensors_to_ckpt(index, out)
    assert mode(out / "model.ckpt") == 0o600


@pytest.mark.parametrize("secret", ["a.ckpt", "b.ckpt"])
def test_a_report_on_two_files(tmp_path: Path, secret: str) -> None:
    pytest.importorskip("click")
    for name in ("a.ckpt", "b.ckpt"):
        save_checkpoint(values(), tmp_path / name, mode=0o600 if name == secret else 0o644)
    page = tmp_path / "x.html"
    with umask(0o022):
        assert main(["report", "-q", f"{tmp_path}/a.ckpt", "--against", f"{tmp_path}/b.ckpt", "-o", str(page)]) == 0
    assert mode(page) == 0o600
