"""A disk whose files fail when they are read: a small FUSE file system, for root on Linux.

`mounted(content)` gives a folder in which every name that `BEHAVIOURS` has a prefix for is a file of that content. The
system calls of whoever reads it fail for real, with the error numbers and the short counts that a kernel gives.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import struct
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# What of the protocol is used (linux/fuse.h, version 7.31).
LOOKUP, FORGET, GETATTR, OPEN, READ, RELEASE, FLUSH, INIT, INTERRUPT, DESTROY, BATCH_FORGET = (
    1, 2, 3, 14, 15, 18, 25, 26, 36, 38, 42,
)  # fmt: skip
IN: Final = struct.Struct("<IIQQIIII")
OUT: Final = struct.Struct("<IiQ")
ATTR: Final = struct.Struct("<QQQQQQIIIIIIIIII")
ENTRY: Final = struct.Struct("<QQQQII")
INIT_OUT: Final = struct.Struct("<IIIIHHIIHHI7I")
DIRECT_IO: Final = 1
ROOT: Final = 1
DETACH: Final = 2
#: How long a slow read takes, in seconds.
SLOW: Final = 0.3


def _honest(content: bytes, start: int, size: int) -> bytes | int:
    return content[start : start + size]


def _eio(content: bytes, start: int, size: int) -> bytes | int:
    """Fail from the middle on, as a disk with a bad sector does."""
    half = len(content) // 2
    return -errno.EIO if start + size > half else content[start : start + size]


def _short(content: bytes, start: int, size: int) -> bytes | int:
    return content[start : start + min(size, 1000)]


def _cut(content: bytes, start: int, size: int) -> bytes | int:
    """End in the middle, whatever the size that was told, as a file does that another program shortens."""
    return content[start : min(start + size, len(content) // 2)]


#: What the beginning of a name does.
BEHAVIOURS: Final[dict[str, Callable[[bytes, int, int], bytes | int]]] = {
    "honest": _honest,
    "eio": _eio,
    "short": _short,
    "cut": _cut,
    "slow": _honest,
    "stale": lambda *_: -errno.ESTALE,
    "denied": _honest,
}


def _behaviour(name: str) -> str | None:
    return next((kind for kind in BEHAVIOURS if name.startswith(kind)), None)


class Server:
    """Answers the kernel's requests, one at a time."""

    def __init__(self, fuse: int, content: bytes) -> None:
        self.fuse = fuse
        self.content = content
        self.names: list[str] = []

    def reply(self, unique: int, answer: bytes | int) -> None:
        data, code = (b"", answer) if isinstance(answer, int) else (answer, 0)
        os.write(self.fuse, OUT.pack(OUT.size + len(data), code, unique) + data)

    def attributes(self, node: int) -> bytes:
        folder = node == ROOT
        mode, size = (0o40755, 0) if folder else (0o100644, len(self.content))
        return ATTR.pack(node, size, 0, 1, 1, 1, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)

    def run(self) -> None:
        while True:
            try:
                request = os.read(self.fuse, 1 << 20)
            except OSError as error:
                if error.errno == errno.ENODEV:  # It was unmounted.
                    return
                raise
            _, kind, unique, node, *_ = IN.unpack_from(request)
            if kind not in (FORGET, BATCH_FORGET, INTERRUPT):
                self.reply(unique, self.answer(kind, unique, node, request[IN.size :]))

    def answer(self, kind: int, unique: int, node: int, body: bytes) -> bytes | int:
        if kind == INIT:
            return INIT_OUT.pack(7, 31, 1 << 16, 0, 12, 10, 1 << 16, 1, 16, 0, 0, *[0] * 7)
        if kind == LOOKUP:
            return self.look_up(os.fsdecode(body.rstrip(b"\0")))
        if kind == GETATTR:
            return struct.pack("<QII", 0, 0, 0) + self.attributes(node)
        if kind == OPEN:
            return -errno.EACCES if self.kind(node) == "denied" else struct.pack("<QII", node, DIRECT_IO, 0)
        if kind == READ:
            _, start, size = struct.unpack_from("<QQI", body)
            if self.kind(node) == "slow" and self.interrupted(unique):
                return -errno.EINTR
            return BEHAVIOURS[self.kind(node)](self.content, start, size)
        return b"" if kind in (RELEASE, FLUSH, DESTROY) else -errno.ENOSYS

    def kind(self, node: int) -> str:
        return _behaviour(self.names[node - ROOT - 1]) or "honest"

    def look_up(self, name: str) -> bytes | int:
        if _behaviour(name) is None:
            return -errno.ENOENT
        if name not in self.names:
            self.names.append(name)
        node = ROOT + 1 + self.names.index(name)
        return ENTRY.pack(node, 0, 0, 0, 0, 0) + self.attributes(node)

    def interrupted(self, unique: int) -> bool:
        """Wait, and tell whether whoever reads got a signal meanwhile."""
        ready, _, _ = select.select([self.fuse], [], [], SLOW)
        if not ready:
            return False
        request = os.read(self.fuse, 1 << 20)
        # Nothing else is asked for while one thread waits for its read.
        kind, of = IN.unpack_from(request)[1], struct.unpack_from("<Q", request, IN.size)[0]
        return (kind, of) == (INTERRUPT, unique)


def serve(folder: str, content: str) -> None:
    """Mount the file system, say so, and serve it until it is unmounted."""
    fuse = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={fuse},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
    if ctypes.CDLL(None, use_errno=True).mount(b"ckptload-test", os.fsencode(folder), b"fuse", 0, options):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    Server(fuse, Path(content).read_bytes()).run()


@contextmanager
def mounted(content: Path) -> Iterator[Path]:
    """Mount the file system over the content of a file; skip the test where that is not allowed."""
    if sys.platform != "linux" or not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("there is no FUSE here")
    folder = Path(tempfile.mkdtemp())
    command = [sys.executable, __file__, str(folder), str(content)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            assert server.stdout is not None
            if server.stdout.readline() != "ready\n":
                pytest.skip("file systems cannot be mounted here")
            yield folder
        finally:
            ctypes.CDLL(None).umount2(os.fsencode(folder), DETACH)
            server.wait(10)
            folder.rmdir()


if __name__ == "__main__":
    serve(*sys.argv[1:])
