"""Loads that fail for real: whatever the system does, an error of ours says what and what to do, and nothing is lost.

Each fault has its true cause where the system can be made to produce it: a disk that fails (tests/failing_disk.py),
signals, permissions, pipes, devices, files that change. test_save_faults.py has those of saving.
"""

from __future__ import annotations

import gc
import io
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ckptload import load_checkpoint, open_checkpoint, save_checkpoint
from ckptload.errors import ArgumentTypeError, ChangedFileError, CheckpointError, ReadError
from descriptors import open_files
from failing_disk import SLOW, mounted
from places import FIXTURES
from strategies import sparse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [
    pytest.mark.slow,
    pytest.mark.once,
    pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for faults, and /proc what is open"),
]

LENET = FIXTURES / "lenet5.ckpt"
KEY = b"0123456789abcdef"
VALUES = {f"fc{at}.weight": np.arange(1000, dtype=np.float32) for at in range(5)}


@pytest.fixture(autouse=True)
def nothing_stays_open() -> Iterator[None]:
    """Hold every test to it that no descriptor is leaked, also by what fails."""
    gc.collect()
    before = open_files()
    yield
    gc.collect()
    assert open_files() == before


def make(folder: Path, kind: str) -> tuple[Path, dict[str, Any]]:
    """Save a checkpoint of a kind; return its path and what loads it."""
    if kind == "safetensors":
        save_checkpoint(VALUES, folder / "x.safetensors", format="safetensors")
        return folder / "x.safetensors", {"format": "safetensors"}
    if kind == "shards":
        path, how = make(folder, "safetensors")
        index = folder / "x.safetensors.index.json"
        index.write_text(json.dumps({"weight_map": dict.fromkeys(VALUES, path.name)}))
        return index, how
    how = {} if kind == "plain" else {"dec_key": KEY, "dec_mode": kind}
    seal: dict[str, Any] = {} if kind == "plain" else {"enc_key": KEY, "enc_mode": kind}
    save_checkpoint(VALUES, folder / "x.ckpt", **seal)
    return folder / "x.ckpt", how


KINDS = ["plain", "AES-GCM", "AES-CBC", "safetensors", "shards"]
every_kind = pytest.mark.parametrize("kind", KINDS)


def refused(call: Callable[[], Any], words: str, kind: type[CheckpointError] = ReadError) -> CheckpointError:
    """Hold a failure against what it must say."""
    with pytest.raises(kind) as caught:
        call()
    assert words in str(caught.value), str(caught.value)
    assert caught.value.hint
    return caught.value


# -- a disk that fails ------------------------------------------------------------------------------------------

BAD_DISK: dict[str, tuple[type[CheckpointError], str, str]] = {
    "eio": (ReadError, "cannot read the file: Input/output error", "the disk, or the network behind it, failed"),
    "stale": (ReadError, "cannot read the file: Stale file handle", "the disk, or the network behind it, failed"),
    "cut": (ChangedFileError, "the file ends at byte", "another program is writing this file"),
    "denied": (ReadError, "cannot read the file: Permission denied", "the current user may not read it"),
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", BAD_DISK)
def test_a_disk_that_fails_is_an_error_with_place_and_reason(fault: str) -> None:
    kind, words, hint = BAD_DISK[fault]
    with mounted(LENET) as disk:
        path = disk / f"{fault}.ckpt"
        for call in (lambda: load_checkpoint(str(path)), lambda: open_checkpoint(path).load()):
            found = refused(call, words, kind)
            assert hint in str(found)
            assert found.path == str(path)
            assert found.offset is not None or fault == "denied"


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["eio", "stale", "cut"])
def test_a_file_object_on_a_disk_that_fails_is_left_to_its_owner(fault: str) -> None:
    with mounted(LENET) as disk, (disk / f"{fault}.ckpt").open("rb", buffering=0) as file:
        kind = ChangedFileError if fault == "cut" else ReadError
        refused(lambda: load_checkpoint(file), "the file object", kind)
        assert not file.closed
        assert file.tell() == 0


@pytest.mark.parametrize("fault", ["eio", "stale"])
def test_a_safetensors_file_on_a_disk_that_fails_is_a_read_error(fault: str, tmp_path: Path) -> None:
    path, how = make(tmp_path, "safetensors")
    with mounted(path) as disk:
        refused(lambda: load_checkpoint(str(disk / f"{fault}.safetensors"), **how), BAD_DISK[fault][1])


def test_what_a_bad_sector_did_not_hit_can_still_be_read(tmp_path: Path) -> None:
    """Headers and the first tensor lie in the sound half, most of the second does not."""
    values = {"first": np.arange(10_000, dtype=np.int32), "second": np.arange(90_000, dtype=np.int32)}
    save_checkpoint(values, tmp_path / "x.ckpt")
    with mounted(tmp_path / "x.ckpt") as disk, open_checkpoint(disk / "eio.ckpt") as reader:
        for _ in range(2):
            assert reader["first"].asnumpy().tolist() == list(range(10_000))
            refused(lambda: reader["second"], "Input/output error")
        assert reader.get_slice("second")[:5].asnumpy().tolist() == list(range(5))


def test_short_reads_are_read_on() -> None:
    """A system may return less than it was asked for, here 1000 bytes each time."""
    with mounted(LENET) as disk:
        got = load_checkpoint(str(disk / "short.ckpt"))
    for name, value in load_checkpoint(str(LENET)).items():
        assert got[name].get_bytes() == value.get_bytes()


def interrupted(action: Callable[[], Any], handler: Callable[..., None]) -> Any:
    """Do something, and send a signal while it waits for its first read."""
    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, SLOW / 2)
    try:
        return action()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def one(tmp_path: Path) -> Path:
    save_checkpoint({"a": np.arange(100, dtype=np.int8)}, tmp_path / "x.ckpt")
    return tmp_path / "x.ckpt"


@pytest.mark.slow
def test_a_signal_with_a_handler_does_not_disturb_a_load(one: Path) -> None:
    """The system ends the read with EINTR; Python calls the handler and reads again."""
    called = []
    with mounted(one) as disk:
        got = interrupted(lambda: load_checkpoint(str(disk / "slow.ckpt")), lambda *_: called.append(1))
    assert called == [1]
    assert got["a"].asnumpy().tolist() == list(range(100))


def test_an_interrupt_by_the_user_passes_through_a_load(one: Path) -> None:
    with mounted(one) as disk, pytest.raises(KeyboardInterrupt):
        interrupted(lambda: load_checkpoint(str(disk / "slow.ckpt")), signal.default_int_handler)


# -- paths and what they lead to --------------------------------------------------------------------------------


def _link(to: str) -> Callable[[Path, str], Path]:
    def made(folder: Path, ending: str) -> Path:
        path = folder / f"x.{ending}"
        path.symlink_to(to)
        return path

    return made


def _folder(folder: Path, ending: str) -> Path:
    path = folder / f"x.{ending}"
    path.mkdir()
    return path


def _pipe(folder: Path, ending: str) -> Path:
    path = folder / f"x.{ending}"
    os.mkfifo(path)
    return path


def _below_a_file(folder: Path, ending: str) -> Path:
    (folder / "file").write_bytes(b"x")
    return folder / "file" / f"x.{ending}"


#: What a path can lead to: how it is made, and what is said of it.
PATHS: dict[str, tuple[Callable[[Path, str], Path], str]] = {
    "nothing": (lambda folder, ending: folder / f"x.{ending}", "No such file or directory"),
    "a folder": (_folder, "Is a directory"),
    "a named pipe": (_pipe, "this is a pipe or a device"),
    "/dev/zero": (_link("/dev/zero"), "this is a pipe or a device"),
    "/dev/full": (_link("/dev/full"), "this is a pipe or a device"),
    "/dev/null": (_link("/dev/null"), "this is a pipe or a device"),
    "itself": (lambda folder, ending: _link(f"x.{ending}")(folder, ending), "Too many levels of symbolic links"),
    "below a file": (_below_a_file, "Not a directory"),
    "a name that is too long": (lambda folder, ending: folder / f"{'x' * 300}.{ending}", "File name too long"),
    "a path that is too long": (lambda folder, ending: folder / ("x/" * 5000) / f"x.{ending}", "File name too long"),
    "a NUL": (lambda folder, ending: folder / f"a\0b.{ending}", "the path has a NUL character"),
    "half a character": (lambda folder, ending: folder / f"\ud800.{ending}", "surrogates not allowed"),
}


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["ckpt", "safetensors", "safetensors.index.json"])
@pytest.mark.parametrize("kind", PATHS)
def test_a_path_that_leads_to_no_file_is_a_read_error(kind: str, ending: str, tmp_path: Path) -> None:
    make_path, words = PATHS[kind]
    path = make_path(tmp_path, ending)
    loads = "ckpt" if ending == "ckpt" else "safetensors"
    for call in (lambda: load_checkpoint(str(path), format=loads), lambda: open_checkpoint(path)):
        found = refused(call, words)
        assert isinstance(found, OSError)
        assert found.path


@pytest.mark.slow
@every_kind
def test_a_file_whose_name_is_no_text_is_loaded_like_others(kind: str, tmp_path: Path) -> None:
    """Names are bytes to Linux; messages about such a file can be printed."""
    path, how = make(tmp_path, kind)
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe." + os.fsencode(path.name.partition(".")[2]))
    path.rename(odd)
    assert list(load_checkpoint(odd, **how)) == list(VALUES)
    os.truncate(odd, 60)
    found = refused(lambda: load_checkpoint(odd, **how), "\\udcff\\udcfe", CheckpointError)
    assert str(found).encode()


@pytest.mark.slow
@every_kind
def test_a_file_of_which_the_user_may_read_nothing(kind: str) -> None:
    """Root may read everything, so that the process becomes another user first."""
    folder = Path(tempfile.mkdtemp())
    try:
        folder.chmod(0o755)
        path, how = make(folder, kind)
        for file in folder.iterdir():
            file.chmod(0)
        code = f"""
        import os, sys
        from ckptload import load_checkpoint
        from ckptload.errors import ReadError
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        try:
            load_checkpoint({str(path)!r}, **{how!r})
        except ReadError as error:
            print(error)
        """
        printed = run(code)
        assert printed.startswith("cannot read the file: Permission denied\n")
        assert "the current user may not read it; ask its owner or change its mode" in printed
    finally:
        shutil.rmtree(folder)


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_no_more_descriptors_than_the_system_allows(tmp_path: Path) -> None:
    path, _ = make(tmp_path, "plain")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/proc/self/fd").iterdir())) + 10, limits[1]))
    try:
        with suppress(OSError):
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        refused(lambda: load_checkpoint(str(path)), "Too many open files")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for number in taken:
            os.close(number)
    assert len(load_checkpoint(str(path))) == len(VALUES)


# -- file objects -----------------------------------------------------------------------------------------------


def test_a_pipe_is_a_read_error_that_says_how_to_read_it() -> None:
    reading, writing = os.pipe()
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        found = refused(lambda: load_checkpoint(file), "is not seekable")
        assert "io.BytesIO(file.read())" in str(found)


def test_a_file_object_that_was_closed_is_a_read_error() -> None:
    with LENET.open("rb") as file:
        pass
    refused(lambda: load_checkpoint(file), "closed file")
    refused(lambda: load_checkpoint(file, format="safetensors"), "closed file")


def test_a_file_object_that_is_closed_while_a_reader_uses_it_is_a_read_error() -> None:
    file = LENET.open("rb")
    with open_checkpoint(file) as reader:
        file.close()
        refused(lambda: reader["conv1.weight"], "closed file")


def test_a_text_file_is_an_argument_type_error() -> None:
    with LENET.open(encoding="latin-1") as file:
        refused(lambda: load_checkpoint(file), "not from io.TextIOWrapper", ArgumentTypeError)


class Failing(io.FileIO):
    """A file whose owner's code raises."""

    def read(self, size: int | None = -1, /) -> bytes:
        raise RuntimeError("no more") if size else RuntimeError("not even nothing")


def test_an_error_of_a_file_object_itself_is_a_read_error_with_its_cause() -> None:
    with Failing(str(LENET)) as file:
        found = refused(lambda: load_checkpoint(file), "not even nothing")
        assert isinstance(found.__cause__, RuntimeError)


# -- files that change ------------------------------------------------------------------------------------------


@pytest.mark.slow
@every_kind
def test_a_file_that_shrinks_while_a_reader_is_open(kind: str, tmp_path: Path) -> None:
    path, how = make(tmp_path, kind)
    with open_checkpoint(path, **how) as reader:
        first, *_, last = reader
        assert reader[first].shape == (1000,)
        for file in tmp_path.iterdir():
            if file.suffix != ".json":
                file.chmod(0o600)
                os.truncate(file, file.stat().st_size - 100)
        refused(lambda: reader[last], "file", ChangedFileError)
        refused(lambda: reader[first], "file", ChangedFileError)


@pytest.mark.slow
@every_kind
def test_a_file_that_is_replaced_while_a_reader_is_open(kind: str, tmp_path: Path) -> None:
    """What was opened can be read on; but the reader says that it is not what stands there any more."""
    path, how = make(tmp_path, kind)
    with open_checkpoint(path, **how) as reader:
        first = next(iter(reader))
        assert reader[first].shape == (1000,)
        make(tmp_path, kind)
        found = refused(lambda: reader[first], "changed or replaced", ChangedFileError)
        assert found.hint == "open it again"
    assert len(load_checkpoint(str(path), **how)) == len(VALUES)


def test_a_file_that_is_cut_in_the_middle_of_a_load(tmp_path: Path) -> None:
    """By another thread, while two threads read: no array of zeros comes out of it."""
    path = sparse(tmp_path / "x.ckpt", [(f"{at}", (4 << 20,)) for at in range(8)])
    outcomes: list[object] = []

    def load() -> None:
        try:
            outcomes.append({value.shape for value in load_checkpoint(str(path)).values()})
        except CheckpointError as error:
            outcomes.append(type(error))

    thread = threading.Thread(target=load)
    thread.start()
    os.truncate(path, 3 << 20)
    thread.join()
    # It was cut before, while or after it was read; a cut before is a damaged file.
    (outcome,) = outcomes
    assert outcome == {(4 << 20,)} or (isinstance(outcome, type) and issubclass(outcome, CheckpointError))


# -- nothing is kept --------------------------------------------------------------------------------------------


def _failing(path: Path, how: dict[str, Any]) -> None:
    with suppress(CheckpointError):
        load_checkpoint(io.BytesIO(path.read_bytes()[:-50]), **how)
    with suppress(CheckpointError):
        load_checkpoint(str(path), **how, specify_prefix="none of these")
    with suppress(CheckpointError):
        open_checkpoint(path, format="ckpt", dec_key=bytes(16), dec_mode="SM4-CBC")


def _lazily(path: Path, how: dict[str, Any]) -> None:
    with open_checkpoint(path, **how) as reader:
        reader.get_slice("fc1.weight")[3:5]
        reader.info("fc2.weight")
        with suppress(CheckpointError):
            reader.info("not there")


USES: dict[str, Callable[[Path, dict[str, Any]], object]] = {
    "load": lambda path, how: load_checkpoint(str(path), **how),
    "reader": _lazily,
    "forgotten reader": lambda path, how: open_checkpoint(path, **how)["fc0.weight"],
    "failing": _failing,
}


def _blocks() -> int:
    gc.collect()
    return sys.getallocatedblocks()


@pytest.mark.slow
@pytest.mark.parametrize("use", USES)
@every_kind
def test_no_memory_is_kept_over_two_hundred_and_fifty_loads(kind: str, use: str, tmp_path: Path) -> None:
    """Five kinds in four ways are thousands of loads; what each kept, were it a single object, would be seen.

    What a load keeps is kept by every fifty of them. Python itself keeps more and more seldom something, such as
    frames and tables of threads, for as long as it has not met the most that are in use at a time.
    """
    path, how = make(tmp_path, kind)
    for _ in range(20):
        USES[use](path, how)
    counts = [_blocks()]
    grown: list[int] = []
    while len(grown) < 5 or (min(grown) >= 50 and len(grown) < 30):
        for _ in range(50):
            USES[use](path, how)
        counts.append(_blocks())
        grown = [after - before for before, after in pairwise(counts)]
    assert min(grown) < 50, grown
