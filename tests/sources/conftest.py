"""A file for the tests of sources."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from sources.content import CONTENT
from sources.web import Server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "content.ckpt"
    made.write_bytes(CONTENT)
    return made


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.stopping.set()
        server.shutdown()
        thread.join()
