"""The page about messages: each is one that the library has."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ckptload import (
    Cell,
    CheckpointError,
    Parameter,
    Tensor,
    convert_checkpoint,
    load_checkpoint,
    load_param_into_net,
    open_checkpoint,
    sample,
    save_checkpoint,
)
from places import DOCS, FIXTURES
from strategies import record

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PAGE = DOCS / "troubleshooting.md"
HEADINGS = re.findall(r"^### `(.*)`$", PAGE.read_text("utf-8"), re.MULTILINE) if PAGE.exists() else []
KEY = b"0123456789abcdef"

pytestmark = pytest.mark.skipif(not DOCS.exists(), reason="the documentation is not here")


def net(shape: tuple[int, ...] = (10, 84), dtype: type[Any] = np.float32, name: str = "fc3.weight") -> Cell:
    cell = Cell()
    cell.weight = Parameter(Tensor(np.zeros(shape, dtype)), name=name)
    return cell


def load(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    load_checkpoint(str(path))


def closed() -> None:
    reader = open_checkpoint(sample())
    reader.close()
    reader["fc3.bias"]


def look_up(name: str) -> None:
    with open_checkpoint(sample()) as reader:
        reader[name]


def shard(folder: Path) -> None:
    convert_checkpoint(sample(), folder / "shards", max_shard_size="200KB")
    (folder / "shards" / "model-00002-of-00003.safetensors").unlink()
    open_checkpoint(folder / "shards" / "model.safetensors.index.json").load()


def without(package: str, call: str) -> None:
    code = f"import sys; sys.modules[{package!r}] = None; import ckptload; ckptload.{call}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    raise CheckpointError(done.stderr)


def read(name: str) -> bytes:
    return (FIXTURES / name).read_bytes()


GCM = str(FIXTURES / "enc_gcm.ckpt")
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"4d" * 32 + b"\nsize 12345\n"
#: By the beginning of the heading.
PROVOKED: dict[str, Callable[[Path], object]] = {
    "cannot read the file": lambda path: load_checkpoint(str(path)),
    "this is not a .ckpt but an HTML": lambda path: load(path, b"<!DOCTYPE html><html><body>Not found</body></html>"),
    "this is not a .ckpt but a Git": lambda path: load(path, POINTER),
    "field 1 needs": lambda path: load(path, read("lenet5.ckpt")[:100_000]),
    "the file is empty": lambda path: load(path, b""),
    "the name does not end": lambda path: load_checkpoint(shutil.copy(sample(), path.with_suffix(".bin"))),
    "the file holds more": lambda _: open_checkpoint(sample(), max_records=3),
    "the type": lambda path: load(path, record("w", (1,), "Foo", b"1")),
    "1 of the 3 files": lambda path: shard(path.parent),
    "the file is encrypted with AES-GCM": lambda _: load_checkpoint(GCM),
    "does not match": lambda _: load_checkpoint(GCM, dec_key=b"x" * 16),
    "the file is encrypted with AES-GCM (": lambda _: load_checkpoint(GCM, dec_key=KEY, dec_mode="AES-CBC"),
    "a key was given": lambda _: load_checkpoint(sample(), dec_key=KEY),
    "the key has": lambda _: load_checkpoint(GCM, dec_key=b"short"),
    "the filter keeps": lambda _: load_checkpoint(sample(), specify_prefix="cov"),
    "choice_func must": lambda _: load_checkpoint(sample(), choice_func="conv"),  # type: ignore[arg-type]
    "none of the": lambda _: look_up("fc3.wieght"),
    "no entry of": lambda _: load_param_into_net(net(name="head.w"), sample()),
    "cannot be loaded": lambda _: load_param_into_net(net((5, 84)), sample()),
    "strict_load=True": lambda _: load_param_into_net(net(dtype=np.float16), sample(), strict_load=True),
    "would both": lambda path: convert_checkpoint(sample(), path, name_map={"fc1": "fc", "fc2": "fc"}),
    "the CRC-32": lambda _: load_checkpoint(str(FIXTURES / "bad_crc.ckpt"), crc_check=True),
    "the file could not be saved": lambda path: save_checkpoint({}, str(path / "no" / "x.ckpt")),
    "the reader was closed": lambda _: closed(),
    "needs torch": lambda _: without("torch", "to_torch_state_dict(ckptload.sample())"),
    "URLs are read": lambda _: without("fsspec", "load_checkpoint('https://host/x.ckpt')"),
}


@pytest.mark.parametrize("begin", PROVOKED)
def test_the_message_is_that_of_the_library(begin: str, tmp_path: Path) -> None:
    heading = min((heading for heading in HEADINGS if heading.startswith(begin)), key=len)
    with pytest.raises(CheckpointError) as caught:
        PROVOKED[begin](tmp_path / "model.ckpt")
    said = re.escape(heading).replace(r"\.\.\.", ".*")
    assert re.search(said, str(caught.value)), (heading, str(caught.value))


def test_every_message_of_the_page_is_provoked() -> None:
    assert len(HEADINGS) == len(PROVOKED) > 20
