"""Passwords and signatures of URLs are shown nowhere; requests are made with them."""

from __future__ import annotations

import base64
import io
import json
import logging
import pickle
import re
import threading
import traceback
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from ckptload import load_checkpoint, open_checkpoint, shown
from ckptload.errors import CheckpointError, ReadError
from ckptload.sources.memory import FileObjectSource
from places import FIXTURES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

USER, PASSWORD, SIGNATURE = "AKIAUSER", "hunter2/pass+word", "Sig~nature=="
#: Each has its secrets in another place.
URLS = {
    f"https://{USER}:hunter2@host/x.ckpt": "https://***@host/x.ckpt",
    f"https://{USER}@host/x.ckpt": "https://***@host/x.ckpt",
    f"s3://{USER}:{PASSWORD}@bucket/dir/x.ckpt": "s3://***@bucket/dir/x.ckpt",
    "https://host/x.ckpt?X-Amz-Signature=hunter2&X-Amz-Expires=60": "https://host/x.ckpt?...",
    "https://host:8080/x.ckpt#token=hunter2": "https://host:8080/x.ckpt?...",
    "https://host/x.ckpt?next=https://u:hunter2@other/y": "https://host/x.ckpt?...",
    "https://u:hunter2@host/x.ckpt?mail=a@b.c&token=hunter2": "https://***?...",
    "simplecache::https://u:hunter2@host/x.ckpt?hunter2": "simplecache::https://***@host/x.ckpt?...",
    "filecache::zip://a.ckpt::s3://k:hunter2@b/x.zip": "filecache::zip://a.ckpt::s3://***@b/x.zip",
    "zip://a.ckpt?hunter2::https://u:hunter2@h/x.zip#hunter2": "zip://a.ckpt?...::https://***@h/x.zip?...",
    "https://u:hunter2::x@host/x.ckpt": "https://***@host/x.ckpt",
    "https://u:hunter2@[::1]:80/x.ckpt": "https://***@[::1]:80/x.ckpt",
    "/work/https:/u:hunter2@host/x.ckpt?hunter2": "/work/https:/***@host/x.ckpt?...",
}
#: What has no secret is shown as it is.
PLAIN = [
    "https://host:80/dir/x.ckpt", "memory://x.ckpt", "hf://user/repo@main/x.ckpt", "zip://a.ckpt::/dir/b.zip",
    "/dir/a?b#c@d.ckpt", "a:b@c?d", "C:/dir/a?b", "file:///dir/x.ckpt", "http://[::1]:80/x",
]  # fmt: skip


@pytest.mark.parametrize("url", URLS)
def test_a_url_is_shown_without_its_secrets(url: str) -> None:
    assert shown.place(url) == URLS[url]
    assert shown.place(URLS[url]) == URLS[url]


@pytest.mark.parametrize("url", PLAIN)
def test_what_has_no_secret_is_shown_as_it_is(url: str) -> None:
    assert shown.place(url) == url


@pytest.mark.parametrize("url", URLS)
def test_secrets_of_urls_are_cut_from_texts(url: str) -> None:
    for text in (f"404, url='{url}' and {url} too", f"URL({url!r})", f'no "{url}"', url):
        assert "hunter2" not in shown.redacted(text)
        assert "hunter2" not in str(CheckpointError(text, path=url, hint=text))
        assert "hunter2" not in shown.without(text, url)
        assert "hunter2" not in str(ReadError(text))


@pytest.mark.parametrize(
    "text",
    [
        "Port could not be cast to integer value as 'hunter2'",
        f"530 login {USER}:hunter2 incorrect",
        "bad signature Sig%7Enature%3D%3D",
        "bad signature Sig~nature",
    ],
)
def test_parts_of_secrets_are_cut_from_what_is_said_of_a_url(text: str) -> None:
    url = f"https://{USER}:{PASSWORD}@host/x.ckpt"
    for known in (url, f"https://host/x?sig={SIGNATURE}"):
        said = shown.without(text, known)
        secrets = ("hunter2", USER) if known is url else ("Sig",)
        assert not [secret for secret in secrets if secret in said and secret in known]


@pytest.mark.slow
def test_what_is_long_and_no_url_takes_no_time() -> None:
    """Names come from files; each is looked through once."""
    for text in ("a" * 10**6 + ":/", "://" * 10**5, "a::" * 10**5 + ":/", "@" * 10**5 + "://" + "@" * 10**5):
        assert shown.redacted(text)
        assert shown.place(text)


# -- a real server ------------------------------------------------------------------------------------------------


class Server(ThreadingHTTPServer):
    """Serves one file, whatever the query, to a user with a password; or an error."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.data = (FIXTURES / "lenet5.ckpt").read_bytes()
        self.status: tuple[int, str] | None = None
        #: Requests that are answered before `status` is.
        self.patience = 0
        self.asked: list[str] = []
        self.users: set[str] = set()


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        server, data = self.server, self.server.data
        server.asked.append(self.path)
        server.users.add(self.headers.get("Authorization", ""))
        if server.status is not None:
            server.patience -= 1
        if server.status is not None and server.patience < 0:
            code, reason = server.status
            self.wfile.write(f"HTTP/1.1 {code} {reason}\r\nContent-Length: 0\r\n\r\n".encode("latin-1"))
            return
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        part = data if wanted is None else data[int(wanted[1]) : int(wanted[2]) + 1]
        self.send_response(200 if wanted is None else 206)
        self.send_header("Content-Length", str(len(part)))
        self.send_header("Accept-Ranges", "bytes")
        if wanted is not None:
            start = int(wanted[1])
            self.send_header("Content-Range", f"bytes {start}-{start + len(part) - 1}/{len(data)}")
        self.end_headers()
        if body:
            self.wfile.write(part)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    pytest.importorskip("fsspec")
    pytest.importorskip("aiohttp")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def secret_url(server: Server, name: str = "x.ckpt") -> str:
    return f"http://user:hunter2@127.0.0.1:{server.server_address[1]}/{name}?X-Amz-Signature=hunter2"


def told(error: BaseException) -> str:
    """Return all that an exception tells, with its causes, contexts and traceback."""
    found = ["".join(traceback.format_exception(error))]
    link: BaseException | None = error
    while link is not None:
        found += [str(link), repr(link), repr(link.args), repr(vars(link))]
        found.append(str(getattr(link, "hint", "")))
        link = link.__cause__ or link.__context__
    found.append(repr(pickle.loads(pickle.dumps(error))))
    return "\n".join(found)


@pytest.mark.slow
def test_requests_are_made_with_the_secrets_and_a_reader_shows_none(server: Server) -> None:
    url = secret_url(server)
    with open_checkpoint(url) as reader:
        assert reader["conv1.weight"].shape == (6, 1, 5, 5)
        again = pickle.loads(pickle.dumps(reader))
        texts = [reader.path, repr(reader), str(reader.files), repr(reader.facts), repr(reader.get_slice("fc1.bias"))]
        texts += [again.path, repr(again)]
        with pytest.raises(CheckpointError) as unknown:
            reader.info("none")
        again.close()
    with pytest.raises(CheckpointError) as closed:
        len(reader)
    texts += [repr(reader), told(unknown.value), told(closed.value)]
    assert not [text for text in texts if "hunter2" in text]
    assert "hunter2" in server.asked[0]
    assert base64.b64encode(b"user:hunter2").decode() in " ".join(server.users)


@pytest.mark.slow
@pytest.mark.parametrize("patience", [0, 1, 2])
@pytest.mark.parametrize("code", [401, 403, 404, 500])
def test_a_refusal_of_the_server_is_told_without_secrets(
    server: Server, code: int, patience: int, caplog: pytest.LogCaptureFixture
) -> None:
    server.status, server.patience = (code, "hunter2"), patience
    url = secret_url(server)
    with caplog.at_level(logging.DEBUG), warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with pytest.raises(CheckpointError) as caught:
            load_checkpoint(url + ".ckpt")
    assert "hunter2" not in told(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None
    assert not [one for one in warned if "hunter2" in str(one.message)]
    assert not [one for one in caplog.records if one.name == "ckptload" and "hunter2" in one.getMessage()]


@pytest.mark.slow
@pytest.mark.parametrize(
    "url",
    [
        "http://user:hunter2@127.0.0.1:1/x.ckpt?hunter2", "https://user:hunter2/x@127.0.0.1/x.ckpt",
        "simplecache::http://user:hunter2@127.0.0.1:1/x.ckpt", "zip://x.ckpt::http://user:hunter2@127.0.0.1:1/x.zip",
        "ftp://user:hunter2@127.0.0.1:1/x.ckpt", "nothing://user:hunter2@host/x.ckpt", "memory://hunter:hunter2@x.ckpt",
        "://user:hunter2@host/x.ckpt", "http://user:hunter2@[::1/x.ckpt", "file://user:hunter2@host/x.ckpt",
        "https://user:hunter2@127.0.0.1/model.safetensors.index.json", "https://host/x.safetensors?hunter2",
        "github://user:hunter2@/x.ckpt", "dask://user:hunter2@x.ckpt",
    ],
)  # fmt: skip
def test_whatever_is_wrong_with_a_url_is_told_without_secrets(url: str) -> None:
    pytest.importorskip("fsspec")
    pytest.importorskip("aiohttp")
    for read in (open_checkpoint, load_checkpoint):
        with pytest.raises(CheckpointError) as caught:
            read(url)
        assert "hunter2" not in told(caught.value), told(caught.value)


@pytest.mark.slow
def test_the_reason_of_a_hostile_server_is_told_without_control_characters(server: Server) -> None:
    server.status = (500, "\x1b[31m\x07\x9b2J evil")
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(secret_url(server))
    assert all(line.isprintable() for line in told(caught.value).split("\n"))


@pytest.mark.slow
def test_a_file_object_of_a_url_is_shown_without_its_secrets(server: Server) -> None:
    fsspec = pytest.importorskip("fsspec")
    with fsspec.open(secret_url(server), block_size=64).open() as file:
        source = FileObjectSource(file)
        server.status = (403, "no")
        with pytest.raises(ReadError) as caught:
            source.read(20000, 21000)
    assert "hunter2" not in source.label
    error = caught.value
    assert error.__suppress_context__
    assert error.__cause__ is None
    assert "hunter2" not in "".join(traceback.format_exception(error))


def test_a_file_object_may_have_a_url_for_a_name() -> None:
    file = io.BytesIO(b"x")
    file.name = "https://user:hunter2@host/x.ckpt?hunter2"
    assert FileObjectSource(file).label == "https://***@host/x.ckpt?..."


# -- the command line ---------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("status", [None, (403, "hunter2")])
def test_no_command_shows_the_secrets_of_a_url(
    server: Server,
    status: tuple[int, str] | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("click")
    pytest.importorskip("rich")
    from ckptload.cli import app, plain

    monkeypatch.chdir(tmp_path)
    server.status = status
    url = secret_url(server)
    lines = [
        ["inspect", url], ["inspect", "--json", url], ["inspect", "--debug", url], ["verify", url],
        ["verify", "--json", url], ["diff", url, url], ["diff", "--json", url, url], ["convert", url, "x.npz"],
        ["encrypt", url, "y.ckpt", "--key-env", "A_KEY", "--key-format", "raw"], ["report", url],
        ["convert", str(FIXTURES / "lenet5.ckpt"), url], ["convert", url, "z.npz", "--name-map", url],
        ["convert", str(FIXTURES / "lenet5.ckpt"), url, "--to", "ckpt"],
        ["inspect", url, "--key-file", url, "--key-format", "hex"], ["report", url, "-o", "-"], [url],
    ]  # fmt: skip
    monkeypatch.setenv("A_KEY", "0123456789abcdef")
    for line in lines:
        app.run(line)
        out, err = capsys.readouterr()
        assert "hunter2" not in out + err, line
        if "--json" in line and out:
            json.loads(out)
    plain.run([url, url])
    assert "hunter2" not in "".join(capsys.readouterr())
    pages = [path for path in tmp_path.iterdir() if path.suffix == ".html"]
    assert [path.name for path in pages] == ([] if status else ["x.ckpt.html"])
    assert not [path for path in pages if "hunter2" in path.read_text("utf-8")]
