"""Work that threads share: with helpers or without, the same results; and nobody waits for a thread that never runs."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ckptload import threads
from ckptload.threads import HELD, Task, share

if TYPE_CHECKING:
    from collections.abc import Callable


def never(*_: Any) -> int:
    """Stand for the start of a thread that has no memory to begin with, and tells nobody."""
    return 0


def refuse(*_: Any) -> int:
    message = "can't start new thread"
    raise RuntimeError(message)


def full(*_: Any) -> int:
    raise MemoryError


without_threads = pytest.mark.parametrize("start", [never, refuse, full])


def test_results_are_in_the_order_of_the_jobs() -> None:
    def work(job: int) -> int:
        time.sleep(0.001 * (job % 3))
        return 10 * job

    assert share(work, range(50)) == [10 * job for job in range(50)]
    assert share(work, []) == []


def test_two_threads_take_part() -> None:
    both = threading.Barrier(2, timeout=30)
    assert share(lambda _: both.wait() >= 0, [1, 2]) == [True, True]


@pytest.mark.parametrize("count", [1, 4])
def test_as_many_threads_take_part_as_are_asked_for(count: int) -> None:
    together = threading.Barrier(count, timeout=30)
    assert len(share(lambda _: together.wait(), range(count), threads=count)) == count


@without_threads
def test_without_threads_the_caller_does_all(monkeypatch: pytest.MonkeyPatch, start: Callable[..., int]) -> None:
    monkeypatch.setattr(threads, "start_new_thread", start)
    assert share(lambda job: (job, threading.get_ident()), range(5)) == [
        (job, threading.get_ident()) for job in range(5)
    ]


def test_a_thread_that_begins_too_late_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    late: list[tuple[Any, Any]] = []
    monkeypatch.setattr(threads, "start_new_thread", lambda work, arguments: late.append((work, arguments)))
    done: list[int] = []
    share(done.append, [1, 2, 3])
    for work, arguments in late:
        work(*arguments)
    assert done == [1, 2, 3]
    assert late


def test_the_failure_of_the_first_job_that_failed_is_raised_after_all_that_were_begun() -> None:
    both = threading.Barrier(2, timeout=30)
    ended: list[int] = []

    def work(job: int) -> None:
        if job < 2:
            both.wait()
            time.sleep(0.01 * (2 - job))
            ended.append(job)
            raise LookupError(job)
        ended.append(job)

    with pytest.raises(LookupError, match="0"):
        share(work, range(1000))
    assert sorted(ended) == [0, 1]


def test_what_ends_a_helper_is_raised() -> None:
    caller = threading.get_ident()
    both = threading.Barrier(2, timeout=30)

    def work(_: int) -> None:
        both.wait()
        if threading.get_ident() != caller:
            raise SystemExit

    with pytest.raises(SystemExit):
        share(work, [1, 2])


def test_an_interrupt_waits_for_the_job_of_a_helper() -> None:
    """Its memory is the caller's."""
    caller = threading.get_ident()
    both = threading.Barrier(2, timeout=30)
    ended: list[int] = []

    def work(job: int) -> None:
        both.wait()
        if threading.get_ident() == caller:
            raise KeyboardInterrupt
        time.sleep(0.05)
        ended.append(job)

    with pytest.raises(KeyboardInterrupt):
        share(work, range(10))
    assert len(ended) == 1


def test_who_holds_a_lock_that_helpers_could_need_has_none() -> None:
    with HELD:
        assert set(share(lambda _: threading.get_ident(), range(9))) == {threading.get_ident()}
    assert HELD.count == 0


def test_a_failure_keeps_nothing_alive() -> None:
    array = np.zeros(10)
    kept = weakref.ref(array)

    def work(job: int, array: object = array) -> None:
        raise LookupError(job, id(array))

    gc.disable()
    try:
        try:
            share(work, range(5))
        except LookupError:
            pass
        else:
            pytest.fail("nothing was raised")
        del work, array
        assert kept() is None
    finally:
        gc.enable()


# -- in the background -----------------------------------------------------------------------------------------


def test_a_task_returns_or_raises_each_time_what_its_work_did() -> None:
    task = Task(lambda: 7)
    task.begin("a name")
    assert task.result() == task.result() == 7

    def fail() -> None:
        raise LookupError("x")

    failing = Task(fail)
    failing.begin("a name")
    for _ in range(2):
        with pytest.raises(LookupError, match="x"):
            failing.result()


def test_who_waits_for_a_thread_that_never_begins_does_its_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "PATIENCE", 0.01)
    monkeypatch.setattr(threading.Thread, "start", never)
    ran: list[int] = []
    task = Task(lambda: ran.append(threading.get_ident()))
    task.begin("a name")
    assert not task.ended
    task.result()
    assert ran == [threading.get_ident()]


def test_start_does_not_wait_for_a_thread_that_dies_before_it_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "PATIENCE", 0.01)
    for name in ("_start_new_thread", "_start_joinable_thread"):
        monkeypatch.setattr(threading, name, lambda *_, **__: 0, raising=False)
    task = Task(lambda: 7)
    task.begin("a name")
    assert task.result() == 7


def test_a_thread_that_begins_after_its_work_was_done_does_nothing() -> None:
    ran: list[int] = []
    task = Task(lambda: ran.append(1))
    task.do()
    task.begin("a name")
    task.result()
    assert ran == [1]


def test_work_that_an_interrupt_has_ended_is_done_later() -> None:
    ran: list[int] = []

    def work() -> None:
        ran.append(1)
        if len(ran) == 1:
            raise KeyboardInterrupt

    task = Task(work)
    with pytest.raises(KeyboardInterrupt):
        task.do()
    assert not task.ended
    task.do()
    assert task.ended
    assert len(ran) == 2
