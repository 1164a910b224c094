"""What the checks of a file cover, and what is left out: a verdict says no more than what was checked."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import warnings
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ckptload import Coverage, Tensor, convert_checkpoint, load_checkpoint, open_checkpoint, qint4x2, save_checkpoint
from ckptload.encryption import chain
from ckptload.encryption.encrypting import EncryptingWriter
from ckptload.errors import CheckpointError, ChecksumError, PartialChecksumWarning
from ckptload.formats.coverage import WHOLE, by_all, by_any
from strategies import block, floats, mapping, tensor, with_crc

if TYPE_CHECKING:
    from pathlib import Path

    from ckptload import Reader

KEY = b"k" * 16
A, B = floats("a", 1.0), floats("b", 2.0)
MAP, OTHER = mapping("m", tensor((1,), "int8", b"x")), mapping("n", tensor((1,), "int8", b"y"))
#: A map that takes the place of the tensor before it.
THIEF = mapping("a", tensor((1,), "int8", b"x"))


def checked(reader: Reader) -> Coverage:
    """Make every check that a reader has, and return what they cover."""
    reader.authenticate()
    reader.verify_crc()
    reader.verify_name()
    return reader.coverage()


def of(data: bytes | Path, **how: Any) -> Coverage:
    with open_checkpoint(data, **how) as reader:
        return checked(reader)


def without_maps(*records: bytes) -> bytes:
    """Return a file with the sum of MindSpore's writer, which leaves out maps."""
    summed = b"".join(each for each in records if each not in (MAP, OTHER, THIEF))
    return with_crc(b"".join(records), zlib.crc32(summed))


# -- the sum of a .ckpt -------------------------------------------------------------------------------------------


def test_before_a_check_nothing_is_covered() -> None:
    with open_checkpoint(with_crc(A)) as reader:
        assert reader.coverage() == Coverage()
        part = reader.select(specify_prefix="a")
        assert part.verify_crc()
        assert reader.coverage() == part.coverage() == WHOLE


def test_a_failed_check_covers_nothing() -> None:
    with open_checkpoint(with_crc(A, 1)) as reader:
        with pytest.raises(ChecksumError):
            reader.verify_crc()
        assert reader.coverage() == Coverage()


@pytest.mark.parametrize("data", [A, A + MAP])
def test_without_a_sum_nothing_is_covered(data: bytes) -> None:
    assert of(data) == Coverage()


@pytest.mark.parametrize("data", [with_crc(A), with_crc(A + MAP + B), with_crc(MAP)])
def test_a_sum_of_all_bytes_covers_everything(data: bytes) -> None:
    assert of(data) == WHOLE


@pytest.mark.parametrize("records", [(A, MAP), (MAP, A), (A, MAP, B, OTHER), (A, MAP, MAP)])
def test_a_sum_without_maps_covers_not_everything(records: tuple[bytes, ...]) -> None:
    found = of(without_maps(*records))
    assert not found.whole
    assert found[:4] == (False, False, False, False)
    assert "'m'" in found.gaps[0]
    assert ("'n'" in found.gaps[0]) is (OTHER in records)
    assert len(found.gaps) == 1


@pytest.mark.filterwarnings("ignore::ckptload.errors.ForeignFieldWarning")
def test_a_map_in_place_of_a_value_that_is_covered_is_told() -> None:
    found = of(without_maps(A, B, THIEF))
    assert not found.whole
    assert "1 of these maps replaces a value of the same name, which the CRC-32 covers: 'a'" in found.gaps
    assert len(of(without_maps(THIEF, A, B)).gaps) == 1


@pytest.mark.filterwarnings("ignore::ckptload.errors.ForeignFieldWarning")
def test_a_record_that_only_looks_like_a_map_is_outside_of_the_sum() -> None:
    """A tensor and an empty map in one record: what is left out is told by the record, and not by what is read."""
    both = block(1, block(1, b"a") + block(2, tensor((1,), "Int8", b"x")) + block(3, b""))
    found = of(with_crc(B + both, zlib.crc32(B)))
    assert not found.whole
    assert "'a'" in found.gaps[0]


def test_long_names_are_cut() -> None:
    name = "m" * 1000
    data = with_crc(A + mapping(name, tensor((1,), "int8", b"x")), zlib.crc32(A))
    assert len(of(data).gaps[0]) < 400


@pytest.mark.parametrize(
    ("data", "words"),
    [(without_maps(A, MAP), "'m'"), (without_maps(A, B, THIEF), "replaces a value"), (with_crc(A + MAP), None)],
)
@pytest.mark.filterwarnings("ignore::ckptload.errors.ForeignFieldWarning")
def test_loading_warns_once_of_what_the_sum_leaves_out(data: bytes, words: str | None) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", PartialChecksumWarning)
        assert load_checkpoint(io.BytesIO(data), crc_check=True, specify_prefix="a")
    found = [str(one.message) for one in caught if issubclass(one.category, PartialChecksumWarning)]
    assert len(found) == (words is not None)
    assert all(words is not None and words in text for text in found)


def test_a_load_without_the_check_does_not_warn() -> None:
    assert load_checkpoint(io.BytesIO(without_maps(A, MAP)))


# -- tags ---------------------------------------------------------------------------------------------------------


def sealed(plain: bytes, mode: str = "AES-GCM", size: int = chain.BLOCK_SIZE) -> bytes:
    file = io.BytesIO()
    writer = EncryptingWriter(file, KEY, mode, block_size=size)
    writer.write(plain)
    writer.finish()
    return file.getvalue()


def opened(data: bytes, mode: str = "AES-GCM") -> Coverage:
    return of(data, dec_key=KEY, dec_mode=mode, allow_unauthenticated=mode == "AES-GCM")


def test_the_tag_of_one_short_block_covers_everything() -> None:
    assert opened(sealed(A + B)) == WHOLE


def test_tags_of_several_blocks_do_not_cover_how_many_there_are() -> None:
    found = opened(sealed(A + B, size=len(A)))
    assert found[:4] == (True, True, False, False)
    assert found.gaps == ("the tags do not cover how many blocks there are, here 2, and in which order",)


def test_a_full_block_may_have_had_others_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain, "BLOCK_SIZE", len(A))
    cut = sealed(A + B, size=len(A))[: len(sealed(A))]
    found = opened(cut)
    assert found[:4] == (True, True, False, False)
    assert "full" in found.gaps[0]
    monkeypatch.setattr(chain, "BLOCK_SIZE", len(A) + 1)
    assert opened(cut) == WHOLE


def test_what_is_around_the_blocks_is_not_covered() -> None:
    with pytest.warns(UserWarning, match="CRC trailer"):
        trailed = opened(sealed(A) + b"crc_num" + bytes(10))
    assert trailed[:4] == (True, True, False, False)
    assert "last 17 bytes" in trailed.gaps[0]
    with pytest.warns(UserWarning, match="unencrypted records"):
        ahead = opened(MAP + sealed(A))
    assert ahead[:4] == (False, False, False, False)
    assert f"first {len(MAP)} bytes" in ahead.gaps[0]


def test_a_sum_inside_covers_what_tags_do_not() -> None:
    assert opened(sealed(with_crc(A + B), size=len(A))) == WHOLE


@pytest.mark.parametrize("mode", ["AES-CBC", "SM4-CBC"])
def test_modes_without_tags_cover_nothing(mode: str) -> None:
    try:
        assert opened(sealed(A, mode), mode) == Coverage()
    except CheckpointError as error:
        pytest.skip(str(error))


# -- the sums of safetensors --------------------------------------------------------------------------------------


def safetensors(tensors: dict[str, tuple[str, list[int], bytes]], **metadata: str) -> bytes:
    """Write a file as MindSpore does, with its sum, from name to type, shape and bytes."""
    at = 0
    header: dict[str, Any] = {}
    summed = b"".join(name.encode() + tensors[name][2] for name in sorted(tensors))
    header["__metadata__"] = {"format": "ms", "crc_num": str(zlib.crc32(summed)), **metadata}
    for name, (kind, shape, data) in tensors.items():
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [at, at := at + len(data)]}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + b"".join(data for _, _, data in tensors.values())


def test_mindspores_sum_covers_neither_dtypes_nor_shapes() -> None:
    right = of(safetensors({"a": ("F32", [2], b"12345678")}))
    for kind, shape in (("F32", [2]), ("I32", [2]), ("F32", [2, 1]), ("F64", [1]), ("U8", [8])):
        found = of(safetensors({"a": (kind, shape, b"12345678")}))
        assert found == right
        assert found[:4] == (True, False, True, True)
        assert "dtypes and shapes" in found.gaps[0]


def test_what_a_conversion_keeps_in_the_metadata_is_not_in_mindspores_sum() -> None:
    tensors = {"x.a": ("U8", [1], b"1"), "y.a": ("U8", [1], b"2")}
    found = of(safetensors(tensors, **{"ckptload.order": "[1,0]", "ckptload.strings": '{"s": "t"}'}))
    assert found[:4] == (True, False, False, True)
    assert len(found.gaps) == 3


def test_a_file_that_mindspore_can_have_written_causes_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_checkpoint({"a": np.ones(3, np.float32)}, path, format="safetensors", crc_check=True)
    with pytest.warns(PartialChecksumWarning, match="dtypes and shapes"):
        assert load_checkpoint(path, format="safetensors", crc_check=True)


def converted(tmp_path: Path, name: str = "a.safetensors") -> Path:
    """Convert entries whose order is kept, and a string, with a sum."""
    source = tmp_path / "a.ckpt"
    values = {"y.a": np.array([1.5], np.float32), "x.a": np.arange(2, dtype=np.int64), "s": "text"}
    save_checkpoint(values, source)
    path = tmp_path / name
    with open_checkpoint(source) as reader:
        convert_checkpoint(reader, path, crc_check=True)
    return path


def test_a_conversion_adds_a_sum_of_what_the_entries_are(tmp_path: Path) -> None:
    path = converted(tmp_path)
    with open_checkpoint(path) as reader:
        lines = '["y.a","Float32",[1]]\n["x.a","Int64",[2]]\n' + reader.metadata["ckptload.strings"]
        assert reader.metadata["ckptload.entries"] == f"{zlib.crc32(lines.encode()):08x}"
        assert checked(reader) == WHOLE
    assert list(load_checkpoint(path, format="safetensors", crc_check=True)) == ["y.a", "x.a"]


def test_it_is_not_copied_by_another_conversion(tmp_path: Path) -> None:
    with open_checkpoint(converted(tmp_path)) as reader:
        convert_checkpoint(reader, tmp_path / "b.safetensors", name_map={"x.a": "b"})
    with open_checkpoint(tmp_path / "b.safetensors") as reader:
        assert reader.metadata.keys() == {"format", "ckptload.strings"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"I64","shape":[2]', b'"F64","shape":[2]'),
        (b'"I64","shape":[2]', b'"U64","shape":[2]'),
        (b'"F32","shape":[1]', b'"F32","shape":[ ]'),
        (b"[1,0]", b"[0,1]"),
        (b"text", b"tent"),
    ],
)
def test_a_changed_dtype_shape_order_or_string_is_noticed(tmp_path: Path, old: bytes, new: bytes) -> None:
    path = converted(tmp_path)
    data = path.read_bytes()
    assert data.count(old) == 1
    path.write_bytes(data.replace(old, new))
    with open_checkpoint(path) as reader, pytest.raises(ChecksumError, match=r"ckptload\.entries"):
        reader.verify_crc()
    with pytest.raises(ChecksumError):
        load_checkpoint(path, format="safetensors", crc_check=True)


def test_a_note_of_int4_belongs_to_the_dtypes(tmp_path: Path) -> None:
    source, path = tmp_path / "a.ckpt", tmp_path / "a.safetensors"
    save_checkpoint({"abc": Tensor([1, 2], qint4x2)}, source)
    with open_checkpoint(source) as reader:
        convert_checkpoint(reader, path, crc_check=True)
    assert of(path) == WHOLE
    path.write_bytes(path.read_bytes().replace(b'"Int4"', b'"Int8"'))
    with open_checkpoint(path) as reader, pytest.raises(ChecksumError):
        reader.verify_crc()


@pytest.mark.slow
def test_any_flipped_bit_of_an_entry_is_found(tmp_path: Path) -> None:
    """Flips that are not found change neither values nor what the entries are."""
    path = converted(tmp_path)
    data = path.read_bytes()
    with open_checkpoint(path) as reader:
        right = {name: (value.asnumpy().tobytes(), value.dtype, value.shape) for name, value in reader.items()}
        strings = reader.kept_strings()
    for at in range(len(data)):
        for bit in range(8):
            changed = bytearray(data)
            changed[at] ^= 1 << bit
            try:
                with open_checkpoint(bytes(changed), format="safetensors") as reader:
                    if checked(reader).whole:
                        found = {n: (v.asnumpy().tobytes(), v.dtype, v.shape) for n, v in reader.items()}
                        assert list(found.items()) == list(right.items()), at
                        assert reader.kept_strings() == strings
            except CheckpointError:
                pass


# -- several files, and names ---------------------------------------------------------------------------------------


def index_of(tmp_path: Path, shards: dict[str, bytes], **metadata: Any) -> Path:
    """Write shards and an index of one tensor in each, which has the name of the shard."""
    for name, data in shards.items():
        (tmp_path / name).write_bytes(data)
    index = tmp_path / "model.safetensors.index.json"
    weight_map = {name.partition("-")[0].partition(".")[0]: name for name in shards}
    index.write_text(json.dumps({"metadata": metadata, "weight_map": weight_map}))
    return index


def shard(name: str, *, entries: bool = True) -> bytes:
    line = f'["{name}","Float32",[1]]\n'
    more = {"ckptload.entries": f"{zlib.crc32(line.encode()):08x}"} if entries else {}
    return safetensors({name: ("F32", [1], b"1234")}, **more)


def test_shards_are_covered_if_all_of_them_are(tmp_path: Path) -> None:
    both = {"a.safetensors": shard("a"), "b.safetensors": shard("b")}
    assert of(index_of(tmp_path, both, total_size=8)) == WHOLE
    both["b.safetensors"] = shard("b", entries=False)
    found = of(index_of(tmp_path, both, total_size=8))
    assert found[:4] == (True, False, True, True)
    both["b.safetensors"] = shard("b").replace(b"crc_num", b"crc_sum")
    assert of(index_of(tmp_path, both, total_size=8)) == Coverage()


def test_what_only_the_index_says_is_not_covered(tmp_path: Path) -> None:
    """It has no sum of its own; its names, and the size of all tensors, are compared with the shards."""
    one = {"a.safetensors": shard("a")}
    assert "total_size" in of(index_of(tmp_path, one)).gaps[0]
    assert of(index_of(tmp_path, one))[:4] == (True, True, True, False)
    found = of(index_of(tmp_path, one, total_size=4, **{"ckptload.order": "[0]", "ckptload.strings": '{"s": "t"}'}))
    assert found[:4] == (False, False, False, True)
    assert len(found.gaps) == 2


def test_a_sha_256_in_the_name_covers_the_file(tmp_path: Path) -> None:
    data = without_maps(A, MAP)
    path = tmp_path / f"a-{hashlib.sha256(data).hexdigest()[:8]}.ckpt"
    path.write_bytes(data)
    assert of(path) == WHOLE
    data = shard("a", entries=False)
    index = index_of(tmp_path, {f"a-{hashlib.sha256(data).hexdigest()[:8]}.safetensors": data})
    found = of(index)
    assert found[:4] == (True, True, True, False)
    assert "total_size" in " ".join(found.gaps)


# -- joining --------------------------------------------------------------------------------------------------------


def test_of_several_checks_any_covers_and_of_several_files_all() -> None:
    first = Coverage(bytes=True, gaps=("one", "two"))
    second = Coverage(entries=True, order=True, completeness=True, gaps=("two", "three"))
    assert by_any([first, second]) == WHOLE
    assert by_any([first]) == first
    assert by_any([]) == by_all([]) == Coverage()
    assert by_all([first, WHOLE]) == first
    assert by_all([first, second]) == Coverage(gaps=("one", "two", "three"))
