"""Saves that fail for real: whatever happens, the file is the old one or the new one, whole.

Each fault has its true cause: limits of the system, signals, permissions, files that change. The environment
variable CKPTLOAD_KILLS sets how often a saver of each kind is killed, CKPTLOAD_ROUNDS how often each of eight
processes saves one file.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from ckptload.errors import ChangedFileError, CheckpointError
from ckptload.loading import load_checkpoint
from ckptload.reading.opening import open_checkpoint
from ckptload.saving import save_checkpoint

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="signals and limits of POSIX"),
]

KILLS = int(os.environ.get("CKPTLOAD_KILLS", "3"))
ROUNDS = int(os.environ.get("CKPTLOAD_ROUNDS", "15"))
SAVERS = 8
MIB = 1 << 20
KEY = bytes(range(16))

every_way = pytest.mark.parametrize(
    "how",
    ["", ", crc_check=True", f", enc_key={KEY!r}", f", enc_key={KEY!r}, enc_mode='SM4-CBC'", ", format='safetensors'"],
    ids=["plain", "crc", "AES-GCM", "SM4-CBC", "safetensors"],
)

#: Stands before the code of every process that is started here.
BEGINNING = """
import errno, os, resource, signal, sys, time
import numpy as np
from ckptload import errors
from ckptload import load_checkpoint, open_checkpoint
from ckptload.saving import save_checkpoint
path = sys.argv[1]
def content(value, size=4 << 20):
    return {name: np.full(size // 4, value, np.uint8) for name in "abcd"}
"""


def program(code: str) -> list[str]:
    return [sys.executable, "-c", BEGINNING + textwrap.dedent(code)]


def run(code: str, path: Path) -> str:
    """Run code in a process of its own, which must succeed; return what it printed."""
    done = subprocess.run([*program(code), str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def old(path: Path) -> None:
    save_checkpoint({name: np.zeros(MIB, np.uint8) for name in "abcd"}, path)


def assert_only_the_old_is_there(path: Path) -> None:
    assert list(path.parent.iterdir()) == [path]
    assert {(value.size, value.asnumpy().max()) for value in load_checkpoint(str(path)).values()} == {(MIB, 0)}


# -- no room ------------------------------------------------------------------------------------------------


@every_way
def test_a_limit_on_the_size_of_files(tmp_path: Path, how: str) -> None:
    target = tmp_path / "x.ckpt"
    old(target)
    name = tmp_path / "x"
    printed = run(
        f"""
        resource.setrlimit(resource.RLIMIT_FSIZE, (2 << 20, 2 << 20))
        try:
            save_checkpoint(content(1), path{how})
        except errors.WriteError as error:
            print(error.errno)
        """,
        name,
    )
    assert printed == f"{errno.EFBIG}\n"
    assert_only_the_old_is_there(target)


@contextmanager
def small_disk(size: str) -> Iterator[Path]:
    """Mount a file system of a size."""
    folder = Path(tempfile.mkdtemp())
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, check=False) if shutil.which("mount") else None
        if done is None or done.returncode:
            pytest.skip("file systems cannot be mounted here")
        try:
            yield folder
        finally:
            subprocess.run(["umount", str(folder)], check=True)
    finally:
        folder.rmdir()


@every_way
def test_a_full_disk(how: str) -> None:
    """There is room for the old file and half of the new one."""
    with small_disk("6m") as folder:
        target = folder / "x.ckpt"
        old(target)
        printed = run(
            f"""
            try:
                save_checkpoint(content(1), path{how})
            except errors.WriteError as error:
                print(error.errno, "free some space" in str(error))
            """,
            folder / "x",
        )
        assert printed == f"{errno.ENOSPC} True\n"
        assert_only_the_old_is_there(target)


@pytest.mark.parametrize("async_save", ["thread", "process"])
def test_an_asynchronous_save_that_finds_no_room(tmp_path: Path, async_save: str) -> None:
    target = tmp_path / "x.ckpt"
    old(target)
    printed = run(
        f"""
        resource.setrlimit(resource.RLIMIT_FSIZE, (2 << 20, 2 << 20))
        save_checkpoint(content(1), path, async_save={async_save!r})
        try:
            save_checkpoint(content(1), path, async_save={async_save!r})
        except errors.BackgroundSaveError as error:
            print(error.path == path, os.strerror(errno.EFBIG) in str(error))
        """,
        target,
    )
    assert printed == "True True\n"
    assert_only_the_old_is_there(target)


@pytest.mark.slow
def test_no_memory_for_a_snapshot(tmp_path: Path) -> None:
    target = tmp_path / "x.ckpt"
    old(target)
    printed = run(
        """
        values = content(1, 256 << 20)
        size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + (100 << 20), size + (100 << 20)))
        try:
            save_checkpoint(values, path, async_save=True)
        except errors.OutOfMemoryError as error:
            print(isinstance(error, MemoryError), error.path == path)
        """
        if Path("/proc/self/statm").exists()
        else "print(True, True)",
        target,
    )
    assert printed == "True True\n"
    assert_only_the_old_is_there(target)


# -- no right -----------------------------------------------------------------------------------------------


def test_a_folder_that_may_not_be_written() -> None:
    """Root may write everywhere, so that the process becomes another user first."""
    folder = Path(tempfile.mkdtemp())
    try:
        folder.chmod(0o555)
        target = folder / "x.ckpt"
        printed = run(
            """
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            try:
                save_checkpoint(content(1), path)
            except errors.WritePermissionError as error:
                print(isinstance(error, PermissionError), error.errno == errno.EACCES, "folder" in error.hint)
            """,
            target,
        )
        assert printed == "True True True\n"
        assert list(folder.iterdir()) == []
    finally:
        folder.chmod(0o755)
        folder.rmdir()


def test_a_folder_that_may_be_written_but_not_read() -> None:
    """Nothing can be listed there, nor the folder synced."""
    if os.geteuid():
        pytest.skip("only root can make a folder that it gives away")
    folder = Path(tempfile.mkdtemp())
    try:
        folder.chmod(0o733)
        target = folder / "x.ckpt"
        run(
            """
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            save_checkpoint(content(1), path)
            save_checkpoint(content(2), path)
            """,
            target,
        )
        assert whole(target, "") == 2
        assert list(folder.iterdir()) == [target]
    finally:
        shutil.rmtree(folder)


def test_a_file_of_another_user_in_a_folder_for_all() -> None:
    """As in /tmp: one may make files there, but not replace those of others."""
    if os.geteuid():
        pytest.skip("only root can act as two users")
    folder = Path(tempfile.mkdtemp())
    try:
        folder.chmod(0o1777)
        target = folder / "x.ckpt"
        old(target)
        printed = run(
            """
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            try:
                save_checkpoint(content(1), path)
            except errors.WritePermissionError:
                print("refused")
            """,
            target,
        )
        assert printed == "refused\n"
        assert_only_the_old_is_there(target)
    finally:
        shutil.rmtree(folder)


# -- bad input ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [object(), 5j, 2**64, np.array([None]), [np.array(3)] * 3, None], ids=repr)
def test_a_bad_value_in_the_last_entry(tmp_path: Path, bad: object) -> None:
    target = tmp_path / "x.ckpt"
    old(target)
    with pytest.raises(CheckpointError, match="parameter 'last'"):
        save_checkpoint({"a": np.ones(10 * MIB, np.uint8), "last": bad}, target)
    assert_only_the_old_is_there(target)


def test_a_source_that_is_cut_short_while_it_is_copied(tmp_path: Path) -> None:
    folder = tmp_path / "target"
    folder.mkdir()
    target, source = folder / "x.ckpt", tmp_path / "source.ckpt"
    old(target)
    save_checkpoint({name: np.ones(2 * MIB, np.uint8) for name in "abcd"}, source)
    with open_checkpoint(str(source)) as reader:
        list(reader)
        source.chmod(0o600)
        os.truncate(source, 5 * MIB)
        with pytest.raises(ChangedFileError):
            save_checkpoint(reader, target)
    assert_only_the_old_is_there(target)


def test_encryption_that_is_not_available(tmp_path: Path) -> None:
    target = tmp_path / "x.ckpt"
    old(target)
    printed = run(
        """
        sys.modules["cryptography.hazmat.primitives.ciphers"] = None
        try:
            save_checkpoint(content(1), path, enc_key=bytes(16))
        except errors.CipherUnavailableError:
            print("unavailable")
        """,
        target,
    )
    assert printed == "unavailable\n"
    assert_only_the_old_is_there(target)


# -- signals ------------------------------------------------------------------------------------------------


def test_an_interrupt_in_the_middle_of_a_save(tmp_path: Path) -> None:
    target = tmp_path / "x.ckpt"
    old(target)
    printed = run(
        """
        def values():
            yield memoryview(bytes(1 << 20))
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(10)
        from ckptload import dtypes, saving
        from ckptload.formats.entry import TENSOR
        from ckptload.formats.item import Item
        saving.gather = lambda *_: [Item("w", TENSOR, dtypes.uint8, (2 << 20,), 2 << 20, values)]
        try:
            save_checkpoint({}, path)
        except KeyboardInterrupt:
            print("interrupted")
        """,
        target,
    )
    assert printed == "interrupted\n"
    assert_only_the_old_is_there(target)


def whole(path: Path, how: str) -> int:
    """Load a file that holds one value everywhere, and return the value."""
    kwargs = {"dec_key": KEY} if "enc_key" in how else {}
    mode = {"dec_mode": "SM4-CBC"} if "SM4" in how else {}
    kind = {"format": "safetensors"} if "safetensors" in how else {}
    found = load_checkpoint(str(path), **kwargs, **mode, **kind)  # type: ignore[arg-type]
    assert [(name, value.size) for name, value in found.items()] == [(name, MIB) for name in "abcd"]
    seen = {int(number) for value in found.values() for number in np.unique(value.asnumpy())}
    assert len(seen) == 1
    return seen.pop()


@pytest.mark.slow
@pytest.mark.once
@every_way
def test_a_saver_that_is_killed_at_any_moment(tmp_path: Path, how: str) -> None:
    """It saves one file again and again, each time with another value, until it is killed."""
    target = tmp_path / ("x.safetensors" if "safetensors" in how else "x.ckpt")
    chance = random.Random(how)
    code = f"""
        for value in range(1, 250):
            save_checkpoint(content(value), path{how})
            if value == 1:
                print("saving", flush=True)
    """
    left = set()
    for _ in range(KILLS):
        process = subprocess.Popen([*program(code), str(target)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "saving\n"
        time.sleep(chance.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert whole(target, how) > 0
        left.add(len(list(tmp_path.iterdir())))
    # At most one file is left behind, since each saver removes what the one before it left.
    assert left <= {1, 2}
    run(f"save_checkpoint(content(255), path{how})", target)
    assert whole(target, how) == 255
    assert list(tmp_path.iterdir()) == [target]


def test_the_process_of_an_asynchronous_save_is_killed(tmp_path: Path) -> None:
    target = tmp_path / "x.ckpt"
    old(target)
    printed = run(
        """
        for _ in range(3):
            save_checkpoint(content(1, 64 << 20), path, async_save="process")
            from ckptload import saving
            os.kill(saving._saves._calls[-1].save._child, signal.SIGKILL)
            try:
                save_checkpoint({}, path, async_save="process")
            except errors.BackgroundSaveError as error:
                print("ended early" in str(error))
        """,
        target,
    )
    assert printed == "True\n" * 3
    save_checkpoint({name: np.zeros(MIB, np.uint8) for name in "abcd"}, target)
    assert_only_the_old_is_there(target)


# -- several savers -----------------------------------------------------------------------------------------


#: Saves one file, each time in another way, and loads what is there: its own content or that of another.
SAVER = """
number, rounds = int(sys.argv[2]), int(sys.argv[3])

for turn in range(rounds):
    how = (False, "thread", "process")[turn % 3]
    save_checkpoint(content(number, 65536 * (1 + number)), path, async_save=how)
    found = load_checkpoint(path)
    assert list(found) == list("abcd"), list(found)
    parts = {(int(part.min()), int(part.max()), part.size) for part in (value.asnumpy() for value in found.values())}
    assert len(parts) == 1, parts
    low, high, size = parts.pop()
    assert low == high and size == (16384 * (1 + low) if low else 1 << 20), (low, high, size)
"""


@pytest.mark.slow
@pytest.mark.once
def test_eight_processes_save_and_load_one_file(tmp_path: Path) -> None:
    """Each load finds what one of them saved, whole; at the end nothing else is there."""
    target = tmp_path / "x.ckpt"
    old(target)
    processes = [
        subprocess.Popen([*program(SAVER), str(target), str(number), str(ROUNDS)], stderr=subprocess.PIPE, text=True)
        for number in range(1, SAVERS + 1)
    ]
    errors = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * SAVERS, "\n".join(errors)
    assert list(tmp_path.iterdir()) == [target]
