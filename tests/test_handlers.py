"""Signal handlers may save, load and convert, whatever they interrupt; and Ctrl-C loses no save that was accepted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from ckptload import load_checkpoint
from places import TESTS

if TYPE_CHECKING:
    from pathlib import Path

posix_only = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
thread_and_process = pytest.mark.parametrize(
    "how", ["thread", pytest.param("process", marks=pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork"))]
)


def run(code: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program; it ends with a traceback if it waits for ever."""
    begin = (
        "import faulthandler, os; faulthandler.dump_traceback_later(100, exit=True)\n"
        f"import ckptload; os.chdir({str(folder)!r})\n"
    )
    return subprocess.run([sys.executable, "-c", begin + code, *arguments], capture_output=True, text=True, check=False)


# -- handlers ------------------------------------------------------------------------------------------------------

EMERGENCY = """
import os, signal, sys, threading
import numpy as np, ckptload
from ckptload.writing import background_save

def emergency(*_):
    ckptload.save_checkpoint({"w": np.ones(3)}, "emergency.ckpt")
    print("emergency", len([call for call in background_calls() if call.begun]))

from ckptload.saving import _saves
background_calls = lambda: _saves._calls
signal.signal(signal.SIGUSR1, emergency)

# The first save goes on until the handler has saved.
release = threading.Event()
attempt = background_save.Save._attempt

def slow(save):
    threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1)).start()
    while not os.path.exists("emergency.ckpt"):
        release.wait(0.01)
    attempt(save)

background_save.Save._attempt = slow
values = {"w": np.zeros(10)}
ckptload.save_checkpoint(values, "first.ckpt", async_save=True)
background_save.Save._attempt = attempt
ckptload.save_checkpoint(values, "second.ckpt", async_save=sys.argv[1] == "async")
print("went on")
"""


@posix_only
@pytest.mark.parametrize("outer", ["sync", "async"])
@pytest.mark.slow
def test_a_save_in_a_handler_does_not_wait_for_what_it_has_interrupted(tmp_path: Path, outer: str) -> None:
    found = run(EMERGENCY, tmp_path, outer)
    assert found.stderr == ""
    assert found.stdout == "emergency 1\nwent on\n"
    for name in ("first", "second", "emergency"):
        assert load_checkpoint(tmp_path / f"{name}.ckpt")["w"].shape == ((3,) if name == "emergency" else (10,))


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize(
    "outer",
    [
        "save",
        "save_later",
        pytest.param("save_in_a_process", marks=pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")),
        "load",
        "load_a_file_object",
        "load_later",
        "close",
        "convert",
    ],
)
def test_at_every_line_a_handler_may_save_load_and_convert(tmp_path: Path, outer: str) -> None:
    """See tests/interrupted.py."""
    found = subprocess.run(
        [sys.executable, str(TESTS / "interrupted.py"), outer, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.stderr == ""
    assert found.stdout == "done\n"


SAME_TARGET = """
import threading
import numpy as np, ckptload
from ckptload.saving import _saves

first = {"w": np.zeros(10)}
ckptload.save_checkpoint(first, "x.ckpt", async_save=True)
with _saves._turn("other.ckpt"):
    # As in a handler that has interrupted a call.
    ckptload.save_checkpoint({"w": np.ones(10)}, "x.ckpt")
"""


@pytest.mark.slow
def test_the_save_of_a_handler_comes_after_an_earlier_one_to_the_same_file(tmp_path: Path) -> None:
    for _ in range(5):
        assert run(SAME_TARGET, tmp_path).returncode == 0
        assert np.array_equal(load_checkpoint(tmp_path / "x.ckpt")["w"].asnumpy(), np.ones(10))


# -- Ctrl-C --------------------------------------------------------------------------------------------------------

INTERRUPTED = """
import os, signal, sys, threading, time
import numpy as np, ckptload
from ckptload.saving import wait_for_saves
from ckptload.writing import background_save

how, when, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
attempt = background_save.Save._attempt

def slow(save):
    time.sleep(0.4 if count == 1 else 60)
    attempt(save)

background_save.Save._attempt = slow
ckptload.save_checkpoint({"w": np.ones(3)}, "x.ckpt", async_save=how)

def interrupt():
    for _ in range(count):
        time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=interrupt, daemon=True).start()
if when == "waiting":
    try:
        wait_for_saves()
    except KeyboardInterrupt:
        print("interrupted")
elif when == "saving":
    try:
        ckptload.save_checkpoint({}, "y.ckpt")
    except KeyboardInterrupt:
        print("interrupted")
"""


@posix_only
@thread_and_process
@pytest.mark.parametrize("when", ["waiting", "saving", "exit"])
@pytest.mark.slow
def test_an_interrupt_does_not_lose_an_accepted_save(tmp_path: Path, how: str, when: str) -> None:
    found = run(INTERRUPTED, tmp_path, how, when, "1")
    assert found.returncode == 0
    assert np.array_equal(load_checkpoint(tmp_path / "x.ckpt")["w"].asnumpy(), np.ones(3))
    if when == "exit":
        assert "x.ckpt is still being saved; another interrupt gives it up" in found.stderr
    else:
        assert found.stdout == "interrupted\n"
        assert found.stderr == ""
    assert not (tmp_path / "y.ckpt").exists()


@posix_only
@thread_and_process
@pytest.mark.slow
@pytest.mark.once
def test_a_second_interrupt_at_the_end_gives_a_save_up_and_says_so(tmp_path: Path, how: str) -> None:
    found = run(INTERRUPTED, tmp_path, how, "exit", "2")
    assert found.returncode == 130
    assert "x.ckpt was not saved: the process was interrupted" in found.stderr
    if how == "process":
        child = found.stderr.rpartition("its child ")[2].split()[0]
        os.kill(int(child), signal.SIGKILL)


IN_A_PROCESS = """
import multiprocessing, time
import numpy as np, ckptload
from ckptload.writing import background_save

def save(how):
    attempt = background_save.Save._attempt
    background_save.Save._attempt = lambda save: (time.sleep(0.2), attempt(save))
    ckptload.save_checkpoint({"w": np.ones(3)}, f"{how}.ckpt", async_save=how)

context = multiprocessing.get_context("fork")
for how in ("thread", "process"):
    child = context.Process(target=save, args=(how,))
    child.start()
    child.join()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.slow
def test_a_process_of_multiprocessing_waits_at_its_end(tmp_path: Path) -> None:
    run(IN_A_PROCESS, tmp_path)
    for how in ("thread", "process"):
        assert (tmp_path / f"{how}.ckpt").exists()


LATE = """
import atexit
import numpy as np

@atexit.register
def late():
    ckptload.save_checkpoint({"w": np.ones(3)}, "x.ckpt", async_save=True)

import ckptload
ckptload.save_checkpoint({}, "y.ckpt")
"""


@pytest.mark.slow
def test_a_save_that_is_started_after_the_waiting_is_done_at_once(tmp_path: Path) -> None:
    found = run(LATE, tmp_path)
    assert found.returncode == 0
    assert (tmp_path / "x.ckpt").exists()
    assert "saved synchronously" in found.stderr
