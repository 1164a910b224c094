"""Files of a kilobyte that ask for more than they have: by hand, one for each thing that a file can claim or repeat.

Run as a program, it reads all of them in a process that may take 64 MB more than it has, and prints what each costs.
"""

from __future__ import annotations

import io
import json
import struct
import sys
import tempfile
import time
import tracemalloc
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ckptload import load_checkpoint, open_checkpoint
from ckptload.encryption.ciphers import MODES
from ckptload.encryption.encrypting import EncryptingWriter
from ckptload.errors import CheckpointError
from strategies import block, floats, group, integer, mapping, number, record, tag, tensor, text, value, with_crc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ckptload.reading.reader import Reader

SIZE: Final = 1024
MEMORY: Final = 64 << 20
KEY: Final = b"0123456789abcdef"
#: Claimed where a file can claim a size: more than any memory, more than a sign allows, and just what 32 bits hold.
CLAIMS: Final = {"2**62": 1 << 62, "2**63": 1 << 63, "2**64 - 1": (1 << 64) - 1, "2**32 - 1": (1 << 32) - 1}
_INDEX: Final = ".safetensors.index.json"


def filled(some: bytes, before: bytes = b"", after: bytes = b"") -> bytes:
    """Repeat something as often as it fits into the size."""
    return before + some * ((SIZE - len(before) - len(after)) // len(some)) + after


def _claims() -> Iterator[tuple[str, bytes]]:
    """Yield .ckpt files in which a length or a dimension is not true."""
    for words, size in CLAIMS.items():
        yield f"a record of {words} bytes", tag(1, 2) + number(size) + b"\n\x01a"
        yield f"a name of {words} bytes", block(1, block(1, b"a", claim=size) + block(2, tensor()))
        yield f"a tensor of {words} bytes", value("a", block(2, tensor((), "Int8", b"x"), claim=size))
        yield f"a type of {words} bytes", value("a", block(2, block(2, b"Int8", claim=size)))
        yield f"content of {words} bytes", value("a", block(2, block(2, b"Int8") + block(3, b"x", claim=size)))
        yield f"a map of {words} bytes", value("a", block(3, block(1, tensor()), claim=size))
        yield f"packed dims of {words} bytes", value("a", block(2, block(1, b"\x01", claim=size)))
        yield f"an unknown field of {words} bytes", block(9, b"x", claim=size)
        yield f"a dim of {words}", record("a", (size,), "Int8", b"x")
        yield f"a dim of {words} and no content", record("a", (size,), "Int8", b"")
        yield f"dims of {words} and 0", record("a", (size, 0), "Float32", b"")
        yield f"dims of 0 and {words}", record("a", (0, size), "Float32", b"")
        yield f"a map of {words} rows", mapping("a", tensor((size, 8), "int64", b"x" * 8))
        yield f"a string with a dim of {words}", record("a", (size,), "str", b"x\0\0\0")
        yield f"a random state with a dim of {words}", record("a", (size,), "random_op", b"x")
    yield "dims that multiply to 2**3720", record("a", [1 << 62] * 60, "Complex128", b"")
    yield "dims that multiply to 2**64", record("a", (1 << 32, 1 << 32), "Int8", b"")
    yield "as many dims as numpy has", record("a", [1] * 64, "Int8", b"x")


def _repeats() -> Iterator[tuple[str, bytes]]:
    """Yield .ckpt files that are full of one thing."""
    tiny = record("a", (1,), "Int8", b"x")
    yield "empty records", filled(b"\n\0")
    yield "line breaks", filled(b"\n")
    yield "zeros", bytes(SIZE)
    yield "high bits", filled(b"\xff")
    yield "slices", filled(tiny)
    yield "empty slices", filled(record("a", (0,), "Int8", b""))
    yield "slices that alternate", filled(tiny + record("b", (1,), "Int8", b"x"))
    yield "strings", filled(text("a", "w"))
    yield "maps", filled(mapping("a", tensor((1,), "int8", b"x")))
    yield "a map of empty tensors", value("a", block(3, filled(b"\n\0", after=bytes(20))[:-20]))
    yield "dims", value("a", block(2, filled(integer(1, 1), after=bytes(20))[:-20]))
    yield "packed dims", value("a", block(2, block(1, b"\x01" * 1000)))
    yield "names of one record", block(1, filled(block(1, b"a"), after=bytes(20))[:-20])
    yield "unknown fields", filled(integer(9, 1))
    yield "flat groups", filled(group(9))
    yield "deep groups", filled(tag(9, 3))
    yield "groups as deep as allowed", filled(tag(9, 3) * 97 + tag(9, 4) * 97)
    yield "a name of a kilobyte", floats("n" * 990, 1.0)
    yield "a name of dots", floats("." * 990, 1.0)
    yield "a type of a kilobyte", record("a", (), "T" * 1000, b"")
    yield "a trailer behind nothing else", with_crc(b"")
    yield "trailers", filled(with_crc(b""))
    yield "a file inside a file", value("a", block(2, block(3, filled(tiny, after=bytes(30))[:-30])))


def _sealed(data: bytes, mode: str, size: int) -> bytes:
    file = io.BytesIO()
    writer = EncryptingWriter(file, KEY, mode, block_size=size)
    writer.write(data)
    writer.finish()
    return file.getvalue()


def _encrypted(mode: str) -> Iterator[tuple[str, bytes]]:
    """Yield chains, true ones and such whose headers are not."""
    tiny = record("a", (1,), "Int8", b"x")
    yield "empty records in blocks of one byte", _sealed(b"\n\0" * 8, mode, 1)
    yield "slices in blocks of 16 bytes", _sealed(tiny * 10, mode, 16)
    yield "a claim inside a block", _sealed(record("a", (1 << 62,), "Int8", b"x"), mode, 1 << 20)
    for words, size in CLAIMS.items():
        if size < 1 << 32:
            whole = bytearray(_sealed(tiny, mode, 1 << 20))
            start = 20 if mode == "AES-GCM" else 4
            struct.pack_into("<I", whole, start, size)
            struct.pack_into("<I", whole, start + 24, size - 24)
            yield f"a block of {words} bytes", bytes(whole)
            struct.pack_into("<I", whole, start + 4, size)
            yield f"an IV of {words} bytes", bytes(whole)
    yield "magics", filled(_sealed(tiny, mode, 1 << 20)[:4])
    yield "a magic and zeros", _sealed(tiny, mode, 1 << 20)[:4] + bytes(SIZE - 4)


def _header(text: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(text) if length is None else length) + text


def _safetensors() -> Iterator[tuple[str, bytes]]:
    """Yield safetensors files, most of which the library refuses."""
    for words, size in CLAIMS.items():
        yield f"a header of {words} bytes", _header(b"{}", size)
        yield (
            f"a dim of {words}",
            _header(json.dumps({"a": {"dtype": "I8", "shape": [size], "data_offsets": [0, 1]}}).encode()) + b"x",
        )
        yield (
            f"an end at {words}",
            _header(json.dumps({"a": {"dtype": "I8", "shape": [1], "data_offsets": [0, size]}}).encode()) + b"x",
        )
        yield (
            f"dims of 0 and {words}",
            _header(json.dumps({"a": {"dtype": "F32", "shape": [0, size], "data_offsets": [0, 0]}}).encode()),
        )
    yield "nested lists", _header(b"[" * 1000)
    yield "nested objects", _header(b'{"a":' * 200)
    yield "a number of a thousand digits", _header(b'{"a":' + b"9" * 900 + b"}")
    yield "a float that is none", _header(b'{"a":{"dtype":"F32","shape":[1e999],"data_offsets":[0,4]}}')
    yield "braces", _header(b"{" * 1000)
    yield (
        "dims",
        _header(json.dumps({"a": {"dtype": "I8", "shape": [1] * 300, "data_offsets": [0, 1]}}).encode()) + b"x",
    )
    empty = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    yield "empty tensors", _header(json.dumps({f"{at}": empty for at in range(16)}).encode())
    yield (
        "a sum of a tensor that counts to 2**63",
        _header(
            json.dumps(
                {
                    "__metadata__": {"crc_num": "1"},
                    "a": {"dtype": "U64", "shape": [], "data_offsets": [0, 8]},
                }
            ).encode()
        )
        + struct.pack("<Q", (1 << 64) - 1),
    )


def _indexes() -> Iterator[tuple[str, bytes]]:
    """Yield indexes of shards that do not exist, or lead elsewhere."""

    def of(files: dict[str, Any], **more: Any) -> bytes:
        return json.dumps({"weight_map": files, **more}).encode()

    yield "nested lists", b"[" * SIZE
    yield "nested metadata", b'{"weight_map":{},"metadata":{"a":' + b"[" * 490 + b"]" * 490 + b"}}"
    yield "many files", of({f"{at}": f"{at}.safetensors" for at in range(30)})
    yield "folders above", of({"a": "../" * 300 + "etc/passwd"})
    yield "folders below", of({"a": "a/" * 450 + "b"})
    yield "a long name", of({"a": "b" * 950})
    yield "a device", of({"a": "/dev/zero"})
    yield "itself", of({"a": "x" + _INDEX})
    yield "a NUL", of({"a": "\0"})
    yield "half a character", of({"a": "\ud800"})
    yield "a name that is half a character", of({"\ud800": "a.safetensors"})
    yield "a number of a thousand digits", b'{"weight_map":' + b"9" * 1000 + b"}"
    yield "no text", b"\xff" * SIZE
    yield "a number that is none", b'{"weight_map":{"a":NaN},"metadata":{"b":Infinity}}'


class Case(NamedTuple):
    """A file, and how it is opened."""

    format: str
    words: str
    data: bytes
    how: dict[str, Any]


def cases() -> list[Case]:
    """Return all of them."""
    found = [Case("ckpt", words, data, {}) for make in (_claims, _repeats) for words, data in make()]
    for mode in MODES:
        how = {"dec_key": KEY, "dec_mode": mode}
        found += [Case("ckpt", f"{mode}: {words}", data, how) for words, data in _encrypted(mode)]
    found += [Case("safetensors", words, data, {}) for words, data in _safetensors()]
    found += [Case("index", words, data, {}) for words, data in _indexes()]
    return found


def read(case: Case, folder: Path) -> str:
    """Read everything in a file in every way, and return what was said of it."""
    if case.format == "index":
        path = folder / ("x" + _INDEX)
        path.write_bytes(case.data)
        return _tried(_all, path) or _tried(load_checkpoint, str(path), format="safetensors")
    again = _tried(load_checkpoint, io.BytesIO(case.data), format=case.format, crc_check=True, **case.how)
    return _tried(_all, case.data, format=case.format, **case.how) or again


def _all(source: Any, **how: Any) -> None:
    with open_checkpoint(source, **how) as reader:
        repr(reader)
        for name in reader:
            _tried(_one, reader, name)
        str(reader.facts)


def _one(reader: Reader, name: str) -> None:
    info = reader.info(name)
    reader[name]
    if info.kind == "tensor" and info.shape:
        reader.get_slice(name)[-1:]
        reader.get_slice(name)[::2]


def _tried(call: Callable[..., object], *arguments: Any, **how: Any) -> str:
    """Make a call; return the words of our error, or nothing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            call(*arguments, **how)
    except CheckpointError as error:
        return str(error)
    return ""


def main() -> None:
    """Read all files under a limit of memory, and print calls, seconds, bytes and words of each."""
    import resource

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = cases()
        for case in found:
            # What is imported and cached is no file's doing.
            read(case, folder)
        with Path("/proc/self/statm").open(encoding="ascii") as file:
            size = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
        for case in found:
            calls = 0

            def count(_frame: object, event: str, _argument: object) -> None:
                nonlocal calls
                calls += event in ("call", "c_call")

            begin = time.perf_counter()
            words = read(case, folder)
            seconds = time.perf_counter() - begin
            tracemalloc.start()
            read(case, folder)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            sys.setprofile(count)
            read(case, folder)
            sys.setprofile(None)
            line = {"file": f"{case.format}: {case.words}", "calls": calls, "seconds": seconds, "bytes": peak}
            sys.stdout.write(json.dumps({**line, "words": words}) + "\n")


if __name__ == "__main__":
    main()
