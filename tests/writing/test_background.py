"""Asynchronous saves: order, failures that are told, and nothing lost when the interpreter ends."""

from __future__ import annotations

import errno
import gc
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pytest

from ckptload import threads
from ckptload.errors import BackgroundSaveError, WriteError
from ckptload.writing import background
from ckptload.writing.background import Saves
from ckptload.writing.background_save import THREAD_NAME

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

by_thread_and_process = pytest.mark.parametrize(
    "process",
    [False, pytest.param(True, marks=pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork"))],
    ids=["thread", "process"],
)
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")


def start(saves: Saves, work: Callable[[], None], *, process: bool) -> None:
    saves.start("x.ckpt", lambda: work, process=process)


def fail() -> None:
    raise WriteError("the disk is full", path="x.ckpt")


@by_thread_and_process
def test_the_work_is_done_when_wait_returns(tmp_path: Path, process: bool) -> None:
    saves = Saves()

    def work() -> None:
        time.sleep(0.05)
        (tmp_path / "done").touch()

    start(saves, work, process=process)
    saves.wait()
    assert (tmp_path / "done").exists()


@by_thread_and_process
def test_saves_run_one_after_the_other_in_the_order_of_the_calls(tmp_path: Path, process: bool) -> None:
    saves = Saves()
    log = tmp_path / "log"

    def work(number: int) -> Callable[[], None]:
        def write() -> None:
            with log.open("a") as file:
                file.write(f"{number} begins\n")
            time.sleep(0.02)
            with log.open("a") as file:
                file.write(f"{number} ends\n")

        return write

    for number in range(4):
        start(saves, work(number), process=process)
    saves.wait()
    expected = [f"{number} {what}" for number in range(4) for what in ("begins", "ends")]
    assert log.read_text().splitlines() == expected


@by_thread_and_process
def test_the_data_are_taken_before_start_returns(process: bool) -> None:
    taken: list[int] = []

    def prepare() -> Callable[[], None]:
        taken.append(1)
        return lambda: None

    saves = Saves()
    saves.start("x.ckpt", prepare, process=process)
    assert taken == [1]
    saves.wait()


@by_thread_and_process
def test_a_failure_is_raised_once_by_the_next_asynchronous_save(process: bool) -> None:
    saves = Saves()
    ran: list[int] = []
    start(saves, fail, process=process)
    saves.wait()
    with pytest.raises(BackgroundSaveError, match="the disk is full") as caught:
        start(saves, lambda: ran.append(1), process=False)
    assert caught.value.path == "x.ckpt"
    saves.wait()
    assert ran == []
    start(saves, lambda: ran.append(1), process=False)
    saves.wait()
    assert ran == [1]


def test_a_failure_is_logged_at_once(caplog: pytest.LogCaptureFixture) -> None:
    saves = Saves()
    with caplog.at_level(logging.ERROR, "ckptload"):
        start(saves, fail, process=False)
        saves.wait()
    (record,) = caplog.records
    assert record.getMessage() == "x.ckpt was not saved"
    assert record.exc_info is not None
    assert record.exc_info[0] is WriteError


@by_thread_and_process
def test_an_unexpected_exception_is_a_failure_too(process: bool) -> None:
    saves = Saves()

    def work() -> None:
        raise IndexError("a fault of ours")

    start(saves, work, process=process)
    with pytest.raises(BackgroundSaveError, match="IndexError: a fault of ours"):
        start(saves, lambda: None, process=process)


@needs_fork
def test_a_process_that_is_killed_is_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    saves = Saves()
    start(saves, lambda: os.kill(os.getpid(), signal.SIGKILL), process=True)
    with pytest.raises(BackgroundSaveError, match="ended early, status -9"):
        start(saves, lambda: None, process=True)
    assert "ended early" in caplog.text


@needs_fork
def test_a_process_that_leaves_by_itself_is_a_failure() -> None:
    """Nothing of the child's may go on as the parent."""
    saves = Saves()
    start(saves, lambda: sys.exit(0), process=True)
    with pytest.raises(BackgroundSaveError, match="ended early, status 1"):
        start(saves, lambda: None, process=True)


@needs_fork
def test_a_child_that_the_caller_has_collected_still_reports() -> None:
    saves = Saves()
    start(saves, fail, process=True)
    os.wait()
    with pytest.raises(BackgroundSaveError, match="the disk is full"):
        start(saves, lambda: None, process=True)


@needs_fork
def test_an_interrupt_from_the_terminal_does_not_stop_a_process(tmp_path: Path) -> None:
    saves = Saves()

    def work() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        (tmp_path / "done").touch()

    start(saves, work, process=True)
    saves.wait()
    assert (tmp_path / "done").exists()


@needs_fork
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_of_the_caller_leaves_its_parents_saves_alone() -> None:
    saves = Saves()
    release = threading.Event()

    def work() -> None:
        release.wait(30)

    start(saves, work, process=False)
    pid = os.fork()
    if not pid:
        # The thread does not live here: waiting for it must not hang, nor fail.
        saves.wait()
        os._exit(7)
    release.set()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    saves.wait()


def test_the_thread_has_mindspores_name_and_is_no_daemon() -> None:
    """Scripts look for it by name to learn whether a save is still running."""
    seen: list[threading.Thread] = []
    saves = Saves()
    start(saves, lambda: seen.append(threading.current_thread()), process=False)
    saves.wait()
    assert [(thread.name, thread.daemon) for thread in seen] == [(THREAD_NAME, False)]


@by_thread_and_process
def test_the_interpreter_waits_when_it_ends(tmp_path: Path, process: bool) -> None:
    code = f"""
import pathlib, time
from ckptload.writing.background import Saves
def work():
    time.sleep(0.3)
    pathlib.Path({str(tmp_path / "done")!r}).touch()
Saves().start("x.ckpt", lambda: work, process={process})
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert (tmp_path / "done").exists()


def test_where_no_thread_can_be_started_the_save_is_done_at_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """So at the interpreter's end, from Python 3.12 on."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    ran: list[int] = []
    start(Saves(), lambda: ran.append(1), process=False)
    assert ran == [1]
    assert "x.ckpt is saved synchronously" in caplog.text


@needs_fork
def test_where_no_process_can_be_started_the_save_is_done_at_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse() -> int:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", refuse)
    ran: list[int] = []
    descriptors = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0  # noqa: PTH112, PTH208
    start(Saves(), lambda: ran.append(1), process=True)
    assert ran == [1]
    assert "Resource temporarily unavailable" in caplog.text
    if descriptors:
        assert len(os.listdir("/proc/self/fd")) == descriptors  # noqa: PTH208


@needs_fork
def test_a_long_reason_is_cut() -> None:
    saves = Saves()

    def work() -> None:
        raise WriteError("x" * 100_000)

    start(saves, work, process=True)
    with pytest.raises(BackgroundSaveError, match=r"failed: x{500}"):
        start(saves, lambda: None, process=True)


@needs_fork
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_process_that_keeps_the_pipe_open_is_not_waited_for(tmp_path: Path) -> None:
    """The caller may fork at the very moment at which a save is started; here the saver itself does."""
    saves = Saves()

    def work() -> None:
        pid = os.fork()
        if not pid:
            time.sleep(60)
            os._exit(0)
        (tmp_path / "pid").write_text(str(pid))

    start(saves, work, process=True)
    saves.wait()
    # It is still there, with its end of the pipe.
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


def _save(values: object, fails: bool) -> None:
    if fails:
        raise WriteError(f"no room for {values!r}", path="x.ckpt") from OSError("its reason")


@pytest.mark.slow
@pytest.mark.parametrize("fails", [False, True])
@by_thread_and_process
def test_a_save_that_has_ended_holds_neither_the_values_nor_the_key(
    caplog: pytest.LogCaptureFixture, process: bool, fails: bool
) -> None:
    """Not even if somebody keeps the record of the log."""
    saves = Saves()
    values = np.zeros(10)
    kept = weakref.ref(values)

    works = [partial(_save, values, fails)]
    saves.start("x.ckpt", works.pop, process=process)
    saves.wait()
    del values
    gc.collect()
    assert kept() is None
    assert len(caplog.records) == (fails and not process)


def test_a_thread_that_never_begins_loses_no_save(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "PATIENCE", 0.01)
    monkeypatch.setattr(threading.Thread, "start", lambda _: None)
    ran: list[int] = []
    saves = Saves()
    start(saves, lambda: ran.append(1), process=False)
    saves.wait()
    assert ran == [1]


def test_a_thread_that_ends_itself_is_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    saves = Saves()
    start(saves, sys.exit, process=False)
    with pytest.raises(BackgroundSaveError, match="ended early"):
        start(saves, lambda: None, process=False)
    assert "x.ckpt was not saved" in caplog.text


def test_saves_of_several_threads_run_one_at_a_time() -> None:
    saves = Saves()
    running: list[int] = []
    most: list[int] = []

    def work() -> None:
        running.append(1)
        most.append(len(running))
        time.sleep(0.005)
        running.pop()

    def call() -> None:
        for _ in range(5):
            start(saves, work, process=False)

    callers = [threading.Thread(target=call) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    saves.wait()
    assert len(most) == 20
    assert set(most) == {1}


def test_a_call_in_the_midst_of_another_waits_only_for_the_same_file() -> None:
    """As in a signal handler; nothing that it starts is lost."""
    saves = Saves()
    release = threading.Event()
    done: list[str] = []

    def first() -> None:
        release.wait(30)
        done.append("first")

    saves.start("first", lambda: first, process=False)
    interrupted = background._Call("second")
    saves._calls.append(interrupted)
    saves.wait("emergency")
    saves.start("later", lambda: lambda: done.append("later"), process=False)
    while not done:
        time.sleep(0.001)
    assert done == ["later"]
    threading.Timer(0.02, release.set).start()
    saves.wait("first")
    assert done == ["later", "first"]
