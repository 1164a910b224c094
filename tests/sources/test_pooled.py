"""Files of which only some are open at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from ckptload.errors import ChangedFileError, ClosedReaderError, MissingFileError
from ckptload.sources.pooled import Pool, PooledFile

if TYPE_CHECKING:
    from pathlib import Path


Made = Callable[..., list[PooledFile]]


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Made]:
    """Make files of a pool, which are closed when the test ends."""
    files: list[PooledFile] = []

    def make(pool: Pool, count: int = 6) -> list[PooledFile]:
        for number in range(count):
            path = tmp_path / str(number)
            path.write_bytes(bytes([number]) * 1000)
            files.append(PooledFile(str(path), pool))
        return files

    yield make
    for file in files:
        file.close()


def test_no_more_than_wanted_are_open_and_all_can_be_read(made: Made) -> None:
    pool = Pool(2)
    files = made(pool)
    for number in (0, 5, 3, 0, 1, 2, 4):
        assert bytes(files[number].read(10, 20)) == bytes([number]) * 10
        assert len(pool._open) <= 2
    room = bytearray(2000)
    files[1].read_many([(0, memoryview(room)[:1000]), (0, memoryview(room)[1000:])][:1])
    assert room == bytes([1]) * 1000 + bytes(1000)


def test_a_file_that_is_being_read_is_not_closed(made: Made) -> None:
    pool = Pool(1)
    files = made(pool, 3)
    with pool.lent(files[0]) as first, pool.lent(files[1]) as second:
        assert bytes(files[2].read(0, 1)) == b"\2"
        assert bytes(first.read(0, 1)) == b"\0"
        assert bytes(second.read(0, 1)) == b"\1"
    assert len(pool._open) == 1


def test_a_file_that_was_replaced_while_it_was_closed_is_told(made: Made, tmp_path: Path) -> None:
    pool = Pool(1)
    first, second = made(pool, 2)
    assert bytes(second.read(0, 1)) == b"\1"
    (tmp_path / "0").write_bytes(b"other")
    with pytest.raises(ChangedFileError, match="changed or replaced"):
        first.read(0, 1)
    second.check_unchanged()
    (tmp_path / "1").write_bytes(b"other")
    with pytest.raises(ChangedFileError, match="changed or replaced"):
        second.check_unchanged()


def test_a_closed_file_says_so(made: Made) -> None:
    pool = Pool(2)
    first, second = made(pool, 2)
    first.close()
    with pytest.raises(ClosedReaderError):
        first.read(0, 1)
    assert bytes(second.read(0, 1)) == b"\1"
    second.close()
    assert not pool._open


def test_a_file_that_is_not_there_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError):
        PooledFile(str(tmp_path / "nothing"), Pool())


def test_threads_share_a_pool(made: Made) -> None:
    pool = Pool(2)
    files = made(pool)
    wrong: list[int] = []

    def work(at: int) -> None:
        for step in range(50):
            number = (at + step) % len(files)
            if bytes(files[number].read(step, step + 3)) != bytes([number]) * 3:
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(at,)) for at in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(pool._open) <= 2
