"""Web servers whose file changes while it is read, and servers that answer with something else than was asked for."""

from __future__ import annotations

import io
import tarfile
import tracemalloc
import zipfile
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest
from safetensors.numpy import save

from ckptload import load_checkpoint, open_checkpoint
from ckptload.errors import ChangedFileError, CheckpointError, MissingFileError, ReadError
from ckptload.sources import remote
from sources.web import checkpoint, written

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sources.web import Server

fsspec = pytest.importorskip("fsspec")
aiohttp = pytest.importorskip("aiohttp")
MemoryFileSystem: Any = pytest.importorskip("fsspec.implementations.memory").MemoryFileSystem

#: One entry comes before the one that is read; the other file is as long.
BEFORE = {"pad": np.zeros(20_000, np.float32), "w": np.ones(30_000, np.float32), "u": np.ones(30_000, np.float32)}
OTHER = {name: np.full(len(BEFORE[name]), 5, np.float32) for name in ("w", "pad", "u")}
SAME_LAYOUT = {name: array + 1 for name, array in BEFORE.items()}
formats = pytest.mark.parametrize("make", [written, save], ids=["ckpt", "safetensors"])
reads = pytest.mark.parametrize(
    "read",
    [
        lambda reader: reader["w"],
        lambda reader: reader.load(),
        pytest.param(lambda reader: reader.get_slice("w")[29_000:], marks=pytest.mark.slow),
        pytest.param(lambda reader: reader.fill([("w", np.empty(30_000, np.float32))]), marks=pytest.mark.slow),
        pytest.param(lambda reader: list(reader.pieces(reader.info("w"))), marks=pytest.mark.slow),
    ],
    ids=["one", "all", "rows", "fill", "pieces"],
)

afters = pytest.mark.parametrize(
    "after", [OTHER, pytest.param(SAME_LAYOUT, marks=pytest.mark.slow)], ids=["other layout", "same layout"]
)


def suffix(make: Callable[..., bytes]) -> str:
    return "x.ckpt" if make is written else "x.safetensors"


class Changing:
    """A content that is another one from some request on."""

    def __init__(self, before: bytes, after: bytes, requests: int) -> None:
        self.before, self.after, self.left = before, after, requests

    def __call__(self) -> bytes:
        self.left -= 1
        return self.before if self.left >= 0 else self.after


# -- files that change -------------------------------------------------------------------------------------


@formats
@reads
@afters
def test_a_file_that_is_replaced_while_it_is_open_is_told(
    server: Server, make: Callable[..., bytes], read: Callable[[Any], Any], after: dict[str, Any]
) -> None:
    content = [make(BEFORE)]
    with open_checkpoint(server.url(suffix(make), lambda: content[0])) as reader:
        assert np.array_equal(reader["w"].asnumpy(), BEFORE["w"])
        content[0] = make(after)
        assert len(content[0]) == len(make(BEFORE))
        with pytest.raises(ChangedFileError, match="open it again"):
            read(reader)


@pytest.mark.parametrize("requests", range(1, 9))
def test_a_load_is_of_one_file_or_of_none(server: Server, requests: int) -> None:
    """Whatever request the file is replaced before."""
    content = Changing(written(BEFORE), written(OTHER), requests)
    try:
        loaded = load_checkpoint(server.url("x.ckpt", content))
    except ChangedFileError:
        return
    assert {name: value.asnumpy()[0] for name, value in loaded.items()} in (
        {"pad": 0, "w": 1, "u": 1},
        {"pad": 5, "w": 5, "u": 5},
    )


@pytest.mark.parametrize("tag", ['W/"weak"', None])
def test_the_time_identifies_a_file_without_a_strong_tag(server: Server, tag: str | None) -> None:
    server.tag = lambda _: tag
    server.time = "Thu, 01 Jan 2026 00:00:00 GMT"
    with open_checkpoint(server.url("x.ckpt", written(BEFORE))) as reader:
        reader["w"]
        assert server.asked[-1]["If-Unmodified-Since"] == server.time
        server.time = "Thu, 01 Jan 2026 00:00:01 GMT"
        with pytest.raises(ChangedFileError):
            reader["u"]


def test_a_tag_that_is_gone_is_a_change(server: Server) -> None:
    with open_checkpoint(server.url("x.ckpt", written(BEFORE))) as reader:
        server.tag = lambda _: None
        with pytest.raises(ChangedFileError):
            reader["u"]


def test_the_server_is_asked_to_compare_the_tag(server: Server) -> None:
    server.obeys = True
    content = [written(BEFORE)]
    with open_checkpoint(server.url("x.ckpt", lambda: content[0])) as reader:
        reader["w"]
        assert server.asked[-1]["If-Match"] == server.tag(content[0])
        content[0] = written(SAME_LAYOUT)
        served = len(server.served)
        with pytest.raises(ChangedFileError):
            reader["w"]
        assert len(server.served) == served


@pytest.mark.slow
@formats
@reads
def test_without_tag_and_time_the_headers_are_fetched_again(
    server: Server, make: Callable[..., bytes], read: Callable[[Any], Any]
) -> None:
    server.tag = lambda _: None
    content = [make(BEFORE)]
    with open_checkpoint(server.url(suffix(make), lambda: content[0])) as reader:
        assert np.array_equal(reader["w"].asnumpy(), BEFORE["w"])
        # Both layouts are as long, and the header of a safetensors file, too.
        content[0] = make(OTHER if make is written else BEFORE | {"pad": BEFORE["w"], "w": BEFORE["pad"]})
        assert len(content[0]) == len(make(BEFORE))
        with pytest.raises(ChangedFileError, match="open it again"):
            read(reader)


def test_a_tag_costs_no_request(server: Server) -> None:
    """The headers that identify the file come with the bytes."""
    counts = []
    for tag in ('"strong"', None):
        server.tag = dict.fromkeys([written(BEFORE)], tag).get
        server.served.clear()
        with open_checkpoint(server.url("x.ckpt", written(BEFORE))) as reader:
            opened = len(server.served)
            reader["w"]
            counts.append(len(server.served) - opened)
    assert counts == [1, 2]


# -- servers that answer something else --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "error", "words"),
    [
        ("shift", ReadError, "another range"),
        ("shorter", ReadError, "another range"),
        ("nameless", ReadError, "another range"),
        ("total", ChangedFileError, "changed"),
        ("endless", ReadError, "bytes where"),
        ("endless_chunks", ReadError, "more than the"),
        ("gzip", ReadError, "compressed"),
        ("short", ReadError, "cannot read"),
        ("no_length", ReadError, "size"),
        ("huge", ReadError, "no file is larger"),
        ("large", ChangedFileError, "changed"),
        ("elsewhere", MissingFileError, "x.ckpt"),
        ("failing", ReadError, "503"),
        ("refusing", ChangedFileError, "changed"),
    ],
)
def test_a_wrong_answer_is_an_error(server: Server, mode: str, error: type[CheckpointError], words: str) -> None:
    """Nothing is returned, and no more is read than was asked for."""
    url = server.url("x.ckpt", written(BEFORE))
    with open_checkpoint(url) as reader:
        # What opening asks for begins at 0.
        server.mode = mode
        if mode not in ("no_length", "huge", "large", "elsewhere"):
            with pytest.raises(error, match=words):
                reader["w"]
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError):
            # From the first byte on, a shifted range is the right one.
            load_checkpoint(url)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    if mode in ("no_length", "huge", "large", "elsewhere"):
        with pytest.raises(error, match=words):
            open_checkpoint(url)


def test_a_slow_server_is_given_up_as_the_user_says(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    timeout = aiohttp.ClientTimeout(total=0.1)
    monkeypatch.setitem(fsspec.config.conf, "http", {"client_kwargs": {"timeout": timeout}})
    server.mode = "slow"
    with pytest.raises(ReadError, match="too slow"):
        load_checkpoint(server.url("x.ckpt", written(BEFORE)))


def test_what_is_configured_for_fsspec_is_sent_along(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(fsspec.config.conf, "http", {"headers": {"X-Token": "of the user"}})
    load_checkpoint(server.url("x.ckpt", written(BEFORE)))
    assert all(headers["X-Token"] == "of the user" for headers in server.asked)


def test_a_file_that_is_elsewhere_is_read_there(server: Server) -> None:
    """A server that sends its readers to another one must not compare that one's tag with its own."""
    server.mode = "moved"
    loaded = load_checkpoint(server.url("x.ckpt", written(BEFORE)))
    assert np.array_equal(loaded["w"].asnumpy(), BEFORE["w"])
    assert not any("If-Match" in headers for headers in server.asked)


# -- what is claimed and not there -------------------------------------------------------------------------


def test_a_header_that_is_claimed_takes_no_memory_before_it_arrives(server: Server) -> None:
    """The header of 100 MB would fit the terabyte that the server claims to have."""
    server.mode = "short_header"
    url = server.url("x.safetensors", (99_999_999).to_bytes(8, "little") + b"{" + b" " * 1000)
    tracemalloc.start()
    try:
        with pytest.raises(ReadError):
            open_checkpoint(url)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_a_header_longer_than_the_limit_is_not_asked_for(server: Server) -> None:
    server.mode = "short_header"
    # The last bytes, which would tell an archive, are asked for.
    with pytest.raises(CheckpointError):
        open_checkpoint(server.url("x.safetensors", (1 << 39).to_bytes(8, "little") + b"{" + b" " * 100_000))
    assert max(server.served) < 1 << 17


def test_a_long_header_is_fetched_in_pieces(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_PIECE", 1 << 12)
    arrays = {f"layer{number}": np.full(1, number, np.float32) for number in range(200)}
    loaded = load_checkpoint(server.url("x.safetensors", save(arrays)), format="safetensors")
    assert all(np.array_equal(loaded[name].asnumpy(), array) for name, array in arrays.items())
    assert max(server.served) <= 1 << 12


# -- other file systems of fsspec --------------------------------------------------------------------------


@pytest.mark.slow
@formats
@reads
@afters
def test_a_file_in_memory_that_is_replaced_is_told(
    make: Callable[..., bytes], read: Callable[[Any], Any], after: dict[str, Any]
) -> None:
    files = fsspec.filesystem("memory")
    files.pipe("/" + suffix(make), make(BEFORE))
    with open_checkpoint("memory://" + suffix(make)) as reader:
        assert np.array_equal(reader["w"].asnumpy(), BEFORE["w"])
        files.pipe("/" + suffix(make), make(after))
        with pytest.raises(ChangedFileError, match="open it again"):
            read(reader)


def test_a_file_in_memory_that_is_written_to_in_place_is_told() -> None:
    """Its time is that at which it was last closed."""
    files = fsspec.filesystem("memory")
    files.pipe("/place.ckpt", written(BEFORE))
    with open_checkpoint("memory://place.ckpt") as reader:
        assert np.array_equal(reader["w"].asnumpy(), BEFORE["w"])
        files.store["/place.ckpt"].seek(0)
        files.store["/place.ckpt"].write(written(OTHER))
        with pytest.raises(ChangedFileError):
            reader["w"]


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize("above", ["", pytest.param("dir://x.ckpt::", marks=pytest.mark.slow)])
def test_an_archive_that_is_written_anew_is_told(tmp_path: Path, kind: str, above: str) -> None:
    """What is in it is known from when it was opened."""
    archive = tmp_path / f"x.{kind}"
    pack(archive, written(BEFORE))
    url = f"{above}{kind}://{'' if above else 'x.ckpt'}::{archive}"
    with open_checkpoint(url) as reader:
        assert np.array_equal(reader["w"].asnumpy(), BEFORE["w"])
        pack(archive, written(OTHER))
        with pytest.raises(CheckpointError):
            reader["w"]


def pack(archive: Path, content: bytes) -> None:
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as members:
            members.writestr("x.ckpt", content)
        return
    with tarfile.open(archive, "w") as members:
        member = tarfile.TarInfo("x.ckpt")
        member.size = len(content)
        members.addfile(member, io.BytesIO(content))


def test_a_file_that_is_gone_is_a_changed_one() -> None:
    files = fsspec.filesystem("memory")
    data, _ = checkpoint(2, 100)
    files.pipe("/gone.ckpt", data)
    with open_checkpoint("memory://gone.ckpt") as reader:
        files.rm("/gone.ckpt")
        with pytest.raises(CheckpointError):
            reader["layer0.weight"]


class Bucket(MemoryFileSystem):  # type: ignore[misc]
    """A store with tags whose listings are kept, as those of buckets are."""

    protocol = "bucket"
    cachable = False
    tags: ClassVar[dict[str, str]] = {}
    known: ClassVar[dict[str, Any]] = {}
    asked = 0

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.replace("bucket://", "memory://")))

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        name = self._strip_protocol(path)
        if name not in self.known:
            self.known[name] = super().info(path, **options) | {"created": None, "ETag": self.tags.get(name)}
        return dict(self.known[name])

    def modified(self, path: str) -> None:
        raise NotImplementedError

    def invalidate_cache(self, path: str | None = None) -> None:  # noqa: ARG002
        Bucket.asked += 1
        self.known.clear()


@pytest.fixture
def bucket() -> Any:
    fsspec.register_implementation("bucket", Bucket, clobber=True)
    Bucket.tags.clear()
    Bucket.known.clear()
    return Bucket()


def test_a_tag_is_asked_for_once_more_after_each_read(bucket: Any) -> None:
    bucket.pipe("/x.ckpt", written(BEFORE))
    bucket.tags["/x.ckpt"] = "one"
    Bucket.asked = 0
    with open_checkpoint("bucket://x.ckpt") as reader:
        assert Bucket.asked == 1
        reader.load()
        assert Bucket.asked == 2
        reader["w"]
        assert Bucket.asked == 3
        bucket.pipe("/x.ckpt", written(SAME_LAYOUT))
        bucket.tags["/x.ckpt"] = "two"
        with pytest.raises(ChangedFileError):
            reader["w"]


@formats
def test_a_store_that_knows_the_size_alone_is_read_again(bucket: Any, make: Callable[..., bytes]) -> None:
    bucket.pipe("/" + suffix(make), make(BEFORE))
    with open_checkpoint("bucket://" + suffix(make)) as reader:
        reader["w"]
        bucket.pipe(
            "/" + suffix(make), make(OTHER if make is written else BEFORE | {"pad": BEFORE["w"], "w": BEFORE["pad"]})
        )
        with pytest.raises(ChangedFileError):
            reader["w"]


def test_a_file_object_of_fsspec_is_told_by_its_tag(server: Server) -> None:
    """It keeps what it has read, so that reading the headers again would tell nothing."""
    content = [written(BEFORE)]
    url = server.url("x.ckpt", lambda: content[0])
    with fsspec.open(url) as file, open_checkpoint(file) as reader:
        assert np.array_equal(reader["w"].asnumpy(), BEFORE["w"])
        content[0] = written(OTHER)
        with pytest.raises(ChangedFileError):
            reader["u"]
