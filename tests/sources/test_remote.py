"""Checkpoints behind URLs: a real HTTP server with ranges, and fsspec's own memory file system."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from ckptload import load_checkpoint, open_checkpoint
from ckptload.errors import ChangedFileError, CheckpointError, ClosedReaderError, MissingFileError, ReadError
from places import FIXTURES
from sources.web import checkpoint

if TYPE_CHECKING:
    from sources.web import Server

fsspec = pytest.importorskip("fsspec")
pytest.importorskip("aiohttp")

LENET = FIXTURES / "lenet5.ckpt"


def test_a_checkpoint_is_loaded_over_http(server: Server) -> None:
    loaded = load_checkpoint(server.url("lenet5.ckpt", LENET.read_bytes()))
    expected = load_checkpoint(str(LENET))
    assert list(loaded) == list(expected)
    assert all(loaded[name].get_bytes() == expected[name].get_bytes() for name in expected)


def test_one_tensor_costs_the_index_and_its_own_bytes(server: Server) -> None:
    """Of 16 tensors of 1 MiB one is fetched; the headers of the others cost a window each."""
    data, arrays = checkpoint(16, 1 << 18)
    url = server.url("large.ckpt", data)
    loaded = load_checkpoint(url, choice_func=lambda name: name == "layer7.weight")
    np.testing.assert_array_equal(np.asarray(loaded["layer7.weight"]), arrays["layer7.weight"])
    assert len(server.served) <= 16 + 2
    assert sum(server.served) < (1 << 20) + 18 * (16 << 10)


def test_small_tensors_share_requests(server: Server) -> None:
    """2 000 tensors of 1 KiB are indexed and fetched in a few requests, not in thousands."""
    data, arrays = checkpoint(2000, 256)
    loaded = load_checkpoint(server.url("small.ckpt", data))
    assert len(loaded) == len(arrays)
    np.testing.assert_array_equal(np.asarray(loaded["layer1999.weight"]), arrays["layer1999.weight"])
    assert len(server.served) <= 8


def test_a_large_tensor_is_fetched_in_parallel_pieces(server: Server) -> None:
    data, arrays = checkpoint(1, 6 << 20)
    loaded = load_checkpoint(server.url("one.ckpt", data))
    np.testing.assert_array_equal(np.asarray(loaded["layer0.weight"]), arrays["layer0.weight"])
    assert max(server.served) <= 8 << 20


def test_rows_are_fetched_alone(server: Server) -> None:
    data, _ = checkpoint(1, 1 << 20)
    with open_checkpoint(server.url("rows.ckpt", data)) as reader:
        index = sum(server.served)
        rows = reader.get_slice("layer0.weight")[1000:1010]
    assert rows.shape == (10,)
    assert sum(server.served) - index == 40


def test_what_is_not_there_is_a_read_error(server: Server) -> None:
    url = server.url("here.ckpt", b"")
    with pytest.raises(MissingFileError, match="here2"):
        load_checkpoint(url.replace("here", "here2"))


def test_a_server_without_ranges_is_told(server: Server) -> None:
    """Such a server answers a range with the whole file; that is refused instead of misread."""
    server.ranges = False
    data, _ = checkpoint(4, 1 << 16)
    with pytest.raises((ChangedFileError, ReadError)):
        load_checkpoint(server.url("plain.ckpt", data))


def test_a_file_that_shrinks_is_told(server: Server) -> None:
    data, _ = checkpoint(4, 1 << 16)
    with open_checkpoint(server.url("shrinks.ckpt", data)) as reader:
        server.files["/shrinks.ckpt"] = data[: len(data) // 2]
        with pytest.raises(CheckpointError):
            reader["layer3.weight"]


def test_an_entry_is_fetched_into_several_arrays(server: Server) -> None:
    data, values = checkpoint(4, 1 << 16)
    names = [*values, *values]
    with open_checkpoint(server.url("twice.ckpt", data)) as reader:
        arrays = [np.zeros(reader.info(name).shape, np.float32) for name in names]
        reader.fill(zip(names, arrays, strict=True))
        for name, array in zip(names, arrays, strict=True):
            assert np.array_equal(array, reader[name].asnumpy())


def test_any_file_system_of_fsspec_will_do() -> None:
    fsspec.filesystem("memory").pipe("/lenet5.ckpt", LENET.read_bytes())
    with open_checkpoint("memory://lenet5.ckpt") as reader:
        assert reader["conv1.weight"].shape == (6, 1, 5, 5)
    with pytest.raises(ClosedReaderError):
        reader["conv1.weight"]


def test_a_password_in_a_url_is_in_no_message() -> None:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint("ftp://user:hunter2@127.0.0.1:9/x.ckpt")
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(caught.value)
