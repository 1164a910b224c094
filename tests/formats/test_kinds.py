"""Files of other kinds are recognised through every door, and checkpoints are not mistaken for them."""

from __future__ import annotations

import bz2
import collections
import functools
import gzip
import io
import json
import lzma
import pickle
import sqlite3
import tarfile
import zipfile
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ckptload import load_checkpoint, load_checkpoint_async, open_checkpoint
from ckptload.errors import CheckpointError, CorruptCheckpointError, EmptyCheckpointError, WrongFormatError
from ckptload.formats.kinds import archives
from ckptload.formats.kinds.kind import HEAD, TAIL, Glimpse
from ckptload.formats.kinds.recognising import recognise
from ckptload.sources.memory import BufferSource
from places import FIXTURES
from strategies import CountingSource, block, changes, floats, integer, mutated, record

if TYPE_CHECKING:
    from collections.abc import Callable

    from ckptload.formats.kinds.kind import Kind


def kind_of(data: bytes) -> Kind | None:
    return recognise(BufferSource(data))


def named(data: bytes) -> str:
    """Return what a file is called, after checking that it has a hint."""
    kind = kind_of(data)
    assert kind is not None
    assert kind.hint
    return kind.what


def in_memory(write: Callable[[io.BytesIO], object]) -> bytes:
    """Return what a writer writes into a file object."""
    file = io.BytesIO()
    write(file)
    return file.getvalue()


def zipped(*names: str, compression: int = zipfile.ZIP_STORED) -> bytes:
    def write(file: io.BytesIO) -> None:
        with zipfile.ZipFile(file, "w", compression) as archive:
            for name in names:
                archive.writestr(name, b"content of " + name.encode())

    return in_memory(write)


def tarred(style: int = tarfile.GNU_FORMAT) -> bytes:
    def write(file: io.BytesIO) -> None:
        with tarfile.open(fileobj=file, mode="w", format=style) as archive:
            archive.addfile(tarfile.TarInfo("model.ckpt"))

    return in_memory(write)


def old_tar() -> bytes:
    """A tar archive of before POSIX: nothing but the checksum tells what it is."""
    data = bytearray(tarred())
    data[257:265] = bytes(8)
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    return bytes(data)


def safetensors() -> bytes:
    head = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    return len(head).to_bytes(8, "little") + head + bytes(4)


def headed(header: bytes) -> bytes:
    return len(header).to_bytes(8, "little") + header + bytes(50)


def database() -> bytes:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("create table records (id integer)")
        connection.commit()
        # Python 3.10 cannot serialize a database; these bytes begin every one (sqlite.org/fileformat2.html).
        return connection.serialize() if hasattr(connection, "serialize") else b"SQLite format 3\0" + bytes(100)


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
#: ParallelStrategyMap: a stage, then an item with a name and a strategy.
STRATEGY = integer(1, 1) + block(2, block(1, b"conv1.weight") + block(2, integer(1, 8)))
#: The first bytes of what MindSpore 2.10.0 wrote: export(file_format="MINDIR"), ModelCheckpoint's -graph.meta,
#: export(file_format="ONNX"), SummaryRecord.
MINDIR = bytes.fromhex("0a03312e3112094d696e6453706f72652a06322e31302e303aa1170a30120b56616c75654e6f64655f39")
GRAPH = bytes.fromhex("080122ca260a760a0a0a067765696768741000")
MS_ONNX = bytes.fromhex("080412094d696e6453706f72651a03312e303ade010a3f0a01780a06776569676874")
EVENTS = bytes.fromhex("1c00000000000000c8c1951d09f37c3caa31c2da411a114d696e6453706f72652e4576656e743a31b50df872")
#: The last bytes of a LevelDB table.
TABLE = bytes.fromhex("57fb808b247547db")
ZSTD = b"\x28\xb5\x2f\xfd\x20\x05\x29\x00\x00hello"

STATE = {"w": np.ones(3), "model": "x", "parts": [1, 2.5, None, (True, "y")]}

#: What a file is called, and files that are called so.
KINDS: dict[str, list[bytes]] = {
    "a Git LFS pointer": [LFS],
    # Archives
    "a 7z archive": [b"7z\xbc\xaf\x27\x1c\0\4" + bytes(30)],
    "a RAR archive": [b"Rar!\x1a\x07\0" + bytes(30), b"Rar!\x1a\x07\x01\0" + bytes(30)],
    "an xz file": [lzma.compress(b"x")],
    "an LZMA file": [lzma.compress(b"x" * 99, lzma.FORMAT_ALONE)],
    "a bzip2 file": [bz2.compress(b"x")],
    "a zstd file": [ZSTD, b"\x50\x2a\x4d\x18\4\0\0\0abcd" + ZSTD, b"\x5f\x2a\x4d\x18\4\0\0\0abcd"],
    "an LZ4 file": [b"\x04\x22\x4d\x18\x64\x40" + bytes(9), b"\x51\x2a\x4d\x18\4\0\0\0abcd\x04\x22\x4d\x18"],
    "a gzip file": [gzip.compress(floats("a", 1.0)), b"\x1f\x8b\x08" + b"\xff" * 20],
    "a gzip file of a tar archive": [gzip.compress(tarred())],
    "a tar archive, which begins with 'model.ckpt'": [
        *(tarred(style) for style in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)),
        old_tar(),
    ],
    "a zip archive of 'a.txt', 'b.txt'": [zipped("a.txt", "b.txt")],
    "a zip archive that holds 'out/model.ckpt'": [
        zipped("out/model.ckpt"),
        zipped("readme.md", "out/model.ckpt", compression=zipfile.ZIP_DEFLATED),
        zipped("out/model.ckpt")[:60],
    ],
    "a zip archive that holds 'm.safetensors'": [zipped("m.safetensors")],
    "a zip archive": [zipped(), b"PK\3\4" + bytes(100)],
    "a zip archive of a TensorFlow SavedModel": [zipped("m/saved_model.pb", "m/variables/variables.index")],
    # Python and PyTorch
    "a PyTorch file, written by torch.save": [
        zipped("archive/data.pkl", "archive/version", "archive/data/0"),
        zipped("model/data.pkl")[:80],
    ],
    "a TorchScript file of PyTorch": [zipped("m/data.pkl", "m/code/__torch__.py", "m/constants.pkl")],
    "a program of torch.export": [zipped("m/archive_format", "m/models/model.json", "m/data/weights/weight_0")],
    "a PyTorch file, written by torch.save before PyTorch 1.6": [
        b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."
    ],
    "a Python pickle of PyTorch": [b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nq\x00."],
    "a file of paddle.save": [pickle.dumps({"w": np.ones(3), "StructuredToParameterName@@": {"w": "w"}}, 2)],
    "a numpy .npz file": [in_memory(lambda file: np.savez(file, w=np.ones(3), b=np.ones(2)))],
    "a numpy .npy file": [in_memory(lambda file: np.save(file, np.zeros(3)))],
    "a Keras model (.keras)": [zipped("metadata.json", "config.json", "model.weights.h5")],
    "an HDF5 file of Keras (.h5)": [b"\x89HDF\r\n\x1a\n" + bytes(50) + b"keras_version"],
    "an HDF5 file": [b"\x89HDF\r\n\x1a\n" + bytes(100)],
    # MindSpore
    "a MindIR model": [MINDIR, block(1, b"0.1.0") + block(2, b"MindSpore") + block(7, block(1, b"x"))],
    "the graph that ModelCheckpoint saves beside checkpoints": [GRAPH],
    "a MindSpore Lite model (.ms)": [b"\x18\0\0\0MSL2" + bytes(60), b"\x1c\0\0\0MSL1" + bytes(60)],
    "an offline model for Ascend (.om)": [b"IMOD" + bytes(300)],
    "a MindSpore parallel-strategy file": [STRATEGY],
    "a MindRecord data set": [headed(b'{"header_size":16777216,"index_fields":[],"page":[]}')],
    "a file with a blank header, as an unfinished MindRecord data set has": [headed(bytes(32))],
    "a file of events (summary)": [EVENTS],
    "a safetensors file": [safetensors(), safetensors()[:30]],
    # TensorFlow and others
    "the index of a TensorFlow checkpoint": [b"\0\0\6\x08\x01\x1a\x02\x08\x01" + bytes(40) + TABLE],
    "a TensorFlow checkpoint (of version 1)": [b"\0\0\x93\x03\x0a\x90\x03\x0a\x13" + bytes(40) + TABLE],
    "a TensorFlow checkpoint, or its index": [bytes(40) + TABLE],
    "a TensorFlow checkpoint's state file": [b'model_checkpoint_path: "model-1"\n'],
    "a TensorFlow SavedModel": [
        integer(1, 1) + block(2, block(1, block(2, block(1, block(1, b"Add"))) + block(4, b"serve"))),
        block(2, block(1, block(4, b"serve") + block(5, b"2.15.0"))),
    ],
    "the graph of a TensorFlow checkpoint (.meta)": [block(1, block(2, block(1, block(1, b"Abs"))))],
    "a frozen graph of TensorFlow (GraphDef)": [
        block(1, block(1, b"x") + block(2, b"Placeholder") + block(5, block(1, b"dtype")))
        + block(1, block(1, b"y") + block(2, b"Relu") + block(3, b"x")),
        block(1, block(1, b"conv1/kernel") + block(2, b"Const") + block(5, block(1, b"value"))),
    ],
    "a TensorFlow Lite model (TFLite)": [b"\x1c\0\0\0TFL3" + bytes(60)],
    "a TFRecord data set": [bytes.fromhex("1c00000000000000c8c1951d") + bytes(40)],
    "an ONNX model": [
        MS_ONNX,
        integer(1, 8) + block(2, b"pytorch") + block(7, block(1, b"node")),
        integer(1, 10) + block(7, block(1, block(1, b"x"))),
        integer(1, 3) + block(8, block(1, b"")),
    ],
    "a Core ML model": [integer(1, 4) + block(2, block(1, block(1, b"image") + block(3, b"x")))],
    "a Caffe model": [block(1, b"ResNet") + block(100, block(1, b"data"))],
    "an AIR model": [block(1, b"net") + integer(2, 1) + block(3, b"v") + block(7, block(1, b"graph"))],
    "an MXNet .params file": [(0x112).to_bytes(8, "little") + bytes(8) + b"\1" + bytes(20)],
    "the text part of an NCNN model": [b"7767517\n75 83\nInput data 0 1 data\n"],
    "a GGUF model": [b"GGUF\x03\0\0\0" + bytes(30)],
    "a GGML model": [b"lmgg" + bytes(30), b"tjgg\3\0\0\0" + bytes(30)],
    # Tables, documents, pictures, programs
    "an SQLite database": [database()],
    "a Parquet table": [b"PAR1" + bytes(30) + b"PAR1"],
    "an Arrow or Feather table": [b"ARROW1\0\0" + bytes(30)],
    "a PDF document": [b"%PDF-1.7\n"],
    "a PNG picture": [b"\x89PNG\r\n\x1a\n" + bytes(30)],
    "a JPEG picture": [b"\xff\xd8\xff\xe0" + bytes(30)],
    "a GIF picture": [b"GIF89a" + bytes(30)],
    "a WebP picture": [b"RIFF\x10\0\0\0WEBPVP8 " + bytes(9)],
    "a BMP picture": [b"BM" + (60).to_bytes(4, "little") + bytes(54)],
    "a TIFF picture": [b"II*\0" + bytes(9), b"MM\0*" + bytes(9)],
    "a program or library for Linux (ELF)": [b"\x7fELF\2\1\1" + bytes(60)],
    "a program or library for Windows": [b"MZ" + bytes(58) + b"\x40\0\0\0PE\0\0" + bytes(20)],
    "a program or library for macOS (Mach-O)": [
        b"\xcf\xfa\xed\xfe" + bytes(28),
        b"\xca\xfe\xba\xbe\0\0\0\2" + bytes(30),
    ],
    "a Java class": [b"\xca\xfe\xba\xbe\0\0\0\x34" + bytes(30)],
    "a script": [b"#!/bin/sh\nwget model.ckpt\n"],
    "a file of attributes that macOS wrote": [b"\0\5\x16\7\0\2\0\0Mac OS X" + bytes(30)],
    # Texts
    "an HTML page": [b"<!DOCTYPE html>\n<html>404</html>", b"<html>", b"\n\n <!doctype html>", b"<head>"],
    "an XML or HTML page": [b"<?xml version='1.0'?><Error/>", b"<div class='error'>no</div>"],
    "a model's configuration (JSON)": [json.dumps({"model_type": "llama", "hidden_size": 8}).encode()],
    "a JSON file": [b'{"error": "not found"}', b" [1, 2]", b'{"a": [' + b"1, " * 9000],
    "a text file": [
        b"https://example.org/model.ckpt\n",
        b"ustar is a word\n" * 40,
        b"model:\n  layers: 12\n",
        b"\n  a line\n" * 40,
        *("Größe der Datei: 12 MB, siehe oben".encode(codec) for codec in ("utf-8", "utf-8-sig", "latin-1")),
        *("hello, this is text".encode(codec) for codec in ("utf-16", "utf-16-le", "utf-16-be", "utf-32")),
        *("模型权重".encode(codec) for codec in ("utf-8", "gbk", "utf-16")),
        ("モデルの重みはここにあります" * 4).encode("shift-jis"),
        bytes(range(0xC1, 0xE0)) * 3,  # letters in KOI8-R
        ("模" * 10_000).encode(),
    ],
    "a file that was saved as text": [b"\xef\xbb\xbf" + floats("w", 1.0)],
    "a binary file that was destroyed": ["\ufffd\ufffd\ufffd\ufffd\x01".encode() + bytes(20)],
    "a file of zero bytes": [bytes(1), bytes(4096), bytes(300_000)],
}
CASES = [pytest.param(what, data, id=f"{what[:40]}-{n}") for what, some in KINDS.items() for n, data in enumerate(some)]
FIRSTS = [pytest.param(what, some[0], id=what[:40]) for what, some in KINDS.items()]


@pytest.mark.parametrize(("what", "data"), CASES)
def test_another_kind_of_file_is_named(what: str, data: bytes) -> None:
    assert named(data).startswith(what)
    # The longest name that fits is the one that is meant.
    assert max((other for other in KINDS if named(data).startswith(other)), key=len) == what


@pytest.mark.parametrize(("what", "data"), CASES)
def test_it_is_named_through_every_door_and_never_called_damaged(what: str, data: bytes, tmp_path: Path) -> None:
    """By its bytes under any name; without a traceback of what failed before."""
    ckpt, other = tmp_path.resolve() / "model.ckpt", tmp_path.resolve() / "model.bin"
    for path in (ckpt, other):
        path.write_bytes(data)
    doors: list[Callable[[], object]] = [
        lambda: load_checkpoint(str(ckpt)),
        lambda: load_checkpoint(other),
        lambda: load_checkpoint(io.BytesIO(data)),
        lambda: load_checkpoint_async(ckpt).result(),
        lambda: open_checkpoint(data, format="ckpt"),
        lambda: open_checkpoint(ckpt, mmap=True),
    ]
    if not what.startswith(("a safetensors", "a file with a blank header")):
        doors += [
            lambda: load_checkpoint(other, format="safetensors"),
            lambda: open_checkpoint(other),
            lambda: open_checkpoint(data, format="safetensors"),
        ]
    for door in doors:
        with pytest.raises(WrongFormatError) as caught:
            door()
        error = caught.value
        assert error.problem.startswith(
            (f"this is not a .ckpt but {what}", f"this is not a safetensors file but {what}")
        ), error
        assert error.hint
        assert "damaged" not in str(error)
        assert "save it again" not in str(error)
        assert error.__cause__ is None
        assert error.__suppress_context__ or error.__context__ is None


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "value",
    [
        STATE,
        {},
        [1, 2, 3],
        (1, "a"),
        collections.OrderedDict(w=[1.0, 2.0]),
        {"w": np.arange(30_000.0)},
        Path("x"),
        {"text": "a long text " * 5000},
        {"n": 10**50, "bytes": b"\0\xff" * 300},
    ],
    ids=lambda value: type(value).__name__,
)
def test_pickles_of_every_protocol_are_named(value: object, protocol: int) -> None:
    assert named(pickle.dumps(value, protocol)).startswith("a Python pickle")


class Planted:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.path,)


def in_an_archive(data: bytes) -> bytes:
    """Put a pickle where torch.save puts it."""

    def write(file: io.BytesIO) -> None:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("archive/data.pkl", data)

    return in_memory(write)


@pytest.mark.parametrize("around", [bytes, in_an_archive, lambda data: b"\x80\x02" + data, gzip.compress])
def test_nothing_in_a_file_is_run(around: Callable[[bytes], bytes], tmp_path: Path) -> None:
    """A pickle that does something when it is read does nothing, whatever is around it."""
    planted = tmp_path / "planted"
    data = around(pickle.dumps(Planted(planted)))
    for name in ("x.ckpt", "x.safetensors", "x.bin"):
        path = tmp_path / name
        path.write_bytes(data)
        kind = "safetensors" if path.suffix == ".safetensors" else "ckpt"
        doors: list[Callable[[], object]] = [
            functools.partial(load_checkpoint, path, format=kind),
            functools.partial(open_checkpoint, path),
            functools.partial(open_checkpoint, path, mmap=True),
        ]
        for door in doors:
            with pytest.raises(WrongFormatError):
                door()
    assert not planted.exists()
    with suppress(TypeError):
        pickle.loads(pickle.dumps(Planted(planted)))
    assert planted.exists()


@pytest.mark.torch
@pytest.mark.parametrize(
    ("new", "what"),
    [(True, "a PyTorch file, written by torch.save"), (False, "a PyTorch file, written by torch.save before")],
)
def test_files_of_torch_are_named(new: bool, what: str) -> None:
    torch = pytest.importorskip("torch")
    data = in_memory(lambda file: torch.save({"w": torch.ones(3)}, file, _use_new_zipfile_serialization=new))
    assert named(data).startswith(what)


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_file_of_torchscript_is_named() -> None:
    torch = pytest.importorskip("torch")
    data = in_memory(lambda file: torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), file))
    assert named(data) == "a TorchScript file of PyTorch"


# -- checkpoints are not mistaken ----------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("*.ckpt")), ids=lambda path: path.name)
def test_no_checkpoint_is_taken_for_another_kind(path: Path) -> None:
    assert kind_of(path.read_bytes()) is None


@pytest.mark.parametrize(("what", "content"), FIRSTS)
def test_content_that_looks_like_another_kind_is_content(what: str, content: bytes) -> None:
    """Only a file that is no checkpoint is asked what else it could be."""
    assert what
    data = record("w", (len(content),), "UInt8", content)
    assert load_checkpoint(io.BytesIO(data))["w"].get_bytes() == content


arrays = st.lists(
    st.tuples(st.text(min_size=1, max_size=70), st.lists(st.integers(0, 40), max_size=3), st.binary(max_size=40)),
    min_size=1,
    max_size=3,
)


@given(arrays, st.data())
@example([("model.encoder.layers.0.attention.dense.weight", [3], b"")], None)
def test_no_part_of_a_checkpoint_is_taken_for_another_kind(arrays: list[Any], data: Any) -> None:
    """A cut file is damaged, wherever it was cut."""
    whole = b"".join(record(name, dims, "Float32", content) for name, dims, content in arrays)
    cuts = range(1, len(whole) + 1) if data is None else [data.draw(st.integers(1, len(whole)))]
    for cut in cuts:
        assert kind_of(whole[:cut]) is None, whole[:cut]


def test_a_checkpoint_with_one_changed_bit_is_not_taken_for_another_kind() -> None:
    """Whichever bit of the first headers it is."""
    whole = floats("conv1.weight", 1.0, 2.0, 3.0) + record("bias", (10, 26), "Float16", b"\1" * 520)
    for bit in range(8 * 60):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        assert kind_of(bytes(changed)) is None, bit


def test_a_safetensors_file_with_one_changed_bit_stays_one() -> None:
    whole = safetensors()
    for bit in range(8 * 40):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        kind = kind_of(bytes(changed))
        assert kind is None or kind.what == "a safetensors file", bit


def test_a_damaged_safetensors_file_is_called_damaged() -> None:
    """Also one whose header is zeros, as that of an unfinished MindRecord file is."""
    for data in (safetensors()[:30], headed(bytes(32))):
        with pytest.raises(CorruptCheckpointError) as caught:
            load_checkpoint(io.BytesIO(data), format="safetensors")
        assert type(caught.value) is CorruptCheckpointError


def test_a_file_that_only_begins_with_zeros_is_not_called_empty() -> None:
    """A download that was laid out beforehand may have its end, or a piece, before its start."""
    for data in (bytes(30_000) + floats("w", 1.0), bytes(100_000) + b"\1" * 8192 + bytes(100_000)):
        with pytest.raises(CorruptCheckpointError) as caught:
            load_checkpoint(io.BytesIO(data))
        assert type(caught.value) is CorruptCheckpointError


@pytest.mark.parametrize("data", [b"\xff" * 40, b"\x01", b"\n", b"BM" + bytes(20), b"\x80\x02\xff"])
def test_bytes_of_no_known_kind_are_none(data: bytes) -> None:
    assert kind_of(data) is None


def test_an_empty_file_is_of_no_kind() -> None:
    assert kind_of(b"") is None
    with pytest.raises(EmptyCheckpointError):
        load_checkpoint(io.BytesIO())


# -- hostile files -------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::ckptload.errors.ForeignFieldWarning")
@given(st.sampled_from([data for some in KINDS.values() for data in some if len(data) < 5000]), changes)
def test_no_error_escapes_but_ours(data: bytes, some: Any) -> None:
    changed = mutated(data, some)
    kind = kind_of(changed)
    if kind is not None:
        json.dumps([kind.what, CheckpointError(kind.what, hint=kind.hint).hint])
    with suppress(CheckpointError):
        open_checkpoint(changed, format="ckpt")
    with suppress(CheckpointError):
        open_checkpoint(changed, format="safetensors")


def test_a_large_file_is_looked_at_in_few_places() -> None:
    for data in (bytes(20 << 20), b"PK\3\4" + b"\xff" * (5 << 20)):
        source = CountingSource(data)
        assert recognise(source) is not None
        assert source.total < 500_000
        assert len(source.reads) < 70


def test_names_in_an_archive_are_shown_but_not_at_any_length() -> None:
    what = named(zipped("n" * 60_000 + ".ckpt", "\x1b[31m.ckpt"))
    assert len(what) < 300
    assert "\x1b" not in what


def test_an_archive_of_many_files_is_named_in_no_time() -> None:
    """Only so many headers are looked at."""
    header = b"PK\1\2" + bytes(24) + b"\1\0" + bytes(16) + b"n"
    assert named(b"PK\3\4" + header * 100_000).startswith("a zip archive")


def test_names_that_claim_to_lie_in_each_other_are_not_all_looked_at() -> None:
    """Each header says that its name reaches to the end, so that names would be longer than the file by far."""
    number = 1400
    data = b"".join(
        b"PK\1\2" + bytes(24) + (46 * (number - 1 - at)).to_bytes(2, "little") + bytes(16) for at in range(number)
    )
    assert len(data) < TAIL
    names = archives._entries(Glimpse(data[:HEAD], data, len(data)))
    assert names
    assert sum(map(len, names)) <= len(data) + HEAD
