"""Checkpoints behind URLs: a real HTTP server with ranges, and fsspec's own memory file system."""

from __future__ import annotations

import re
import threading
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ckptload import load_checkpoint, open_checkpoint
from ckptload.errors import ChangedFileError, CheckpointError, ClosedReaderError, MissingFileError, ReadError
from ckptload.formats.ckpt import schema
from places import FIXTURES

if TYPE_CHECKING:
    from collections.abc import Iterator

fsspec = pytest.importorskip("fsspec")
pytest.importorskip("aiohttp")

LENET = FIXTURES / "lenet5.ckpt"


class Server(ThreadingHTTPServer):
    """Serves bytes with ranges, and keeps count of what was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.ranges = True
        self.identifies = True
        self.served: list[int] = []

    def url(self, name: str, data: bytes) -> str:
        self.files["/" + name] = data
        return f"http://127.0.0.1:{self.server_address[1]}/{name}"


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        data = self.server.files.get(self.path)
        if data is None:
            self.send_error(404)
            return
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "")) if self.server.ranges else None
        part = data if wanted is None else data[int(wanted[1]) : int(wanted[2]) + 1]
        self.send_response(200 if wanted is None else 206)
        self.send_header("Content-Length", str(len(part)))
        if self.server.ranges:
            self.send_header("Accept-Ranges", "bytes")
        if wanted is not None:
            start = int(wanted[1])
            self.send_header("Content-Range", f"bytes {start}-{start + len(part) - 1}/{len(data)}")
        if self.server.identifies:
            self.send_header("ETag", f'"{zlib.crc32(data):08x}"')
        self.end_headers()
        if body:
            self.server.served.append(len(part))
            self.wfile.write(part)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def checkpoint(count: int, elements: int) -> tuple[bytes, dict[str, np.ndarray[Any, Any]]]:
    """Tensors of one size, as MindSpore writes them."""
    message: Any = schema.message_class("Checkpoint")()
    arrays = {}
    for number in range(count):
        value = message.value.add()
        value.tag = f"layer{number}.weight"
        arrays[value.tag] = np.full(elements, number, np.float32)
        value.tensor.dims.append(elements)
        value.tensor.tensor_type = "Float32"
        value.tensor.tensor_content = arrays[value.tag].tobytes()
    return message.SerializeToString(), arrays


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
