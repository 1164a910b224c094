"""A web server for the tests: it serves bytes with ranges, keeps count of what was asked, and misbehaves on request."""

from __future__ import annotations

import gzip
import re
import threading
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import numpy as np

from ckptload.formats.ckpt import schema

if TYPE_CHECKING:
    from collections.abc import Callable


class Server(ThreadingHTTPServer):
    """Serves bytes with ranges, and keeps count of what was asked.

    Attributes:
        files: contents by path, or functions that return them, called once per request.
        ranges: whether ranges are served.
        tag: returns the entity tag of a content; None for none.
        time: the time of the last change; None for none.
        obeys: whether conditions are compared.
        mode: how answers about a range are wrong; None if they are not.
        served: sizes of the bodies.
        asked: headers of the requests for ranges.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes | Callable[[], bytes]] = {}
        self.ranges = True
        self.tag: Callable[[bytes], str | None] = lambda data: f'"{zlib.crc32(data):08x}"'
        self.time: str | None = None
        self.obeys = False
        self.mode: str | None = None
        self.served: list[int] = []
        self.asked: list[dict[str, str]] = []
        self.stopping = threading.Event()

    def url(self, name: str, data: bytes | Callable[[], bytes]) -> str:
        self.files["/" + name] = data
        return f"http://127.0.0.1:{self.server_address[1]}/{name}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing about connections that the client closes."""


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    #: Otherwise each answer waits for the client to acknowledge its head.
    disable_nagle_algorithm = True

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        server = self.server
        found = server.files.get(self.path)
        if found is None:
            self.send_error(404)
            return
        if server.mode == "elsewhere":
            self.head(302, Location="file:///etc/passwd", Content_Length=0)
            return
        if server.mode == "moved" and self.path != "/moved":
            server.files["/moved"] = found
            self.head(302, Location="/moved", Content_Length=0, ETag='"of the redirection"')
            return
        data = found if isinstance(found, bytes) else found()
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "")) if server.ranges else None
        facts: dict[str, Any] = {"ETag": server.tag(data), "Last_Modified": server.time}
        if server.ranges:
            facts["Accept_Ranges"] = "bytes"
        if wanted is None:
            self.whole(data, facts, body=body)
            return
        server.asked.append(dict(self.headers.items()))
        if server.obeys and self.headers.get("If-Match", facts["ETag"]) != facts["ETag"]:
            self.head(412, Content_Length=0)
            return
        start, stop = int(wanted[1]), min(int(wanted[2]) + 1, len(data))
        facts["Content_Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
        part = data[start:stop]
        server.served.append(len(part))
        wrong = getattr(self, "range_" + server.mode, None) if server.mode is not None else None
        if wrong is not None:
            wrong(part, facts, start, len(data))
            return
        self.head(206, **facts, Content_Length=len(part))
        self.wfile.write(part)

    def head(self, status: int, **facts: Any) -> None:
        self.send_response(status)
        for name, value in facts.items():
            if value is not None:
                self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def whole(self, data: bytes, facts: dict[str, Any], *, body: bool) -> None:
        mode = self.server.mode
        if mode == "no_length":
            self.head(200, **facts, Connection="close")
            self.close_connection = True
        else:
            claimed = {"huge": 1 << 62, "large": 1 << 40, "short_header": 1 << 40}.get(mode or "", len(data))
            self.head(200, **facts, Content_Length=claimed)
        if body:
            self.server.served.append(len(data))
            self.wfile.write(data)

    # -- wrong answers ----------------------------------------------------------------------------

    def range_shift(self, part: bytes, facts: dict[str, Any], start: int, size: int) -> None:
        """Send another range than was asked for, and say so."""
        at = max(start - 4, 0)
        facts["Content_Range"] = f"bytes {at}-{at + len(part) - 1}/{size}"
        self.head(206, **facts, Content_Length=len(part))
        self.wfile.write(part)

    def range_shorter(self, part: bytes, facts: dict[str, Any], start: int, size: int) -> None:
        half = part[: len(part) // 2]
        facts["Content_Range"] = f"bytes {start}-{start + len(half) - 1}/{size}"
        self.head(206, **facts, Content_Length=len(half))
        self.wfile.write(half)

    def range_nameless(self, part: bytes, facts: dict[str, Any], start: int, size: int) -> None:  # noqa: ARG002
        facts["Content_Range"] = None
        self.head(206, **facts, Content_Length=len(part))
        self.wfile.write(part)

    def range_total(self, part: bytes, facts: dict[str, Any], start: int, size: int) -> None:
        facts["Content_Range"] = f"bytes {start}-{start + len(part) - 1}/{size + 1}"
        self.head(206, **facts, Content_Length=len(part))
        self.wfile.write(part)

    def range_endless(self, part: bytes, facts: dict[str, Any], start: int, size: int) -> None:  # noqa: ARG002
        self.head(206, **facts, Content_Length=1 << 40)
        self.pour()

    def range_endless_chunks(self, part: bytes, facts: dict[str, Any], start: int, size: int) -> None:  # noqa: ARG002
        self.head(206, **facts, Connection="close")
        self.close_connection = True
        self.pour()

    def pour(self) -> None:
        while not self.server.stopping.is_set():
            self.wfile.write(bytes(1 << 16))

    def range_gzip(self, part: bytes, facts: dict[str, Any], start: int, size: int) -> None:  # noqa: ARG002
        packed = gzip.compress(part)
        self.head(206, **facts, Content_Encoding="gzip", Content_Length=len(packed))
        self.wfile.write(packed)

    def range_short(self, part: bytes, facts: dict[str, Any], start: int, size: int) -> None:  # noqa: ARG002
        self.head(206, **facts, Content_Length=len(part))
        self.wfile.write(part[: len(part) // 2])
        self.close_connection = True

    def range_slow(self, part: bytes, facts: dict[str, Any], start: int, size: int) -> None:  # noqa: ARG002
        self.head(206, **facts, Content_Length=len(part))
        self.wfile.write(part[:1])
        self.wfile.flush()
        self.server.stopping.wait(60)

    def range_short_header(self, part: bytes, facts: dict[str, Any], start: int, size: int) -> None:  # noqa: ARG002
        """Claim all that is asked of a file of a terabyte, and send no more than there is."""
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"])
        assert asked is not None
        facts["Content_Range"] = f"bytes {start}-{asked[2]}/{1 << 40}"
        self.head(206, **facts, Content_Length=int(asked[2]) + 1 - start)
        self.wfile.write(part)
        self.close_connection = int(asked[2]) + 1 - start > len(part)

    def range_failing(self, part: bytes, facts: dict[str, Any], start: int, size: int) -> None:  # noqa: ARG002
        self.head(503, Content_Length=0)

    def range_refusing(self, part: bytes, facts: dict[str, Any], start: int, size: int) -> None:  # noqa: ARG002
        self.head(416, Content_Range=f"bytes */{size}", Content_Length=0)

    def log_message(self, *_: Any) -> None:
        pass


def checkpoint(count: int, elements: int) -> tuple[bytes, dict[str, np.ndarray[Any, Any]]]:
    """Tensors of one size, as MindSpore writes them."""
    arrays = {f"layer{number}.weight": np.full(elements, number, np.float32) for number in range(count)}
    return written(arrays), arrays


def written(arrays: dict[str, np.ndarray[Any, Any]]) -> bytes:
    """Arrays of one dimension as MindSpore writes them."""
    message: Any = schema.message_class("Checkpoint")()
    for name, array in arrays.items():
        value = message.value.add()
        value.tag = name
        value.tensor.dims.append(len(array))
        value.tensor.tensor_type = "Float32"
        value.tensor.tensor_content = array.tobytes()
    content: bytes = message.SerializeToString()
    return content
