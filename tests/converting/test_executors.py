"""Tasks in threads, and in whatever has `submit`."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from ckptload.converting.executors import check_executor, run
from ckptload.errors import ArgumentTypeError, CheckpointError, WriteError

if TYPE_CHECKING:
    from collections.abc import Callable


class Future:
    """A future that is no `concurrent.futures.Future`, done when its result is asked for."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self._work = work

    def result(self) -> Any:
        return self._work()


class Executor:
    """An executor that is not of `concurrent.futures`."""

    def submit(self, function: Any, *arguments: Any) -> Future:
        return Future(lambda: function(*arguments))


@pytest.mark.parametrize("kind", [None, "ours", "threads"])
def test_results_come_in_the_order_of_the_tasks(kind: str | None) -> None:
    executor = {None: None, "ours": Executor(), "threads": ThreadPoolExecutor(2)}[kind]
    seen: list[int] = []
    assert run(lambda task: task * 2, range(20), executor, done=seen.append) == [task * 2 for task in range(20)]
    assert sorted(seen) == [task * 2 for task in range(20)]


def test_after_a_failure_nothing_is_begun_and_the_rest_is_waited_for() -> None:
    begun: list[int] = []
    ended: list[int] = []
    failed = threading.Event()

    def work(task: int) -> None:
        begun.append(task)
        if task == 1:
            failed.set()
            raise WriteError("no room")
        failed.wait(5)
        time.sleep(0.02)
        ended.append(task)

    with ThreadPoolExecutor(2) as executor:
        with pytest.raises(WriteError, match="no room"):
            run(work, range(50), executor)
        assert sorted([*ended, 1]) == sorted(begun)
    assert len(begun) < 10


def test_what_an_executor_says_becomes_an_error_of_ours() -> None:
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    with pytest.raises(CheckpointError, match="the executor could not do a task: RuntimeError: cannot schedule"):
        run(len, [()], executor)

    def broken(task: object) -> None:
        raise OSError(task)

    with pytest.raises(CheckpointError, match="OSError: 7"):
        run(broken, [7], Executor())


def test_something_without_submit_is_no_executor() -> None:
    with pytest.raises(ArgumentTypeError, match="submit"):
        check_executor(4)
