"""What is fuzzed: each target takes any bytes, and only a CheckpointError may come out of it.

`run.py` drives them by coverage (atheris); tests/test_fuzz_targets.py runs them over the seeds and what
was found before, so that they are exercised without atheris, too.
"""

from __future__ import annotations

import io
import json
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ckptload.encryption.encrypting import EncryptingWriter
from ckptload.errors import CheckpointError
from ckptload.formats.kinds.recognising import recognise
from ckptload.loading import load_checkpoint
from ckptload.ranks.strategy_files import read_strategy
from ckptload.reading.opening import open_checkpoint
from ckptload.resharding.strategies import save_strategy
from ckptload.sources.memory import BufferSource
from layouts import as_json, protobuf

if TYPE_CHECKING:
    from collections.abc import Callable

    from ckptload.ranks.strategy import Strategy
    from ckptload.reading.reader import Reader

HERE: Final = Path(__file__).parent
FIXTURES: Final = HERE.parent / "fixtures"
#: Larger seeds make every step slow and find nothing that smaller ones do not.
LARGEST_SEED: Final = 16 << 10
MODES: Final = ("AES-GCM", "AES-CBC", "SM4-CBC")
#: An `encrypted` input begins with a byte: the mode modulo 3, and from here on unauthenticated files are let in.
LET_IN: Final = 129
#: The key that seeds are encrypted with.
KEY: Final = b"0123456789abcdef"
#: Names that an index of shards may use.
SHARDS: Final = ("one.safetensors", "two.safetensors")
_HEADER: Final = b'{"b":{"dtype":"I8","shape":[2],"data_offsets":[0,2]}}'
SECOND_SHARD: Final = len(_HEADER).to_bytes(8, "little") + _HEADER + b"xy"


def _read_all(data: bytes | Path, **how: Any) -> None:
    """Open, look at every entry, and read it; one damaged entry does not hide the others."""
    with open_checkpoint(data, **how) as reader:
        repr(reader)
        for name in reader:
            _answers(_read_one, reader, name)


def _read_one(reader: Reader, name: str) -> None:
    info = reader.info(name)
    reader[name]
    if info.kind == "tensor" and info.shape:
        reader.get_slice(name)[-1:]


def _answers(call: Callable[..., Any], *arguments: Any, **how: Any) -> None:
    """Make a call that may be refused by an error of ours, whose words must not fail either."""
    try:
        call(*arguments, **how)
    except CheckpointError as error:
        str(error)


def plain(data: bytes) -> None:
    """A .ckpt in clear: the walk, the records, the checksum, every value."""
    _answers(load_checkpoint, io.BytesIO(data), crc_check=bool(len(data) & 1))
    _read_all(data, format="ckpt")


def encrypted(data: bytes) -> None:
    """An encrypted chain; the first byte chooses the mode and whether unauthenticated files are let in."""
    how = data[0] if data else 0
    mode = MODES[how % len(MODES)]
    _read_all(data[1:], format="ckpt", dec_key=KEY, dec_mode=mode, allow_unauthenticated=how >= LET_IN)


def safetensors(data: bytes) -> None:
    """A safetensors file: header, metadata, every tensor."""
    _answers(load_checkpoint, io.BytesIO(data), format="safetensors", crc_check=bool(len(data) & 1))
    _read_all(data, format="safetensors")


def safetensors_path(data: bytes) -> None:
    """A safetensors file by its path, which the library opens itself; read, and mapped."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.safetensors"
        path.write_bytes(data)
        _answers(load_checkpoint, str(path), format="safetensors", crc_check=bool(len(data) & 1))
        for mapped in (False, True):
            _answers(_read_all, path, mmap=mapped)


def shards(data: bytes) -> None:
    """An index of shards; what follows a NUL, which no JSON contains, is the content of its first shard."""
    index, _, shard = data.partition(b"\0")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors.index.json"
        path.write_bytes(index)
        Path(folder, SHARDS[0]).write_bytes(shard)
        Path(folder, SHARDS[1]).write_bytes(SECOND_SHARD)
        _answers(load_checkpoint, str(path), format="safetensors", crc_check=bool(len(data) & 1))
        _answers(_read_all, path)


def recogniser(data: bytes) -> None:
    """The recogniser of other kinds of file, and the choice of format by the first bytes."""
    found = recognise(BufferSource(data))
    if found is not None:
        json.dumps([found.what, CheckpointError(found.what, hint=found.hint).hint])
    _read_all(data)


def strategy(data: bytes) -> None:
    """A strategy file, protobuf or JSON: every layout, a slice of each rank at the ends, and the file written again."""
    found = read_strategy(data)
    for name in found.names():
        layout = found.layout(name)
        _answers(found.replicas, name, found.ranks - 1)
        shape = tuple(2 * parts for parts in layout.parts)
        for rank in (0, layout.devices - 1):
            _answers(layout.box, rank, shape)
        _answers(layout.fitted, layout.expanded, whole=True)
        _answers(layout.fitted, shape[1:], whole=False)
    with tempfile.TemporaryDirectory() as folder:
        for suffix in ("ckpt", "json"):
            _answers(_written_again, found, Path(folder) / f"s.{suffix}")


def _written_again(strategy: Strategy, path: Path) -> None:
    save_strategy(strategy, path)
    if read_strategy(path).ranks != strategy.ranks:
        raise ValueError(path.name)


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    target.__name__: target
    for target in (plain, encrypted, safetensors, safetensors_path, shards, recogniser, strategy)
}


def run(name: str, data: bytes) -> None:
    """Run one target; a CheckpointError is an answer, and warnings are expected of damaged files."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _answers(TARGETS[name], data)


def seeds(name: str) -> list[bytes]:
    """Return what a target starts from: inputs that once failed, and small fixtures."""
    found = [path.read_bytes() for path in sorted((HERE / "found" / name).glob("*"))]
    if name == "strategy":
        return found + _strategies()
    suffix = {"plain": ".ckpt", "encrypted": ".ckpt", "recogniser": ""}.get(name, ".safetensors")
    small = [path for path in sorted(FIXTURES.rglob(f"*{suffix}")) if path.is_file()]
    small = [path for path in small if path.stat().st_size <= LARGEST_SEED]
    if name == "shards":
        return found + [_index(path.read_bytes()) for path in small]
    if name != "encrypted":
        return found + [path.read_bytes() for path in small]
    in_clear = [path for path in small if not str(path.relative_to(FIXTURES)).startswith("enc")]
    return found + _sealed([path.read_bytes() for path in in_clear])


def _strategies() -> list[bytes]:
    """Strategies of one stage and of two, with every kind of layout."""
    told: dict[str, Any] = {"w": ([2, 2], [0, -1], -1), "b": ([4], [0], 0), "s": ([4], [], 0)}
    deep: dict[str, Any] = {"t": ([2, 2, 2], [[2, 0], [-1]], 2), "one": ([2, 4], [[0, 1]], 0)}
    shapes = {"w": [8, 4], "b": [8], "s": []}
    merged = {f"{stage}-{name}": each for stage in (0, 1) for name, each in told.items()}
    found = [
        protobuf(told),
        protobuf(deep),
        protobuf(told, 1, {"b": [1, 2, 2, 3]}),
        protobuf(merged),
        as_json(told, shapes),
    ]
    return [*found, as_json({"w": ([2, 2], [0, 1, -1], 0)}, {"w": [2, 24, 16]})]


def _index(shard: bytes) -> bytes:
    """Put an index before a shard, which names its tensors and one of the other."""
    header = json.loads(shard[8 : 8 + int.from_bytes(shard[:8], "little")])
    weight_map = {name: SHARDS[0] for name in header if name != "__metadata__"} | {"b": SHARDS[1]}
    metadata = {"total_size": len(shard), "format": "ms", "more": [1.5, None]}
    return json.dumps({"metadata": metadata, "weight_map": weight_map}).encode() + b"\0" + shard


def _sealed(plain: list[bytes]) -> list[bytes]:
    """Encrypt seeds in every mode, in several blocks."""
    found = []
    for data in plain:
        for number, mode in enumerate(MODES):
            file = io.BytesIO()
            writer = EncryptingWriter(file, KEY, mode, block_size=1000)
            writer.write(data)
            writer.finish()
            found.append(bytes([LET_IN + number]) + file.getvalue())
    return found
